/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is visible: rules 1 to 8 of the topology, drawn.  assert_map() also
 * asks the naive oracle and both look-ups about every edge.
 */
#include "tests/support/topo.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Rule 1: both ends are inclusive, to the byte. */
static void test_ranges_are_inclusive(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int byte = topo_io(t, "byte", 1), two = topo_io(t, "two", 2);
	int page = topo_ram(t, "page", 0x1000);
	int space = topo_space(t, root);

	assert_map(t, space, "");
	topo_begin(t);
	topo_add(t, root, 0, byte, 0);
	topo_add(t, root, 1, two, 0);
	topo_add(t, root, 0x1000, page, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000000 byte @0 i/o\n"
		   "0000000000000001-0000000000000002 two @0 i/o\n"
		   "0000000000001000-0000000000001fff page @0\n");
}

static void test_zero_size_shows_nothing(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x100), none = topo_io(t, "none", 0);
	int box = topo_container(t, "box", 0), dev = topo_io(t, "dev", 0x10);
	int window = topo_alias(t, "window", io, 0, 0);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, io, 0);
	topo_add(t, root, 0x80, none, 1);
	topo_add(t, root, 0x40, box, 1);
	topo_add(t, box, 0, dev, 0);
	topo_add(t, root, 0x200, window, 1);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000000000-00000000000000ff io @0 i/o\n");
	topo_begin(t);
	topo_resize(t, none, 4);
	topo_resize(t, box, 4);
	topo_resize(t, window, 4);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-000000000000003f io @0 i/o\n"
		   "0000000000000040-0000000000000043 dev @0 i/o\n"
		   "0000000000000044-000000000000007f io @44 i/o\n"
		   "0000000000000080-0000000000000083 none @0 i/o\n"
		   "0000000000000084-00000000000000ff io @84 i/o\n"
		   "0000000000000200-0000000000000203 io @0 i/o\n");
}

/* Rule 2: relative to the parent, clipped to every ancestor. */
static void test_children_are_relative_and_clipped(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x100000);
	int outer = topo_container(t, "outer", 0x4000);
	int inner = topo_container(t, "inner", 0x10000);
	int ram = topo_ram(t, "ram", 0x8000);
	int gone = topo_io(t, "gone", 0x1000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0x10000, outer, 0);
	topo_add(t, outer, 0x1000, inner, 0);
	topo_add(t, inner, 0x800, ram, 0);
	topo_add(t, inner, 0x9000, gone, 0); /* beyond outer */
	topo_commit_ok(t);
	assert_map(t, space, "0000000000011800-0000000000013fff ram @0\n");
	topo_begin(t);
	topo_resize(t, inner, 0x1000); /* the tighter clip counts */
	topo_commit_ok(t);
	assert_map(t, space, "0000000000011800-0000000000011fff ram @0\n");
	topo_begin(t);
	topo_resize(t, inner, UINT64_MAX);
	topo_resize(t, outer, UINT64_MAX);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000011800-00000000000197ff ram @0\n"
		   "000000000001a000-000000000001afff gone @0 i/o\n");
}

/* Rule 3: signed priorities, then the order of adding. */
static void test_priority_decides(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int low = topo_io(t, "low", 0x3000);
	int mid = topo_io(t, "mid", 0x2000);
	int high = topo_io(t, "high", 0x1000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, high, 1);
	topo_add(t, root, 0, mid, 0);
	topo_add(t, root, 0, low, -1);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff high @0 i/o\n"
		   "0000000000001000-0000000000001fff mid @1000 i/o\n"
		   "0000000000002000-0000000000002fff low @2000 i/o\n");
	topo_begin(t);
	topo_set_priority(t, low, 2147483647);
	topo_set_priority(t, high, -2147483647 - 1);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000000000-0000000000002fff low @0 i/o\n");
}

static void test_last_added_wins_among_equals(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int a = topo_io(t, "a", 0x2000), b = topo_io(t, "b", 0x2000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, a, 7);
	topo_add(t, root, 0x1000, b, 7);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff a @0 i/o\n"
		   "0000000000001000-0000000000002fff b @0 i/o\n");
	topo_begin(t);
	topo_move(t, a, 0); /* where it is: but now the last */
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000001fff a @0 i/o\n"
		   "0000000000002000-0000000000002fff b @1000 i/o\n");
	topo_begin(t);
	topo_remove(t, b);
	topo_add(t, root, 0x1000, b, 7);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff a @0 i/o\n"
		   "0000000000001000-0000000000002fff b @0 i/o\n");
}

static void test_priorities_compare_siblings_only(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int weak = topo_container(t, "weak", 0x1000);
	int strong = topo_container(t, "strong", 0x1000);
	int hero = topo_io(t, "hero", 0x1000), mouse = topo_io(t, "mouse", 8);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, weak, 0);
	topo_add(t, root, 0, strong, 1);
	topo_add(t, weak, 0, hero, 1000);
	topo_add(t, strong, 0x10, mouse, -1000);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-000000000000000f hero @0 i/o\n"
		   "0000000000000010-0000000000000017 mouse @0 i/o\n"
		   "0000000000000018-0000000000000fff hero @18 i/o\n");
}

/* Rule 4: who terminates, and who lets through. */
static void test_terminating_parent_shows_in_gaps(void **state)
{
	static const enum mpl_region_kind kind[] = {
		MPL_IO,         MPL_RAM,        MPL_ROM,
		MPL_ROM_DEVICE, MPL_RAM_DEVICE, MPL_IOMMU,
	};
	static const char *const flags[] = { " i/o", "", " ro", "", "", "" };
	struct topo *t = *state;

	for (size_t i = 0; i < sizeof(kind) / sizeof(kind[0]); i++) {
		struct text map = { 0 };
		int root = topo_container(t, "root", 0x10000);
		int parent = topo_region(t, kind[i], "parent", 0x1000);
		int behind = topo_io(t, "behind", 0x4000);
		int child = topo_io(t, "child", 0x100);
		int space = topo_space(t, root);

		topo_begin(t);
		topo_add(t, root, 0x1000, parent, 1);
		topo_add(t, parent, 0x200, child, 0);
		topo_add(t, root, 0, behind, 0);
		topo_commit_ok(t);
		text_add(&map,
			 "0000000000000000-0000000000000fff behind @0 i/o\n"
			 "0000000000001000-00000000000011ff parent @0%s\n"
			 "0000000000001200-00000000000012ff child @0 i/o%s\n"
			 "0000000000001300-0000000000001fff parent @300%s\n"
			 "0000000000002000-0000000000003fff behind @2000 i/o\n",
			 flags[i], kind[i] == MPL_ROM ? " ro" : "", flags[i]);
		assert_map(t, space, text_chars(&map));
		text_free(&map);
	}
}

static void test_container_is_transparent(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int pci = topo_container(t, "pci", 0x10000);
	int ram = topo_ram(t, "ram", 0x8000), bar = topo_io(t, "bar", 0x1000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	topo_add(t, root, 0, pci, 1);
	topo_add(t, pci, 0x4000, bar, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000003fff ram @0\n"
		   "0000000000004000-0000000000004fff bar @0 i/o\n"
		   "0000000000005000-0000000000007fff ram @5000\n");
}

/* Rule 5: disabled hides all below, and through aliases. */
static void test_disabled_hides_everything_below(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int box = topo_container(t, "box", 0x2000);
	int a = topo_io(t, "a", 0x1000), b = topo_io(t, "b", 0x100);
	int window = topo_alias(t, "window", box, 0, 0x2000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, box, 0);
	topo_add(t, box, 0, a, 0);
	topo_add(t, a, 0x80, b, 0);
	topo_add(t, root, 0x8000, window, 0);
	topo_set_enabled(t, a, false);
	topo_commit_ok(t);
	assert_map(t, space, "");
	topo_begin(t);
	topo_set_enabled(t, a, true);
	topo_set_enabled(t, b, false);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff a @0 i/o\n"
		   "0000000000008000-0000000000008fff a @0 i/o\n");
	topo_begin(t);
	topo_set_enabled(t, window, false); /* b stays hidden */
	topo_commit_ok(t);
	assert_map(t, space, "0000000000000000-0000000000000fff a @0 i/o\n");
	topo_begin(t);
	topo_set_enabled(t, b, true);
	topo_set_enabled(t, window, true);
	topo_set_enabled(t, root, false);
	topo_commit_ok(t);
	assert_map(t, space, "");
}

static void test_disabled_lets_show_through(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int ram = topo_ram(t, "ram", 0x4000), rom = topo_rom(t, "rom", 0x1000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	topo_add(t, root, 0x1000, rom, 1);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff ram @0\n"
		   "0000000000001000-0000000000001fff rom @0 ro\n"
		   "0000000000002000-0000000000003fff ram @2000\n");
	topo_begin(t);
	topo_set_enabled(t, rom, false);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000000000-0000000000003fff ram @0\n");
}

/* Rule 6: aliases. */
static void test_alias_ignores_the_targets_position(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x100000);
	int ram = topo_ram(t, "ram", 0x10000);
	int low = topo_alias(t, "low", ram, 0, 0x4000);
	int high = topo_alias(t, "high", ram, 0x4000, 0xc000);
	int space = topo_space(t, root);

	topo_begin(t); /* the target is attached to nothing */
	topo_add(t, root, 0, low, 0);
	topo_add(t, root, 0x10000, high, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000003fff ram @0\n"
		   "0000000000010000-000000000001bfff ram @4000\n");
	topo_begin(t); /* now it is, elsewhere: that plays no part */
	topo_add(t, root, 0x40000, ram, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000003fff ram @0\n"
		   "0000000000010000-000000000001bfff ram @4000\n"
		   "0000000000040000-000000000004ffff ram @0\n");
	topo_begin(t);
	topo_move(t, ram, 0x50000);
	topo_set_alias_offset(t, high, 0x8000);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000003fff ram @0\n"
		   "0000000000010000-0000000000017fff ram @8000\n"
		   "0000000000050000-000000000005ffff ram @0\n");
	topo_begin(t);
	topo_set_enabled(t, ram, false); /* the flag counts */
	topo_commit_ok(t);
	assert_map(t, space, "");
}

static void test_alias_shows_the_targets_children(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x100000);
	int bus = topo_container(t, "bus", 0x10000);
	int ram = topo_ram(t, "ram", 0x2000);
	int a = topo_io(t, "a", 0x1000), b = topo_io(t, "b", 0x1000);
	int window = topo_alias(t, "window", bus, 0x3800, 0x2000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, bus, 0x3000, a, 0);
	topo_add(t, bus, 0x5000, b, 0);
	topo_add(t, root, 0x8000, window, 1);
	topo_add(t, root, 0x8000, ram, 0); /* shows in the window's gap */
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000008000-00000000000087ff a @800 i/o\n"
		   "0000000000008800-00000000000097ff ram @800\n"
		   "0000000000009800-0000000000009fff b @0 i/o\n");
	topo_begin(t); /* a change below the target reaches the window */
	topo_move(t, b, 0x4000);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000008000-00000000000087ff a @800 i/o\n"
		   "0000000000008800-00000000000097ff b @0 i/o\n"
		   "0000000000009800-0000000000009fff ram @1800\n");
}

static void test_aliases_of_aliases_chain(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x100000);
	int ram = topo_ram(t, "ram", 0x10000);
	int first = topo_alias(t, "first", ram, 0x1000, 0x8000);
	int second = topo_alias(t, "second", first, 0x2000, 0x8000);
	int third = topo_alias(t, "third", second, 0x800, 0x10000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, third, 0);
	topo_commit_ok(t); /* first clips: 0x8000 - 0x2000 - 0x800 are left */
	assert_map(t, space, "0000000000000000-00000000000057ff ram @3800\n");
	topo_begin(t);
	topo_set_readonly(t, second, true);
	topo_set_alias_offset(t, first, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-00000000000057ff ram @2800 ro\n");
	topo_begin(t);
	topo_set_enabled(t, first, false);
	topo_commit_ok(t);
	assert_map(t, space, "");
}

/* Rule 7: readonly and nonvolatile come down every path. */
static void test_attributes_are_inherited(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x100000);
	int box = topo_container(t, "box", 0x4000);
	int ram = topo_ram(t, "ram", 0x4000), io = topo_io(t, "io", 0x1000);
	int window = topo_alias(t, "window", box, 0, 0x4000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, box, 0);
	topo_add(t, box, 0, ram, 0);
	topo_add(t, ram, 0x1000, io, 0);
	topo_add(t, root, 0x10000, window, 0);
	topo_set_readonly(t, ram, true);
	topo_set_nonvolatile(t, window, true);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff ram @0 ro\n"
		   "0000000000001000-0000000000001fff io @0 i/o ro\n"
		   "0000000000002000-0000000000003fff ram @2000 ro\n"
		   "0000000000010000-0000000000010fff ram @0 ro nv\n"
		   "0000000000011000-0000000000011fff io @0 i/o ro nv\n"
		   "0000000000012000-0000000000013fff ram @2000 ro nv\n");
	topo_begin(t);
	topo_set_readonly(t, ram, false);
	topo_set_readonly(t, box, true);
	topo_set_nonvolatile(t, window, false);
	topo_set_nonvolatile(t, io, true);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff ram @0 ro\n"
		   "0000000000001000-0000000000001fff io @0 i/o ro nv\n"
		   "0000000000002000-0000000000003fff ram @2000 ro\n"
		   "0000000000010000-0000000000010fff ram @0 ro\n"
		   "0000000000011000-0000000000011fff io @0 i/o ro nv\n"
		   "0000000000012000-0000000000013fff ram @2000 ro\n");
	topo_begin(t);
	topo_set_readonly(t, box, false);
	topo_set_nonvolatile(t, io, false);
	topo_set_readonly(t, root, true); /* the root is an ancestor too */
	topo_set_nonvolatile(t, root, true);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff ram @0 ro nv\n"
		   "0000000000001000-0000000000001fff io @0 i/o ro nv\n"
		   "0000000000002000-0000000000003fff ram @2000 ro nv\n"
		   "0000000000010000-0000000000010fff ram @0 ro nv\n"
		   "0000000000011000-0000000000011fff io @0 i/o ro nv\n"
		   "0000000000012000-0000000000013fff ram @2000 ro nv\n");
}

/* Rule 8: what merges and what does not. */
static void test_neighbours_merge(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x100000);
	int ram = topo_ram(t, "ram", 0x4000);
	int a = topo_alias(t, "a", ram, 0, 0x1000);
	int b = topo_alias(t, "b", ram, 0x1000, 0x1000);
	int c = topo_alias(t, "c", ram, 0x2000, 0x2000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, a, 0);
	topo_add(t, root, 0x1000, b, 0);
	topo_add(t, root, 0x2000, c, 0);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000000000-0000000000003fff ram @0\n");
	topo_begin(t);
	topo_set_readonly(t, b, true);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff ram @0\n"
		   "0000000000001000-0000000000001fff ram @1000 ro\n"
		   "0000000000002000-0000000000003fff ram @2000\n");
	topo_begin(t);
	topo_set_nonvolatile(t, b, true);
	topo_set_readonly(t, b, false);
	topo_set_nonvolatile(t, c, true);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff ram @0\n"
		   "0000000000001000-0000000000003fff ram @1000 nv\n");
	topo_begin(t); /* contiguous addresses, other offsets */
	topo_set_nonvolatile(t, b, false);
	topo_set_nonvolatile(t, c, false);
	topo_set_alias_offset(t, b, 0x1800);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff ram @0\n"
		   "0000000000001000-0000000000001fff ram @1800\n"
		   "0000000000002000-0000000000003fff ram @2000\n");
	topo_begin(t); /* contiguous offsets, other addresses */
	topo_set_alias_offset(t, b, 0x1000);
	topo_move(t, c, 0x2001);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000001fff ram @0\n"
		   "0000000000002001-0000000000004000 ram @2000\n");
}

static void test_unmergeable_stays_apart(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x100000);
	int io = topo_io(t, "io", 0x3000), cover = topo_ram(t, "cover", 0x800);
	int a = topo_alias(t, "a", io, 0, 0x1000);
	int b = topo_alias(t, "b", io, 0x1000, 0x2000);
	int space = topo_space(t, root);

	topo_unmergeable(t, io);
	topo_begin(t);
	topo_add(t, root, 0, a, 0);
	topo_add(t, root, 0x1000, b, 0);
	topo_add(t, root, 0x2000, cover, 1);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff io @0 i/o\n"
		   "0000000000001000-0000000000001fff io @1000 i/o\n"
		   "0000000000002000-00000000000027ff cover @0\n"
		   "0000000000002800-0000000000002fff io @2800 i/o\n");
	topo_begin(t); /* nothing in between any more: one piece as before */
	topo_remove(t, cover);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff io @0 i/o\n"
		   "0000000000001000-0000000000002fff io @1000 i/o\n");
	topo_begin(t); /* a change beside it splits nothing */
	topo_move(t, a, 0x8000);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000001000-0000000000002fff io @1000 i/o\n"
		   "0000000000008000-0000000000008fff io @0 i/o\n");
}

static void test_rom_device_modes(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x100000);
	int flash = topo_rom_device(t, "flash", 0x2000);
	int cover = topo_io(t, "cover", 0x10);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0x1000, flash, 0);
	topo_add(t, root, 0x1800, cover, 1);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000001000-00000000000017ff flash @0\n"
		   "0000000000001800-000000000000180f cover @0 i/o\n"
		   "0000000000001810-0000000000002fff flash @810\n");
	topo_begin(t);
	topo_set_rom_mode(t, flash, false);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000001000-00000000000017ff flash @0 i/o\n"
		   "0000000000001800-000000000000180f cover @0 i/o\n"
		   "0000000000001810-0000000000002fff flash @810 i/o\n");
	topo_begin(t); /* there and back in one transaction */
	topo_set_rom_mode(t, flash, true);
	topo_set_rom_mode(t, flash, false);
	topo_remove(t, cover);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000001000-0000000000002fff flash @0 i/o\n");
}

static void test_dirty_masks(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x100000);
	int ram = topo_ram(t, "ram", 0x1000), rom = topo_rom(t, "rom", 0x1000);
	int io = topo_io(t, "io", 0x1000), mmu = topo_iommu(t, "mmu", 0x1000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	topo_add(t, root, 0x1000, rom, 0);
	topo_add(t, root, 0x2000, io, 0);
	topo_add(t, root, 0x3000, mmu, 0);
	topo_log_start(t, ram, MPL_LOG_DISPLAY);
	topo_log_start(t, ram, MPL_LOG_DISPLAY);
	topo_log_global(t, MPL_LOG_MIGRATION, true);
	topo_log_take_part(t, mmu, MPL_LOG_MIGRATION, true);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff ram @0 dirty=5\n"
		   "0000000000001000-0000000000001fff rom @0 ro dirty=4\n"
		   "0000000000002000-0000000000002fff io @0 i/o\n"
		   "0000000000003000-0000000000003fff mmu @0 dirty=4\n");
	topo_begin(t);
	topo_log_stop(t, ram, MPL_LOG_DISPLAY); /* counted: one is left */
	topo_log_take_part(t, rom, MPL_LOG_MIGRATION, false);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff ram @0 dirty=5\n"
		   "0000000000001000-0000000000001fff rom @0 ro\n"
		   "0000000000002000-0000000000002fff io @0 i/o\n"
		   "0000000000003000-0000000000003fff mmu @0 dirty=4\n");
	topo_begin(t);
	topo_log_stop(t, ram, MPL_LOG_DISPLAY);
	topo_log_global(t, MPL_LOG_MIGRATION, false);
	topo_log_global(t, MPL_LOG_CODE, true);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-0000000000000fff ram @0 dirty=2\n"
		   "0000000000001000-0000000000001fff rom @0 ro dirty=2\n"
		   "0000000000002000-0000000000002fff io @0 i/o\n"
		   "0000000000003000-0000000000003fff mmu @0\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(test_ranges_are_inclusive),
		TOPO_TEST(test_zero_size_shows_nothing),
		TOPO_TEST(test_children_are_relative_and_clipped),
		TOPO_TEST(test_priority_decides),
		TOPO_TEST(test_last_added_wins_among_equals),
		TOPO_TEST(test_priorities_compare_siblings_only),
		TOPO_TEST(test_terminating_parent_shows_in_gaps),
		TOPO_TEST(test_container_is_transparent),
		TOPO_TEST(test_disabled_hides_everything_below),
		TOPO_TEST(test_disabled_lets_show_through),
		TOPO_TEST(test_alias_ignores_the_targets_position),
		TOPO_TEST(test_alias_shows_the_targets_children),
		TOPO_TEST(test_aliases_of_aliases_chain),
		TOPO_TEST(test_attributes_are_inherited),
		TOPO_TEST(test_neighbours_merge),
		TOPO_TEST(test_unmergeable_stays_apart),
		TOPO_TEST(test_rom_device_modes),
		TOPO_TEST(test_dirty_masks),
	};

	return topo_run(tests);
}
