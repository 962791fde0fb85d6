/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/data_plane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "dispatch/publish.h"
#include "tests/support/bed.h"

static struct mpl_data_plane *new_plane(unsigned int readers,
					unsigned int spares)
{
	struct mpl_data_plane *dp =
		aligned_alloc(_Alignof(struct mpl_data_plane), sizeof(*dp));

	assert_non_null(dp);
	memset(dp, 0, sizeof(*dp));
	assert_int_equal(mpl_data_plane_init(dp, readers, spares), 0);
	return dp;
}

static void free_plane(struct mpl_data_plane *dp)
{
	mpl_data_plane_destroy(dp);
	free(dp);
}

static void test_new(void **state)
{
	struct mpl_data_plane *dp = new_plane(3, 1);

	(void)state;
	assert_non_null(dp->published);
	assert_true(dp->published->generation == dp->generation);
	assert_int_equal(dp->nodes.live, 0);
	assert_int_equal(dp->sections.live, 0);
	assert_int_equal(dp->retired_bytes, 0);
	assert_int_equal(dp->readers_live, 0);
	assert_int_equal(dp->readers_max, 3);
	assert_int_equal(dp->readers_size, 4);
	assert_true(mpl_section_is_unassigned(mpl_section_at(dp, 0)));
	free_plane(dp);
}

/* What a reader looks at lies on other lines than what the writers write. */
static void test_layout(void **state)
{
	(void)state;
	assert_int_equal(offsetof(struct mpl_data_plane, published) % 64, 0);
	assert_int_equal(offsetof(struct mpl_data_plane, nodes) % 64, 0);
	assert_true(offsetof(struct mpl_data_plane, nodes) -
			    offsetof(struct mpl_data_plane, published) >= 64);
}

/* Two planes never meet: neither indexes, nor readers, nor generations. */
static void test_two_planes(void **state)
{
	struct bed *a = bed_new(), *b = bed_new();
	uint64_t generation = b->dp.generation;
	uint32_t id = bed_io(a, 0, 0x1000, 0x1fff, a->plain);

	(void)state;
	assert_true(b->dp.generation == generation);
	assert_int_equal(mpl_lookup(a->reader, &a->as[0], 0x1000)->id, id);
	assert_true(mpl_section_is_unassigned(
		mpl_lookup(b->reader, &b->as[0], 0x1000)));
	/* a's commit waits for a's reader, not for b's. */
	bed_settle(a);
	assert_int_equal(a->dp.retired_bytes, 0);
	bed_free(a);
	assert_true(mpl_section_is_unassigned(
		mpl_lookup(b->reader, &b->as[0], 0x1000)));
	bed_free(b);
}

static void test_many_planes(void **state)
{
	struct mpl_data_plane *planes[16];

	(void)state;
	/* Each reserves address space for all that it could ever hold. */
	for (int i = 0; i < 16; i++)
		planes[i] = new_plane(64, 8);
	for (int i = 0; i < 16; i++)
		free_plane(planes[i]);
}

static void test_clock(void **state)
{
	const struct timespec nap = { .tv_nsec = 5000000 };
	uint64_t before = mpl_now_ns(), after;

	(void)state;
	nanosleep(&nap, NULL);
	after = mpl_now_ns();
	assert_true(after - before >= 5000000);
	assert_true(after - before < UINT64_C(60000000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_two_planes),
		cmocka_unit_test(test_many_planes),
		cmocka_unit_test(test_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
