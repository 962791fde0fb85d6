/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/leaf.h"

#include <string.h>

#include "dispatch/section.h"

bool mpl_leaf_pack(const uint32_t *node, struct mpl_leaf *leaf)
{
	uint32_t before = MPL_ENTRY_EMPTY;
	unsigned int count = 0;

	memset(leaf, 0, sizeof(*leaf));
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++) {
		if (node[i] == before)
			continue;
		before = node[i];
		/* A section lies in slots side by side: never met twice. */
		if (before == MPL_ENTRY_EMPTY)
			continue;
		if (!mpl_entry_is_section(before) || count == MPL_LEAF_ENTRIES)
			return false;
		/* Empty slots before the first section are its, too. */
		leaf->starts |= UINT64_C(1) << (count ? i : 0);
		leaf->entry[count++] = before;
	}
	return count > 1;
}

uint64_t mpl_leaf_base(const struct mpl_data_plane *dp,
		       const struct mpl_leaf *leaf, unsigned int shift)
{
	/* The first section may begin below, the second begins in it. */
	uint32_t second = leaf->entry[1] >> MPL_ENTRY_BITS;

	return mpl_node_base(mpl_section_at(dp, second)->start, shift);
}

void mpl_leaf_unpack(const struct mpl_data_plane *dp,
		     const struct mpl_leaf *leaf, uint64_t base,
		     unsigned int shift, uint32_t *node)
{
	unsigned int count = (unsigned int)mpl_bits_set(leaf->starts);
	uint64_t last = mpl_node_last(base, shift);

	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++)
		node[i] = MPL_ENTRY_EMPTY;
	for (unsigned int i = 0; i < count; i++) {
		const struct mpl_section *section = mpl_section_at(
			dp, leaf->entry[i] >> MPL_ENTRY_BITS);
		uint64_t low = section->start, high = mpl_section_last(section);
		unsigned int end;

		low = low > base ? low : base;
		high = high < last ? high : last;
		end = mpl_node_slot(high, shift);
		for (unsigned int at = mpl_node_slot(low, shift); at <= end;
		     at++)
			node[at] = leaf->entry[i];
	}
}

void mpl_leaf_settle(struct mpl_compile *compile, uint32_t *entry)
{
	struct mpl_data_plane *dp = compile->dp;
	uint32_t node = *entry >> MPL_ENTRY_BITS;
	struct mpl_leaf leaf;
	uint32_t index;

	if (!compile->pack || mpl_entry_shift(*entry) == MPL_TOP_SHIFT ||
	    !mpl_leaf_pack(mpl_arena_at(&dp->nodes, node), &leaf) ||
	    MPL_RESERVE(&compile->leaves, 1) ||
	    mpl_arena_alloc(&dp->leaves, &index))
		return;
	*mpl_leaf_at(dp, index) = leaf;
	compile->leaves.items[compile->leaves.count++] = index;
	compile->spare.items[compile->spare.count++] = node;
	*entry = index << MPL_ENTRY_BITS |
		 ((*entry & MPL_ENTRY_SHIFT_MASK) | MPL_ENTRY_END);
}
