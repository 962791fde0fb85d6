/* SPDX-License-Identifier: BSD-3-Clause */
/* Host addresses of guest memory: translations and windows. */
#include <memplane/access.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/bed.h"

static uint8_t host[0x10000] __attribute__((aligned(4096)));

static void fill_host(void)
{
	for (size_t i = 0; i < sizeof(host); i++)
		host[i] = (uint8_t)(i * 31 + (i >> 8) + 1);
}

static int setup(void **state)
{
	fill_host();
	return bed_setup(state);
}

static void translated(struct bed *bed, uint64_t gpa, size_t len,
		       unsigned int intent, mpl_result_t result,
		       const uint8_t *where, size_t n)
{
	void *at = &at;
	size_t contiguous = 12345;

	assert_int_equal(mpl_translate(bed->reader, &bed->as[0], gpa, len,
				       (enum mpl_intent)intent, &at,
				       &contiguous), result);
	if (result == MPL_OK) {
		assert_ptr_equal(at, where);
		assert_int_equal(contiguous, n);
	}
}

static void test_translate(void **state)
{
	struct bed *bed = *state;
	const unsigned int both = MPL_FOR_READ | MPL_FOR_WRITE;
	uint8_t device[16];

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	bed_memory(bed, 0, 0x2000, 0x2fff, host + 0x8000, BED_ROM);
	bed_io(bed, 0, 0x3000, 0x300f, bed_device(bed, &bed_bytes_ops, device));
	bed_put(bed, 0, &(struct mpl_section){
		.start = 0x4000, .span = 0xfff, .host = host,
		.flags = MPL_SECTION_READ,
		.device = bed_device(bed, &bed_bytes_ops, device) });
	bed_memory(bed, 0, UINT64_MAX - 0xfff, UINT64_MAX, host, BED_RAM);

	translated(bed, 0x1000, 16, MPL_FOR_READ, MPL_OK, host, 16);
	translated(bed, 0x1000, 16, MPL_FOR_WRITE, MPL_OK, host, 16);
	translated(bed, 0x1000, 16, both, MPL_OK, host, 16);
	translated(bed, 0x1ff8, 8, both, MPL_OK, host + 0xff8, 8);
	translated(bed, 0x1ff8, 9, both, MPL_OK, host + 0xff8, 8);
	translated(bed, 0x1fff, SIZE_MAX, both, MPL_OK, host + 0xfff, 1);
	translated(bed, 0x1234, SIZE_MAX, both, MPL_OK, host + 0x234, 0xdcc);
	translated(bed, 0x1000, 0, both, MPL_OK, host, 0);
	translated(bed, UINT64_MAX, SIZE_MAX, both, MPL_OK, host + 0xfff, 1);
	translated(bed, UINT64_MAX - 0xfff, SIZE_MAX, both, MPL_OK, host,
		   0x1000);

	translated(bed, 0x2010, 16, MPL_FOR_READ, MPL_OK, host + 0x8010, 16);
	translated(bed, 0x2010, 16, MPL_FOR_WRITE, MPL_ACCESS_ERROR, NULL, 0);
	translated(bed, 0x2010, 16, both, MPL_ACCESS_ERROR, NULL, 0);
	translated(bed, 0x3000, 16, MPL_FOR_READ, MPL_ACCESS_ERROR, NULL, 0);
	translated(bed, 0x3000, 16, MPL_FOR_WRITE, MPL_ACCESS_ERROR, NULL, 0);
	/* A ROM device in memory mode can be read only. */
	translated(bed, 0x4000, 16, MPL_FOR_READ, MPL_OK, host, 16);
	translated(bed, 0x4000, 16, MPL_FOR_WRITE, MPL_ACCESS_ERROR, NULL, 0);
	translated(bed, 0x8000, 16, MPL_FOR_READ, MPL_DECODE_ERROR, NULL, 0);
	translated(bed, 0xfff, 16, both, MPL_DECODE_ERROR, NULL, 0);
}

/* A host address is of the section's start, wherever its region's is. */
static void test_offset(void **state)
{
	struct bed *bed = *state;

	bed_put(bed, 0, &(struct mpl_section){
		.start = 0x7000, .span = 0xf, .host = host + 0x100,
		.offset = 0x12345, .flags = BED_RAM });
	bed_commit(bed);
	translated(bed, 0x7008, 100, MPL_FOR_READ, MPL_OK, host + 0x108, 8);
}

/* What it yields is where accesses go. */
static void test_agrees_with_accesses(void **state)
{
	struct bed *bed = *state;
	const struct mpl_attrs none = { 0 };
	size_t contiguous;
	uint8_t byte;
	void *at;

	for (uint64_t i = 0; i < 32; i++)
		bed_memory(bed, 0, 0x1000 + i * 64, 0x103f + i * 64,
			   host + (31 - i) * 64, BED_RAM);
	for (uint64_t gpa = 0x1000; gpa < 0x1800; gpa++) {
		assert_int_equal(mpl_translate(bed->reader, &bed->as[0], gpa,
					       SIZE_MAX, MPL_FOR_READ, &at,
					       &contiguous), MPL_OK);
		assert_int_equal(contiguous, 64 - gpa % 64);
		assert_int_equal(mpl_read(bed->reader, &bed->as[0], gpa, none,
					  &byte, 1), MPL_OK);
		assert_int_equal(byte, *(uint8_t *)at);
	}
}

/*
 * One address over and over: a slot answers at first, then the run is kept,
 * for that intent alone; and neither outlives its view.
 */
static void test_kept_runs(void **state)
{
	struct bed *bed = *state;
	const struct mpl_run *run = &bed->reader->run[MPL_FOR_READ];
	const struct mpl_run *other = &bed->reader->run[MPL_FOR_WRITE];

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	bed_memory(bed, 0, 0x80200000, 0x80200fff, host + 0x1000, BED_ROM);
	for (unsigned int i = 0; i < 2 * MPL_EXTENT_HITS + 2; i++)
		translated(bed, 0x1010, 8, MPL_FOR_READ, MPL_OK, host + 0x10,
			   8);
	assert_int_equal(run->start, 0x1000);
	assert_int_equal(run->size, 0x1000);
	assert_int_equal(other->size, 0);
	translated(bed, 0x1ffc, 8, MPL_FOR_READ, MPL_OK, host + 0xffc, 4);
	for (unsigned int i = 0; i < 2 * MPL_EXTENT_HITS + 2; i++) {
		translated(bed, 0x80200010, 8, MPL_FOR_READ, MPL_OK,
			   host + 0x1010, 8);
		translated(bed, 0x80200010, 8, MPL_FOR_WRITE,
			   MPL_ACCESS_ERROR, NULL, 0);
		translated(bed, 0x1010, 8, MPL_FOR_WRITE, MPL_OK, host + 0x10,
			   8);
	}
	assert_int_equal(run->start, 0x80200000);
	assert_int_equal(run->size, 0x1000);
	assert_int_equal(other->start, 0x1000);
	assert_int_equal(other->size, 0x1000);
	/* In turn: no run is tried in vain. */
	for (unsigned int i = 0; i < 4 * MPL_EXTENT_HITS; i++) {
		translated(bed, 0x1010, 8, MPL_FOR_READ, MPL_OK, host + 0x10,
			   8);
		translated(bed, 0x80200010, 8, MPL_FOR_READ, MPL_OK,
			   host + 0x1010, 8);
	}
	assert_int_equal(run->size, 0);
	bed_take(bed, 0, 0x80200000);
	bed_commit(bed);
	bed_settle(bed);
	translated(bed, 0x80200010, 8, MPL_FOR_READ, MPL_DECODE_ERROR, NULL,
		   0);
	bed_memory(bed, 0, 0x80200000, 0x80200fff, host + 0x2000, BED_ROM);
	translated(bed, 0x80200010, 8, MPL_FOR_READ, MPL_OK, host + 0x2010, 8);
	translated(bed, 0x1010, 8, MPL_FOR_READ, MPL_OK, host + 0x10, 8);
}

/*
 * More ranges than slots help with: each call walks, and leaves nothing, until
 * there is something to keep again.
 */
static void test_given_up_slots(void **state)
{
	const unsigned int ranges = 64;
	struct bed *bed = *state;
	struct mpl_reader *reader = bed->reader;
	const struct mpl_run *run = &reader->run[MPL_FOR_READ];
	uint64_t misses;

	for (uint64_t i = 0; i < ranges; i++)
		bed_memory(bed, 0, i << 12, (i << 12) + 0xfff,
			   host + i * 5 % 8 * 0x1000,
			   i % 2 ? BED_ROM : BED_RAM);
	bed_memory(bed, 0, 0x400000, 0x400fff, host, BED_RAM);
	for (unsigned int i = 0; i < 900; i++) {
		uint64_t in = i * 7 % ranges;

		misses = reader->misses;
		translated(bed, (in << 12) + 0xff0, 20, MPL_FOR_READ, MPL_OK,
			   host + in * 5 % 8 * 0x1000 + 0xff0, 16);
		if (i < 200) /* The slots are on trial: one may hit. */
			continue;
		assert_int_equal(reader->misses, misses + 1);
		assert_int_equal(run->size, 0);
	}
	assert_int_equal(reader->translated.credit, 0);
	translated(bed, 0x2004, 0, MPL_FOR_READ, MPL_OK,
		   host + 2 * 5 % 8 * 0x1000 + 4, 0);
	translated(bed, 0x1004, 4, MPL_FOR_WRITE, MPL_ACCESS_ERROR, NULL, 0);
	translated(bed, 0x100000, 4, MPL_FOR_READ, MPL_DECODE_ERROR, NULL, 0);
	/* One range over and over. */
	misses = reader->misses;
	for (unsigned int i = 0; i < 10; i++)
		translated(bed, 0x3004, 4, MPL_FOR_READ, MPL_OK,
			   host + 3 * 5 % 8 * 0x1000 + 4, 4);
	assert_int_equal(reader->misses, misses + 2);
	assert_int_equal(run->start, 0x3000);
	translated(bed, 0x4004, 4, MPL_FOR_READ, MPL_OK,
		   host + 4 * 5 % 8 * 0x1000 + 4, 4);
	assert_int_equal(run->size, 0);
	/* Two by turns, which slots would have: tried again, some time. */
	for (unsigned int i = 0; i < 1000; i++) {
		translated(bed, 0x3004, 4, MPL_FOR_READ, MPL_OK,
			   host + 3 * 5 % 8 * 0x1000 + 4, 4);
		translated(bed, 0x400004, 4, MPL_FOR_READ, MPL_OK, host + 4,
			   4);
		if (i == 900)
			misses = reader->misses;
	}
	assert_int_equal(reader->misses, misses);
}

/* Refusals are counted, as accesses' are. */
static void test_counts(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_stats stats;

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_ROM);
	translated(bed, 0x1000, 1, MPL_FOR_WRITE, MPL_ACCESS_ERROR, NULL, 0);
	translated(bed, 0x2000, 1, MPL_FOR_WRITE, MPL_DECODE_ERROR, NULL, 0);
	translated(bed, 0x1000, 1, MPL_FOR_READ, MPL_OK, host, 1);
	mpl_reader_stats(bed->reader, &stats);
	assert_int_equal(stats.access_errors, 1);
	assert_int_equal(stats.decode_errors, 1);
}

static int open_window(struct bed *bed, uint64_t gpa, size_t len,
		       enum mpl_intent intent, struct mpl_window *window)
{
	return mpl_window_open(bed->reader, &bed->as[0], gpa, len, intent,
			       window);
}

static void test_window_errors(void **state)
{
	struct bed *bed = *state;
	uint8_t device[16] = { 0 };
	struct mpl_window window;
	uint32_t refs;

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	bed_memory(bed, 0, 0x2000, 0x2fff, host, BED_ROM);
	bed_io(bed, 0, 0x4000, 0x400f, bed_device(bed, &bed_bytes_ops, device));
	refs = bed->plain->refs;
	assert_int_equal(open_window(bed, 0x1000, 0, MPL_FOR_READ, &window),
			 -EINVAL);
	assert_int_equal(open_window(bed, 0xfff, 2, MPL_FOR_READ, &window),
			 -EFAULT);
	assert_int_equal(open_window(bed, 0x3000, 2, MPL_FOR_READ, &window),
			 -EFAULT);
	assert_int_equal(open_window(bed, 0x2000, 2, MPL_FOR_WRITE, &window),
			 -EACCES);
	assert_int_equal(open_window(bed, 0x2000, 2, MPL_FOR_BOTH, &window),
			 -EACCES);
	assert_int_equal(open_window(bed, 0x4000, 2, MPL_FOR_READ, &window),
			 -EACCES);
	assert_int_equal(open_window(bed, 0x1000, 0x1001, MPL_FOR_READ,
				     &window), -ERANGE);
	assert_int_equal(open_window(bed, 0x1fff, 2, MPL_FOR_READ, &window),
			 -ERANGE);
	assert_int_equal(bed->plain->refs, refs);
}

static void test_window(void **state)
{
	struct bed *bed = *state;
	struct mpl_device *ram = bed_device(bed, NULL, NULL);
	struct mpl_window window;

	bed_put(bed, 0, &(struct mpl_section){
		.start = 0x1000, .span = 0xfff, .host = host,
		.flags = BED_RAM, .device = ram });
	bed_commit(bed);
	assert_int_equal(open_window(bed, 0x1100, 0xf00, MPL_FOR_BOTH,
				     &window), 0);
	assert_ptr_equal(window.host, host + 0x100);
	assert_int_equal(window.gpa, 0x1100);
	assert_int_equal(window.len, 0xf00);
	assert_false(mpl_window_is_stale(bed->reader, &window));
	assert_false(mpl_window_is_stale_sym(bed->reader, &window));
	/* What another space does is no concern of it. */
	bed_memory(bed, 1, 0, 0xfff, host, BED_RAM);
	assert_false(mpl_window_is_stale(bed->reader, &window));
	/* Its own space: stale, and stays so; yet the memory is kept. */
	bed_take(bed, 0, 0x1000);
	bed_commit(bed);
	assert_true(mpl_window_is_stale(bed->reader, &window));
	assert_true(mpl_window_is_stale_sym(bed->reader, &window));
	bed_settle(bed);
	assert_int_equal(bed->dp.retired_bytes, 0);
	assert_true(mpl_device_unpinned(ram)); /* not mapped any more */
	assert_int_equal(ram->refs, 2);
	((uint8_t *)window.host)[0] = 1;
	mpl_window_close(&window);
	assert_int_equal(ram->refs, 1);
	mpl_window_close(&window); /* closed is closed */
	assert_int_equal(ram->refs, 1);
}

#define HOST_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup, bed_teardown)

/* A host address as the map has it, without anything that a reader keeps. */
static void *plain_translation(struct bed *bed, unsigned int space,
			       uint64_t gpa, unsigned int intent)
{
	const struct mpl_section *section = mpl_lookup_uncached(
		bed->reader, &bed->as[space], gpa);

	return (section->flags & intent) == intent ?
		       section->host + (gpa - section->start) :
		       NULL;
}

enum { PART = 1 << 20, PARTS = 9 };

/* Put, take or replace a part of memory. */
static void change_part(struct bed *bed, unsigned int space, uint64_t random)
{
	uint64_t part = random % PARTS;
	uint64_t start = part * 2 * PART;
	/* Never touched: addresses are all that counts. */
	uint8_t *where = (uint8_t *)0x7000000000 + (random >> 32) * PART;

	if (bed_find(bed, space, start))
		bed_take(bed, space, start);
	if (random >> 16 & 3)
		bed_put(bed, space, &(struct mpl_section){
			.start = start,
			.span = (random >> 18 & 1) ? PART - 1 : PART / 32 - 1,
			.host = where,
			.flags = MPL_SECTION_READ |
				 (random >> 20 & 1 ? MPL_SECTION_WRITE : 0) });
	bed_commit(bed);
}

/* What a reader keeps of translations is never an old map's. */
static void test_changes(void **state)
{
	struct bed *bed = *state;
	uint64_t seed = 4711;

	for (int commit = 0; commit < 2000; commit++) {
		change_part(bed, bed_random(&seed) % 2, bed_random(&seed));
		for (int i = 0; i < 200; i++) {
			uint64_t random = bed_random(&seed);
			/* In bursts of their own, the one part or any. */
			uint64_t part = commit % 3 ? (uint64_t)commit % PARTS :
						     random % PARTS;
			uint64_t gpa = part * 2 * PART +
				       (random >> 8) % (PART + 64);
			unsigned int space = commit % 4 ? commit & 1 :
							  random >> 62 & 1;
			unsigned int intent = (unsigned int)(random >> 60) % 3 +
					      1;
			void *want = plain_translation(bed, space, gpa, intent);
			const struct mpl_address_space *as = &bed->as[space];
			size_t contiguous;
			void *at;

			mpl_translate(bed->reader, as, gpa, 1,
				      (enum mpl_intent)intent, &at,
				      &contiguous);
			assert_ptr_equal(at, want);
			assert_int_equal(contiguous, want != NULL);
			mpl_translate_burst(bed->reader, as, &gpa, 1, 1,
					    (enum mpl_intent)intent, &at);
			assert_ptr_equal(at, want);
		}
		if (commit % 3 == 0)
			bed_settle(bed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOST_TEST(test_translate),
		HOST_TEST(test_offset),
		HOST_TEST(test_agrees_with_accesses),
		HOST_TEST(test_kept_runs),
		HOST_TEST(test_given_up_slots),
		HOST_TEST(test_counts),
		HOST_TEST(test_window_errors),
		HOST_TEST(test_window),
		HOST_TEST(test_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
