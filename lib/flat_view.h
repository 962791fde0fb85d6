/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flat views: what is visible in the address spaces that share an effective
 * root, as disjoint ranges in a tree and in a list, both in ascending order.
 * A view is changed in place, range by range; a commit that fails puts the
 * old ranges back.
 */
#ifndef MEMPLANE_LIB_FLAT_VIEW_H
#define MEMPLANE_LIB_FLAT_VIEW_H

#include <memplane/space.h>

#include "lib/base/interval.h"
#include "lib/base/list.h"
#include "lib/base/spans.h"
#include "lib/region.h"

struct mpl_range {
	struct mpl_interval node; /* its start and last are the range's */
	struct mpl_link link;
	struct mpl_flat_range flat;
	struct mpl_doorbells *doorbells; /* the region's when rendered */
	struct mpl_coalesced *coalesced;
	uint32_t section; /* holds the region and the doorbells */
	struct mpl_interval by_ram; /* if the view is indexed */
};

/*
 * One difference: `before` vanishes, `after` appears; both: the range stays
 * but its dirty mask, doorbells or coalesced zones are others.
 */
struct mpl_change {
	struct mpl_range *before;
	struct mpl_range *after;
};

struct mpl_changes {
	struct mpl_change *items; /* in ascending order of address */
	size_t count;
	size_t capacity;
};

struct mpl_view {
	struct mpl_link link; /* in plane->views */
	struct mpl_region *root; /* NULL: the empty view */
	struct mpl_interval_tree tree;
	struct mpl_link ranges;
	size_t count;
	/* Ranges with host memory by ram address, once somebody has asked. */
	struct mpl_interval_tree by_ram;
	bool ram_indexed;
	uint32_t entry; /* the radix's root entry */
	uint64_t stamp;
	bool packed;	/* leaves are, those that can be: dispatch/leaf.h */
	uint32_t index; /* of its root in snapshots */
	size_t users;	/* address spaces that show it */

	/* Of the commit that is running. */
	struct mpl_link touched; /* in commit->views, or a list of its own */
	struct mpl_spans marks;	 /* to be rendered anew */
	struct mpl_changes changes;
	uint32_t old_entry;
	uint64_t old_stamp;
	bool old_packed;
	bool fresh; /* made by this commit */
};

/* Takes an index that no other view has.  Errors: -ENOMEM. */
int mpl_view_new(struct mpl_plane *plane, struct mpl_region *root,
		 struct mpl_view **out);
/* Frees the ranges with it, but not their sections. */
void mpl_view_free(struct mpl_plane *plane, struct mpl_view *view);

void mpl_view_insert(struct mpl_view *view, struct mpl_range *range);
void mpl_view_remove(struct mpl_view *view, struct mpl_range *range);

/* Index the ranges by ram address: view->by_ram, kept up from then on. */
void mpl_view_index_ram(struct mpl_view *view);

/*
 * Many at once: take the `before` of each change out and put its `after` in.
 * Costs O(changes x log(ranges)), or O(ranges) if that is less.
 */
void mpl_view_apply(struct mpl_view *view, const struct mpl_changes *changes);

/* Has every address space left it?  It ends with the commit. */
static inline bool mpl_view_is_doomed(const struct mpl_view *view)
{
	return view->root && !view->users;
}

/* The range that covers `gpa`, or the nearest below it, or NULL. */
struct mpl_range *mpl_view_at_or_below(const struct mpl_view *view,
				       uint64_t gpa);
static inline struct mpl_range *mpl_view_first(const struct mpl_view *view)
{
	return mpl_list_empty(&view->ranges) ?
		       NULL :
		       MPL_OF(view->ranges.next, struct mpl_range, link);
}
static inline struct mpl_range *mpl_view_next(const struct mpl_view *view,
					      const struct mpl_range *range)
{
	return range->link.next == &view->ranges ?
		       NULL :
		       MPL_OF(range->link.next, struct mpl_range, link);
}

/* A range for the view, from what was rendered.  NULL: out of memory. */
struct mpl_range *mpl_range_new(const struct mpl_flat_range *flat,
				struct mpl_doorbells *doorbells,
				struct mpl_coalesced *coalesced);
void mpl_range_free(struct mpl_range *range);

#endif
