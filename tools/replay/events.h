/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listener events: a listener that turns what it is told into lines of the
 * trace's `ev` format, and the way back from such a line.
 */
#ifndef REPLAY_EVENTS_H
#define REPLAY_EVENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "failure.h"
#include "machine.h"

enum event_type {
	EVENT_BEGIN,
	EVENT_COMMIT,
	EVENT_LOG_GLOBAL_START,
	EVENT_LOG_GLOBAL_STOP,
	EVENT_REGION_ADD,
	EVENT_REGION_DEL,
	EVENT_REGION_NOP,
	EVENT_LOG_START,
	EVENT_LOG_STOP,
	EVENT_EVENTFD_ADD,
	EVENT_EVENTFD_DEL,
	EVENT_COALESCED_ADD,
	EVENT_COALESCED_DEL,
	EVENT_TYPES,
	/* log_global of a client that the trace does not tell of. */
	EVENT_UNTOLD = EVENT_TYPES,
};

struct event {
	enum event_type type;
	uint32_t space;
	/* A range, or an ioeventfd; size 0: 2^64, or an ioeventfd of any. */
	uint64_t start, size, offset;
	uint32_t region;
	bool readonly, nonvolatile;
	/* log: old and new mask; eventfd: match, data, fd; coalesced: zone */
	uint64_t detail[3];
	uint32_t line; /* where it was recorded; 0: ours */
	bool late;     /* had no counterpart one publication ago */
};

typedef int (*event_sink)(void *arg, const struct event *event);

/* A listener of priority 10 on one address space. */
struct events {
	struct events *next;
	struct machine *machine;
	uint32_t space;
	event_sink sink;
	void *arg;
	struct mpl_listener *listener;
	struct mpl_listener_ops ops;
};

/* Register one, prepended to *list.  0 or -1. */
int events_register(struct events **list, struct machine *machine,
		    uint32_t space, event_sink sink, void *arg);
/* The plane is gone, and with it the registrations. */
void events_free(struct events *list);

/* `arg` is a FILE. */
int event_write(void *arg, const struct event *event);

/* An `ev` line behind "ev".  0 or -1. */
int event_parse(struct word text, struct event *event, struct failure *failure);

#endif
