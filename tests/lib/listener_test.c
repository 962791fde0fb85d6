/* SPDX-License-Identifier: BSD-3-Clause */
/* What listeners are told, and in which order. */
#include "tests/support/recorder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* The log since the last call is exactly this. */
#define assert_log(log, expected)                                              \
	check_log((log), (expected), __FILE__, __LINE__)
static void check_log(struct text *log, const char *expected, const char *file,
		      int line)
{
	textmap_compare("calls", expected, text_chars(log), file, line);
	text_clear(log);
}

static struct recorder *listen(struct topo *t, int space, const char *name,
			       int priority, struct text *log)
{
	struct recorder *r = recorder_new(name, priority, log);

	assert_int_equal(recorder_register(r, t, space), 0);
	recorder_check(r, t);
	return r;
}

static void unlisten(struct recorder *r)
{
	assert_int_equal(recorder_unregister(r), 0);
	assert_string_equal(r->bad, "");
	assert_int_equal(r->n_ranges, 0);
	assert_int_equal(r->n_events, 0);
	assert_int_equal(r->n_zones, 0);
	assert_int_equal(r->begins, r->commits + r->aborts);
	recorder_free(r);
}

static void test_order_over_priorities(void **state)
{
	struct topo *t = *state;
	struct text log = { 0 };
	int root = topo_container(t, "root", 0x10000);
	int half = topo_alias(t, "half", root, 0, 0x8000);
	int a = topo_io(t, "a", 0x1000), b = topo_io(t, "b", 0x1000);
	int memory = topo_space(t, root), master = topo_space(t, half);
	struct recorder *late, *early, *mid, *mid2;

	topo_begin(t);
	topo_add(t, root, 0, a, 0);
	topo_commit_ok(t);
	late = listen(t, memory, "p10", 10, &log);
	early = listen(t, memory, "p-1", -1, &log);
	mid = listen(t, master, "p5", 5, &log);
	mid2 = listen(t, memory, "p5+", 5, &log);
	text_clear(&log);
	topo_begin(t);
	topo_remove(t, a);
	topo_add(t, root, 0x2000, b, 0);
	topo_commit_ok(t);
	assert_log(&log, "p-1 begin\np5 begin\np5+ begin\np10 begin\n"
			 "p-1 prepare\np5 prepare\np5+ prepare\np10 prepare\n"
			 "p10 del 0000000000000000-0000000000000fff a @0 i/o\n"
			 "p5+ del 0000000000000000-0000000000000fff a @0 i/o\n"
			 "p5 del 0000000000000000-0000000000000fff a @0 i/o\n"
			 "p-1 del 0000000000000000-0000000000000fff a @0 i/o\n"
			 "p-1 add 0000000000002000-0000000000002fff b @0 i/o\n"
			 "p5 add 0000000000002000-0000000000002fff b @0 i/o\n"
			 "p5+ add 0000000000002000-0000000000002fff b @0 i/o\n"
			 "p10 add 0000000000002000-0000000000002fff b @0 i/o\n"
			 "p-1 commit\np5 commit\np5+ commit\np10 commit\n");
	assert_int_equal(late->plan.removed, 1);
	assert_int_equal(late->plan.added, 1);
	/* The switch lies between removals and additions. */
	assert_true(early->generation_at_del < late->generation_at_add);
	assert_true(late->generation_at_del == early->generation_at_del);
	assert_true(early->generation_at_add == late->generation_at_add);
	unlisten(late);
	unlisten(early);
	unlisten(mid);
	unlisten(mid2);
	text_free(&log);
}

static void test_only_what_changed(void **state)
{
	struct topo *t = *state;
	struct text log = { 0 };
	int root = topo_container(t, "root", 0x100000);
	int ram = topo_ram(t, "ram", 0x8000), io = topo_io(t, "io", 0x1000);
	int space = topo_space(t, root);
	struct recorder *r;

	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	for (uint64_t i = 0; i < 10; i++)
		topo_add(t, root, 0x10000 + 0x1000 * i,
			 topo_io(t, "dev", 0x800), 0);
	topo_commit_ok(t);
	r = listen(t, space, "l", 0, &log);
	text_clear(&log);
	topo_begin(t);
	topo_add(t, root, 0x2000, io, 1);
	topo_commit_ok(t);
	assert_log(&log, "l begin\nl prepare\n"
			 "l del 0000000000000000-0000000000007fff ram @0\n"
			 "l add 0000000000000000-0000000000001fff ram @0\n"
			 "l add 0000000000002000-0000000000002fff io @0 i/o\n"
			 "l add 0000000000003000-0000000000007fff ram @3000\n"
			 "l commit\n");
	recorder_check(r, t);
	topo_begin(t); /* moves within: the outer pieces change, no more */
	topo_move(t, io, 0x4000);
	topo_commit_ok(t);
	assert_log(&log, "l begin\nl prepare\n"
			 "l del 0000000000000000-0000000000001fff ram @0\n"
			 "l del 0000000000002000-0000000000002fff io @0 i/o\n"
			 "l del 0000000000003000-0000000000007fff ram @3000\n"
			 "l add 0000000000000000-0000000000003fff ram @0\n"
			 "l add 0000000000004000-0000000000004fff io @0 i/o\n"
			 "l add 0000000000005000-0000000000007fff ram @5000\n"
			 "l commit\n");
	topo_begin(t);
	topo_set_readonly(t, io, true);
	topo_commit_ok(t);
	assert_log(&log,
		   "l begin\nl prepare\n"
		   "l del 0000000000004000-0000000000004fff io @0 i/o\n"
		   "l add 0000000000004000-0000000000004fff io @0 i/o ro\n"
		   "l commit\n");
	recorder_check(r, t);
	unlisten(r);
	text_free(&log);
}

static void test_silence_where_nothing_changed(void **state)
{
	struct topo *t = *state;
	struct text log = { 0 };
	int root = topo_container(t, "root", 0x100000);
	int other = topo_container(t, "other", 0x100000);
	int ram = topo_ram(t, "ram", 0x8000), io = topo_io(t, "io", 0x1000);
	int far = topo_io(t, "far", 0x1000);
	int a = topo_space(t, root), b = topo_space(t, other);
	struct recorder *ra, *rb;

	topo_begin(t);
	topo_add(t, root, 0, ram, 1);
	topo_add(t, root, 0, io, 0); /* hidden by ram */
	topo_add(t, other, 0, far, 0);
	topo_commit_ok(t);
	ra = listen(t, a, "a", 0, &log);
	rb = listen(t, b, "b", 0, &log);
	text_clear(&log);
	topo_begin(t); /* hidden stays hidden */
	topo_move(t, io, 0x1000);
	topo_set_readonly(t, io, true);
	topo_commit_ok(t);
	assert_log(&log, "");
	topo_begin(t); /* there and back */
	topo_move(t, ram, 0x4000);
	topo_move(t, ram, 0);
	topo_remove(t, far);
	topo_add(t, other, 0, far, 3);
	topo_commit_ok(t);
	assert_log(&log, "");
	topo_begin(t);
	topo_move(t, far, 0x3000);
	topo_commit_ok(t);
	assert_log(&log, "b begin\nb prepare\n"
			 "b del 0000000000000000-0000000000000fff far @0 i/o\n"
			 "b add 0000000000003000-0000000000003fff far @0 i/o\n"
			 "b commit\n");
	unlisten(ra);
	unlisten(rb);
	text_free(&log);
}

static void test_dirty_mask_alone(void **state)
{
	struct topo *t = *state;
	struct text log = { 0 };
	int root = topo_container(t, "root", 0x100000);
	int ram = topo_ram(t, "ram", 0x4000), io = topo_io(t, "io", 0x1000);
	int space = topo_space(t, root);
	struct recorder *r;

	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	topo_add(t, root, 0x1000, io, 1);
	topo_commit_ok(t);
	r = listen(t, space, "l", 0, &log);
	text_clear(&log);
	topo_begin(t);
	topo_log_start(t, ram, MPL_LOG_DISPLAY);
	topo_commit_ok(t);
	assert_log(&log,
		   "l begin\nl prepare\n"
		   "l log_start 0000000000000000-0000000000000fff ram @0 0>1\n"
		   "l log_start 0000000000002000-0000000000003fff ram @2000 "
		   "0>1\n"
		   "l commit\n");
	recorder_check(r, t);
	topo_begin(t); /* counted: nothing to tell */
	topo_log_start(t, ram, MPL_LOG_DISPLAY);
	topo_commit_ok(t);
	assert_log(&log, "");
	topo_begin(t);
	topo_log_stop(t, ram, MPL_LOG_DISPLAY);
	topo_log_stop(t, ram, MPL_LOG_DISPLAY);
	topo_commit_ok(t);
	assert_log(&log,
		   "l begin\nl prepare\n"
		   "l log_stop 0000000000000000-0000000000000fff ram @0 1>0\n"
		   "l log_stop 0000000000002000-0000000000003fff ram @2000 "
		   "1>0\n"
		   "l commit\n");
	recorder_check(r, t);
	topo_begin(t); /* with another difference it is another range */
	topo_log_start(t, ram, MPL_LOG_CODE);
	topo_set_nonvolatile(t, ram, true);
	topo_commit_ok(t);
	assert_int_equal(r->n_ranges, 3);
	assert_non_null(strstr(text_chars(&log), "l del "));
	assert_null(strstr(text_chars(&log), "l log_stop"));
	recorder_check(r, t);
	unlisten(r);
	text_free(&log);
}

static void test_one_client_starts_another_stops(void **state)
{
	struct topo *t = *state;
	int ram = topo_ram(t, "ram", 0x4000);
	int space = topo_space(t, ram);
	struct recorder *r = listen(t, space, "l", 0, NULL);

	topo_begin(t);
	topo_log_start(t, ram, MPL_LOG_DISPLAY);
	topo_commit_ok(t);
	r->dels = r->adds = 0;
	topo_begin(t);
	topo_log_stop(t, ram, MPL_LOG_DISPLAY);
	topo_log_start(t, ram, MPL_LOG_CODE);
	topo_commit_ok(t);
	assert_int_equal(r->dels + r->adds, 0);
	recorder_check(r, t);
	unlisten(r);
}

static void test_log_global(void **state)
{
	struct topo *t = *state;
	struct text log = { 0 };
	int root = topo_container(t, "root", 0x100000);
	int ram = topo_ram(t, "ram", 0x4000);
	int space = topo_space(t, root);
	struct recorder *r, *late;

	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	topo_commit_ok(t);
	r = listen(t, space, "l", 0, &log);
	topo_begin(t);
	topo_log_global(t, MPL_LOG_MIGRATION, true);
	topo_commit_ok(t);
	recorder_check(r, t);
	assert_true(r->log_global[MPL_LOG_MIGRATION]);
	text_clear(&log);
	topo_begin(t); /* is on already */
	topo_log_global(t, MPL_LOG_MIGRATION, true);
	topo_commit_ok(t);
	assert_log(&log, "");
	late = listen(t, space, "late", 0, &log);
	assert_true(late->log_global[MPL_LOG_MIGRATION]);
	topo_begin(t);
	topo_log_global(t, MPL_LOG_MIGRATION, false);
	topo_commit_ok(t);
	recorder_check(r, t);
	recorder_check(late, t);
	unlisten(r);
	unlisten(late);
	text_free(&log);
}

static void test_late_registration_and_end(void **state)
{
	struct topo *t = *state;
	struct text log = { 0 };
	int root = topo_container(t, "root", 0x100000);
	int ram = topo_ram(t, "ram", 0x4000), io = topo_io(t, "io", 0x1000);
	struct mpl_ioeventfd ev = { .offset = 4, .size = 4, .fd = 1 };
	int space = topo_space(t, root);
	struct recorder *r = recorder_new("l", 0, &log);
	uint64_t generation;

	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	topo_add(t, root, 0x8000, io, 0);
	topo_ioeventfd_add(t, io, &ev);
	topo_coalescing_add(t, io, 0x800, 0x1000);
	topo_commit_ok(t);
	generation = mpl_plane_generation(t->plane);
	assert_int_equal(recorder_register(r, t, space), 0);
	assert_log(&log, "l begin\nl prepare\n"
			 "l add 0000000000000000-0000000000003fff ram @0\n"
			 "l add 0000000000008000-0000000000008fff io @0 i/o\n"
			 "l zone_add 8800-8fff\n"
			 "l ev_add 8004/4\n"
			 "l commit\n");
	recorder_check(r, t);
	assert_int_equal(mpl_listener_error(r->listener), 0);
	assert_true(mpl_plane_generation(t->plane) >= generation);
	r->dels = 0;
	assert_int_equal(recorder_unregister(r), 0);
	assert_int_equal(r->dels, 2);
	assert_int_equal(r->n_ranges + r->n_events + r->n_zones, 0);
	assert_string_equal(r->bad, "");
	text_clear(&log);
	topo_begin(t);
	topo_remove(t, ram);
	topo_commit_ok(t);
	assert_log(&log, ""); /* gone */
	recorder_free(r);
	text_free(&log);
}

/* Errors of a listener that leaves are logged and don't stop that. */
static void test_unregister_goes_on_over_errors(void **state)
{
	struct topo *t = *state;
	struct text log = { 0 };
	int root = topo_container(t, "root", 0x10000);
	int space = topo_space(t, root);
	struct recorder *r = listen(t, space, "l", 0, &log);

	topo_begin(t);
	for (uint64_t i = 0; i < 3; i++)
		topo_add(t, root, i * 0x1000, topo_io(t, "io", 0x100), 0);
	topo_commit_ok(t);
	recorder_arm(r, 1, UINT32_MAX);
	assert_int_equal(recorder_unregister(r), 0);
	text_clear(&log);
	topo_begin(t);
	topo_set_enabled(t, root, false);
	topo_commit_ok(t);
	assert_log(&log, "");
	recorder_free(r);
	text_free(&log);
}

static void test_registration_fails_at_each_step(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x100000);
	int ram = topo_ram(t, "ram", 0x4000), io = topo_io(t, "io", 0x1000);
	struct mpl_ioeventfd ev = { .offset = 4, .size = 4, .fd = 1 };
	int space = topo_space(t, root);
	struct recorder *r = recorder_new("l", 0, NULL);
	unsigned int n;

	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	topo_add(t, root, 0x8000, io, 0);
	topo_log_start(t, ram, MPL_LOG_CODE);
	topo_log_global(t, MPL_LOG_DISPLAY, true);
	topo_ioeventfd_add(t, io, &ev);
	topo_coalescing_add(t, io, 0x800, 0x1000);
	topo_commit_ok(t);
	for (n = 1;; n++) {
		recorder_arm(r, n, n);
		if (!recorder_register(r, t, space))
			break;
		assert_int_equal(r->failures, 1);
		assert_string_equal(r->bad, "");
		assert_int_equal(r->n_ranges + r->n_events + r->n_zones, 0);
		assert_false(r->log_global[MPL_LOG_DISPLAY]);
		recorder_arm(r, 0, 0);
		topo_begin(t); /* not registered: isn't called */
		topo_move(t, ram, 0x1000 * (n % 4));
		topo_commit_ok(t);
		assert_int_equal(r->calls, 0);
	}
	recorder_arm(r, 0, 0);
	/* begin, prepare, log_global, 2 ranges, zone, event, commit */
	assert_true(n > 8);
	recorder_check(r, t);
	unlisten(r);
}

static void test_replay_with_dirty_ranges(void **state)
{
	struct topo *t = *state;
	int ram = topo_ram(t, "ram", 0x4000);
	int space = topo_space(t, ram);
	struct text log = { 0 };
	struct recorder *r;

	topo_begin(t);
	topo_log_start(t, ram, MPL_LOG_CODE);
	topo_commit_ok(t);
	r = listen(t, space, "l", 0, &log);
	assert_non_null(strstr(text_chars(&log), "l log_start "));
	unlisten(r);
	text_free(&log);
}

/* A space whose root flips is compared with what it showed before. */
static void test_flipping_root_is_no_difference(void **state)
{
	struct topo *t = *state;
	struct text log = { 0 };
	int sys = topo_container(t, "sys", 0x10000);
	int ram = topo_ram(t, "ram", 0x4000), io = topo_io(t, "io", 0x1000);
	int window = topo_alias(t, "window", sys, 0, 0xffff);
	int a = topo_space(t, sys), b = topo_space(t, window);
	struct recorder *ra, *rb;

	topo_begin(t);
	topo_add(t, sys, 0, ram, 0);
	topo_add(t, sys, 0x8000, io, 0);
	topo_commit_ok(t);
	ra = listen(t, a, "a", 0, &log);
	rb = listen(t, b, "b", 0, &log);
	text_clear(&log);
	topo_begin(t);
	topo_resize(t, window, 0x10000); /* shares now */
	topo_commit_ok(t);
	assert_log(&log, "");
	topo_begin(t); /* stops sharing and changes, at once */
	topo_resize(t, window, 0xfffe);
	topo_move(t, io, 0x9000);
	topo_commit_ok(t);
	assert_log(&log, "a begin\nb begin\na prepare\nb prepare\n"
			 "b del 0000000000008000-0000000000008fff io @0 i/o\n"
			 "a del 0000000000008000-0000000000008fff io @0 i/o\n"
			 "a add 0000000000009000-0000000000009fff io @0 i/o\n"
			 "b add 0000000000009000-0000000000009fff io @0 i/o\n"
			 "a commit\nb commit\n");
	topo_begin(t);
	topo_set_enabled(t, window, false); /* to the empty view */
	topo_commit_ok(t);
	recorder_check(ra, t);
	recorder_check(rb, t);
	assert_int_equal(rb->n_ranges, 0);
	unlisten(ra);
	unlisten(rb);
	text_free(&log);
}

static void test_coalesced_zones(void **state)
{
	struct topo *t = *state;
	struct text log = { 0 };
	int root = topo_container(t, "root", 0x100000);
	int io = topo_io(t, "io", 0x4000), cover = topo_io(t, "c", 0x100);
	int space = topo_space(t, root);
	struct recorder *r = listen(t, space, "l", 0, &log);

	topo_begin(t);
	topo_add(t, root, 0x10000, io, 0);
	topo_commit_ok(t);
	text_clear(&log);
	topo_begin(t);
	topo_coalescing_add(t, io, 0x1000, 0x800);
	topo_coalescing_add(t, io, 0x3000, UINT64_MAX); /* clipped */
	topo_coalescing_add(t, io, 0x4000, 0x10);       /* outside */
	topo_commit_ok(t);
	assert_log(&log, "l begin\nl prepare\n"
			 "l zone_add 11000-117ff\n"
			 "l zone_add 13000-13fff\n"
			 "l commit\n");
	topo_begin(t); /* cuts a zone in two */
	topo_add(t, root, 0x11400, cover, 1);
	topo_commit_ok(t);
	recorder_check(r, t);
	assert_int_equal(r->n_zones, 3);
	topo_begin(t);
	topo_move(t, io, 0x20000);
	topo_commit_ok(t);
	recorder_check(r, t);
	text_clear(&log);
	topo_begin(t);
	topo_coalescing_clear(t, io);
	topo_commit_ok(t);
	assert_log(&log, "l begin\nl prepare\n"
			 "l zone_del 21000-217ff\n"
			 "l zone_del 23000-23fff\n"
			 "l commit\n");
	recorder_check(r, t);
	unlisten(r);
	text_free(&log);
}

static void test_end_of_a_space(void **state)
{
	struct topo *t = *state;
	struct text log = { 0 };
	int root = topo_container(t, "root", 0x10000);
	int io = topo_io(t, "io", 0x1000);
	int space = topo_space(t, root), other = topo_space(t, root);
	struct recorder *r, *stays;

	topo_begin(t);
	topo_add(t, root, 0, io, 0);
	topo_commit_ok(t);
	r = listen(t, space, "l", 0, &log);
	stays = listen(t, other, "stays", 0, NULL);
	text_clear(&log);
	topo_space_free(t, space);
	assert_non_null(strstr(text_chars(&log), "l del "));
	assert_int_equal(r->n_ranges, 0);
	recorder_check(stays, t);
	recorder_free(r); /* unregistered by that */
	unlisten(stays);
	text_free(&log);
}

struct misbehaving {
	struct topo *t;
	int space;
	int commit;
	int walk;
	int async;
	int done;
};

static int ignore(void *arg, const struct mpl_flat_range *range)
{
	(void)arg, (void)range;
	return 0;
}

static void note_done(void *arg, int err)
{
	__atomic_store_n((int *)arg, err ? err : 1, __ATOMIC_RELEASE);
}

static int misbehave(void *opaque, const struct mpl_flat_range *range)
{
	struct misbehaving *m = opaque;

	(void)range;
	m->commit = mpl_commit(mpl_begin(m->t->plane));
	m->walk =
		mpl_address_space_walk(m->t->space[m->space].as, ignore, NULL);
	m->async =
		mpl_commit_async(mpl_begin(m->t->plane), note_done, &m->done);
	return 0;
}

/* A listener with one callback only, which does what it must not. */
static void test_commit_inside_a_listener(void **state)
{
	static const struct mpl_listener_ops ops = { .name = "m",
						     .range_add = misbehave };
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int space = topo_space(t, root);
	struct misbehaving m = { .t = t, .space = space, .async = 1 };
	struct mpl_listener *listener;

	assert_int_equal(
		mpl_listener_register(t->space[space].as, &ops, &m, &listener),
		0);
	topo_begin(t);
	topo_add(t, root, 0, topo_io(t, "io", 1), 0);
	topo_commit_ok(t);
	assert_int_equal(m.commit, -EDEADLK);
	assert_int_equal(m.walk, -EDEADLK);
	assert_int_equal(m.async, 0);
	for (int i = 0; i < 100 && !__atomic_load_n(&m.done, __ATOMIC_ACQUIRE);
	     i++)
		assert_int_equal(mpl_commit(mpl_begin(t->plane)), 0);
	assert_int_equal(m.done, 1);
	topo_begin(t);
	topo_set_enabled(t, root, false);
	topo_commit_ok(t);
	assert_int_equal(mpl_listener_unregister(listener), 0);
}

struct newcomer {
	struct topo *t;
	struct mpl_listener *listener;
	int done;
	bool known;
};

static void look_for_listener(void *arg, int err)
{
	struct newcomer *n = arg;

	n->done = err ? err : 1;
	n->known = n->listener;
}

static int commit_next(void *opaque, const struct mpl_flat_range *range)
{
	struct newcomer *n = opaque;

	(void)range;
	return mpl_commit_async(mpl_begin(n->t->plane), look_for_listener, n);
}

/* The commit right after a registration finds the listener in its place. */
static void test_registered_before_the_next_commit(void **state)
{
	static const struct mpl_listener_ops ops = { .name = "n",
						     .range_add = commit_next };
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int space = topo_space(t, root);
	struct newcomer n = { .t = t };

	topo_begin(t);
	topo_add(t, root, 0, topo_io(t, "io", 1), 0);
	topo_commit_ok(t);
	assert_int_equal(mpl_listener_register(t->space[space].as, &ops, &n,
					       &n.listener),
			 0);
	/* A control thread may not have come to it yet. */
	assert_int_equal(mpl_commit(mpl_begin(t->plane)), 0);
	assert_int_equal(n.done, 1);
	assert_true(n.known);
	assert_int_equal(mpl_listener_unregister(n.listener), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(test_order_over_priorities),
		TOPO_TEST(test_only_what_changed),
		TOPO_TEST(test_silence_where_nothing_changed),
		TOPO_TEST(test_dirty_mask_alone),
		TOPO_TEST(test_one_client_starts_another_stops),
		TOPO_TEST(test_log_global),
		TOPO_TEST(test_late_registration_and_end),
		TOPO_TEST(test_unregister_goes_on_over_errors),
		TOPO_TEST(test_registration_fails_at_each_step),
		TOPO_TEST(test_replay_with_dirty_ranges),
		TOPO_TEST(test_flipping_root_is_no_difference),
		TOPO_TEST(test_coalesced_zones),
		TOPO_TEST(test_end_of_a_space),
		TOPO_TEST(test_commit_inside_a_listener),
		TOPO_TEST(test_registered_before_the_next_commit),
	};

	return topo_run(tests);
}
