/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this folder share: one function each that registers its
 * benchmarks, and the little that all of them need.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "gbench.h"

/* Look-ups between two reports of a quiescent state, everywhere. */
#define QUIESCENT_EVERY 32

/* Only whether everything works, not how fast: small maps, few turns. */
extern bool bench_quick;

/* Region counts of most series, in ascending order; 0 ends them. */
extern const int64_t bench_counts[];
/* The largest count that a quick run uses. */
#define BENCH_QUICK_MAX 1024
bool bench_count_wanted(int64_t count);

/*
 * Each run finds the caches full of what others left.  Where a map is too
 * large for the nearer ones, getting it back must not count: gb_bench.longer.
 */
static inline unsigned int bench_longer(int64_t count)
{
	return count >= 16384 ? 3 : 1;
}

/* Each: 0 or -errno. */
int register_limit(void);
int register_lookup(void);
int register_turns(void);
int register_peers(void);
int register_recorded(void);
int register_ring(void);
int register_access(void);
int register_readers(void);
int register_commit(void);
int register_build(void);
int register_churn(void);
int register_doorbell(void);
int register_dma(void);
int register_kvm_exit(void);
int register_dirty(void);
int register_ram(void);
int register_kvm(void);

/* Free what benchmarks keep from one run to the next. */
void peers_free_all(void);
void ring_free_all(void);
void recorded_free_all(void);
void commit_free_all(void);
void churn_free_all(void);
void readers_free_all(void);
void doorbell_free_all(void);
void dma_free_all(void);
void dirty_free_all(void);
void kvm_free_all(void);
void ram_free_all(void);
void io_world_free(void);

/* Sequence of numbers that is the same in every run (SplitMix64). */
static inline uint64_t bench_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static inline uint64_t bench_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The compiler must take `value` for used, and for changed. */
#define bench_use(value) __asm__ volatile("" : : "r"(value))
#define bench_opaque(value) __asm__ volatile("" : "+r"(value))

#endif
