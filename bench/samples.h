/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Times of single pieces of work, for percentiles: what preempts a thread is
 * in few of them.  The newest SAMPLES_MAX are kept.
 */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#define SAMPLES_MAX (1u << 16)

struct samples {
	uint64_t taken;
	uint32_t ns[SAMPLES_MAX];
};

static inline void samples_add(struct samples *samples, uint64_t ns)
{
	samples->ns[samples->taken++ % SAMPLES_MAX] =
		ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

/* `part` of them (0 .. 1) are at most this; 0 if there are none.  Sorts. */
double samples_percentile(struct samples *samples, double part);

#endif
