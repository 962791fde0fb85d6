/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One reader at full speed on one processor while a plane's control thread
 * commits on the other: commits to the reader's own plane against as many
 * commits to another plane, so that what the machine shares anyway (caches,
 * memory, the host below) is on both sides.
 *
 *	churn/own/RATE, churn/other/RATE	look-ups, uniform over 1024
 *						regions; time of one
 *	churn/latency_own, latency_other	... each look-up timed: p999_ns
 *						includes the clock's own cost
 *
 * RATE is commits a second, 0: as fast as they go; `commits` is how many
 * there were a second, `misses` how many look-ups walked.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "bench.h"
#include "pin.h"
#include "world.h"

#define BATCH 1024
#define REGIONS 1024
#define READER_CPU 0
#define COMMIT_CPU 1
/* Latencies from this on share a bin, in nanoseconds. */
#define BINS 65536

/* [0] is looked up; commits go to [0] or [1]. */
static struct world *worlds[2];

struct churn {
	const char *name;
	int64_t rate;
	bool own;
	bool latency;

	/* While it runs; both threads see what is behind `committer`. */
	pthread_t committer;
	bool stop;
	int error;
	uint64_t commits;
	uint64_t refused; /* -EAGAIN: too much waits for the reader */
};

static struct churn churns[] = {
	{ .name = "churn/own", .rate = 10000, .own = true },
	{ .name = "churn/other", .rate = 10000 },
	{ .name = "churn/own", .rate = 0, .own = true },
	{ .name = "churn/other", .rate = 0 },
	{ .name = "churn/latency_own", .rate = 10000, .own = true,
	  .latency = true },
	{ .name = "churn/latency_other", .rate = 10000, .latency = true },
};

static void sleep_until(uint64_t ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(ns / 1000000000),
		.tv_nsec = (long)(ns % 1000000000),
	};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static int toggle(struct world *world, struct mpl_region *region, bool on)
{
	struct mpl_txn *tx = mpl_begin(world->plane);

	mpl_region_set_enabled(tx, region, on);
	return mpl_commit(tx);
}

/* One thread counts, another reads. */
static void count_one(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static uint64_t counted(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void *commit_at_rate(void *arg)
{
	struct churn *churn = arg;
	struct world *world = worlds[churn->own ? 0 : 1];
	struct mpl_region *region = world->regions[0];
	uint64_t random = 1, next = bench_ns();
	bool on = true;

	pin_thread(COMMIT_CPU);
	prctl(PR_SET_TIMERSLACK, 1UL);
	while (!__atomic_load_n(&churn->stop, __ATOMIC_RELAXED) || !on) {
		int err;

		if (on)
			region = world->regions[bench_random(&random) %
						world->count];
		err = toggle(world, region, !on);
		if (err == -EAGAIN) {
			count_one(&churn->refused);
		} else if (err) {
			__atomic_store_n(&churn->error, err, __ATOMIC_RELAXED);
			break;
		} else {
			on = !on;
			count_one(&churn->commits);
		}
		if (churn->rate) {
			next += 1000000000 / (uint64_t)churn->rate;
			sleep_until(next);
		}
	}
	return NULL;
}

static int setup(void *arg)
{
	static const struct mpl_plane_config config = {
		.control_thread = true,
	};
	struct churn *churn = arg;
	int err = 0;

	pin_thread(COMMIT_CPU); /* control threads inherit it */
	for (unsigned int i = 0; !err && i < 2; i++) {
		if (!worlds[i])
			err = world_create(SHAPE_PAGES, REGIONS, &config,
					   &worlds[i]);
	}
	pin_thread(READER_CPU);
	churn->stop = false;
	churn->error = 0;
	churn->commits = churn->refused = 0;
	if (!err)
		err = -pthread_create(&churn->committer, NULL, commit_at_rate,
				      churn);
	if (err)
		pin_release();
	return err;
}

static void teardown(void *arg)
{
	struct churn *churn = arg;

	__atomic_store_n(&churn->stop, true, __ATOMIC_RELAXED);
	pthread_join(churn->committer, NULL);
	pin_release();
	if (churn->error)
		fprintf(stderr, "%s: %s\n", churn->name,
			strerror(-churn->error));
}

static void sweep(struct gb_state *state, const struct world *world,
		  struct mpl_reader *reader)
{
	size_t at = 0;

	while (gb_next(state, BATCH)) {
		for (size_t i = 0; i < BATCH; i += QUIESCENT_EVERY) {
			const uint64_t *turn = world->uniform + at + i;

			for (size_t j = 0; j < QUIESCENT_EVERY; j++)
				peer_use(mpl_lookup(reader, world->as,
						    turn[j]));
			mpl_reader_quiescent(reader);
		}
		at = (at + BATCH) & (WORLD_ADDRESSES - 1);
	}
}

static uint64_t percentile(const uint32_t *bins, uint64_t total, double part)
{
	uint64_t want = (uint64_t)((double)total * part);
	uint64_t seen = 0;

	for (uint64_t i = 0; i < BINS; i++) {
		seen += bins[i];
		if (seen > want)
			return i;
	}
	return BINS;
}

static void time_each(struct gb_state *state, const struct world *world,
		      struct mpl_reader *reader, uint32_t *bins)
{
	size_t at = 0;

	while (gb_next(state, BATCH)) {
		for (size_t i = 0; i < BATCH; i++) {
			uint64_t start = bench_ns(), ns;

			peer_use(mpl_lookup(reader, world->as,
					    world->uniform[at + i]));
			if (i % QUIESCENT_EVERY == 0)
				mpl_reader_quiescent(reader);
			ns = bench_ns() - start;
			bins[ns < BINS ? ns : BINS - 1]++;
		}
		at = (at + BATCH) & (WORLD_ADDRESSES - 1);
	}
	gb_counter(state, "p50_ns",
		   (double)percentile(bins, gb_units(state), 0.5));
	gb_counter(state, "p999_ns",
		   (double)percentile(bins, gb_units(state), 0.999));
}

static void run_with_bins(struct gb_state *state, struct mpl_reader *reader)
{
	uint32_t *bins = calloc(BINS, sizeof(*bins));

	if (bins)
		time_each(state, worlds[0], reader, bins);
	else
		gb_fail(state, "no memory");
	free(bins);
}

static void run(struct gb_state *state, void *arg)
{
	struct churn *churn = arg;
	struct mpl_reader *reader = world_enter(worlds[0]->plane);
	uint64_t commits = counted(&churn->commits);
	uint64_t start = bench_ns();
	double seconds;
	int err;

	if (!reader) {
		gb_fail(state, "no reader");
		return;
	}
	if (churn->latency)
		run_with_bins(state, reader);
	else
		sweep(state, worlds[0], reader);
	seconds = (double)(bench_ns() - start) / 1e9;
	gb_counter(state, "commits",
		   (double)(counted(&churn->commits) - commits) / seconds);
	gb_counter(state, "refused",
		   (double)counted(&churn->refused) / seconds);
	gb_counter(state, "misses",
		   (double)reader->misses / (double)gb_units(state));
	err = __atomic_load_n(&churn->error, __ATOMIC_RELAXED);
	if (err)
		gb_fail(state, strerror(-err));
	world_leave(reader);
}

int register_churn(void)
{
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(churns) / sizeof(*churns); i++) {
		struct gb_bench bench = {
			.name = churns[i].name,
			.args = &churns[i].rate,
			.nargs = 1,
			.wall = true,
			.min_time = bench_quick ? 0.01 : 0.3,
			.setup = setup,
			.run = run,
			.teardown = teardown,
			.arg = &churns[i],
		};

		err = gb_register(&bench);
	}
	return err;
}

void churn_free_all(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		if (worlds[i])
			world_destroy(worlds[i]);
		worlds[i] = NULL;
	}
}
