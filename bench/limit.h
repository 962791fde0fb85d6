/* SPDX-License-Identifier: BSD-3-Clause */
/* The chain of dependent loads, for whoever compares with it. */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#define CHAIN_LINKS 64

struct l1_chain {
	void *links[CHAIN_LINKS]; /* a ring: each points at the next */
	void **at;
};

void l1_chain_init(struct l1_chain *chain);

/* So many loads, a multiple of 16, each where the one before pointed. */
static inline void l1_chain_run(struct l1_chain *chain, unsigned int loads)
{
	void **at = chain->at;

	for (unsigned int i = 0; i < loads / 16; i++) {
		__asm__ volatile("" : "+r"(at) : : "memory");
		at = *at, at = *at, at = *at, at = *at;
		at = *at, at = *at, at = *at, at = *at;
		at = *at, at = *at, at = *at, at = *at;
		at = *at, at = *at, at = *at, at = *at;
	}
	chain->at = at;
}

#endif
