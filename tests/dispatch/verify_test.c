/* SPDX-License-Identifier: BSD-3-Clause */
/* Verify must see every single thing that can be wrong with a map. */
#include "dispatch/verify.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "dispatch/leaf.h"
#include "tests/support/bed.h"

/*
 *     root (5 levels up)   [0] -> A   [1] [2] [3] ram   [4] -> B
 *     A    (3 levels up)   [0..9] low   [13] mid   the rest is empty
 *     B    (the bytes)     [0] one   [5..8] two
 */
#define ROOT_SHIFT (5 * MPL_NODE_BITS)
#define A_SHIFT (3 * MPL_NODE_BITS)
#define AT_ROOT(slot) (UINT64_C(slot) << ROOT_SHIFT)
#define AT_A(slot) (UINT64_C(slot) << A_SHIFT)
#define END (MPL_NODE_ENTRIES - 1)

enum {
	LOW, MID, RAM, ONE, TWO,
	COUNT,
};

static const uint64_t range[COUNT][2] = {
	[LOW] = { 0, AT_A(10) - 1 },
	[MID] = { AT_A(13), AT_A(14) - 1 },
	[RAM] = { AT_ROOT(1), AT_ROOT(4) - 1 },
	[ONE] = { AT_ROOT(4), AT_ROOT(4) },
	[TWO] = { AT_ROOT(4) + 5, AT_ROOT(4) + 8 },
};

struct map {
	struct bed *bed;
	uint32_t id[COUNT];
	uint32_t *root;
	uint32_t *a;
	uint32_t *b;
};

static uint32_t *node(struct bed *bed, uint32_t entry)
{
	assert_int_not_equal(entry & MPL_ENTRY_SHIFT_MASK, MPL_ENTRY_SECTION);
	return mpl_arena_at(&bed->dp.nodes, bed_index(entry));
}

static int setup(void **state)
{
	struct map *map = calloc(1, sizeof(*map));
	struct bed *bed = bed_new();

	assert_non_null(map);
	map->bed = bed;
	for (int i = 0; i < COUNT; i++)
		map->id[i] = bed_put(bed, 0, &(struct mpl_section){
			.start = range[i][0],
			.span = range[i][1] - range[i][0],
		});
	bed_commit(bed);
	map->root = node(bed, bed->root[0]);
	map->a = node(bed, map->root[0]);
	map->b = node(bed, map->root[4]);
	assert_int_equal(bed->root[0] & MPL_ENTRY_SHIFT_MASK, ROOT_SHIFT);
	assert_int_equal(map->root[0] & MPL_ENTRY_SHIFT_MASK, A_SHIFT);
	assert_int_equal(map->root[4] & MPL_ENTRY_SHIFT_MASK, 0);
	*state = map;
	return 0;
}

static int verify(struct map *map)
{
	return mpl_verify_map(&map->bed->dp, map->bed->root[0], map->id, COUNT);
}

static int teardown(void **state)
{
	struct map *map = *state;

	/* Whatever a test broke, it mended. */
	if (verify(map))
		fail_msg("%s", map->bed->log);
	bed_free(map->bed);
	free(map);
	return 0;
}

/* Breaking one entry must be seen and logged; mend it again. */
static void break_entry(struct map *map, uint32_t *entry, uint32_t wrong,
			const char *what)
{
	uint32_t right = *entry;
	unsigned int lines = map->bed->lines;
	int err;

	assert_int_equal(verify(map), 0);
	assert_int_equal(map->bed->lines, lines);
	assert_int_not_equal(right, wrong);
	*entry = wrong;
	err = verify(map);
	*entry = right;
	if (err != -EUCLEAN)
		fail_msg("not noticed: %s", what);
	assert_int_equal(map->bed->lines, lines + 1);
}

static void test_right(void **state)
{
	struct map *map = *state;

	assert_int_equal(verify(map), 0);
	assert_int_equal(mpl_verify_map(&map->bed->dp, MPL_ENTRY_EMPTY, NULL,
					0), 0);
	assert_int_equal(map->bed->lines, 0);
}

static void test_lost_section(void **state)
{
	struct map *map = *state;

	break_entry(map, &map->a[0], MPL_ENTRY_EMPTY, "first entry lost");
	break_entry(map, &map->a[9], MPL_ENTRY_EMPTY, "last entry lost");
	break_entry(map, &map->a[13], MPL_ENTRY_EMPTY, "only entry lost");
	break_entry(map, &map->b[0], MPL_ENTRY_EMPTY, "byte lost");
	break_entry(map, &map->root[4], MPL_ENTRY_EMPTY, "subtree lost");
	break_entry(map, &map->root[1], MPL_ENTRY_EMPTY, "RAM's start lost");
	break_entry(map, &map->bed->root[0], MPL_ENTRY_EMPTY, "all lost");
}

/* A hole somewhere inside a section: neither end nor middle. */
static void test_hole_inside(void **state)
{
	struct map *map = *state;

	for (unsigned int i = 0; i < 10; i++)
		break_entry(map, &map->a[i], MPL_ENTRY_EMPTY,
			    "hole inside a section");
	for (unsigned int i = 5; i < 9; i++)
		break_entry(map, &map->b[i], MPL_ENTRY_EMPTY,
			    "byte hole inside a section");
	for (unsigned int i = 1; i < 4; i++)
		break_entry(map, &map->root[i], MPL_ENTRY_EMPTY,
			    "hole inside RAM");
}

static void test_wrong_section(void **state)
{
	struct map *map = *state;

	for (unsigned int i = 0; i < 10; i++)
		break_entry(map, &map->a[i], mpl_entry_section(map->id[MID]),
			    "neighbour instead");
	break_entry(map, &map->a[13], mpl_entry_section(map->id[LOW]),
		    "section before instead");
	break_entry(map, &map->b[6], mpl_entry_section(map->id[ONE]),
		    "byte of another");
	break_entry(map, &map->root[2], mpl_entry_section(map->id[TWO]),
		    "section of another subtree");
}

/*
 * Entries below which no section lies must be empty.  Look-ups would not
 * notice (the bounds check saves them), but the map is not canonical.
 */
static void test_entry_that_should_be_empty(void **state)
{
	struct map *map = *state;

	for (int i = 0; i < COUNT; i++) {
		const uint32_t entry = mpl_entry_section(map->id[i]);

		break_entry(map, &map->a[10], entry, "beside a section");
		break_entry(map, &map->a[END], entry, "after all in a node");
		break_entry(map, &map->root[5], entry, "in the root");
		break_entry(map, &map->root[END], entry, "at the end");
		break_entry(map, &map->b[3], entry, "between bytes");
	}
}

/* A section of the arena that this map must not show. */
static void test_stranger(void **state)
{
	struct map *map = *state;
	struct mpl_section section = { .start = AT_A(11), .span = 0xff,
				       .device = map->bed->plain };
	uint32_t id;

	assert_int_equal(mpl_section_new(&map->bed->dp, &section, &id), 0);
	break_entry(map, &map->a[11], mpl_entry_section(id), "stranger");
	break_entry(map, &map->root[END], mpl_entry_section(id),
		    "stranger that no look-up shows");
	mpl_section_free(&map->bed->dp, id);
}

static uint32_t new_node(struct map *map, uint32_t fill, unsigned int shift,
			 uint32_t *index)
{
	uint32_t *entries;

	assert_int_equal(mpl_arena_alloc(&map->bed->dp.nodes, index), 0);
	entries = mpl_arena_at(&map->bed->dp.nodes, *index);
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++)
		entries[i] = fill;
	return (mpl_entry_section(*index) & ~MPL_ENTRY_SHIFT_MASK) | shift;
}

/* Nodes that should not be: of one section, of one child, of nothing. */
static void test_needless_nodes(void **state)
{
	struct map *map = *state;
	uint32_t index;
	uint32_t entry = new_node(map, mpl_entry_section(map->id[RAM]),
				  4 * MPL_NODE_BITS,
				  &index);
	uint32_t *entries = node(map->bed, entry);

	break_entry(map, &map->root[1], entry, "node of one section");
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++)
		entries[i] = MPL_ENTRY_EMPTY;
	break_entry(map, &map->root[11], entry, "node of nothing");
	entries[0] = map->root[0];
	break_entry(map, &map->root[0], entry, "node of one child");
	entries[0] = mpl_entry_section(map->id[TWO]);
	entries[7] = MPL_ENTRY_EMPTY;
	break_entry(map, &map->a[12], entry, "node of one entry");
	mpl_arena_free(&map->bed->dp.nodes, index);
}

/* Shifts that are on the grid but not the right ones. */
static void test_wrong_shift(void **state)
{
	struct map *map = *state;

	for (unsigned int shift = 0; shift < 60; shift += MPL_NODE_BITS) {
		uint32_t right = map->root[0];
		uint32_t wrong = (right & ~MPL_ENTRY_SHIFT_MASK) | shift;

		if (wrong != right)
			break_entry(map, &map->root[0], wrong, "shift of A");
		right = map->root[4];
		wrong = (right & ~MPL_ENTRY_SHIFT_MASK) | shift;
		if (wrong != right)
			break_entry(map, &map->root[4], wrong, "shift of B");
	}
}

/* A node that is not where its sections are. */
static void test_swapped_nodes(void **state)
{
	struct map *map = *state;

	break_entry(map, &map->root[0], map->root[4], "B instead of A");
	break_entry(map, &map->root[4], map->root[0], "A instead of B");
	break_entry(map, &map->root[9], map->root[4], "B a second time");
	break_entry(map, &map->root[1], map->root[0], "A in the place of RAM");
}

/* A tree that leads back into itself: verify must end. */
static void test_circle(void **state)
{
	struct map *map = *state;
	uint32_t right = map->a[4];
	int status;
	pid_t child;

	for (unsigned int i = 0; i < 2; i++) {
		map->a[4] = i ? map->root[0] : map->bed->root[0];
		child = fork();
		assert_true(child >= 0);
		if (!child) {
			alarm(10);
			_exit(verify(map) == -EUCLEAN ? 0 : 1);
		}
		map->a[4] = right;
		assert_int_equal(waitpid(child, &status, 0), child);
		if (WIFSIGNALED(status))
			fail_msg("verify ended by signal %d",
				 WTERMSIG(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

/* The list that the map is held against. */
static void test_wrong_list(void **state)
{
	struct map *map = *state;
	const struct mpl_data_plane *dp = &map->bed->dp;
	uint32_t root = map->bed->root[0], list[COUNT];

	for (size_t left_out = 0; left_out < COUNT; left_out++) {
		size_t n = 0;

		for (size_t i = 0; i < COUNT; i++)
			if (i != left_out)
				list[n++] = map->id[i];
		assert_int_equal(mpl_verify_map(dp, root, list, n), -EUCLEAN);
	}
	memcpy(list, map->id, sizeof(list));
	list[2] = list[1];
	assert_int_equal(mpl_verify_map(dp, root, list, COUNT), -EUCLEAN);
	assert_int_equal(mpl_verify_map(dp, root, NULL, 0), -EUCLEAN);
	assert_int_equal(mpl_verify_map(dp, MPL_ENTRY_EMPTY, map->id, COUNT),
			 -EUCLEAN);
}

/* A section whose bounds were changed behind the map's back. */
static void test_wrong_bounds(void **state)
{
	struct map *map = *state;
	struct mpl_section *low = mpl_section_at(&map->bed->dp, map->id[LOW]);
	struct mpl_section *ram = mpl_section_at(&map->bed->dp, map->id[RAM]);

	low->span += 1; /* into an empty entry */
	assert_int_equal(verify(map), -EUCLEAN);
	low->span = AT_A(13); /* over its neighbour */
	assert_int_equal(verify(map), -EUCLEAN);
	low->span = AT_A(10) - 1;
	ram->start -= 1;
	ram->span += 1;
	assert_int_equal(verify(map), -EUCLEAN);
	ram->start += 1;
	ram->span -= 1;
}

/* The same map with A and B packed: everything that a leaf can have wrong. */
static void test_packed(void **state)
{
	struct bed *bed = *state;
	struct map map = { .bed = bed };
	const uint32_t *ids = map.id;
	struct mpl_leaf *leaf, right;
	uint32_t *root;

	for (int i = 0; i < COUNT; i++)
		map.id[i] = bed_put(bed, 0, &(struct mpl_section){
			.start = range[i][0],
			.span = range[i][1] - range[i][0],
		});
	bed_commit(bed);
	assert_int_equal(verify(&map), 0);
	assert_int_equal(bed->dp.leaves.live, 2);
	root = node(bed, bed->root[0]);
	leaf = mpl_leaf_at(&bed->dp, bed_index(root[0]));
	right = *leaf;
	assert_int_equal(right.starts, UINT64_C(1) << 13 | 1);
	for (unsigned int bit = 0; bit < 64; bit++) {
		leaf->starts = right.starts ^ UINT64_C(1) << bit;
		assert_int_equal(verify(&map), -EUCLEAN);
	}
	leaf->starts = UINT64_MAX;
	assert_int_equal(verify(&map), -EUCLEAN);
	leaf->starts = 0;
	assert_int_equal(verify(&map), -EUCLEAN);
	leaf->starts = right.starts;
	for (unsigned int i = 0; i < MPL_LEAF_ENTRIES; i++) {
		const uint32_t wrong[] = {
			MPL_ENTRY_EMPTY, mpl_entry_section(ids[TWO]),
			mpl_entry_section(ids[i ? LOW : MID]), root[4],
			bed->root[0], UINT32_MAX,
		};

		for (size_t j = 0; j < sizeof(wrong) / sizeof(*wrong); j++)
			break_entry(&map, &leaf->entry[i], wrong[j], "leaf");
	}
	assert_memory_equal(leaf, &right, sizeof(right));
	break_entry(&map, &root[0], root[4], "B instead of A");
	break_entry(&map, &root[4], root[0], "A instead of B");
	break_entry(&map, &root[9], root[4], "B a second time");
	break_entry(&map, &root[0], root[0] - 12, "wrong shift");
	break_entry(&map, &root[0], root[0] & ~MPL_ENTRY_END, "plain");
	break_entry(&map, &root[0], MPL_ENTRY_END | A_SHIFT, "leaf 0");
	break_entry(&map, &root[0], ~MPL_ENTRY_SHIFT_MASK | (root[0] & 63),
		    "no such leaf");
}

#define MAP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MAP_TEST(test_right),
		MAP_TEST(test_lost_section),
		MAP_TEST(test_hole_inside),
		MAP_TEST(test_wrong_section),
		MAP_TEST(test_entry_that_should_be_empty),
		MAP_TEST(test_stranger),
		MAP_TEST(test_needless_nodes),
		MAP_TEST(test_wrong_shift),
		MAP_TEST(test_swapped_nodes),
		MAP_TEST(test_circle),
		MAP_TEST(test_wrong_list),
		MAP_TEST(test_wrong_bounds),
		BED_PACKED_TEST(test_packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
