/* SPDX-License-Identifier: BSD-3-Clause */
/* Accesses per device, summed over readers. */
#include "dispatch/count.h"

#include <memplane/access.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/bed.h"

static mpl_result_t read_zero(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t *value)
{
	(void)opaque, (void)offset, (void)size, (void)attrs;
	*value = 0;
	return MPL_OK;
}

static mpl_result_t write_nothing(void *opaque, uint64_t offset,
				  unsigned int size, struct mpl_attrs attrs,
				  uint64_t value)
{
	(void)opaque, (void)offset, (void)size, (void)attrs, (void)value;
	return MPL_OK;
}

static const struct mpl_io_ops ops = {
	.read = read_zero,
	.write = write_nothing,
};

static const struct mpl_attrs plain;

static void use(struct bed *bed, struct mpl_reader *reader, uint64_t gpa,
		int times)
{
	uint64_t value;

	for (int i = 0; i < times; i++) {
		mpl_load(reader, &bed->as[0], gpa, plain, 4, MPL_NATIVE_ENDIAN,
			 &value);
		mpl_store(reader, &bed->as[0], gpa, plain, 4, MPL_NATIVE_ENDIAN,
			  0);
		mpl_read(reader, &bed->as[0], gpa + 1, plain, &value, 3);
	}
}

/* A load, a store, and a read of three bytes that takes two callbacks. */
#define COUNTS(times) (4 * (times))

static void test_sums(void **state)
{
	struct bed *bed = *state;
	struct mpl_device *one = bed_device(bed, &ops, NULL);
	struct mpl_device *two = bed_device(bed, &ops, NULL);
	struct mpl_reader_state *other;

	mpl_count_number(&bed->dp, one);
	mpl_count_number(&bed->dp, two);
	assert_int_not_equal(one->number, two->number);
	bed_io(bed, 0, 0x1000, 0x1fff, one);
	bed_io(bed, 0, 0x2000, 0x2fff, two);
	bed_commit(bed);
	use(bed, bed->reader, 0x1000, 5);
	use(bed, bed->reader, 0x2000, 2);
	assert_int_equal(mpl_count_sum(&bed->dp, one), COUNTS(5));
	assert_int_equal(mpl_count_sum(&bed->dp, two), COUNTS(2));

	/* Another reader's are added, and stay when it leaves. */
	assert_int_equal(mpl_reader_add(&bed->dp, false, &other), 0);
	assert_int_equal(mpl_reader_online(&other->pub), 0);
	use(bed, &other->pub, 0x1000, 3);
	assert_int_equal(mpl_count_sum(&bed->dp, one), COUNTS(8));
	assert_int_equal(mpl_reader_unregister(&other->pub), 0);
	assert_int_equal(mpl_count_sum(&bed->dp, one), COUNTS(8));
	assert_int_equal(mpl_count_sum(&bed->dp, two), COUNTS(2));
	mpl_count_release(&bed->dp, one);
	mpl_count_release(&bed->dp, two);
}

/* A number that is used again starts from nothing. */
static void test_reuse(void **state)
{
	struct bed *bed = *state;
	struct mpl_device *old = bed_device(bed, &ops, NULL);
	struct mpl_device *new = bed_device(bed, &ops, NULL);

	mpl_count_number(&bed->dp, old);
	bed_io(bed, 0, 0x1000, 0x1fff, old);
	bed_commit(bed);
	use(bed, bed->reader, 0x1000, 7);
	bed_take(bed, 0, 0x1000);
	bed_commit(bed);
	bed_settle(bed);
	mpl_count_release(&bed->dp, old);
	mpl_count_number(&bed->dp, new);
	assert_int_equal(new->number, old->number);
	assert_int_equal(mpl_count_sum(&bed->dp, new), 0);
	bed_io(bed, 0, 0x1000, 0x1fff, new);
	bed_commit(bed);
	use(bed, bed->reader, 0x1000, 1);
	assert_int_equal(mpl_count_sum(&bed->dp, new), COUNTS(1));
}

/* More devices than numbers: the rest is not counted, and nothing breaks. */
static void test_limit(void **state)
{
	struct bed *bed = *state;
	struct mpl_device *devices = calloc(MPL_COUNTED + 5, sizeof(*devices));
	struct mpl_device *last = bed_device(bed, &ops, NULL);
	unsigned int without = 0;

	assert_non_null(devices);
	for (unsigned int i = 0; i < MPL_COUNTED + 5; i++) {
		mpl_count_number(&bed->dp, &devices[i]);
		without += !devices[i].number;
		assert_true(devices[i].number < MPL_COUNTED);
	}
	assert_int_equal(without, 6);
	mpl_count_number(&bed->dp, last);
	assert_int_equal(last->number, 0);
	bed_io(bed, 0, 0x1000, 0x1fff, last);
	bed_commit(bed);
	use(bed, bed->reader, 0x1000, 1);
	assert_int_equal(mpl_count_sum(&bed->dp, last), 0);
	for (unsigned int i = 0; i < MPL_COUNTED + 5; i++)
		mpl_count_release(&bed->dp, &devices[i]);
	free(devices);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_sums),
		BED_TEST(test_reuse),
		BED_TEST(test_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
