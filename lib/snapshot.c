/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots of a commit: the one to publish, and the one to come back to. */
#include <errno.h>
#include <stdlib.h>

#include "dispatch/publish.h"
#include "dispatch/retire.h"
#include "lib/address_space.h"
#include "lib/map.h"
#include "lib/plane.h"

static void drop_snapshot(void *snapshot)
{
	mpl_snapshot_drop(snapshot);
}

static int retire_snapshot(struct mpl_retired *batch,
			   const struct mpl_snapshot *snapshot)
{
	return mpl_retire_object(batch, drop_snapshot, (void *)snapshot,
				 mpl_snapshot_bytes(snapshot->views));
}

/* Spaces that switch views need another table. */
static int make_view_table(struct mpl_commit *commit)
{
	const struct mpl_snapshot *old = commit->plane->data.published;
	uint32_t slots = commit->plane->slots;
	struct mpl_link *link;

	if (mpl_list_empty(&commit->spaces))
		return 0;
	commit->view_table = mpl_view_table_new(old, slots);
	if (!commit->view_table)
		return -ENOMEM;
	MPL_LIST_EACH(link, &commit->spaces) {
		const struct mpl_space *space =
			MPL_OF(link, struct mpl_space, dirty);

		commit->view_table[space->pub.slot] = space->view->index;
	}
	commit->fresh->view_of = commit->view_table;
	commit->fresh->slots = slots;
	return mpl_retire_object(commit->stale, free, (void *)old->view_of,
				 old->slots * sizeof(old->view_of[0]));
}

int mpl_snapshot_make(struct mpl_commit *commit)
{
	struct mpl_plane *plane = commit->plane;
	struct mpl_data_plane *dp = &plane->data;
	bool changed = !mpl_list_empty(&commit->spaces);
	struct mpl_link *link;
	int err;

	MPL_LIST_EACH(link, &commit->views)
		changed |= MPL_OF(link, struct mpl_view, touched)->stamp !=
			   MPL_OF(link, struct mpl_view, touched)->old_stamp;
	if (!changed)
		return 0;
	commit->fresh = mpl_snapshot_new(dp, dp->published->generation + 1,
					 (uint32_t)plane->views_used.count);
	if (!commit->fresh)
		return -ENOMEM;
	MPL_LIST_EACH(link, &commit->views) {
		const struct mpl_view *view =
			MPL_OF(link, struct mpl_view, touched);

		commit->fresh->root[view->index].stamp = view->stamp;
		commit->fresh->root[view->index].entry = view->entry;
	}
	err = retire_snapshot(commit->stale, dp->published);
	return err ? err : make_view_table(commit);
}

int mpl_snapshot_prepare_retract(struct mpl_commit *commit)
{
	struct mpl_data_plane *dp = &commit->plane->data;
	const struct mpl_snapshot *old = dp->published;
	struct mpl_link *link;
	int err;

	commit->retract = mpl_retired_new();
	commit->restored = mpl_snapshot_new(dp, old->generation + 2, 0);
	if (!commit->retract || !commit->restored)
		return -ENOMEM;
	err = mpl_compile_list_fresh(&commit->compile, commit->retract);
	if (!err)
		err = retire_snapshot(commit->retract, commit->fresh);
	if (!err)
		err = retire_snapshot(commit->retract, old);
	if (!err && commit->view_table)
		err = mpl_retire_object(commit->retract, free,
					commit->view_table, 0);
	MPL_LIST_EACH(link, &commit->views) {
		const struct mpl_changes *changes =
			&MPL_OF(link, struct mpl_view, touched)->changes;

		for (size_t i = 0; i < changes->count && !err; i++)
			if (changes->items[i].after)
				err = mpl_retire_section(
					commit->retract,
					changes->items[i].after->section);
	}
	return err;
}
