/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random machines and random transactions on them.  After each commit views,
 * ioeventfds, look-ups, sharing and two listeners' mirrors are what the naive
 * oracle says.  In between transactions fail, because they are bad or because
 * a listener refuses, and change nothing.
 *
 * Choices come from a number, or from an input: each takes as few bytes of it
 * as say it, so that a fuzzer can turn one of them.
 */
#ifndef TESTS_SUPPORT_RANDOM_H
#define TESTS_SUPPORT_RANDOM_H

#include "recorder.h"

#define RANDOM_FDS 3

struct random {
	/* The caller's. */
	uint64_t word;	      /* a seed */
	const uint8_t *input; /* NULL: from the seed */
	size_t left;	      /* of the input */
	int regions;
	int fds[RANDOM_FDS];

	bool over; /* the input is used up */
	struct topo *t;
	struct recorder *mirror[2];
};

/* A machine and its first commit. */
void random_build(struct random *r, const struct mpl_plane_config *config);
/* Everything, or the views and the mirrors. */
void random_check(struct random *r, bool everything);
/*
 * A transaction, and a check.  False: the machine has become too complicated
 * for the oracle.
 */
bool random_round(struct random *r, bool everything);
void random_end(struct random *r);

#endif
