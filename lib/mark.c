/* SPDX-License-Identifier: BSD-3-Clause */
/* Marking: which windows of which views a mutation can be seen in. */
#include <errno.h>

#include "lib/base/vector.h"
#include "lib/commit.h"
#include "lib/plane.h"

/* Beyond so many paths up from one commit's mutations, or on a path that goes
 * round, mark everything: render will tell whether there is an end. */
#define PATHS_MAX (UINT64_C(1) << 22)

void mpl_commit_touch(struct mpl_commit *commit, struct mpl_view *view)
{
	if (mpl_list_empty(&view->touched))
		mpl_list_append(&commit->views, &view->touched);
}

static int mark_view(struct mpl_commit *commit, struct mpl_view *view,
		     uint64_t start, uint64_t last)
{
	if (MPL_RESERVE(&view->marks, 1))
		return -ENOMEM;
	view->marks.items[view->marks.count++] =
		(struct mpl_span){ .start = start, .last = last };
	mpl_commit_touch(commit, view);
	return 0;
}

/* The window of an alias that shows [start, last] of its target. */
static bool through_alias(const struct mpl_region *alias, uint64_t start,
			  uint64_t last, struct mpl_span *out)
{
	uint64_t offset = alias->alias_offset;

	if (!alias->size || last < offset)
		return false;
	out->start = start > offset ? start - offset : 0;
	out->last = last - offset;
	if (out->last > mpl_region_last(alias))
		out->last = mpl_region_last(alias);
	return out->start <= out->last;
}

static int mark_up(struct mpl_commit *commit, struct mpl_region *region,
		   uint64_t start, uint64_t last, unsigned int level)
{
	struct mpl_link *link;
	int err = 0;

	if (!region->shown || !region->enabled)
		return 0;
	if (++commit->paths > PATHS_MAX || level > 2 * MPL_DEPTH_MAX)
		return -E2BIG;
	if (region->view) {
		/* By trace rules a root's own address counts. */
		uint64_t base = commit->plane->trace_rules ? region->offset :
							     0;

		if (start <= UINT64_MAX - base)
			err = mark_view(commit, region->view, start + base,
					last > UINT64_MAX - base ?
						UINT64_MAX :
						last + base);
	}
	if (!err && region->parent && start <= UINT64_MAX - region->offset) {
		struct mpl_region *parent = region->parent;
		uint64_t up_start = region->offset + start;
		uint64_t up_last = last > UINT64_MAX - region->offset ?
					   UINT64_MAX :
					   region->offset + last;

		if (parent->size && up_start <= mpl_region_last(parent))
			err = mark_up(commit, parent, up_start,
				      up_last < mpl_region_last(parent) ?
					      up_last :
					      mpl_region_last(parent),
				      level + 1);
	}
	MPL_LIST_EACH(link, &region->aliases) {
		struct mpl_region *alias =
			MPL_OF(link, struct mpl_region, alias_link);
		struct mpl_span window;

		/* Shown ones come first. */
		if (err || !alias->shown)
			break;
		if (through_alias(alias, start, last, &window))
			err = mark_up(commit, alias, window.start,
				      window.last, level + 1);
	}
	return err;
}

int mpl_mark(struct mpl_commit *commit, struct mpl_region *region,
	     uint64_t start, uint64_t last)
{
	int err = mark_up(commit, region, start, last, 0);

	return err == -E2BIG ? mpl_mark_everything(commit) : err;
}

int mpl_mark_all(struct mpl_commit *commit, struct mpl_region *region)
{
	if (!region->size)
		return 0;
	return mpl_mark(commit, region, 0, mpl_region_last(region));
}

int mpl_mark_everything(struct mpl_commit *commit)
{
	struct mpl_link *link;
	int err = 0;

	MPL_LIST_EACH(link, &commit->plane->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, link);

		view->marks.count = 0;
		if (!err && view->root)
			err = mark_view(commit, view, 0, UINT64_MAX);
	}
	return err;
}
