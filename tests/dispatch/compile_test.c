/* SPDX-License-Identifier: BSD-3-Clause */
/* Maps after any history against a plain list, and against a fresh build. */
#include "dispatch/compile.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch/publish.h"
#include "dispatch/retire.h"
#include "dispatch/verify.h"
#include "tests/support/bed.h"

/* Which section a walk from `root` finds; 0: unassigned. */
static uint32_t look(const struct bed *bed, uint32_t root, uint64_t gpa)
{
	const struct mpl_section *section = mpl_walk(bed->reader, root, gpa);

	return mpl_section_covers(section, gpa) ? section->id : 0;
}

/* Same shape, same sections: maps of the same ranges are equal. */
static void assert_same_map(const struct bed *bed, uint32_t a, uint32_t b)
{
	uint32_t room_x[MPL_NODE_ENTRIES], room_y[MPL_NODE_ENTRIES];
	const uint32_t *x, *y;

	if (mpl_entry_is_section(a) || mpl_entry_is_section(b)) {
		assert_int_equal(a, b);
		return;
	}
	assert_int_equal(mpl_entry_shift(a), mpl_entry_shift(b));
	x = bed_node(bed, a, room_x);
	y = bed_node(bed, b, room_y);
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++)
		assert_same_map(bed, x[i], y[i]);
}

/* The map of a space is the one that a build from nothing gives. */
static void assert_canonical(struct bed *bed, unsigned int space)
{
	const struct mpl_indexes *list = &bed->sections[space];
	uint32_t root = MPL_ENTRY_EMPTY;
	uint32_t live = bed->dp.nodes.live;
	struct mpl_retired *stale = mpl_retired_new();
	struct mpl_compile compile;

	assert_false(bed->open);
	mpl_compile_begin(&compile, &bed->dp, stale);
	for (size_t i = 0; i < list->count; i++) {
		/* Not in order of address either. */
		size_t at = (i * 7919 + 13) % list->count;

		if (list->count % 7919 == 0)
			at = i;
		assert_int_equal(mpl_compile_insert(&compile, &root,
						    list->items[at]), 0);
	}
	assert_int_equal(stale->nodes.count, 0);
	assert_same_map(bed, bed->root[space], root);
	mpl_compile_cancel(&compile);
	mpl_retired_drop(stale);
	assert_int_equal(bed->dp.nodes.live, live);
}

static void assert_verified(const struct bed *bed, unsigned int space)
{
	if (mpl_verify_map(&bed->dp, bed->root[space],
			   bed->sections[space].items,
			   bed->sections[space].count))
		fail_msg("%s", bed->log);
}

static void assert_looks(const struct bed *bed, unsigned int space,
			 uint64_t gpa)
{
	assert_int_equal(look(bed, bed->root[space], gpa),
			 bed_find(bed, space, gpa));
}

/* Every boundary, the bytes beside it, and places between. */
static void assert_boundaries(const struct bed *bed, unsigned int space)
{
	for (size_t i = 0; i < bed->sections[space].count; i++) {
		const struct mpl_section *section = mpl_section_at(
			&bed->dp, bed->sections[space].items[i]);
		uint64_t last = mpl_section_last(section);

		assert_looks(bed, space, section->start);
		assert_looks(bed, space, section->start - 1);
		assert_looks(bed, space, section->start + section->span / 3);
		assert_looks(bed, space, last);
		assert_looks(bed, space, last + 1);
		for (unsigned int bit = 0; bit < 64; bit += 3)
			assert_looks(bed, space,
				     last ^ (UINT64_C(1) << bit));
	}
}

static uint32_t put(struct bed *bed, uint64_t start, uint64_t last)
{
	return bed_put(bed, 0, &(struct mpl_section){ .start = start,
						      .span = last - start });
}

static void test_empty(void **state)
{
	struct bed *bed = *state;

	assert_int_equal(bed->root[0], MPL_ENTRY_EMPTY);
	assert_verified(bed, 0);
	assert_looks(bed, 0, 0);
	assert_looks(bed, 0, UINT64_MAX);
}

/* One section needs no node, however large or small. */
static void test_single(void **state)
{
	static const uint64_t ranges[][2] = {
		{ 0, 0 }, { 0, UINT64_MAX }, { UINT64_MAX, UINT64_MAX },
		{ 0, 0xfff }, { 1, UINT64_MAX - 1 },
		{ 0xfe000000, 0xfe000fff },
		{ UINT64_C(1) << 63, UINT64_MAX },
	};
	struct bed *bed = *state;

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		uint32_t id = put(bed, ranges[i][0], ranges[i][1]);

		bed_commit(bed);
		assert_int_equal(bed->root[0], mpl_entry_section(id));
		assert_verified(bed, 0);
		assert_boundaries(bed, 0);
		bed_take(bed, 0, ranges[i][0]);
		bed_commit(bed);
		assert_int_equal(bed->root[0], MPL_ENTRY_EMPTY);
		bed_settle(bed);
		assert_int_equal(bed->dp.nodes.live, 0);
	}
}

/* The example of dispatch.h: one node is the whole map. */
static void test_documented_example(void **state)
{
	struct bed *bed = *state;
	uint32_t ram = put(bed, 0, 0xbfffffff);
	uint32_t uart = put(bed, 0xfe000000, 0xfe000fff);
	unsigned int shift = 31 / MPL_NODE_BITS * MPL_NODE_BITS;
	const uint32_t *node;

	bed_commit(bed);
	assert_int_equal(bed->root[0] & MPL_ENTRY_SHIFT_MASK, shift);
	node = mpl_arena_at(&bed->dp.nodes, bed_index(bed->root[0]));
	for (uint64_t i = 0; i < MPL_NODE_ENTRIES; i++) {
		uint32_t expected = MPL_ENTRY_EMPTY;

		if (i << shift <= 0xbfffffff)
			expected = mpl_entry_section(ram);
		else if (i == 0xfe000000u >> shift)
			expected = mpl_entry_section(uart);
		assert_int_equal(node[i], expected);
	}
	assert_int_equal(bed->dp.nodes.live, 1);
	assert_boundaries(bed, 0);
}

/* The shift is the greatest on the grid that tells the two apart. */
static void test_shifts(void **state)
{
	struct bed *bed = *state;

	for (unsigned int bit = 0; bit < 64; bit++) {
		uint64_t high = UINT64_C(1) << bit;

		put(bed, 0, 0);
		put(bed, high, high);
		bed_commit(bed);
		assert_int_equal(bed->root[0] & MPL_ENTRY_SHIFT_MASK,
				 bit / MPL_NODE_BITS * MPL_NODE_BITS);
		assert_verified(bed, 0);
		assert_boundaries(bed, 0);
		bed_take(bed, 0, 0);
		bed_take(bed, 0, high);
		bed_commit(bed);
		bed_settle(bed);
		assert_int_equal(bed->dp.nodes.live, 0);
	}
}

/* All 2^64 addresses full, cut in every place. */
static void test_cut_everything(void **state)
{
	struct bed *bed = *state;

	for (unsigned int bit = 0; bit < 64; bit++) {
		uint64_t cut = (UINT64_C(1) << bit) +
			       (bit > 3 && bit % 2 ? 3 : 0);

		put(bed, 0, cut - 1);
		put(bed, cut, UINT64_MAX);
		bed_commit(bed);
		assert_verified(bed, 0);
		assert_canonical(bed, 0);
		assert_boundaries(bed, 0);
		bed_take(bed, 0, 0);
		bed_commit(bed);
		assert_verified(bed, 0);
		bed_take(bed, 0, UINT64_MAX);
		bed_commit(bed);
		bed_settle(bed);
	}
	assert_int_equal(bed->dp.nodes.live, 0);
}

/* Single bytes side by side, across a node's and a page's end. */
static void test_single_bytes(void **state)
{
	struct bed *bed = *state;

	for (uint64_t gpa = 0xf80; gpa < 0x1080; gpa++)
		put(bed, gpa, gpa);
	put(bed, 0, 0);
	put(bed, UINT64_MAX, UINT64_MAX);
	put(bed, UINT64_MAX - 1, UINT64_MAX - 1);
	bed_commit(bed);
	assert_verified(bed, 0);
	assert_canonical(bed, 0);
	assert_boundaries(bed, 0);
	for (uint64_t gpa = 0xf80; gpa < 0x1080; gpa += 2)
		bed_take(bed, 0, gpa);
	bed_commit(bed);
	assert_verified(bed, 0);
	assert_canonical(bed, 0);
	assert_boundaries(bed, 0);
}

static uint64_t random_gpa(uint64_t *seed)
{
	uint64_t value = bed_random(seed);

	switch (bed_random(seed) % 8) {
	case 0:
		return value; /* anywhere */
	case 1:
		return UINT64_MAX - value % 3000;
	case 2:
	case 3:
		return value % 600; /* bytes */
	case 4:
		return (value % 64) << (value / 64 % 10 * 6); /* grid */
	default:
		return 0xfe000000 + value % 4096 * 256;
	}
}

/* A random range that is free, or an empty one (start > last). */
static bool random_free_range(struct bed *bed, uint64_t *seed, uint64_t *start,
			      uint64_t *last)
{
	uint64_t most = bed_random(seed) % 3 ? 0x1000 : UINT64_MAX;

	*start = random_gpa(seed);
	if (bed_find(bed, 0, *start))
		return false;
	*last = random_gpa(seed);
	if (*last < *start || *last - *start > most)
		*last = *start;
	for (size_t i = 0; i < bed->sections[0].count; i++) {
		const struct mpl_section *section = mpl_section_at(
			&bed->dp, bed->sections[0].items[i]);

		if (section->start > *start && section->start <= *last)
			*last = section->start - 1;
	}
	return true;
}

static void random_change(struct bed *bed, uint64_t *seed, bool growing)
{
	size_t count = bed->sections[0].count;
	uint64_t start, last;

	if (count && bed_random(seed) % 4 < (growing ? 1 : 3)) {
		size_t at = bed_random(seed) % count;

		start = mpl_section_at(&bed->dp,
				       bed->sections[0].items[at])->start;
		bed_take(bed, 0, start);
	} else if (random_free_range(bed, seed, &start, &last)) {
		put(bed, start, last);
	}
}

static void test_random(void **state)
{
	struct bed *bed = *state;

	for (uint64_t run = 1; run <= 12; run++) {
		uint64_t seed = run;

		for (int commit = 0; commit < 150; commit++) {
			unsigned int changes = 1 + bed_random(&seed) % 4;

			while (changes--)
				random_change(bed, &seed,
					      commit / 40 % 2 == 0);
			bed_commit(bed);
			assert_verified(bed, 0);
			assert_boundaries(bed, 0);
			assert_canonical(bed, 0);
			if (commit % 5 == 0)
				bed_settle(bed);
		}
	}
}

/* Answers of an old map, to hold it to. */
struct answers {
	uint64_t gpa[400];
	uint32_t id[400];
	size_t count;
};

static void note_answers(const struct bed *bed, struct answers *answers)
{
	answers->count = 0;
	for (size_t i = 0; i < bed->sections[0].count; i++) {
		const struct mpl_section *section = mpl_section_at(
			&bed->dp, bed->sections[0].items[i]);

		if (answers->count + 3 > 400)
			break;
		answers->gpa[answers->count++] = section->start - 1;
		answers->gpa[answers->count++] = section->start;
		answers->gpa[answers->count++] = mpl_section_last(section);
	}
	for (size_t i = 0; i < answers->count; i++)
		answers->id[i] = look(bed, bed->root[0], answers->gpa[i]);
}

static void assert_answers(const struct bed *bed, uint32_t root,
			   const struct answers *answers)
{
	for (size_t i = 0; i < answers->count; i++)
		assert_int_equal(look(bed, root, answers->gpa[i]),
				 answers->id[i]);
}

/* Readers of the old map never notice what compile does. */
static void test_old_root_still_answers(void **state)
{
	struct bed *bed = *state;
	struct answers answers;
	uint64_t seed = 99;

	for (int i = 0; i < 60; i++)
		random_change(bed, &seed, true);
	bed_commit(bed);
	bed_settle(bed);
	for (int round = 0; round < 30; round++) {
		uint32_t old = bed->root[0];

		note_answers(bed, &answers);
		for (int i = 0; i < 8; i++) {
			random_change(bed, &seed, i % 2);
			assert_answers(bed, old, &answers);
		}
		bed_commit(bed);
		assert_answers(bed, old, &answers);
		/* Retired, but this reader was not quiescent yet. */
		mpl_retire_poll(&bed->dp);
		assert_answers(bed, old, &answers);
		bed_settle(bed);
		assert_verified(bed, 0);
	}
}

/* A compile that is cancelled never was. */
static void test_cancel(void **state)
{
	struct bed *bed = *state;
	struct answers answers;
	uint64_t seed = 5;

	for (int i = 0; i < 60; i++)
		random_change(bed, &seed, true);
	bed_commit(bed);
	bed_settle(bed);
	note_answers(bed, &answers);
	for (int round = 0; round < 40; round++) {
		uint32_t nodes = bed_nodes(bed), notes = bed->dp.notes.live;
		uint32_t root = bed->root[0];
		struct mpl_retired *stale = mpl_retired_new();
		struct mpl_compile compile;

		mpl_compile_begin(&compile, &bed->dp, stale);
		for (int i = 0; i < 10 + round; i++) {
			size_t at = bed_random(&seed) % bed->sections[0].count;
			uint32_t id = bed->sections[0].items[at];

			assert_int_equal(mpl_compile_remove(&compile, &root,
							    id), 0);
			if (i % 3)
				assert_int_equal(mpl_compile_insert(
					&compile, &root, id), 0);
		}
		if (round % 2)
			mpl_compile_seal(&compile, &root, 0, UINT64_MAX);
		mpl_compile_cancel(&compile);
		mpl_retired_drop(stale);
		assert_int_equal(bed_nodes(bed), nodes);
		assert_int_equal(bed->dp.notes.live, notes);
		assert_answers(bed, bed->root[0], &answers);
		assert_verified(bed, 0);
		assert_canonical(bed, 0);
	}
}

/* Fresh nodes are written in place, stale ones are listed once. */
static void test_bookkeeping(void **state)
{
	struct bed *bed = *state;
	struct mpl_retired *stale = mpl_retired_new();
	struct mpl_retired *taken_back = mpl_retired_new();
	struct mpl_compile compile;
	uint32_t root, live, id, other;

	put(bed, 0, 0xfff);
	put(bed, 0x40000000, 0x40000fff);
	id = put(bed, 0x40001000, 0x40001fff);
	other = put(bed, 0x40002000, 0x40002fff);
	bed_commit(bed);
	bed_settle(bed);
	live = bed->dp.nodes.live;
	assert_int_equal(live, 2);
	root = bed->root[0];
	mpl_compile_begin(&compile, &bed->dp, stale);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(mpl_compile_remove(&compile, &root, id), 0);
		assert_int_equal(mpl_compile_remove(&compile, &root, other),
				 0);
		assert_int_equal(mpl_compile_insert(&compile, &root, id), 0);
		assert_int_equal(mpl_compile_insert(&compile, &root, other),
				 0);
		/* Two nodes on the path, whatever is done to it. */
		assert_int_equal(stale->nodes.count, 2);
		assert_int_equal(bed->dp.nodes.live, live + 2);
	}
	assert_int_not_equal(stale->nodes.items[0], stale->nodes.items[1]);
	/* Published and taken back: the fresh ones are retired instead. */
	assert_int_equal(mpl_compile_list_fresh(&compile, taken_back), 0);
	assert_int_equal(taken_back->nodes.count, 2);
	mpl_compile_forget(&compile);
	assert_int_equal(bed->dp.nodes.live, live + 2);
	mpl_retire(&bed->dp, taken_back);
	bed_settle(bed);
	assert_int_equal(bed->dp.nodes.live, live);
	mpl_retired_drop(stale);
	assert_verified(bed, 0);
}

/* Discard names every node of a map once, and frees none. */
static void test_discard(void **state)
{
	struct bed *bed = *state;
	struct mpl_retired *stale = mpl_retired_new();
	struct mpl_compile compile;
	uint64_t seed = 3;
	uint32_t nodes;

	for (int i = 0; i < 80; i++)
		random_change(bed, &seed, true);
	bed_commit(bed);
	bed_settle(bed);
	nodes = bed->dp.nodes.live;
	assert_true(nodes > 5);
	mpl_compile_begin(&compile, &bed->dp, stale);
	assert_int_equal(mpl_compile_discard(&compile, bed->root[0]), 0);
	assert_int_equal(stale->nodes.count, nodes);
	for (size_t i = 0; i < nodes; i++)
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(stale->nodes.items[i],
					     stale->nodes.items[j]);
	assert_int_equal(mpl_compile_discard(&compile, MPL_ENTRY_EMPTY), 0);
	assert_int_equal(stale->nodes.count, nodes);
	mpl_compile_cancel(&compile);
	mpl_retired_drop(stale);
	assert_int_equal(bed->dp.nodes.live, nodes);
	assert_verified(bed, 0);
}

/* n ranges of 4 KiB with holes between. */
static void put_many(struct bed *bed, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		put(bed, i * 0x2000, i * 0x2000 + 0xfff);
	bed_commit(bed);
	bed_settle(bed);
}

static uint64_t nodes_of_toggle(struct bed *bed, uint64_t gpa)
{
	uint64_t before = bed->dp.nodes_made;

	bed_take(bed, 0, gpa);
	bed_commit(bed);
	put(bed, gpa, gpa + 0xfff);
	bed_commit(bed);
	bed_settle(bed);
	return bed->dp.nodes_made - before;
}

/* What a change costs depends on the depth, not on how much there is. */
static void test_cost_of_a_toggle(void **state)
{
	uint64_t made[4];

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		struct bed *bed = bed_new();
		uint64_t n = 8u << (4 * i); /* 8, 128, 2048, 32768 */
		uint32_t live;

		put_many(bed, n);
		live = bed->dp.nodes.live;
		made[i] = nodes_of_toggle(bed, n / 2 * 0x2000);
		assert_int_equal(bed->dp.nodes.live, live);
		for (int again = 0; again < 20; again++)
			assert_int_equal(nodes_of_toggle(bed, n / 2 * 0x2000),
					 made[i]);
		assert_int_equal(bed->dp.nodes.live, live);
		/* A node a level at most, for each of the two commits. */
		assert_in_range(made[i], 1,
				2 * ((16 + 4 * i) / MPL_NODE_BITS + 1));
		bed_free(bed);
	}
	assert_true(made[3] <= made[0] + 2 * (12 / MPL_NODE_BITS + 1));
}

static void test_many(void **state)
{
	struct bed *bed = *state;
	uint64_t n = 65536;

	put_many(bed, n);
	assert_verified(bed, 0);
	assert_canonical(bed, 0);
	for (uint64_t i = 0; i < n; i += 17) {
		assert_looks(bed, 0, i * 0x2000);
		assert_looks(bed, 0, i * 0x2000 + 0xfff);
		assert_looks(bed, 0, i * 0x2000 + 0x1000);
	}
	for (uint64_t i = 1; i < n; i += 2)
		bed_take(bed, 0, i * 0x2000);
	bed_commit(bed);
	assert_verified(bed, 0);
	assert_canonical(bed, 0);
}

/* Two address spaces share nothing. */
static void test_two_spaces(void **state)
{
	struct bed *bed = *state;
	uint64_t seed = 21;

	for (int i = 0; i < 100; i++) {
		random_change(bed, &seed, true);
		bed_commit(bed);
	}
	bed_put(bed, 1, &(struct mpl_section){ .start = 5, .span = 5 });
	bed_put(bed, 1, &(struct mpl_section){ .start = 11, .span = 4 });
	bed_commit(bed);
	assert_verified(bed, 1);
	while (bed->sections[0].count)
		random_change(bed, &seed, false);
	bed_commit(bed);
	bed_settle(bed);
	assert_int_equal(bed_nodes(bed), 1);
	assert_verified(bed, 1);
	assert_boundaries(bed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_empty),
		BED_TEST(test_single),
		BED_TEST(test_documented_example),
		BED_TEST(test_shifts),
		BED_TEST(test_cut_everything),
		BED_TEST(test_single_bytes),
		BED_TEST(test_random),
		BED_PACKED_TEST(test_random),
		BED_TEST(test_old_root_still_answers),
		BED_PACKED_TEST(test_old_root_still_answers),
		BED_TEST(test_cancel),
		BED_PACKED_TEST(test_cancel),
		BED_TEST(test_bookkeeping),
		BED_TEST(test_discard),
		cmocka_unit_test(test_cost_of_a_toggle),
		BED_TEST(test_many),
		BED_TEST(test_two_spaces),
		BED_PACKED_TEST(test_two_spaces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
