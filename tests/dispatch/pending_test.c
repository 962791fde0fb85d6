/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages that pointers may be writing: joined, grown, widened, never lost. */
#include "dispatch/pending.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/bed.h"

enum { PAGES = 20000, DEVICES = 4 };

static struct mpl_device *devices[MPL_PENDING_MAX + 1];

static struct mpl_device *device_new(struct bed *bed)
{
	struct mpl_device *device = bed_device(bed, NULL, NULL);

	device->dirty.pages = PAGES;
	assert_int_equal(mpl_dirty_prepare(&device->dirty, 3), 0);
	return device;
}

static bool add(struct mpl_pending *pending, struct mpl_device *device,
		uint32_t clients, uint64_t page, uint64_t count)
{
	const struct mpl_section section = {
		.start = 0x1000,
		.span = (uint64_t)PAGES * 4096 - 1,
		.device = device,
		.flags = clients << MPL_SECTION_DIRTY_SHIFT,
	};

	return mpl_pending_add(pending, &section, 0x1000 + page * 4096,
			       count * 4096);
}

/* Random ranges beside arrays: all that was added, and nothing else. */
static void test_random(void **state)
{
	static uint8_t in[DEVICES][2][PAGES];
	struct mpl_pending pending = { 0 };
	uint64_t seed = 30, page, n;

	for (int i = 0; i < DEVICES; i++)
		devices[i] = device_new(*state);
	for (int round = 0; round < 3000; round++) {
		unsigned int device = bed_random(&seed) % DEVICES;
		uint32_t clients = 1 + bed_random(&seed) % 3;

		page = bed_random(&seed) % (PAGES - 8);
		n = 1 + bed_random(&seed) % 8;
		assert_true(add(&pending, devices[device], clients, page, n));
		for (unsigned int c = 0; c < 2; c++)
			if (clients >> c & 1)
				memset(in[device][c] + page, 1, n);
	}
	assert_true(pending.count <= 3000);
	mpl_pending_flush(&pending);
	assert_int_equal(pending.count, 0);
	for (int i = 0; i < DEVICES; i++) {
		for (unsigned int c = 0; c < 2; c++) {
			uint64_t bits[(PAGES + 63) / 64];

			mpl_dirty_set_bitmap(devices[i]->dirty.sets[c], 0,
					     PAGES, bits);
			for (page = 0; page < PAGES; page++)
				assert_int_equal(bits[page / 64] >>
							 (page % 64) & 1,
						 in[i][c][page]);
		}
		mpl_dirty_destroy(&devices[i]->dirty);
	}
	mpl_pending_destroy(&pending);
}

/* A ring's neighbours are one range, in whatever order they come. */
static void test_joined(void **state)
{
	struct mpl_device *device = device_new(*state);
	struct mpl_pending pending = { 0 };

	for (uint64_t page = 0; page < 1000; page++)
		assert_true(add(&pending, device, 1, page, 1));
	assert_int_equal(pending.count, 1);
	for (int round = 0; round < 100; round++)
		for (uint64_t page = 0; page < 48; page++)
			assert_true(add(&pending, device, 1,
					2000 + page * 7 % 48, 1));
	assert_true(pending.capacity <= 128);
	mpl_pending_flush(&pending);
	assert_int_equal(mpl_dirty_set_count(device->dirty.sets[0]), 1048);
	mpl_dirty_destroy(&device->dirty);
	mpl_pending_destroy(&pending);
}

/* Beyond the limit ranges are widened; one without a companion is refused. */
static void test_limit(void **state)
{
	struct mpl_pending pending = { 0 };
	uint64_t page, n;

	for (int i = 0; i <= MPL_PENDING_MAX; i++)
		devices[i] = bed_device(*state, NULL, NULL);
	devices[7]->dirty.pages = PAGES;
	assert_int_equal(mpl_dirty_prepare(&devices[7]->dirty, 1), 0);
	for (int i = 0; i < MPL_PENDING_MAX; i++)
		assert_true(add(&pending, devices[i], i == 7, 5, 1));
	assert_int_equal(pending.count, MPL_PENDING_MAX);
	assert_false(add(&pending, devices[MPL_PENDING_MAX], 1, 5, 1));
	assert_true(add(&pending, devices[7], 1, 100, 2));
	assert_true(add(&pending, devices[7], 1, 50, 1));
	assert_int_equal(pending.count, MPL_PENDING_MAX);
	mpl_pending_flush(&pending);
	assert_true(mpl_dirty_set_next(devices[7]->dirty.sets[0], 0, &page,
				       &n));
	assert_int_equal(page, 5);
	assert_int_equal(n, 97);
	/* And now there is room again. */
	assert_true(add(&pending, devices[MPL_PENDING_MAX], 0, 5, 1));
	mpl_pending_flush(&pending);
	mpl_dirty_destroy(&devices[7]->dirty);
	mpl_pending_destroy(&pending);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_random),
		BED_TEST(test_joined),
		BED_TEST(test_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
