/* SPDX-License-Identifier: BSD-3-Clause */
/* Offsets back to guest addresses, against a walk over the whole view. */
#include <memplane.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RAMS = 6, PAGES = 8, PAGE = 4096, PLACES = 256 };

struct places {
	struct mpl_region *region; /* to pick out; NULL: all */
	uint64_t start;
	uint64_t last;
	struct mpl_flat_range place[PLACES];
	unsigned int count;
};

static int collect(void *arg, const struct mpl_flat_range *range)
{
	struct places *places = arg;

	assert_true(places->count < PLACES);
	places->place[places->count++] = *range;
	return 0;
}

/* What of [start, last] of the region a range shows. */
static int pick(void *arg, const struct mpl_flat_range *range)
{
	struct places *places = arg;
	struct mpl_flat_range clipped = *range;
	uint64_t end = range->offset + (range->last - range->start);

	if (range->region != places->region || end < places->start ||
	    range->offset > places->last)
		return 0;
	if (end > places->last)
		clipped.last -= end - places->last;
	if (clipped.offset < places->start) {
		clipped.start += places->start - clipped.offset;
		clipped.offset = places->start;
	}
	return collect(places, &clipped);
}

static int by_place(const void *a, const void *b)
{
	const struct mpl_flat_range *l = a, *r = b;

	if (l->start != r->start)
		return l->start < r->start ? -1 : 1;
	return 0;
}

static void compare(struct mpl_address_space *as, struct mpl_region *region,
		    uint64_t offset, uint64_t len)
{
	static struct places got, wanted;
	uint64_t before = 0;

	got = wanted = (struct places){
		.region = region,
		.start = offset,
		.last = offset + len - 1,
	};
	assert_int_equal(mpl_address_space_walk(as, pick, &wanted), 0);
	assert_int_equal(
		mpl_address_space_find(as, region, offset, len, collect, &got),
		0);
	assert_int_equal(got.count, wanted.count);
	for (unsigned int i = 0; i < got.count; i++) {
		assert_true(got.place[i].offset >= before);
		before = got.place[i].offset;
	}
	qsort(got.place, got.count, sizeof(got.place[0]), by_place);
	for (unsigned int i = 0; i < got.count; i++) {
		assert_int_equal(got.place[i].start, wanted.place[i].start);
		assert_int_equal(got.place[i].last, wanted.place[i].last);
		assert_int_equal(got.place[i].offset, wanted.place[i].offset);
		assert_ptr_equal(got.place[i].region, region);
	}
}

/* Rams and many aliases of them, moved about, in two address spaces. */
static void random_spaces(bool full_rebuild)
{
	struct mpl_plane_config config = { .full_rebuild = full_rebuild,
					   .verify = true };
	struct mpl_region *root[2], *ram[RAMS], *alias[2 * RAMS];
	struct mpl_address_space *as[2];
	struct mpl_plane *plane;
	struct mpl_txn *tx;

	assert_int_equal(mpl_plane_new(&plane, &config), 0);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(mpl_region_new_container(plane, "root",
							  UINT64_MAX, &root[i]),
				 0);
		assert_int_equal(
			mpl_address_space_new(plane, "as", root[i], &as[i]), 0);
	}
	tx = mpl_begin(plane);
	for (unsigned int i = 0; i < 2 * RAMS; i++) {
		if (i < RAMS)
			assert_int_equal(mpl_region_new_ram(plane, "ram",
							    PAGES * PAGE, NULL,
							    &ram[i]),
					 0);
		assert_int_equal(mpl_region_new_alias(
					 plane, "alias", ram[i % RAMS],
					 i / RAMS * PAGE, 4 * PAGE, &alias[i]),
				 0);
		mpl_region_add(tx, root[i % 2], i * PAGE, alias[i], 0);
		if (i < RAMS)
			mpl_region_add(tx, root[i % 2], i * 3 * PAGE, ram[i],
				       -1);
	}
	assert_int_equal(mpl_commit(tx), 0);
	for (unsigned int round = 0; round < 500; round++) {
		unsigned int moves = rand() % 20 ? 1 : 30;

		tx = mpl_begin(plane);
		while (moves--)
			mpl_region_move(tx, alias[rand() % (2 * RAMS)],
					(uint64_t)(rand() % 64) * 1024);
		assert_int_equal(mpl_commit(tx), 0);
		for (unsigned int i = 0; i < RAMS; i++) {
			uint64_t from = (uint64_t)rand() % (PAGES * PAGE);
			uint64_t len =
				(uint64_t)rand() % (PAGES * PAGE - from) + 1;

			compare(as[0], ram[i], from, len);
			/* The other is not asked, and not indexed, before. */
			if (round > 250)
				compare(as[1], ram[i], from, 1);
		}
	}
	for (unsigned int i = 0; i < 2; i++)
		mpl_region_unref(root[i]);
	for (unsigned int i = 0; i < 2 * RAMS; i++)
		mpl_region_unref(alias[i]);
	for (unsigned int i = 0; i < RAMS; i++)
		mpl_region_unref(ram[i]);
	assert_int_equal(mpl_plane_free(plane), 0);
}

static void test_random(void **state)
{
	(void)state;
	srand(9);
	random_spaces(false);
	random_spaces(true);
}

static int refuse(void *opaque, const struct mpl_flat_range *range)
{
	(void)range;
	return *(bool *)opaque ? -EDOM : 0;
}

/* A commit that fails leaves the index as it was. */
static void test_unwound(void **state)
{
	static const struct mpl_listener_ops ops = { .range_add = refuse };
	struct mpl_listener *listener;
	struct mpl_address_space *as;
	struct mpl_region *root, *ram;
	struct mpl_plane *plane;
	bool refuses = false;
	struct mpl_txn *tx;

	(void)state;
	assert_int_equal(mpl_plane_new(&plane, NULL), 0);
	assert_int_equal(
		mpl_region_new_container(plane, "root", UINT64_MAX, &root), 0);
	assert_int_equal(
		mpl_region_new_ram(plane, "ram", PAGES * PAGE, NULL, &ram), 0);
	assert_int_equal(mpl_address_space_new(plane, "as", root, &as), 0);
	assert_int_equal(mpl_listener_register(as, &ops, &refuses, &listener),
			 0);
	tx = mpl_begin(plane);
	mpl_region_add(tx, root, 0, ram, 0);
	assert_int_equal(mpl_commit(tx), 0);
	compare(as, ram, 0, PAGES * PAGE);
	refuses = true;
	tx = mpl_begin(plane);
	mpl_region_move(tx, ram, PAGE);
	assert_int_equal(mpl_commit(tx), -EDOM);
	compare(as, ram, 0, PAGES * PAGE);
	refuses = false;
	assert_int_equal(mpl_listener_unregister(listener), 0);
	mpl_region_unref(root);
	mpl_region_unref(ram);
	assert_int_equal(mpl_plane_free(plane), 0);
}

static int stop(void *arg, const struct mpl_flat_range *range)
{
	(void)range;
	++*(int *)arg;
	return 42;
}

static void test_refusals(void **state)
{
	struct mpl_ram_config bare = { .unbacked = true };
	struct mpl_region *ram, *none;
	struct mpl_address_space *as;
	struct places places = { .count = 0 };
	struct mpl_plane *plane;
	int calls = 0;

	(void)state;
	assert_int_equal(mpl_plane_new(&plane, NULL), 0);
	assert_int_equal(mpl_region_new_ram(plane, "ram", PAGE, NULL, &ram), 0);
	assert_int_equal(mpl_region_new_ram(plane, "bare", PAGE, &bare, &none),
			 0);
	assert_int_equal(mpl_address_space_new(plane, "as", ram, &as), 0);
	assert_int_equal(
		mpl_address_space_find(as, none, 0, 1, collect, &places),
		-EINVAL);
	assert_int_equal(
		mpl_address_space_find(as, ram, 0, 0, collect, &places),
		-EINVAL);
	assert_int_equal(mpl_address_space_find(as, ram, 2, UINT64_MAX, collect,
						&places),
			 -EINVAL);
	assert_int_equal(
		mpl_address_space_find(as, ram, PAGE, 1, collect, &places), 0);
	assert_int_equal(places.count, 0);
	/* Clipped to the region. */
	assert_int_equal(
		mpl_address_space_find(as, ram, 16, 2 * PAGE, collect, &places),
		0);
	assert_int_equal(places.count, 1);
	assert_int_equal(places.place[0].start, 16);
	assert_int_equal(places.place[0].last, PAGE - 1);
	assert_int_equal(mpl_address_space_find(as, ram, 0, 1, stop, &calls),
			 42);
	assert_int_equal(calls, 1);
	mpl_region_unref(none);
	mpl_region_unref(ram);
	assert_int_equal(mpl_plane_free(plane), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_unwound),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
