/* SPDX-License-Identifier: BSD-3-Clause */
/* Bursts answer as single calls do, whatever lies side by side in them. */
#include <memplane/access.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/bed.h"

#define BURST_MAX 70
#define UNIT      0x400

static uint8_t host[2 << 20];

/* RAM, ROM, io and holes of one to eight units, from `base` on. */
static void fill(struct bed *bed, uint64_t base, uint64_t units, uint64_t *seed)
{
	uint64_t at = 0;

	while (at < units) {
		uint64_t size = 1 + bed_random(seed) % 8;
		uint64_t start = base + at * UNIT;
		uint64_t last = start + size * UNIT - 1;
		void *memory = host + bed_random(seed) % 1000 * 512;

		switch (bed_random(seed) % 4) {
		case 0:
			bed_memory(bed, 0, start, last, memory, BED_RAM);
			break;
		case 1:
			bed_memory(bed, 0, start, last, memory, BED_ROM);
			break;
		case 2:
			bed_io(bed, 0, start, last, bed->plain);
			break;
		}
		at += size;
	}
}

/* What a single look-up says of `len` bytes. */
static void *want_host(struct bed *bed, uint64_t gpa, size_t len,
		       enum mpl_intent intent)
{
	const struct mpl_section *section =
		mpl_lookup_uncached(bed->reader, &bed->as[0], gpa);
	uint64_t at = gpa - section->start;

	if (mpl_section_is_unassigned(section) ||
	    (section->flags & intent) != (uint32_t)intent || !len ||
	    len - 1 > section->span - at)
		return NULL;
	return section->host + at;
}

static void check_burst(struct bed *bed, const uint64_t *gpa,
			unsigned int count, size_t len, enum mpl_intent intent)
{
	const struct mpl_section *section[BURST_MAX + 1];
	void *got[BURST_MAX + 1];
	unsigned int found = 0;

	got[count] = bed;
	section[count] = NULL;
	assert_true(count <= BURST_MAX);
	for (unsigned int i = 0; i < count; i++)
		found += want_host(bed, gpa[i], len, intent) != NULL;
	assert_int_equal(mpl_translate_burst(bed->reader, &bed->as[0], gpa,
					     count, len, intent, got),
			 found);
	mpl_lookup_burst(bed->reader, &bed->as[0], gpa, count, section);
	for (unsigned int i = 0; i < count; i++) {
		assert_ptr_equal(got[i], want_host(bed, gpa[i], len, intent));
		assert_ptr_equal(
			section[i],
			mpl_lookup_uncached(bed->reader, &bed->as[0], gpa[i]));
	}
	/* Nothing is written behind the burst. */
	assert_ptr_equal(got[count], bed);
	assert_null(section[count]);
	/* What a burst remembers must not spoil single look-ups. */
	if (count)
		assert_ptr_equal(
			mpl_lookup(bed->reader, &bed->as[0], gpa[count - 1]),
			section[count - 1]);
}

static void test_random_maps(void **state)
{
	static const enum mpl_intent intents[] = { MPL_FOR_READ, MPL_FOR_WRITE,
						   MPL_FOR_BOTH };
	struct bed *bed = *state;
	uint64_t seed = 17;
	uint64_t gpa[BURST_MAX];

	fill(bed, 0, 400, &seed);
	fill(bed, UINT64_C(0xfffffffffff00000), 1024, &seed);
	bed_commit(bed);
	for (int round = 0; round < 20000; round++) {
		unsigned int count = bed_random(&seed) % (BURST_MAX + 1);
		/* Near each other, or all over both ends. */
		uint64_t spread = round % 3 ? 2 * UNIT : 500 * UNIT;
		uint64_t from = bed_random(&seed) % (400 * UNIT);

		for (unsigned int i = 0; i < count; i++) {
			gpa[i] = from + bed_random(&seed) % spread;
			if (round % 2 && bed_random(&seed) % 4 == 0)
				gpa[i] = ~gpa[i];
		}
		check_burst(bed, gpa, count, bed_random(&seed) % (3 * UNIT),
			    intents[round % 3]);
	}
}

static void test_one_section(void **state)
{
	struct bed *bed = *state;
	uint64_t gpa[16];

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	bed_commit(bed);
	for (uint64_t end = 0x1ff0; end <= 0x2002; end++) {
		for (unsigned int i = 0; i < 16; i++)
			gpa[i] = end - i * 8;
		check_burst(bed, gpa, 16, 8, MPL_FOR_WRITE);
	}
}

static void test_after_a_publish(void **state)
{
	struct bed *bed = *state;
	uint64_t gpa[16];

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	bed_commit(bed);
	for (unsigned int i = 0; i < 16; i++)
		gpa[i] = 0x1000 + i * 64;
	check_burst(bed, gpa, 16, 64, MPL_FOR_READ);
	bed_take(bed, 0, 0x1000);
	bed_memory(bed, 0, 0x1000, 0x11ff, host + 0x8000, BED_RAM);
	bed_commit(bed);
	check_burst(bed, gpa, 16, 64, MPL_FOR_READ);
	bed_settle(bed);
	check_burst(bed, gpa, 16, 64, MPL_FOR_READ);
}

/* Memory in several ranges is found in the slots for runs. */
static void test_several_ranges(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader *reader = bed->reader;
	uint64_t gpa[16], misses = 0;
	void *got[16];

	for (uint64_t i = 0; i < 8; i++)
		bed_memory(bed, 0, i << 22, (i << 22) + 0xfffff,
			   host + i * 0x1000, BED_RAM);
	bed_commit(bed);
	for (uint64_t round = 0; round < 200; round++) {
		for (uint64_t i = 0; i < 16; i++)
			gpa[i] = ((i * 5 + round) % 8 << 22) + round;
		assert_int_equal(mpl_translate_burst(reader, &bed->as[0], gpa,
						     16, 8, MPL_FOR_WRITE, got),
				 16);
		for (uint64_t i = 0; i < 16; i++)
			assert_ptr_equal(got[i],
					 host + (i * 5 + round) % 8 * 0x1000 +
						 round);
		if (!round)
			misses = reader->misses;
	}
	assert_int_equal(reader->misses, misses);
	/* What hits is not given up. */
	assert_int_equal(reader->translated.credit, MPL_EXTENT_PATIENCE);
	/* Not for another intent, length or map. */
	bed_take(bed, 0, 0);
	bed_memory(bed, 0, 0, 0xfffff, host + 0x9000, BED_ROM);
	bed_commit(bed);
	gpa[0] = 8;
	gpa[1] = (1 << 22) + 0xfffff - 7;
	gpa[2] = (1 << 22) + 0xfffff - 6;
	for (int again = 0; again < 3; again++) {
		assert_int_equal(mpl_translate_burst(reader, &bed->as[0], gpa,
						     3, 8, MPL_FOR_WRITE, got),
				 1);
		assert_null(got[0]);
		assert_ptr_equal(got[1], host + 0x1000 + 0xfffff - 7);
		assert_null(got[2]);
		assert_int_equal(mpl_translate_burst(reader, &bed->as[0], gpa,
						     3, 8, MPL_FOR_READ, got),
				 2);
		assert_ptr_equal(got[0], host + 0x9000 + 8);
	}
}

/* A burst begins in the section that the one before, or a look-up, was in. */
static void test_runs_go_on(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader *reader = bed->reader;
	const struct mpl_section *section[16];
	uint64_t gpa[16], misses = 0, hits = 0;

	bed_memory(bed, 0, 0x100000, 0x1fffff, host, BED_RAM);
	bed_memory(bed, 0, 0x200000, 0x2fffff, host, BED_RAM);
	bed_commit(bed);
	for (uint64_t round = 0; round < 50; round++) {
		for (unsigned int i = 0; i < 16; i++)
			gpa[i] = 0x100000 + round * 0x1000 + i * 8;
		if (round == 1) {
			misses = reader->misses;
			hits = reader->hits;
		}
		mpl_lookup_burst(reader, &bed->as[0], gpa, 16, section);
		for (unsigned int i = 0; i < 16; i++)
			assert_int_equal(section[i]->start, 0x100000);
	}
	assert_int_equal(reader->misses, misses);
	assert_int_equal(reader->hits, hits);
	/* It leaves in the middle; the next one begins where it ended. */
	for (unsigned int i = 8; i < 16; i++)
		gpa[i] += 0x100000;
	mpl_lookup_burst(reader, &bed->as[0], gpa, 16, section);
	assert_int_equal(reader->misses, misses + 1);
	for (unsigned int i = 0; i < 16; i++) {
		assert_int_equal(section[i]->start,
				 i < 8 ? 0x100000 : 0x200000);
		gpa[i] = 0x2ff000 + i;
	}
	mpl_lookup_burst(reader, &bed->as[0], gpa, 16, section);
	assert_ptr_equal(mpl_lookup(reader, &bed->as[0], 0x2fffff), section[0]);
	assert_int_equal(reader->misses, misses + 1);
	/* A hole is no section to begin in, a single address no run. */
	for (unsigned int i = 0; i < 16; i++)
		gpa[i] = 0x900000 + i;
	mpl_lookup_burst(reader, &bed->as[0], gpa, 16, section);
	assert_int_equal(reader->last_size, 0);
	gpa[0] = 0x100000;
	mpl_lookup_burst(reader, &bed->as[0], gpa, 1, section);
	assert_int_equal(reader->last_size, 0);
}

static void test_empty_map(void **state)
{
	struct bed *bed = *state;
	uint64_t gpa[20];

	for (unsigned int i = 0; i < 20; i++)
		gpa[i] = i % 2 ? i : UINT64_MAX - i;
	check_burst(bed, gpa, 20, 1, MPL_FOR_READ);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_random_maps),
		BED_TEST(test_one_section),
		BED_TEST(test_after_a_publish),
		BED_TEST(test_several_ranges),
		BED_TEST(test_runs_go_on),
		BED_TEST(test_empty_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
