/* SPDX-License-Identifier: BSD-3-Clause */
/* The oracle against expectations that were worked out by hand. */
#include "oracle.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct model m;

static int setup(void **state)
{
	(void)state;
	model_init(&m);
	return 0;
}

static int region(enum mpl_region_kind kind, const char *name, uint64_t size)
{
	return model_new_region(&m, kind, name, size);
}

static void add(int parent, uint64_t offset, int child, int priority)
{
	assert_int_equal(model_add(&m, parent, offset, child, priority), 0);
}

#define NOTHING (-2)

static void expect(int root, uint64_t gpa, int id, uint64_t offset)
{
	struct oracle_hit hit;

	if (!oracle_find(&m, root, false, gpa, &hit)) {
		assert_int_equal(id, NOTHING);
		return;
	}
	assert_int_equal(hit.region, id);
	assert_int_equal(hit.offset, offset);
}

static void expect_range(const struct oracle_range *range, uint64_t start,
			 uint64_t last, int id, uint64_t offset)
{
	assert_int_equal(range->start, start);
	assert_int_equal(range->last, last);
	assert_int_equal(range->hit.region, id);
	assert_int_equal(range->hit.offset, offset);
}

static void test_nothing(void **state)
{
	int root = region(MPL_CONTAINER, "root", UINT64_MAX);
	struct oracle_range *view;

	(void)state;
	expect(root, 0, NOTHING, 0);
	expect(root, UINT64_MAX, NOTHING, 0);
	assert_int_equal(oracle_view(&m, root, false, &view), 0);
	free(view);
}

static void test_gaps_and_priorities(void **state)
{
	int root = region(MPL_CONTAINER, "root", 0x10000);
	int low = region(MPL_IO, "low", 0x4000);
	int box = region(MPL_CONTAINER, "box", 0x2000);
	int dev = region(MPL_IO, "dev", 0x10);
	struct oracle_range *view;

	(void)state;
	add(root, 0x1000, low, 0);
	add(root, 0x2000, box, 1);
	add(box, 0x800, dev, -5); /* compares with nobody */
	expect(root, 0xfff, NOTHING, 0);
	expect(root, 0x1000, low, 0);
	expect(root, 0x27ff, low, 0x17ff);
	expect(root, 0x2800, dev, 0);
	expect(root, 0x280f, dev, 0xf);
	expect(root, 0x2810, low, 0x1810);
	expect(root, 0x5000, NOTHING, 0);
	assert_int_equal(oracle_view(&m, root, false, &view), 3);
	expect_range(&view[0], 0x1000, 0x27ff, low, 0);
	expect_range(&view[1], 0x2800, 0x280f, dev, 0);
	expect_range(&view[2], 0x2810, 0x4fff, low, 0x1810);
	free(view);
}

static void test_last_added_wins(void **state)
{
	int root = region(MPL_CONTAINER, "root", 0x10000);
	int a = region(MPL_IO, "a", 0x1000), b = region(MPL_IO, "b", 0x1000);

	(void)state;
	add(root, 0, a, 0);
	add(root, 0, b, 0);
	expect(root, 0, b, 0);
	assert_int_equal(model_move(&m, a, 0), 0);
	expect(root, 0, a, 0);
	assert_int_equal(model_set_priority(&m, b, 1), 0);
	expect(root, 0, b, 0);
}

static void test_clipping_never_wraps(void **state)
{
	int root = region(MPL_CONTAINER, "root", UINT64_MAX);
	int box = region(MPL_CONTAINER, "box", 0x1000);
	int top = region(MPL_IO, "top", 0x2000);
	int big = region(MPL_IO, "big", UINT64_MAX);
	struct oracle_range *view;

	(void)state;
	add(root, 0, box, 0);
	add(box, 0x800, big, 0);
	add(root, UINT64_MAX - 0xfff, top, 0);
	expect(root, 0, NOTHING, 0);
	expect(root, 0x800, big, 0);
	expect(root, 0x1000, NOTHING, 0);
	expect(root, UINT64_MAX, top, 0xfff);
	assert_int_equal(oracle_view(&m, root, false, &view), 2);
	expect_range(&view[0], 0x800, 0xfff, big, 0);
	expect_range(&view[1], UINT64_MAX - 0xfff, UINT64_MAX, top, 0);
	free(view);
}

static void test_whole_space(void **state)
{
	int root = region(MPL_IO, "root", UINT64_MAX);
	struct oracle_range *view;

	(void)state;
	expect(root, UINT64_MAX, root, UINT64_MAX);
	assert_int_equal(oracle_view(&m, root, false, &view), 1);
	expect_range(&view[0], 0, UINT64_MAX, root, 0);
	free(view);
}

static void test_aliases(void **state)
{
	int root = region(MPL_CONTAINER, "root", 0x10000);
	int ram = region(MPL_RAM, "ram", 0x4000);
	int inner = model_new_alias(&m, "inner", ram, 0x1000, 0x8000);
	int outer = model_new_alias(&m, "outer", inner, 0x800, 0x8000);
	struct oracle_range *view;

	(void)state;
	add(root, 0x2000, outer, 0);
	add(root, 0x8000, ram, 0);
	expect(root, 0x2000, ram, 0x1800);
	expect(root, 0x47ff, ram, 0x3fff);
	expect(root, 0x4800, NOTHING, 0);
	assert_int_equal(oracle_view(&m, root, false, &view), 2);
	expect_range(&view[0], 0x2000, 0x47ff, ram, 0x1800);
	expect_range(&view[1], 0x8000, 0xbfff, ram, 0);
	free(view);
	m.regions[ram].enabled = false;
	expect(root, 0x2000, NOTHING, 0);
	expect(root, 0x8000, NOTHING, 0);
}

static void test_inheritance(void **state)
{
	int root = region(MPL_CONTAINER, "root", 0x10000);
	int ram = region(MPL_RAM, "ram", 0x1000);
	int window = model_new_alias(&m, "window", ram, 0, 0x1000);
	struct oracle_hit hit;

	(void)state;
	add(root, 0, window, 0);
	m.regions[window].readonly = true;
	m.regions[root].nonvolatile = true;
	assert_true(oracle_find(&m, root, false, 0, &hit));
	assert_true(hit.readonly);
	assert_true(hit.nonvolatile);
	assert_true(oracle_find(&m, ram, false, 0, &hit));
	assert_false(hit.readonly);
	assert_false(hit.nonvolatile);
}

static void test_dirty_mask(void **state)
{
	int ram = region(MPL_RAM, "ram", 0x1000);
	int io = region(MPL_IO, "io", 0x1000);
	struct oracle_hit hit;

	(void)state;
	m.log_global[MPL_LOG_MIGRATION] = true;
	assert_true(oracle_find(&m, io, false, 0, &hit));
	assert_int_equal(hit.dirty_mask, 0);
	assert_int_equal(model_log_stop(&m, ram, MPL_LOG_CODE), -EINVAL);
	assert_int_equal(model_log_start(&m, ram, MPL_LOG_CODE), 0);
	assert_true(oracle_find(&m, ram, false, 0, &hit));
	assert_int_equal(hit.dirty_mask, 6);
	m.regions[ram].takes_part[MPL_LOG_MIGRATION] = false;
	assert_true(oracle_find(&m, ram, false, 0, &hit));
	assert_int_equal(hit.dirty_mask, 2);
}

static void test_merging(void **state)
{
	int root = region(MPL_CONTAINER, "root", 0x10000);
	int ram = region(MPL_RAM, "ram", 0x2000);
	int a = model_new_alias(&m, "a", ram, 0, 0x1000);
	int b = model_new_alias(&m, "b", ram, 0x1000, 0x1000);
	struct oracle_range *view;

	(void)state;
	add(root, 0, a, 0);
	add(root, 0x1000, b, 0);
	assert_int_equal(oracle_view(&m, root, false, &view), 1);
	expect_range(&view[0], 0, 0x1fff, ram, 0);
	free(view);
	m.regions[b].nonvolatile = true;
	assert_int_equal(oracle_view(&m, root, false, &view), 2);
	free(view);
	m.regions[b].nonvolatile = false;
	m.regions[ram].unmergeable = true;
	assert_int_equal(oracle_view(&m, root, false, &view), 2);
	free(view);
	/* One visit is one range, whatever hides beside it. */
	assert_int_equal(oracle_view(&m, ram, false, &view), 1);
	free(view);
}

static void test_effective_root(void **state)
{
	int box = region(MPL_CONTAINER, "box", 0x2000);
	int ram = region(MPL_RAM, "ram", 0x1000);
	int window = model_new_alias(&m, "window", box, 0, 0x2000);
	int io = region(MPL_IO, "io", 0x10);

	(void)state;
	assert_int_equal(oracle_effective_root(&m, window, false), -1);
	add(box, 0, ram, 0);
	assert_int_equal(oracle_effective_root(&m, window, false), ram);
	m.regions[box].readonly = true;
	assert_int_equal(oracle_effective_root(&m, window, false), box);
	assert_int_equal(oracle_effective_root(&m, window, true), ram);
	m.regions[box].readonly = false;
	m.regions[window].size = 0x1fff;
	assert_int_equal(oracle_effective_root(&m, window, false), window);
	m.regions[window].size = 0x2000;
	add(box, 0x10, io, 0);
	assert_int_equal(oracle_effective_root(&m, window, false), box);
	m.regions[ram].enabled = false; /* io is not at 0 */
	assert_int_equal(oracle_effective_root(&m, window, false), box);
	m.regions[io].enabled = false;
	assert_int_equal(oracle_effective_root(&m, window, false), -1);
}

static void test_trace_rules_count_the_roots_position(void **state)
{
	int box = region(MPL_CONTAINER, "box", 0x2000);
	int ram = region(MPL_RAM, "ram", 0x1000);
	struct oracle_hit hit;

	(void)state;
	add(box, 0x800, ram, 0);
	assert_true(oracle_find(&m, ram, false, 0x900, &hit));
	assert_int_equal(hit.offset, 0x900);
	assert_true(oracle_find(&m, ram, true, 0x900, &hit));
	assert_int_equal(hit.offset, 0x100);
}

static void test_cycles_and_depth(void **state)
{
	int a = region(MPL_CONTAINER, "a", 0x1000);
	int b = region(MPL_CONTAINER, "b", 0x1000);
	int to_a = model_new_alias(&m, "to_a", a, 0, 0x1000);

	(void)state;
	assert_int_equal(model_depth(&m, a), 1);
	assert_int_equal(model_add(&m, a, 0, a, 0), -ELOOP);
	add(a, 0, b, 0);
	assert_int_equal(model_depth(&m, to_a), 3);
	assert_int_equal(model_add(&m, b, 0, to_a, 0), -ELOOP);
	assert_int_equal(model_add(&m, b, 0, a, 0), -ELOOP);
	assert_int_equal(model_add(&m, to_a, 0, b, 0), -EINVAL);
	assert_int_equal(model_add(&m, a, 0, b, 0), -EBUSY);
	assert_int_equal(model_remove(&m, b), 0);
	assert_int_equal(model_remove(&m, b), -ENOENT);
	add(b, 0, to_a, 0);
}

/* An alias of what it is in: of another part, or of itself. */
static void test_folded_aliases(void **state)
{
	int root = region(MPL_CONTAINER, "root", 0x10000);
	int box = region(MPL_CONTAINER, "box", 0x10000);
	int ram = region(MPL_RAM, "ram", 0x1000);
	int window = model_new_alias(&m, "window", root, 0, 0x4000);
	struct oracle_range *view;

	(void)state;
	add(root, 0, box, 0);
	add(box, 0x1000, ram, 0);
	assert_int_equal(model_add(&m, box, 0, window, 0), -ELOOP);
	add(box, 0x4000, window, 0);
	assert_true(model_visits(&m, root) < 10);
	assert_int_equal(oracle_view(&m, root, false, &view), 2);
	expect_range(&view[0], 0x1000, 0x1fff, ram, 0);
	expect_range(&view[1], 0x5000, 0x5fff, ram, 0);
	free(view);
	m.regions[window].alias_offset = 0x4000;
	assert_int_equal(model_visits(&m, root), MODEL_ENDLESS);
	assert_int_equal(model_visits(&m, ram), 1);
}

static void test_ioeventfds(void **state)
{
	int root = region(MPL_CONTAINER, "root", 0x10000);
	int io = region(MPL_IO, "io", 0x100);
	int cover = region(MPL_IO, "cover", 2);
	struct mpl_ioeventfd four = { .offset = 0x10, .size = 4, .fd = 7 };
	struct mpl_ioeventfd any = { .offset = 0x8, .size = 0, .fd = 8 };
	struct mpl_ioeventfd past = { .offset = 0x100, .size = 0, .fd = 9 };
	struct oracle_event *events;

	(void)state;
	add(root, 0x1000, io, 0);
	assert_int_equal(model_ioeventfd_add(&m, io, &four), 0);
	assert_int_equal(model_ioeventfd_add(&m, io, &four), -EEXIST);
	assert_int_equal(model_ioeventfd_add(&m, io, &any), 0);
	assert_int_equal(model_ioeventfd_add(&m, io, &past), 0);
	assert_int_equal(oracle_ioeventfds(&m, root, false, &events), 2);
	assert_int_equal(events[0].gpa, 0x1008);
	assert_int_equal(events[1].gpa, 0x1010);
	free(events);
	add(root, 0x1011, cover, 1); /* cuts the second one in two */
	assert_int_equal(oracle_ioeventfds(&m, root, false, &events), 3);
	assert_int_equal(events[1].gpa, 0x1010);
	assert_int_equal(events[2].gpa, 0x1010);
	free(events);
	assert_int_equal(model_ioeventfd_del(&m, io, &four), 0);
	assert_int_equal(model_ioeventfd_del(&m, io, &four), -ENOENT);
}

static void test_zones(void **state)
{
	int root = region(MPL_CONTAINER, "root", 0x10000);
	int io = region(MPL_IO, "io", 0x100);
	struct oracle_zone *zones;

	(void)state;
	add(root, 0x1000, io, 0);
	assert_int_equal(model_coalescing_add(&m, io, 0x80, UINT64_MAX), 0);
	assert_int_equal(model_coalescing_add(&m, io, 0x100, 1), 0);
	assert_int_equal(oracle_zones(&m, root, false, &zones), 1);
	assert_int_equal(zones[0].start, 0x1080);
	assert_int_equal(zones[0].last, 0x10ff);
	free(zones);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing),
		TEST(test_gaps_and_priorities),
		TEST(test_last_added_wins),
		TEST(test_clipping_never_wraps),
		TEST(test_whole_space),
		TEST(test_aliases),
		TEST(test_inheritance),
		TEST(test_dirty_mask),
		TEST(test_merging),
		TEST(test_effective_root),
		TEST(test_trace_rules_count_the_roots_position),
		TEST(test_cycles_and_depth),
		TEST(test_folded_aliases),
		TEST(test_ioeventfds),
		TEST(test_zones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
