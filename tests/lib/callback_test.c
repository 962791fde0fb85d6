/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls from inside a device's callback: it may commit, so that a device can
 * move or remove itself when the guest writes its registers; it must not
 * report quiescence; and when it blocks it says so.
 */
#include "tests/support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* A reader of this thread, online. */
static struct mpl_reader *online(struct rig *rig)
{
	struct mpl_reader *reader;

	assert_int_equal(mpl_reader_register(rig->plane, &reader), 0);
	assert_int_equal(mpl_reader_online(reader), 0);
	return reader;
}

/* What a callback needs to know, and what it found out. */
struct story {
	struct mpl_reader *reader;
	uint64_t to;
	int errs[12];
	struct mpl_region *at_old;
	struct mpl_region *at_new;
	int released_inside;
	int inner_released;
	struct rig_device *other;
	struct gate *gate;
	int done;
	int done_err;
};

static void move_self(struct rig_device *device, uint64_t offset,
		      uint64_t value)
{
	struct story *story = device->arg;
	struct rig *rig = device->rig;

	(void)offset;
	story->errs[0] = rig_move(rig, device->region, value);
	story->at_new = rig_find(rig, story->reader, value);
	story->at_old = rig_find(rig, story->reader, story->to);
}

/* A guest writes a BAR: the commit is live when the callback goes on. */
static void test_moves_itself(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device_of_class(
		rig, "bar", 0x1000, move_self, MPL_SERIALISED, false);
	struct story story = { .reader = online(rig), .to = 0x1000 };

	device->arg = &story;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	for (uint64_t i = 0; i < 50; i++) {
		uint64_t to = 0x100000 + 0x10000 * i;

		story.errs[0] = 1;
		assert_int_equal(rig_write(story.reader, rig, story.to, to),
				 MPL_OK);
		assert_int_equal(story.errs[0], 0);
		assert_ptr_equal(story.at_new, device->region);
		assert_null(story.at_old);
		story.to = to;
		if (i % 3 == 0)
			assert_int_equal(mpl_reader_quiescent(story.reader),
					 0);
	}
	assert_int_equal(device->writes, 50);
	assert_int_equal(mpl_reader_unregister(story.reader), 0);
}

static void remove_self(struct rig_device *device, uint64_t offset,
			uint64_t value)
{
	struct story *story = device->arg;
	struct rig *rig = device->rig;

	(void)offset, (void)value;
	story->errs[0] = rig_remove(rig, device->region);
	story->at_old = rig_find(rig, story->reader, story->to);
	mpl_region_unref(device->region); /* the last but the map's */
	mpl_reclaim(rig->plane);
	rig_linger();
	mpl_reclaim(rig->plane);
	/* More commits must not bury it either. */
	for (int i = 0; i < 4; i++)
		story->errs[1] |= mpl_commit(mpl_begin(rig->plane));
	story->released_inside = rig_get(&device->released);
}

static void test_removes_itself(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device_of_class(
		rig, "self", 0x1000, remove_self, MPL_SERIALISED, false);
	struct story story = { .reader = online(rig), .to = 0x1000,
			       .errs = { 1 } };

	device->arg = &story;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_int_equal(rig_write(story.reader, rig, 0x1000, 1), MPL_OK);
	assert_int_equal(story.errs[0], 0);
	assert_int_equal(story.errs[1], 0);
	assert_null(story.at_old);
	assert_int_equal(story.released_inside, 0);
	assert_int_equal(device->writes, 1);
	/* The access has ended, but the reader may still hold its section. */
	mpl_reclaim(rig->plane);
	rig_linger();
	assert_int_equal(rig_get(&device->released), 0);
	assert_int_equal(rig_write(story.reader, rig, 0x1000, 1),
			 MPL_DECODE_ERROR);
	assert_int_equal(mpl_reader_quiescent(story.reader), 0);
	assert_true(rig_wait_reclaiming(rig, &device->released, 1));
	assert_int_equal(mpl_reader_unregister(story.reader), 0);
}

static void note_done(void *arg, int err)
{
	struct story *story = arg;

	story->done_err = err;
	rig_count(&story->done);
}

static void move_self_later(struct rig_device *device, uint64_t offset,
			    uint64_t value)
{
	struct story *story = device->arg;
	struct mpl_txn *tx = mpl_begin(device->rig->plane);

	(void)offset;
	mpl_region_move(tx, device->region, value);
	story->errs[0] = mpl_commit_async(tx, note_done, story);
	/* It needs nothing from this thread: waiting inside is fine. */
	story->errs[1] = !rig_wait(&story->done, 1);
	story->at_new = rig_find(device->rig, story->reader, value);
}

static void test_async_from_callback(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device_of_class(
		rig, "bar", 0x1000, move_self_later, MPL_SERIALISED, false);
	struct story story = { .reader = online(rig), .errs = { 1, 1 } };

	device->arg = &story;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_int_equal(rig_write(story.reader, rig, 0x1000, 0x8000), MPL_OK);
	assert_int_equal(story.errs[0], 0);
	assert_int_equal(story.errs[1], 0);
	assert_int_equal(story.done_err, 0);
	assert_ptr_equal(story.at_new, device->region);
	assert_int_equal(mpl_reader_unregister(story.reader), 0);
}

/* Passes the write on to a device that removes both. */
static void pass_on(struct rig_device *device, uint64_t offset, uint64_t value)
{
	struct story *story = device->arg;

	(void)offset;
	story->errs[1] = (int)rig_write(story->reader, device->rig, 0x2000,
					value);
	story->released_inside = rig_get(&device->released);
	story->inner_released = rig_get(&story->other->released);
}

static void remove_both(struct rig_device *device, uint64_t offset,
			uint64_t value)
{
	struct story *story = device->arg;
	struct mpl_txn *tx = mpl_begin(device->rig->plane);

	(void)offset, (void)value;
	mpl_region_remove(tx, device->region);
	mpl_region_remove(tx, story->other->region);
	story->errs[0] = mpl_commit(tx);
	mpl_region_unref(device->region);
	mpl_region_unref(story->other->region);
	mpl_reclaim(device->rig->plane);
}

static void test_nested_removal(void **state)
{
	struct rig *rig = *state;
	struct rig_device *outer = rig_device_of_class(
		rig, "outer", 0x1000, pass_on, MPL_SERIALISED, false);
	struct rig_device *inner = rig_device_of_class(
		rig, "inner", 0x1000, remove_both, MPL_SERIALISED, false);
	struct story at_outer = { .reader = online(rig), .other = inner };
	struct story at_inner = { .errs = { 1 }, .other = outer };

	outer->arg = &at_outer;
	inner->arg = &at_inner;
	assert_int_equal(rig_add(rig, outer->region, 0x1000), 0);
	assert_int_equal(rig_add(rig, inner->region, 0x2000), 0);
	assert_int_equal(rig_write(at_outer.reader, rig, 0x1000, 5), MPL_OK);
	assert_int_equal(at_inner.errs[0], 0);
	assert_int_equal(at_outer.errs[1], MPL_OK);
	assert_int_equal(at_outer.released_inside, 0);
	assert_int_equal(at_outer.inner_released, 0); /* still online */
	assert_int_equal(mpl_reader_unregister(at_outer.reader), 0);
	assert_true(rig_wait_reclaiming(rig, &inner->released, 1));
	assert_true(rig_wait_reclaiming(rig, &outer->released, 1));
}

/*
 * Several processors write the same serialised device at once; its callback
 * commits.  Those who wait for its lock are readers, online, in no callback:
 * a commit that waited for readers would never end.
 */
struct processor {
	struct rig *rig;
	uint64_t gpa;
	int failures;
};

static void toggle_other(struct rig_device *device, uint64_t offset,
			 uint64_t value)
{
	struct story *story = device->arg;

	(void)offset, (void)value;
	if (rig_enable(device->rig, story->other->region,
		       rig_get(&device->writes) % 2))
		rig_count(&story->errs[0]);
}

static void *write_often(void *arg)
{
	struct processor *processor = arg;
	struct mpl_reader *reader;

	if (mpl_reader_register(processor->rig->plane, &reader)) {
		processor->failures = 1;
		return NULL;
	}
	mpl_reader_online(reader);
	for (int i = 0; i < 100; i++) {
		processor->failures += rig_write(reader, processor->rig,
						 processor->gpa, 1) != MPL_OK;
		if (i % 10 == 9)
			mpl_reader_quiescent(reader);
	}
	processor->failures += mpl_reader_unregister(reader) != 0;
	return NULL;
}

static void run_processors(struct rig *rig, enum mpl_concurrency concurrency)
{
	enum { COUNT = 4 };
	struct rig_device *device = rig_device_of_class(
		rig, "device", 0x1000, toggle_other, concurrency, false);
	struct story story = {
		.other = rig_device(rig, "other", 0x1000, NULL),
	};
	struct processor processors[COUNT];
	pthread_t threads[COUNT];

	device->arg = &story;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_int_equal(rig_add(rig, story.other->region, 0x2000), 0);
	for (int i = 0; i < COUNT; i++) {
		processors[i] = (struct processor){ .rig = rig,
						    .gpa = 0x1000 };
		threads[i] = rig_start(write_often, &processors[i]);
	}
	for (int i = 0; i < COUNT; i++)
		rig_join(threads[i]);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(processors[i].failures, 0);
	assert_int_equal(story.errs[0], 0);
	assert_int_equal(device->writes, COUNT * 100);
}

static void test_serialised_device_commits(void **state)
{
	run_processors(*state, MPL_SERIALISED);
}

/* Then all processors are in commits at once. */
static void test_lock_free_device_commits(void **state)
{
	struct rig *rig = *state;

	run_processors(rig, MPL_LOCK_FREE);
	assert_int_equal(rig_stats(rig).commits_failed, 0);
}

/* What would wait for the reader itself is refused. */
static void try_everything(struct rig_device *device, uint64_t offset,
			   uint64_t value)
{
	struct story *story = device->arg;
	struct rig *rig = device->rig;

	(void)offset, (void)value;
	story->errs[0] = mpl_reader_quiescent(story->reader);
	story->errs[1] = mpl_reader_offline(story->reader);
	story->errs[2] = mpl_reader_online(story->reader);
	story->errs[3] = mpl_reader_unregister(story->reader);
	story->errs[4] = mpl_synchronize(rig->plane);
	story->errs[5] = mpl_region_drain(story->other->region);
	story->errs[6] = mpl_region_drain(device->region);
	story->errs[7] = mpl_access_resume(story->reader);
	mpl_reclaim(rig->plane); /* must return, and do nothing */
	story->released_inside = rig_get(&story->other->released);
}

static void test_refused_inside(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device =
		rig_device(rig, "io", 0x1000, try_everything);
	struct story story = {
		.reader = online(rig),
		.other = rig_device(rig, "other", 0x1000, NULL),
	};

	device->arg = &story;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_int_equal(rig_write(story.reader, rig, 0x1000, 1), MPL_OK);
	for (int i = 0; i < 7; i++)
		assert_int_equal(story.errs[i], -EDEADLK);
	assert_int_equal(story.errs[7], -EINVAL);
	/* The same outside. */
	assert_int_equal(mpl_access_suspend(story.reader), -EINVAL);
	assert_int_equal(mpl_access_resume(story.reader), -EINVAL);
	assert_int_equal(mpl_reader_quiescent(story.reader), 0);
	assert_int_equal(mpl_reader_offline(story.reader), 0);
	assert_int_equal(mpl_synchronize(rig->plane), 0);
	assert_int_equal(mpl_region_drain(story.other->region), 0);
	assert_int_equal(mpl_reader_unregister(story.reader), 0);
}

/*
 * Inside a callback neither mpl_reclaim() nor a commit runs a `release` (a
 * control thread may, meanwhile).
 */
static void drop_other(struct rig_device *device, uint64_t offset,
		       uint64_t value)
{
	struct story *story = device->arg;

	(void)offset, (void)value;
	mpl_region_unref(story->other->region);
	mpl_reclaim(device->rig->plane);
	story->errs[0] = mpl_commit(mpl_begin(device->rig->plane));
	story->released_inside = rig_get(&story->other->released);
}

static void test_no_release_inside(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device(rig, "io", 0x1000, drop_other);
	struct story story = {
		.reader = online(rig),
		.other = rig_device(rig, "other", 0x1000, NULL),
	};

	device->arg = &story;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_int_equal(rig_write(story.reader, rig, 0x1000, 1), MPL_OK);
	assert_int_equal(story.errs[0], 0);
	assert_int_equal(story.released_inside, 0);
	assert_int_equal(mpl_reader_unregister(story.reader), 0);
	assert_true(rig_wait_reclaiming(rig, &story.other->released, 1));
}

/* A callback that blocks says so: others' memory comes free meanwhile. */
static void block_suspended(struct rig_device *device, uint64_t offset,
			    uint64_t value)
{
	struct story *story = device->arg;
	struct rig *rig = device->rig;

	(void)offset;
	story->errs[0] = mpl_access_suspend(story->reader);
	story->errs[1] = mpl_access_suspend(story->reader); /* already */
	gate_stop(story->gate);
	/* Suspended or not, this is an access. */
	story->errs[2] = mpl_synchronize(rig->plane);
	story->errs[3] = mpl_reader_online(story->reader);
	if (value)
		story->errs[4] = mpl_commit(mpl_begin(rig->plane));
	story->errs[5] = mpl_access_resume(story->reader);
	story->errs[6] = mpl_access_resume(story->reader);
	story->at_old = rig_find(rig, story->reader, 0x2000);
	/* Again, now that it was removed. */
	story->errs[7] = mpl_access_suspend(story->reader);
	story->errs[8] = mpl_access_resume(story->reader);
}

struct caller {
	struct rig *rig;
	struct story *story;
	uint64_t gpa;
	mpl_result_t result;
	int ended;
};

static void *call(void *arg)
{
	struct caller *caller = arg;
	struct mpl_reader *reader;

	if (mpl_reader_register(caller->rig->plane, &reader))
		return NULL;
	caller->story->reader = reader;
	mpl_reader_online(reader);
	caller->result = rig_write(reader, caller->rig, caller->gpa, 1);
	mpl_reader_unregister(reader);
	rig_count(&caller->ended);
	return NULL;
}

static void check_suspended_story(const struct story *story)
{
	static const int expected[] = { 0, -EINVAL, -EDEADLK, -EDEADLK, 0,
					0, -EINVAL, 0,        0 };

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_int_equal(story->errs[i], expected[i]);
	assert_null(story->at_old);
}

static void test_suspended_callback(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device_of_class(
		rig, "slow", 0x1000, block_suspended, MPL_SERIALISED, false);
	struct rig_device *other = rig_device(rig, "other", 0x1000, NULL);
	struct gate gate;
	struct story story = { .gate = &gate };
	struct caller caller = { .rig = rig, .story = &story, .gpa = 0x1000 };
	pthread_t thread;

	gate_init(&gate);
	device->arg = &story;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_int_equal(rig_add(rig, other->region, 0x2000), 0);
	thread = rig_start(call, &caller);
	gate_await(&gate);
	/* Others come free, and whoever waits for readers gets on. */
	assert_int_equal(rig_remove(rig, other->region), 0);
	assert_int_equal(mpl_synchronize(rig->plane), 0);
	assert_int_equal(mpl_region_drain(other->region), 0);
	mpl_region_unref(other->region);
	assert_true(rig_wait_reclaiming(rig, &other->released, 1));
	/* Its own region does not. */
	assert_int_equal(rig_remove(rig, device->region), 0);
	mpl_region_unref(device->region);
	assert_int_equal(mpl_synchronize(rig->plane), 0);
	mpl_reclaim(rig->plane);
	rig_linger();
	assert_int_equal(rig_get(&device->released), 0);
	gate_open(&gate);
	rig_join(thread);
	assert_int_equal(caller.result, MPL_OK);
	check_suspended_story(&story);
	assert_true(rig_wait_reclaiming(rig, &device->released, 1));
	gate_destroy(&gate);
}

/* Outer callbacks' devices are in use as well. */
static void test_suspended_in_nested(void **state)
{
	struct rig *rig = *state;
	struct rig_device *outer = rig_device_of_class(
		rig, "outer", 0x1000, pass_on, MPL_SERIALISED, false);
	struct rig_device *inner = rig_device_of_class(
		rig, "inner", 0x1000, block_suspended, MPL_SERIALISED, false);
	struct gate gate;
	struct story story = { .gate = &gate, .other = inner };
	struct caller caller = { .rig = rig, .story = &story, .gpa = 0x1000 };
	struct mpl_txn *tx;
	pthread_t thread;

	gate_init(&gate);
	outer->arg = &story;
	inner->arg = &story;
	assert_int_equal(rig_add(rig, outer->region, 0x1000), 0);
	assert_int_equal(rig_add(rig, inner->region, 0x2000), 0);
	thread = rig_start(call, &caller);
	gate_await(&gate);
	tx = mpl_begin(rig->plane);
	mpl_region_remove(tx, outer->region);
	mpl_region_remove(tx, inner->region);
	assert_int_equal(mpl_commit(tx), 0);
	mpl_region_unref(inner->region);
	mpl_region_unref(outer->region);
	assert_int_equal(mpl_synchronize(rig->plane), 0);
	mpl_reclaim(rig->plane);
	rig_linger();
	assert_int_equal(rig_get(&outer->released), 0);
	assert_int_equal(rig_get(&inner->released), 0);
	gate_open(&gate);
	rig_join(thread);
	assert_int_equal(caller.result, MPL_OK);
	assert_int_equal(story.released_inside, 0);
	/* errs[1] is the outer one's: the result of the inner write. */
	assert_int_equal(story.errs[1], MPL_OK);
	story.errs[1] = -EINVAL;
	check_suspended_story(&story);
	assert_true(rig_wait_reclaiming(rig, &outer->released, 1));
	assert_true(rig_wait_reclaiming(rig, &inner->released, 1));
	gate_destroy(&gate);
}

/*
 * Accesses by way of the plane, inside a callback: they are this access's, so
 * that a device which comes back to itself is refused and does not wait for
 * its own lock.
 */
static void use_plane(struct rig_device *device, uint64_t offset,
		      uint64_t value)
{
	const struct mpl_attrs attrs = { 0 };
	struct story *story = device->arg;
	struct rig *rig = device->rig;

	(void)offset;
	story->reader = mpl_access_reader(rig->plane);
	story->errs[0] = (int)mpl_plane_write(rig->plane, rig->as, 0x1000,
					      attrs, &value, 4);
	story->errs[1] = (int)mpl_plane_write(rig->plane, rig->as, 0x2000,
					      attrs, &value, 4);
	story->errs[2] = (int)mpl_plane_read(rig->plane, rig->as, 0x3000, attrs,
					     &value, 4);
}

static void test_plane_access_inside(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device_of_class(
		rig, "io", 0x1000, use_plane, MPL_SERIALISED, false);
	struct story story = { .other = rig_device_of_class(
				       rig, "other", 0x1000, NULL,
				       MPL_SERIALISED, false) };
	struct mpl_reader *reader = online(rig);
	const uint32_t value = 1;

	device->arg = &story;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_int_equal(rig_add(rig, story.other->region, 0x2000), 0);
	assert_null(mpl_access_reader(rig->plane));
	for (int i = 0; i < 2; i++) {
		if (i == 0) {
			assert_int_equal(rig_write(reader, rig, 0x1000, 1),
					 MPL_OK);
			assert_ptr_equal(story.reader, reader);
			assert_int_equal(mpl_reader_offline(reader), 0);
		} else { /* a spare reader's access */
			assert_int_equal(
				mpl_plane_write(rig->plane, rig->as, 0x1000,
						(struct mpl_attrs){ 0 },
						&value, 4),
				MPL_OK);
			assert_non_null(story.reader);
			assert_ptr_not_equal(story.reader, reader);
		}
		assert_int_equal(story.errs[0], MPL_ACCESS_ERROR);
		assert_int_equal(story.errs[1], MPL_OK);
		assert_int_equal(story.errs[2], MPL_DECODE_ERROR);
		assert_int_equal(device->writes, i + 1);
		assert_int_equal(story.other->writes, i + 1);
	}
	assert_null(mpl_access_reader(rig->plane));
	assert_int_equal(mpl_reader_unregister(reader), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_BOTH(test_moves_itself),
		RIG_BOTH(test_removes_itself),
		RIG_BOTH(test_async_from_callback),
		RIG_BOTH(test_nested_removal),
		RIG_BOTH(test_serialised_device_commits),
		RIG_BOTH(test_lock_free_device_commits),
		RIG_BOTH(test_refused_inside),
		RIG_INLINE(test_no_release_inside),
		RIG_BOTH(test_suspended_callback),
		RIG_BOTH(test_suspended_in_nested),
		RIG_BOTH(test_plane_access_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
