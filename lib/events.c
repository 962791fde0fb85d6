/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/events.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/address_space.h"
#include "lib/base/vector.h"
#include "lib/plane.h"

void mpl_events_destroy(struct mpl_events *events)
{
	free(events->items);
	free(events->all.items);
	*events = (struct mpl_events){ 0 };
}

static int push(struct mpl_events *events, const struct mpl_event *event)
{
	if (MPL_RESERVE(events, 1))
		return -ENOMEM;
	events->items[events->count++] = *event;
	return 0;
}

static int push_plain(struct mpl_events *events, enum mpl_event_kind kind,
		      struct mpl_listener *listener)
{
	return push(events,
		    &(struct mpl_event){ .kind = kind, .listener = listener });
}

static int push_range(struct mpl_events *events, enum mpl_event_kind kind,
		      struct mpl_listener *listener,
		      const struct mpl_flat_range *flat)
{
	return push(events, &(struct mpl_event){ .kind = kind,
						 .listener = listener,
						 .range.flat = *flat });
}

/* The zones of a range, clipped to it. */
static int push_zones(struct mpl_events *events, enum mpl_event_kind kind,
		      struct mpl_listener *listener,
		      const struct mpl_range *range)
{
	const struct mpl_coalesced *zones = range->coalesced;
	uint64_t low = range->flat.offset;
	uint64_t high = low + (range->flat.last - range->flat.start);
	int err = 0;

	for (uint32_t i = 0; zones && i < zones->count && !err; i++) {
		uint64_t start = zones->zones[i].offset;
		uint64_t last = zones->zones[i].last;

		if (start > high || last < low)
			continue;
		start = start > low ? start : low;
		last = last < high ? last : high;
		err = push(events, &(struct mpl_event){
					   .kind = kind,
					   .listener = listener,
					   .range.flat = range->flat,
					   .range.start = range->flat.start +
							  (start - low),
					   .range.last = range->flat.start +
							 (last - low),
				   });
	}
	return err;
}

static int push_masks(struct mpl_events *events, struct mpl_listener *listener,
		      const struct mpl_flat_range *flat, uint8_t old_mask,
		      uint8_t new_mask)
{
	struct mpl_event event = {
		.listener = listener,
		.range.flat = *flat,
		.range.old_mask = old_mask,
		.range.new_mask = new_mask,
	};
	int err = 0;

	event.kind = MPL_EVENT_LOG_START;
	if (new_mask & ~old_mask)
		err = push(events, &event);
	event.kind = MPL_EVENT_LOG_STOP;
	if (!err && old_mask & ~new_mask)
		err = push(events, &event);
	return err;
}

struct collector {
	struct mpl_flat_ioeventfds *list;
	const struct mpl_flat_range *flat;
};

/* What of a doorbell lies in the range. */
static int collect_doorbell(void *arg, const struct mpl_doorbell *item)
{
	const struct collector *collector = arg;
	const struct mpl_flat_range *flat = collector->flat;
	struct mpl_flat_ioeventfds *list = collector->list;
	uint64_t low = flat->offset;
	uint64_t high = low + (flat->last - flat->start);
	uint64_t more = item->size ? item->size - 1 : 0;
	uint64_t last = item->offset > UINT64_MAX - more ? UINT64_MAX :
							    item->offset + more;

	if (item->offset > high || last < low)
		return 0;
	if (MPL_RESERVE(list, 1))
		return -ENOMEM;
	list->items[list->count++] = (struct mpl_flat_ioeventfd){
		.region = flat->region,
		.gpa = flat->start + (item->offset - low),
		.data = item->data,
		.size = item->size,
		.match = item->match,
		.whole = item->offset >= low && last <= high,
		.fd = item->event->fd,
		.caller_fd = item->event->caller_fd,
	};
	return 0;
}

int mpl_flat_ioeventfds_add(struct mpl_flat_ioeventfds *list,
			    const struct mpl_range *range)
{
	struct collector collector = { .list = list, .flat = &range->flat };

	return mpl_doorbells_each(range->doorbells, collect_doorbell,
				  &collector);
}

/* Those of a range that another one at the same place has not. */
static int add_missing(struct mpl_flat_ioeventfds *list,
		       const struct mpl_range *range,
		       const struct mpl_range *other)
{
	struct collector collector = { .list = list, .flat = &range->flat };

	return mpl_doorbells_missing(range->doorbells, other->doorbells,
				     collect_doorbell, &collector);
}

static int compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int compare_ioeventfds(const void *a, const void *b)
{
	const struct mpl_flat_ioeventfd *left = a;
	const struct mpl_flat_ioeventfd *right = b;
	int order = compare_u64(left->gpa, right->gpa);

	if (!order)
		order = compare_u64(left->size, right->size);
	if (!order)
		order = compare_u64(left->match, right->match);
	if (!order)
		order = compare_u64(left->data, right->data);
	if (!order)
		order = compare_u64(left->whole, right->whole);
	/* The duplicate's number is the event's identity. */
	if (!order)
		order = compare_u64((uint64_t)left->fd, (uint64_t)right->fd);
	return order;
}

/* Events of `kind` for what is in `list` and not in `other`, both sorted. */
static int push_ioeventfds(struct mpl_events *events, enum mpl_event_kind kind,
			   struct mpl_listener *listener,
			   const struct mpl_flat_ioeventfds *list,
			   const struct mpl_flat_ioeventfds *other)
{
	size_t at = 0;
	int err = 0;

	for (size_t i = 0; i < list->count && !err; i++) {
		int order = 1;

		while (at < other->count &&
		       (order = compare_ioeventfds(&other->items[at],
						   &list->items[i])) < 0)
			at++;
		if (at < other->count && order == 0)
			at++;
		else
			err = push(events, &(struct mpl_event){
						   .kind = kind,
						   .listener = listener,
						   .ioeventfd = list->items[i],
					   });
	}
	return err;
}

/*
 * Doorbells that ranges of the differences have, before and after, but for
 * those that a range keeps.
 */
static int collect_ioeventfds(const struct mpl_changes *changes,
			      struct mpl_flat_ioeventfds *before,
			      struct mpl_flat_ioeventfds *after)
{
	int err = 0;

	for (size_t i = 0; i < changes->count && !err; i++) {
		const struct mpl_range *old = changes->items[i].before;
		const struct mpl_range *now = changes->items[i].after;

		if (old && now) {
			err = add_missing(before, old, now);
			if (!err)
				err = add_missing(after, now, old);
		} else {
			err = mpl_flat_ioeventfds_add(old ? before : after,
						      old ? old : now);
		}
	}
	if (before->count > 1)
		qsort(before->items, before->count, sizeof(before->items[0]),
		      compare_ioeventfds);
	if (after->count > 1)
		qsort(after->items, after->count, sizeof(after->items[0]),
		      compare_ioeventfds);
	return err;
}

static int push_ioeventfd_changes(struct mpl_events *events,
				  struct mpl_listener *listener,
				  const struct mpl_changes *changes, bool add)
{
	struct mpl_flat_ioeventfds before = { 0 }, after = { 0 };
	int err = collect_ioeventfds(changes, &before, &after);

	if (!err && add)
		err = push_ioeventfds(events, MPL_EVENT_IOEVENTFD_ADD, listener,
				      &after, &before);
	else if (!err)
		err = push_ioeventfds(events, MPL_EVENT_IOEVENTFD_DEL, listener,
				      &before, &after);
	free(before.items);
	free(after.items);
	return err;
}

static int push_removals(struct mpl_events *events,
			 struct mpl_listener *listener,
			 const struct mpl_changes *changes)
{
	int err = push_ioeventfd_changes(events, listener, changes, false);

	for (size_t i = 0; i < changes->count && !err; i++) {
		const struct mpl_range *before = changes->items[i].before;
		const struct mpl_range *after = changes->items[i].after;

		if (!before || (after && after->coalesced == before->coalesced))
			continue;
		err = push_zones(events, MPL_EVENT_COALESCED_DEL, listener,
				 before);
		if (!err && !after)
			err = push_range(events, MPL_EVENT_RANGE_DEL, listener,
					 &before->flat);
	}
	return err ? err : push_plain(events, MPL_EVENT_TAKE, listener);
}

static int push_additions(struct mpl_events *events,
			  struct mpl_listener *listener,
			  const struct mpl_changes *changes)
{
	int err = push_plain(events, MPL_EVENT_PUT, listener);

	for (size_t i = 0; i < changes->count && !err; i++) {
		const struct mpl_range *before = changes->items[i].before;
		const struct mpl_range *after = changes->items[i].after;

		if (!after)
			continue;
		if (!before)
			err = push_range(events, MPL_EVENT_RANGE_ADD, listener,
					 &after->flat);
		else
			err = push_masks(events, listener, &after->flat,
					 before->flat.dirty_mask,
					 after->flat.dirty_mask);
		if (!err && (!before || before->coalesced != after->coalesced))
			err = push_zones(events, MPL_EVENT_COALESCED_ADD,
					 listener, after);
	}
	return err ? err :
		     push_ioeventfd_changes(events, listener, changes, true);
}

static int push_log_global(struct mpl_events *events,
			   struct mpl_listener *listener,
			   enum mpl_event_kind kind, uint8_t clients)
{
	int err = 0;

	for (int i = 0; i < MPL_LOG_CLIENTS && !err; i++)
		if (clients & 1u << i)
			err = push(events, &(struct mpl_event){
						   .kind = kind,
						   .listener = listener,
						   .client = i,
					   });
	return err;
}

/* The differences that a listener's address space has in this commit. */
static const struct mpl_changes *changes_of(const struct mpl_listener *listener)
{
	const struct mpl_space *space = listener->space;

	return space->switched && space->old_view != space->view ?
		       &space->changes :
		       &space->view->changes;
}

static int push_plan(struct mpl_events *events, struct mpl_listener *listener,
		     const struct mpl_changes *changes)
{
	struct mpl_event event = {
		.kind = MPL_EVENT_PREPARE,
		.listener = listener,
		.plan.changes = changes,
	};

	for (size_t i = 0; i < changes->count; i++) {
		event.plan.removed += !changes->items[i].after;
		event.plan.added += !changes->items[i].before;
	}
	return push(events, &event);
}

enum pass { BEGIN, PREPARE, REMOVALS, ADDITIONS, COMMIT };

/* One listener's part of one pass. */
static int plan_pass(struct mpl_events *events, enum pass pass,
		     struct mpl_listener *listener, uint8_t log_before,
		     uint8_t log_now)
{
	const struct mpl_changes *changes = changes_of(listener);
	int err;

	if (!changes->count && log_before == log_now)
		return 0;
	switch (pass) {
	case BEGIN:
		return push_plain(events, MPL_EVENT_BEGIN, listener);
	case PREPARE:
		return push_plan(events, listener, changes);
	case REMOVALS:
		return push_removals(events, listener, changes);
	case ADDITIONS:
		err = push_log_global(events, listener, MPL_EVENT_LOG_ON,
				      log_now & ~log_before);
		if (!err)
			err = push_additions(events, listener, changes);
		return err ? err :
			     push_log_global(events, listener,
					     MPL_EVENT_LOG_OFF,
					     log_before & ~log_now);
	default:
		return push_plain(events, MPL_EVENT_COMMIT, listener);
	}
}

int mpl_events_plan(struct mpl_events *events, struct mpl_plane *plane,
		    uint8_t log_global_before)
{
	struct mpl_link *head = &plane->listeners;
	int err = 0;

	for (enum pass pass = BEGIN; pass <= COMMIT && !err; pass++) {
		bool down = pass == REMOVALS;
		struct mpl_link *link = down ? head->prev : head->next;

		if (pass == ADDITIONS)
			events->publish = events->count;
		for (; link != head && !err;
		     link = down ? link->prev : link->next)
			err = plan_pass(events, pass,
					MPL_OF(link, struct mpl_listener, link),
					log_global_before, plane->log_global);
	}
	return err;
}

/* A view as if it had just appeared, or were about to vanish. */
static int all_changes(const struct mpl_view *view, bool add,
		       struct mpl_changes *changes)
{
	struct mpl_range *range;

	for (range = mpl_view_first(view); range;
	     range = mpl_view_next(view, range)) {
		if (MPL_RESERVE(changes, 1))
			return -ENOMEM;
		changes->items[changes->count++] = (struct mpl_change){
			.before = add ? NULL : range,
			.after = add ? range : NULL,
		};
	}
	return 0;
}

int mpl_events_plan_all(struct mpl_events *events,
			struct mpl_listener *listener, bool add)
{
	const struct mpl_plane *plane = listener->space->plane;
	const struct mpl_changes *changes = &events->all;
	int err = all_changes(listener->space->view, add, &events->all);

	if (!err)
		err = push_plain(events, MPL_EVENT_BEGIN, listener);
	if (!err)
		err = push_plan(events, listener, changes);
	if (!err)
		err = add ? push_plain(events, MPL_EVENT_TAKE, listener) :
			    push_removals(events, listener, changes);
	if (!err && add)
		err = push_log_global(events, listener, MPL_EVENT_LOG_ON,
				      plane->log_global);
	if (!err)
		err = add ? push_additions(events, listener, changes) :
			    push_plain(events, MPL_EVENT_PUT, listener);
	for (size_t i = 0; add && i < changes->count && !err; i++) {
		const struct mpl_flat_range *flat =
			&changes->items[i].after->flat;

		err = push_masks(events, listener, flat, 0, flat->dirty_mask);
	}
	if (!err && !add)
		err = push_log_global(events, listener, MPL_EVENT_LOG_OFF,
				      plane->log_global);
	if (!err)
		err = push_plain(events, MPL_EVENT_COMMIT, listener);
	events->publish = events->count;
	return err;
}
