/* SPDX-License-Identifier: BSD-3-Clause */
/* The edges of the 64-bit address space: 2^64 bytes, its last, no wrapping. */
#include "tests/support/topo.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LAST UINT64_MAX

static void test_region_of_the_whole_space(void **state)
{
	struct topo *t = *state;
	int io = topo_io(t, "io", UINT64_MAX);
	int space = topo_space(t, io);

	assert_true(mpl_region_size(t->region[io]) == UINT64_MAX);
	assert_map(t, space, "0000000000000000-ffffffffffffffff io @0 i/o\n");
}

static void test_whole_space_in_a_container(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", UINT64_MAX);
	int io = topo_io(t, "io", UINT64_MAX), dev = topo_io(t, "dev", 1);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, io, -1);
	topo_add(t, root, LAST, dev, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-fffffffffffffffe io @0 i/o\n"
		   "ffffffffffffffff-ffffffffffffffff dev @0 i/o\n");
	topo_begin(t);
	topo_move(t, dev, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000000 dev @0 i/o\n"
		   "0000000000000001-ffffffffffffffff io @1 i/o\n");
	topo_begin(t);
	topo_remove(t, io);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000000000-0000000000000000 dev @0 i/o\n");
}

static void test_range_ends_at_the_last_byte(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", UINT64_MAX);
	int flash = topo_rom(t, "flash", 0x10000),
	    half = topo_io(t, "half", 1ull << 63);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, LAST - 0xffff, flash, 1);
	topo_add(t, root, 1ull << 63, half, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "8000000000000000-fffffffffffeffff half @0 i/o\n"
		   "ffffffffffff0000-ffffffffffffffff flash @0 ro\n");
	topo_begin(t);
	topo_set_enabled(t, flash, false);
	topo_commit_ok(t);
	assert_map(t, space, "8000000000000000-ffffffffffffffff half @0 i/o\n");
}

/* An offset near 2^64 is no negative one: what is beyond is cut, not wrapped.
 */
static void test_child_beyond_the_end_is_cut(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", UINT64_MAX);
	int small = topo_container(t, "small", 0x10000);
	int over = topo_io(t, "over", 0x3000), in = topo_io(t, "in", 0x2000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, LAST - 0xfff, over, 0);
	topo_add(t, root, 0x20000, small, 0);
	topo_add(t, small, LAST - 0xfff, in, 0); /* "-0x1000" */
	topo_commit_ok(t);
	assert_map(t, space, "fffffffffffff000-ffffffffffffffff over @0 i/o\n");
	topo_begin(t);
	topo_resize(t, over, UINT64_MAX);
	topo_commit_ok(t);
	assert_map(t, space, "fffffffffffff000-ffffffffffffffff over @0 i/o\n");
}

/* Sums of offsets exceed 64 bits and come back through an alias. */
static void test_sums_beyond_64_bits(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", UINT64_MAX);
	int bus = topo_container(t, "bus", UINT64_MAX);
	int box = topo_container(t, "box", UINT64_MAX);
	int io = topo_io(t, "io", 0x4000), lost = topo_io(t, "lost", 0x1000);
	int window = topo_alias(t, "window", bus, LAST - 0x1fff, 0x2000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0x100000, window, 0);
	topo_add(t, bus, LAST - 0xfff, box, 0);
	topo_add(t, box, 0x800, io, 0);
	topo_add(t, box, LAST - 0xfff, lost, 0);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000101800-0000000000101fff io @0 i/o\n");
	topo_begin(t);
	topo_set_alias_offset(t, window, LAST - 0xfff);
	topo_resize(t, window, UINT64_MAX);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000100800-0000000000100fff io @0 i/o\n");
}

static void test_alias_begins_before_its_target(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", UINT64_MAX);
	int bus = topo_container(t, "bus", UINT64_MAX);
	int low = topo_io(t, "low", 0x100), high = topo_io(t, "high", 0x100);
	int window = topo_alias(t, "window", bus, 0x80, 0x10000);
	int space = topo_space(t, root);

	topo_begin(t); /* the bus lies at -0x80: its first bytes are cut */
	topo_add(t, bus, 0, low, 0);
	topo_add(t, bus, 0x1000, high, 0);
	topo_add(t, root, 0, window, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-000000000000007f low @80 i/o\n"
		   "0000000000000f80-000000000000107f high @0 i/o\n");
}

static void test_alias_offset_beyond_the_target(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", UINT64_MAX);
	int ram = topo_ram(t, "ram", 0x1000), io = topo_io(t, "io", 0x4000);
	int window = topo_alias(t, "window", ram, 0x1000, 0x1000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, io, 0);
	topo_add(t, root, 0x1000, window, 1);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000000000-0000000000003fff io @0 i/o\n");
	topo_begin(t);
	topo_set_alias_offset(t, window, UINT64_MAX);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000000000-0000000000003fff io @0 i/o\n");
	topo_begin(t);
	topo_set_alias_offset(t, window, 0xfff);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff io @0 i/o\n"
		   "0000000000001000-0000000000001000 ram @fff\n"
		   "0000000000001001-0000000000003fff io @1001 i/o\n");
}

/* The last byte of 2^64 and the first are no neighbours. */
static void test_no_merge_around_the_end(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", UINT64_MAX);
	int end = topo_alias(t, "end", io, LAST - 0xfff, 0x1000);
	int begin = topo_alias(t, "begin", io, 0, 0x1000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, end, 0);
	topo_add(t, root, 0x1000, begin, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff io @fffffffffffff000 "
		   "i/o\n"
		   "0000000000001000-0000000000001fff io @0 i/o\n");
}

static void test_single_bytes(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", UINT64_MAX);
	int ram = topo_ram(t, "ram", 0x2000);
	int byte[4];
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	for (int i = 0; i < 4; i++) {
		byte[i] = topo_io(t, "byte", 1);
		topo_add(t, root, 0xffe + 2 * (uint64_t)i, byte[i], 1);
	}
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000ffd ram @0\n"
		   "0000000000000ffe-0000000000000ffe byte @0 i/o\n"
		   "0000000000000fff-0000000000000fff ram @fff\n"
		   "0000000000001000-0000000000001000 byte @0 i/o\n"
		   "0000000000001001-0000000000001001 ram @1001\n"
		   "0000000000001002-0000000000001002 byte @0 i/o\n"
		   "0000000000001003-0000000000001003 ram @1003\n"
		   "0000000000001004-0000000000001004 byte @0 i/o\n"
		   "0000000000001005-0000000000001fff ram @1005\n");
	topo_begin(t);
	for (int i = 0; i < 4; i++)
		topo_remove(t, byte[i]);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000000000-0000000000001fff ram @0\n");
}

/* The same region over and over, each window in front of the one before. */
static void test_windows_upon_windows(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int ram = topo_ram(t, "ram", 0x8000);
	int space = topo_space(t, root);
	struct text map = { 0 };

	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	for (int i = 0; i < 8; i++) {
		int window = topo_alias(t, "window", ram, 0x10 * i, 0x100);

		topo_add(t, root, 0x1000 + 0x80 * (uint64_t)i, window, 1);
	}
	topo_commit_ok(t);
	text_add(&map, "0000000000000000-0000000000000fff ram @0\n");
	for (unsigned int i = 0; i < 8; i++)
		text_add(&map, "%016x-%016x ram @%x\n", 0x1000 + 0x80 * i,
			 0x1000 + 0x80 * i + (i < 7 ? 0x7f : 0xff), 0x10 * i);
	text_add(&map, "0000000000001480-0000000000007fff ram @1480\n");
	assert_map(t, space, text_chars(&map));
	text_free(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(test_region_of_the_whole_space),
		TOPO_TEST(test_whole_space_in_a_container),
		TOPO_TEST(test_range_ends_at_the_last_byte),
		TOPO_TEST(test_child_beyond_the_end_is_cut),
		TOPO_TEST(test_sums_beyond_64_bits),
		TOPO_TEST(test_alias_begins_before_its_target),
		TOPO_TEST(test_alias_offset_beyond_the_target),
		TOPO_TEST(test_no_merge_around_the_end),
		TOPO_TEST(test_single_bytes),
		TOPO_TEST(test_windows_upon_windows),
	};

	return topo_run(tests);
}
