/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hot look-up over all numbers of regions in turn, a few microseconds of
 * each, and each turn timed: what else runs on the machine hits all alike.
 *
 *	lookup/hot_turns	counters ns_N: a look-up over N regions, in the
 *				median turn
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"
#include "samples.h"
#include "world.h"

#define TURN 2048
#define COUNTS_MAX 16

struct turn {
	struct world *world;
	struct mpl_reader *reader;
	struct samples *samples;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void hot(const struct turn *turn)
{
	uint64_t gpa = turn->world->uniform[0];

	for (size_t i = 0; i < TURN; i += QUIESCENT_EVERY) {
		for (size_t j = 0; j < QUIESCENT_EVERY; j++) {
			bench_opaque(gpa);
			peer_use(mpl_lookup(turn->reader, turn->world->as,
					    gpa));
		}
		mpl_reader_quiescent(turn->reader);
	}
}

static int enter(struct turn *turn, int64_t count)
{
	int err = world_get(SHAPE_PAGES, (size_t)count, &turn->world);

	if (err)
		return err;
	turn->samples = calloc(1, sizeof(*turn->samples));
	turn->reader = world_enter(turn->world->plane);
	return turn->samples && turn->reader ? 0 : -ENOMEM;
}

static void run_turns(struct gb_state *state, struct turn *turns, size_t count)
{
	while (gb_next(state, TURN * count)) {
		for (size_t i = 0; i < count; i++) {
			uint64_t start = now_ns();

			hot(&turns[i]);
			samples_add(turns[i].samples, now_ns() - start);
		}
	}
	for (size_t i = 0; i < count; i++) {
		char name[32];

		snprintf(name, sizeof(name), "ns_%lld",
			 (long long)bench_counts[i]);
		gb_counter(state, name,
			   samples_percentile(turns[i].samples, 0.5) / TURN);
	}
}

static void run(struct gb_state *state, void *arg)
{
	struct turn turns[COUNTS_MAX] = { 0 };
	size_t count = 0;
	int err = 0;

	(void)arg;
	while (!err && bench_counts[count] &&
	       bench_count_wanted(bench_counts[count])) {
		err = enter(&turns[count], bench_counts[count]);
		count++;
	}
	if (err)
		gb_fail(state, "no such world, or no reader");
	else
		run_turns(state, turns, count);
	while (count--) {
		world_leave(turns[count].reader);
		free(turns[count].samples);
	}
}

int register_turns(void)
{
	struct gb_bench bench = { .name = "lookup/hot_turns", .run = run };

	return gb_register(&bench);
}
