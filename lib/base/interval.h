/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interval index: ranges [start, last] in a balanced tree, ordered by start,
 * that finds those which overlap a given range without visiting the others.
 *
 *               [40, 4f] max 9f
 *              /               \
 *      [10, 1f] max 9f      [50, 50] max 6f
 *              \                     \
 *          [20, 9f] max 9f       [60, 6f] max 6f
 *
 * An AVL tree in which each node knows the greatest `last` below it: a
 * subtree whose max is less than what is sought is passed over, and so is
 * one whose starts are all greater.  Insert, remove and find take O(log n),
 * walking k overlaps O(k + log n).  (Cormen et al., Introduction to
 * Algorithms, "Interval trees".)
 *
 * Ranges may overlap and may be equal; the address of the node breaks ties.
 * Nodes live inside the caller's structs.  Not thread-safe.
 */
#ifndef MEMPLANE_BASE_INTERVAL_H
#define MEMPLANE_BASE_INTERVAL_H

#include <stddef.h>
#include <stdint.h>

struct mpl_interval {
	uint64_t start;
	uint64_t last; /* inclusive */
	uint64_t max;  /* greatest last in this subtree */
	struct mpl_interval *left;
	struct mpl_interval *right;
	int height;
};

struct mpl_interval_tree {
	struct mpl_interval *root;
};

/* start and last must be set, and stay as they are until removal. */
void mpl_interval_insert(struct mpl_interval_tree *tree,
			 struct mpl_interval *node);
void mpl_interval_remove(struct mpl_interval_tree *tree,
			 struct mpl_interval *node);

/*
 * Make a tree of `count` nodes that `next` hands out in ascending order, in
 * linear time; what was in the tree before is forgotten.
 */
void mpl_interval_build(struct mpl_interval_tree *tree, size_t count,
			struct mpl_interval *(*next)(void *arg), void *arg);

/* The overlapping node with the least start, or NULL. */
struct mpl_interval *mpl_interval_first(const struct mpl_interval_tree *tree,
					uint64_t start, uint64_t last);

/* The node with the greatest start that is not above `at`, or NULL. */
struct mpl_interval *mpl_interval_below(const struct mpl_interval_tree *tree,
					uint64_t at);

/*
 * Call `fn` for every overlapping node in ascending order; a non-zero return
 * ends the walk and is returned.  `fn` must not change the tree.
 */
int mpl_interval_each(const struct mpl_interval_tree *tree, uint64_t start,
		      uint64_t last,
		      int (*fn)(void *arg, struct mpl_interval *node),
		      void *arg);

#endif
