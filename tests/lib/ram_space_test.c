/* SPDX-License-Identifier: BSD-3-Clause */
/* Ram addresses against a naive best fit over a list of blocks. */
#include "lib/ram_space.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SPACE (MPL_RAM_SPACE_LAST + 1)

enum { BLOCKS = 60 };

/* Ascending, disjoint. */
struct model {
	struct {
		uint64_t start;
		uint64_t length;
	} block[BLOCKS];
	unsigned int count;
};

static uint64_t gap_start(const struct model *model, unsigned int i)
{
	return i ? model->block[i - 1].start + model->block[i - 1].length : 0;
}

static uint64_t gap_end(const struct model *model, unsigned int i)
{
	return i < model->count ? model->block[i].start : SPACE;
}

static void model_put(struct model *model, unsigned int at, uint64_t start,
		      uint64_t length)
{
	memmove(&model->block[at + 1], &model->block[at],
		(model->count - at) * sizeof(model->block[0]));
	model->block[at].start = start;
	model->block[at].length = length;
	model->count++;
}

/* Every gap is looked at: the shortest that will do, the lowest of those. */
static bool model_take(struct model *model, uint64_t length, uint64_t align,
		       uint64_t *start)
{
	uint64_t best = UINT64_MAX;
	unsigned int where = 0;

	for (unsigned int i = 0; i <= model->count; i++) {
		uint64_t from = gap_start(model, i), end = gap_end(model, i);
		uint64_t fits = (from + align - 1) / align * align;

		if (fits + length > end || end - from >= best)
			continue;
		best = end - from;
		where = i;
		*start = fits;
	}
	if (best == UINT64_MAX)
		return false;
	model_put(model, where, *start, length);
	return true;
}

static bool model_take_at(struct model *model, uint64_t start, uint64_t length)
{
	for (unsigned int i = 0; i <= model->count; i++)
		if (start >= gap_start(model, i) &&
		    start + length <= gap_end(model, i)) {
			model_put(model, i, start, length);
			return true;
		}
	return false;
}

static void give(struct model *model, struct mpl_ram_space *space,
		 unsigned int i)
{
	uint64_t start = model->block[i].start;
	uint64_t length = model->block[i].length;

	mpl_ram_space_give(space, start, length, start - gap_start(model, i),
			   gap_end(model, i + 1) - start - length);
	model->count--;
	memmove(&model->block[i], &model->block[i + 1],
		(model->count - i) * sizeof(model->block[0]));
}

static void assert_like(const struct mpl_ram_space *space,
			const struct model *model)
{
	size_t gaps = 0;

	for (unsigned int i = 0; i <= model->count; i++) {
		uint64_t start = gap_start(model, i);
		uint64_t length = gap_end(model, i) - start;
		bool found = false;

		if (!length)
			continue;
		gaps++;
		for (size_t k = 0; k < space->gaps.count; k++)
			found |= space->gaps.items[k].start == start &&
				 space->gaps.items[k].length == length;
		assert_true(found);
	}
	assert_int_equal(gaps, space->gaps.count);
	assert_int_equal(space->taken, model->count);
}

static void test_random(void **state)
{
	static const uint64_t align[] = { 0x1000, 0x1000, 0x200000,
					  0x40000000 };
	struct mpl_ram_space space;
	struct model model = { .count = 0 };

	(void)state;
	srand(11);
	assert_int_equal(mpl_ram_space_init(&space), 0);
	for (unsigned int round = 0; round < 20000; round++) {
		uint64_t length = (uint64_t)(rand() % 9 + 1)
				  << 12 << 9 * (rand() % 3);
		uint64_t a = align[rand() % 4], got = 0, wanted = 1;

		if (model.count == BLOCKS - 1 || rand() % 2) {
			if (model.count)
				give(&model, &space,
				     (unsigned int)rand() % model.count);
		} else if (rand() % 4) {
			assert_true(model_take(&model, length, a, &wanted));
			assert_int_equal(
				mpl_ram_space_take(&space, length, a, &got), 0);
			assert_int_equal(got, wanted);
		} else {
			wanted = (uint64_t)(rand() % 4096) << 12;
			assert_int_equal(
				mpl_ram_space_take_at(&space, wanted, length),
				model_take_at(&model, wanted, length) ?
					0 :
					-EEXIST);
		}
		assert_like(&space, &model);
	}
	while (model.count)
		give(&model, &space, 0);
	assert_like(&space, &model);
	mpl_ram_space_destroy(&space);
}

/* Blocks side by side, then every second goes: all gaps find room. */
static void test_giving_back_never_grows(void **state)
{
	struct mpl_ram_space space;
	struct model model = { .count = 0 };
	uint64_t start, same;
	size_t room;

	(void)state;
	assert_int_equal(mpl_ram_space_init(&space), 0);
	for (unsigned int i = 0; i < 40; i++) {
		assert_true(model_take(&model, 0x1000, 0x1000, &same));
		assert_int_equal(
			mpl_ram_space_take(&space, 0x1000, 0x1000, &start), 0);
	}
	room = space.gaps.capacity;
	for (unsigned int i = 0; i < 20; i++)
		give(&model, &space, i);
	assert_int_equal(space.gaps.capacity, room);
	assert_true(space.gaps.count <= room);
	assert_like(&space, &model);
	mpl_ram_space_destroy(&space);
}

static void test_full(void **state)
{
	struct mpl_ram_space space;
	uint64_t start;

	(void)state;
	assert_int_equal(mpl_ram_space_init(&space), 0);
	assert_int_equal(mpl_ram_space_take(&space, SPACE, 0x1000, &start), 0);
	assert_int_equal(mpl_ram_space_take(&space, 0x1000, 0x1000, &start),
			 -ENOSPC);
	mpl_ram_space_give(&space, 0, SPACE, 0, 0);
	assert_int_equal(mpl_ram_space_take_at(&space, SPACE - 0x1000, 0x2000),
			 -EEXIST);
	mpl_ram_space_destroy(&space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_giving_back_never_grows),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
