/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Putting a machine of N regions together, time per region.
 *
 *	build/each/N		one transaction for each region
 *	build/once/N		one transaction for all of them
 *	build/attach_each/N	as each, but the regions are there already:
 *	build/attach_once/N	only the transactions count
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <memplane.h>

#include "bench.h"
#include "world.h"

#define REGION_BYTES (4 * MPL_KIB)
#define REGION_STEP (12 * MPL_KIB)

struct site {
	struct mpl_plane *plane;
	struct mpl_region *root;
	struct mpl_address_space *as;
	struct mpl_region **regions;
	uint64_t count;
};

static int make_regions(struct site *site)
{
	int err = 0;

	for (uint64_t i = 0; !err && i < site->count; i++)
		err = mpl_region_new_io(site->plane, NULL, REGION_BYTES,
					&world_io_ops, NULL,
					&site->regions[i]);
	return err;
}

static int open_site(struct site *site, uint64_t count)
{
	int err;

	memset(site, 0, sizeof(*site));
	site->count = count;
	site->regions = calloc(count, sizeof(struct mpl_region *));
	if (!site->regions)
		return -ENOMEM;
	err = mpl_plane_new(&site->plane, NULL);
	if (!err)
		err = mpl_region_new_container(site->plane, "system",
					       UINT64_MAX, &site->root);
	if (!err)
		err = mpl_address_space_new(site->plane, "memory", site->root,
					    &site->as);
	return err;
}

static void close_site(struct site *site)
{
	for (uint64_t i = 0; site->regions && i < site->count; i++)
		mpl_region_unref(site->regions[i]);
	free(site->regions);
	mpl_region_unref(site->root);
	mpl_plane_free(site->plane);
}

static int attach_each(struct site *site)
{
	int err = 0;

	for (uint64_t i = 0; !err && i < site->count; i++) {
		struct mpl_txn *tx = mpl_begin(site->plane);

		mpl_region_add(tx, site->root, i * REGION_STEP,
			       site->regions[i], 0);
		err = mpl_commit(tx);
	}
	return err;
}

static int attach_once(struct site *site)
{
	struct mpl_txn *tx = mpl_begin(site->plane);

	for (uint64_t i = 0; i < site->count; i++)
		mpl_region_add(tx, site->root, i * REGION_STEP,
			       site->regions[i], 0);
	return mpl_commit(tx);
}

static const struct task {
	const char *name;
	int (*attach)(struct site *site);
	bool make; /* the regions as well, within the time */
} tasks[] = {
	{ "build/each", attach_each, true },
	{ "build/once", attach_once, true },
	{ "build/attach_each", attach_each, false },
	{ "build/attach_once", attach_once, false },
};

static void run(struct gb_state *state, void *arg)
{
	const struct task *task = arg;
	uint64_t count = (uint64_t)gb_arg(state, 0);

	while (gb_next(state, count)) {
		struct site site;
		int err;

		gb_pause(state);
		err = open_site(&site, count);
		if (!err && !task->make)
			err = make_regions(&site);
		gb_resume(state);
		if (!err && task->make)
			err = make_regions(&site);
		if (!err)
			err = task->attach(&site);
		gb_pause(state);
		if (err)
			gb_fail(state, strerror(-err));
		close_site(&site);
		gb_resume(state);
	}
}

int register_build(void)
{
	int err = 0;

	for (size_t i = 0; i < sizeof(tasks) / sizeof(*tasks); i++) {
		for (const int64_t *count = bench_counts; !err && *count;
		     count++) {
			struct gb_bench bench = {
				.name = tasks[i].name,
				.args = count,
				.nargs = 1,
				.run = run,
				.arg = (void *)(uintptr_t)&tasks[i],
			};

			if (bench_count_wanted(*count))
				err = gb_register(&bench);
		}
	}
	return err;
}
