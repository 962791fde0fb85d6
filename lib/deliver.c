/* SPDX-License-Identifier: BSD-3-Clause */
/* Telling events to listeners, forwards and backwards. */
#include <errno.h>

#include "lib/address_space.h"
#include "lib/events.h"
#include "lib/plane.h"

static enum mpl_event_kind inverse(enum mpl_event_kind kind)
{
	switch (kind) {
	case MPL_EVENT_RANGE_DEL:
		return MPL_EVENT_RANGE_ADD;
	case MPL_EVENT_RANGE_ADD:
		return MPL_EVENT_RANGE_DEL;
	case MPL_EVENT_LOG_START:
		return MPL_EVENT_LOG_STOP;
	case MPL_EVENT_LOG_STOP:
		return MPL_EVENT_LOG_START;
	case MPL_EVENT_IOEVENTFD_DEL:
		return MPL_EVENT_IOEVENTFD_ADD;
	case MPL_EVENT_IOEVENTFD_ADD:
		return MPL_EVENT_IOEVENTFD_DEL;
	case MPL_EVENT_COALESCED_DEL:
		return MPL_EVENT_COALESCED_ADD;
	case MPL_EVENT_COALESCED_ADD:
		return MPL_EVENT_COALESCED_DEL;
	case MPL_EVENT_LOG_ON:
		return MPL_EVENT_LOG_OFF;
	case MPL_EVENT_LOG_OFF:
		return MPL_EVENT_LOG_ON;
	default:
		return kind;
	}
}

typedef int range_fn(void *opaque, const struct mpl_flat_range *range);
typedef int zone_fn(void *opaque, const struct mpl_flat_range *range,
		    uint64_t start, uint64_t last);
typedef int mask_fn(void *opaque, const struct mpl_flat_range *range,
		    uint8_t old_mask, uint8_t new_mask);

static int tell_range(range_fn *fn, const struct mpl_event *event)
{
	return fn ? fn(event->listener->opaque, &event->range.flat) : 0;
}

static int tell_zone(zone_fn *fn, const struct mpl_event *event)
{
	return fn ? fn(event->listener->opaque, &event->range.flat,
		       event->range.start, event->range.last) :
		    0;
}

static int tell_masks(mask_fn *fn, const struct mpl_event *event)
{
	return fn ? fn(event->listener->opaque, &event->range.flat,
		       event->range.old_mask, event->range.new_mask) :
		    0;
}

static int tell_ioeventfd(int (*fn)(void *opaque,
				    const struct mpl_flat_ioeventfd *ev),
			  const struct mpl_event *event)
{
	return fn ? fn(event->listener->opaque, &event->ioeventfd) : 0;
}

static int tell_global(const struct mpl_event *event, bool on)
{
	const struct mpl_listener *listener = event->listener;

	return listener->ops->log_global ?
		       listener->ops->log_global(listener->opaque,
						 event->client, on) :
		       0;
}

static int tell_plain(int (*fn)(void *opaque), const struct mpl_event *event)
{
	return fn ? fn(event->listener->opaque) : 0;
}

static int tell_step(int (*fn)(void *opaque, bool undo),
		     const struct mpl_event *event, bool undo)
{
	return fn ? fn(event->listener->opaque, undo) : 0;
}

static int tell_begin(const struct mpl_event *event)
{
	int err = tell_plain(event->listener->ops->begin, event);

	event->listener->begun = !err;
	return err;
}

static int tell(const struct mpl_event *event, bool undo)
{
	const struct mpl_listener_ops *ops = event->listener->ops;

	if (event->kind == MPL_EVENT_BEGIN)
		event->listener->begun = false;
	if (event->listener->degraded)
		return 0;
	switch (event->kind) {
	case MPL_EVENT_BEGIN:
		return tell_begin(event);
	case MPL_EVENT_PREPARE:
		return ops->prepare ? ops->prepare(event->listener->opaque,
						   &event->plan) :
				      0;
	case MPL_EVENT_RANGE_DEL:
		return tell_range(ops->range_del, event);
	case MPL_EVENT_RANGE_ADD:
		return tell_range(ops->range_add, event);
	case MPL_EVENT_TAKE:
		return tell_step(ops->take, event, undo);
	case MPL_EVENT_PUT:
		return tell_step(ops->put, event, undo);
	case MPL_EVENT_LOG_START:
		return tell_masks(ops->log_start, event);
	case MPL_EVENT_LOG_STOP:
		return tell_masks(ops->log_stop, event);
	case MPL_EVENT_IOEVENTFD_DEL:
		return tell_ioeventfd(ops->ioeventfd_del, event);
	case MPL_EVENT_IOEVENTFD_ADD:
		return tell_ioeventfd(ops->ioeventfd_add, event);
	case MPL_EVENT_COALESCED_DEL:
		return tell_zone(ops->coalesced_del, event);
	case MPL_EVENT_COALESCED_ADD:
		return tell_zone(ops->coalesced_add, event);
	case MPL_EVENT_LOG_ON:
		return tell_global(event, true);
	case MPL_EVENT_LOG_OFF:
		return tell_global(event, false);
	case MPL_EVENT_COMMIT:
		return tell_plain(ops->commit, event);
	}
	return 0;
}

int mpl_events_run(struct mpl_events *events, size_t end)
{
	while (events->done < end) {
		int err = tell(&events->items[events->done], false);

		/* Positive is not a failure that anybody could unwind. */
		if (err)
			return err < 0 ? err : -EINVAL;
		events->done++;
	}
	return 0;
}

int mpl_listener_plan_each(const struct mpl_listener_plan *plan,
			   int (*fn)(void *arg,
				     const struct mpl_flat_range *before,
				     const struct mpl_flat_range *after),
			   void *arg)
{
	const struct mpl_changes *changes = plan->changes;
	int result = 0;

	for (size_t i = 0; i < changes->count && !result; i++) {
		const struct mpl_range *before = changes->items[i].before;
		const struct mpl_range *after = changes->items[i].after;

		result = fn(arg, before ? &before->flat : NULL,
			    after ? &after->flat : NULL);
	}
	return result;
}

static void degrade(struct mpl_listener *listener, int err)
{
	listener->degraded = true;
	mpl_log(&listener->space->plane->data.log, MPL_LOG_ERROR,
		"listener \"%s\" of address space \"%s\" failed to take a "
		"change back (error %d): it is degraded until "
		"mpl_listener_resync()",
		listener->ops->name ? listener->ops->name : "",
		listener->space->name, -err);
}

/* Also who was degraded since it began: it may hold what it must let go. */
static void tell_abort(struct mpl_listener *listener)
{
	int err = 0;

	if (listener->begun && listener->ops->abort)
		err = listener->ops->abort(listener->opaque);
	listener->begun = false;
	if (err && !listener->degraded)
		degrade(listener, err);
}

void mpl_events_unwind(struct mpl_events *events, size_t end)
{
	while (events->done > end) {
		struct mpl_event event = events->items[--events->done];
		struct mpl_listener *listener = event.listener;
		int err;

		if (event.kind == MPL_EVENT_BEGIN) {
			tell_abort(listener);
			continue;
		}
		if (event.kind == MPL_EVENT_PREPARE ||
		    event.kind == MPL_EVENT_COMMIT)
			continue;
		event.kind = inverse(event.kind);
		if (event.kind == MPL_EVENT_LOG_START ||
		    event.kind == MPL_EVENT_LOG_STOP) {
			uint8_t mask = event.range.old_mask;

			event.range.old_mask = event.range.new_mask;
			event.range.new_mask = mask;
		}
		err = tell(&event, true);
		if (err)
			degrade(listener, err);
	}
}
