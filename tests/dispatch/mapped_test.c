/* SPDX-License-Identifier: BSD-3-Clause */
/* Counts of mappings over readers that come and go, and pins that linger. */
#include "dispatch/mapped.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "dispatch/retire.h"
#include "tests/support/bed.h"

static struct mpl_reader_state *add_reader(struct bed *bed)
{
	struct mpl_reader_state *reader;

	assert_int_equal(mpl_reader_add(&bed->dp, false, &reader), 0);
	return reader;
}

static struct mpl_device *numbered(struct bed *bed)
{
	struct mpl_device *device = bed_device(bed, NULL, NULL);

	mpl_count_number(&bed->dp, device);
	return device;
}

/* Made here, ended there, over readers that leave between. */
static void test_counts(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_state *one = mpl_reader_state(bed->reader);
	struct mpl_reader_state *two = add_reader(bed);
	struct mpl_device *device = numbered(bed), *other = numbered(bed);
	uint32_t refs = device->refs, pins = device->pins;

	assert_int_not_equal(device->number, 0);
	assert_true(mpl_mapped_none(&bed->dp, device));
	mpl_mapped_make(one, device);
	assert_false(mpl_mapped_none(&bed->dp, device));
	assert_true(mpl_mapped_none(&bed->dp, other));
	mpl_mapped_make(two, device);
	mpl_mapped_end(two, device);
	mpl_mapped_end(two, device); /* what the other one made */
	assert_true(mpl_mapped_none(&bed->dp, device));
	mpl_mapped_make(one, device);
	mpl_mapped_make(two, device);
	mpl_mapped_end(NULL, device);
	assert_false(mpl_mapped_none(&bed->dp, device));
	assert_int_equal(mpl_reader_unregister(&two->pub), 0);
	assert_false(mpl_mapped_none(&bed->dp, device));
	two = add_reader(bed);
	mpl_mapped_end(two, device);
	assert_true(mpl_mapped_none(&bed->dp, device));
	assert_int_equal(mpl_reader_unregister(&two->pub), 0);
	assert_true(mpl_mapped_none(&bed->dp, device));
	/* None of that is seen by others. */
	assert_int_equal(device->refs, refs);
	assert_int_equal(device->pins, pins);
	mpl_count_release(&bed->dp, device);
	mpl_count_release(&bed->dp, other);
}

/* A number that another device had does not bring its counts. */
static void test_number_again(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_state *reader = mpl_reader_state(bed->reader);
	struct mpl_device *first = numbered(bed), *second;

	mpl_mapped_make(reader, first);
	mpl_mapped_end(NULL, first);
	assert_true(mpl_mapped_none(&bed->dp, first));
	mpl_count_release(&bed->dp, first);
	second = numbered(bed);
	assert_int_equal(second->number, first->number);
	mpl_mapped_make(reader, second);
	assert_false(mpl_mapped_none(&bed->dp, second));
	mpl_mapped_end(reader, second);
	assert_true(mpl_mapped_none(&bed->dp, second));
	mpl_count_release(&bed->dp, second);
}

/* Without a number everybody counts in the device. */
static void test_without_number(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_state *reader = mpl_reader_state(bed->reader);
	struct mpl_device *device = bed_device(bed, NULL, NULL);

	assert_int_equal(device->number, 0);
	mpl_mapped_make(reader, device);
	assert_false(mpl_mapped_none(&bed->dp, device));
	mpl_mapped_end(reader, device);
	assert_true(mpl_mapped_none(&bed->dp, device));
	assert_int_equal(device->made, 1);
	assert_int_equal(device->ended, 1);
}

/* The last section goes while two mappings exist: one pin stays for both. */
static void test_lingers(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_state *reader = mpl_reader_state(bed->reader);
	struct mpl_device *device = numbered(bed);
	uint8_t memory[64];

	for (uint64_t at = 0; at < 3; at++)
		bed_put(bed, 0, &(struct mpl_section){
			.start = at * 0x1000, .span = 63, .host = memory,
			.flags = BED_RAM, .device = device });
	bed_commit(bed);
	mpl_mapped_make(reader, device);
	mpl_mapped_make(reader, device);
	bed_take(bed, 0, 0);
	bed_commit(bed);
	bed_settle(bed);
	assert_int_equal(device->pins, 3); /* it cannot know whose they are */
	bed_take(bed, 0, 0x1000);
	bed_take(bed, 0, 0x2000);
	bed_commit(bed);
	bed_settle(bed);
	assert_int_equal(device->pins, 1);
	assert_int_not_equal(mpl_retire_poll(&bed->dp), 0);
	mpl_mapped_end(reader, device);
	assert_int_not_equal(mpl_retire_poll(&bed->dp), 0);
	assert_false(mpl_device_unpinned(device));
	mpl_mapped_end(reader, device);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_true(mpl_device_unpinned(device));
	mpl_count_release(&bed->dp, device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_counts),
		BED_TEST(test_number_again),
		BED_TEST(test_without_number),
		BED_TEST(test_lingers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
