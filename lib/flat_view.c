/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/flat_view.h"

#include <errno.h>
#include <stdlib.h>

#include "dispatch/compile.h"
#include "lib/base/vector.h"
#include "lib/plane.h"
#include "lib/ram.h"

static int take_index(struct mpl_plane *plane, uint32_t *index)
{
	uint32_t i;

	for (i = 0; i < plane->views_used.count; i++)
		if (!plane->views_used.items[i])
			break;
	if (i == plane->views_used.count) {
		if (MPL_RESERVE(&plane->views_used, 1))
			return -ENOMEM;
		plane->views_used.count++;
	}
	plane->views_used.items[i] = true;
	*index = i;
	return 0;
}

int mpl_view_new(struct mpl_plane *plane, struct mpl_region *root,
		 struct mpl_view **out)
{
	struct mpl_view *view = calloc(1, sizeof(*view));
	int err;

	if (!view)
		return -ENOMEM;
	err = take_index(plane, &view->index);
	if (err) {
		free(view);
		return err;
	}
	mpl_list_init(&view->ranges);
	mpl_list_init(&view->touched);
	mpl_list_append(&plane->views, &view->link);
	view->root = root;
	view->entry = MPL_ENTRY_EMPTY;
	*out = view;
	return 0;
}

void mpl_view_free(struct mpl_plane *plane, struct mpl_view *view)
{
	struct mpl_link *link, *following;

	if (!view)
		return;
	MPL_LIST_EACH_SAFE(link, following, &view->ranges)
		mpl_range_free(MPL_OF(link, struct mpl_range, link));
	plane->views_used.items[view->index] = false;
	mpl_list_remove(&view->touched);
	mpl_list_remove(&view->link);
	free(view->marks.items);
	free(view->changes.items);
	free(view);
}

/* The index by ram address: ranges with host memory. */
static void index_range(struct mpl_view *view, struct mpl_range *range)
{
	const struct mpl_flat_range *flat = &range->flat;

	if (!view->ram_indexed || !flat->region->ram)
		return;
	range->by_ram.start = flat->region->ram->ram_address + flat->offset;
	range->by_ram.last = range->by_ram.start + (flat->last - flat->start);
	mpl_interval_insert(&view->by_ram, &range->by_ram);
}

static void unindex_range(struct mpl_view *view, struct mpl_range *range)
{
	if (view->ram_indexed && range->flat.region->ram)
		mpl_interval_remove(&view->by_ram, &range->by_ram);
}

void mpl_view_index_ram(struct mpl_view *view)
{
	struct mpl_range *range;

	if (view->ram_indexed)
		return;
	view->ram_indexed = true;
	for (range = mpl_view_first(view); range;
	     range = mpl_view_next(view, range))
		index_range(view, range);
}

void mpl_view_insert(struct mpl_view *view, struct mpl_range *range)
{
	struct mpl_range *below =
		mpl_view_at_or_below(view, range->flat.start);

	range->node.start = range->flat.start;
	range->node.last = range->flat.last;
	mpl_list_insert(below ? &below->link : &view->ranges, &range->link);
	mpl_interval_insert(&view->tree, &range->node);
	index_range(view, range);
	view->count++;
}

void mpl_view_remove(struct mpl_view *view, struct mpl_range *range)
{
	mpl_list_remove(&range->link);
	mpl_interval_remove(&view->tree, &range->node);
	unindex_range(view, range);
	view->count--;
}

static struct mpl_interval *next_node(void *arg)
{
	struct mpl_link **link = arg;
	struct mpl_range *range = MPL_OF(*link, struct mpl_range, link);

	*link = (*link)->next;
	return &range->node;
}

/* Merge into the list, and make a new tree of it. */
static void apply_to_all(struct mpl_view *view,
			 const struct mpl_changes *changes)
{
	struct mpl_link *at = view->ranges.next;

	for (size_t i = 0; i < changes->count; i++) {
		struct mpl_range *after = changes->items[i].after;

		if (!after)
			continue;
		while (at != &view->ranges &&
		       MPL_OF(at, struct mpl_range, link)->flat.start <
			       after->flat.start)
			at = at->next;
		after->node.start = after->flat.start;
		after->node.last = after->flat.last;
		mpl_list_insert(at->prev, &after->link);
		index_range(view, after);
		view->count++;
	}
	at = view->ranges.next;
	mpl_interval_build(&view->tree, view->count, next_node, &at);
}

void mpl_view_apply(struct mpl_view *view, const struct mpl_changes *changes)
{
	/* A tree operation costs some 16 steps of a list. */
	bool most = changes->count > 16 && changes->count > view->count / 16;

	for (size_t i = 0; i < changes->count; i++) {
		struct mpl_range *before = changes->items[i].before;

		if (!before)
			continue;
		if (!most) {
			mpl_view_remove(view, before);
			continue;
		}
		mpl_list_remove(&before->link);
		unindex_range(view, before);
		view->count--;
	}
	if (most) {
		apply_to_all(view, changes);
		return;
	}
	for (size_t i = 0; i < changes->count; i++)
		if (changes->items[i].after)
			mpl_view_insert(view, changes->items[i].after);
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
