/* SPDX-License-Identifier: BSD-3-Clause */
/* A map built at once is the map that inserting one by one gives. */
#include "dispatch/compile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch/retire.h"
#include "dispatch/verify.h"
#include "tests/support/bed.h"

#define ITEMS_MAX 600

struct built {
	struct mpl_compile compile;
	struct mpl_retired *stale;
	struct mpl_build_item items[ITEMS_MAX];
	uint32_t sections[ITEMS_MAX];
	size_t count;
};

static void put(struct bed *bed, struct built *built, uint64_t start,
		uint64_t last)
{
	const struct mpl_section section = {
		.start = start,
		.span = last - start,
		.device = bed->plain,
	};
	uint32_t index;

	assert_true(built->count < ITEMS_MAX);
	assert_int_equal(mpl_section_new(&bed->dp, &section, &index), 0);
	built->sections[built->count] = index;
	built->items[built->count++] = (struct mpl_build_item){
		.start = start,
		.last = last,
		.section = index,
	};
}

/* Equal entries, down to the leaves. */
static bool same(const struct bed *bed, uint32_t a, uint32_t b)
{
	uint32_t room_x[MPL_NODE_ENTRIES], room_y[MPL_NODE_ENTRIES];
	const uint32_t *x, *y;

	if (mpl_entry_is_section(a) || mpl_entry_is_section(b))
		return a == b;
	if (mpl_entry_shift(a) != mpl_entry_shift(b))
		return false;
	x = bed_node(bed, a, room_x);
	y = bed_node(bed, b, room_y);
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++)
		if (!same(bed, x[i], y[i]))
			return false;
	return true;
}

static void check(struct bed *bed, struct built *built)
{
	uint32_t inserted = MPL_ENTRY_EMPTY, root;

	built->stale = mpl_retired_new();
	mpl_compile_begin(&built->compile, &bed->dp, built->stale);
	for (size_t i = 0; i < built->count; i++)
		assert_int_equal(mpl_compile_insert(&built->compile, &inserted,
						    built->sections[i]),
				 0);
	assert_int_equal(mpl_compile_build(&built->compile, built->items,
					   built->count, &root),
			 0);
	assert_int_equal(
		mpl_verify_map(&bed->dp, root, built->sections, built->count),
		0);
	assert_true(same(bed, inserted, root));
	mpl_compile_cancel(&built->compile);
	mpl_retired_drop(built->stale);
	for (size_t i = 0; i < built->count; i++)
		mpl_section_free(&bed->dp, built->sections[i]);
	built->count = 0;
}

static void test_few(void **state)
{
	struct bed *bed = *state;
	static struct built built;

	check(bed, &built);
	put(bed, &built, 0, UINT64_MAX);
	check(bed, &built);
	put(bed, &built, UINT64_MAX, UINT64_MAX);
	check(bed, &built);
	put(bed, &built, 0, 0);
	put(bed, &built, UINT64_MAX, UINT64_MAX);
	check(bed, &built);
	put(bed, &built, 0, UINT64_MAX - 1);
	put(bed, &built, UINT64_MAX, UINT64_MAX);
	check(bed, &built);
	/* One that ends inside a block, and one that begins there. */
	put(bed, &built, 0x1000, 0xfffff7ff);
	put(bed, &built, 0xfffff800, 0x123456789);
	put(bed, &built, 0x12345678a, 0x12345678a);
	check(bed, &built);
}

static void test_random(void **state)
{
	struct bed *bed = *state;
	static struct built built;
	uint64_t seed = 5;

	for (int round = 0; round < 3000; round++) {
		size_t count =
			bed_random(&seed) % (round % 50 ? 12 : ITEMS_MAX);
		unsigned int bits = 1 + bed_random(&seed) % 40;
		uint64_t at = bed_random(&seed) >> bed_random(&seed) % 64;

		for (size_t i = 0; i < count; i++) {
			uint64_t mask =
				(UINT64_C(1) << bed_random(&seed) % bits) - 1;
			uint64_t gap = bed_random(&seed) % 3 ?
					       bed_random(&seed) & mask :
					       0;
			uint64_t span = bed_random(&seed) & mask;

			if (at > UINT64_MAX - gap - span - 1)
				break;
			put(bed, &built, at + gap, at + gap + span);
			at += gap + span + 1;
		}
		check(bed, &built);
	}
}

/* Out of nodes: an error, and nothing is lost. */
static void test_no_room(void **state)
{
	struct bed *bed = *state;
	static struct built built;
	uint32_t live = bed->dp.nodes.live, max = bed->dp.nodes.max;
	uint32_t root;

	for (uint64_t i = 0; i < 500; i++)
		put(bed, &built, i << 20, (i << 20) + 0xfff);
	bed->dp.nodes.max = bed->dp.nodes.count + 2;
	built.stale = mpl_retired_new();
	mpl_compile_begin(&built.compile, &bed->dp, built.stale);
	assert_int_not_equal(mpl_compile_build(&built.compile, built.items,
					       built.count, &root),
			     0);
	mpl_compile_cancel(&built.compile);
	mpl_retired_drop(built.stale);
	assert_int_equal(bed->dp.nodes.live, live);
	bed->dp.nodes.max = max;
	check(bed, &built);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_few),
		BED_TEST(test_random),
		BED_TEST(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
