/* SPDX-License-Identifier: BSD-3-Clause */
/* The maps of views: from changes of ranges to sections and radix nodes. */
#include "lib/map.h"

#include <errno.h>
#include <stdlib.h>

#include "dispatch/leaf.h"
#include "dispatch/publish.h"
#include "dispatch/retire.h"
#include "dispatch/section.h"
#include "dispatch/verify.h"
#include "lib/diff.h"
#include "lib/plane.h"

static uint32_t section_flags(const struct mpl_flat_range *flat)
{
	enum mpl_region_kind kind = flat->region->kind;
	uint32_t flags = (uint32_t)flat->dirty_mask << MPL_SECTION_DIRTY_SHIFT;

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
	/* In the other mode a ROM device does not touch its memory. */
	if (flat->poisoned && (kind != MPL_ROM_DEVICE || flat->rom_mode))
		return flags & ~(uint32_t)MPL_SECTION_CALLBACKS;
	if (kind != MPL_ROM_DEVICE || flat->rom_mode)
		flags |= MPL_SECTION_READ;
	if (kind != MPL_ROM_DEVICE && !flat->readonly)
		flags |= flat->dirty_mask ? MPL_SECTION_LOGGED :
					    MPL_SECTION_WRITE;
	return flags;
}

static int new_section(struct mpl_commit *commit, struct mpl_range *range)
{
	const struct mpl_flat_range *flat = &range->flat;
	char *host = flat->poisoned ? NULL : flat->region->host;
	const struct mpl_section section = {
		.start = flat->start,
		.span = flat->last - flat->start,
		.host = host ? (uint8_t *)host + flat->offset : NULL,
		.offset = flat->offset,
		.device = &flat->region->device,
		.doorbells = range->doorbells,
		.flags = section_flags(flat),
	};

	return mpl_section_new(&commit->plane->data, &section, &range->section);
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

/* Where leaves have been unpacked, or are new. */
static void seal_changes(struct mpl_commit *commit,
			 const struct mpl_changes *changes, uint32_t *entry)
{
	for (size_t i = 0; i < changes->count; i++) {
		const struct mpl_range *before = changes->items[i].before;
		const struct mpl_range *after = changes->items[i].after;

		if (before)
			mpl_compile_seal(&commit->compile, entry,
					 before->flat.start, before->flat.last);
		if (after)
			mpl_compile_seal(&commit->compile, entry,
					 after->flat.start, after->flat.last);
	}
}

/* Nodes are about a quarter as many as sections, if there are many. */
#define SECTIONS_PER_NODE 4

/*
 * When nodes are too many for the first-level cache, all leaves of the view are
 * packed at once: some of each kind is what processors foretell worst.
 */
static bool starts_packing(const struct mpl_commit *commit,
			   struct mpl_view *view)
{
	size_t coming = view->fresh ? view->count : view->changes.count;

	if (view->packed || !mpl_leaf_pays(&commit->plane->data,
					   coming / SECTIONS_PER_NODE))
		return false;
	view->packed = true;
	return true;
}

static int compile_view(struct mpl_commit *commit, struct mpl_view *view)
{
	const struct mpl_changes *changes = &view->changes;
	bool rebuild = starts_packing(commit, view) || view->fresh ||
		       commit->plane->full_rebuild;
	uint32_t entry = view->entry;
	int err = 0;

	commit->compile.pack = view->packed;
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
	if (!rebuild)
		seal_changes(commit, changes, &entry);
	view->entry = entry;
	view->stamp = mpl_stamp_new(&commit->plane->data);
	return 0;
}

int mpl_map_compile(struct mpl_commit *commit)
{
	struct mpl_link *link;
	int err = 0;

	MPL_LIST_EACH(link, &commit->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, touched);

		view->old_entry = view->entry;
		view->old_stamp = view->stamp;
		view->old_packed = view->packed;
	}
	MPL_LIST_EACH(link, &commit->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, touched);

		if (err)
			break;
		if (mpl_view_is_doomed(view))
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

int mpl_map_verify(struct mpl_commit *commit)
{
	struct mpl_link *link;
	int err = 0;

	MPL_LIST_EACH(link, &commit->plane->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, link);

		if (!err && !mpl_view_is_doomed(view))
			err = verify_view(commit, view);
	}
	return err;
}
