/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the processor allows: a chain of loads from the first-level cache,
 * each of whose addresses is what the one before loaded.  L is the time of
 * one.  And what a call costs that no device access can do without.
 */
#include "limit.h"

#include "access_calls.h"
#include "bench.h"

#define BATCH 4096

void l1_chain_init(struct l1_chain *chain)
{
	/* A stride that visits all: CHAIN_LINKS is even, 37 is odd. */
	for (unsigned int i = 0; i < CHAIN_LINKS; i++)
		chain->links[i * 37 % CHAIN_LINKS] =
			&chain->links[(i + 1) * 37 % CHAIN_LINKS];
	chain->at = chain->links;
}

static void l1_chain(struct gb_state *state, void *arg)
{
	struct l1_chain chain;

	(void)arg;
	l1_chain_init(&chain);
	while (gb_next(state, BATCH))
		l1_chain_run(&chain, BATCH);
	bench_use(chain.at);
}

static void indirect_call(struct gb_state *state, void *arg)
{
	bench_read_fn read = bench_empty_read;
	struct mpl_attrs attrs = { 0 };
	uint64_t value;

	(void)arg;
	while (gb_next(state, BATCH)) {
		for (uint64_t i = 0; i < BATCH; i++) {
			bench_opaque(read);
			bench_use(read(NULL, i & 0xffc, 4, attrs, &value));
			bench_use(value);
		}
	}
}

int register_limit(void)
{
	struct gb_bench chain = { .name = "limit/l1_chain", .run = l1_chain };
	struct gb_bench call = { .name = "limit/call", .run = indirect_call };
	int err = gb_register(&chain);

	return err ? err : gb_register(&call);
}
