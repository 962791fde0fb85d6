/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/base/vector.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_contents_stay(void **state)
{
	struct mpl_indexes vector = { 0 };
	unsigned int moves = 0;

	(void)state;
	for (unsigned int i = 0; i < 10000; i++) {
		size_t before = vector.capacity;

		assert_int_equal(MPL_RESERVE(&vector, 1), 0);
		assert_true(vector.capacity > vector.count);
		vector.items[vector.count++] = i;
		moves += vector.capacity != before;
	}
	for (unsigned int i = 0; i < 10000; i++)
		assert_int_equal(vector.items[i], i);
	/* Geometric growth: not one move an item. */
	assert_in_range(moves, 1, 32);
	free(vector.items);
}

static void test_many_at_once(void **state)
{
	struct mpl_indexes vector = { 0 };
	unsigned int *items;

	(void)state;
	assert_int_equal(MPL_RESERVE(&vector, 1000), 0);
	assert_true(vector.capacity >= 1000);
	assert_int_equal(vector.count, 0);
	items = vector.items;
	/* Room that is there is not asked for again. */
	vector.count = 990;
	assert_int_equal(MPL_RESERVE(&vector, 10), 0);
	assert_ptr_equal(vector.items, items);
	assert_int_equal(MPL_RESERVE(&vector, 0), 0);
	assert_ptr_equal(vector.items, items);
	free(vector.items);
}

static void test_reserve_nothing(void **state)
{
	struct mpl_indexes vector = { 0 };

	(void)state;
	assert_int_equal(MPL_RESERVE(&vector, 0), 0);
	assert_null(vector.items);
}

/* A sanitizer's malloc fails like any other, instead of ending the program. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

/* Too much fails, and leaves everything as it was. */
static void test_too_much(void **state)
{
	static const size_t counts[] = { SIZE_MAX, SIZE_MAX / 2 + 2,
					 SIZE_MAX / 4 + 2, SIZE_MAX / 8 };
	struct mpl_indexes vector = { 0 }, before;

	(void)state;
	assert_int_equal(MPL_RESERVE(&vector, 3), 0);
	vector.items[0] = 42;
	vector.count = 1;
	before = vector;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		assert_int_equal(mpl_grow((void **)&vector.items,
					  &vector.capacity, counts[i],
					  sizeof(vector.items[0])), -ENOMEM);
		assert_ptr_equal(vector.items, before.items);
		assert_int_equal(vector.capacity, before.capacity);
		assert_int_equal(vector.items[0], 42);
	}
	free(vector.items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contents_stay),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_reserve_nothing),
		cmocka_unit_test(test_too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
