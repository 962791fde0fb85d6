/* SPDX-License-Identifier: BSD-3-Clause */
/* Spaces that switch views: what their listeners must be told. */
#include <errno.h>
#include <stdlib.h>

#include "lib/address_space.h"
#include "lib/base/vector.h"
#include "lib/diff.h"

/* Does it leave a view for another one, and is there somebody to be told? */
static bool is_left(const struct mpl_space *space)
{
	return space->switched && space->old_view &&
	       space->old_view != space->view &&
	       !mpl_list_empty(&space->listeners);
}

int mpl_switch_copy(struct mpl_commit *commit)
{
	struct mpl_link *link;

	MPL_LIST_EACH(link, &commit->spaces) {
		struct mpl_space *space = MPL_OF(link, struct mpl_space, dirty);
		struct mpl_range *range;

		if (!is_left(space))
			continue;
		for (range = mpl_view_first(space->old_view); range;
		     range = mpl_view_next(space->old_view, range)) {
			struct mpl_range *copy =
				mpl_range_new(&range->flat, range->doorbells,
					      range->coalesced);

			if (!copy)
				return -ENOMEM;
			mpl_list_append(&space->copies, &copy->link);
		}
	}
	return 0;
}

static int switch_change(struct mpl_space *space, struct mpl_range *before,
			 struct mpl_range *after)
{
	bool same = before && after &&
		    before->flat.dirty_mask == after->flat.dirty_mask &&
		    before->doorbells == after->doorbells &&
		    before->coalesced == after->coalesced;

	if (same)
		return 0;
	if (MPL_RESERVE(&space->changes, 1))
		return -ENOMEM;
	space->changes.items[space->changes.count++] =
		(struct mpl_change){ .before = before, .after = after };
	return 0;
}

/* What the listeners of a space that switches views must be told. */
static int compare_views(struct mpl_space *space)
{
	struct mpl_range *after = mpl_view_first(space->view);
	struct mpl_link *link = space->copies.next;
	int err = 0;

	while (!err && (after || link != &space->copies)) {
		struct mpl_range *before =
			link == &space->copies ?
				NULL :
				MPL_OF(link, struct mpl_range, link);
		struct mpl_range *now = after;

		if (before && now &&
		    !mpl_flat_same_place(&before->flat, &now->flat)) {
			if (before->flat.start <= now->flat.start)
				now = NULL;
			else
				before = NULL;
		}
		err = switch_change(space, before, now);
		if (before)
			link = link->next;
		if (now)
			after = mpl_view_next(space->view, now);
	}
	return err;
}

void mpl_switch_forget(struct mpl_commit *commit)
{
	struct mpl_link *link, *following, *copy, *next_copy;

	MPL_LIST_EACH_SAFE(link, following, &commit->spaces) {
		struct mpl_space *space = MPL_OF(link, struct mpl_space, dirty);

		MPL_LIST_EACH_SAFE(copy, next_copy, &space->copies)
			mpl_range_free(MPL_OF(copy, struct mpl_range, link));
		mpl_list_init(&space->copies);
		free(space->changes.items);
		space->changes = (struct mpl_changes){ 0 };
		mpl_list_remove(link);
	}
}

int mpl_switch_compare(struct mpl_commit *commit)
{
	struct mpl_link *link;
	int err = 0;

	MPL_LIST_EACH(link, &commit->spaces) {
		struct mpl_space *space = MPL_OF(link, struct mpl_space, dirty);

		if (!err && is_left(space))
			err = compare_views(space);
	}
	return err;
}
