/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/compile.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/leaf.h"
#include "dispatch/retire.h"
#include "dispatch/section.h"

enum {
	WHOLE = 64, /* the block of a root entry: all addresses */
};

/* The addresses that an entry stands for: 2^bits from base. */
struct block {
	uint64_t base;
	unsigned int bits;
};

static uint64_t block_last(struct block block)
{
	return block.bits >= WHOLE ? UINT64_MAX :
				     block.base + (UINT64_C(1) << block.bits) - 1;
}

static uint32_t entry_index(uint32_t entry)
{
	return entry >> MPL_ENTRY_BITS;
}

static uint32_t *node_at(const struct mpl_compile *compile, uint32_t index)
{
	return mpl_arena_at(&compile->dp->nodes, index);
}

static struct mpl_node_note *note_at(const struct mpl_compile *compile,
				     uint32_t index)
{
	return mpl_arena_at(&compile->dp->notes, index);
}

static struct block node_block(const struct mpl_compile *compile,
			       uint32_t entry)
{
	uint32_t index = entry_index(entry);
	unsigned int shift = mpl_entry_shift(entry);

	return (struct block){
		.base = mpl_entry_is_leaf(entry) ?
				mpl_leaf_base(compile->dp,
					      mpl_leaf_at(compile->dp, index),
					      shift) :
				note_at(compile, index)->base,
		.bits = shift + MPL_NODE_BITS,
	};
}

static struct block slot_block(struct block node, unsigned int shift,
			       unsigned int slot)
{
	return (struct block){
		.base = node.base + ((uint64_t)slot << shift),
		.bits = shift,
	};
}

void mpl_compile_begin(struct mpl_compile *compile, struct mpl_data_plane *dp,
		       struct mpl_retired *stale)
{
	*compile = (struct mpl_compile){ .dp = dp, .stale = stale };
	dp->epoch++;
}

int mpl_compile_new_node(struct mpl_compile *compile, uint64_t base,
			 uint32_t *index)
{
	struct mpl_data_plane *dp = compile->dp;
	uint32_t note;
	int err;

	if (compile->spare.count) {
		*index = compile->spare.items[--compile->spare.count];
	} else {
		/* Room in both lists, so that giving up cannot fail. */
		if (MPL_RESERVE(&compile->fresh, 1) ||
		    mpl_grow((void **)&compile->spare.items,
			     &compile->spare.capacity,
			     compile->fresh.count + 1, sizeof(uint32_t)))
			return -ENOMEM;
		err = mpl_arena_alloc(&dp->nodes, index);
		if (err)
			return err;
		err = mpl_arena_alloc(&dp->notes, &note);
		if (err) {
			mpl_arena_free(&dp->nodes, *index);
			return err;
		}
		assert(note == *index);
		compile->fresh.items[compile->fresh.count++] = *index;
	}
	dp->nodes_made++;
	*note_at(compile, *index) =
		(struct mpl_node_note){ .base = base, .epoch = dp->epoch };
	return 0;
}

/* A node for the block that holds `low` and `high`, all entries empty. */
static int new_empty_node(struct mpl_compile *compile, uint64_t low,
			  uint64_t high, uint32_t *entry)
{
	unsigned int shift = mpl_common_shift(low, high);
	uint32_t index;
	uint32_t *node;
	int err = mpl_compile_new_node(compile, mpl_node_base(low, shift),
				       &index);

	if (err)
		return err;
	node = node_at(compile, index);
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++)
		node[i] = MPL_ENTRY_EMPTY;
	*entry = index << MPL_ENTRY_BITS | shift;
	return 0;
}

/* ... out of a packed leaf, which is never written. */
static int own_leaf(struct mpl_compile *compile, uint32_t *entry)
{
	struct mpl_data_plane *dp = compile->dp;
	unsigned int shift = mpl_entry_shift(*entry);
	const struct mpl_leaf *leaf = mpl_leaf_at(dp, entry_index(*entry));
	uint64_t base;
	uint32_t index;
	int err;

	/* Their bounds are asked for one after the other: wait once. */
	for (unsigned int i = 0; i < MPL_LEAF_ENTRIES; i++)
		__builtin_prefetch(mpl_section_at(dp,
						  entry_index(leaf->entry[i])));
	base = mpl_leaf_base(dp, leaf, shift);
	err = mpl_retire_leaf(compile->stale, entry_index(*entry));
	if (!err)
		err = mpl_compile_new_node(compile, base, &index);
	if (err)
		return err;
	mpl_leaf_unpack(dp, leaf, base, shift, node_at(compile, index));
	*entry = index << MPL_ENTRY_BITS | shift;
	return 0;
}

/* Make the node of *entry one that this compile may write. */
static int own_node(struct mpl_compile *compile, uint32_t *entry)
{
	uint32_t index = entry_index(*entry);
	uint32_t copy;
	int err;

	if (mpl_entry_is_leaf(*entry))
		return own_leaf(compile, entry);
	if (note_at(compile, index)->epoch == compile->dp->epoch)
		return 0;
	err = mpl_retire_node(compile->stale, index);
	if (!err)
		err = mpl_compile_new_node(
			compile, note_at(compile, index)->base, &copy);
	if (err)
		return err;
	memcpy(node_at(compile, copy), node_at(compile, index),
	       MPL_NODE_ENTRIES * sizeof(uint32_t));
	*entry = copy << MPL_ENTRY_BITS | mpl_entry_shift(*entry);
	return 0;
}

static void give_up_node(struct mpl_compile *compile, uint32_t entry)
{
	compile->spare.items[compile->spare.count++] = entry_index(entry);
}

/* The part of a section that lies in a block; false: none. */
static bool clip(const struct mpl_section *section, struct block block,
		 uint64_t *low, uint64_t *high)
{
	uint64_t last = mpl_section_last(section);

	*low = section->start > block.base ? section->start : block.base;
	*high = last < block_last(block) ? last : block_last(block);
	return *low <= *high;
}

static int insert(struct mpl_compile *compile, uint32_t *entry,
		  struct block block, const struct mpl_section *section);

/* Insert into a node of this epoch whose block holds all of [low, high]. */
static int insert_below(struct mpl_compile *compile, uint32_t entry,
			const struct mpl_section *section, uint64_t low,
			uint64_t high)
{
	struct block block = node_block(compile, entry);
	unsigned int shift = mpl_entry_shift(entry);
	unsigned int last = mpl_node_slot(high, shift);

	for (unsigned int i = mpl_node_slot(low, shift); i <= last; i++) {
		/* The arena never moves, so the pointer survives inserts. */
		uint32_t *child = &node_at(compile, entry_index(entry))[i];
		int err;

		if (*child == MPL_ENTRY_EMPTY) {
			*child = mpl_entry_section(section->id);
			continue;
		}
		err = insert(compile, child, slot_block(block, shift, i),
			     section);
		if (err)
			return err;
	}
	return 0;
}

/* Replace an entry by a node that holds it, and what lies in [low, high]. */
static int push_down(struct mpl_compile *compile, uint32_t *entry,
		     struct block block, uint64_t low, uint64_t high)
{
	uint64_t old_low, old_high;
	uint32_t node;
	int err;

	if (mpl_entry_is_section(*entry)) {
		clip(mpl_section_at(compile->dp, entry_index(*entry)), block,
		     &old_low, &old_high);
	} else {
		struct block old = node_block(compile, *entry);

		old_low = old.base;
		old_high = block_last(old);
	}
	err = new_empty_node(compile, old_low < low ? old_low : low,
			     old_high > high ? old_high : high, &node);
	if (err)
		return err;
	for (unsigned int i = mpl_node_slot(old_low, mpl_entry_shift(node));
	     i <= mpl_node_slot(old_high, mpl_entry_shift(node)); i++)
		node_at(compile, entry_index(node))[i] = *entry;
	*entry = node;
	return 0;
}

static int insert(struct mpl_compile *compile, uint32_t *entry,
		  struct block block, const struct mpl_section *section)
{
	uint64_t low, high;
	int err = 0;

	if (!clip(section, block, &low, &high))
		return 0;
	if (*entry == MPL_ENTRY_EMPTY) {
		*entry = mpl_entry_section(section->id);
		return 0;
	}
	if (!mpl_entry_is_section(*entry)) {
		struct block node = node_block(compile, *entry);

		if (low >= node.base && high <= block_last(node))
			err = own_node(compile, entry);
		else
			err = push_down(compile, entry, block, low, high);
	} else {
		err = push_down(compile, entry, block, low, high);
	}
	if (err)
		return err;
	return insert_below(compile, *entry, section, low, high);
}

/* Bring a node of this epoch back to canonical form: *entry. */
static void collapse(struct mpl_compile *compile, uint32_t *entry)
{
	const uint32_t *node = node_at(compile, entry_index(*entry));
	uint32_t found = MPL_ENTRY_EMPTY;
	unsigned int distinct = 0;

	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++) {
		if (node[i] == MPL_ENTRY_EMPTY || node[i] == found)
			continue;
		if (++distinct > 1)
			return;
		found = node[i];
	}
	give_up_node(compile, *entry);
	*entry = found;
}

static int take_out(struct mpl_compile *compile, uint32_t *entry,
		    struct block block, const struct mpl_section *section)
{
	struct block node;
	unsigned int shift;
	uint64_t low, high;
	int err;

	if (mpl_entry_is_section(*entry)) {
		if (*entry == mpl_entry_section(section->id))
			*entry = MPL_ENTRY_EMPTY;
		return 0;
	}
	node = node_block(compile, *entry);
	if (block.bits > node.bits)
		block = node;
	if (!clip(section, block, &low, &high))
		return 0;
	err = own_node(compile, entry);
	if (err)
		return err;
	shift = mpl_entry_shift(*entry);
	for (unsigned int i = mpl_node_slot(low, shift); i <= mpl_node_slot(high, shift);
	     i++) {
		uint32_t *child = &node_at(compile, entry_index(*entry))[i];

		err = take_out(compile, child, slot_block(node, shift, i),
			       section);
		if (err)
			return err;
	}
	collapse(compile, entry);
	return 0;
}

static const struct block everything = { .base = 0, .bits = WHOLE };

int mpl_compile_insert(struct mpl_compile *compile, uint32_t *root,
		       uint32_t section)
{
	return insert(compile, root, everything,
		      mpl_section_at(compile->dp, section));
}

int mpl_compile_remove(struct mpl_compile *compile, uint32_t *root,
		       uint32_t section)
{
	return take_out(compile, root, everything,
			mpl_section_at(compile->dp, section));
}

void mpl_compile_seal(struct mpl_compile *compile, uint32_t *entry,
		      uint64_t low, uint64_t high)
{
	unsigned int shift = mpl_entry_shift(*entry);
	uint64_t base, last;
	unsigned int end;

	/* Who is packed, or not of this epoch, has nothing plain below. */
	if (*entry & MPL_ENTRY_END ||
	    note_at(compile, entry_index(*entry))->epoch != compile->dp->epoch)
		return;
	base = note_at(compile, entry_index(*entry))->base;
	last = mpl_node_last(base, shift);
	low = low > base ? low : base;
	high = high < last ? high : last;
	if (low > high)
		return;
	end = mpl_node_slot(high, shift);
	for (unsigned int i = mpl_node_slot(low, shift); i <= end; i++)
		mpl_compile_seal(compile,
				 &node_at(compile, entry_index(*entry))[i],
				 low, high);
	mpl_leaf_settle(compile, entry);
}

int mpl_compile_discard(struct mpl_compile *compile, uint32_t root)
{
	uint32_t index = entry_index(root);
	const uint32_t *node;
	int err;

	if (mpl_entry_is_section(root))
		return 0;
	if (mpl_entry_is_leaf(root))
		return mpl_retire_leaf(compile->stale, index);
	/* A view is compiled once a commit. */
	assert(note_at(compile, index)->epoch != compile->dp->epoch);
	node = node_at(compile, index);
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++) {
		if (mpl_entry_is_section(node[i]))
			continue;
		err = mpl_compile_discard(compile, node[i]);
		if (err)
			return err;
	}
	return mpl_retire_node(compile->stale, index);
}

static void free_nodes(struct mpl_compile *compile,
		       const struct mpl_indexes *nodes)
{
	for (size_t i = 0; i < nodes->count; i++) {
		mpl_arena_free(&compile->dp->nodes, nodes->items[i]);
		mpl_arena_free(&compile->dp->notes, nodes->items[i]);
	}
}

void mpl_compile_forget(struct mpl_compile *compile)
{
	free(compile->fresh.items);
	free(compile->spare.items);
	free(compile->leaves.items);
	compile->leaves = (struct mpl_indexes){ 0 };
	compile->fresh = (struct mpl_indexes){ 0 };
	compile->spare = (struct mpl_indexes){ 0 };
}

void mpl_compile_keep(struct mpl_compile *compile)
{
	free_nodes(compile, &compile->spare);
	mpl_compile_forget(compile);
}

void mpl_compile_cancel(struct mpl_compile *compile)
{
	free_nodes(compile, &compile->fresh);
	for (size_t i = 0; i < compile->leaves.count; i++)
		mpl_arena_free(&compile->dp->leaves, compile->leaves.items[i]);
	mpl_compile_forget(compile);
}

int mpl_compile_list_fresh(const struct mpl_compile *compile,
			   struct mpl_retired *batch)
{
	int err = 0;

	for (size_t i = 0; i < compile->fresh.count && !err; i++)
		err = mpl_retire_node(batch, compile->fresh.items[i]);
	for (size_t i = 0; i < compile->leaves.count && !err; i++)
		err = mpl_retire_leaf(batch, compile->leaves.items[i]);
	return err;
}
