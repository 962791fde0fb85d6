/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packed leaves: nodes of few sections, in 32 bytes instead of 256.
 *
 *     node, shift 12:  0 0 A A A 0 0 B 0 C C C C ... 0     (64 slots)
 *     starts:          1 . . . . . . 1 . 1 . . .           bits 0, 7, 9
 *     entry:           A B C
 *
 * Packing is encoding only: what a map means, and its canonical form
 * (compile.h), are those of the plain node.  Compile works on plain nodes: it
 * unpacks what it must change, and packs what it is done with.  A packed leaf
 * is never written again.
 */
#ifndef MEMPLANE_DISPATCH_LEAF_H
#define MEMPLANE_DISPATCH_LEAF_H

#include "dispatch/compile.h"

/* False: not just sections, or too many of them.  Not of shift 60. */
bool mpl_leaf_pack(const uint32_t *node, struct mpl_leaf *leaf);
/* The plain node again; `base` as below. */
void mpl_leaf_unpack(const struct mpl_data_plane *dp,
		     const struct mpl_leaf *leaf, uint64_t base,
		     unsigned int shift, uint32_t *node);
/* Lowest address of the block that it divides. */
uint64_t mpl_leaf_base(const struct mpl_data_plane *dp,
		       const struct mpl_leaf *leaf, unsigned int shift);

static inline struct mpl_leaf *mpl_leaf_at(const struct mpl_data_plane *dp,
					   uint32_t index)
{
	return mpl_arena_at(&dp->leaves, index);
}

/* Is that worth it, in a plane with its nodes and `more`? */
static inline bool mpl_leaf_pays(const struct mpl_data_plane *dp, size_t more)
{
	return (size_t)dp->nodes.live + dp->leaves.live + more >
	       dp->plain_nodes;
}

/*
 * Pack the node of this epoch that *entry names, if it can be and
 * compile->pack asks for it.  Never fails: it is left plain instead.
 */
void mpl_leaf_settle(struct mpl_compile *compile, uint32_t *entry);

#endif
