/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A listener that keeps a mirror of what it was told, writes each call into a
 * log, and can fail any of them.  A call that contradicts the mirror (a range
 * is deleted that is not there, one is added over another) is noted in `bad`.
 */
#ifndef TESTS_SUPPORT_RECORDER_H
#define TESTS_SUPPORT_RECORDER_H

#include "topo.h"

struct recorder_zone {
	uint64_t start;
	uint64_t last;
};

struct recorder {
	const char *name;
	struct mpl_listener_ops ops;
	struct mpl_listener *listener; /* NULL: not registered */
	struct mpl_plane *plane;
	int space;
	struct text *log; /* may be shared by several; NULL: none */

	struct mpl_flat_range *ranges; /* ascending */
	size_t n_ranges;
	struct mpl_flat_ioeventfd *events; /* ascending */
	size_t n_events;
	struct recorder_zone *zones; /* ascending */
	size_t n_zones;
	bool log_global[MPL_LOG_CLIENTS];

	/* Calls since recorder_arm(); numbers fail_from .. fail_to fail with
	 * -EIO (the first call is 1; fail_from 0: none does). */
	unsigned int calls;
	unsigned int fail_from;
	unsigned int fail_to;
	unsigned int failures;
	uint64_t generation_at_failure; /* of the plane, at the first */

	unsigned int begins, commits, aborts;
	unsigned int dels, adds, changes; /* everything but begin and so on */
	struct mpl_listener_plan plan;
	uint64_t generation_at_del; /* of the plane, at the last of each */
	uint64_t generation_at_add;
	char bad[160];
};

struct recorder *recorder_new(const char *name, int priority, struct text *log);
/* Must be unregistered, or its plane gone. */
void recorder_free(struct recorder *r);

/* Both return what the library did. */
int recorder_register(struct recorder *r, struct topo *t, int space);
int recorder_unregister(struct recorder *r);

/* Start counting; fail the calls from .. to (0: none). */
void recorder_arm(struct recorder *r, unsigned int from, unsigned int to);

/* The mirror is what the oracle says that the space shows. */
void recorder_check(const struct recorder *r, struct topo *t);

#endif
