/* SPDX-License-Identifier: BSD-3-Clause */
/* Marks in the logs of a device. */
#include "dispatch/dirty.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/bed.h"

enum { PAGES = 64 };

static struct mpl_device *logged_device(struct bed *bed, uint8_t clients)
{
	struct mpl_device *device = bed_device(bed, NULL, NULL);

	device->dirty.pages = PAGES;
	assert_int_equal(mpl_dirty_prepare(&device->dirty, clients), 0);
	mpl_dirty_set_clients(&device->dirty, clients);
	return device;
}

/* The one run in a client's log. */
static void expect(const struct mpl_device *device, unsigned int client,
		   uint64_t first, uint64_t count)
{
	const struct mpl_dirty_set *set =
		mpl_dirty_set_of(&device->dirty, client);
	uint64_t page, n;

	assert_non_null(set);
	if (!count) {
		assert_false(mpl_dirty_set_next(set, 0, &page, &n));
		return;
	}
	assert_true(mpl_dirty_set_next(set, 0, &page, &n));
	assert_int_equal(page, first);
	assert_int_equal(n, count);
	assert_int_equal(mpl_dirty_set_count(set), n);
}

static void test_prepare(void **state)
{
	struct mpl_device *device = logged_device(*state, 1u << 1);
	struct mpl_dirty_set *set = device->dirty.sets[1];

	assert_null(mpl_dirty_set_of(&device->dirty, 0));
	assert_ptr_equal(mpl_dirty_set_of(&device->dirty, 1), set);
	/* One that is there stays, with what is in it. */
	mpl_dirty_set_mark(set, 3, 3);
	assert_int_equal(mpl_dirty_prepare(&device->dirty, 7), 0);
	assert_ptr_equal(mpl_dirty_set_of(&device->dirty, 1), set);
	assert_non_null(mpl_dirty_set_of(&device->dirty, 2));
	expect(device, 1, 3, 1);
	mpl_dirty_destroy(&device->dirty);
}

/* Offsets and lengths to pages, with borders in all positions. */
static void test_ranges(void **state)
{
	static const struct {
		uint64_t offset, len, first, count;
	} rows[] = {
		{ 0, 1, 0, 1 },
		{ 4095, 1, 0, 1 },
		{ 4095, 2, 0, 2 },
		{ 4096, 4096, 1, 1 },
		{ 4096, 4097, 1, 2 },
		{ 4097, 4096, 1, 2 },
		{ 63 * 4096 + 4088, 8, 63, 1 },
		{ 0, 64 * 4096, 0, 64 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mpl_device *device = logged_device(*state, 5);
		const struct mpl_section section = {
			.start = 0x7ffff000,
			.span = PAGES * 4096 - 1 - 4096,
			.offset = 4096,
			.device = device,
			.flags = 4 << MPL_SECTION_DIRTY_SHIFT,
		};

		mpl_dirty_mark_device(device, rows[i].offset, rows[i].len);
		expect(device, 0, rows[i].first, rows[i].count);
		expect(device, 2, rows[i].first, rows[i].count);
		mpl_dirty_destroy(&device->dirty);

		/* By section: its clients only, its offset added. */
		device = logged_device(*state, 5);
		if (rows[i].offset >= 4096) {
			mpl_dirty_mark_section(&section,
					       0x7ffff000 + rows[i].offset -
						       4096,
					       rows[i].len);
			expect(device, 0, 0, 0);
			expect(device, 2, rows[i].first, rows[i].count);
		}
		mpl_dirty_destroy(&device->dirty);
	}
}

static void test_clients(void **state)
{
	struct mpl_device *device = logged_device(*state, 7);
	const uint64_t bitmap = 6;

	mpl_dirty_set_clients(&device->dirty, 2);
	mpl_dirty_mark_device(device, 0, 1);
	mpl_dirty_merge_device(device, 0, &bitmap, 3);
	expect(device, 0, 0, 0);
	expect(device, 1, 0, 3);
	expect(device, 2, 0, 0);
	mpl_dirty_set_clients(&device->dirty, 0);
	mpl_dirty_mark_device(device, 0x8000, 1);
	mpl_dirty_merge_device(device, 40, &bitmap, 3);
	expect(device, 1, 0, 3);
	mpl_dirty_destroy(&device->dirty);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_prepare),
		BED_TEST(test_ranges),
		BED_TEST(test_clients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
