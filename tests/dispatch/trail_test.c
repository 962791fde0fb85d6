/* SPDX-License-Identifier: BSD-3-Clause */
/* Ways through iommus: when they are stale, who waits for them. */
#include "dispatch/iommu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/iommus.h"

/* A window through two iommus: every part of its way makes it stale. */
static void test_window(void **state)
{
	struct bed *bed = *state;
	struct mpl_window window;
	int refs = 0;

	set_page(0, 0, MIDDLE, MIDDLE_START, MPL_FOR_BOTH);
	set_page(1, 0, MEMORY, 0, MPL_FOR_BOTH);
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(mpl_window_open(bed->reader, &bed->as[BUS],
						 16, 16, MPL_FOR_WRITE,
						 &window), 0);
		assert_ptr_equal(window.host, memory + 16);
		/* What does not touch it. */
		mpl_iommu_forget(world.iommu[0], 32, UINT64_MAX);
		mpl_iommu_forget(world.iommu[1], 0, 15);
		assert_false(mpl_window_is_stale(bed->reader, &window));
		if (i == 0)
			mpl_iommu_forget(world.iommu[0], 31, 31);
		else if (i == 1)
			mpl_iommu_forget(world.iommu[1], 16, 16);
		else if (i == 2)
			bed_memory(bed, MEMORY, 0x1000000, 0x1000fff, memory,
				   BED_RAM);
		else
			bed_memory(bed, MIDDLE, 0x1000000, 0x1000fff, memory,
				   BED_RAM);
		assert_true(mpl_window_is_stale(bed->reader, &window));
		mpl_window_close(&window);
		refs++;
	}
	assert_int_equal(refs, 4);
}

/* The way to an address behind both iommus. */
static struct mpl_trail *keep(uint64_t gpa, uint64_t len)
{
	const struct mpl_asked asked = {
		.as = &world.bed->as[BUS],
		.gpa = gpa,
		.len = len,
		.intent = MPL_FOR_READ,
	};
	struct mpl_reach reach;
	struct mpl_trail trail, *kept;

	set_page(0, 0, MIDDLE, MIDDLE_START, MPL_FOR_BOTH);
	set_page(1, 0, MEMORY, 0, MPL_FOR_BOTH);
	assert_int_equal(mpl_iommu_host(mpl_reader_state(world.bed->reader),
					&asked, &reach, &trail), MPL_OK);
	assert_int_equal(trail.count, 2);
	kept = mpl_trail_keep(&trail);
	assert_non_null(kept);
	return kept;
}

/* A kept way keeps the iommus' regions. */
static void test_references(void **state)
{
	struct mpl_trail *trail = keep(0, 16);
	struct mpl_device *first = trail->hops[0].device;
	struct mpl_device *second = trail->hops[1].device;
	uint32_t refs = first->refs;

	(void)state;
	assert_int_equal(second->refs, refs);
	mpl_trail_drop(trail);
	assert_int_equal(first->refs, refs - 1);
	assert_int_equal(second->refs, refs - 1);
	mpl_trail_drop(NULL);
}

static void count_call(void *arg)
{
	++*(unsigned int *)arg;
}

static void wait_for(struct mpl_device *device, uint64_t first, uint64_t last,
		     uint64_t number, unsigned int *calls)
{
	struct mpl_iommu_wait *wait = malloc(sizeof(*wait));

	assert_non_null(wait);
	mpl_device_ref(device);
	*wait = (struct mpl_iommu_wait){
		.device = device,
		.range = { first, last },
		.number = number,
		.done = count_call,
		.arg = calls,
	};
	mpl_list_init(&wait->link);
	mpl_iommu_wait(wait);
}

/* Whoever waits is told once the last mapping from before is gone. */
static void test_waits(void **state)
{
	struct mpl_trail *one = keep(16, 16), *two = keep(24, 16), *after;
	struct mpl_iommu_range range = { 16, 47 };
	unsigned int calls = 0, others = 0;
	struct mpl_device *device = one->hops[1].device;
	uint64_t number;

	(void)state;
	mpl_trail_hold(one);
	mpl_trail_hold(two);
	assert_true(mpl_iommu_is_mapped(world.iommu[1], range, UINT64_MAX));
	number = mpl_iommu_forget(world.iommu[1], 16, 47);
	assert_true(mpl_iommu_is_mapped(world.iommu[1], range, number));
	/* Elsewhere nothing is mapped, and nothing was before them. */
	wait_for(device, 0, 15, number, &others);
	wait_for(device, 48, UINT64_MAX, number, &others);
	wait_for(device, 16, 47, 0, &others);
	assert_int_equal(others, 3);
	wait_for(device, 16, 47, number, &calls);
	assert_int_equal(calls, 0);
	/* One that came after does not count. */
	after = keep(16, 16);
	mpl_trail_hold(after);
	mpl_trail_release(one);
	assert_int_equal(calls, 0);
	mpl_trail_release(two);
	assert_int_equal(calls, 1);
	assert_false(mpl_iommu_is_mapped(world.iommu[1], range, number));
	assert_true(mpl_iommu_is_mapped(world.iommu[1], range, UINT64_MAX));
	mpl_trail_release(after);
	mpl_trail_drop(one);
	mpl_trail_drop(two);
	mpl_trail_drop(after);
	assert_int_equal(calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IOMMU_TEST(test_window),
		IOMMU_TEST(test_references),
		IOMMU_TEST(test_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
