/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compile: carry the differences of a flat view into its radix map, copying
 * only the nodes on the paths that change.
 *
 * A map is in *canonical form*, which compile keeps:
 *
 *   1. An entry below which no section lies is section 0.
 *   2. An entry below which exactly one section lies is that section.
 *   3. Any other entry is a node whose shift is the greatest one that tells
 *      two of the addresses below apart: a chain of nodes with a single
 *      child never exists.
 *
 * So two maps of the same ranges are equal, however they came about, and a
 * node always has at least two different sections below it.  (Equal but for
 * which leaves are packed: leaf.h.)
 *
 *        before                      [c, d] := S2                 after
 *   root -> A -> B -> {S1}                             root' -> A' -> B' -> {S1, S2}
 *            \-> C                                                \-> C (shared)
 *
 * A, B are *stale*: readers of the published map still use them; A', B' are
 * *fresh*: nobody but this compile has seen them, so that further changes are
 * made in place.  On success the stale ones are retired, on failure the fresh
 * ones are freed; the old roots are good until then.  As each live map is a
 * tree, and maps share nothing with each other, "stale" is known without
 * counting parents (docs/decisions/0002).
 *
 * Cost: O(levels x 64) entries for each range that changes.
 */
#ifndef MEMPLANE_DISPATCH_COMPILE_H
#define MEMPLANE_DISPATCH_COMPILE_H

#include "dispatch/data_plane.h"

struct mpl_compile {
	struct mpl_data_plane *dp;
	struct mpl_retired *stale; /* nodes go here */
	struct mpl_indexes fresh;  /* every node made, in use or spare */
	struct mpl_indexes spare;  /* made and given up again */
	struct mpl_indexes leaves; /* every packed leaf made */
	bool pack; /* leaves that can be: set by the caller, for each map */
};

/* An entry that names section `index`; 0 is the empty map. */
static inline uint32_t mpl_entry_section(uint32_t index)
{
	return index << MPL_ENTRY_BITS | MPL_ENTRY_SECTION;
}

/* The greatest shift on the grid that tells two addresses apart. */
static inline unsigned int mpl_common_shift(uint64_t low, uint64_t high)
{
	unsigned int top;

	if (low == high)
		return 0;
	top = 63 - (unsigned int)__builtin_clzll(low ^ high);
	return top / MPL_NODE_BITS * MPL_NODE_BITS;
}

#define MPL_ENTRY_EMPTY MPL_ENTRY_SECTION
#define MPL_TOP_SHIFT 60 /* of the node that divides all addresses */

/* `stale` belongs to the caller.  Starts a new epoch. */
void mpl_compile_begin(struct mpl_compile *compile, struct mpl_data_plane *dp,
		       struct mpl_retired *stale);

/*
 * Put a section into the map, over addresses that are empty, or take one out.
 * Errors: -ENOMEM, -ENOSPC; *root is then unusable, and the compile is to be
 * ended by mpl_compile_cancel().
 */
int mpl_compile_insert(struct mpl_compile *compile, uint32_t *root,
		       uint32_t section);
int mpl_compile_remove(struct mpl_compile *compile, uint32_t *root,
		       uint32_t section);

/*
 * After the last insert and remove of this compile in this map, for the range
 * of each of them: pack the leaves around [low, high] that they left plain.
 * *entry is the map's root, or what lies below.
 */
void mpl_compile_seal(struct mpl_compile *compile, uint32_t *entry,
		      uint64_t low, uint64_t high);

/* A section for mpl_compile_build(), with its own first and last address. */
struct mpl_build_item {
	uint64_t start;
	uint64_t last;
	uint32_t section;
};

/*
 * A map of `count` sections in ascending order, in linear time; the same map
 * as if they had been inserted.  Errors as above.
 */
int mpl_compile_build(struct mpl_compile *compile,
		      const struct mpl_build_item *items, size_t count,
		      uint32_t *root);

/* A node of this epoch, its entries undefined.  For build.c. */
int mpl_compile_new_node(struct mpl_compile *compile, uint64_t base,
			 uint32_t *index);

/* Lowest address of the block that a node divides which has `gpa` in it. */
static inline uint64_t mpl_node_base(uint64_t gpa, unsigned int shift)
{
	unsigned int bits = shift + MPL_NODE_BITS;

	return bits >= 64 ? 0 : gpa & ~((UINT64_C(1) << bits) - 1);
}

/* ... and the highest. */
static inline uint64_t mpl_node_last(uint64_t base, unsigned int shift)
{
	unsigned int bits = shift + MPL_NODE_BITS;

	return bits >= 64 ? UINT64_MAX : base + ((UINT64_C(1) << bits) - 1);
}

/* Its entry for an address. */
static inline unsigned int mpl_node_slot(uint64_t gpa, unsigned int shift)
{
	return (gpa >> shift) & (MPL_NODE_ENTRIES - 1);
}

static inline bool mpl_entry_is_leaf(uint32_t entry)
{
	return entry & MPL_ENTRY_END && !mpl_entry_is_section(entry);
}

/* Mark every node of a map as stale. */
int mpl_compile_discard(struct mpl_compile *compile, uint32_t root);

/* The fresh nodes are in use from now on. */
void mpl_compile_keep(struct mpl_compile *compile);
/* Free the fresh nodes at once: no reader has seen them. */
void mpl_compile_cancel(struct mpl_compile *compile);
/*
 * List the fresh nodes in `batch`, for the case that they are published and
 * then taken back; ended by keep, or by mpl_compile_forget() once the batch
 * has been retired.  Errors: -ENOMEM.
 */
int mpl_compile_list_fresh(const struct mpl_compile *compile,
			   struct mpl_retired *batch);
void mpl_compile_forget(struct mpl_compile *compile);

#endif
