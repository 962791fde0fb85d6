/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The removal contract: `release` runs once, when nothing refers to a region
 * any more.  topo_free() demands of every test that it did.
 */
#include "tests/support/topo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

/* Reclaiming again and again must not release it. */
static void assert_held(struct topo *t, int id)
{
	const struct timespec nap = { .tv_nsec = 2000000 };

	for (int i = 0; i < 3; i++) {
		mpl_reclaim(t->plane);
		assert_int_equal(topo_released(t, id), 0);
		nanosleep(&nap, NULL);
	}
}

#define assert_released(t, id) assert_true(topo_settles((t), (id)))

static void test_maker_holds(void **state)
{
	struct topo *t = *state;
	int io = topo_io(t, "io", 0x1000);

	assert_held(t, io);
	mpl_region_ref(t->region[io]);
	mpl_region_unref(t->region[io]);
	assert_held(t, io);
	topo_drop(t, io);
	assert_released(t, io);
	mpl_region_unref(NULL);
}

static void test_parent_holds(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int box = topo_container(t, "box", 0x1000);
	int io = topo_io(t, "io", 0x1000);
	int space = topo_space(t, root);
	struct mpl_region *keep = t->region[io];

	topo_begin(t);
	topo_add(t, root, 0, box, 0);
	topo_add(t, box, 0, io, 0);
	topo_commit_ok(t);
	topo_drop(t, io);
	assert_held(t, io);
	topo_check(t);
	t->region[io] = keep; /* the parent's reference: still good */
	topo_begin(t);
	topo_remove(t, io);
	assert_int_equal(topo_commit(t), 0);
	t->region[io] = NULL;
	assert_released(t, io);
	assert_map(t, space, "");
}

/* A tree goes as a whole when its top does. */
static void test_tree_goes_with_its_top(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int box = topo_container(t, "box", 0x4000);
	int inner = topo_container(t, "inner", 0x2000);
	int io = topo_io(t, "io", 0x1000), ram = topo_ram(t, "ram", 0x1000);
	int window = topo_alias(t, "window", ram, 0, 0x1000);

	topo_space(t, root);
	topo_begin(t);
	topo_add(t, root, 0, box, 0);
	topo_add(t, box, 0, inner, 0);
	topo_add(t, inner, 0, io, 0);
	topo_add(t, inner, 0x1000, window, 0);
	topo_commit_ok(t);
	topo_drop(t, inner);
	topo_drop(t, io);
	topo_drop(t, window);
	topo_drop(t, ram);
	topo_begin(t);
	topo_remove(t, box);
	assert_int_equal(topo_commit(t), 0);
	assert_held(t, io);
	assert_held(t, ram);
	topo_drop(t, box);
	assert_released(t, box);
	assert_released(t, inner);
	assert_released(t, io);
	assert_released(t, window);
	assert_released(t, ram);
}

static void test_alias_holds_its_target(void **state)
{
	struct topo *t = *state;
	int ram = topo_ram(t, "ram", 0x1000);
	int window = topo_alias(t, "window", ram, 0, 0x1000);

	topo_drop(t, ram);
	assert_held(t, ram);
	topo_drop(t, window);
	assert_released(t, window);
	assert_released(t, ram);
}

static void test_address_space_holds_its_root(void **state)
{
	struct topo *t = *state;
	int io = topo_io(t, "io", 0x1000);
	int space = topo_space(t, io);

	topo_drop(t, io);
	assert_held(t, io);
	topo_check(t);
	topo_space_free(t, space);
	assert_released(t, io);
}

static void test_transaction_holds_what_it_names(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x1000);
	int a = topo_io(t, "a", 0x100), b = topo_io(t, "b", 0x100);
	struct mpl_txn *tx = mpl_begin(t->plane);

	mpl_region_set_enabled(tx, t->region[a], false);
	topo_drop(t, a);
	assert_held(t, a);
	mpl_abort(tx);
	assert_released(t, a);

	tx = mpl_begin(t->plane);
	mpl_region_add(tx, t->region[root], 0, t->region[b], 0);
	mpl_region_remove(tx, t->region[root]); /* fails */
	topo_drop(t, b);
	assert_held(t, b);
	assert_int_equal(mpl_commit(tx), -ENOENT);
	assert_released(t, b);
}

static void test_online_reader_delays(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int ram = topo_ram(t, "ram", 0x1000);
	int space = topo_space(t, root);
	const struct mpl_section *section;

	topo_begin(t);
	topo_add(t, root, 0x1000, ram, 0);
	topo_commit_ok(t);
	assert_int_equal(mpl_reader_online(t->reader), 0);
	section = mpl_lookup(t->reader, t->space[space].as, 0x1800);
	assert_ptr_equal(mpl_section_region(section), t->region[ram]);
	topo_begin(t);
	topo_remove(t, ram);
	assert_int_equal(topo_commit(t), 0);
	topo_drop(t, ram);
	/* New look-ups miss; what was found is good until we are quiescent. */
	assert_true(mpl_section_is_unassigned(
		mpl_lookup(t->reader, t->space[space].as, 0x1800)));
	assert_held(t, ram);
	assert_string_equal(mpl_region_name(mpl_section_region(section)),
			    "ram");
	section->host[0] = 42; /* mapped still */
	assert_int_equal(section->host[0], 42);
	assert_int_equal(mpl_reader_quiescent(t->reader), 0);
	assert_released(t, ram);
	assert_int_equal(mpl_reader_offline(t->reader), 0);
}

static void test_going_offline_lets_go(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x1000);

	topo_space(t, root);
	topo_begin(t);
	topo_add(t, root, 0, io, 0);
	topo_commit_ok(t);
	assert_int_equal(mpl_reader_online(t->reader), 0);
	topo_begin(t);
	topo_remove(t, io);
	assert_int_equal(topo_commit(t), 0);
	topo_drop(t, io);
	assert_held(t, io);
	assert_int_equal(mpl_reader_offline(t->reader), 0);
	assert_released(t, io);
}

/* A reader that came online after the commit holds nothing back. */
static void test_later_reader_does_not_delay(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x1000);

	topo_space(t, root);
	topo_begin(t);
	topo_add(t, root, 0, io, 0);
	topo_commit_ok(t);
	topo_begin(t);
	topo_remove(t, io);
	assert_int_equal(topo_commit(t), 0);
	assert_int_equal(mpl_reader_online(t->reader), 0);
	topo_drop(t, io);
	assert_released(t, io);
	assert_int_equal(mpl_reader_offline(t->reader), 0);
}

static void test_reattached_is_not_released(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x1000);
	struct mpl_region *keep = t->region[io];

	topo_space(t, root);
	topo_begin(t);
	topo_add(t, root, 0, io, 0);
	topo_commit_ok(t);
	topo_begin(t);
	topo_remove(t, io);
	topo_commit_ok(t);
	topo_begin(t);
	topo_add(t, root, 0x2000, io, 0);
	topo_commit_ok(t);
	topo_drop(t, io);
	assert_held(t, io);
	topo_check(t);
	t->region[io] = keep;
	topo_begin(t);
	topo_remove(t, io);
	assert_int_equal(topo_commit(t), 0);
	t->region[io] = NULL;
	assert_released(t, io);
}

/* The old snapshot holds a region that one commit replaced by another. */
static void test_synchronize(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int a = topo_io(t, "a", 0x1000), b = topo_io(t, "b", 0x1000);

	topo_space(t, root);
	topo_begin(t);
	topo_add(t, root, 0, a, 0);
	topo_commit_ok(t);
	topo_begin(t);
	topo_remove(t, a);
	topo_add(t, root, 0, b, 0);
	topo_commit_ok(t);
	topo_drop(t, a);
	assert_int_equal(mpl_reader_online(t->reader), 0);
	assert_int_equal(mpl_synchronize(t->plane), -EDEADLK);
	assert_int_equal(mpl_reader_offline(t->reader), 0);
	assert_int_equal(mpl_synchronize(t->plane), 0);
	assert_released(t, a);
}

static void test_drain(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int box = topo_container(t, "box", 0x1000);
	int io = topo_io(t, "io", 0x1000), ram = topo_ram(t, "ram", 0x1000);
	int window = topo_alias(t, "window", ram, 0, 0x1000);

	topo_space(t, root);
	topo_begin(t);
	topo_add(t, root, 0, box, 0);
	topo_add(t, box, 0, io, 0);
	topo_commit_ok(t);
	assert_int_equal(mpl_region_drain(t->region[io]), -EBUSY);
	/* An alias that nobody sees is in nobody's way. */
	assert_int_equal(mpl_region_drain(t->region[ram]), 0);
	assert_int_equal(mpl_region_drain(t->region[root]), -EBUSY);
	assert_int_equal(mpl_region_drain(t->region[window]), 0);
	topo_begin(t);
	topo_remove(t, box);
	topo_commit_ok(t);
	/* Out of sight, but attached to something that is detached. */
	assert_int_equal(mpl_region_drain(t->region[io]), -EBUSY);
	topo_begin(t);
	topo_remove(t, io);
	topo_commit_ok(t);
	assert_int_equal(mpl_reader_online(t->reader), 0);
	assert_int_equal(mpl_region_drain(t->region[io]), -EDEADLK);
	assert_int_equal(mpl_reader_offline(t->reader), 0);
	assert_int_equal(mpl_region_drain(t->region[io]), 0);
	assert_int_equal(mpl_region_drain(t->region[box]), 0);
	topo_drop(t, io); /* drained: nothing else refers to it */
	assert_released(t, io);
}

struct from_release {
	struct mpl_plane *plane;
	int commit;
	int async;
	int done;
};

static void note_done(void *arg, int err)
{
	struct from_release *seen = arg;

	__atomic_store_n(&seen->done, err ? err : 1, __ATOMIC_RELEASE);
}

static void commit_in_release(void *opaque)
{
	struct from_release *seen = opaque;

	seen->commit = mpl_commit(mpl_begin(seen->plane));
	seen->async = mpl_commit_async(mpl_begin(seen->plane), note_done, seen);
}

static void test_commit_inside_release(void **state)
{
	struct from_release seen = { .async = 1 };
	struct mpl_region *io;
	struct topo *t = *state;

	seen.plane = t->plane;
	assert_int_equal(mpl_region_new_container(t->plane, "c", 0x100, &io),
			 0);
	mpl_region_on_release(io, commit_in_release, &seen);
	mpl_region_unref(io);
	/* What was queued must be through before the frame goes away. */
	for (int i = 0; i < 100; i++) {
		mpl_reclaim(t->plane);
		assert_int_equal(mpl_commit(mpl_begin(t->plane)), 0);
		if (__atomic_load_n(&seen.done, __ATOMIC_ACQUIRE))
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	assert_int_equal(seen.commit, -EDEADLK);
	assert_int_equal(seen.async, 0);
	assert_int_equal(seen.done, 1);
}

/* Sections in a view that several spaces share are held by it once. */
static void test_shared_views(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x1000), keep = topo_io(t, "keep", 0x1000);
	int spaces[4];

	for (int i = 0; i < 4; i++)
		spaces[i] = topo_space(t, root);
	topo_begin(t);
	topo_add(t, root, 0, io, 0);
	topo_add(t, root, 0x2000, keep, 0);
	topo_commit_ok(t);
	topo_space_free(t, spaces[1]);
	topo_begin(t);
	topo_remove(t, io);
	topo_commit_ok(t);
	topo_space_free(t, spaces[0]);
	topo_drop(t, io);
	assert_released(t, io);
	assert_held(t, keep);
	topo_check(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(test_maker_holds),
		TOPO_TEST(test_parent_holds),
		TOPO_TEST(test_tree_goes_with_its_top),
		TOPO_TEST(test_alias_holds_its_target),
		TOPO_TEST(test_address_space_holds_its_root),
		TOPO_TEST(test_transaction_holds_what_it_names),
		TOPO_TEST(test_online_reader_delays),
		TOPO_TEST(test_going_offline_lets_go),
		TOPO_TEST(test_later_reader_does_not_delay),
		TOPO_TEST(test_reattached_is_not_released),
		TOPO_TEST(test_synchronize),
		TOPO_TEST(test_drain),
		TOPO_TEST(test_commit_inside_release),
		TOPO_TEST(test_shared_views),
	};

	return topo_run(tests);
}
