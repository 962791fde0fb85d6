/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listeners that fail: a commit is unwound from every step of it, and one
 * whose inverse steps fail too is degraded until it is told everything anew.
 */
#include "tests/support/recorder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define LISTENERS 4

struct machine {
	struct topo *t;
	int root, ram, io, flash, gone, window, spare;
	int memory, master;
	struct recorder *listener[LISTENERS];
};

static void add_event(struct topo *t, int id, uint64_t offset)
{
	struct mpl_ioeventfd ev = { .offset = offset, .size = 4, .fd = 1 };

	topo_ioeventfd_add(t, id, &ev);
}

static void del_event(struct topo *t, int id, uint64_t offset)
{
	struct mpl_ioeventfd ev = { .offset = offset, .size = 4, .fd = 1 };

	topo_ioeventfd_del(t, id, &ev);
}

static void build(struct machine *m, struct topo *t)
{
	static const char *const names[LISTENERS] = { "m10", "m0", "b10",
						      "m0+" };
	static const int priorities[LISTENERS] = { 10, 0, 10, 0 };

	m->t = t;
	m->root = topo_container(t, "root", UINT64_MAX);
	m->ram = topo_ram(t, "ram", 0x8000);
	m->io = topo_io(t, "io", 0x1000);
	m->flash = topo_rom_device(t, "flash", 0x1000);
	m->gone = topo_io(t, "gone", 0x1000);
	m->spare = topo_io(t, "spare", 0x1000);
	m->window = topo_alias(t, "window", m->root, 0, 0x100000);
	m->memory = topo_space(t, m->root);
	m->master = topo_space(t, m->window);
	topo_begin(t);
	topo_add(t, m->root, 0, m->ram, 0);
	topo_add(t, m->root, 0x10000, m->io, 0);
	topo_add(t, m->root, 0x20000, m->flash, 0);
	topo_add(t, m->root, 0x30000, m->gone, 0);
	add_event(t, m->io, 0);
	add_event(t, m->gone, 0x10);
	topo_coalescing_add(t, m->gone, 0x800, 0x100);
	topo_coalescing_add(t, m->io, 0x800, 0x100);
	topo_log_start(t, m->flash, MPL_LOG_CODE);
	topo_commit_ok(t);
	for (int i = 0; i < LISTENERS; i++) {
		m->listener[i] = recorder_new(names[i], priorities[i], NULL);
		assert_int_equal(
			recorder_register(m->listener[i], t,
					  i == 2 ? m->master : m->memory),
			0);
	}
}

static void end(struct machine *m)
{
	for (int i = 0; i < LISTENERS; i++) {
		recorder_arm(m->listener[i], 0, 0);
		assert_int_equal(recorder_unregister(m->listener[i]), 0);
		recorder_free(m->listener[i]);
	}
}

/* Every kind of callback has something to do. */
static int change_everything(struct machine *m)
{
	struct topo *t = m->t;

	topo_begin(t);
	topo_remove(t, m->gone);
	topo_add(t, m->root, 0x4000, m->spare, 1);
	add_event(t, m->spare, 0x40);
	topo_coalescing_add(t, m->spare, 0, 0x10);
	del_event(t, m->io, 0);
	add_event(t, m->io, 8);
	topo_coalescing_clear(t, m->io);
	topo_log_stop(t, m->flash, MPL_LOG_CODE);
	topo_log_start(t, m->flash, MPL_LOG_DISPLAY);
	topo_log_global(t, MPL_LOG_MIGRATION, true);
	return topo_commit_any(t);
}

static void check_all(struct machine *m)
{
	topo_check(m->t);
	for (int i = 0; i < LISTENERS; i++)
		if (!mpl_listener_error(m->listener[i]->listener))
			recorder_check(m->listener[i], m->t);
}

/* Old content that is published again has a generation of its own. */
static void check_generation(struct topo *t, const struct recorder *victim,
			     uint64_t before)
{
	uint64_t now = mpl_plane_generation(t->plane);

	assert_true(victim->generation_at_failure >= before);
	if (victim->generation_at_failure > before)
		assert_true(now > victim->generation_at_failure);
	else
		assert_true(now >= before);
}

static void test_each_step_of_each_listener(void **state)
{
	struct topo *t = *state;
	struct machine m;
	unsigned int n, steps = 0;

	build(&m, t);
	for (int victim = 0; victim < LISTENERS; victim++) {
		struct recorder *r = m.listener[victim];

		for (n = 1; n < 100; n++) {
			uint64_t before = mpl_plane_generation(t->plane);
			int err;

			snprintf(t->note, sizeof(t->note), "%s fails call %u",
				 r->name, n);
			recorder_arm(r, n, n);
			err = change_everything(&m);
			if (!r->failures) {
				assert_int_equal(err, 0);
				break;
			}
			assert_int_equal(err, -EIO);
			assert_int_equal(mpl_listener_error(r->listener), 0);
			check_all(&m);
			check_generation(t, r, before);
			steps++;
		}
		check_all(&m);
		/* Back, by hand: the next victim meets the same change. */
		recorder_arm(r, 0, 0);
		topo_begin(t);
		topo_log_global(t, MPL_LOG_MIGRATION, false);
		topo_log_stop(t, m.flash, MPL_LOG_DISPLAY);
		topo_log_start(t, m.flash, MPL_LOG_CODE);
		topo_coalescing_add(t, m.io, 0x800, 0x100);
		del_event(t, m.io, 8);
		add_event(t, m.io, 0);
		topo_coalescing_clear(t, m.spare);
		del_event(t, m.spare, 0x40);
		topo_remove(t, m.spare);
		topo_add(t, m.root, 0x30000, m.gone, 0);
		topo_commit_ok(t);
		check_all(&m);
	}
	/* begin, prepare, del, 2 ev_del, 2 zone_del, 4 adds, ..., commit */
	assert_true(steps > LISTENERS * 12);
	end(&m);
}

/* Every begin had its end, and nobody was told of an end without it. */
static void test_begin_has_its_end(void **state)
{
	struct topo *t = *state;
	struct machine m;

	build(&m, t);
	for (unsigned int n = 1; n < 8; n++) {
		recorder_arm(m.listener[0], n, n);
		assert_int_equal(change_everything(&m), -EIO);
		for (int i = 1; i < LISTENERS; i++) {
			struct recorder *r = m.listener[i];

			assert_int_equal(r->begins, r->commits + r->aborts);
		}
	}
	end(&m);
}

/* What a failed commit would have let go is held, what it named is let go. */
static void test_references_are_put_back(void **state)
{
	struct topo *t = *state;
	struct machine m;
	int fresh;

	build(&m, t);
	for (unsigned int n = 1; n < 10; n++) {
		fresh = topo_io(t, "fresh", 0x1000);
		recorder_arm(m.listener[1], n, n);
		topo_begin(t);
		topo_remove(t, m.gone);
		topo_remove(t, m.io);
		topo_add(t, m.root, 0x50000, fresh, 0);
		topo_add(t, m.root, 0x60000, m.spare, 0);
		topo_drop(t, fresh);
		if (!topo_commit_any(t))
			break;
		assert_true(topo_settles(t, fresh));
		mpl_reclaim(t->plane);
		assert_int_equal(topo_released(t, m.gone), 0);
		assert_int_equal(topo_released(t, m.io), 0);
		check_all(&m);
	}
	end(&m);
}

/* The victim fails from its n-th call on: inverse steps fail as well. */
static void degrade(struct machine *m, struct recorder *r, unsigned int n,
		    unsigned int *degraded)
{
	struct topo *t = m->t;
	unsigned int failures;

	snprintf(t->note, sizeof(t->note), "%s fails from call %u on", r->name,
		 n);
	recorder_arm(r, n, UINT32_MAX);
	assert_int_equal(change_everything(m), -EIO);
	failures = r->failures;
	if (failures > 1)
		assert_int_equal(mpl_listener_error(r->listener),
				 -ENOTRECOVERABLE);
	else
		assert_int_equal(mpl_listener_error(r->listener), 0);
	check_all(m);
	recorder_arm(r, 0, 0);
	if (failures == 1)
		return;
	++*degraded;
	r->bad[0] = '\0';
	/* The plane goes on without it. */
	topo_begin(t);
	topo_move(t, m->flash, 0x20000 + 0x1000 * (n % 7 + 1));
	topo_commit_ok(t);
	assert_int_equal(r->calls, 0);
	check_all(m);
	assert_int_equal(mpl_listener_resync(r->listener), 0);
	assert_int_equal(mpl_listener_error(r->listener), 0);
	check_all(m);
	topo_begin(t);
	topo_move(t, m->flash, 0x20000);
	topo_commit_ok(t);
	assert_true(r->calls > 0);
	check_all(m);
}

static void test_degraded_listeners(void **state)
{
	struct topo *t = *state;
	unsigned int degraded = 0;
	struct machine m;

	build(&m, t);
	for (int victim = 0; victim < LISTENERS; victim++)
		for (unsigned int n = 1; n < 14; n++)
			degrade(&m, m.listener[victim], n, &degraded);
	assert_true(degraded > LISTENERS * 4);
	end(&m);
}

/* Only the second inverse step fails: degraded all the same. */
static void test_one_inverse_step_fails(void **state)
{
	struct topo *t = *state;
	struct machine m;
	struct recorder *r;

	build(&m, t);
	r = m.listener[0];
	recorder_arm(r, 8, 9);
	assert_int_equal(change_everything(&m), -EIO);
	assert_int_equal(r->failures, 2);
	assert_int_equal(mpl_listener_error(r->listener), -ENOTRECOVERABLE);
	r->bad[0] = '\0';
	check_all(&m);
	assert_int_equal(mpl_listener_resync(r->listener), 0);
	check_all(&m);
	end(&m);
}

static void test_resync(void **state)
{
	struct topo *t = *state;
	struct machine m;
	struct recorder *r;
	unsigned int n;

	build(&m, t);
	r = m.listener[0];
	assert_int_equal(mpl_listener_resync(r->listener), 0); /* healthy */
	check_all(&m);
	for (n = 1; n < 100; n++) {
		recorder_arm(r, n, n);
		if (!mpl_listener_resync(r->listener))
			break;
		assert_int_equal(mpl_listener_error(r->listener),
				 -ENOTRECOVERABLE);
		recorder_arm(r, 0, 0);
		topo_begin(t);
		topo_move(t, m.flash, 0x20000 + 0x1000 * (n % 3));
		topo_commit_ok(t);
		assert_int_equal(r->calls, 0);
		check_all(&m);
	}
	assert_true(n > 8);
	assert_int_equal(mpl_listener_error(r->listener), 0);
	check_all(&m);
	end(&m);
}

static void test_resync_needs_reset(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x1000);
	int space = topo_space(t, root);
	struct recorder *r = recorder_new("l", 0, NULL);

	r->ops.reset = NULL;
	assert_int_equal(recorder_register(r, t, space), 0);
	assert_int_equal(mpl_listener_resync(r->listener), -ENOTSUP);
	assert_int_equal(mpl_listener_error(r->listener), 0);
	assert_int_equal(recorder_unregister(r), 0);
	recorder_free(r);
}

/* A degraded listener that leaves is told nothing it could fail at. */
static void test_degraded_can_leave(void **state)
{
	struct topo *t = *state;
	struct machine m;

	build(&m, t);
	recorder_arm(m.listener[0], 6, UINT32_MAX);
	assert_int_equal(change_everything(&m), -EIO);
	assert_int_equal(mpl_listener_error(m.listener[0]->listener),
			 -ENOTRECOVERABLE);
	assert_int_equal(change_everything(&m), 0);
	check_all(&m);
	end(&m);
}

/* Making a space live or ending it can be refused by nobody but listeners. */
static void test_end_of_space_fails_and_is_unwound(void **state)
{
	struct topo *t = *state;
	struct machine m;
	struct recorder *r;

	build(&m, t);
	r = m.listener[2];
	for (unsigned int n = 1; n < 6; n++) {
		recorder_arm(r, n, n);
		assert_int_equal(mpl_address_space_free(t->space[m.master].as),
				 -EIO);
		recorder_arm(r, 0, 0);
		check_all(&m);
	}
	assert_int_equal(change_everything(&m), 0); /* it is alive */
	check_all(&m);
	end(&m);
}

#define QUEUED 6

/* Queues transactions while a commit runs, so that they make one batch. */
struct batch {
	struct topo *t;
	int root;
	int added[QUEUED];
	int result[QUEUED]; /* 1: done without an error */
	bool queued;
};

static void note_result(void *arg, int err)
{
	__atomic_store_n((int *)arg, err ? err : 1, __ATOMIC_RELEASE);
}

/* The third names a child that is attached, the fifth is poison. */
static void queue(struct batch *b)
{
	b->queued = true;
	for (int i = 0; i < QUEUED; i++) {
		struct mpl_txn *tx = mpl_begin(b->t->plane);
		int child = b->added[i == 2 ? 1 : i];

		mpl_region_add(tx, b->t->region[b->root],
			       0x1000 * (uint64_t)(i + 1), b->t->region[child],
			       0);
		assert_int_equal(
			mpl_commit_async(tx, note_result, &b->result[i]), 0);
	}
}

static void wait_for_results(struct batch *b)
{
	const struct timespec nap = { .tv_nsec = 1000000 };

	for (int i = 0; i < QUEUED; i++)
		for (int turn = 0; turn < 2000; turn++) {
			if (__atomic_load_n(&b->result[i], __ATOMIC_ACQUIRE))
				break;
			nanosleep(&nap, NULL);
		}
}

static int refuse_poison(void *opaque, const struct mpl_flat_range *range)
{
	struct batch *b = opaque;

	if (!b->queued)
		queue(b);
	return strcmp(mpl_region_name(range->region), "poison") ? 0 : -EIO;
}

static void test_bad_ones_in_a_batch_fail_alone(void **state)
{
	static const struct mpl_listener_ops ops = {
		.name = "picky",
		.range_add = refuse_poison,
	};
	static const int expected[QUEUED] = { 1, 1, -EBUSY, 1, -EIO, 1 };
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	struct batch b = { .t = t, .root = root };
	int space = topo_space(t, root);
	struct mpl_listener *listener;
	struct recorder *mirror = recorder_new("mirror", -1, NULL);

	for (int i = 0; i < QUEUED; i++)
		b.added[i] = topo_io(t, i == 4 ? "poison" : "fine", 0x100);
	assert_int_equal(recorder_register(mirror, t, space), 0);
	assert_int_equal(
		mpl_listener_register(t->space[space].as, &ops, &b, &listener),
		0);
	topo_begin(t);
	topo_add(t, root, 0, topo_io(t, "trigger", 0x100), 0);
	assert_int_equal(topo_commit(t), 0);
	wait_for_results(&b);
	for (int i = 0; i < QUEUED; i++) {
		assert_int_equal(
			__atomic_load_n(&b.result[i], __ATOMIC_ACQUIRE),
			expected[i]);
		if (expected[i] == 1)
			assert_int_equal(model_add(&t->now, root,
						   0x1000 * (uint64_t)(i + 1),
						   b.added[i], 0),
					 0);
	}
	topo_check(t);
	recorder_check(mirror, t);
	assert_int_equal(mpl_listener_unregister(listener), 0);
	assert_int_equal(recorder_unregister(mirror), 0);
	recorder_free(mirror);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(test_each_step_of_each_listener),
		TOPO_TEST(test_begin_has_its_end),
		TOPO_TEST(test_references_are_put_back),
		TOPO_TEST(test_degraded_listeners),
		TOPO_TEST(test_one_inverse_step_fails),
		TOPO_TEST(test_resync),
		TOPO_TEST(test_resync_needs_reset),
		TOPO_TEST(test_degraded_can_leave),
		TOPO_TEST(test_end_of_space_fails_and_is_unwound),
		TOPO_TEST(test_bad_ones_in_a_batch_fail_alone),
	};

	return topo_run(tests);
}
