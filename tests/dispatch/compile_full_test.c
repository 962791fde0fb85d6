/* SPDX-License-Identifier: BSD-3-Clause */
/* Compile without room for another node. */
#include "dispatch/compile.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "dispatch/retire.h"
#include "dispatch/verify.h"
#include "tests/support/bed.h"

static void assert_verified(const struct bed *bed)
{
	if (mpl_verify_map(&bed->dp, bed->root[0], bed->sections[0].items,
			   bed->sections[0].count))
		fail_msg("%s", bed->log);
}

static uint32_t put(struct bed *bed, uint64_t start, uint64_t last)
{
	return bed_put(bed, 0, &(struct mpl_section){ .start = start,
						      .span = last - start });
}

/* Give the data plane room for few nodes. */
static void limit_nodes(struct bed *bed, uint32_t max)
{
	struct mpl_reader_state *reader;

	assert_int_equal(bed->dp.nodes.live, 0);
	assert_int_equal(mpl_reader_unregister(bed->reader), 0);
	mpl_arena_destroy(&bed->dp.nodes);
	mpl_arena_destroy(&bed->dp.notes);
	assert_int_equal(mpl_arena_init(&bed->dp.nodes,
					MPL_NODE_ENTRIES * sizeof(uint32_t),
					max), 0);
	assert_int_equal(mpl_arena_init(&bed->dp.notes,
					sizeof(struct mpl_node_note), max), 0);
	assert_int_equal(mpl_reader_add(&bed->dp, false, &reader), 0);
	bed->reader = &reader->pub;
	assert_int_equal(mpl_reader_online(bed->reader), 0);
}

/* Out of nodes, after any number of steps: unwound without a leak. */
static void test_full(void **state)
{
	(void)state;
	for (uint32_t max = 4; max < 40; max++) {
		struct bed *bed = bed_new();
		struct mpl_retired *stale = mpl_retired_new();
		struct mpl_compile compile;
		uint32_t root, live, id[800], n = 0;
		uint64_t seed = max;
		int err = 0;

		limit_nodes(bed, max);
		put(bed, 0, 0);
		put(bed, 0x1000, 0x1fff);
		bed_commit(bed);
		bed_settle(bed);
		live = bed->dp.nodes.live;
		root = bed->root[0];
		mpl_compile_begin(&compile, &bed->dp, stale);
		while (!err && n < 800) {
			struct mpl_section section = {
				.start = bed_random(&seed) | 0x10000,
				.device = bed->plain,
			};

			assert_int_equal(mpl_section_new(&bed->dp, &section,
							 &id[n]), 0);
			err = mpl_compile_insert(&compile, &root, id[n++]);
		}
		assert_int_equal(err, -ENOSPC);
		assert_int_equal(bed->dp.nodes.live, max - 1);
		mpl_compile_cancel(&compile);
		mpl_retired_drop(stale);
		assert_int_equal(bed->dp.nodes.live, live);
		assert_int_equal(bed->dp.notes.live, live);
		while (n--)
			mpl_section_free(&bed->dp, id[n]);
		assert_verified(bed);
		/* And it goes on. */
		put(bed, 0x100000, 0x100fff);
		bed_commit(bed);
		assert_verified(bed);
		bed_free(bed);
	}
}

/* A remove copies nodes too, and so may find none. */
static void test_full_at_remove(void **state)
{
	struct bed *bed = *state;
	struct mpl_retired *stale = mpl_retired_new();
	struct mpl_compile compile;
	uint32_t root, live, id;

	limit_nodes(bed, 4); /* three nodes */
	put(bed, 0, 0);
	put(bed, 0x40, 0x40);
	id = put(bed, 0x41, 0x41);
	bed_commit(bed);
	bed_settle(bed);
	live = bed->dp.nodes.live;
	assert_int_equal(live, 2);
	root = bed->root[0];
	mpl_compile_begin(&compile, &bed->dp, stale);
	assert_int_equal(mpl_compile_remove(&compile, &root, id), -ENOSPC);
	mpl_compile_cancel(&compile);
	mpl_retired_drop(stale);
	assert_int_equal(bed->dp.nodes.live, live);
	assert_verified(bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		BED_TEST(test_full_at_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
