/* SPDX-License-Identifier: BSD-3-Clause */
/* Marks in the logs of a device. */
#include "dispatch/dirty.h"

#include <errno.h>
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

static uint8_t host[PAGES * 4096] __attribute__((aligned(4096)));
#define BASE UINT64_C(0x7ff00000)

/* Sixteen pages of the host's, from the region's page 16 on. */
static struct mpl_device *logged_memory(struct bed *bed, uint32_t more)
{
	struct mpl_device *device = logged_device(bed, 5);

	memset(host, 0, sizeof(host));
	bed_put(bed, 0,
		&(struct mpl_section){
			.start = BASE,
			.span = 16 * 4096 - 1,
			.host = host,
			.offset = 16 * 4096,
			.device = device,
			.flags = MPL_SECTION_READ | MPL_SECTION_LOGGED |
				 4 << MPL_SECTION_DIRTY_SHIFT | more,
		});
	bed_commit(bed);
	return device;
}

/* One write, in one of the ways that there are; `len` 8 for words. */
enum way { WRITE, STORE, RELEASE, EXCHANGE, TRANSLATE, BURST, WAYS };

static bool by_pointer(enum way way)
{
	return way == TRANSLATE || way == BURST;
}

static mpl_result_t put(struct bed *bed, enum way way, uint64_t gpa,
			const void *buf, size_t len)
{
	const struct mpl_attrs attrs = { 0 };
	const struct mpl_address_space *as = &bed->as[0];
	mpl_result_t result = MPL_OK;
	uint64_t word, found = 0;
	size_t contiguous;
	bool swapped;
	void *at;

	memcpy(&word, buf, sizeof(word));
	switch (way) {
	case WRITE:
		return mpl_write(bed->reader, as, gpa, attrs, buf, len);
	case STORE:
		return mpl_store(bed->reader, as, gpa, attrs, 8,
				 MPL_NATIVE_ENDIAN, word);
	case RELEASE:
		return mpl_store_release(bed->reader, as, gpa, 8, word);
	case EXCHANGE:
		result = mpl_compare_exchange(bed->reader, as, gpa, 8, &found,
					      word, &swapped);
		assert_true(result || swapped);
		return result;
	case TRANSLATE:
		result = mpl_translate(bed->reader, as, gpa, len,
				       MPL_FOR_WRITE, &at, &contiguous);
		assert_true(result || contiguous == len);
		if (!result)
			memcpy(at, buf, len);
		return result;
	default:
		if (mpl_translate_burst(bed->reader, as, &gpa, 1, len,
					MPL_FOR_BOTH, &at) != 1)
			return MPL_ACCESS_ERROR;
		memcpy(at, buf, len);
		return MPL_OK;
	}
}

static void check_put(struct bed *bed, enum way way, uint64_t offset,
		      size_t len)
{
	struct mpl_device *device = logged_memory(bed, 0);
	static const uint8_t data[3 * 4096] = "what is written";
	uint64_t first = 16 + offset / 4096;
	uint64_t count = (offset + len - 1) / 4096 - offset / 4096 + 1;

	assert_int_equal(put(bed, way, BASE + offset, data, len), MPL_OK);
	assert_memory_equal(host + offset, data, len);
	/* A pointer's pages are marked when it is no longer valid. */
	if (by_pointer(way)) {
		expect(device, 2, 0, 0);
		mpl_reader_quiescent(bed->reader);
	}
	expect(device, 2, first, count);
	expect(device, 0, 0, 0);
	bed_take(bed, 0, BASE);
	bed_commit(bed);
	bed_settle(bed);
	mpl_dirty_destroy(&device->dirty);
}

static void test_all_ways(void **state)
{
	for (enum way way = WRITE; way < WAYS; way++) {
		check_put(*state, way, 0, 8);
		check_put(*state, way, 15 * 4096 + 4088, 8);
		if (way == RELEASE || way == EXCHANGE)
			continue;
		check_put(*state, way, 4090, 8);
		if (way == STORE)
			continue;
		check_put(*state, way, 4095, 4098);
		check_put(*state, way, 8192, 2 * 4096);
	}
}

/* A write that did not happen is not marked. */
static void test_refusals(void **state)
{
	struct bed *bed = *state;
	struct mpl_device *device = logged_memory(bed, 0);
	uint64_t expected = 1, word = 2, gpa = BASE;
	struct mpl_reader_stats stats;
	size_t contiguous;
	bool swapped;
	void *at;

	assert_int_equal(mpl_compare_exchange(bed->reader, &bed->as[0], BASE, 8,
					      &expected, 7, &swapped), MPL_OK);
	assert_false(swapped);
	assert_int_equal(expected, 0);
	assert_int_equal(put(bed, RELEASE, BASE + 4, &word, 8),
			 MPL_ACCESS_ERROR);
	assert_int_equal(put(bed, RELEASE, BASE - 8, &word, 8),
			 MPL_DECODE_ERROR);
	assert_int_equal(mpl_load_acquire(bed->reader, &bed->as[0], BASE + 1, 8,
					  &word), MPL_ACCESS_ERROR);
	assert_int_equal(mpl_load_acquire(bed->reader, &bed->as[0], BASE, 8,
					  &word), MPL_OK);
	/* To read is no reason to mark. */
	assert_int_equal(mpl_translate(bed->reader, &bed->as[0], BASE, 8,
				       MPL_FOR_READ, &at, &contiguous), MPL_OK);
	assert_int_equal(mpl_translate_burst(bed->reader, &bed->as[0], &gpa, 1,
					     8, MPL_FOR_READ, &at), 1);
	assert_int_equal(mpl_translate(bed->reader, &bed->as[0], BASE, 0,
				       MPL_FOR_WRITE, &at, &contiguous),
			 MPL_OK);
	assert_int_equal(contiguous, 0);
	gpa = BASE + 16 * 4096 - 4;
	assert_int_equal(mpl_translate_burst(bed->reader, &bed->as[0], &gpa, 1,
					     8, MPL_FOR_WRITE, &at), 0);
	assert_null(at);
	mpl_reader_quiescent(bed->reader);
	expect(device, 2, 0, 0);
	mpl_reader_stats(bed->reader, &stats);
	assert_int_equal(stats.access_errors, 2);
	assert_int_equal(stats.decode_errors, 1);
	mpl_dirty_destroy(&device->dirty);
}

/* Mapped device memory is still accessed with the exact size. */
static void test_exact(void **state)
{
	struct bed *bed = *state;
	struct mpl_device *device = logged_memory(bed, MPL_SECTION_EXACT);
	const uint64_t word = 0x1122334455667788;

	assert_int_equal(put(bed, STORE, BASE + 8, &word, 8), MPL_OK);
	assert_memory_equal(host + 8, &word, 8);
	expect(device, 2, 16, 1);
	mpl_dirty_destroy(&device->dirty);
}

/* All places where a pointer's validity ends. */
static void test_pointers_end(void **state)
{
	struct bed *bed = *state;
	struct mpl_device *device = logged_memory(bed, 0);
	struct mpl_dirty_set *got;
	struct mpl_reader *other;
	size_t contiguous;
	uint64_t word = 1;
	void *at;

	assert_int_equal(mpl_dirty_set_new(PAGES, &got), 0);
	put(bed, TRANSLATE, BASE, &word, 8);
	expect(device, 2, 0, 0);
	mpl_reader_offline(bed->reader);
	expect(device, 2, 16, 1);
	mpl_dirty_set_take(device->dirty.sets[2], 0, PAGES - 1, got);

	mpl_reader_online(bed->reader);
	put(bed, BURST, BASE, &word, 8);
	mpl_reader_hold(mpl_reader_state(bed->reader));
	expect(device, 2, 16, 1);
	mpl_dirty_set_take(device->dirty.sets[2], 0, PAGES - 1, got);
	mpl_reader_resume(mpl_reader_state(bed->reader));
	/* Once is enough. */
	mpl_reader_quiescent(bed->reader);
	expect(device, 2, 0, 0);

	assert_int_equal(mpl_reader_add(&bed->dp, false,
					(struct mpl_reader_state **)&other), 0);
	mpl_reader_online(other);
	assert_int_equal(mpl_translate(other, &bed->as[0], BASE + 4096, 1,
				       MPL_FOR_WRITE, &at, &contiguous),
			 MPL_OK);
	assert_int_equal(mpl_reader_unregister(other), 0);
	expect(device, 2, 17, 1);
	mpl_dirty_set_free(got);
	mpl_dirty_destroy(&device->dirty);
}

static void test_window(void **state)
{
	struct bed *bed = *state;
	struct mpl_device *device = logged_memory(bed, 0);
	struct mpl_dirty_set *got;
	struct mpl_window window;

	assert_int_equal(mpl_dirty_set_new(PAGES, &got), 0);
	assert_int_equal(mpl_window_open(bed->reader, &bed->as[0], BASE + 4096,
					 8192, MPL_FOR_READ, &window), 0);
	assert_int_equal(mpl_window_dirty(&window, 0, 1), -EACCES);
	mpl_window_close(&window);
	expect(device, 2, 0, 0);
	assert_int_equal(mpl_window_open(bed->reader, &bed->as[0], BASE + 4096,
					 8192, MPL_FOR_WRITE, &window), 0);
	assert_int_equal(mpl_window_dirty(&window, 8192, 0), 0);
	assert_int_equal(mpl_window_dirty(&window, 8192, 1), -ERANGE);
	assert_int_equal(mpl_window_dirty(&window, 1, SIZE_MAX), -ERANGE);
	mpl_reader_quiescent(bed->reader);
	expect(device, 2, 0, 0);
	assert_int_equal(mpl_window_dirty(&window, 4095, 1), 0);
	expect(device, 2, 17, 1);
	mpl_dirty_set_take(device->dirty.sets[2], 0, PAGES - 1, got);
	mpl_window_close(&window);
	expect(device, 2, 17, 2);
	mpl_window_close(&window);
	mpl_dirty_set_free(got);
	mpl_dirty_destroy(&device->dirty);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_prepare),
		BED_TEST(test_ranges),
		BED_TEST(test_clients),
		BED_TEST(test_all_ways),
		BED_TEST(test_refusals),
		BED_TEST(test_exact),
		BED_TEST(test_pointers_end),
		BED_TEST(test_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
