/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Latencies: a cheap timer, and a histogram of 16 buckets per power of two
 * (so a percentile is right to 6 %), written by one thread.
 */
#ifndef REPLAY_LATENCY_H
#define REPLAY_LATENCY_H

#include <stdint.h>
#include <time.h>

#define LATENCY_FINE    4
#define LATENCY_BUCKETS ((64 - LATENCY_FINE + 1) << LATENCY_FINE)

struct latency {
	uint64_t count, max, total;
	uint64_t buckets[LATENCY_BUCKETS];
};

/* How the timer's ticks are turned into time, and what reading it costs. */
struct timer {
	double ns_per_tick;
	uint64_t cost; /* ticks that a pair of readings sees between them */
};

/*
 * Ticks.  On x86 the time stamp counter, held in place by fences so that it
 * measures what stands between two readings; elsewhere nanoseconds.
 */
static inline uint64_t timer_now(void)
{
#if defined(__x86_64__)
	uint64_t ticks;

	__builtin_ia32_lfence();
	ticks = __builtin_ia32_rdtsc();
	__builtin_ia32_lfence();
	return ticks;
#else
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
#endif
}

/* Takes 20 ms. */
void timer_calibrate(struct timer *timer);

static inline unsigned int latency_bucket(uint64_t value)
{
	unsigned int shift;

	if (value >> LATENCY_FINE == 0)
		return value;
	shift = 63 - __builtin_clzll(value) - LATENCY_FINE;
	return ((shift + 1) << LATENCY_FINE) +
	       ((value >> shift) & ((1u << LATENCY_FINE) - 1));
}

static inline void latency_add(struct latency *latency, uint64_t value)
{
	latency->count++;
	latency->total += value;
	if (value > latency->max)
		latency->max = value;
	latency->buckets[latency_bucket(value)]++;
}

void latency_merge(struct latency *into, const struct latency *from);

/* The value that `share` (0 to 1) of all are not above. */
uint64_t latency_percentile(const struct latency *latency, double share);

#endif
