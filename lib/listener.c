/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/listener.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/address_space.h"
#include "lib/control.h"
#include "lib/events.h"
#include "lib/plane.h"

/* In ascending priority; behind those of the same. */
static void insert_by_priority(struct mpl_plane *plane,
			       struct mpl_listener *listener)
{
	struct mpl_link *after = plane->listeners.prev;

	while (after != &plane->listeners &&
	       MPL_OF(after, struct mpl_listener, link)->ops->priority >
		       listener->ops->priority)
		after = after->prev;
	mpl_list_insert(after, &listener->link);
}

static int tell_all(struct mpl_listener *listener, bool add)
{
	struct mpl_events events = { 0 };
	int err = mpl_events_plan_all(&events, listener, add);

	if (!err)
		err = mpl_events_run(&events, events.count);
	if (err)
		mpl_events_unwind(&events, 0);
	mpl_events_destroy(&events);
	return err;
}

struct registration {
	struct mpl_listener *listener;
	struct mpl_listener **out;
};

static int register_locked(struct mpl_plane *plane, void *arg)
{
	const struct registration *registration = arg;
	struct mpl_listener *listener = registration->listener;
	int err = tell_all(listener, true);

	if (err)
		return err;
	insert_by_priority(plane, listener);
	mpl_list_append(&listener->space->listeners, &listener->space_link);
	/* Here: the callbacks of the next commit may look for it. */
	*registration->out = listener;
	return 0;
}

int mpl_listener_register(struct mpl_address_space *as,
			  const struct mpl_listener_ops *ops, void *opaque,
			  struct mpl_listener **out)
{
	struct mpl_space *space = mpl_space_of(as);
	struct registration registration = { .out = out };
	struct mpl_listener *listener;
	int err;

	if (!ops)
		return -EINVAL;
	listener = calloc(1, sizeof(*listener));
	if (!listener)
		return -ENOMEM;
	listener->ops = ops;
	listener->opaque = opaque;
	listener->space = space;
	mpl_list_init(&listener->link);
	mpl_list_init(&listener->space_link);
	registration.listener = listener;
	err = mpl_control_run(space->plane, register_locked, &registration);
	if (err)
		free(listener);
	return err;
}

/* Its errors are logged: going away cannot be refused. */
static void tell_end(struct mpl_listener *listener)
{
	struct mpl_events events = { 0 };
	int err = mpl_events_plan_all(&events, listener, false);

	if (err)
		mpl_log(&listener->space->plane->data.log, MPL_LOG_ERROR,
			"listener \"%s\": error %d, it is not told that its ranges go",
			listener->ops->name ? listener->ops->name : "",
			-err);
	while (!err && events.done < events.count) {
		int failure = mpl_events_run(&events, events.count);

		if (!failure)
			break;
		mpl_log(&listener->space->plane->data.log, MPL_LOG_ERROR,
			"listener \"%s\": error %d while it is unregistered",
			listener->ops->name ? listener->ops->name : "",
			-failure);
		events.done++;
	}
	mpl_events_destroy(&events);
}

static void end(struct mpl_listener *listener)
{
	tell_end(listener);
	mpl_list_remove(&listener->link);
	mpl_list_remove(&listener->space_link);
	free(listener);
}

void mpl_listeners_end(struct mpl_space *space)
{
	while (!mpl_list_empty(&space->listeners))
		end(MPL_OF(space->listeners.next, struct mpl_listener,
			   space_link));
}

static int unregister_locked(struct mpl_plane *plane, void *arg)
{
	(void)plane;
	end(arg);
	return 0;
}

int mpl_listener_unregister(struct mpl_listener *listener)
{
	return mpl_control_run(listener->space->plane, unregister_locked,
			       listener);
}

int mpl_listener_error(const struct mpl_listener *listener)
{
	struct mpl_plane *plane = listener->space->plane;
	bool locked = mpl_control_lock(plane);
	bool degraded = listener->degraded;

	mpl_control_unlock(plane, locked);
	return degraded ? -ENOTRECOVERABLE : 0;
}

static int resync_locked(struct mpl_plane *plane, void *arg)
{
	struct mpl_listener *listener = arg;
	int err;

	(void)plane;
	if (!listener->ops->reset)
		return -ENOTSUP;
	err = listener->ops->reset(listener->opaque);
	if (!err) {
		listener->degraded = false;
		err = tell_all(listener, true);
	}
	listener->degraded = err != 0;
	return err;
}

int mpl_listener_resync(struct mpl_listener *listener)
{
	return mpl_control_run(listener->space->plane, resync_locked,
			       listener);
}
