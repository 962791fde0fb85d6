/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Event fds of a trace: each id is a real eventfd as long as an ioeventfd
 * uses it.  One that is used no more is closed only after the commit that
 * removes it, so that a number always means one id while somebody may ask.
 */
#ifndef REPLAY_DOORBELLS_H
#define REPLAY_DOORBELLS_H

#include <stddef.h>
#include <stdint.h>

struct doorbell {
	int fd; /* valid if uses != 0 */
	uint32_t uses;
};

struct doorbells {
	struct doorbell *by_id;
	size_t by_id_cap;
	uint32_t *id_of; /* by fd; 0: not ours */
	size_t id_of_cap;
	int *closing;
	size_t closing_count, closing_cap;
};

/* The eventfd of an id, made if this is its first use; -errno. */
int doorbell_get(struct doorbells *doorbells, uint32_t id);
/* The eventfd of an id in use, one use less; -ENOENT, -ENOMEM. */
int doorbell_put(struct doorbells *doorbells, uint32_t id);
/* The id of an eventfd, 0 if it is none of ours. */
uint32_t doorbell_id(const struct doorbells *doorbells, int fd);

/* A commit has gone through: close what is used no more. */
void doorbells_committed(struct doorbells *doorbells);
/* Close all. */
void doorbells_fini(struct doorbells *doorbells);

#endif
