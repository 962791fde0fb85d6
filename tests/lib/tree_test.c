/* SPDX-License-Identifier: BSD-3-Clause */
/* Rule 10: cycles are refused when made, and so is nesting without bounds. */
#include "tests/support/topo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_into_itself(void **state)
{
	struct topo *t = *state;
	int a = topo_container(t, "a", 0x1000);

	topo_begin(t);
	topo_add(t, a, 0, a, 0);
	assert_int_equal(topo_commit(t), -ELOOP);
	topo_check(t);
}

static void test_into_its_own_child(void **state)
{
	struct topo *t = *state;
	int region[5];

	for (int i = 0; i < 5; i++)
		region[i] = topo_container(t, "box", 0x1000);
	topo_begin(t);
	for (int i = 0; i < 4; i++)
		topo_add(t, region[i], 0, region[i + 1], 0);
	topo_commit_ok(t);
	for (int i = 1; i < 5; i++) {
		topo_begin(t);
		topo_add(t, region[i], 0, region[0], 0);
		assert_int_equal(topo_commit(t), -ELOOP);
	}
}

/* Through aliases the addresses decide: here they come round to themselves. */
static void test_alias_that_shows_itself(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x1000);
	int box = topo_container(t, "box", 0x1000);
	int direct = topo_alias(t, "direct", box, 0x900, 0x100);
	int above = topo_alias(t, "above", root, 0x900, 0x10);
	int chained = topo_alias(t, "chained", above, 0, 0x10);
	int whole = topo_alias(t, "whole", box, 0, UINT64_MAX);
	int loops[] = { direct, above, chained, whole };
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, box, 0);
	topo_commit_ok(t);
	for (int i = 0; i < 4; i++) {
		topo_begin(t);
		topo_add(t, box, i == 3 ? 0 : 0x900, loops[i], 0);
		assert_int_equal(topo_commit(t), -ELOOP);
		assert_map(t, space, "");
	}
}

/* Another part of what it is in may be shown; real machines do. */
static void test_alias_of_another_part(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int box = topo_container(t, "box", 0x10000);
	int ram = topo_ram(t, "ram", 0x1000), io = topo_io(t, "io", 0x100);
	int window = topo_alias(t, "window", root, 0, 0x4000);
	int second = topo_alias(t, "second", box, 0x4000, 0x4000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, box, 0);
	topo_add(t, box, 0x1000, ram, 0);
	topo_add(t, box, 0x4000, window, -1500);
	topo_add(t, root, 0x8000, second, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000001000-0000000000001fff ram @0\n"
		   "0000000000005000-0000000000005fff ram @0\n"
		   "0000000000009000-0000000000009fff ram @0\n");
	topo_begin(t); /* a change shows in all three places */
	topo_add(t, ram, 0x80, io, 0);
	topo_move(t, ram, 0x2000);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000002000-000000000000207f ram @0\n"
		   "0000000000002080-000000000000217f io @0 i/o\n"
		   "0000000000002180-0000000000002fff ram @180\n"
		   "0000000000006000-000000000000607f ram @0\n"
		   "0000000000006080-000000000000617f io @0 i/o\n"
		   "0000000000006180-0000000000006fff ram @180\n"
		   "000000000000a000-000000000000a07f ram @0\n"
		   "000000000000a080-000000000000a17f io @0 i/o\n"
		   "000000000000a180-000000000000afff ram @180\n");
	topo_begin(t);
	topo_set_enabled(t, io, false);
	topo_set_readonly(t, window, true);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000002000-0000000000002fff ram @0\n"
		   "0000000000006000-0000000000006fff ram @0 ro\n"
		   "000000000000a000-000000000000afff ram @0 ro\n");
}

/* A window that comes over itself later is refused then. */
static void test_window_comes_to_show_itself(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int ram = topo_ram(t, "ram", 0x1000);
	int window = topo_alias(t, "window", root, 0, 0x4000);
	int off = topo_alias(t, "off", root, 0x9000, 0x1000);
	int space = topo_space(t, root);
	static const char *const map =
		"0000000000001000-0000000000001fff ram @0\n"
		"0000000000005000-0000000000005fff ram @0\n";

	topo_begin(t);
	topo_add(t, root, 0x1000, ram, 0);
	topo_add(t, root, 0x4000, window, 0);
	topo_set_enabled(t, off, false);
	topo_commit_ok(t);
	for (int how = 0; how < 4; how++) {
		topo_begin(t);
		switch (how) {
		case 0:
			topo_move(t, window, 0);
			break;
		case 1:
			topo_set_alias_offset(t, window, 0x4000);
			break;
		case 2: /* by way of what it shows */
			topo_set_alias_offset(t, off, 0x4000);
			topo_set_enabled(t, off, true);
			topo_add(t, root, 0, off, 1);
			break;
		default: /* hidden while it is made */
			topo_add(t, root, 0x9000, off, 0);
			topo_set_enabled(t, off, true);
		}
		assert_int_equal(topo_commit_any(t), -ELOOP);
		assert_map(t, space, map);
	}
}

static void test_within_one_transaction(void **state)
{
	struct topo *t = *state;
	int a = topo_container(t, "a", 0x1000);
	int b = topo_container(t, "b", 0x1000);
	int c = topo_container(t, "c", 0x1000);
	int to_a = topo_alias(t, "to_a", a, 0, 0x1000);
	int space = topo_space(t, a);

	topo_begin(t);
	topo_add(t, a, 0, b, 0);
	topo_add(t, b, 0, c, 0);
	topo_add(t, c, 0, a, 0);
	assert_int_equal(topo_commit(t), -ELOOP);
	topo_begin(t);
	topo_add(t, a, 0, b, 0);
	topo_add(t, b, 0, to_a, 0);
	assert_int_equal(topo_commit(t), -ELOOP);
	/* Refused when made: that it would be gone in the end is no help. */
	topo_begin(t);
	topo_add(t, a, 0, b, 0);
	topo_add(t, b, 0, to_a, 0);
	topo_remove(t, b);
	assert_int_equal(topo_commit(t), -ELOOP);
	assert_map(t, space, "");
	topo_begin(t); /* the edge that would close it goes first: fine */
	topo_add(t, a, 0, b, 0);
	topo_remove(t, b);
	topo_add(t, b, 0, to_a, 0);
	topo_add(t, c, 0, b, 0);
	topo_commit_ok(t);
}

static void test_two_transactions_make_half_a_cycle_each(void **state)
{
	struct topo *t = *state;
	int a = topo_container(t, "a", 0x1000);
	int b = topo_container(t, "b", 0x1000);
	struct mpl_txn *first = mpl_begin(t->plane);
	struct mpl_txn *second = mpl_begin(t->plane);

	mpl_region_add(first, t->region[a], 0, t->region[b], 0);
	mpl_region_add(second, t->region[b], 0, t->region[a], 0);
	assert_int_equal(mpl_commit(second), 0);
	assert_int_equal(mpl_commit(first), -ELOOP);
	assert_int_equal(model_add(&t->now, b, 0, a, 0), 0);
	topo_check(t);
}

static void chain_name(char *name, size_t size, int i)
{
	snprintf(name, size, "link%d", i);
}

/* The longest chain of containers that can be made, found link by link. */
static int longest_chain_of_children(struct topo *t)
{
	char name[20];
	int top = topo_container(t, "link0", 0x1000);
	int length = 1;

	for (;;) {
		int parent, err;

		chain_name(name, sizeof(name), length);
		parent = topo_container(t, name, 0x1000);
		topo_begin(t);
		topo_add(t, parent, 0, top, 0);
		err = topo_commit_any(t);
		if (err) {
			assert_int_equal(err, -E2BIG);
			return length;
		}
		top = parent;
		length++;
		assert_true(length < 2 * MPL_DEPTH_MAX);
	}
}

static int longest_chain_of_aliases(struct topo *t)
{
	struct mpl_region *top, *next;
	int length = 1;

	assert_int_equal(mpl_region_new_io(t->plane, "end", 0x1000,
					   &(struct mpl_io_ops){ 0 }, NULL,
					   &top),
			 0);
	for (;;) {
		int err = mpl_region_new_alias(t->plane, "link", top, 0, 0x1000,
					       &next);

		mpl_region_unref(top); /* the alias holds it */
		if (err) {
			assert_int_equal(err, -E2BIG);
			return length;
		}
		top = next;
		length++;
		assert_true(length < 2 * MPL_DEPTH_MAX);
	}
}

static void test_depth_is_bounded(void **state)
{
	struct topo *t = *state;

	assert_int_equal(longest_chain_of_children(t), MPL_DEPTH_MAX);
	assert_int_equal(longest_chain_of_aliases(t), MPL_DEPTH_MAX);
}

/* Growing at the lower end counts for everything above, aliases included. */
static void test_depth_counts_from_above(void **state)
{
	struct topo *t = *state;
	int box[MPL_DEPTH_MAX], window, last, one_more, space;
	const int boxes = MPL_DEPTH_MAX - 2;

	for (int i = 0; i < boxes; i++)
		box[i] = topo_container(t, "box", 0x1000);
	topo_begin(t);
	for (int i = 0; i + 1 < boxes; i++)
		topo_add(t, box[i], 0, box[i + 1], 0);
	assert_int_equal(topo_commit(t), 0);
	window = topo_alias(t, "window", box[0], 0, 0x1000);
	last = topo_ram(t, "last", 0x1000);
	one_more = topo_io(t, "one_more", 0x10);
	space = topo_space(t, window);
	topo_begin(t); /* window, boxes, last: exactly the limit */
	topo_add(t, box[boxes - 1], 0, last, 0);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000000000-0000000000000fff last @0\n");
	topo_begin(t);
	topo_add(t, last, 0, one_more, 0);
	assert_int_equal(topo_commit_any(t), -E2BIG);
	assert_map(t, space, "0000000000000000-0000000000000fff last @0\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(test_into_itself),
		TOPO_TEST(test_into_its_own_child),
		TOPO_TEST(test_alias_that_shows_itself),
		TOPO_TEST(test_alias_of_another_part),
		TOPO_TEST(test_window_comes_to_show_itself),
		TOPO_TEST(test_within_one_transaction),
		TOPO_TEST(test_two_transactions_make_half_a_cycle_each),
		TOPO_TEST(test_depth_is_bounded),
		TOPO_TEST(test_depth_counts_from_above),
	};

	return topo_run(tests);
}
