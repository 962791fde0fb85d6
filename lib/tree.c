/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/tree.h"

#include <errno.h>

#include "lib/plane.h"

static struct mpl_region *height_target(const struct mpl_region *region)
{
	return region->folded ? NULL : region->target;
}

/*
 * Is `sought` below `from`?  Heights prune what is too low to contain it.
 * *fold is the last alias on the way there, NULL if there is none.
 */
static bool reaches(struct mpl_region *from, const struct mpl_region *sought,
		    struct mpl_region **fold)
{
	struct mpl_region *target = height_target(from);
	struct mpl_link *link;

	if (from == sought) {
		*fold = NULL;
		return true;
	}
	/* Many paths may lead here: one look is enough. */
	if (from->height <= sought->height ||
	    from->searched == from->plane->searches)
		return false;
	from->searched = from->plane->searches;
	if (target && reaches(target, sought, fold)) {
		if (!*fold)
			*fold = from;
		return true;
	}
	MPL_LIST_EACH(link, &from->children)
		if (reaches(MPL_OF(link, struct mpl_region, sibling), sought,
			    fold))
			return true;
	return false;
}

/* Lift a region to at least `height`, and all that must be higher. */
static int raise_height(struct mpl_region *region, unsigned int height)
{
	struct mpl_link *link;
	int err = 0;

	if (region->height >= height)
		return 0;
	if (height >= MPL_DEPTH_MAX)
		return -E2BIG;
	region->height = height;
	if (region->parent)
		err = raise_height(region->parent, height + 1);
	MPL_LIST_EACH(link, &region->aliases) {
		if (err)
			break;
		struct mpl_region *alias =
			MPL_OF(link, struct mpl_region, alias_link);

		if (!alias->folded)
			err = raise_height(alias, height + 1);
	}
	return err;
}

#define HEIGHT_UNKNOWN UINT32_MAX

static unsigned int exact_height(struct mpl_region *region)
{
	struct mpl_link *link;
	unsigned int height = 0;

	if (region->height != HEIGHT_UNKNOWN)
		return region->height;
	if (height_target(region))
		height = exact_height(region->target) + 1;
	MPL_LIST_EACH(link, &region->children) {
		struct mpl_region *child =
			MPL_OF(link, struct mpl_region, sibling);
		unsigned int least = exact_height(child) + 1;

		if (least > height)
			height = least;
	}
	region->height = height;
	return height;
}

/* Heights never sink by themselves; this lets all of them down. */
static void recompute_heights(struct mpl_plane *plane)
{
	struct mpl_link *link;

	pthread_mutex_lock(&plane->regions_mutex);
	MPL_LIST_EACH(link, &plane->regions)
		MPL_OF(link, struct mpl_region, link)->height = HEIGHT_UNKNOWN;
	MPL_LIST_EACH(link, &plane->regions)
		exact_height(MPL_OF(link, struct mpl_region, link));
	pthread_mutex_unlock(&plane->regions_mutex);
}

int mpl_tree_may_add(struct mpl_region *parent, struct mpl_region *child)
{
	struct mpl_region *fold;
	int err;

	/* A cycle can stay if an alias on it is folded. */
	while (parent->height <= child->height) {
		parent->plane->searches++;
		if (!reaches(child, parent, &fold))
			break;
		if (!fold)
			return -ELOOP;
		fold->folded = true;
		parent->plane->folds++;
		recompute_heights(parent->plane);
	}
	if (parent->height > child->height)
		return 0;
	err = raise_height(parent, child->height + 1);
	if (!err)
		return 0;
	recompute_heights(parent->plane);
	err = raise_height(parent, child->height + 1);
	if (err)
		recompute_heights(parent->plane);
	return err;
}

static void count_enabled(struct mpl_region *parent, struct mpl_region *child,
			  int more)
{
	if (!parent || !child->enabled)
		return;
	parent->enabled_children += (uint32_t)more;
	parent->enabled_xor ^= (uintptr_t)child;
}

static void add_to_index(struct mpl_region *child)
{
	if (!child->parent || !child->size)
		return;
	child->interval.start = child->offset;
	child->interval.last =
		mpl_region_last(child) > UINT64_MAX - child->offset ?
			UINT64_MAX :
			child->offset + mpl_region_last(child);
	mpl_interval_insert(&child->parent->index, &child->interval);
	child->indexed = true;
}

static void drop_from_index(struct mpl_region *child)
{
	if (!child->indexed)
		return;
	mpl_interval_remove(&child->parent->index, &child->interval);
	child->indexed = false;
}

void mpl_tree_attach(struct mpl_region *parent, struct mpl_region *child)
{
	child->parent = parent;
	mpl_list_append(&parent->children, &child->sibling);
	add_to_index(child);
	count_enabled(parent, child, 1);
	if (parent->shown)
		mpl_tree_show(child);
}

void mpl_tree_detach(struct mpl_region *child)
{
	struct mpl_region *parent = child->parent;

	if (parent->shown)
		mpl_tree_hide(child);
	count_enabled(parent, child, -1);
	drop_from_index(child);
	mpl_list_remove(&child->sibling);
	child->parent = NULL;
}

void mpl_tree_set_enabled(struct mpl_region *region, bool enabled)
{
	count_enabled(region->parent, region, -1);
	region->enabled = enabled;
	count_enabled(region->parent, region, 1);
}

void mpl_tree_set_size(struct mpl_region *region, uint64_t size)
{
	drop_from_index(region);
	region->size = size;
	add_to_index(region);
}

void mpl_tree_show(struct mpl_region *region)
{
	struct mpl_link *link;

	if (region->shown++)
		return;
	if (region->target) {
		mpl_list_remove(&region->alias_link);
		mpl_list_insert(&region->target->aliases, &region->alias_link);
		mpl_tree_show(region->target);
	}
	MPL_LIST_EACH(link, &region->children)
		mpl_tree_show(MPL_OF(link, struct mpl_region, sibling));
}

void mpl_tree_hide(struct mpl_region *region)
{
	struct mpl_link *link;

	if (--region->shown)
		return;
	if (region->target) {
		mpl_list_remove(&region->alias_link);
		mpl_list_append(&region->target->aliases, &region->alias_link);
		mpl_tree_hide(region->target);
	}
	MPL_LIST_EACH(link, &region->children)
		mpl_tree_hide(MPL_OF(link, struct mpl_region, sibling));
}
