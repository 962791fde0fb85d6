/* SPDX-License-Identifier: BSD-3-Clause */
/* Sets of pages, beside an array of bytes. */
#include "dispatch/dirty.h"

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/bed.h"

/* Sizes at which a level gets its next word, and one less and more. */
static const uint64_t sizes[] = { 1,	63,   64,   65,	    4095,
				  4096, 4097, 9999, 262143, 262145 };
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

struct naive {
	uint64_t pages;
	uint8_t *in;
};

static struct naive naive_new(uint64_t pages)
{
	struct naive naive = { .pages = pages, .in = calloc(pages, 1) };

	assert_non_null(naive.in);
	return naive;
}

static struct mpl_dirty_set *set_new(uint64_t pages)
{
	struct mpl_dirty_set *set = NULL;

	assert_int_equal(mpl_dirty_set_new(pages, &set), 0);
	return set;
}

/* No summary says "nothing" of what has something. */
static void check_summaries(const struct mpl_dirty_set *set)
{
	for (unsigned int i = 0; i + 1 < MPL_DIRTY_LEVELS; i++)
		for (uint64_t word = 0; word < set->words[i]; word++)
			if (set->level[i][word])
				assert_true(set->level[i + 1][word / 64] >>
						    (word % 64) & 1);
}

/* Runs, count and bitmap all say what the array says. */
static void check(const struct mpl_dirty_set *set, const struct naive *naive)
{
	uint64_t count = 0, page = 0, first, n;
	uint64_t words = (naive->pages + 63) / 64;
	uint64_t *bitmap = malloc(words * 8);

	assert_non_null(bitmap);
	check_summaries(set);
	for (uint64_t at = 0; mpl_dirty_set_next(set, at, &first, &n);
	     at = first + n) {
		assert_true(n && first >= at && first + n <= naive->pages);
		for (; page < first; page++)
			assert_false(naive->in[page]);
		for (; page < first + n; page++)
			assert_true(naive->in[page]);
		assert_true(page == naive->pages || !naive->in[page]);
		count += n;
	}
	for (; page < naive->pages; page++)
		assert_false(naive->in[page]);
	assert_int_equal(mpl_dirty_set_count(set), count);
	memset(bitmap, 0xa5, words * 8);
	mpl_dirty_set_bitmap(set, 0, naive->pages, bitmap);
	for (page = 0; page < words * 64; page++)
		assert_int_equal(bitmap[page / 64] >> (page % 64) & 1,
				 page < naive->pages && naive->in[page]);
	free(bitmap);
}

static void random_range(uint64_t pages, uint64_t *seed, uint64_t *first,
			 uint64_t *last)
{
	uint64_t most = bed_random(seed) % 3 ? 200 : pages;

	*first = bed_random(seed) % pages;
	*last = *first + bed_random(seed) % most;
	if (*last >= pages)
		*last = pages - 1;
}

static void do_mark(struct mpl_dirty_set *set, struct naive *naive,
		    uint64_t *seed)
{
	uint64_t first, last;

	random_range(naive->pages, seed, &first, &last);
	mpl_dirty_set_mark(set, first, last);
	memset(naive->in + first, 1, last - first + 1);
}

static void do_take(struct mpl_dirty_set *set, struct naive *naive,
		    struct mpl_dirty_set *into, struct naive *into_naive,
		    uint64_t *seed)
{
	uint64_t first, last;

	random_range(naive->pages, seed, &first, &last);
	mpl_dirty_set_take(set, first, last, into);
	for (uint64_t page = first; page <= last; page++) {
		into_naive->in[page] |= naive->in[page];
		naive->in[page] = 0;
	}
}

static void do_merge(struct mpl_dirty_set *set, struct naive *naive,
		     uint64_t *seed)
{
	uint64_t first, last, words;
	uint64_t *bitmap;

	random_range(naive->pages, seed, &first, &last);
	words = (last - first) / 64 + 1;
	/* Exactly as long as it says: a read beyond is found by asan. */
	bitmap = malloc(words * 8);
	assert_non_null(bitmap);
	for (uint64_t i = 0; i < words; i++)
		bitmap[i] = htole64(bed_random(seed) & bed_random(seed) &
				    (bed_random(seed) % 2 ? 0 : UINT64_MAX));
	mpl_dirty_set_merge(set, first, bitmap, last - first + 1);
	for (uint64_t i = 0; i <= last - first; i++)
		naive->in[first + i] |= le64toh(bitmap[i / 64]) >> (i % 64) & 1;
	free(bitmap);
}

static void do_remove(struct mpl_dirty_set *set, struct naive *naive,
		      uint64_t *seed)
{
	uint64_t first, last;

	random_range(naive->pages, seed, &first, &last);
	mpl_dirty_set_remove(set, first, last - first + 1);
	memset(naive->in + first, 0, last - first + 1);
}

static void test_random(void **state)
{
	uint64_t seed = 20;

	(void)state;
	for (size_t i = 0; i < SIZES; i++) {
		struct mpl_dirty_set *set = set_new(sizes[i]);
		struct mpl_dirty_set *into = set_new(sizes[i]);
		struct naive naive = naive_new(sizes[i]);
		struct naive into_naive = naive_new(sizes[i]);

		for (int step = 0; step < 60; step++) {
			do_mark(set, &naive, &seed);
			if (step % 3 == 0)
				do_merge(set, &naive, &seed);
			if (step % 2)
				do_take(set, &naive, into, &into_naive, &seed);
			do_remove(into, &into_naive, &seed);
			check(set, &naive);
			check(into, &into_naive);
		}
		mpl_dirty_set_clear(into);
		memset(into_naive.in, 0, sizes[i]);
		check(into, &into_naive);
		mpl_dirty_set_take(set, 0, sizes[i] - 1, into);
		check(into, &naive);
		for (unsigned int level = 0; level < MPL_DIRTY_LEVELS; level++)
			for (uint64_t w = 0; w < set->words[level]; w++)
				assert_true(set->level[level][w] == 0);
		free(naive.in);
		free(into_naive.in);
		mpl_dirty_set_free(set);
		mpl_dirty_set_free(into);
	}
}

/* Each bit of a merged bitmap, alone, at each alignment. */
static void test_merge_alignments(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < 70; page++)
		for (uint64_t i = 0; i < 130; i++) {
			struct mpl_dirty_set *set = set_new(200);
			uint64_t bitmap[3] = { 0 }, first, count;

			bitmap[i / 64] = htole64(UINT64_C(1) << (i % 64));
			mpl_dirty_set_merge(set, page, bitmap, 130);
			assert_true(mpl_dirty_set_next(set, 0, &first, &count));
			assert_int_equal(first, page + i);
			assert_int_equal(count, 1);
			assert_int_equal(mpl_dirty_set_count(set), 1);
			mpl_dirty_set_free(set);
		}
}

/* What lies behind the last page of a bitmap is not part of it. */
static void test_merge_tail(void **state)
{
	const uint64_t ones[2] = { UINT64_MAX, UINT64_MAX };
	uint64_t first, count;

	(void)state;
	for (uint64_t pages = 1; pages <= 128; pages++)
		for (uint64_t page = 0; page <= 65; page += 5) {
			struct mpl_dirty_set *set = set_new(300);

			mpl_dirty_set_merge(set, page, ones, pages);
			assert_true(mpl_dirty_set_next(set, 0, &first, &count));
			assert_int_equal(first, page);
			assert_int_equal(count, pages);
			mpl_dirty_set_free(set);
		}
}

static void test_bitmap_of_a_part(void **state)
{
	struct mpl_dirty_set *set = set_new(1000);
	uint64_t bitmap[3];

	(void)state;
	mpl_dirty_set_mark(set, 100, 199);
	mpl_dirty_set_mark(set, 230, 230);
	memset(bitmap, 0xa5, sizeof(bitmap));
	mpl_dirty_set_bitmap(set, 190, 100, bitmap);
	assert_true(bitmap[0] == (0x3ff | UINT64_C(1) << 40));
	assert_true(bitmap[1] == 0);
	assert_true(bitmap[2] == UINT64_C(0xa5a5a5a5a5a5a5a5));
	mpl_dirty_set_free(set);
}

static size_t resident(const struct mpl_dirty_set *set)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), count = 0;
	size_t n = (set->bytes + page - 1) / page;
	unsigned char *in = malloc(n);

	assert_non_null(in);
	assert_int_equal(mincore((void *)set, set->bytes, in), 0);
	for (size_t i = 0; i < n; i++)
		count += in[i] & 1;
	free(in);
	return count;
}

/* 1 TiB costs what is used of it, also to look through. */
static void test_sparse(void **state)
{
	const uint64_t pages = UINT64_C(1) << 28;
	struct mpl_dirty_set *set = set_new(pages), *into = set_new(pages);
	uint64_t first, count;

	(void)state;
	mpl_dirty_set_mark(set, 5, 5);
	mpl_dirty_set_mark(set, pages / 2, pages / 2 + 1);
	mpl_dirty_set_mark(set, pages - 1, pages - 1);
	assert_true(resident(set) < 64);
	mpl_dirty_set_take(set, 0, pages - 1, into);
	assert_true(resident(into) < 64);
	assert_int_equal(mpl_dirty_set_count(into), 4);
	assert_true(mpl_dirty_set_next(into, 6, &first, &count));
	assert_true(first == pages / 2 && count == 2);
	assert_true(mpl_dirty_set_next(into, first + count, &first, &count));
	assert_true(first == pages - 1 && count == 1);
	assert_false(mpl_dirty_set_next(into, pages, &first, &count));
	assert_false(mpl_dirty_set_next(set, 0, &first, &count));
	mpl_dirty_set_free(set);
	mpl_dirty_set_free(into);
}

/*
 * What is left of a word that was taken in part still has its summaries, and
 * a taker that stands between two levels loses nothing that comes meanwhile.
 */
static void test_interleaved(void **state)
{
	struct mpl_dirty_set *set = set_new(8192), *into = set_new(8192);

	(void)state;
	mpl_dirty_set_mark(set, 10, 20);
	mpl_dirty_set_take(set, 12, 13, into);
	assert_int_equal(mpl_dirty_set_count(set), 9);
	check_summaries(set);
	/* Taken down to level 1; then a writer comes to the same page. */
	set->level[2][0] = 0;
	set->level[1][0] = 0;
	mpl_dirty_set_mark(set, 10, 10);
	check_summaries(set);
	mpl_dirty_set_take(set, 0, 8191, into);
	assert_int_equal(mpl_dirty_set_count(into), 11);
	mpl_dirty_set_free(set);
	mpl_dirty_set_free(into);
}

static void test_errors(void **state)
{
	struct mpl_dirty_set *set = NULL;

	(void)state;
	assert_int_equal(mpl_dirty_set_new(0, &set), -EINVAL);
	assert_int_equal(mpl_dirty_set_new(UINT64_MAX, &set), -E2BIG);
	assert_int_equal(mpl_dirty_set_new(MPL_DIRTY_MAX / MPL_DIRTY_PAGE + 1,
					   &set), -E2BIG);
	assert_null(set);
	mpl_dirty_set_free(NULL);
	set = set_new(MPL_DIRTY_MAX / MPL_DIRTY_PAGE);
	mpl_dirty_set_remove(set, UINT64_MAX, 1);
	mpl_dirty_set_remove(set, 0, UINT64_MAX);
	mpl_dirty_set_free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_merge_alignments),
		cmocka_unit_test(test_merge_tail),
		cmocka_unit_test(test_bitmap_of_a_part),
		cmocka_unit_test(test_sparse),
		cmocka_unit_test(test_interleaved),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
