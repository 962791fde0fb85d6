/* SPDX-License-Identifier: BSD-3-Clause */
/* Dirty tracking: who logs, snapshots, logs from outside. */
#include <memplane.h>

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/region.h"

#define PAGE UINT64_C(4096)
enum { PAGES = 256 };

struct world {
	struct mpl_plane *plane;
	struct mpl_region *root;
	struct mpl_region *ram; /* at 1 MiB; may grow to twice its size */
	struct mpl_address_space *as;
	struct mpl_dirty_set *set;

	/* A listener's. */
	unsigned int syncs;
	int answer;	    /* of log_sync */
	int refuse;	    /* of commit */
	int broken;	    /* of on_broken_stop */
	uint64_t merge;	    /* into the first pages of each range */
	struct mpl_flat_range last;
};

static int on_sync(void *opaque, const struct mpl_flat_range *range)
{
	struct world *world = opaque;
	uint64_t bitmap = htole64(world->merge);

	world->syncs++;
	world->last = *range;
	if (world->merge)
		assert_int_equal(mpl_dirty_merge(range->region, range->offset,
						 &bitmap, 64), 0);
	return world->answer;
}

static int on_commit(void *opaque)
{
	return ((struct world *)opaque)->refuse;
}

static int on_log(void *opaque, const struct mpl_flat_range *range,
		  uint8_t old_mask, uint8_t new_mask)
{
	struct world *world = opaque;
	bool dirty = false;

	(void)range, (void)old_mask, (void)new_mask;
	/* While it is not sure that the log stops, nothing may be lost. */
	assert_int_equal(mpl_dirty_mark(world->ram, 9 * PAGE, 1), 0);
	assert_int_equal(mpl_dirty_test(world->ram, MPL_LOG_MIGRATION,
					9 * PAGE, 1, &dirty), 0);
	assert_true(dirty);
	return 0;
}

static int on_broken_stop(void *opaque, const struct mpl_flat_range *range,
			  uint8_t old_mask, uint8_t new_mask)
{
	(void)range, (void)old_mask, (void)new_mask;
	return ((struct world *)opaque)->broken;
}

static int on_reset(void *opaque)
{
	(void)opaque;
	return 0;
}

static const struct mpl_listener_ops listener_ops = {
	.name = "test",
	.log_start = on_log,
	.log_stop = on_log,
	.commit = on_commit,
	.log_sync = on_sync,
};

static int setup(void **state)
{
	const struct mpl_ram_config config = { .max_size = 2 * PAGES * PAGE };
	struct world *world = calloc(1, sizeof(*world));
	struct mpl_txn *tx;

	assert_non_null(world);
	assert_int_equal(mpl_plane_new(&world->plane, NULL), 0);
	assert_int_equal(mpl_region_new_container(world->plane, "root",
						  UINT64_MAX, &world->root),
			 0);
	assert_int_equal(mpl_region_new_ram(world->plane, "ram", PAGES * PAGE,
					    &config, &world->ram), 0);
	assert_int_equal(mpl_address_space_new(world->plane, "memory",
					       world->root, &world->as), 0);
	assert_int_equal(mpl_dirty_set_new(2 * PAGES, &world->set), 0);
	tx = mpl_begin(world->plane);
	mpl_region_add(tx, world->root, MPL_MIB, world->ram, 0);
	assert_int_equal(mpl_commit(tx), 0);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	mpl_region_unref(world->ram);
	mpl_region_unref(world->root);
	assert_int_equal(mpl_plane_free(world->plane), 0);
	mpl_dirty_set_free(world->set);
	free(world);
	return 0;
}

static int log_region(struct world *world, enum mpl_log_client client, bool on)
{
	struct mpl_txn *tx = mpl_begin(world->plane);

	if (on)
		mpl_log_start(tx, world->ram, client);
	else
		mpl_log_stop(tx, world->ram, client);
	return mpl_commit(tx);
}

static int log_global(struct world *world, enum mpl_log_client client, bool on)
{
	struct mpl_txn *tx = mpl_begin(world->plane);

	mpl_log_global(tx, client, on);
	return mpl_commit(tx);
}

static uint64_t count(struct mpl_region *region, enum mpl_log_client client)
{
	uint64_t pages = 12345;

	assert_int_equal(mpl_dirty_count(region, client, &pages), 0);
	return pages;
}

static void test_mark_is_of_clients(void **state)
{
	struct world *world = *state;

	assert_int_equal(mpl_dirty_mark(world->ram, 0, 1), 0);
	for (int i = 0; i < MPL_LOG_CLIENTS; i++)
		assert_int_equal(count(world->ram, i), 0);
	assert_int_equal(log_region(world, MPL_LOG_DISPLAY, true), 0);
	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, true), 0);
	assert_int_equal(mpl_dirty_mark(world->ram, PAGE - 1, 2), 0);
	assert_int_equal(count(world->ram, MPL_LOG_DISPLAY), 2);
	assert_int_equal(count(world->ram, MPL_LOG_CODE), 0);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 2);
	/* Who stopped gets no more, and keeps what was left. */
	assert_int_equal(log_region(world, MPL_LOG_DISPLAY, false), 0);
	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, false), 0);
	assert_int_equal(mpl_dirty_mark(world->ram, 7 * PAGE, 1), 0);
	assert_int_equal(count(world->ram, MPL_LOG_DISPLAY), 2);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 2);
}

static void test_starts_are_counted(void **state)
{
	struct world *world = *state;

	assert_int_equal(log_region(world, MPL_LOG_CODE, true), 0);
	assert_int_equal(log_region(world, MPL_LOG_CODE, true), 0);
	assert_int_equal(log_region(world, MPL_LOG_CODE, false), 0);
	assert_int_equal(mpl_dirty_mark(world->ram, 0, 1), 0);
	assert_int_equal(count(world->ram, MPL_LOG_CODE), 1);
	assert_int_equal(log_region(world, MPL_LOG_CODE, false), 0);
	assert_int_equal(mpl_dirty_mark(world->ram, PAGE, 1), 0);
	assert_int_equal(count(world->ram, MPL_LOG_CODE), 1);
}

static void test_take_part(void **state)
{
	struct world *world = *state;
	struct mpl_txn *tx = mpl_begin(world->plane);

	mpl_log_take_part(tx, world->ram, MPL_LOG_MIGRATION, false);
	mpl_log_global(tx, MPL_LOG_MIGRATION, true);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(mpl_dirty_mark(world->ram, 0, 1), 0);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 0);
	tx = mpl_begin(world->plane);
	mpl_log_take_part(tx, world->ram, MPL_LOG_MIGRATION, true);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(mpl_dirty_mark(world->ram, 0, 1), 0);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 1);
}

/* A region that is made while a global log runs is in it. */
static void test_made_while_logging(void **state)
{
	struct world *world = *state;
	struct mpl_region *late;

	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, true), 0);
	assert_int_equal(mpl_region_new_ram(world->plane, "late", PAGE, NULL,
					    &late), 0);
	assert_int_equal(mpl_dirty_mark(late, 0, 1), 0);
	assert_int_equal(count(late, MPL_LOG_MIGRATION), 1);
	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, false), 0);
	mpl_region_unref(late);
}

/* The part of the region that is removed keeps its marks. */
static void test_removed_while_logging(void **state)
{
	struct world *world = *state;
	struct mpl_txn *tx = mpl_begin(world->plane);

	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, true), 0);
	assert_int_equal(mpl_dirty_mark(world->ram, 5 * PAGE, 1), 0);
	mpl_region_remove(tx, world->ram);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(mpl_dirty_mark(world->ram, 6 * PAGE, 1), 0);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 2);
}

static void test_snapshot_clear(void **state)
{
	struct world *world = *state;
	uint64_t page, n;
	bool dirty;

	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, true), 0);
	assert_int_equal(mpl_dirty_mark(world->ram, 10 * PAGE, 20 * PAGE), 0);
	/* Pages that are touched in part are taken as a whole. */
	assert_int_equal(mpl_dirty_snapshot_clear(world->ram,
						  MPL_LOG_MIGRATION,
						  12 * PAGE + 4095, 2,
						  world->set), 0);
	assert_true(mpl_dirty_set_next(world->set, 0, &page, &n));
	assert_int_equal(page, 12);
	assert_int_equal(n, 2);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 18);
	assert_int_equal(mpl_dirty_test(world->ram, MPL_LOG_MIGRATION,
					12 * PAGE, 2 * PAGE, &dirty), 0);
	assert_false(dirty);
	assert_int_equal(mpl_dirty_test(world->ram, MPL_LOG_MIGRATION,
					12 * PAGE, 2 * PAGE + 1, &dirty), 0);
	assert_true(dirty);
	/* It is added to what the set has. */
	assert_int_equal(mpl_dirty_snapshot_clear(world->ram,
						  MPL_LOG_MIGRATION, 0,
						  UINT64_MAX, world->set), 0);
	assert_int_equal(mpl_dirty_set_count(world->set), 20);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 0);
}

static void test_errors(void **state)
{
	struct world *world = *state;
	const uint64_t most = 2 * PAGES * PAGE;
	struct mpl_dirty_set *small;
	struct mpl_region *io;
	uint64_t bits = 1;
	bool dirty;

	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, true), 0);
	assert_int_equal(mpl_region_new_io(world->plane, "io", PAGE, NULL,
					   NULL, &io), 0);
	assert_int_equal(mpl_dirty_set_new(8, &small), 0);
	assert_int_equal(mpl_dirty_mark(io, 0, 1), -EINVAL);
	assert_int_equal(mpl_dirty_mark(world->ram, most, 0), 0);
	assert_int_equal(mpl_dirty_mark(world->ram, most, 1), -ERANGE);
	assert_int_equal(mpl_dirty_mark(world->ram, most - 1, 2), -ERANGE);
	assert_int_equal(mpl_dirty_mark(world->ram, UINT64_MAX, 2), -ERANGE);
	assert_int_equal(mpl_dirty_mark(world->ram, 1, UINT64_MAX - 1),
			 -ERANGE);
	assert_int_equal(mpl_dirty_merge(world->ram, 1, &bits, 1), -EINVAL);
	assert_int_equal(mpl_dirty_merge(world->ram, most, &bits, 0), 0);
	assert_int_equal(mpl_dirty_merge(world->ram, most, &bits, 1), -ERANGE);
	assert_int_equal(mpl_dirty_merge(world->ram, PAGE, &bits, 2 * PAGES),
			 -ERANGE);
	assert_int_equal(mpl_dirty_merge(world->ram, 0, &bits, UINT64_MAX),
			 -ERANGE);
	assert_int_equal(mpl_dirty_test(world->ram, MPL_LOG_CLIENTS, 0, 1,
					&dirty), -EINVAL);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 0);
	assert_int_equal(mpl_dirty_snapshot_clear(world->ram,
						  MPL_LOG_MIGRATION, 0,
						  8 * PAGE + 1, small),
			 -ERANGE);
	assert_int_equal(mpl_dirty_snapshot_clear(world->ram,
						  MPL_LOG_MIGRATION, 0,
						  8 * PAGE, small), 0);
	mpl_dirty_set_free(small);
	mpl_region_unref(io);
}

/* Memory that no bitmap could be made for does not stand in a log's way. */
static void test_too_big(void **state)
{
	const struct mpl_ram_config unbacked = { .unbacked = true };
	struct world *world = *state;
	struct mpl_region *huge;
	uint64_t bits = 1;

	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, true), 0);
	assert_int_equal(mpl_region_new_ram(world->plane, "huge",
					    MPL_DIRTY_MAX + 1, &unbacked,
					    &huge), 0);
	assert_int_equal(mpl_dirty_mark(huge, 0, 1), -E2BIG);
	assert_int_equal(mpl_dirty_merge(huge, 0, &bits, 1), -E2BIG);
	assert_int_equal(mpl_dirty_count(huge, MPL_LOG_MIGRATION, &bits),
			 -E2BIG);
	mpl_region_unref(huge);
	assert_int_equal(mpl_region_new_ram(world->plane, "most", MPL_DIRTY_MAX,
					    &unbacked, &huge), 0);
	assert_int_equal(mpl_dirty_mark(huge, MPL_DIRTY_MAX - 1, 1), 0);
	assert_int_equal(count(huge, MPL_LOG_MIGRATION), 1);
	mpl_region_unref(huge);
}

static void test_merge(void **state)
{
	struct world *world = *state;
	const uint64_t bitmap[2] = { htole64(UINT64_C(1) << 63), htole64(3) };
	uint64_t page, n;

	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, true), 0);
	assert_int_equal(log_region(world, MPL_LOG_CODE, true), 0);
	assert_int_equal(mpl_dirty_merge(world->ram, 3 * PAGE, bitmap, 65), 0);
	assert_int_equal(mpl_dirty_snapshot_clear(world->ram, MPL_LOG_CODE, 0,
						  UINT64_MAX, world->set), 0);
	assert_true(mpl_dirty_set_next(world->set, 0, &page, &n));
	assert_int_equal(page, 66);
	assert_int_equal(n, 2);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 2);
	assert_int_equal(count(world->ram, MPL_LOG_DISPLAY), 0);
}

/* A stop that a listener refuses: the client never stopped logging. */
static void test_unwound_stop(void **state)
{
	struct world *world = *state;
	struct mpl_listener *listener;

	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, true), 0);
	assert_int_equal(mpl_listener_register(world->as, &listener_ops, world,
					       &listener), 0);
	world->refuse = -EIO;
	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, false), -EIO);
	world->refuse = 0;
	assert_int_equal(mpl_dirty_mark(world->ram, 20 * PAGE, 1), 0);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 2);
	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, false), 0);
	assert_int_equal(mpl_dirty_mark(world->ram, 21 * PAGE, 1), 0);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 2);
	/* And a start that is refused starts nothing that counts. */
	world->refuse = -EIO;
	assert_int_equal(log_region(world, MPL_LOG_CODE, true), -EIO);
	world->refuse = 0;
	assert_int_equal(log_region(world, MPL_LOG_CODE, false), -EINVAL);
}

static void test_sync(void **state)
{
	struct world *world = *state;
	struct mpl_listener *listener;

	assert_int_equal(mpl_listener_register(world->as, &listener_ops, world,
					       &listener), 0);
	assert_int_equal(mpl_dirty_sync(world->plane), 0);
	assert_int_equal(world->syncs, 0);
	assert_int_equal(log_region(world, MPL_LOG_MIGRATION, true), 0);
	world->merge = 5;
	assert_int_equal(mpl_dirty_sync(world->plane), 0);
	assert_int_equal(world->syncs, 1);
	assert_true(world->last.start == MPL_MIB);
	assert_int_equal(world->last.dirty_mask, 1u << MPL_LOG_MIGRATION);
	/* Page 9 is on_log()'s. */
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 3);
	assert_int_equal(mpl_listener_unregister(listener), 0);
}

/* All ranges are asked, and the first error is reported. */
static void test_sync_errors(void **state)
{
	struct world *world = *state;
	struct mpl_listener *listener;
	struct mpl_region *alias;
	struct mpl_txn *tx;

	assert_int_equal(mpl_region_new_alias(world->plane, "alias",
					      world->ram, 16 * PAGE,
					      16 * PAGE, &alias), 0);
	tx = mpl_begin(world->plane);
	mpl_region_add(tx, world->root, 0, alias, 0);
	mpl_log_start(tx, world->ram, MPL_LOG_MIGRATION);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(mpl_listener_register(world->as, &listener_ops, world,
					       &listener), 0);
	world->answer = -EIO;
	assert_int_equal(mpl_dirty_sync(world->plane), -EIO);
	assert_int_equal(world->syncs, 2);
	world->answer = 1;
	assert_int_equal(mpl_dirty_sync(world->plane), -EINVAL);
	/* An alias's pages are counted in its target. */
	world->answer = 0;
	world->merge = 1;
	assert_int_equal(mpl_dirty_snapshot_clear(world->ram,
						  MPL_LOG_MIGRATION, 0,
						  UINT64_MAX, world->set), 0);
	mpl_dirty_set_clear(world->set);
	assert_int_equal(mpl_dirty_sync(world->plane), 0);
	assert_int_equal(mpl_dirty_snapshot_clear(world->ram,
						  MPL_LOG_MIGRATION, 0,
						  16 * PAGE, world->set), 0);
	assert_int_equal(mpl_dirty_set_count(world->set), 1);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 1);
	assert_int_equal(mpl_listener_unregister(listener), 0);
	mpl_region_unref(alias);
}

/* What a degraded listener has logged cannot be known. */
static void test_sync_degraded(void **state)
{
	static const struct mpl_listener_ops ops = {
		.name = "broken",
		.log_stop = on_broken_stop,
		.commit = on_commit,
		.reset = on_reset,
		.log_sync = on_sync,
	};
	struct world *world = *state;
	struct mpl_listener *listener;

	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, true), 0);
	assert_int_equal(mpl_listener_register(world->as, &ops, world,
					       &listener), 0);
	/* A start is unwound, and the stop that takes it back fails. */
	world->refuse = world->broken = -EIO;
	assert_int_equal(log_region(world, MPL_LOG_CODE, true), -EIO);
	world->refuse = world->broken = 0;
	assert_int_equal(mpl_listener_error(listener), -ENOTRECOVERABLE);
	assert_int_equal(mpl_dirty_sync(world->plane), -ENOTRECOVERABLE);
	assert_int_equal(world->syncs, 0);
	assert_int_equal(mpl_listener_resync(listener), 0);
	assert_int_equal(mpl_dirty_sync(world->plane), 0);
	assert_int_equal(world->syncs, 1);
	assert_int_equal(mpl_listener_unregister(listener), 0);
}

/* All is marked by a start, up to the size that the region has. */
static void test_start(void **state)
{
	struct world *world = *state;
	struct mpl_reader *reader;
	struct mpl_region *io;

	assert_int_equal(mpl_region_new_io(world->plane, "io", PAGE, NULL,
					   NULL, &io), 0);
	assert_int_equal(mpl_dirty_start(world->plane, io, MPL_LOG_CODE),
			 -EINVAL);
	assert_int_equal(mpl_dirty_start(world->plane, NULL, MPL_LOG_CLIENTS),
			 -EINVAL);
	assert_int_equal(mpl_dirty_start(world->plane, NULL,
					 MPL_LOG_MIGRATION), 0);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), PAGES);
	assert_int_equal(count(world->ram, MPL_LOG_CODE), 0);
	assert_int_equal(mpl_dirty_start(world->plane, world->ram,
					 MPL_LOG_CODE), 0);
	assert_int_equal(count(world->ram, MPL_LOG_CODE), PAGES);
	/* Who is a reader cannot wait for readers, and nothing starts. */
	assert_int_equal(mpl_reader_register(world->plane, &reader), 0);
	assert_int_equal(mpl_reader_online(reader), 0);
	assert_int_equal(mpl_dirty_start(world->plane, world->ram,
					 MPL_LOG_DISPLAY), -EDEADLK);
	assert_int_equal(mpl_reader_unregister(reader), 0);
	assert_int_equal(log_region(world, MPL_LOG_DISPLAY, false), -EINVAL);
	assert_int_equal(mpl_dirty_stop(world->plane, NULL, MPL_LOG_MIGRATION),
			 0);
	assert_int_equal(mpl_dirty_stop(world->plane, world->ram,
					MPL_LOG_CODE), 0);
	assert_int_equal(mpl_dirty_stop(world->plane, world->ram,
					MPL_LOG_CODE), -EINVAL);
	mpl_region_unref(io);
}

static void put_at(struct world *world, uint64_t gpa)
{
	const struct mpl_attrs attrs = { 0 };
	const uint64_t word = gpa;

	(void)mpl_plane_write(world->plane, world->as, gpa, attrs, &word, 8);
}

/* Growing shows pages that nobody has copied; the rest stays as it is. */
static void test_resize(void **state)
{
	struct world *world = *state;
	struct mpl_txn *tx = mpl_begin(world->plane);

	assert_int_equal(log_global(world, MPL_LOG_MIGRATION, true), 0);
	mpl_region_resize(tx, world->ram, (PAGES + 3) * PAGE);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 3);
	put_at(world, MPL_MIB + (PAGES + 1) * PAGE);
	put_at(world, MPL_MIB + 2 * PAGE - 4);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 5);
	tx = mpl_begin(world->plane);
	mpl_region_resize(tx, world->ram, PAGE);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 5);
}

/* Writes through the plane, at an alias, to all kinds of memory. */
static void test_kinds(void **state)
{
	struct world *world = *state;
	static const struct mpl_io_ops ops;
	struct mpl_region *rom, *device, *flash, *alias;
	struct mpl_plane *plane = world->plane;
	struct mpl_txn *tx = mpl_begin(plane);
	bool dirty = false;

	assert_int_equal(mpl_region_new_rom(plane, "rom", PAGE, NULL, &rom),
			 0);
	assert_int_equal(mpl_region_new_ram_device(plane, "device", PAGE, NULL,
						   &device), 0);
	assert_int_equal(mpl_region_new_rom_device(plane, "flash", PAGE, NULL,
						   &ops, NULL, &flash), 0);
	assert_int_equal(mpl_region_new_alias(plane, "alias", world->ram,
					      5 * PAGE, PAGE, &alias), 0);
	mpl_region_add(tx, world->root, 0, rom, 0);
	mpl_region_add(tx, world->root, PAGE, device, 0);
	mpl_region_add(tx, world->root, 2 * PAGE, flash, 0);
	mpl_region_add(tx, world->root, 3 * PAGE, alias, 0);
	mpl_log_global(tx, MPL_LOG_MIGRATION, true);
	assert_int_equal(mpl_commit(tx), 0);
	for (uint64_t i = 0; i < 4; i++)
		put_at(world, i * PAGE + 16);
	assert_int_equal(count(rom, MPL_LOG_MIGRATION), 0);
	assert_int_equal(count(device, MPL_LOG_MIGRATION), 1);
	/* The callback knows what it writes, and marks it itself. */
	assert_int_equal(count(flash, MPL_LOG_MIGRATION), 0);
	assert_int_equal(mpl_dirty_mark(flash, 0, 1), 0);
	assert_int_equal(count(flash, MPL_LOG_MIGRATION), 1);
	assert_int_equal(mpl_dirty_mark(rom, 0, 1), 0);
	assert_int_equal(mpl_dirty_test(world->ram, MPL_LOG_MIGRATION,
					5 * PAGE, PAGE, &dirty), 0);
	assert_true(dirty);
	/* A read-only view of RAM is not written, and so not logged. */
	tx = mpl_begin(plane);
	mpl_region_set_readonly(tx, world->ram, true);
	assert_int_equal(mpl_commit(tx), 0);
	put_at(world, MPL_MIB + 7 * PAGE);
	assert_int_equal(count(world->ram, MPL_LOG_MIGRATION), 1);
	mpl_region_unref(rom);
	mpl_region_unref(device);
	mpl_region_unref(flash);
	mpl_region_unref(alias);
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_mark_is_of_clients),
		WORLD_TEST(test_starts_are_counted),
		WORLD_TEST(test_take_part),
		WORLD_TEST(test_made_while_logging),
		WORLD_TEST(test_removed_while_logging),
		WORLD_TEST(test_snapshot_clear),
		WORLD_TEST(test_errors),
		WORLD_TEST(test_too_big),
		WORLD_TEST(test_merge),
		WORLD_TEST(test_unwound_stop),
		WORLD_TEST(test_sync),
		WORLD_TEST(test_sync_errors),
		WORLD_TEST(test_sync_degraded),
		WORLD_TEST(test_start),
		WORLD_TEST(test_resize),
		WORLD_TEST(test_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
