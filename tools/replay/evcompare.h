/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Comparing the events of our listeners with those recorded in the trace,
 * publication by publication.  docs/replay.md says which differences are on
 * purpose; nothing else may differ.
 */
#ifndef REPLAY_EVCOMPARE_H
#define REPLAY_EVCOMPARE_H

#include "events.h"
#include "expect.h"

struct event_list {
	struct event *items;
	size_t count, cap;
};

struct evcompare {
	struct event_list ours, recorded;
	const struct expect_view **before; /* recorded views, by space */
	size_t before_cap, before_count;
	uint64_t compared, nops;
	size_t left;     /* log_global events that wait for their counterpart */
	bool registered; /* a registration's events are still to come */
};

/* A sink for events_register(); `arg` is the list. */
int event_list_add(void *arg, const struct event *event);

/* A publication begins: note what every address space showed so far. */
int evcompare_before(struct evcompare *evcompare, const struct expect *expect,
		     struct failure *failure);

/*
 * Compare what has come together and start anew.  Returns the number of
 * differences and tells the first `say_max` of them on `say` (may be NULL).
 */
int evcompare_flush(struct evcompare *evcompare, const struct expect *expect,
		    FILE *say, uint32_t say_max);

void evcompare_fini(struct evcompare *evcompare);

#endif
