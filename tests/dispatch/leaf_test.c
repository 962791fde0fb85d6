/* SPDX-License-Identifier: BSD-3-Clause */
/* Packed leaves against the plain nodes that they are made of. */
#include "dispatch/leaf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch/retire.h"
#include "tests/support/bed.h"

/* What a look-up in a packed leaf finds for a slot. */
static uint32_t leaf_slot(const struct mpl_leaf *leaf, unsigned int slot)
{
	const struct mpl_reader reader = { .leaves = leaf };

	/* Leaf 0 with shift 12, and bits above and below that don't count. */
	return mpl_leaf_below(&reader, 12 | MPL_ENTRY_END,
			      (uint64_t)slot << 12 |
				      UINT64_C(0xabcdef0000000000) | 0xfff);
}

/* The same by the rule: empty slots go with the one before, or the first. */
static uint32_t expected_slot(const uint32_t *node, unsigned int slot)
{
	for (unsigned int i = slot + 1; i--;)
		if (node[i] != MPL_ENTRY_EMPTY)
			return node[i];
	while (node[slot] == MPL_ENTRY_EMPTY)
		slot++;
	return node[slot];
}

/* Sections 1 to `count` in ascending order; `holes`: empty slots between. */
static void random_node(uint32_t *node, unsigned int count, bool holes,
			uint64_t *seed)
{
	bool begins[MPL_NODE_ENTRIES] = { false };
	unsigned int section = 0;

	for (unsigned int left = count; left;) {
		unsigned int at = bed_random(seed) % MPL_NODE_ENTRIES;

		left -= !begins[at];
		begins[at] = true;
	}
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++) {
		section += begins[i];
		node[i] = mpl_entry_section(section); /* 0: empty */
		if (holes && !begins[i] && bed_random(seed) % 4 == 0) {
			/* The rest of this one is a hole. */
			while (i < MPL_NODE_ENTRIES && !begins[i])
				node[i++] = MPL_ENTRY_EMPTY;
			i--;
		}
	}
}

static void test_every_slot(void **state)
{
	uint64_t seed = 77;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		unsigned int count = 2 + bed_random(&seed) % 8;
		uint32_t node[MPL_NODE_ENTRIES];
		struct mpl_leaf leaf;
		bool packed;

		random_node(node, count, round % 2, &seed);
		packed = mpl_leaf_pack(node, &leaf);
		assert_int_equal(packed, count <= MPL_LEAF_ENTRIES);
		for (unsigned int i = 0; packed && i < MPL_NODE_ENTRIES; i++)
			assert_int_equal(leaf_slot(&leaf, i),
					 expected_slot(node, i));
	}
}

/* Child nodes, or too little, are not packed. */
static void test_not_packed(void **state)
{
	uint32_t node[MPL_NODE_ENTRIES];
	struct mpl_leaf leaf;

	(void)state;
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++)
		node[i] = MPL_ENTRY_EMPTY;
	assert_false(mpl_leaf_pack(node, &leaf));
	node[9] = mpl_entry_section(1);
	assert_false(mpl_leaf_pack(node, &leaf));
	node[63] = mpl_entry_section(2);
	assert_true(mpl_leaf_pack(node, &leaf));
	assert_int_equal(leaf.starts, UINT64_C(1) << 63 | 1);
	for (unsigned int shift = 0; shift <= 60; shift += MPL_NODE_BITS) {
		node[20] = 5 << MPL_ENTRY_BITS | shift;
		assert_false(mpl_leaf_pack(node, &leaf));
		node[20] |= MPL_ENTRY_END;
		assert_false(mpl_leaf_pack(node, &leaf));
	}
}

/* At every shift, and with sections that reach out of the block. */
static void test_unpack(void **state)
{
	struct bed *bed = *state;
	uint64_t seed = 5;

	for (int round = 0; round < 4000; round++) {
		unsigned int shift = bed_random(&seed) % 10 * MPL_NODE_BITS;
		unsigned int slots = MPL_NODE_ENTRIES;
		uint64_t base = mpl_node_base(bed_random(&seed), shift);
		unsigned int count = 2 + bed_random(&seed) % 5;
		uint32_t node[MPL_NODE_ENTRIES], again[MPL_NODE_ENTRIES];
		unsigned int at = 0, used = 0;
		struct mpl_leaf leaf;
		uint32_t id[6];

		for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++)
			node[i] = MPL_ENTRY_EMPTY;
		while (used < count && at < slots) {
			unsigned int from = at + bed_random(&seed) % 6;
			unsigned int to = from + bed_random(&seed) % 6;
			struct mpl_section section = { .device = bed->plain };
			uint64_t last;

			if (to >= slots)
				break;
			section.start = base + ((uint64_t)from << shift);
			last = base + ((uint64_t)to << shift) +
			       ((UINT64_C(1) << shift) - 1);
			if (!used && !from && base)
				section.start = base - 1; /* from outside */
			if (to == slots - 1 && last != UINT64_MAX)
				last++;
			section.span = last - section.start;
			assert_int_equal(mpl_section_new(&bed->dp, &section,
							 &id[used]), 0);
			for (at = from; at <= to; at++)
				node[at] = mpl_entry_section(id[used]);
			used++;
		}
		if (used > 1) {
			assert_true(mpl_leaf_pack(node, &leaf));
			assert_int_equal(mpl_leaf_base(&bed->dp, &leaf, shift),
					 base);
			mpl_leaf_unpack(&bed->dp, &leaf, base, shift, again);
			assert_memory_equal(node, again, sizeof(node));
		}
		while (used)
			mpl_section_free(&bed->dp, id[--used]);
	}
}

static void put_pair(struct bed *bed, uint64_t at)
{
	bed_put(bed, 0, &(struct mpl_section){ .start = at, .span = 0xfff });
	bed_put(bed, 0, &(struct mpl_section){ .start = at + 0x2000,
					       .span = 0xfff });
}

/* Leaves are plain until there are enough nodes. */
static void test_threshold(void **state)
{
	struct bed *bed = *state;

	bed->dp.plain_nodes = 6;
	for (uint64_t i = 0; i < 12; i++) {
		put_pair(bed, i << 24);
		bed_commit(bed);
		bed_settle(bed);
		/* The first leaf is the whole map, then there is a root. */
		assert_int_equal(bed_nodes(bed), i ? i + 2 : 1);
		assert_int_equal(bed->dp.leaves.live, i > 4 ? i - 4 : 0);
	}
	/* One that is written anew is packed with the rest. */
	bed_put(bed, 0, &(struct mpl_section){ .start = 0x8000 });
	bed_commit(bed);
	bed_settle(bed);
	assert_int_equal(bed->dp.leaves.live, 8);
	assert_int_equal(bed_nodes(bed), 13);
}

/* Without room for a leaf the node stays plain, and nothing fails. */
static void test_no_room(void **state)
{
	struct bed *bed = *state;

	bed->dp.plain_nodes = 0;
	put_pair(bed, 0);
	bed_commit(bed);
	bed_settle(bed);
	assert_int_equal(bed->dp.leaves.live, 1);
	bed->dp.leaves.max = bed->dp.leaves.count;
	put_pair(bed, 1 << 24);
	bed_commit(bed);
	bed_settle(bed);
	assert_int_equal(bed->dp.leaves.live, 1);
	assert_int_equal(bed->dp.nodes.live, 2);
	assert_int_equal(bed_find(bed, 0, 1 << 24),
			 mpl_lookup(bed->reader, &bed->as[0], 1 << 24)->id);
}

/* Leaves of a commit that was published and is taken back. */
static void test_listed(void **state)
{
	struct bed *bed = *state;
	struct mpl_retired *batch = mpl_retired_new();

	bed->dp.plain_nodes = 0;
	put_pair(bed, 0);
	mpl_compile_seal(&bed->compile, &bed->root[0], 0, UINT64_MAX);
	assert_int_equal(bed->compile.leaves.count, 1);
	assert_int_equal(mpl_compile_list_fresh(&bed->compile, batch), 0);
	assert_int_equal(batch->leaves.count, 1);
	/* A leaf that is changed again in the same commit. */
	bed_take(bed, 0, 0x2000);
	assert_int_equal(bed->stale->leaves.count, 1);
	assert_int_equal(bed->stale->leaves.items[0], batch->leaves.items[0]);
	mpl_retired_drop(batch);
	bed_commit(bed);
	bed_settle(bed);
	assert_int_equal(bed_nodes(bed), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_slot),
		cmocka_unit_test(test_not_packed),
		BED_TEST(test_unpack),
		BED_TEST(test_threshold),
		BED_TEST(test_no_room),
		BED_TEST(test_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
