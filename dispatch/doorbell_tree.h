/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbells in order: sorted arrays of at most MPL_BELLS_NODE items, under
 * nodes that name the first item of each.  One array up to 32, a B+ tree
 * beyond:
 *
 *              [ 0 | 2e8 ]                   an inner node
 *               /       \
 *    [ 0 8 10 .. 2e0 ]  [ 2e8 2f0 .. 400 ]   leaves, each sorted
 *
 * Nodes are immutable once a table has them.  A change copies the leaf and
 * the nodes above it, and shares the rest with the table that it began from:
 * a table is as good as a copy, at the price of O(log n).
 *
 * Invariants: items ascend; first[i] is the lowest item below child i; all
 * leaves have the same depth; no node is empty; an inner root has two children
 * at least.  Nodes are split in half, but for the last ones, so that items that
 * come in order fill them; two neighbours are joined when an item has left one
 * of them, one is less than a quarter full, and both fit into one.
 *
 * Reading needs nothing but the root.  References are counted without atomics:
 * only the control side makes and drops tables.
 */
#ifndef MEMPLANE_DISPATCH_DOORBELL_TREE_H
#define MEMPLANE_DISPATCH_DOORBELL_TREE_H

#include "dispatch/doorbell.h"

#define MPL_BELLS_NODE 32
/* A root is split when it is full, so 2^64 insertions make no more. */
#define MPL_BELLS_LEVELS 16

struct mpl_bell_node {
	uint32_t refs;
	uint16_t count;
	uint16_t level; /* 0: a leaf */
	struct mpl_bell_node **child; /* NULL in a leaf */
	struct mpl_doorbell first[];  /* a leaf's items */
};

/*
 * The tree of `root` (NULL: empty) with one item more or less; the caller has
 * a reference on `root` before and on *out after, which is NULL if nothing is
 * left.  Leaves hold references on their items' events.
 * Errors: -ENOMEM, -EEXIST, -ENOENT.
 */
int mpl_bells_insert(struct mpl_bell_node *root,
		     const struct mpl_doorbell *item,
		     struct mpl_bell_node **out);
int mpl_bells_remove(struct mpl_bell_node *root,
		     const struct mpl_doorbell *item,
		     struct mpl_bell_node **out);
void mpl_bells_unref(struct mpl_bell_node *root);

/*
 * The item with this offset, size, match and data (if `match`), with the
 * lowest number of an eventfd if there are several.  Data plane.
 */
const struct mpl_doorbell *mpl_bells_find(const struct mpl_bell_node *root,
					  const struct mpl_doorbell *key);

/* In order; ends when `fn` returns something else than 0, and returns that. */
int mpl_bells_each(const struct mpl_bell_node *root, mpl_doorbell_fn *fn,
		   void *arg);

/*
 * The items of `a` that `b` has not, with the same event, in order.  What the
 * two share costs nothing.
 */
int mpl_bells_missing(const struct mpl_bell_node *a,
		      const struct mpl_bell_node *b, mpl_doorbell_fn *fn,
		      void *arg);

/* For tests: are all invariants kept? */
bool mpl_bells_sound(const struct mpl_bell_node *root);

#endif
