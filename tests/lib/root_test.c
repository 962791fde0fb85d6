/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rule 9: address spaces with the same effective root share one view.  That
 * topo_check() finds sharing exactly where the oracle's effective roots are
 * equal holds for every test here; the spelled-out expectations are the rule.
 */
#include "tests/support/topo.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static bool shares(struct topo *t, int a, int b)
{
	bool there = mpl_address_space_shares(t->space[a].as, t->space[b].as);

	assert_true(there ==
		    mpl_address_space_shares(t->space[b].as, t->space[a].as));
	return there;
}

static void test_through_a_full_alias(void **state)
{
	struct topo *t = *state;
	int sys = topo_container(t, "sys", UINT64_MAX);
	int ram = topo_ram(t, "ram", 0x4000), io = topo_io(t, "io", 0x1000);
	int window = topo_alias(t, "window", sys, 0, UINT64_MAX);
	int master = topo_container(t, "master", UINT64_MAX);
	int a, b;

	topo_begin(t);
	topo_add(t, sys, 0, ram, 0);
	topo_add(t, sys, 0x8000, io, 0);
	topo_add(t, master, 0, window, 0);
	topo_commit_ok(t);
	a = topo_space(t, sys);
	b = topo_space(t, master);
	assert_true(shares(t, a, a));
	assert_true(shares(t, a, b));
	topo_check(t);
	topo_begin(t); /* bus mastering off, on */
	topo_set_enabled(t, window, false);
	topo_commit_ok(t);
	assert_false(shares(t, a, b));
	assert_map(t, b, "");
	topo_begin(t);
	topo_set_enabled(t, window, true);
	topo_commit_ok(t);
	assert_true(shares(t, a, b));
	topo_begin(t); /* a change is one for both */
	topo_remove(t, io);
	topo_commit_ok(t);
	assert_map(t, b, "0000000000000000-0000000000003fff ram @0\n");
}

static void test_not_through_a_smaller_or_shifted_alias(void **state)
{
	struct topo *t = *state;
	int sys = topo_container(t, "sys", 0x10000);
	int ram = topo_ram(t, "ram", 0x4000), io = topo_io(t, "io", 0x1000);
	int window = topo_alias(t, "window", sys, 0, 0xffff);
	int a = topo_space(t, sys), b = topo_space(t, window);

	topo_begin(t);
	topo_add(t, sys, 0, ram, 0);
	topo_add(t, sys, 0x8000, io, 0);
	topo_commit_ok(t);
	assert_false(shares(t, a, b)); /* although both show the same */
	topo_begin(t);
	topo_resize(t, window, 0x10000);
	topo_commit_ok(t);
	assert_true(shares(t, a, b));
	topo_begin(t);
	topo_set_alias_offset(t, window, 0x1000);
	topo_commit_ok(t);
	assert_false(shares(t, a, b));
	assert_map(t, b,
		   "0000000000000000-0000000000002fff ram @1000\n"
		   "0000000000007000-0000000000007fff io @0 i/o\n");
	topo_begin(t);
	topo_set_alias_offset(t, window, 0);
	topo_resize(t, sys, 0x10001);
	topo_commit_ok(t);
	assert_false(shares(t, a, b));
}

static void test_through_containers_of_one_child(void **state)
{
	struct topo *t = *state;
	int outer = topo_container(t, "outer", 0x10000);
	int inner = topo_container(t, "inner", 0x8000);
	int ram = topo_ram(t, "ram", 0x8000), io = topo_io(t, "io", 0x10);
	int a = topo_space(t, outer), b = topo_space(t, inner);
	int c = topo_space(t, ram);

	topo_begin(t);
	topo_add(t, outer, 0, inner, 3);
	topo_add(t, inner, 0, ram, -3);
	topo_commit_ok(t);
	assert_true(shares(t, a, b));
	assert_true(shares(t, a, c));
	topo_begin(t); /* a second child */
	topo_add(t, inner, 0x100, io, 0);
	topo_commit_ok(t);
	assert_true(shares(t, a, b));
	assert_false(shares(t, a, c));
	topo_begin(t); /* a disabled child doesn't count */
	topo_set_enabled(t, io, false);
	topo_commit_ok(t);
	assert_true(shares(t, a, c));
	topo_begin(t); /* not at 0 */
	topo_move(t, ram, 1);
	topo_commit_ok(t);
	assert_false(shares(t, b, c));
	assert_map(t, a, "0000000000000001-0000000000007fff ram @0\n");
	topo_begin(t); /* doesn't fit in */
	topo_move(t, ram, 0);
	topo_resize(t, inner, 0x7fff);
	topo_commit_ok(t);
	assert_false(shares(t, b, c));
	assert_true(shares(t, a, b));
	assert_map(t, a, "0000000000000000-0000000000007ffe ram @0\n");
}

/* A terminating region with one child is no container: it shows beside it. */
static void test_not_through_a_terminating_region(void **state)
{
	struct topo *t = *state;
	int io = topo_io(t, "io", 0x2000), ram = topo_ram(t, "ram", 0x2000);
	int a = topo_space(t, io), b = topo_space(t, ram);

	topo_begin(t);
	topo_add(t, io, 0, ram, 0);
	topo_commit_ok(t);
	assert_false(shares(t, a, b));
}

static void test_never_past_readonly_or_nonvolatile(void **state)
{
	struct topo *t = *state;
	int box = topo_container(t, "box", 0x4000);
	int ram = topo_ram(t, "ram", 0x4000);
	int window = topo_alias(t, "window", ram, 0, 0x4000);
	int a = topo_space(t, ram), b = topo_space(t, box);

	topo_begin(t);
	topo_add(t, box, 0, window, 0);
	topo_commit_ok(t);
	assert_true(shares(t, a, b));
	topo_begin(t);
	topo_set_readonly(t, window, true);
	topo_commit_ok(t);
	assert_false(shares(t, a, b));
	assert_map(t, a, "0000000000000000-0000000000003fff ram @0\n");
	assert_map(t, b, "0000000000000000-0000000000003fff ram @0 ro\n");
	topo_begin(t);
	topo_set_readonly(t, window, false);
	topo_set_nonvolatile(t, box, true);
	topo_commit_ok(t);
	assert_false(shares(t, a, b));
	assert_map(t, b, "0000000000000000-0000000000003fff ram @0 nv\n");
	topo_begin(t); /* of the effective root itself: nothing is passed */
	topo_set_nonvolatile(t, box, false);
	topo_set_nonvolatile(t, ram, true);
	topo_commit_ok(t);
	assert_true(shares(t, a, b));
	assert_map(t, b, "0000000000000000-0000000000003fff ram @0 nv\n");
}

static void test_empty_roots_share_the_empty_view(void **state)
{
	struct topo *t = *state;
	int empty = topo_container(t, "empty", 0x1000);
	int off = topo_ram(t, "off", 0x1000);
	int window = topo_alias(t, "window", empty, 0, 0x1000);
	int holder = topo_container(t, "holder", 0x2000);
	int ram = topo_ram(t, "ram", 0x1000);
	int a = topo_space(t, empty), b = topo_space(t, off);
	int c = topo_space(t, window), d = topo_space(t, holder);

	topo_begin(t);
	topo_set_enabled(t, off, false);
	topo_add(t, holder, 0x800, ram, 0);
	topo_set_enabled(t, ram, false);
	topo_commit_ok(t);
	assert_true(shares(t, a, b));
	assert_true(shares(t, a, c));
	assert_true(shares(t, a, d));
	topo_begin(t);
	topo_set_enabled(t, ram, true);
	topo_set_enabled(t, off, true);
	topo_commit_ok(t);
	assert_false(shares(t, a, b));
	assert_false(shares(t, a, d));
	assert_true(shares(t, a, c));
	assert_map(t, d, "0000000000000800-00000000000017ff ram @0\n");
}

static void test_roots_position_plays_no_part(void **state)
{
	struct topo *t = *state;
	int sys = topo_container(t, "sys", 0x100000);
	int pci = topo_container(t, "pci", 0x10000);
	int bar = topo_io(t, "bar", 0x1000), two = topo_io(t, "two", 0x10);
	int a = topo_space(t, sys), b = topo_space(t, pci);

	topo_begin(t);
	topo_add(t, sys, 0x40000, pci, 0);
	topo_add(t, pci, 0x2000, bar, 0);
	topo_add(t, pci, 0x4000, two, 0);
	topo_commit_ok(t);
	assert_map(t, a,
		   "0000000000042000-0000000000042fff bar @0 i/o\n"
		   "0000000000044000-000000000004400f two @0 i/o\n");
	assert_map(t, b,
		   "0000000000002000-0000000000002fff bar @0 i/o\n"
		   "0000000000004000-000000000000400f two @0 i/o\n");
	topo_begin(t);
	topo_move(t, pci, 0x50000);
	topo_commit_ok(t);
	assert_map(t, b,
		   "0000000000002000-0000000000002fff bar @0 i/o\n"
		   "0000000000004000-000000000000400f two @0 i/o\n");
}

/* Many spaces whose roots flip between shared, own and empty. */
static void test_flipping_roots(void **state)
{
	struct topo *t = *state;
	int sys = topo_container(t, "sys", UINT64_MAX);
	int ram = topo_ram(t, "ram", 0x8000), io = topo_io(t, "io", 0x1000);
	int window[6], root[6], space[6];
	int main_space = topo_space(t, sys);

	topo_begin(t);
	topo_add(t, sys, 0, ram, 0);
	topo_add(t, sys, 0xf000, io, 0);
	for (int i = 0; i < 6; i++) {
		root[i] = topo_container(t, "root", UINT64_MAX);
		window[i] = topo_alias(t, "window", sys, 0, UINT64_MAX);
		topo_add(t, root[i], 0, window[i], 0);
		topo_set_enabled(t, window[i], i % 2);
	}
	topo_commit_ok(t);
	for (int i = 0; i < 6; i++)
		space[i] = topo_space(t, root[i]);
	for (int turn = 0; turn < 18; turn++) {
		int i = turn % 6;

		topo_begin(t);
		if (turn % 3 == 0)
			topo_set_alias_offset(t, window[i], 0x1000);
		else
			topo_set_enabled(t, window[i], turn % 2);
		if (turn % 4 == 1) {
			topo_move(t, io, 0xf000 + 0x10 * (uint64_t)turn);
			topo_set_alias_offset(t, window[i], 0);
		}
		topo_commit_ok(t);
	}
	topo_begin(t);
	for (int i = 0; i < 6; i++) {
		topo_set_enabled(t, window[i], true);
		topo_set_alias_offset(t, window[i], 0);
	}
	topo_commit_ok(t);
	for (int i = 0; i < 6; i++)
		assert_true(shares(t, main_space, space[i]));
}

/* The corners in which recorded traces differ. */
static void test_trace_rules(void **state)
{
	struct mpl_plane_config config = topo_config;
	struct topo *t;
	int sys, box, ram, window, a, b, c;

	(void)state;
	config.trace_rules = true;
	t = topo_new_config(&config);
	sys = topo_container(t, "sys", 0x100000);
	box = topo_container(t, "box", 0x8000);
	ram = topo_ram(t, "ram", 0x8000);
	window = topo_alias(t, "window", ram, 0, 0x8000);
	a = topo_space(t, ram);
	b = topo_space(t, window);
	c = topo_space(t, box);
	topo_begin(t);
	topo_set_readonly(t, window, true);
	topo_commit_ok(t);
	assert_true(shares(t, a, b)); /* steps past readonly ones */
	assert_map(t, b, "0000000000000000-0000000000007fff ram @0\n");
	topo_begin(t);
	topo_add(t, sys, 0x4000, box, 0);
	topo_add(t, box, 0x1000, ram, 0);
	topo_commit_ok(t);
	/* A root's own address counts. */
	assert_map(t, a, "0000000000001000-0000000000008fff ram @0\n");
	assert_map(t, b, "0000000000001000-0000000000008fff ram @0\n");
	assert_map(t, c, "0000000000005000-000000000000bfff ram @0\n");
	topo_begin(t);
	topo_move(t, box, 0x6000);
	topo_commit_ok(t);
	assert_map(t, c, "0000000000007000-000000000000dfff ram @0\n");
	topo_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(test_through_a_full_alias),
		TOPO_TEST(test_not_through_a_smaller_or_shifted_alias),
		TOPO_TEST(test_through_containers_of_one_child),
		TOPO_TEST(test_not_through_a_terminating_region),
		TOPO_TEST(test_never_past_readonly_or_nonvolatile),
		TOPO_TEST(test_empty_roots_share_the_empty_view),
		TOPO_TEST(test_roots_position_plays_no_part),
		TOPO_TEST(test_flipping_roots),
		cmocka_unit_test(test_trace_rules),
	};

	return topo_run(tests);
}
