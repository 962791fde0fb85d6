/* SPDX-License-Identifier: BSD-3-Clause */
/* Benchmarks of one peer on one map and one list of addresses. */
#ifndef BENCH_PEER_BENCH_H
#define BENCH_PEER_BENCH_H

#include "bench.h"
#include "peers/peers.h"

/* A list of addresses is a multiple of this long. */
#define PEER_BATCH 1024

struct peer_input {
	struct peer_map map;
	const uint64_t *gpa;
	size_t count; /* of addresses: a multiple of PEER_BATCH */
};

/*
 * Register NAME/PEER, and NAME/PEER_bulk if it has that, with `arg` appended
 * unless it is NULL.  `get` is called when the input is first needed; the
 * input and what `arg` and `opaque` point at must stay.
 */
int peer_bench_register(const char *name, const int64_t *arg,
			const struct peer *peer,
			int (*get)(const void *opaque, struct peer_input *input),
			const void *opaque);

#endif
