/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What commits cost, by the number of regions that the machine has.
 *
 *	commit/toggle/N		disable or enable one random region; inline
 *	commit/handover/N	the same through the control thread and back
 *	commit/full/N		the same with every commit rebuilding it all
 *	commit/masters/M	one of 1024 regions, shown to M address spaces
 *
 * All are judged by the counter p50_ns (each commit is timed); the counters
 * nodes and ranges are radix nodes copied and flat ranges rendered a commit.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "samples.h"
#include "world.h"

#define MASTERS_OF 1024

enum commit_kind { TOGGLE, HANDOVER, FULL, MASTERS };

struct commit_bench {
	enum commit_kind kind;
	int64_t count;
	struct world *world; /* made when first needed, then kept */
};

static const char *const names[] = {
	[TOGGLE] = "commit/toggle",
	[HANDOVER] = "commit/handover",
	[FULL] = "commit/full",
	[MASTERS] = "commit/masters",
};

static struct commit_bench benches[32];
static size_t benches_used;

/* Bus masters whose address space is a window onto all of system memory. */
static int add_masters(struct world *world, int64_t count)
{
	int err = 0;

	for (int64_t i = 0; !err && i < count; i++) {
		struct mpl_address_space *as;
		struct mpl_region *window;

		err = mpl_region_new_alias(world->plane, "master", world->root,
					   0, UINT64_MAX, &window);
		if (err)
			break;
		err = mpl_address_space_new(world->plane, "master", window,
					    &as);
		mpl_region_unref(window);
	}
	return err;
}

static int setup(void *arg)
{
	struct commit_bench *bench = arg;
	struct mpl_plane_config config = {
		.control_thread = bench->kind == HANDOVER,
		.full_rebuild = bench->kind == FULL,
	};
	int64_t count = bench->kind == MASTERS ? MASTERS_OF : bench->count;
	int err;

	if (bench->world)
		return 0;
	err = world_create(SHAPE_PAGES, (size_t)count, &config, &bench->world);
	if (!err && bench->kind == MASTERS)
		err = add_masters(bench->world, bench->count);
	if (err)
		fprintf(stderr, "%s/%lld: %s\n", names[bench->kind],
			(long long)bench->count, strerror(-err));
	return err;
}

static int toggle(struct world *world, struct mpl_region *region, bool on)
{
	struct mpl_txn *tx = mpl_begin(world->plane);

	mpl_region_set_enabled(tx, region, on);
	return mpl_commit(tx);
}

static void report(struct gb_state *state, struct samples *samples,
		   const struct mpl_plane_stats *before,
		   const struct mpl_plane_stats *after)
{
	double commits = (double)(after->commits - before->commits);

	gb_counter(state, "p50_ns", samples_percentile(samples, 0.5));
	gb_counter(state, "p99_ns", samples_percentile(samples, 0.99));
	gb_counter(state, "nodes",
		   (double)(after->nodes_copied - before->nodes_copied) /
			   commits);
	gb_counter(state, "ranges",
		   (double)(after->ranges_rendered - before->ranges_rendered) /
			   commits);
	gb_counter(state, "views", (double)after->views);
}

static void run_toggles(struct gb_state *state, struct world *world,
			struct samples *samples)
{
	struct mpl_plane_stats before, after;
	uint64_t random = 1;

	mpl_plane_stats(world->plane, &before);
	while (gb_next(state, 2)) {
		struct mpl_region *region =
			world->regions[bench_random(&random) % world->count];

		for (int on = 0; on < 2; on++) {
			uint64_t start = bench_ns();
			int err = toggle(world, region, on);

			samples_add(samples, bench_ns() - start);
			if (err)
				gb_fail(state, strerror(-err));
		}
	}
	mpl_plane_stats(world->plane, &after);
	if (samples->taken)
		report(state, samples, &before, &after);
}

static void run(struct gb_state *state, void *arg)
{
	struct commit_bench *bench = arg;
	struct samples *samples = calloc(1, sizeof(*samples));

	if (samples)
		run_toggles(state, bench->world, samples);
	else
		gb_fail(state, "no memory");
	free(samples);
}

static int register_one(enum commit_kind kind, int64_t count)
{
	struct commit_bench *own = &benches[benches_used++];
	struct gb_bench bench = {
		.name = names[kind],
		.args = &own->count,
		.nargs = 1,
		.wall = kind == HANDOVER,
		.setup = setup,
		.run = run,
		.arg = own,
	};

	*own = (struct commit_bench){ .kind = kind, .count = count };
	return gb_register(&bench);
}

int register_commit(void)
{
	static const int64_t masters[] = { 1, 256 };
	int err = 0;

	for (const int64_t *count = bench_counts; !err && *count; count++) {
		if (!bench_count_wanted(*count))
			continue;
		err = register_one(TOGGLE, *count);
		if (!err)
			err = register_one(FULL, *count);
		if (!err && *count == MASTERS_OF)
			err = register_one(HANDOVER, *count);
	}
	for (size_t i = 0; !err && i < 2; i++)
		err = register_one(MASTERS, masters[i]);
	return err;
}

void commit_free_all(void)
{
	for (size_t i = 0; i < benches_used; i++) {
		if (benches[i].world)
			world_destroy(benches[i].world);
		benches[i].world = NULL;
	}
}
