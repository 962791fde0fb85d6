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

static int tell(const struct mpl_event *event)
{
	const struct mpl_listener_ops *ops = event->listener->ops;

	if (event->listener->degraded)
		return 0;
	switch (event->kind) {
	case MPL_EVENT_BEGIN:
		return tell_plain(ops->begin, event);
	case MPL_EVENT_PREPARE:
		return ops->prepare ? ops->prepare(event->listener->opaque,
						   &event->plan) :
				      0;
	case MPL_EVENT_RANGE_DEL:
		return tell_range(ops->range_del, event);
	case MPL_EVENT_RANGE_ADD:
		return tell_range(ops->range_add, event);
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
		int err = tell(&events->items[events->done]);

		/* Positive is not a failure that anybody could unwind. */
		if (err)
			return err < 0 ? err : -EINVAL;
		events->done++;
	}
	return 0;
}

static void degrade(struct mpl_listener *listener, int err)
{
	listener->degraded = true;
	mpl_log(&listener->space->plane->data.log, MPL_LOG_ERROR,
		"listener \"%s\" of address space \"%s\" failed to take a change back (error %d): it is degraded until mpl_listener_resync()",
		listener->ops->name ? listener->ops->name : "",
		listener->space->name, -err);
}

void mpl_events_unwind(struct mpl_events *events, size_t end)
{
	while (events->done > end) {
		struct mpl_event event = events->items[--events->done];
		struct mpl_listener *listener = event.listener;
		int err;

		if (event.kind == MPL_EVENT_BEGIN) {
			if (!listener->degraded && listener->ops->abort)
				listener->ops->abort(listener->opaque);
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
		err = tell(&event);
		if (err)
			degrade(listener, err);
	}
}
