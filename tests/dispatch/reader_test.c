/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/reader.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch/retire.h"
#include "tests/support/bed.h"

static const struct mpl_attrs none;

static void test_limits(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_state *readers[BED_READERS], *more = NULL;
	struct mpl_reader_state *spares[BED_SPARES];

	/* One is the bed's. */
	for (int i = 1; i < BED_READERS; i++)
		assert_int_equal(mpl_reader_add(&bed->dp, false, &readers[i]),
				 0);
	assert_int_equal(bed->dp.readers_live, BED_READERS);
	assert_int_equal(mpl_reader_add(&bed->dp, false, &more), -ENOSPC);
	assert_null(more);
	assert_int_equal(bed->dp.readers_live, BED_READERS);

	/* The spare ones have slots of their own. */
	for (int i = 0; i < BED_SPARES; i++)
		assert_int_equal(mpl_reader_add(&bed->dp, true, &spares[i]),
				 0);
	assert_int_equal(mpl_reader_add(&bed->dp, true, &more), -ENOSPC);

	/* A slot that was given back is there again, under its old id. */
	for (int i = 1; i < BED_READERS; i++) {
		unsigned int id = readers[i]->id;

		assert_int_equal(mpl_reader_unregister(&readers[i]->pub), 0);
		assert_int_equal(mpl_reader_add(&bed->dp, true, &more),
				 -ENOSPC);
		assert_int_equal(mpl_reader_add(&bed->dp, false, &readers[i]),
				 0);
		assert_int_equal(readers[i]->id, id);
	}
	for (int i = 1; i < BED_READERS; i++)
		assert_int_equal(mpl_reader_unregister(&readers[i]->pub), 0);
	for (int i = 0; i < BED_SPARES; i++)
		assert_int_equal(mpl_reader_unregister(&spares[i]->pub), 0);
	assert_int_equal(bed->dp.readers_live, 1);
}

static void test_starts_offline(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_state *reader;

	mpl_reader_offline(bed->reader);
	assert_int_equal(mpl_reader_add(&bed->dp, false, &reader), 0);
	assert_false(reader->online);
	assert_int_equal((uintptr_t)reader % 64, 0);
	bed_commit(bed);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	/* Quiescent while offline: nothing happens, and it stays offline. */
	assert_int_equal(mpl_reader_quiescent(&reader->pub), 0);
	bed_commit(bed);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	/* Twice is once. */
	assert_int_equal(mpl_reader_online(&reader->pub), 0);
	assert_int_equal(mpl_reader_online(&reader->pub), 0);
	bed_commit(bed);
	assert_int_not_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(mpl_reader_offline(&reader->pub), 0);
	assert_int_equal(mpl_reader_offline(&reader->pub), 0);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(mpl_reader_unregister(&reader->pub), 0);
}

static void test_unregister_while_online(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_state *reader;

	mpl_reader_offline(bed->reader);
	assert_int_equal(mpl_reader_add(&bed->dp, false, &reader), 0);
	mpl_reader_online(&reader->pub);
	bed_commit(bed);
	assert_int_not_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(mpl_reader_unregister(&reader->pub), 0);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
}

static void test_names(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_stats stats;

	mpl_reader_stats(bed->reader, &stats);
	assert_int_not_equal(strlen(stats.name), 0);
	mpl_reader_set_name(bed->reader, "vcpu-3");
	mpl_reader_stats(bed->reader, &stats);
	assert_string_equal(stats.name, "vcpu-3");
	mpl_reader_set_name(bed->reader,
			    "0123456789012345678901234567890123456789");
	mpl_reader_stats(bed->reader, &stats);
	assert_string_equal(stats.name, "0123456789012345678901234567890");
	mpl_reader_set_name(bed->reader, "");
	mpl_reader_stats(bed->reader, &stats);
	assert_string_equal(stats.name, "");
}

/* A device whose callback does what a test wants. */
struct actor {
	struct bed *bed;
	struct mpl_device *device;
	void (*act)(struct actor *actor);
	int acted;
	uint64_t next; /* where a nested access goes; 0: nowhere */
};

static mpl_result_t act(void *opaque, uint64_t offset, unsigned int size,
			struct mpl_attrs attrs, uint64_t *value)
{
	struct actor *actor = opaque;

	(void)offset;
	(void)size;
	(void)attrs;
	*value = 0x5a;
	actor->acted++;
	if (actor->act)
		actor->act(actor);
	return MPL_OK;
}

static const struct mpl_io_ops actor_ops = { .read = act };

static void new_actor(struct bed *bed, struct actor *actor, uint64_t gpa,
		      void (*what)(struct actor *actor))
{
	*actor = (struct actor){ .bed = bed, .act = what };
	actor->device = bed_device(bed, &actor_ops, actor);
	bed_io(bed, 0, gpa, gpa + 0xfff, actor->device);
}

static void read_at(struct bed *bed, uint64_t gpa)
{
	uint64_t value;

	assert_int_equal(mpl_load(bed->reader, &bed->as[0], gpa, none, 1,
				  MPL_NATIVE_ENDIAN, &value), MPL_OK);
	assert_int_equal(value, 0x5a);
}

static void refused_calls(struct actor *actor)
{
	struct mpl_reader *reader = actor->bed->reader;

	assert_int_equal(mpl_reader_online(reader), -EDEADLK);
	assert_int_equal(mpl_reader_offline(reader), -EDEADLK);
	assert_int_equal(mpl_reader_quiescent(reader), -EDEADLK);
	assert_int_equal(mpl_reader_unregister(reader), -EDEADLK);
	assert_int_equal(mpl_reader_thread_state(&actor->bed->dp),
			 MPL_THREAD_ACCESS);
	/* It still holds everything. */
	bed_commit(actor->bed);
	assert_int_not_equal(mpl_retire_poll(&actor->bed->dp), 0);
}

static void test_inside_an_access(void **state)
{
	struct bed *bed = *state;
	struct actor actor;

	new_actor(bed, &actor, 0x1000, refused_calls);
	read_at(bed, 0x1000);
	assert_int_equal(actor.acted, 1);
	/* Outside again. */
	assert_int_equal(mpl_reader_quiescent(bed->reader), 0);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
}

static void test_suspend_outside(void **state)
{
	struct bed *bed = *state;
	struct actor actor;

	assert_int_equal(mpl_access_suspend(bed->reader), -EINVAL);
	assert_int_equal(mpl_access_resume(bed->reader), -EINVAL);
	/* An access that is over is outside too. */
	new_actor(bed, &actor, 0x1000, NULL);
	read_at(bed, 0x1000);
	assert_int_equal(mpl_access_suspend(bed->reader), -EINVAL);
	assert_int_equal(mpl_access_resume(bed->reader), -EINVAL);
}

/* What is retired while an access sleeps is freed, but not its device. */
static void sleep_and_vanish(struct actor *actor)
{
	struct bed *bed = actor->bed;
	struct mpl_reader *reader = bed->reader;
	uint32_t refs = actor->device->refs;

	assert_int_equal(mpl_access_resume(reader), -EINVAL);
	assert_int_equal(mpl_access_suspend(reader), 0);
	assert_int_equal(mpl_access_suspend(reader), -EINVAL);
	assert_int_equal(mpl_reader_online(reader), -EDEADLK);
	assert_int_equal(mpl_reader_unregister(reader), -EDEADLK);
	assert_int_equal(mpl_reader_thread_state(&bed->dp), MPL_THREAD_ACCESS);
	assert_int_equal(actor->device->refs, refs + 1);
	if (bed_find(bed, 0, 0x1000))
		bed_take(bed, 0, 0x1000);
	bed_commit(bed);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(bed->dp.sections.live, 0);
	/* Its section is gone: only the suspended access holds it. */
	assert_false(mpl_device_unpinned(actor->device));
	assert_int_equal(actor->device->refs, 2);
	assert_int_equal(mpl_access_resume(reader), 0);
	assert_int_equal(mpl_access_resume(reader), -EINVAL);
	/* And online, as before. */
	bed_commit(bed);
	assert_int_not_equal(mpl_retire_poll(&bed->dp), 0);
	/* A second time in the same callback. */
	assert_int_equal(mpl_access_suspend(reader), 0);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(mpl_access_resume(reader), 0);
	assert_int_equal(actor->device->refs, 2);
}

static void test_suspend(void **state)
{
	struct bed *bed = *state;
	struct actor actor;

	new_actor(bed, &actor, 0x1000, sleep_and_vanish);
	bed_settle(bed);
	read_at(bed, 0x1000);
	assert_int_equal(actor.acted, 1);
	assert_int_equal(actor.device->refs, 1);
	assert_true(mpl_device_unpinned(actor.device));
	assert_int_equal(mpl_reader_thread_state(&bed->dp),
			 MPL_THREAD_ONLINE);
}

/* Suspended in the inner one: the outer one's device is in use as well. */
static struct actor outer, inner;

static void access_next(struct actor *actor)
{
	read_at(actor->bed, actor->next);
}

static void sleep_inside(struct actor *actor)
{
	struct bed *bed = actor->bed;

	assert_int_equal(mpl_access_suspend(bed->reader), 0);
	bed_take(bed, 0, 0x1000);
	bed_take(bed, 0, 0x2000);
	bed_commit(bed);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(bed->dp.sections.live, 0);
	assert_false(mpl_device_unpinned(outer.device));
	assert_false(mpl_device_unpinned(inner.device));
	assert_int_equal(mpl_access_resume(bed->reader), 0);
	assert_int_equal(mpl_reader_quiescent(bed->reader), -EDEADLK);
}

static void test_nested_suspend(void **state)
{
	struct bed *bed = *state;

	new_actor(bed, &outer, 0x1000, access_next);
	new_actor(bed, &inner, 0x2000, sleep_inside);
	outer.next = 0x2000;
	bed_settle(bed);
	read_at(bed, 0x1000);
	assert_int_equal(outer.acted, 1);
	assert_int_equal(inner.acted, 1);
	assert_int_equal(outer.device->refs, 1);
	assert_int_equal(inner.device->refs, 1);
	assert_true(mpl_device_unpinned(outer.device));
	assert_true(mpl_device_unpinned(inner.device));
}

/* Outer and inner suspend, one after the other. */
static void sleep_then_access(struct actor *actor)
{
	struct bed *bed = actor->bed;

	assert_int_equal(mpl_access_suspend(bed->reader), 0);
	assert_int_equal(mpl_access_resume(bed->reader), 0);
	assert_int_equal(actor->device->pins, 2);
	read_at(bed, actor->next);
	assert_int_equal(actor->device->pins, 2);
	assert_int_equal(mpl_access_suspend(bed->reader), 0);
	assert_int_equal(mpl_access_resume(bed->reader), 0);
}

static void only_sleep(struct actor *actor)
{
	assert_int_equal(mpl_access_suspend(actor->bed->reader), 0);
	assert_int_equal(actor->device->pins, 2);
	assert_int_equal(outer.device->pins, 2);
	assert_int_equal(mpl_access_resume(actor->bed->reader), 0);
}

static void test_both_suspend(void **state)
{
	struct bed *bed = *state;

	new_actor(bed, &outer, 0x1000, sleep_then_access);
	new_actor(bed, &inner, 0x2000, only_sleep);
	outer.next = 0x2000;
	for (int i = 0; i < 3; i++)
		read_at(bed, 0x1000);
	assert_int_equal(inner.acted, 3);
	assert_int_equal(outer.device->pins, 1);
	assert_int_equal(inner.device->pins, 1);
}

/* The access goes on after the map has changed under a sleeping callback. */
static void sleep_and_swap(struct actor *actor)
{
	struct bed *bed = actor->bed;
	static uint8_t ram[16] = "0123456789abcdef";

	if (actor->acted > 1)
		return;
	assert_int_equal(mpl_access_suspend(bed->reader), 0);
	bed_take(bed, 0, 0x1000);
	bed_put(bed, 0, &(struct mpl_section){ .start = 0x1000, .span = 0xf,
					       .host = ram,
					       .flags = BED_RAM });
	bed_commit(bed);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(mpl_access_resume(bed->reader), 0);
}

static void test_map_changes_while_suspended(void **state)
{
	struct bed *bed = *state;
	struct actor actor;
	uint8_t buf[10];

	new_actor(bed, &actor, 0x1000, sleep_and_swap);
	bed_settle(bed);
	assert_int_equal(mpl_read(bed->reader, &bed->as[0], 0x1000, none, buf,
				  sizeof(buf)), MPL_OK);
	/* One callback: the rest of the piece, if impl makes it two. */
	assert_in_range(actor.acted, 1, 2);
	/* The first piece was the device's, what follows is the RAM's. */
	assert_int_equal(buf[0], 0x5a);
	assert_memory_equal(buf + 8, "89", 2);
}

static void *state_of_thread(void *arg)
{
	struct bed *bed = arg;

	return (void *)(uintptr_t)mpl_reader_thread_state(&bed->dp);
}

static void test_thread_state(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_state *second;
	pthread_t thread;
	void *result;

	assert_int_equal(mpl_reader_thread_state(&bed->dp), MPL_THREAD_ONLINE);
	assert_int_equal(pthread_create(&thread, NULL, state_of_thread, bed),
			 0);
	pthread_join(thread, &result);
	assert_int_equal((uintptr_t)result, MPL_THREAD_FREE);
	mpl_reader_offline(bed->reader);
	assert_int_equal(mpl_reader_thread_state(&bed->dp), MPL_THREAD_FREE);
	assert_int_equal(mpl_reader_add(&bed->dp, false, &second), 0);
	assert_int_equal(mpl_reader_thread_state(&bed->dp), MPL_THREAD_FREE);
	mpl_reader_online(&second->pub);
	assert_int_equal(mpl_reader_thread_state(&bed->dp), MPL_THREAD_ONLINE);
	mpl_reader_unregister(&second->pub);
	assert_int_equal(mpl_reader_thread_state(&bed->dp), MPL_THREAD_FREE);
}

static void test_sums(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_state *other;
	struct mpl_reader_stats stats, sum, after;
	uint8_t byte;

	assert_int_equal(mpl_reader_add(&bed->dp, false, &other), 0);
	mpl_reader_online(&other->pub);
	for (int i = 0; i < 5; i++)
		mpl_read(bed->reader, &bed->as[0], 0, none, &byte, 1);
	for (int i = 0; i < 3; i++)
		mpl_write(&other->pub, &bed->as[0], 0, none, &byte, 1);
	mpl_reader_stats(bed->reader, &stats);
	assert_int_equal(stats.reads, 5);
	assert_int_equal(stats.writes, 0);
	assert_int_equal(stats.decode_errors, 5);
	assert_int_equal(stats.access_errors, 0);
	assert_true(stats.misses >= 5);
	mpl_readers_sum(&bed->dp, &sum);
	assert_int_equal(sum.reads, 5);
	assert_int_equal(sum.writes, 3);
	assert_int_equal(sum.decode_errors, 8);
	/* What a reader counted stays counted. */
	mpl_reader_unregister(&other->pub);
	mpl_readers_sum(&bed->dp, &after);
	assert_int_equal(after.writes, 3);
	assert_int_equal(after.decode_errors, 8);
}

/* Readers come and go on other threads, while statistics are read. */
struct visitor {
	struct bed *bed;
	bool failed;
};

static void *come_and_go(void *arg)
{
	struct visitor *visitor = arg;
	struct bed *bed = visitor->bed;

	for (int i = 0; i < 300; i++) {
		struct mpl_reader_state *reader;
		uint64_t value;

		if (mpl_reader_add(&bed->dp, false, &reader)) {
			visitor->failed = true;
			return NULL;
		}
		mpl_reader_online(&reader->pub);
		for (int j = 0; j < 20; j++) {
			mpl_load(&reader->pub, &bed->as[0], 0x2000, none, 4,
				 MPL_NATIVE_ENDIAN, &value);
			mpl_reader_quiescent(&reader->pub);
		}
		if (mpl_reader_unregister(&reader->pub))
			visitor->failed = true;
	}
	return NULL;
}

static void test_concurrent_statistics(void **state)
{
	struct bed *bed = *state;
	struct visitor visitors[2] = { { bed, false }, { bed, false } };
	pthread_t threads[2];
	struct mpl_reader_stats sum;
	uint64_t last = 0;

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go,
						&visitors[i]), 0);
	do {
		mpl_readers_sum(&bed->dp, &sum);
		assert_true(sum.reads >= last);
		last = sum.reads;
	} while (last < 2 * 300 * 20 / 2);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_false(visitors[i].failed);
	}
	mpl_readers_sum(&bed->dp, &sum);
	assert_int_equal(sum.reads, 2 * 300 * 20);
	assert_int_equal(sum.decode_errors, 2 * 300 * 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_limits),
		BED_TEST(test_starts_offline),
		BED_TEST(test_unregister_while_online),
		BED_TEST(test_names),
		BED_TEST(test_inside_an_access),
		BED_TEST(test_suspend_outside),
		BED_TEST(test_suspend),
		BED_TEST(test_nested_suspend),
		BED_TEST(test_both_suspend),
		BED_TEST(test_map_changes_while_suspended),
		BED_TEST(test_thread_state),
		BED_TEST(test_sums),
		BED_TEST(test_concurrent_statistics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
