/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Render: what of a region tree is visible in a window of addresses.
 *
 * The children that overlap the window are found through the parent's index
 * and fall into clusters of mutual overlap.  A cluster of one is rendered in
 * place; in a cluster of several each is rendered by itself, and the lists
 * are laid over each other by priority.  What a terminating parent's children
 * leave free is the parent's.  All lists are ascending and disjoint, and
 * laying one over another is a merge:
 *
 *     high   |---A---|       |--B--|
 *     low        |----C----------------|
 *     merged |---A---|---C---|--B--|-C-|
 *
 * so that a full render of n regions costs O(n log n) at worst, and rendering
 * a small window costs what overlaps it.
 */
#ifndef MEMPLANE_LIB_RENDER_H
#define MEMPLANE_LIB_RENDER_H

#include "lib/region.h"

struct mpl_piece {
	uint64_t start;
	uint64_t last;
	struct mpl_region *region;
	uint64_t offset;
	bool readonly;
	bool nonvolatile;
};

struct mpl_pieces {
	struct mpl_piece *items;
	size_t count;
	size_t capacity;
};

struct mpl_render {
	struct mpl_pieces pieces;  /* the result */
	struct mpl_pieces scratch; /* for merging */
	struct {
		struct mpl_region **items;
		size_t count;
		size_t capacity;
	} found; /* stack of children that overlap */
	uint64_t visits;
};

void mpl_render_destroy(struct mpl_render *render);

/*
 * Append the pieces of `root` in [start, last] to render->pieces, unmerged.
 * `base` is the address of the root's offset 0.
 * Errors: -ENOMEM; -ELOOP if an alias shows itself; -E2BIG if aliases multiply
 * beyond all measure.
 */
int mpl_render_window(struct mpl_render *render, struct mpl_region *root,
		      uint64_t base, uint64_t start, uint64_t last);

#endif
