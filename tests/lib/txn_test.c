/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions: all or nothing, the first error, order, abort. */
#include "tests/support/topo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void test_empty(void **state)
{
	struct topo *t = *state;
	struct mpl_txn *tx = mpl_begin(t->plane);

	assert_int_equal(mpl_txn_error(tx), 0);
	assert_int_equal(mpl_commit(tx), 0);
	mpl_abort(mpl_begin(t->plane));
	mpl_abort(NULL);
}

static void test_nothing_is_seen_before_the_commit(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x1000);
	int space = topo_space(t, root);
	uint64_t generation = mpl_plane_generation(t->plane);

	topo_begin(t);
	topo_add(t, root, 0x1000, io, 0);
	topo_resize(t, io, 0x2000);
	assert_true(mpl_region_size(t->region[io]) == 0x1000);
	assert_int_equal(mpl_plane_generation(t->plane), generation);
	topo_abort(t);
	assert_map(t, space, "");
	assert_int_equal(mpl_plane_generation(t->plane), generation);
	topo_begin(t);
	topo_add(t, root, 0x1000, io, 0);
	topo_resize(t, io, 0x2000);
	topo_commit_ok(t);
	assert_true(mpl_region_size(t->region[io]) == 0x2000);
	assert_true(mpl_plane_generation(t->plane) > generation);
	assert_map(t, space, "0000000000001000-0000000000002fff io @0 i/o\n");
}

/* One machine for the tests of errors. */
struct machine {
	int root, space, other_space;
	int ram, io, window, flash, box, spare, detached;
};

static void build(struct topo *t, struct machine *m)
{
	struct mpl_ioeventfd ev = { .offset = 4, .size = 4, .fd = 1 };

	m->root = topo_container(t, "root", UINT64_MAX);
	m->ram = topo_ram(t, "ram", 0x8000);
	m->io = topo_io(t, "io", 0x1000);
	m->window = topo_alias(t, "window", m->ram, 0x1000, 0x2000);
	m->flash = topo_rom_device(t, "flash", 0x1000);
	m->box = topo_container(t, "box", 0x4000);
	m->spare = topo_io(t, "spare", 0x100);
	m->detached = topo_ram(t, "detached", 0x1000);
	m->space = topo_space(t, m->root);
	m->other_space = topo_space(t, m->box);
	topo_begin(t);
	topo_add(t, m->root, 0, m->ram, 0);
	topo_add(t, m->root, 0x2000, m->io, 1);
	topo_add(t, m->root, 0x10000, m->window, 0);
	topo_add(t, m->box, 0x800, m->flash, 0);
	topo_add(t, m->root, 0x20000, m->box, 0);
	topo_ioeventfd_add(t, m->io, &ev);
	topo_commit_ok(t);
}

#define GOOD_MUTATIONS 14

static void good_mutation(struct topo *t, const struct machine *m, int i)
{
	struct mpl_ioeventfd ev = { .offset = 8, .size = 8, .fd = 2 };

	switch (i) {
	case 0: topo_add(t, m->root, 0x30000, m->spare, 0); break;
	case 1: topo_remove(t, m->flash); break;
	case 2: topo_move(t, m->io, 0x3000); break;
	case 3: topo_resize(t, m->ram, 0x4000); break;
	case 4: topo_set_enabled(t, m->window, false); break;
	case 5: topo_set_readonly(t, m->ram, true); break;
	case 6: topo_set_nonvolatile(t, m->box, true); break;
	case 7: topo_set_alias_offset(t, m->window, 0); break;
	case 8: topo_set_rom_mode(t, m->flash, false); break;
	case 9: topo_log_start(t, m->ram, MPL_LOG_DISPLAY); break;
	case 10: topo_ioeventfd_add(t, m->io, &ev); break;
	case 11: topo_coalescing_add(t, m->io, 0, 0x100); break;
	case 12: topo_set_priority(t, m->io, -1); break;
	case 13: topo_log_global(t, MPL_LOG_MIGRATION, true); break;
	default: fail();
	}
}

#define BAD_MUTATIONS 10

static void bad_mutation(struct topo *t, const struct machine *m, int i)
{
	struct mpl_ioeventfd there = { .offset = 4, .size = 4, .fd = 1 };
	struct mpl_ioeventfd absent = { .offset = 4, .size = 4, .fd = 2 };
	int expected = t->err;

	switch (i) {
	case 0: topo_add(t, m->root, 0, m->ram, 0); break; /* EBUSY */
	case 1: topo_remove(t, m->detached); break; /* ENOENT */
	case 2: topo_add(t, m->window, 0, m->detached, 0); break; /* EINVAL */
	case 3: topo_resize(t, m->detached, 0x1001); break; /* ENOSPC */
	case 4: topo_log_stop(t, m->detached, MPL_LOG_CODE); break; /* EINVAL */
	case 5: topo_ioeventfd_add(t, m->io, &there); break; /* EEXIST */
	case 6: topo_ioeventfd_del(t, m->io, &absent); break; /* ENOENT */
	case 7: topo_add(t, m->detached, 0, m->detached, 0); break; /* ELOOP */
	case 8: /* no such size */
		absent.size = 3;
		mpl_ioeventfd_add(t->tx, t->region[m->io], &absent);
		t->err = expected ? expected : -EINVAL;
		break;
	case 9: /* of a container */
		absent.size = 4;
		mpl_ioeventfd_add(t->tx, t->region[m->box], &absent);
		t->err = expected ? expected : -EINVAL;
		break;
	default: fail();
	}
}

static void test_each_error(void **state)
{
	static const int expected[BAD_MUTATIONS] = {
		-EBUSY, -ENOENT, -EINVAL, -ENOSPC, -EINVAL,
		-EEXIST, -ENOENT, -ELOOP, -EINVAL, -EINVAL,
	};
	struct topo *t = *state;
	struct machine m;

	build(t, &m);
	for (int bad = 0; bad < BAD_MUTATIONS; bad++) {
		snprintf(t->note, sizeof(t->note), "bad mutation %d", bad);
		topo_begin(t);
		bad_mutation(t, &m, bad);
		assert_int_equal(topo_commit(t), expected[bad]);
		topo_check(t);
	}
}

/* All mutations are good but the one at `position`. */
static void fail_at(struct topo *t, const struct machine *m, int position,
		    int bad)
{
	struct text before = { 0 }, after = { 0 };

	snprintf(t->note, sizeof(t->note), "bad mutation %d at %d", bad,
		 position);
	topo_picture(t, &before);
	topo_begin(t);
	for (int i = 0; i < GOOD_MUTATIONS; i++) {
		if (i == position)
			bad_mutation(t, m, bad);
		good_mutation(t, m, i);
	}
	if (position == GOOD_MUTATIONS)
		bad_mutation(t, m, bad);
	assert_true(topo_commit(t) < 0);
	topo_picture(t, &after);
	textmap_compare(t->note, text_chars(&before), text_chars(&after),
			__FILE__, __LINE__);
	topo_check(t);
	text_free(&before);
	text_free(&after);
}

static void test_nothing_changes_on_an_error(void **state)
{
	struct topo *t = *state;
	struct machine m;

	build(t, &m);
	for (int bad = 0; bad < BAD_MUTATIONS; bad++)
		for (int at = 0; at <= GOOD_MUTATIONS; at += 1 + bad % 3)
			fail_at(t, &m, at, bad);
	/* And all of them are good indeed, one after the other. */
	t->note[0] = '\0';
	for (int i = 0; i < GOOD_MUTATIONS; i++) {
		topo_begin(t);
		good_mutation(t, &m, i);
		topo_commit_ok(t);
	}
	assert_map(t, m.space,
		   "0000000000000000-0000000000003fff ram @0 ro dirty=5\n"
		   "0000000000030000-00000000000300ff spare @0 i/o\n");
}

/* Counts and flags that no view shows are put back as well. */
static void test_invisible_state_is_put_back(void **state)
{
	struct topo *t = *state;
	struct machine m;

	build(t, &m);
	topo_begin(t);
	topo_log_start(t, m.ram, MPL_LOG_CODE);
	topo_log_start(t, m.ram, MPL_LOG_CODE);
	topo_commit_ok(t);
	topo_begin(t);
	topo_log_stop(t, m.ram, MPL_LOG_CODE);
	topo_move(t, m.ram, 0); /* becomes the last added */
	topo_move(t, m.detached, 0x1234);
	topo_remove(t, m.detached);
	assert_int_equal(topo_commit(t), -ENOENT);
	topo_check(t);
	topo_begin(t); /* were the count one, this would end it */
	topo_log_stop(t, m.ram, MPL_LOG_CODE);
	topo_set_priority(t, m.io, 0); /* moved last: wins over ram */
	topo_commit_ok(t);
	topo_begin(t);
	topo_log_stop(t, m.ram, MPL_LOG_CODE);
	topo_commit_ok(t);
	topo_begin(t);
	topo_log_stop(t, m.ram, MPL_LOG_CODE);
	assert_int_equal(topo_commit(t), -EINVAL);
}

/* An error must not change who was added last. */
static void test_sibling_order_is_put_back(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int a = topo_io(t, "a", 0x1000), b = topo_io(t, "b", 0x1000);
	int c = topo_io(t, "c", 0x1000), none = topo_io(t, "none", 1);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, a, 0);
	topo_add(t, root, 0x400, b, 0);
	topo_add(t, root, 0x800, c, 0);
	topo_commit_ok(t);
	topo_begin(t);
	topo_move(t, a, 0x800);
	topo_remove(t, b);
	topo_add(t, root, 0, b, 5);
	topo_set_priority(t, c, -1);
	topo_remove(t, none);
	assert_int_equal(topo_commit(t), -ENOENT);
	assert_map(t, space,
		   "0000000000000000-00000000000003ff a @0 i/o\n"
		   "0000000000000400-00000000000007ff b @0 i/o\n"
		   "0000000000000800-00000000000017ff c @0 i/o\n");
	topo_begin(t); /* b is still younger than a */
	topo_set_enabled(t, c, false);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000000000-00000000000003ff a @0 i/o\n"
		   "0000000000000400-00000000000013ff b @0 i/o\n");
}

static void test_the_first_error_sticks(void **state)
{
	struct topo *t = *state;
	struct machine m;

	build(t, &m);
	topo_begin(t);
	bad_mutation(t, &m, 5); /* EEXIST */
	bad_mutation(t, &m, 1); /* ENOENT */
	assert_int_equal(topo_commit(t), -EEXIST);
	topo_begin(t);
	bad_mutation(t, &m, 8); /* EINVAL, whenever it is noticed */
	bad_mutation(t, &m, 1);
	assert_int_equal(topo_commit(t), -EINVAL);
}

/* Committed order counts, not the order of mpl_begin(). */
static void test_order_is_that_of_commits(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int a = topo_io(t, "a", 0x1000), b = topo_io(t, "b", 0x1000);
	int space = topo_space(t, root);
	struct mpl_txn *first = mpl_begin(t->plane);
	struct mpl_txn *second = mpl_begin(t->plane);
	struct mpl_txn *third = mpl_begin(t->plane);

	mpl_region_add(first, t->region[root], 0, t->region[a], 0);
	mpl_region_add(second, t->region[root], 0, t->region[b], 0);
	mpl_region_remove(third, t->region[b]);
	assert_int_equal(mpl_commit(second), 0);
	assert_int_equal(mpl_commit(first), 0);
	assert_int_equal(model_add(&t->now, root, 0, b, 0), 0);
	assert_int_equal(model_add(&t->now, root, 0, a, 0), 0);
	assert_map(t, space, "0000000000000000-0000000000000fff a @0 i/o\n");
	assert_int_equal(mpl_commit(third), 0);
	assert_int_equal(model_remove(&t->now, b), 0);
	topo_check(t);
}

/* Within a transaction only the end result counts. */
static void test_last_mutation_counts(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int box = topo_container(t, "box", 0x8000);
	int io = topo_io(t, "io", 0x1000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0, io, 0);
	topo_move(t, io, 0x1000);
	topo_remove(t, io);
	topo_add(t, box, 0x200, io, 0);
	topo_add(t, root, 0x4000, box, 0);
	topo_set_enabled(t, box, false);
	topo_set_enabled(t, box, true);
	topo_resize(t, io, 0);
	topo_resize(t, io, 0x80);
	topo_commit_ok(t);
	assert_map(t, space, "0000000000004200-000000000000427f io @0 i/o\n");
}

/* A detached tree may change at will and shows when it is attached. */
static void test_detached_trees_change_too(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int box = topo_container(t, "box", 0x8000);
	int a = topo_io(t, "a", 0x1000), b = topo_io(t, "b", 0x1000);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, box, 0, a, 0);
	topo_add(t, box, 0x800, b, 0);
	topo_commit_ok(t);
	topo_begin(t);
	topo_move(t, a, 0x400);
	topo_set_readonly(t, box, true);
	topo_move(t, box, 0x7777);
	topo_commit_ok(t);
	assert_map(t, space, "");
	topo_begin(t);
	topo_add(t, root, 0x1000, box, 0);
	topo_commit_ok(t);
	assert_map(t, space,
		   "0000000000001400-00000000000023ff a @0 i/o ro\n"
		   "0000000000002400-00000000000027ff b @c00 i/o ro\n");
}

static void count_done(void *arg, int err)
{
	int *result = arg;

	__atomic_store_n(result, err ? err : 1, __ATOMIC_RELEASE);
}

static int wait_for(int *result)
{
	const struct timespec nap = { .tv_nsec = 1000000 };

	for (int i = 0; i < 2000; i++) {
		int now = __atomic_load_n(result, __ATOMIC_ACQUIRE);

		if (now)
			return now;
		nanosleep(&nap, NULL);
	}
	return 0;
}

static void test_commit_async(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x1000);
	int space = topo_space(t, root);
	int good = 0, bad = 0;

	topo_begin(t);
	topo_add(t, root, 0, io, 0);
	assert_int_equal(mpl_commit_async(t->tx, count_done, &good), 0);
	t->tx = NULL;
	assert_int_equal(wait_for(&good), 1);
	assert_map(t, space, "0000000000000000-0000000000000fff io @0 i/o\n");
	topo_begin(t);
	topo_add(t, root, 0, io, 0);
	assert_int_equal(mpl_commit_async(t->tx, count_done, &bad), 0);
	t->tx = NULL;
	assert_int_equal(wait_for(&bad), -EBUSY);
	topo_check(t);
	assert_int_equal(wait_for(&good), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(test_empty),
		TOPO_TEST(test_nothing_is_seen_before_the_commit),
		TOPO_TEST(test_each_error),
		TOPO_TEST(test_nothing_changes_on_an_error),
		TOPO_TEST(test_invisible_state_is_put_back),
		TOPO_TEST(test_sibling_order_is_put_back),
		TOPO_TEST(test_the_first_error_sticks),
		TOPO_TEST(test_order_is_that_of_commits),
		TOPO_TEST(test_last_mutation_counts),
		TOPO_TEST(test_detached_trees_change_too),
		TOPO_TEST(test_commit_async),
	};

	return topo_run(tests);
}
