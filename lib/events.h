/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events: what a commit tells listeners, laid out in order before the first
 * one is told, so that nothing can run short of memory in the middle and that
 * unwinding is the same list backwards with each event inverted.
 */
#ifndef MEMPLANE_LIB_EVENTS_H
#define MEMPLANE_LIB_EVENTS_H

#include "lib/flat_view.h"
#include "lib/listener.h"

enum mpl_event_kind {
	MPL_EVENT_BEGIN,
	MPL_EVENT_PREPARE,
	MPL_EVENT_RANGE_DEL,
	MPL_EVENT_RANGE_ADD,
	MPL_EVENT_TAKE,
	MPL_EVENT_PUT,
	MPL_EVENT_LOG_START,
	MPL_EVENT_LOG_STOP,
	MPL_EVENT_IOEVENTFD_DEL,
	MPL_EVENT_IOEVENTFD_ADD,
	MPL_EVENT_COALESCED_DEL,
	MPL_EVENT_COALESCED_ADD,
	MPL_EVENT_LOG_ON,
	MPL_EVENT_LOG_OFF,
	MPL_EVENT_COMMIT,
};

struct mpl_event {
	enum mpl_event_kind kind;
	struct mpl_listener *listener;
	union {
		struct mpl_listener_plan plan;
		struct mpl_flat_ioeventfd ioeventfd;
		enum mpl_log_client client;
		struct {
			struct mpl_flat_range flat;
			uint64_t start; /* of a coalesced zone */
			uint64_t last;
			uint8_t old_mask;
			uint8_t new_mask;
		} range;
	};
};

struct mpl_events {
	struct mpl_event *items;
	size_t count;
	size_t capacity;
	size_t publish; /* how many come before the new map is published */
	size_t done;	/* how many were told */
	struct mpl_changes all; /* of mpl_events_plan_all() */
};

/* Doorbells of an address space, sorted. */
struct mpl_flat_ioeventfds {
	struct mpl_flat_ioeventfd *items;
	size_t count;
	size_t capacity;
};

/* Append those of one range.  Errors: -ENOMEM. */
int mpl_flat_ioeventfds_add(struct mpl_flat_ioeventfds *list,
			    const struct mpl_range *range);

/*
 * Lay out the events of a commit: for every listener of the plane whose
 * address space changed.  Errors: -ENOMEM.
 */
int mpl_events_plan(struct mpl_events *events, struct mpl_plane *plane,
		    uint8_t log_global_before);

/* Everything that is there, for one listener (or that it goes away). */
int mpl_events_plan_all(struct mpl_events *events,
			struct mpl_listener *listener, bool add);

/* Tell events up to `end`.  Errors: the listener's; events->done says where. */
int mpl_events_run(struct mpl_events *events, size_t end);

/* Take back what was told, down to `end`. */
void mpl_events_unwind(struct mpl_events *events, size_t end);

void mpl_events_destroy(struct mpl_events *events);

#endif
