/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/commit.h"

#include <errno.h>
#include <stdlib.h>

#include "dispatch/publish.h"
#include "dispatch/retire.h"
#include "dispatch/section.h"
#include "lib/address_space.h"
#include "lib/base/vector.h"
#include "lib/diff.h"
#include "lib/map.h"
#include "lib/plane.h"
#include "lib/tree.h"

void mpl_commit_init(struct mpl_commit *commit, struct mpl_plane *plane)
{
	*commit = (struct mpl_commit){
		.plane = plane,
		.log_global_before = plane->log_global,
	};
	mpl_list_init(&commit->spaces);
	mpl_list_init(&commit->views);
}

static int mark_whole(struct mpl_view *view)
{
	if (MPL_RESERVE(&view->marks, 1))
		return -ENOMEM;
	view->marks.items[0] = (struct mpl_span){ .last = UINT64_MAX };
	view->marks.count = 1;
	return 0;
}

/* Render and diff every view that takes part. */
static int diff_views(struct mpl_commit *commit)
{
	struct mpl_link *link;
	int err = mpl_switch_copy(commit);

	if (!err && commit->plane->full_rebuild)
		err = mpl_mark_everything(commit);
	MPL_LIST_EACH(link, &commit->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, touched);

		if (err)
			return err;
		if (mpl_view_is_doomed(view))
			view->marks.count = 0;
		else if (view->fresh)
			err = mark_whole(view);
		if (!err)
			err = mpl_diff_view(commit, view);
	}
	return err ? err : mpl_switch_compare(commit);
}

/* All that can run short of memory, before anybody is told anything. */
static int prepare(struct mpl_commit *commit)
{
	int err;

	commit->stale = mpl_retired_new();
	if (!commit->stale)
		return -ENOMEM;
	mpl_compile_begin(&commit->compile, &commit->plane->data,
			  commit->stale);
	err = mpl_map_compile(commit);
	if (!err && commit->plane->verify)
		err = mpl_map_verify(commit);
	if (!err)
		err = mpl_snapshot_make(commit);
	if (!err)
		err = mpl_events_plan(&commit->events, commit->plane,
				      commit->log_global_before);
	if (!err && commit->fresh && commit->events.count)
		err = mpl_snapshot_prepare_retract(commit);
	return err;
}

static void publish(struct mpl_commit *commit)
{
	if (!commit->fresh)
		return;
	mpl_publish(&commit->plane->data, commit->fresh);
	commit->published = true;
}

/* The old content comes back, under a new generation. */
static void unpublish(struct mpl_commit *commit)
{
	struct mpl_data_plane *dp = &commit->plane->data;

	if (!commit->published) {
		mpl_compile_cancel(&commit->compile);
		free(commit->view_table);
		mpl_snapshot_drop(commit->fresh);
		mpl_snapshot_drop(commit->restored);
		mpl_retired_drop(commit->retract);
		return;
	}
	mpl_publish(dp, commit->restored);
	mpl_retire(dp, commit->retract);
	mpl_compile_forget(&commit->compile);
}

/* Sections that no reader has seen. */
static void free_sections(struct mpl_commit *commit, struct mpl_view *view)
{
	for (size_t i = 0; i < view->changes.count; i++) {
		struct mpl_range *after = view->changes.items[i].after;

		if (after && after->section)
			mpl_section_free(&commit->plane->data, after->section);
	}
}

static void free_view(struct mpl_plane *plane, struct mpl_view *view)
{
	mpl_tree_hide(view->root);
	view->root->view = NULL;
	mpl_view_free(plane, view);
}

static void unwind(struct mpl_commit *commit)
{
	struct mpl_link *link, *following;

	mpl_events_unwind(&commit->events,
			  commit->events.done < commit->events.publish ?
				  commit->events.done :
				  commit->events.publish);
	unpublish(commit);
	mpl_events_unwind(&commit->events, 0);
	mpl_retired_drop(commit->stale);
	MPL_LIST_EACH(link, &commit->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, touched);

		if (!commit->published)
			free_sections(commit, view);
		mpl_diff_unwind(view);
		if (commit->stale) {
			view->entry = view->old_entry;
			view->stamp = view->old_stamp;
			view->packed = view->old_packed;
		}
	}
	mpl_undo_to(commit, 0);
	mpl_root_unwind(commit);
	MPL_LIST_EACH_SAFE(link, following, &commit->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, touched);

		view->marks.count = 0;
		mpl_list_remove(link);
		if (view->fresh)
			free_view(commit->plane, view);
	}
}

static void settle(struct mpl_commit *commit)
{
	struct mpl_plane *plane = commit->plane;
	struct mpl_link *link, *following;

	mpl_compile_keep(&commit->compile);
	if (commit->published)
		mpl_retire(&plane->data, commit->stale);
	else
		mpl_retired_drop(commit->stale);
	if (commit->retract) {
		mpl_snapshot_drop(commit->restored);
		mpl_retired_drop(commit->retract);
	}
	MPL_LIST_EACH_SAFE(link, following, &commit->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, touched);

		for (size_t i = 0; i < view->changes.count; i++) {
			const struct mpl_change *change =
				&view->changes.items[i];

			plane->stats.ranges_added += change->after != NULL;
			plane->stats.ranges_removed += change->before != NULL;
			if (change->before)
				mpl_range_free(change->before);
		}
		view->changes.count = 0;
		view->marks.count = 0;
		plane->stats.views_built += view->fresh;
		view->fresh = false;
		mpl_list_remove(link);
		if (mpl_view_is_doomed(view))
			free_view(commit->plane, view);
	}
	mpl_root_settle(commit);
	mpl_undo_settle(commit);
}

int mpl_commit_carry_out(struct mpl_commit *commit)
{
	struct mpl_events *events = &commit->events;
	int err = mpl_root_update(commit);

	if (!err)
		err = diff_views(commit);
	if (!err)
		err = prepare(commit);
	if (!err)
		err = mpl_events_run(events, events->publish);
	if (!err)
		publish(commit);
	if (!err)
		err = mpl_events_run(events, events->count);
	if (err)
		unwind(commit);
	else
		settle(commit);
	mpl_switch_forget(commit);
	mpl_events_destroy(events);
	mpl_render_destroy(&commit->render);
	free(commit->undos.items);
	return err;
}
