/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/flat_view.h"

#include <errno.h>
#include <stdlib.h>

#include "dispatch/compile.h"
#include "lib/address_space.h"
#include "lib/base/vector.h"
#include "lib/plane.h"

int mpl_view_new(struct mpl_plane *plane, struct mpl_region *root,
		 struct mpl_view **out)
{
	struct mpl_view *view = calloc(1, sizeof(*view));

	if (!view)
		return -ENOMEM;
	mpl_list_init(&view->ranges);
	mpl_list_init(&view->touched);
	mpl_list_append(&plane->views, &view->link);
	view->root = root;
	view->entry = MPL_ENTRY_EMPTY;
	*out = view;
	return 0;
}

void mpl_view_free(struct mpl_view *view)
{
	struct mpl_link *link, *following;

	if (!view)
		return;
	MPL_LIST_EACH_SAFE(link, following, &view->ranges)
		mpl_range_free(MPL_OF(link, struct mpl_range, link));
	mpl_list_remove(&view->touched);
	mpl_list_remove(&view->link);
	free(view->users.items);
	free(view->marks.items);
	free(view->changes.items);
	free(view);
}

int mpl_view_reserve_user(struct mpl_view *view)
{
	return MPL_RESERVE(&view->users, 1);
}

void mpl_view_add_user(struct mpl_view *view, struct mpl_space *space)
{
	space->user_index = view->users.count;
	view->users.items[view->users.count++] = (struct mpl_view_user){
		.space = space,
		.slot = space->pub.slot,
	};
}

void mpl_view_remove_user(struct mpl_view *view, struct mpl_space *space)
{
	struct mpl_view_user *last = &view->users.items[--view->users.count];

	view->users.items[space->user_index] = *last;
	last->space->user_index = space->user_index;
}

void mpl_view_insert(struct mpl_view *view, struct mpl_range *range)
{
	struct mpl_range *below =
		mpl_view_at_or_below(view, range->flat.start);

	range->node.start = range->flat.start;
	range->node.last = range->flat.last;
	mpl_list_insert(below ? &below->link : &view->ranges, &range->link);
	mpl_interval_insert(&view->tree, &range->node);
	view->count++;
}

void mpl_view_remove(struct mpl_view *view, struct mpl_range *range)
{
	mpl_list_remove(&range->link);
	mpl_interval_remove(&view->tree, &range->node);
	view->count--;
}

struct mpl_range *mpl_view_at_or_below(const struct mpl_view *view,
				       uint64_t gpa)
{
	struct mpl_interval *node = mpl_interval_below(&view->tree, gpa);

	return node ? MPL_OF(node, struct mpl_range, node) : NULL;
}

struct mpl_range *mpl_range_new(const struct mpl_flat_range *flat,
				struct mpl_doorbells *doorbells,
				struct mpl_coalesced *coalesced)
{
	struct mpl_range *range = calloc(1, sizeof(*range));

	if (!range)
		return NULL;
	mpl_list_init(&range->link);
	range->flat = *flat;
	range->doorbells = mpl_doorbells_ref(doorbells);
	range->coalesced = mpl_coalesced_ref(coalesced);
	return range;
}

void mpl_range_free(struct mpl_range *range)
{
	mpl_doorbells_unref(range->doorbells);
	mpl_coalesced_unref(range->coalesced);
	free(range);
}
