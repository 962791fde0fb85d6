/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The demo's reader threads, and what they share with its control side.
 *
 * Two things go from the control side to the readers:
 *
 * - The table of address spaces that exist.  A reader takes the newest at the
 *   start of a batch and says so in `seen`; the control side frees an address
 *   space, and an old table, only after every reader has seen a newer one.
 *
 * - The ring of generations: which publication's content a snapshot has.  A
 *   reader notes what it found in which generation and compares later, when
 *   the control side has told of that generation, with the recorded views,
 *   which nobody changes.  What was overwritten meanwhile is not compared.
 */
#ifndef REPLAY_DEMO_READER_H
#define REPLAY_DEMO_READER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <memplane.h>

#include "latency.h"
#include "script.h"

#define DEMO_RING             (1u << 16)
#define DEMO_PUBLICATION_BITS 24

struct demo_table {
	uint64_t version;
	uint32_t count;
	struct mpl_address_space *of[]; /* by id of the trace */
};

struct demo_shared {
	const struct script *script;
	struct mpl_plane *plane;
	struct demo_table *table; /* atomic */
	bool stop;                /* atomic */
	uint64_t told; /* atomic: the newest generation in the ring, or not */
	uint64_t ring[DEMO_RING]; /* atomic: generation and publication */
};

/* Something found, to be compared when the control side knows more. */
struct demo_check {
	uint64_t generation;
	uint64_t address;
	uint64_t offset;
	uint32_t region; /* 0: unassigned */
	uint32_t space;
};

#define DEMO_CHECKS 32

struct demo_reader {
	struct demo_shared *shared;
	pthread_t thread;
	bool started;
	int err;
	uint64_t seen; /* atomic: version of the table in use */

	/* Its own until it has ended. */
	struct mpl_reader *reader;
	uint64_t lookups, checks, unknown, mismatches;
	uint64_t ns; /* that it ran */
	struct demo_check waiting[DEMO_CHECKS];
	unsigned int waiting_count;
	struct latency latency; /* ticks */
} __attribute__((aligned(64)));

/* Start a reader thread, 0 or -errno; and wait for its end. */
int demo_reader_start(struct demo_reader *reader, struct demo_shared *shared);
void demo_reader_join(struct demo_reader *reader);

/* Control side: this generation shows what publication `seq` recorded; 0: it
 * shows nothing that was recorded. */
void demo_tell(struct demo_shared *shared, uint64_t generation, uint32_t seq);

#endif
