/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/commit.h"

#include <errno.h>
#include <stdlib.h>

#include "dispatch/publish.h"
#include "dispatch/retire.h"
#include "dispatch/section.h"
#include "dispatch/verify.h"
#include "lib/address_space.h"
#include "lib/base/vector.h"
#include "lib/diff.h"
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

static bool is_doomed(const struct mpl_view *view)
{
	return view->root && !view->users;
}

static bool is_left(const struct mpl_space *space)
{
	return space->switched && space->old_view &&
	       space->old_view != space->view &&
	       !mpl_list_empty(&space->listeners);
}

/* The view that a space with listeners leaves may change: keep a copy. */
static int copy_left_views(struct mpl_commit *commit)
{
	struct mpl_link *link;

	MPL_LIST_EACH(link, &commit->spaces) {
		struct mpl_space *space = MPL_OF(link, struct mpl_space, dirty);
		struct mpl_range *range;

		if (!is_left(space))
			continue;
		for (range = mpl_view_first(space->old_view); range;
		     range = mpl_view_next(space->old_view, range)) {
			struct mpl_range *copy = mpl_range_new(
				&range->flat, range->doorbells,
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

static void forget_switches(struct mpl_commit *commit)
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
	int err = copy_left_views(commit);

	if (!err && commit->plane->full_rebuild)
		err = mpl_mark_everything(commit);
	MPL_LIST_EACH(link, &commit->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, touched);

		if (err)
			return err;
		if (is_doomed(view))
			view->marks.count = 0;
		else if (view->fresh)
			err = mark_whole(view);
		if (!err)
			err = mpl_diff_view(commit, view);
	}
	MPL_LIST_EACH(link, &commit->spaces) {
		struct mpl_space *space = MPL_OF(link, struct mpl_space, dirty);

		if (!err && is_left(space))
			err = compare_views(space);
	}
	return err;
}

static uint32_t section_flags(const struct mpl_flat_range *flat)
{
	enum mpl_region_kind kind = flat->region->kind;
	uint32_t flags = (uint32_t)flat->dirty_mask
			 << MPL_SECTION_DIRTY_SHIFT;

	if (flat->readonly)
		flags |= MPL_SECTION_READONLY;
	if (flat->nonvolatile)
		flags |= MPL_SECTION_NONVOLATILE;
	if (kind == MPL_IOMMU)
		flags |= MPL_SECTION_IOMMU;
	if (kind == MPL_RAM_DEVICE)
		flags |= MPL_SECTION_EXACT;
	if (kind == MPL_IO || kind == MPL_ROM_DEVICE)
		flags |= MPL_SECTION_CALLBACKS;
	if (!flat->region->host)
		return flags;
	if (kind != MPL_ROM_DEVICE || flat->rom_mode)
		flags |= MPL_SECTION_READ;
	if (kind != MPL_ROM_DEVICE && !flat->readonly)
		flags |= MPL_SECTION_WRITE;
	return flags;
}

static int new_section(struct mpl_commit *commit, struct mpl_range *range)
{
	const struct mpl_flat_range *flat = &range->flat;
	char *host = flat->region->host;
	const struct mpl_section section = {
		.start = flat->start,
		.span = flat->last - flat->start,
		.host = host ? (uint8_t *)host + flat->offset : NULL,
		.offset = flat->offset,
		.device = &flat->region->device,
		.doorbells = range->doorbells,
		.flags = section_flags(flat),
	};

	return mpl_section_new(&commit->plane->data, &section,
			       &range->section);
}

/* Everything that the old map of a view has goes. */
static int discard_view(struct mpl_commit *commit, struct mpl_view *view)
{
	struct mpl_range *range;
	int err = mpl_compile_discard(&commit->compile, view->entry);

	for (range = mpl_view_first(view); range && !err;
	     range = mpl_view_next(view, range))
		err = mpl_retire_section(commit->stale, range->section);
	return err;
}

/* A new map of all ranges: for a fresh view, or plane->full_rebuild. */
static int build_map(struct mpl_commit *commit, struct mpl_view *view,
		     uint32_t *entry)
{
	struct mpl_build_item *items =
		malloc((view->count + 1) * sizeof(*items));
	struct mpl_range *range;
	size_t count = 0;
	int err;

	if (!items)
		return -ENOMEM;
	for (range = mpl_view_first(view); range;
	     range = mpl_view_next(view, range))
		items[count++] = (struct mpl_build_item){
			.start = range->flat.start,
			.last = range->flat.last,
			.section = range->section,
		};
	err = mpl_compile_discard(&commit->compile, *entry);
	if (!err)
		err = mpl_compile_build(&commit->compile, items, count, entry);
	free(items);
	return err;
}

static int compile_view(struct mpl_commit *commit, struct mpl_view *view)
{
	const struct mpl_changes *changes = &view->changes;
	bool rebuild = commit->plane->full_rebuild || view->fresh;
	uint32_t entry = view->entry;
	int err = 0;

	for (size_t i = 0; i < changes->count && !err; i++) {
		const struct mpl_range *before = changes->items[i].before;

		if (!before)
			continue;
		err = mpl_retire_section(commit->stale, before->section);
		if (!err && !rebuild)
			err = mpl_compile_remove(&commit->compile, &entry,
						 before->section);
	}
	for (size_t i = 0; i < changes->count && !err; i++) {
		struct mpl_range *after = changes->items[i].after;

		if (!after)
			continue;
		err = new_section(commit, after);
		if (!err && !rebuild)
			err = mpl_compile_insert(&commit->compile, &entry,
						 after->section);
	}
	if (!err && rebuild)
		err = build_map(commit, view, &entry);
	if (err)
		return err;
	view->entry = entry;
	view->stamp = mpl_stamp_new(&commit->plane->data);
	return 0;
}

static int compile_views(struct mpl_commit *commit)
{
	struct mpl_link *link;
	int err = 0;

	MPL_LIST_EACH(link, &commit->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, touched);

		view->old_entry = view->entry;
		view->old_stamp = view->stamp;
	}
	MPL_LIST_EACH(link, &commit->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, touched);

		if (err)
			break;
		if (is_doomed(view))
			err = discard_view(commit, view);
		else if (view->changes.count || view->fresh)
			err = compile_view(commit, view);
	}
	return err;
}

static int verify_view(struct mpl_commit *commit, struct mpl_view *view)
{
	uint32_t *sections = malloc((view->count + 1) * sizeof(*sections));
	struct mpl_range *range;
	size_t count = 0;
	int err;

	if (!sections)
		return -ENOMEM;
	for (range = mpl_view_first(view); range;
	     range = mpl_view_next(view, range))
		sections[count++] = range->section;
	err = mpl_verify_map(&commit->plane->data, view->entry, sections,
			     count);
	free(sections);
	return err ? err : mpl_diff_verify(commit, view);
}

/* The debug mode: every view, touched or not, must be as rendered anew. */
static int verify_views(struct mpl_commit *commit)
{
	struct mpl_link *link;
	int err = 0;

	MPL_LIST_EACH(link, &commit->plane->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, link);

		if (!err && !is_doomed(view))
			err = verify_view(commit, view);
	}
	return err;
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

/* The snapshot to publish; none if no reader could tell the difference. */
static int make_snapshot(struct mpl_commit *commit)
{
	struct mpl_plane *plane = commit->plane;
	struct mpl_data_plane *dp = &plane->data;
	bool changed = !mpl_list_empty(&commit->spaces);
	struct mpl_link *link;

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
	return make_view_table(commit);
}

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

/* What will be needed if listeners fail after the new map is published. */
static int prepare_retract(struct mpl_commit *commit)
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

/* All that can run short of memory, before anybody is told anything. */
static int prepare(struct mpl_commit *commit)
{
	int err;

	commit->stale = mpl_retired_new();
	if (!commit->stale)
		return -ENOMEM;
	mpl_compile_begin(&commit->compile, &commit->plane->data,
			  commit->stale);
	err = compile_views(commit);
	if (!err && commit->plane->verify)
		err = verify_views(commit);
	if (!err)
		err = make_snapshot(commit);
	if (!err)
		err = mpl_events_plan(&commit->events, commit->plane,
				      commit->log_global_before);
	if (!err && commit->fresh)
		err = retire_snapshot(commit->stale,
				      commit->plane->data.published);
	if (!err && commit->fresh && commit->events.count)
		err = prepare_retract(commit);
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
		if (is_doomed(view))
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
	forget_switches(commit);
	mpl_events_destroy(events);
	mpl_render_destroy(&commit->render);
	free(commit->undos.items);
	return err;
}
