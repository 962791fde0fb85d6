/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The region tree: edges, and what follows from them (heights, who is shown,
 * which addresses of which views a change can be seen at).
 *
 * Folds.  Real machines have aliases that show one part of a region in another
 * part of the same region, so that the graph of edges has cycles although no
 * address shows itself.  Such an alias is *folded*: its target edge does not
 * count for heights and cycle checks.  Whether it shows itself is tried out
 * when the cycle closes; later changes of windows are found by render, whose
 * depth is bounded.
 *
 * All under the control lock.  Nothing here fails but mpl_tree_may_add().
 */
#ifndef MEMPLANE_LIB_TREE_H
#define MEMPLANE_LIB_TREE_H

#include "lib/region.h"

/*
 * May `child` be put below `parent` (or be the target of alias `parent`)?
 * Raises heights and folds aliases, which is harmless if the edge is not made
 * after all.  Errors: -ELOOP, -E2BIG (deeper than MPL_DEPTH_MAX).
 */
int mpl_tree_may_add(struct mpl_region *parent, struct mpl_region *child);

/* Make or unmake the edge to parent; child->offset, priority and order are
 * set by the caller before. */
void mpl_tree_attach(struct mpl_region *parent, struct mpl_region *child);
void mpl_tree_detach(struct mpl_region *child);

/* Change what the parent's index or counts depend on. */
void mpl_tree_set_enabled(struct mpl_region *region, bool enabled);
void mpl_tree_set_size(struct mpl_region *region, uint64_t size);

/* One more or one less reason why views see `region`. */
void mpl_tree_show(struct mpl_region *region);
void mpl_tree_hide(struct mpl_region *region);

#endif
