/* SPDX-License-Identifier: BSD-3-Clause */
#include "latency.h"

#include <stddef.h>

void latency_merge(struct latency *into, const struct latency *from)
{
	unsigned int i;

	into->count += from->count;
	into->total += from->total;
	if (from->max > into->max)
		into->max = from->max;
	for (i = 0; i < LATENCY_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
}

/* The largest value of a bucket. */
static uint64_t bucket_top(unsigned int bucket)
{
	unsigned int shift = bucket >> LATENCY_FINE;
	uint64_t fine = bucket & ((1u << LATENCY_FINE) - 1);

	if (!shift)
		return fine;
	return (((UINT64_C(1) << LATENCY_FINE) + fine + 1) << (shift - 1)) - 1;
}

uint64_t latency_percentile(const struct latency *latency, double share)
{
	uint64_t below = 0, want = latency->count * share;
	unsigned int i;

	for (i = 0; i < LATENCY_BUCKETS; i++) {
		below += latency->buckets[i];
		if (below > want)
			break;
	}
	if (i == LATENCY_BUCKETS || bucket_top(i) > latency->max)
		return latency->max;
	return bucket_top(i);
}

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

void timer_calibrate(struct timer *timer)
{
	static const struct timespec pause = { 0, 20000000 };
	struct latency latency = { 0 };
	uint64_t ns = clock_ns(), ticks = timer_now();
	unsigned int i;

	nanosleep(&pause, NULL);
	ticks = timer_now() - ticks;
	ns = clock_ns() - ns;
	timer->ns_per_tick = ticks ? (double)ns / ticks : 1;
	for (i = 0; i < 10000; i++) {
		uint64_t begin = timer_now();

		latency_add(&latency, timer_now() - begin);
	}
	timer->cost = latency_percentile(&latency, 0.5);
}
