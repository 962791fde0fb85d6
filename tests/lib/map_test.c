/* SPDX-License-Identifier: BSD-3-Clause */
/* What sections let readers do, by kind of region and by path. */
#include <memplane.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/plane.h"

static const struct mpl_attrs plain;

struct world {
	struct mpl_plane *plane;
	struct mpl_region *root;
	struct mpl_address_space *as;
	struct mpl_reader *reader;
	unsigned int writes; /* callbacks */
};

static mpl_result_t note_write(void *opaque, uint64_t offset, unsigned int size,
			       struct mpl_attrs attrs, uint64_t value)
{
	(void)offset, (void)size, (void)attrs, (void)value;
	((struct world *)opaque)->writes++;
	return MPL_OK;
}

static mpl_result_t read_seven(void *opaque, uint64_t offset, unsigned int size,
			       struct mpl_attrs attrs, uint64_t *value)
{
	(void)opaque, (void)offset, (void)size, (void)attrs;
	*value = 7;
	return MPL_OK;
}

static const struct mpl_io_ops ops = {
	.read = read_seven,
	.write = note_write,
};

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	assert_int_equal(mpl_plane_new(&world->plane, NULL), 0);
	assert_int_equal(mpl_region_new_container(world->plane, "root",
						  UINT64_MAX, &world->root),
			 0);
	assert_int_equal(mpl_address_space_new(world->plane, "memory",
					       world->root, &world->as),
			 0);
	assert_int_equal(mpl_reader_register(world->plane, &world->reader), 0);
	mpl_reader_online(world->reader);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	mpl_reader_unregister(world->reader);
	mpl_region_unref(world->root);
	assert_int_equal(mpl_plane_free(world->plane), 0);
	free(world);
	return 0;
}

/* Show `region` at 0 and, through a read-only alias, at 0x10000. */
static void show_twice(struct world *world, struct mpl_region *region)
{
	struct mpl_txn *tx = mpl_begin(world->plane);
	struct mpl_region *window;

	assert_int_equal(mpl_region_new_alias(world->plane, "window", region, 0,
					      0x1000, &window),
			 0);
	mpl_region_set_readonly(tx, window, true);
	mpl_region_add(tx, world->root, 0, region, 0);
	mpl_region_add(tx, world->root, 0x10000, window, 0);
	assert_int_equal(mpl_commit(tx), 0);
	mpl_region_unref(window);
}

static mpl_result_t put(struct world *world, uint64_t gpa, uint64_t value)
{
	return mpl_store(world->reader, world->as, gpa, plain, 4,
			 MPL_NATIVE_ENDIAN, value);
}

static uint64_t get(struct world *world, uint64_t gpa)
{
	uint64_t value;

	assert_int_equal(mpl_load(world->reader, world->as, gpa, plain, 4,
				  MPL_NATIVE_ENDIAN, &value),
			 MPL_OK);
	return value;
}

static void test_ram(void **state)
{
	struct world *world = *state;
	struct mpl_region *ram;

	assert_int_equal(
		mpl_region_new_ram(world->plane, "ram", 0x1000, NULL, &ram), 0);
	show_twice(world, ram);
	assert_int_equal(put(world, 8, 5), MPL_OK);
	assert_int_equal(get(world, 0x10008), 5);
	assert_int_equal(put(world, 0x10008, 6), MPL_ACCESS_ERROR);
	assert_int_equal(get(world, 8), 5);
	mpl_region_unref(ram);
}

static void test_rom(void **state)
{
	struct world *world = *state;
	struct mpl_region *rom;

	assert_int_equal(
		mpl_region_new_rom(world->plane, "rom", 0x1000, NULL, &rom), 0);
	show_twice(world, rom);
	assert_int_equal(put(world, 8, 5), MPL_ACCESS_ERROR);
	assert_int_equal(put(world, 0x10008, 5), MPL_ACCESS_ERROR);
	assert_int_equal(get(world, 8), 0);
	mpl_region_unref(rom);
}

/* Readonly is for memory: callbacks get writes all the same. */
static void test_callbacks(void **state)
{
	struct world *world = *state;
	struct mpl_region *flash;
	struct mpl_txn *tx;

	assert_int_equal(mpl_region_new_rom_device(world->plane, "flash",
						   0x1000, NULL, &ops, world,
						   &flash),
			 0);
	show_twice(world, flash);
	assert_int_equal(get(world, 8), 0);
	assert_int_equal(put(world, 8, 5), MPL_OK);
	assert_int_equal(put(world, 0x10008, 5), MPL_OK);
	assert_int_equal(world->writes, 2);
	assert_int_equal(get(world, 8), 0);
	tx = mpl_begin(world->plane);
	mpl_region_set_rom_mode(tx, flash, false);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(get(world, 0x10008), 7);
	mpl_region_unref(flash);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Pairs of devices, each pair in a leaf of its own. */
static int add_pair(struct world *world, uint64_t at)
{
	struct mpl_txn *tx = mpl_begin(world->plane);

	for (uint64_t i = 0; i < 2; i++) {
		struct mpl_region *device;

		assert_int_equal(mpl_region_new_io(world->plane, NULL, 0x1000,
						   &ops, world, &device),
				 0);
		mpl_region_add(tx, world->root, at + i * 0x3000, device, 0);
		mpl_region_unref(device);
	}
	return mpl_commit(tx);
}

/* Leaves are packed when nodes are many, then all of them, and stay so. */
static void test_packing(void **state)
{
	struct world *world = *state;
	struct mpl_data_plane *dp = &world->plane->data;
	uint32_t max = dp->nodes.max;
	uint64_t pairs = 0;
	int err = 0;

	mpl_reader_offline(world->reader);
	while (dp->nodes.live <= MPL_PLAIN_NODES) {
		assert_int_equal(add_pair(world, pairs++ << 18), 0);
		mpl_reclaim(world->plane);
		assert_int_equal(dp->leaves.live, 0);
	}
	/* What begins to pack builds the view anew, for which there is no
	 * room: nothing has changed. */
	dp->nodes.max = dp->nodes.count;
	dp->leaves.max = dp->leaves.count;
	err = add_pair(world, pairs << 18);
	assert_int_equal(err, -ENOSPC);
	mpl_reclaim(world->plane);
	assert_int_equal(dp->leaves.live, 0);
	assert_int_equal(dp->nodes.live, pairs + 1 + (pairs + 63) / 64);
	dp->nodes.max = max;
	dp->leaves.max = max;
	assert_int_equal(add_pair(world, pairs++ << 18), 0);
	mpl_reclaim(world->plane);
	assert_int_equal(dp->leaves.live, pairs);
	assert_int_equal(dp->nodes.live, 1 + (pairs + 63) / 64);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(add_pair(world, pairs++ << 18), 0);
		mpl_reclaim(world->plane);
		assert_int_equal(dp->leaves.live, pairs);
	}
	mpl_reader_online(world->reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ram),
		TEST(test_rom),
		TEST(test_callbacks),
		TEST(test_packing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
