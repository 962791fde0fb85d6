/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lists of ioeventfds: topo_check() compares each with the oracle's, in
 * order; here are the corners, and what listeners are told.
 */
#include "tests/support/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static int count_one(void *arg, const struct mpl_flat_ioeventfd *ev)
{
	++*(size_t *)arg;
	assert_true(ev->fd != ev->caller_fd);
	assert_true(fcntl(ev->fd, F_GETFD) >= 0);
	return 0;
}

static size_t count(struct topo *t, int space)
{
	size_t n = 0;

	assert_int_equal(mpl_address_space_walk_ioeventfds(t->space[space].as,
							   count_one, &n),
			 0);
	return n;
}

static void add(struct topo *t, int id, uint64_t offset, unsigned int size,
		bool match, uint64_t data, int fd)
{
	struct mpl_ioeventfd ev = { offset, data, size, match, fd };

	topo_ioeventfd_add(t, id, &ev);
}

static void del(struct topo *t, int id, uint64_t offset, unsigned int size,
		bool match, uint64_t data, int fd)
{
	struct mpl_ioeventfd ev = { offset, data, size, match, fd };

	topo_ioeventfd_del(t, id, &ev);
}

static void test_order_and_keys(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int a = topo_io(t, "a", 0x100), b = topo_io(t, "b", 0x100);
	int space = topo_space(t, root);

	topo_begin(t);
	topo_add(t, root, 0x2000, a, 0);
	topo_add(t, root, 0x1000, b, 0);
	add(t, a, 0x10, 4, false, 0, 1);
	add(t, a, 0x8, 4, true, 7, 1);
	add(t, a, 0x8, 4, true, 5, 1);
	add(t, a, 0x8, 2, false, 0, 1);
	add(t, a, 0x8, 4, false, 0, 1);
	add(t, a, 0x8, 0, false, 0, 1);
	add(t, b, 0xf8, 8, true, UINT64_MAX, 1);
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 7);
	topo_begin(t);
	add(t, a, 0x8, 4, true, 5, 1);
	assert_int_equal(topo_commit(t), -EEXIST);
	topo_begin(t);
	del(t, a, 0x8, 4, true, 6, 1);
	assert_int_equal(topo_commit(t), -ENOENT);
	topo_begin(t);
	del(t, a, 0x8, 4, true, 5, 2); /* another descriptor */
	assert_int_equal(topo_commit(t), -ENOENT);
	topo_begin(t); /* replaced within a transaction */
	del(t, a, 0x8, 4, true, 5, 1);
	add(t, a, 0x8, 4, true, 5, 1);
	del(t, a, 0x8, 4, true, 7, 1);
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 6);
}

/*
 * Only the first change of a region's doorbells in a transaction is noted and
 * marked: what shows the region in between is seen all the same, and all of
 * them are undone.
 */
static void test_many_changes_at_once(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x100);
	int space = topo_space(t, root);

	topo_begin(t);
	add(t, io, 0x8, 4, false, 0, 1); /* nothing shows it yet */
	topo_add(t, root, 0x1000, io, 0);
	add(t, io, 0x10, 4, false, 0, 1);
	topo_move(t, io, 0x2000);
	add(t, io, 0x18, 4, false, 0, 1);
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 3);
	topo_begin(t);
	del(t, io, 0x8, 4, false, 0, 1);
	add(t, io, 0x20, 4, false, 0, 1);
	topo_move(t, io, 0x3000);
	del(t, io, 0x10, 4, false, 0, 1);
	add(t, io, 0x18, 4, false, 0, 1);
	assert_int_equal(topo_commit(t), -EEXIST);
	topo_check(t);
	assert_int_equal(count(t, space), 3);
	topo_begin(t); /* to nothing, and back */
	del(t, io, 0x8, 4, false, 0, 1);
	del(t, io, 0x10, 4, false, 0, 1);
	del(t, io, 0x18, 4, false, 0, 1);
	add(t, io, 0x20, 4, false, 0, 1);
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 1);
}

static void test_only_what_is_visible(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x100), cover = topo_ram(t, "cover", 0x10);
	int space = topo_space(t, root);

	topo_begin(t);
	add(t, io, 0x20, 4, false, 0, 1);
	add(t, io, 0x2c, 8, false, 0, 1); /* reaches over what follows */
	add(t, io, 0x30, 0, false, 0, 1);
	add(t, io, 0x200, 4, false, 0, 1); /* beyond the region */
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 0);
	topo_begin(t);
	topo_add(t, root, 0x1000, io, 0);
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 3);
	topo_begin(t);
	topo_add(t, root, 0x1030, cover, 1);
	topo_commit_ok(t); /* half of the second is left */
	assert_int_equal(count(t, space), 2);
	topo_begin(t);
	topo_move(t, cover, 0x1022); /* the first is cut in the middle... */
	topo_resize(t, cover, 1);
	topo_commit_ok(t); /* ... and is seen in two ranges */
	assert_int_equal(count(t, space), 4);
	topo_begin(t);
	topo_set_enabled(t, io, false);
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 0);
	topo_begin(t);
	topo_set_enabled(t, io, true);
	topo_resize(t, io, 0x21); /* one byte of the first is left */
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 1);
}

/* A region seen twice has its doorbells twice. */
static void test_seen_twice(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x100);
	int window = topo_alias(t, "window", io, 0x10, 0x20);
	int space = topo_space(t, root), lone = topo_space(t, io);

	topo_begin(t);
	topo_add(t, root, 0x1000, io, 0);
	topo_add(t, root, 0x800, window, 0);
	add(t, io, 0xe, 4, false, 0, 1); /* begins before the window */
	add(t, io, 0x18, 8, true, 1, 1);
	add(t, io, 0x2f, 0, false, 0, 1);
	add(t, io, 0x30, 0, false, 0, 1); /* after it */
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 7);
	assert_int_equal(count(t, lone), 4);
	topo_begin(t);
	topo_set_alias_offset(t, window, 0x2f);
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 6);
}

/* The library's duplicate outlives the caller's descriptor. */
static void test_descriptors_are_duplicated(void **state)
{
	struct topo *t = *state;
	int io = topo_io(t, "io", 0x100);
	int space = topo_space(t, io);
	int fd = eventfd(0, EFD_NONBLOCK);

	assert_true(fd >= 0);
	topo_begin(t);
	add(t, io, 0, 4, false, 0, fd);
	assert_int_equal(close(fd), 0);
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 1);
	topo_begin(t);
	del(t, io, 0, 4, false, 0, fd);
	topo_commit_ok(t);
	assert_int_equal(count(t, space), 0);
}

static size_t open_descriptors(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_descriptors_are_closed(void **state)
{
	struct topo *t = *state;
	int io = topo_io(t, "io", 0x100);
	size_t before;

	topo_space(t, io);
	before = open_descriptors();
	for (int i = 0; i < 20; i++) {
		topo_begin(t); /* taken back */
		add(t, io, 0, 4, false, 0, 1);
		topo_abort(t);
		topo_begin(t); /* refused */
		add(t, io, 0, 4, false, 0, 1);
		topo_remove(t, io);
		assert_int_equal(topo_commit(t), -ENOENT);
		topo_begin(t); /* carried out, and ended */
		add(t, io, 0, 4, false, 0, 1);
		topo_commit_ok(t);
		topo_begin(t);
		del(t, io, 0, 4, false, 0, 1);
		topo_commit_ok(t);
	}
	assert_int_equal(mpl_synchronize(t->plane), 0);
	mpl_reclaim(t->plane);
	assert_int_equal(open_descriptors(), before);
}

static void test_bad_ones(void **state)
{
	static const unsigned int sizes[] = { 3, 5, 6, 7, 9, 16 };
	struct topo *t = *state;
	int io = topo_io(t, "io", 0x100);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		topo_begin(t);
		add(t, io, 0, sizes[i], false, 0, 1);
		t->err = -EINVAL;
		assert_int_equal(topo_commit(t), -EINVAL);
	}
	topo_begin(t); /* no descriptor */
	add(t, io, 0, 4, false, 0, -1);
	assert_true(topo_commit_any(t) < 0);
	topo_begin(t);
	add(t, io, 0, 4, false, 0, 1000000);
	assert_true(topo_commit_any(t) < 0);
}

static void test_listeners_hear_differences(void **state)
{
	struct topo *t = *state;
	struct text log = { 0 };
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x100), far = topo_io(t, "far", 0x100);
	int space = topo_space(t, root);
	struct recorder *r = recorder_new("l", 0, &log);

	topo_begin(t);
	topo_add(t, root, 0x1000, io, 0);
	topo_add(t, root, 0x4000, far, 0);
	add(t, io, 0, 4, false, 0, 1);
	add(t, far, 0, 4, false, 0, 1);
	topo_commit_ok(t);
	assert_int_equal(recorder_register(r, t, space), 0);
	text_clear(&log);
	topo_begin(t); /* no range changes */
	del(t, io, 0, 4, false, 0, 1);
	add(t, io, 0x20, 8, true, 3, 1);
	add(t, io, 0x10, 2, false, 0, 1);
	topo_commit_ok(t);
	textmap_compare("calls",
			"l begin\nl prepare\n"
			"l ev_del 1000/4\n"
			"l ev_add 1010/2\n"
			"l ev_add 1020/8 match\n"
			"l commit\n",
			text_chars(&log), __FILE__, __LINE__);
	recorder_check(r, t);
	text_clear(&log);
	topo_begin(t); /* with its range */
	topo_move(t, far, 0x5000);
	topo_commit_ok(t);
	textmap_compare("calls",
			"l begin\nl prepare\n"
			"l ev_del 4000/4\n"
			"l del 0000000000004000-00000000000040ff far @0 i/o\n"
			"l add 0000000000005000-00000000000050ff far @0 i/o\n"
			"l ev_add 5000/4\n"
			"l commit\n",
			text_chars(&log), __FILE__, __LINE__);
	recorder_check(r, t);
	topo_begin(t); /* another descriptor at the same place */
	del(t, far, 0, 4, false, 0, 1);
	add(t, far, 0, 4, false, 0, 2);
	topo_commit_ok(t);
	recorder_check(r, t);
	assert_int_equal(recorder_unregister(r), 0);
	assert_string_equal(r->bad, "");
	recorder_free(r);
	text_free(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(test_order_and_keys),
		TOPO_TEST(test_many_changes_at_once),
		TOPO_TEST(test_only_what_is_visible),
		TOPO_TEST(test_seen_twice),
		TOPO_TEST(test_descriptors_are_duplicated),
		TOPO_TEST(test_descriptors_are_closed),
		TOPO_TEST(test_bad_ones),
		TOPO_TEST(test_listeners_hear_differences),
	};

	return topo_run(tests);
}
