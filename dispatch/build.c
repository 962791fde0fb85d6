/* SPDX-License-Identifier: BSD-3-Clause */
/* A whole map at once: each node is made and filled just once, top down. */
#include "dispatch/leaf.h"

struct builder {
	struct mpl_compile *compile;
	const struct mpl_build_item *items;
	size_t count;
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t greatest(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* One behind the last item that starts at or below `last`; `from` does. */
static size_t items_end(const struct builder *builder, size_t from,
			uint64_t last)
{
	size_t step = 1, low = from + 1, high;

	/* Mostly near: double the step, then halve what is between. */
	while (from + step < builder->count &&
	       builder->items[from + step].start <= last) {
		low = from + step + 1;
		step *= 2;
	}
	high = least(from + step, builder->count);
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (builder->items[middle].start <= last)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int fill_node(const struct builder *builder, uint64_t low, uint64_t high,
		     size_t from, size_t to, uint32_t *entry);

/*
 * The entry of the block [base, last], in which item `from` is the first.
 * *next: the first item that reaches beyond the block.
 */
static int fill_entry(const struct builder *builder, uint64_t base,
		      uint64_t last, size_t from, size_t *next,
		      uint32_t *entry)
{
	const struct mpl_build_item *items = builder->items;
	size_t to = items_end(builder, from, last);

	*next = items[to - 1].last > last ? to - 1 : to;
	if (to == from + 1) {
		*entry = mpl_entry_section(items[from].section);
		return 0;
	}
	return fill_node(builder, greatest(items[from].start, base),
			 least(items[to - 1].last, last), from, to, entry);
}

/* A node for items [from, to), which lie in [low, high] as far as they count. */
static int fill_node(const struct builder *builder, uint64_t low, uint64_t high,
		     size_t from, size_t to, uint32_t *entry)
{
	unsigned int shift = mpl_common_shift(low, high);
	uint64_t span = (UINT64_C(1) << shift) - 1;
	uint64_t base = mpl_node_base(low, shift);
	uint64_t at = low;
	uint32_t index, *node;
	int err = mpl_compile_new_node(builder->compile, base, &index);

	if (err)
		return err;
	node = mpl_arena_at(&builder->compile->dp->nodes, index);
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++)
		node[i] = MPL_ENTRY_EMPTY;
	while (from < to) {
		uint64_t start = at & ~span;

		err = fill_entry(builder, start, start + span, from, &from,
				 &node[mpl_node_slot(at, shift)]);
		if (err)
			return err;
		if (start + span >= high)
			break;
		/* The item goes on in the next block, or begins above it. */
		at = start + span + 1;
		if (from < to && builder->items[from].start > at)
			at = builder->items[from].start;
	}
	*entry = index << MPL_ENTRY_BITS | shift;
	mpl_leaf_settle(builder->compile, entry);
	return 0;
}

int mpl_compile_build(struct mpl_compile *compile,
		      const struct mpl_build_item *items, size_t count,
		      uint32_t *root)
{
	const struct builder builder = {
		.compile = compile,
		.items = items,
		.count = count,
	};
	size_t next;

	*root = MPL_ENTRY_EMPTY;
	if (!count)
		return 0;
	return fill_entry(&builder, 0, UINT64_MAX, 0, &next, root);
}
