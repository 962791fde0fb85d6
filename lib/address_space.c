/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/address_space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/retire.h"
#include "lib/commit.h"
#include "lib/control.h"
#include "lib/listener.h"

_Static_assert(offsetof(struct mpl_space, pub) == 0, "mpl_space_of() casts");

static int take_slot(struct mpl_plane *plane, struct mpl_space *space)
{
	uint32_t slot;

	for (slot = 0; slot < plane->slots; slot++)
		if (!plane->spaces[slot])
			break;
	if (slot == plane->max_spaces)
		return -ENOSPC;
	if (slot == plane->slots)
		plane->slots++;
	plane->spaces[slot] = space;
	space->pub.slot = slot;
	return 0;
}

static void space_free(struct mpl_space *space)
{
	mpl_bounce_destroy(&space->bounce);
	mpl_region_unref(space->root);
	free(space->name);
	free(space);
}

/* A commit of its own that looks for one space's root. */
static int commit_space(struct mpl_plane *plane, struct mpl_space *space)
{
	struct mpl_commit commit;

	mpl_commit_init(&commit, plane);
	mpl_list_append(&commit.spaces, &space->dirty);
	return mpl_commit_carry_out(&commit);
}

static int new_locked(struct mpl_plane *plane, void *arg)
{
	struct mpl_space *space = arg;
	int err;

	if (plane->data.retired_bytes > plane->retired_max &&
	    mpl_retire_poll(&plane->data) > plane->retired_max)
		return -EAGAIN;
	err = take_slot(plane, space);
	if (err)
		return err;
	err = commit_space(plane, space);
	if (err)
		plane->spaces[space->pub.slot] = NULL;
	else
		plane->stats.spaces++;
	return err;
}

int mpl_address_space_new(struct mpl_plane *plane, const char *name,
			  struct mpl_region *root,
			  struct mpl_address_space **out)
{
	struct mpl_space *space;
	int err;

	if (!root || root->plane != plane)
		return -EINVAL;
	space = calloc(1, sizeof(*space));
	if (!space)
		return -ENOMEM;
	mpl_bounce_init(&space->bounce);
	mpl_list_init(&space->listeners);
	mpl_list_init(&space->dirty);
	mpl_list_init(&space->copies);
	space->plane = plane;
	space->name = strdup(name ? name : "");
	space->root = root;
	mpl_region_ref(root);
	err = space->name ? mpl_control_run(plane, new_locked, space) :
			    -ENOMEM;
	if (err)
		space_free(space);
	else
		*out = &space->pub;
	return err;
}

static int free_locked(struct mpl_plane *plane, void *arg)
{
	struct mpl_space *space = arg;
	int err;

	if (space->attached || mpl_map_bounced(&space->pub))
		return -EBUSY;
	/* Listeners first hear that all ranges go, as for any change. */
	space->ending = true;
	err = commit_space(plane, space);
	if (err) {
		space->ending = false;
		return err;
	}
	mpl_listeners_end(space);
	space->view->users--;
	mpl_root_forget(space);
	plane->spaces[space->pub.slot] = NULL;
	plane->stats.spaces--;
	space_free(space);
	return 0;
}

int mpl_address_space_free(struct mpl_address_space *as)
{
	struct mpl_space *space = mpl_space_of(as);

	return mpl_control_run(space->plane, free_locked, space);
}

void mpl_space_destroy(struct mpl_space *space)
{
	while (!mpl_list_empty(&space->listeners)) {
		struct mpl_listener *listener =
			MPL_OF(space->listeners.next, struct mpl_listener,
			       space_link);

		mpl_list_remove(&listener->link);
		mpl_list_remove(&listener->space_link);
		free(listener);
	}
	mpl_root_forget(space);
	space_free(space);
}

const char *mpl_address_space_name(const struct mpl_address_space *as)
{
	return mpl_space_of(as)->name;
}

bool mpl_address_space_shares(const struct mpl_address_space *a,
			      const struct mpl_address_space *b)
{
	struct mpl_plane *plane = mpl_space_of(a)->plane;
	bool locked, shares;

	if (plane != mpl_space_of(b)->plane)
		return false;
	locked = mpl_control_lock(plane);
	shares = mpl_space_of(a)->view == mpl_space_of(b)->view;
	mpl_control_unlock(plane, locked);
	return shares;
}

int mpl_address_space_walk(struct mpl_address_space *as,
			   int (*fn)(void *arg,
				     const struct mpl_flat_range *range),
			   void *arg)
{
	struct mpl_space *space = mpl_space_of(as);
	const struct mpl_range *range;
	int ret = 0;

	if (mpl_control_held(space->plane))
		return -EDEADLK;
	mpl_control_lock(space->plane);
	for (range = mpl_view_first(space->view); range && !ret;
	     range = mpl_view_next(space->view, range))
		ret = fn(arg, &range->flat);
	mpl_control_unlock(space->plane, true);
	return ret;
}

static int walk_ioeventfds(const struct mpl_view *view,
			   int (*fn)(void *arg,
				     const struct mpl_flat_ioeventfd *ev),
			   void *arg)
{
	struct mpl_flat_ioeventfds list = { 0 };
	const struct mpl_range *range;
	int ret = 0;

	for (range = mpl_view_first(view); range && !ret;
	     range = mpl_view_next(view, range)) {
		list.count = 0;
		ret = mpl_flat_ioeventfds_add(&list, range);
		for (size_t i = 0; i < list.count && !ret; i++)
			ret = fn(arg, &list.items[i]);
	}
	free(list.items);
	return ret;
}

int mpl_address_space_walk_ioeventfds(
	struct mpl_address_space *as,
	int (*fn)(void *arg, const struct mpl_flat_ioeventfd *ev), void *arg)
{
	struct mpl_space *space = mpl_space_of(as);
	int ret;

	if (mpl_control_held(space->plane))
		return -EDEADLK;
	mpl_control_lock(space->plane);
	ret = walk_ioeventfds(space->view, fn, arg);
	mpl_control_unlock(space->plane, true);
	return ret;
}
