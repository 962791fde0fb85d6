/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Statistics: what they count, and with their help that a commit costs what
 * it changes and not what the machine holds.
 */
#include "tests/support/rig.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_commits(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device(rig, "io", 0x1000, NULL);
	struct mpl_plane_stats before = rig_stats(rig), now;

	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_true(rig_add(rig, device->region, 0x1000) != 0);
	assert_int_equal(rig_move(rig, device->region, 0x4000), 0);
	assert_int_equal(mpl_commit(mpl_begin(rig->plane)), 0);
	mpl_abort(mpl_begin(rig->plane)); /* was never asked for */
	now = rig_stats(rig);
	assert_int_equal(now.commits - before.commits, 3);
	assert_int_equal(now.commits_failed - before.commits_failed, 1);
	assert_int_equal(now.batches - before.batches, 4);
	assert_int_equal(now.batch_max, 1);
	assert_int_equal(now.ranges_added - before.ranges_added, 2);
	assert_int_equal(now.ranges_removed - before.ranges_removed, 1);
	assert_true(now.generation > before.generation);
	assert_true(now.generation == mpl_plane_generation(rig->plane));
}

static void test_things_there_are(void **state)
{
	struct rig *rig = *state;
	struct mpl_plane_stats before = rig_stats(rig), now;
	struct rig_device *device = rig_device(rig, "io", 0x1000, NULL);
	struct mpl_address_space *as, *shared;
	struct mpl_reader *reader;

	assert_int_equal(mpl_address_space_new(rig->plane, "a", device->region,
					       &as),
			 0);
	assert_int_equal(mpl_address_space_new(rig->plane, "b", rig->root,
					       &shared),
			 0);
	assert_int_equal(mpl_reader_register(rig->plane, &reader), 0);
	now = rig_stats(rig);
	assert_int_equal(now.regions - before.regions, 1);
	assert_int_equal(now.spaces - before.spaces, 2);
	assert_int_equal(now.views - before.views, 1);
	assert_int_equal(now.readers - before.readers, 1);
	assert_int_equal(now.sections_live - before.sections_live, 1);
	assert_int_equal(mpl_reader_unregister(reader), 0);
	assert_int_equal(mpl_address_space_free(shared), 0);
	assert_int_equal(mpl_address_space_free(as), 0);
	assert_int_equal(mpl_synchronize(rig->plane), 0);
	now = rig_stats(rig);
	assert_int_equal(now.spaces, before.spaces);
	assert_int_equal(now.views, before.views);
	assert_int_equal(now.readers, before.readers);
	assert_int_equal(now.sections_live, before.sections_live);
	assert_int_equal(now.nodes_live, before.nodes_live);
	mpl_region_unref(device->region);
	assert_true(rig_wait_reclaiming(rig, &device->released, 1));
	assert_int_equal(rig_stats(rig).regions, before.regions);
}

/* Counters of a reader: its own, and summed also after it is gone. */
static void test_readers(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device(rig, "io", 0x1000, NULL);
	const struct mpl_attrs attrs = { 0 };
	struct mpl_reader_stats stats;
	struct mpl_reader *reader[2];
	uint64_t value, misses;

	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mpl_reader_register(rig->plane, &reader[i]),
				 0);
		assert_int_equal(mpl_reader_online(reader[i]), 0);
	}
	mpl_reader_set_name(reader[0], "first");
	for (int i = 0; i < 7; i++)
		assert_int_equal(mpl_load(reader[0], rig->as, 0x3000, attrs, 4,
					  MPL_NATIVE_ENDIAN, &value),
				 MPL_DECODE_ERROR);
	for (int i = 0; i < 5; i++)
		assert_int_equal(rig_write(reader[0], rig, 0x1000, 1), MPL_OK);
	assert_int_equal(rig_write(reader[1], rig, 0x4000, 1),
			 MPL_DECODE_ERROR);
	assert_int_equal(mpl_load(reader[1], rig->as, 0x1000,
				  (struct mpl_attrs){ .memory_only = 1 }, 4,
				  MPL_NATIVE_ENDIAN, &value),
			 MPL_ACCESS_ERROR);
	mpl_reader_stats(reader[0], &stats);
	assert_string_equal(stats.name, "first");
	assert_int_equal(stats.reads, 7);
	assert_int_equal(stats.writes, 5);
	assert_int_equal(stats.decode_errors, 7);
	assert_int_equal(stats.access_errors, 0);
	assert_true(stats.misses > 0);
	misses = stats.misses; /* the device is in the cache now */
	assert_int_equal(rig_write(reader[0], rig, 0x1000, 1), MPL_OK);
	mpl_reader_stats(reader[0], &stats);
	assert_int_equal(stats.misses, misses);
	mpl_reader_drop_caches(reader[0]);
	assert_int_equal(rig_write(reader[0], rig, 0x1000, 1), MPL_OK);
	mpl_reader_stats(reader[0], &stats);
	assert_int_equal(stats.misses, misses + 1);
	assert_int_equal(stats.writes, 7);
	mpl_reader_stats(reader[1], &stats);
	assert_int_equal(stats.decode_errors, 1);
	assert_int_equal(stats.access_errors, 1);
	assert_int_equal(rig_stats(rig).decode_errors, 8);
	assert_int_equal(rig_stats(rig).access_errors, 1);
	assert_int_equal(mpl_reader_unregister(reader[0]), 0);
	assert_int_equal(rig_stats(rig).decode_errors, 8);
	assert_int_equal(mpl_reader_unregister(reader[1]), 0);
	assert_int_equal(rig_stats(rig).decode_errors, 8);
	assert_int_equal(rig_stats(rig).access_errors, 1);
	/* A spare reader's count too, and a new one begins at 0. */
	assert_int_equal(mpl_plane_read(rig->plane, rig->as, 0x3000, attrs,
					&value, 4),
			 MPL_DECODE_ERROR);
	assert_int_equal(rig_stats(rig).decode_errors, 9);
	assert_int_equal(mpl_reader_register(rig->plane, &reader[0]), 0);
	mpl_reader_stats(reader[0], &stats);
	assert_int_equal(stats.decode_errors, 0);
	assert_int_equal(mpl_reader_unregister(reader[0]), 0);
}

struct loop {
	struct mpl_reader *reader;
	uint64_t to;
	mpl_result_t result;
};

static void write_on(struct rig_device *device, uint64_t offset,
		     uint64_t value)
{
	struct loop *loop = device->arg;

	(void)offset;
	loop->result = rig_write(loop->reader, device->rig, loop->to, value);
}

static void test_reentries(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device(rig, "io", 0x1000, write_on);
	struct loop loop = { .to = 0x1000 };
	struct mpl_reader_stats stats;

	device->arg = &loop;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_int_equal(mpl_reader_register(rig->plane, &loop.reader), 0);
	assert_int_equal(mpl_reader_online(loop.reader), 0);
	assert_int_equal(rig_write(loop.reader, rig, 0x1000, 1), MPL_OK);
	assert_int_equal(loop.result, MPL_ACCESS_ERROR);
	mpl_reader_stats(loop.reader, &stats);
	assert_int_equal(stats.reentries, 1);
	assert_int_equal(stats.writes, 2);
	assert_int_equal(stats.lock_cycles, 0);
	assert_int_equal(mpl_reader_unregister(loop.reader), 0);
}

static void test_retired(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device(rig, "io", 0x1000, NULL);
	struct mpl_plane_stats before, now;
	struct mpl_reader *reader;
	uint64_t age = 0;

	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_int_equal(mpl_synchronize(rig->plane), 0);
	before = rig_stats(rig);
	assert_int_equal(before.retired_bytes, 0);
	assert_int_equal(before.retired_age_ns, 0);
	assert_int_equal(mpl_reader_register(rig->plane, &reader), 0);
	assert_int_equal(mpl_reader_online(reader), 0);
	for (uint64_t i = 0; i < 10; i++) {
		uint64_t pending = rig_stats(rig).retired_bytes;

		assert_int_equal(rig_move(rig, device->region, 0x1000 * i),
				 0);
		now = rig_stats(rig);
		assert_true(now.retired_bytes > pending);
		assert_true(now.retired_age_ns > age); /* of the oldest */
		age = now.retired_age_ns;
	}
	assert_true(mpl_reclaim(rig->plane) == now.retired_bytes);
	assert_true(now.retired_bytes_peak >= now.retired_bytes);
	assert_true(now.retired_bytes_total - before.retired_bytes_total ==
		    now.retired_bytes);
	assert_int_equal(now.sections_live - before.sections_live, 10);
	assert_int_equal(mpl_reader_offline(reader), 0);
	assert_int_equal(mpl_synchronize(rig->plane), 0);
	now = rig_stats(rig);
	assert_int_equal(now.retired_bytes, 0);
	assert_int_equal(now.retired_age_ns, 0);
	assert_true(now.retired_bytes_peak > 0);
	assert_int_equal(now.nodes_live, before.nodes_live);
	assert_int_equal(now.sections_live, before.sections_live);
	assert_int_equal(mpl_reader_unregister(reader), 0);
}

/* ---- what a commit costs ---- */

static const struct mpl_io_ops no_ops;

struct cost {
	uint64_t intervals, ranges, nodes, views, added, removed;
};

static struct cost cost_between(const struct mpl_plane_stats *a,
				const struct mpl_plane_stats *b)
{
	return (struct cost){
		.intervals = b->intervals - a->intervals,
		.ranges = b->ranges_rendered - a->ranges_rendered,
		.nodes = b->nodes_copied - a->nodes_copied,
		.views = b->views_built - a->views_built,
		.added = b->ranges_added - a->ranges_added,
		.removed = b->ranges_removed - a->ranges_removed,
	};
}

static void keep_worst(struct cost *worst, const struct cost *cost)
{
#define KEEP(field)                                                            \
	if (cost->field > worst->field)                                        \
	worst->field = cost->field
	KEEP(intervals);
	KEEP(ranges);
	KEEP(nodes);
	KEEP(views);
	KEEP(added);
	KEEP(removed);
#undef KEEP
}

/* The worst of 100 toggles (both halves counted) among `count` regions. */
static struct cost toggle_cost(uint64_t count, uint64_t stride,
			       unsigned int spaces)
{
	static const struct mpl_plane_config config = { 0 };
	struct mpl_region **regions = calloc(count, sizeof(*regions));
	struct rig *rig = rig_new(&config);
	struct mpl_txn *tx = mpl_begin(rig->plane);
	struct mpl_address_space *as;
	struct cost worst = { 0 };
	uint64_t pick = 1;

	assert_non_null(regions);
	for (uint64_t i = 0; i < count; i++) {
		assert_int_equal(mpl_region_new_io(rig->plane, NULL, 0x1000,
						   &no_ops, NULL, &regions[i]),
				 0);
		mpl_region_add(tx, rig->root, i * stride, regions[i], 0);
	}
	assert_int_equal(mpl_commit(tx), 0);
	for (unsigned int i = 1; i < spaces; i++) {
		struct mpl_region *alias; /* a bus master's */

		assert_int_equal(mpl_region_new_alias(rig->plane, NULL,
						      rig->root, 0, UINT64_MAX,
						      &alias),
				 0);
		assert_int_equal(mpl_address_space_new(rig->plane, NULL, alias,
						       &as),
				 0);
	}
	assert_int_equal(rig_stats(rig).views, 2); /* with the empty one */
	for (int i = 0; i < 100; i++) {
		struct mpl_plane_stats before = rig_stats(rig), after;
		struct mpl_region *region;
		struct cost cost;

		pick = pick * 6364136223846793005 + 1442695040888963407;
		region = regions[(pick >> 33) % count];
		assert_int_equal(rig_enable(rig, region, false), 0);
		assert_int_equal(rig_enable(rig, region, true), 0);
		after = rig_stats(rig);
		cost = cost_between(&before, &after);
		assert_int_equal(cost.added, 1);
		assert_int_equal(cost.removed, 1);
		keep_worst(&worst, &cost);
	}
	rig_free(rig);
	free(regions);
	return worst;
}

/* How many nodes a path through `count` neighbours has, 64 ways each. */
static uint64_t path_length(uint64_t count)
{
	uint64_t length = 1;

	for (uint64_t reach = 64; reach < count; reach *= 64)
		length++;
	return length;
}

static void print_cost(uint64_t count, uint64_t stride, const struct cost *cost)
{
	print_message("%6" PRIu64 " regions, stride %" PRIx64 ": %" PRIu64
		      " intervals, %" PRIu64 " ranges, %" PRIu64 " nodes\n",
		      count, stride, cost->intervals, cost->ranges,
		      cost->nodes);
}

static void test_toggle_costs_what_it_changes(void **state)
{
	static const uint64_t counts[] = { 64, 4096, 65536 };
	static const uint64_t strides[] = { 0x1000, 0x100000 };

	(void)state;
	for (size_t s = 0; s < 2; s++) {
		for (size_t i = 0; i < 3; i++) {
			struct cost cost =
				toggle_cost(counts[i], strides[s], 1);

			print_cost(counts[i], strides[s], &cost);
			assert_int_equal(cost.intervals, 2);
			assert_int_equal(cost.ranges, 1);
			assert_int_equal(cost.views, 0);
			/* One path, twice; a stride off the grid of six bits
			 * a level has one node more. */
			assert_true(cost.nodes <=
				    2 * (path_length(counts[i]) + s));
		}
	}
}

/* Spaces that show the same cost nothing more. */
static void test_toggle_in_many_spaces(void **state)
{
	struct cost one = toggle_cost(256, 0x1000, 1);
	struct cost many = toggle_cost(256, 0x1000, 256);

	(void)state;
	assert_int_equal(many.intervals, one.intervals);
	assert_int_equal(many.ranges, one.ranges);
	assert_int_equal(many.nodes, one.nodes);
}

/* The debug mode does cost what the machine holds: so it counts rightly. */
static void test_full_rebuild_costs_everything(void **state)
{
	static const struct mpl_plane_config config = { .full_rebuild = true };
	struct rig *rig = rig_new(&config);
	struct mpl_plane_stats before, after;
	struct rig_device *device = NULL;

	(void)state;
	for (uint64_t i = 0; i < 100; i++) {
		device = rig_device(rig, "io", 0x1000, NULL);
		assert_int_equal(rig_add(rig, device->region, 0x1000 * i), 0);
	}
	before = rig_stats(rig);
	assert_int_equal(rig_enable(rig, device->region, false), 0);
	after = rig_stats(rig);
	assert_int_equal(after.ranges_rendered - before.ranges_rendered, 99);
	assert_int_equal(after.ranges_removed - before.ranges_removed, 1);
	assert_int_equal(after.ranges_added - before.ranges_added, 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_BOTH(test_commits),
		RIG_BOTH(test_things_there_are),
		RIG_BOTH(test_readers),
		RIG_BOTH(test_reentries),
		RIG_BOTH(test_retired),
		cmocka_unit_test(test_toggle_costs_what_it_changes),
		cmocka_unit_test(test_toggle_in_many_spaces),
		cmocka_unit_test(test_full_rebuild_costs_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
