/* SPDX-License-Identifier: BSD-3-Clause */
/* Planes, constructors and their limits and errors. */
#include "tests/support/topo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct mpl_io_ops no_ops;

static void test_layout(void **state)
{
	struct mpl_plane *plane = NULL;

	(void)state;
	assert_int_equal(mpl_plane_new_layout(&plane, NULL, MPL_LAYOUT + 1),
			 -EPROTO);
	assert_int_equal(mpl_plane_new_layout(&plane, NULL, 0), -EPROTO);
	assert_null(plane);
	assert_int_equal(mpl_plane_new(&plane, NULL), 0);
	assert_int_equal(mpl_plane_free(plane), 0);
	assert_int_equal(mpl_plane_free(NULL), 0);
}

static int released;

static void count(void *opaque)
{
	(void)opaque;
	__atomic_add_fetch(&released, 1, __ATOMIC_RELAXED);
}

static int ignore_range(void *opaque, const struct mpl_flat_range *range)
{
	(void)opaque, (void)range;
	return 0;
}

/* Spaces, listeners, attached and detached regions, aliases: all are left. */
static void leave_everything(bool control_thread)
{
	static const struct mpl_listener_ops ops = {
		.name = "left",
		.range_add = ignore_range,
		.range_del = ignore_range,
	};
	struct mpl_plane_config config = { .control_thread = control_thread };
	struct mpl_region *root, *io, *window, *lone;
	struct mpl_address_space *as;
	struct mpl_listener *listener;
	struct mpl_plane *plane;
	struct mpl_txn *tx;

	released = 0;
	assert_int_equal(mpl_plane_new(&plane, &config), 0);
	assert_int_equal(mpl_region_new_container(plane, NULL, 0x1000, &root),
			 0);
	assert_int_equal(mpl_region_new_io(plane, "io", 1, &no_ops, NULL, &io),
			 0);
	assert_int_equal(mpl_region_new_alias(plane, "w", io, 0, 1, &window),
			 0);
	assert_int_equal(mpl_region_new_ram(plane, "lone", 0x1000, NULL, &lone),
			 0);
	mpl_region_on_release(root, count, NULL);
	mpl_region_on_release(io, count, NULL);
	mpl_region_on_release(window, count, NULL);
	mpl_region_on_release(lone, count, NULL);
	assert_int_equal(mpl_address_space_new(plane, "as", root, &as), 0);
	assert_int_equal(mpl_listener_register(as, &ops, NULL, &listener), 0);
	tx = mpl_begin(plane);
	mpl_region_add(tx, root, 0, window, 0);
	assert_int_equal(mpl_commit(tx), 0);
	mpl_region_unref(io); /* the others: not even that */
	assert_int_equal(mpl_plane_free(plane), 0);
	assert_int_equal(released, 4);
}

static void test_free_with_things_left(void **state)
{
	(void)state;
	leave_everything(false);
	leave_everything(true);
}

static void test_free_with_readers(void **state)
{
	struct mpl_plane_config config = { .max_readers = 2 };
	struct mpl_reader *reader[3];
	struct mpl_plane *plane;

	(void)state;
	assert_int_equal(mpl_plane_new(&plane, &config), 0);
	assert_int_equal(mpl_reader_register(plane, &reader[0]), 0);
	assert_int_equal(mpl_reader_register(plane, &reader[1]), 0);
	assert_int_equal(mpl_reader_register(plane, &reader[2]), -ENOSPC);
	assert_int_equal(mpl_plane_free(plane), -EBUSY);
	assert_int_equal(mpl_reader_unregister(reader[0]), 0);
	assert_int_equal(mpl_plane_free(plane), -EBUSY);
	assert_int_equal(mpl_commit(mpl_begin(plane)), 0); /* it is alive */
	assert_int_equal(mpl_reader_unregister(reader[1]), 0);
	assert_int_equal(mpl_plane_free(plane), 0);
}

/* Look-ups, accesses and commits, where a reader cannot write the map. */
static void test_readonly_view(void **state)
{
	struct mpl_plane *plane;
	struct mpl_region *root, *ram, *rom;
	struct mpl_address_space *as;
	struct mpl_reader *reader;
	struct mpl_txn *tx;
	uint64_t value;

	(void)state;
	assert_int_equal(mpl_plane_new(&plane,
				       &(struct mpl_plane_config){
					       .readonly_view = true,
					       .verify = true,
				       }),
			 0);
	assert_int_equal(
		mpl_region_new_container(plane, "root", UINT64_MAX, &root), 0);
	assert_int_equal(mpl_region_new_ram(plane, "ram", 0x10000, NULL, &ram),
			 0);
	assert_int_equal(mpl_region_new_rom(plane, "rom", 0x1000, NULL, &rom),
			 0);
	assert_int_equal(mpl_address_space_new(plane, "memory", root, &as), 0);
	assert_int_equal(mpl_reader_register(plane, &reader), 0);
	assert_ptr_not_equal(reader->sections, NULL);
	mpl_reader_online(reader);
	for (uint64_t i = 0; i < 200; i++) {
		uint64_t base = i * 0x21000;

		tx = mpl_begin(plane);
		if (i) {
			mpl_region_remove(tx, ram);
			mpl_region_remove(tx, rom);
		}
		mpl_region_add(tx, root, base, ram, 0);
		mpl_region_add(tx, root, base + 0x800, rom, 1);
		assert_int_equal(mpl_commit(tx), 0);
		assert_int_equal(mpl_store(reader, as, base + 8,
					   (struct mpl_attrs){ 0 }, 8,
					   MPL_NATIVE_ENDIAN, i),
				 MPL_OK);
		assert_int_equal(mpl_load(reader, as, base + 8,
					  (struct mpl_attrs){ 0 }, 8,
					  MPL_NATIVE_ENDIAN, &value),
				 MPL_OK);
		assert_int_equal(value, i);
		assert_ptr_equal(mpl_section_region(
					 mpl_lookup(reader, as, base + 0x801)),
				 rom);
		mpl_reader_quiescent(reader);
	}
	mpl_reader_unregister(reader);
	mpl_region_unref(root);
	mpl_region_unref(ram);
	mpl_region_unref(rom);
	assert_int_equal(mpl_plane_free(plane), 0);
}

static void test_limit_of_spaces(void **state)
{
	struct mpl_plane_config config = { .max_spaces = 2, .verify = true };
	struct mpl_address_space *as[3];
	struct mpl_region *root;
	struct mpl_plane *plane;

	(void)state;
	assert_int_equal(mpl_plane_new(&plane, &config), 0);
	assert_int_equal(mpl_region_new_container(plane, "r", 0x1000, &root),
			 0);
	assert_int_equal(mpl_address_space_new(plane, "a", root, &as[0]), 0);
	assert_int_equal(mpl_address_space_new(plane, "b", root, &as[1]), 0);
	assert_int_equal(mpl_address_space_new(plane, "c", root, &as[2]),
			 -ENOSPC);
	assert_string_equal(mpl_address_space_name(as[1]), "b");
	/* Slots come back; more often than a table of them could hide. */
	for (int i = 0; i < 20; i++) {
		assert_int_equal(mpl_address_space_free(as[i % 2]), 0);
		assert_int_equal(
			mpl_address_space_new(plane, "n", root, &as[i % 2]), 0);
	}
	mpl_region_unref(root);
	assert_int_equal(mpl_plane_free(plane), 0);
}

static void test_bad_ops(void **state)
{
	static const struct mpl_io_ops bad[] = {
		{ .valid = { .min = 3 } },
		{ .valid = { .max = 16 } },
		{ .valid = { .min = 4, .max = 2 } },
		{ .impl = { .min = 5, .max = 8 } },
		{ .impl = { .min = 8, .max = 4 } },
		{ .impl = { .max = 255 } },
	};
	struct topo *t = *state;
	struct mpl_region *region;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(mpl_region_new_io(t->plane, "bad", 0x1000,
						   &bad[i], NULL, &region),
				 -EINVAL);
}

static void test_impossible_regions(void **state)
{
	struct topo *t = *state;
	struct mpl_region *region;
	struct mpl_plane *other;
	struct mpl_region *foreign;

	assert_int_equal(
		mpl_region_new_ram(t->plane, "big", 1ull << 63, NULL, &region),
		-EINVAL);
	assert_int_equal(
		mpl_region_new_ram(t->plane, "all", UINT64_MAX, NULL, &region),
		-EINVAL);
	assert_int_equal(mpl_plane_new(&other, NULL), 0);
	assert_int_equal(mpl_region_new_container(other, "f", 1, &foreign), 0);
	assert_int_equal(
		mpl_region_new_alias(t->plane, "w", foreign, 0, 1, &region),
		-EINVAL);
	mpl_region_unref(foreign);
	assert_int_equal(mpl_plane_free(other), 0);
}

static void test_what_regions_tell(void **state)
{
	static uint8_t bytes[0x1000];
	struct mpl_ram_config mine = { .host = bytes };
	struct mpl_ram_config grows = { .max_size = 0x3000 };
	struct mpl_ram_config nowhere = { .unbacked = true };
	struct topo *t = *state;
	struct mpl_region *region;
	struct mpl_txn *tx;
	int cookie;

	assert_int_equal(
		mpl_region_new_io(t->plane, "io", 7, &no_ops, &cookie, &region),
		0);
	assert_string_equal(mpl_region_name(region), "io");
	assert_int_equal(mpl_region_kind(region), MPL_IO);
	assert_null(mpl_region_host(region));
	assert_ptr_equal(mpl_region_opaque(region), &cookie);
	assert_int_equal(mpl_region_size(region), 7);
	mpl_region_unref(region);

	assert_int_equal(
		mpl_region_new_rom(t->plane, "rom", 0x1000, &mine, &region), 0);
	assert_ptr_equal(mpl_region_host(region), bytes);
	assert_null(mpl_region_opaque(region));
	mpl_region_unref(region);

	assert_int_equal(mpl_region_new_ram(t->plane, "gone", 1ull << 50,
					    &nowhere, &region),
			 0);
	assert_null(mpl_region_host(region));
	mpl_region_unref(region);

	assert_int_equal(
		mpl_region_new_ram(t->plane, "grows", 0x1000, &grows, &region),
		0);
	assert_non_null(mpl_region_host(region));
	tx = mpl_begin(t->plane);
	mpl_region_resize(tx, region, 0x3000);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(mpl_region_size(region), 0x3000);
	((uint8_t *)mpl_region_host(region))[0x2fff] = 1;
	tx = mpl_begin(t->plane);
	mpl_region_resize(tx, region, 0x3001);
	assert_int_equal(mpl_commit(tx), -ENOSPC);
	assert_int_equal(mpl_region_size(region), 0x3000);
	mpl_region_unref(region);
}

static int stop_at_second(void *arg, const struct mpl_flat_range *range)
{
	(void)range;
	return ++*(int *)arg == 2 ? 77 : 0;
}

static void test_walk_can_be_ended(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int space = topo_space(t, root), seen = 0;

	topo_begin(t);
	for (uint64_t i = 0; i < 4; i++)
		topo_add(t, root, i * 0x10, topo_io(t, "io", 1), 0);
	topo_commit_ok(t);
	assert_int_equal(mpl_address_space_walk(t->space[space].as,
						stop_at_second, &seen),
			 77);
	assert_int_equal(seen, 2);
}

/* Ending a space neither disturbs the others nor the shared view. */
static void test_spaces_come_and_go(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x1000), a, b;

	a = topo_space(t, root);
	topo_begin(t);
	topo_add(t, root, 0x1000, io, 0);
	topo_commit_ok(t);
	b = topo_space(t, root); /* sees at once what is there */
	assert_map(t, b, "0000000000001000-0000000000001fff io @0 i/o\n");
	topo_space_free(t, a);
	assert_map(t, b, "0000000000001000-0000000000001fff io @0 i/o\n");
	topo_begin(t);
	topo_move(t, io, 0x2000);
	topo_commit_ok(t);
	a = topo_space(t, io);
	topo_space_free(t, b);
	assert_map(t, a, "0000000000000000-0000000000000fff io @0 i/o\n");
}

static void test_statistics(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	struct mpl_plane_stats before, after;

	topo_space(t, root);
	mpl_plane_stats(t->plane, &before);
	topo_begin(t);
	topo_add(t, root, 0, topo_io(t, "io", 0x100), 0);
	topo_commit_ok(t);
	topo_begin(t);
	topo_remove(t, root);
	assert_int_equal(topo_commit(t), -ENOENT);
	mpl_plane_stats(t->plane, &after);
	assert_int_equal(after.commits, before.commits + 1);
	assert_int_equal(after.commits_failed, before.commits_failed + 1);
	assert_int_equal(after.generation, mpl_plane_generation(t->plane));
	assert_int_equal(after.ranges_added, before.ranges_added + 1);
	assert_int_equal(after.readers, 1);
	assert_int_equal(after.spaces, 1);
	assert_int_equal(after.regions, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_free_with_things_left),
		cmocka_unit_test(test_free_with_readers),
		cmocka_unit_test(test_readonly_view),
		cmocka_unit_test(test_limit_of_spaces),
		TOPO_TEST(test_bad_ops),
		TOPO_TEST(test_impossible_regions),
		TOPO_TEST(test_what_regions_tell),
		TOPO_TEST(test_walk_can_be_ended),
		TOPO_TEST(test_spaces_come_and_go),
		TOPO_TEST(test_statistics),
	};

	return topo_run(tests);
}
