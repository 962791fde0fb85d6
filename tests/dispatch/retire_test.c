/* SPDX-License-Identifier: BSD-3-Clause */
/* Nothing is freed before every reader that could see it was quiescent. */
#include "dispatch/retire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/support/bed.h"

/* Which objects were freed, in this order. */
static int freed[64];
static int freed_count;

static void note_freed(void *arg)
{
	assert_in_range(freed_count, 0, 63);
	freed[freed_count++] = *(int *)arg;
}

static int setup(void **state)
{
	freed_count = 0;
	return bed_setup(state);
}

static void retire_object(struct bed *bed, int *name, size_t bytes)
{
	struct mpl_retired *batch = mpl_retired_new();

	assert_non_null(batch);
	assert_int_equal(mpl_retire_object(batch, note_freed, name, bytes), 0);
	mpl_retire(&bed->dp, batch);
}

static struct mpl_reader *new_reader(struct bed *bed)
{
	struct mpl_reader_state *reader;

	assert_int_equal(mpl_reader_add(&bed->dp, false, &reader), 0);
	return &reader->pub;
}

static void test_online_reader_holds(void **state)
{
	struct bed *bed = *state;
	int name = 7;

	bed_settle(bed);
	retire_object(bed, &name, 100);
	for (int i = 0; i < 5; i++)
		assert_int_equal(mpl_retire_poll(&bed->dp), 100);
	assert_int_equal(freed_count, 0);
	mpl_reader_quiescent(bed->reader);
	assert_int_equal(freed_count, 0); /* freed by polling only */
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(freed_count, 1);
	assert_int_equal(freed[0], 7);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(freed_count, 1);
}

static void test_offline_reader_does_not(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader *other = new_reader(bed);
	int name = 1;

	mpl_reader_offline(bed->reader);
	mpl_retire_poll(&bed->dp);
	retire_object(bed, &name, 1);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(freed_count, 1);

	/* Going offline is as good as being quiescent. */
	mpl_reader_online(bed->reader);
	retire_object(bed, &name, 1);
	assert_int_equal(mpl_retire_poll(&bed->dp), 1);
	mpl_reader_offline(bed->reader);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(freed_count, 2);

	/* So is going away. */
	mpl_reader_online(other);
	retire_object(bed, &name, 1);
	assert_int_equal(mpl_retire_poll(&bed->dp), 1);
	assert_int_equal(mpl_reader_unregister(other), 0);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(freed_count, 3);
}

static void test_each_reader_holds(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader *readers[BED_READERS - 1];
	int name = 1;

	for (int i = 0; i < BED_READERS - 1; i++) {
		readers[i] = new_reader(bed);
		mpl_reader_online(readers[i]);
	}
	bed_settle(bed);
	retire_object(bed, &name, 5);
	mpl_reader_quiescent(bed->reader);
	for (int i = 0; i < BED_READERS - 1; i++) {
		assert_int_not_equal(mpl_retire_poll(&bed->dp), 0);
		assert_int_equal(freed_count, 0);
		mpl_reader_quiescent(readers[i]);
	}
	mpl_retire_poll(&bed->dp);
	assert_int_equal(freed_count, 1);
	for (int i = 0; i < BED_READERS - 1; i++)
		mpl_reader_unregister(readers[i]);
}

/* A reader that came online after the retirement isn't waited for. */
static void test_later_reader_does_not_hold(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader *late = new_reader(bed);
	int name = 1;

	bed_settle(bed);
	retire_object(bed, &name, 5);
	mpl_reader_online(late);
	mpl_reader_offline(bed->reader);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(freed_count, 1);
	mpl_reader_unregister(late);
}

/* Oldest first, and no younger batch before its own time. */
static void test_order(void **state)
{
	struct bed *bed = *state;
	int names[] = { 0, 1, 2, 3, 4, 5 };
	struct mpl_retired *batch = mpl_retired_new();

	bed_settle(bed);
	for (int i = 0; i < 3; i++)
		retire_object(bed, &names[i], 10);
	mpl_reader_quiescent(bed->reader);
	for (int i = 3; i < 5; i++)
		retire_object(bed, &names[i], 10);
	assert_int_equal(mpl_retire_poll(&bed->dp), 20);
	assert_int_equal(freed_count, 3);
	/* Within a batch: in the order of their naming. */
	assert_int_equal(mpl_retire_object(batch, note_freed, &names[5], 1),
			 0);
	assert_int_equal(mpl_retire_object(batch, note_freed, &names[0], 1),
			 0);
	mpl_retire(&bed->dp, batch);
	mpl_reader_quiescent(bed->reader);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(freed_count, 7);
	for (int i = 0; i < 6; i++)
		assert_int_equal(freed[i], i);
	assert_int_equal(freed[6], 0);
}

static void test_bytes(void **state)
{
	struct bed *bed = *state;
	uint64_t total;
	int name = 0;

	bed_settle(bed);
	assert_int_equal(bed->dp.retired_bytes, 0);
	total = bed->dp.retired_total;
	retire_object(bed, &name, 1000);
	retire_object(bed, &name, 500);
	assert_int_equal(bed->dp.retired_bytes, 1500);
	assert_true(bed->dp.retired_peak >= 1500);
	mpl_reader_quiescent(bed->reader);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(bed->dp.retired_bytes, 0);
	retire_object(bed, &name, 1);
	assert_true(bed->dp.retired_peak >= 1500);
	assert_true(bed->dp.retired_total == total + 1501);
}

/* Nodes and sections go back to their arenas, and not before. */
static void test_nodes_and_sections(void **state)
{
	struct bed *bed = *state;
	uint32_t index;

	bed_io(bed, 0, 0, 0xf, bed->plain);
	index = bed_io(bed, 0, 0x10, 0x1f, bed->plain);
	bed_settle(bed);
	assert_int_equal(bed->dp.nodes.live, 1);
	assert_int_equal(bed->dp.sections.live, 2);
	bed_take(bed, 0, 0x10);
	bed_commit(bed);
	assert_true(bed->dp.retired_bytes >=
		    bed->dp.nodes.item_size + bed->dp.sections.item_size);
	mpl_retire_poll(&bed->dp);
	assert_int_equal(bed->dp.nodes.live, 1);
	assert_int_equal(bed->dp.sections.live, 2);
	/* It is as it was for whoever still looks. */
	assert_int_equal(mpl_section_at(&bed->dp, index)->start, 0x10);
	assert_int_equal(mpl_section_at(&bed->dp, index)->span, 0xf);
	bed_settle(bed);
	assert_int_equal(bed->dp.nodes.live, 0);
	assert_int_equal(bed->dp.sections.live, 1);
}

/* A batch that is dropped frees nothing of what it names. */
static void test_drop(void **state)
{
	struct bed *bed = *state;
	struct mpl_retired *batch = mpl_retired_new();
	uint32_t index = bed_io(bed, 0, 0, 0xf, bed->plain);
	uint32_t live = bed->dp.sections.live;
	int name = 3;

	assert_int_equal(mpl_retire_section(batch, index), 0);
	assert_int_equal(mpl_retire_object(batch, note_freed, &name, 9), 0);
	mpl_retired_drop(batch);
	mpl_retired_drop(NULL);
	bed_settle(bed);
	assert_int_equal(freed_count, 0);
	assert_int_equal(bed->dp.sections.live, live);
	assert_int_equal(bed->dp.retired_bytes, 0);
}

static void test_large_batch(void **state)
{
	struct bed *bed = *state;
	struct mpl_retired *batch = mpl_retired_new();
	uint32_t index;

	for (int i = 0; i < 5000; i++) {
		const struct mpl_section section = { .device = bed->plain };

		assert_int_equal(mpl_section_new(&bed->dp, &section, &index),
				 0);
		assert_int_equal(mpl_retire_section(batch, index), 0);
	}
	bed_settle(bed);
	mpl_retire(&bed->dp, batch);
	assert_int_equal(bed->dp.sections.live, 5000);
	assert_int_equal(bed->dp.retired_bytes,
			 5000 * sizeof(struct mpl_section));
	bed_settle(bed);
	assert_int_equal(bed->dp.sections.live, 0);
}

/* Retiring from inside a batch's function: commits from `release`. */
static struct bed *nesting;
static int nested_name = 42;

static void retire_more(void *arg)
{
	note_freed(arg);
	retire_object(nesting, &nested_name, 1);
}

static void test_retire_while_freeing(void **state)
{
	struct bed *bed = *state;
	struct mpl_retired *batch = mpl_retired_new();
	int name = 41;

	nesting = bed;
	bed_settle(bed);
	assert_int_equal(mpl_retire_object(batch, retire_more, &name, 1), 0);
	mpl_retire(&bed->dp, batch);
	mpl_reader_quiescent(bed->reader);
	mpl_retire_poll(&bed->dp);
	assert_int_equal(freed[0], 41);
	bed_settle(bed);
	assert_int_equal(freed_count, 2);
	assert_int_equal(freed[1], 42);
	assert_int_equal(bed->dp.retired_bytes, 0);
}

static void sleep_ms(unsigned int ms)
{
	struct timespec nap = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&nap, NULL);
}

static void test_stall_is_named(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader *sleepy = new_reader(bed);
	int name = 1;

	mpl_reader_set_name(sleepy, "sleepy");
	bed->dp.stall_ns = 20 * 1000000;
	mpl_reader_online(sleepy);
	bed_settle(bed);
	bed->lines = 0;
	retire_object(bed, &name, 4096);
	mpl_reader_quiescent(bed->reader);
	mpl_retire_poll(&bed->dp);
	assert_int_equal(bed->dp.stalls, 0); /* not yet */
	assert_int_equal(bed->lines, 0);
	sleep_ms(30);
	mpl_retire_poll(&bed->dp);
	assert_int_equal(bed->dp.stalls, 1);
	assert_int_equal(bed->lines, 1);
	assert_non_null(strstr(bed->log, "sleepy"));
	assert_string_equal(bed->dp.stalled_reader, "sleepy");
	/* Once for each, not with every poll. */
	for (int i = 0; i < 10; i++)
		mpl_retire_poll(&bed->dp);
	assert_int_equal(bed->dp.stalls, 1);
	assert_int_equal(bed->lines, 1);
	mpl_reader_quiescent(sleepy);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(freed_count, 1);

	/* The next one is named as well, be it another reader. */
	mpl_reader_offline(sleepy);
	mpl_reader_set_name(bed->reader, "other");
	retire_object(bed, &name, 4096);
	sleep_ms(30);
	mpl_retire_poll(&bed->dp);
	assert_int_equal(bed->dp.stalls, 2);
	assert_int_equal(bed->lines, 2);
	assert_string_equal(bed->dp.stalled_reader, "other");
	mpl_reader_unregister(sleepy);
}

/* Who reports in time is never named, however much is retired. */
static void test_no_false_stall(void **state)
{
	struct bed *bed = *state;
	int name = 1;

	bed->dp.stall_ns = 200 * 1000000;
	for (int i = 0; i < 40; i++) {
		retire_object(bed, &name, 1);
		sleep_ms(1);
		freed_count = 0;
		bed_settle(bed);
	}
	assert_int_equal(bed->dp.stalls, 0);
	assert_int_equal(bed->lines, 0);
}

/* Destroying frees whatever still waits. */
static void test_destroy(void **state)
{
	struct mpl_data_plane *dp = aligned_alloc(64, sizeof(*dp));
	struct mpl_retired *batch = mpl_retired_new();
	int name = 11;

	(void)state;
	freed_count = 0;
	assert_non_null(dp);
	memset(dp, 0, sizeof(*dp));
	assert_int_equal(mpl_data_plane_init(dp, 1, 0), 0);
	assert_int_equal(mpl_retire_object(batch, note_freed, &name, 1), 0);
	mpl_retire(dp, batch);
	mpl_data_plane_destroy(dp);
	free(dp);
	assert_int_equal(freed_count, 1);
}

#define RETIRE_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup, bed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RETIRE_TEST(test_online_reader_holds),
		RETIRE_TEST(test_offline_reader_does_not),
		RETIRE_TEST(test_each_reader_holds),
		RETIRE_TEST(test_later_reader_does_not_hold),
		RETIRE_TEST(test_order),
		RETIRE_TEST(test_bytes),
		RETIRE_TEST(test_nodes_and_sections),
		RETIRE_TEST(test_drop),
		RETIRE_TEST(test_large_batch),
		RETIRE_TEST(test_retire_while_freeing),
		RETIRE_TEST(test_stall_is_named),
		RETIRE_TEST(test_no_false_stall),
		cmocka_unit_test(test_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
