/* SPDX-License-Identifier: BSD-3-Clause */
/* Effective roots: which view an address space shows. */
#include <errno.h>
#include <stdlib.h>

#include "lib/address_space.h"
#include "lib/commit.h"
#include "lib/plane.h"
#include "lib/tree.h"

/* 2^64, written UINT64_MAX, is the greatest: the comparison just works. */
static bool fits(const struct mpl_region *outer, const struct mpl_region *inner)
{
	return inner->size <= outer->size;
}

/*
 * Where to go from a region on the way down: to another region, nowhere
 * further (the region itself), or to nothing (NULL: the empty view).
 */
static struct mpl_region *step_of(const struct mpl_plane *plane,
				  struct mpl_region *region)
{
	struct mpl_region *child;
	bool adds = region->readonly || region->nonvolatile;

	if (!region->enabled || !region->size)
		return NULL;
	if (region->kind != MPL_ALIAS && region->kind != MPL_CONTAINER)
		return region;
	if (region->kind == MPL_CONTAINER && !region->enabled_children)
		return NULL;
	if (adds && !plane->trace_rules)
		return region;
	if (region->kind == MPL_ALIAS)
		return !region->alias_offset && fits(region, region->target) ?
			       region->target :
			       region;
	if (region->enabled_children > 1)
		return region;
	child = (struct mpl_region *)region->enabled_xor;
	return !child->offset && fits(region, child) ? child : region;
}

void mpl_root_check(struct mpl_commit *commit, struct mpl_region *region)
{
	struct mpl_link *link;

	if (!region || mpl_list_empty(&region->deps) ||
	    step_of(commit->plane, region) == region->step)
		return;
	MPL_LIST_EACH(link, &region->deps) {
		struct mpl_space *space =
			MPL_OF(link, struct mpl_dep, link)->space;

		if (mpl_list_empty(&space->dirty))
			mpl_list_append(&commit->spaces, &space->dirty);
	}
}

static void unlink_chain(struct mpl_chain *chain)
{
	for (size_t i = 0; i < chain->count; i++)
		mpl_list_remove(&chain->deps[i].link);
}

static void link_chain(struct mpl_plane *plane, struct mpl_chain *chain)
{
	for (size_t i = 0; i < chain->count; i++) {
		struct mpl_region *region = chain->deps[i].region;

		mpl_list_append(&region->deps, &chain->deps[i].link);
		region->step = step_of(plane, region);
	}
}

/* Walk from a root down; *last: the effective root, or NULL. */
static int build_chain(struct mpl_space *space, struct mpl_chain *chain,
		       struct mpl_region **last)
{
	struct mpl_plane *plane = space->plane;
	struct mpl_region *region = space->root;
	size_t count = 1;

	*chain = (struct mpl_chain){ 0 };
	*last = NULL;
	if (space->ending)
		return 0;
	for (struct mpl_region *next = step_of(plane, region);
	     next && next != region; next = step_of(plane, region)) {
		region = next;
		/* An alias that shows nothing but itself. */
		if (++count > MPL_DEPTH_MAX + 1)
			return -ELOOP;
	}
	chain->deps = calloc(count, sizeof(chain->deps[0]));
	if (!chain->deps)
		return -ENOMEM;
	chain->count = count;
	region = space->root;
	for (size_t i = 0; i < count; i++) {
		chain->deps[i].space = space;
		chain->deps[i].region = region;
		mpl_list_init(&chain->deps[i].link);
		*last = region;
		region = step_of(plane, region);
	}
	/* The last step leads to itself, or to nothing. */
	if (!region)
		*last = NULL;
	return 0;
}

static int view_for(struct mpl_commit *commit, struct mpl_region *root,
		    struct mpl_view **out)
{
	int err;

	if (!root) {
		*out = commit->plane->empty_view;
		return 0;
	}
	if (!root->view) {
		err = mpl_view_new(commit->plane, root, &root->view);
		if (err)
			return err;
		root->view->fresh = true;
		mpl_tree_show(root);
	}
	*out = root->view;
	return 0;
}

static int update_space(struct mpl_commit *commit, struct mpl_space *space)
{
	struct mpl_region *root;
	struct mpl_chain chain;
	struct mpl_view *view;
	int err = build_chain(space, &chain, &root);

	if (!err)
		err = view_for(commit, root, &view);
	if (err) {
		free(chain.deps);
		return err;
	}
	mpl_commit_touch(commit, view);
	space->old_view = space->view;
	space->old_chain = space->chain;
	space->chain = chain;
	unlink_chain(&space->old_chain);
	link_chain(commit->plane, &space->chain);
	if (space->view) {
		mpl_commit_touch(commit, space->view);
		space->view->users--;
	}
	view->users++;
	space->view = view;
	space->switched = true;
	return 0;
}

int mpl_root_update(struct mpl_commit *commit)
{
	struct mpl_link *link;

	MPL_LIST_EACH(link, &commit->spaces) {
		int err = update_space(commit,
				       MPL_OF(link, struct mpl_space, dirty));

		if (err)
			return err;
	}
	return 0;
}

void mpl_root_unwind(struct mpl_commit *commit)
{
	struct mpl_link *link;

	MPL_LIST_EACH(link, &commit->spaces) {
		struct mpl_space *space = MPL_OF(link, struct mpl_space, dirty);

		if (!space->switched)
			continue;
		space->view->users--;
		unlink_chain(&space->chain);
		free(space->chain.deps);
		space->chain = space->old_chain;
		space->view = space->old_view;
		link_chain(commit->plane, &space->chain);
		if (space->view)
			space->view->users++;
		space->switched = false;
	}
}

void mpl_root_settle(struct mpl_commit *commit)
{
	struct mpl_link *link;

	MPL_LIST_EACH(link, &commit->spaces) {
		struct mpl_space *space = MPL_OF(link, struct mpl_space, dirty);

		free(space->old_chain.deps);
		space->switched = false;
	}
}

void mpl_root_forget(struct mpl_space *space)
{
	unlink_chain(&space->chain);
	free(space->chain.deps);
	space->chain = (struct mpl_chain){ 0 };
}
