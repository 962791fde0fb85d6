/* SPDX-License-Identifier: BSD-3-Clause */
#include "events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[EVENT_TYPES] = {
	[EVENT_BEGIN] = "begin",
	[EVENT_COMMIT] = "commit",
	[EVENT_LOG_GLOBAL_START] = "log_global_start",
	[EVENT_LOG_GLOBAL_STOP] = "log_global_stop",
	[EVENT_REGION_ADD] = "region_add",
	[EVENT_REGION_DEL] = "region_del",
	[EVENT_REGION_NOP] = "region_nop",
	[EVENT_LOG_START] = "log_start",
	[EVENT_LOG_STOP] = "log_stop",
	[EVENT_EVENTFD_ADD] = "eventfd_add",
	[EVENT_EVENTFD_DEL] = "eventfd_del",
	[EVENT_COALESCED_ADD] = "coalesced_io_add",
	[EVENT_COALESCED_DEL] = "coalesced_io_del",
};

static int tell(struct events *events, struct event *event)
{
	event->space = events->space;
	return events->sink(events->arg, event);
}

static struct event of_range(enum event_type type,
			     const struct mpl_flat_range *range)
{
	return (struct event){
		.type = type,
		.start = range->start,
		.size = range->last - range->start + 1,
		.region = machine_region_id(range->region),
		.offset = range->offset,
		.readonly = range->readonly,
		.nonvolatile = range->nonvolatile,
	};
}

static int tell_range(struct events *events, enum event_type type,
		      const struct mpl_flat_range *range, uint64_t detail0,
		      uint64_t detail1)
{
	struct event event = of_range(type, range);

	event.detail[0] = detail0;
	event.detail[1] = detail1;
	return tell(events, &event);
}

static int on_begin(void *opaque)
{
	return tell(opaque, &(struct event){ .type = EVENT_BEGIN });
}

static int on_commit(void *opaque)
{
	return tell(opaque, &(struct event){ .type = EVENT_COMMIT });
}

static int on_range_del(void *opaque, const struct mpl_flat_range *range)
{
	return tell_range(opaque, EVENT_REGION_DEL, range, 0, 0);
}

static int on_range_add(void *opaque, const struct mpl_flat_range *range)
{
	return tell_range(opaque, EVENT_REGION_ADD, range, 0, 0);
}

static int on_log_start(void *opaque, const struct mpl_flat_range *range,
			uint8_t old_mask, uint8_t new_mask)
{
	return tell_range(opaque, EVENT_LOG_START, range, old_mask, new_mask);
}

static int on_log_stop(void *opaque, const struct mpl_flat_range *range,
		       uint8_t old_mask, uint8_t new_mask)
{
	return tell_range(opaque, EVENT_LOG_STOP, range, old_mask, new_mask);
}

static int on_coalesced_del(void *opaque, const struct mpl_flat_range *range,
			    uint64_t start, uint64_t last)
{
	return tell_range(opaque, EVENT_COALESCED_DEL, range, start,
			  last - start + 1);
}

static int on_coalesced_add(void *opaque, const struct mpl_flat_range *range,
			    uint64_t start, uint64_t last)
{
	return tell_range(opaque, EVENT_COALESCED_ADD, range, start,
			  last - start + 1);
}

static int tell_ioeventfd(struct events *events, enum event_type type,
			  const struct mpl_flat_ioeventfd *ev)
{
	const struct machine *machine = events->machine;
	struct event event = {
		.type = type,
		.start = ev->gpa,
		.size = ev->size,
		.detail = {
			ev->match,
			machine_swap_data(machine,
					  machine_region_id(ev->region),
					  ev->data, ev->size),
			doorbell_id(&machine->doorbells, ev->caller_fd),
		},
	};

	return tell(events, &event);
}

static int on_ioeventfd_del(void *opaque, const struct mpl_flat_ioeventfd *ev)
{
	return tell_ioeventfd(opaque, EVENT_EVENTFD_DEL, ev);
}

static int on_ioeventfd_add(void *opaque, const struct mpl_flat_ioeventfd *ev)
{
	return tell_ioeventfd(opaque, EVENT_EVENTFD_ADD, ev);
}

/* The trace tells of migration only. */
static int on_log_global(void *opaque, enum mpl_log_client client, bool on)
{
	struct event event = {
		.type = on ? EVENT_LOG_GLOBAL_START : EVENT_LOG_GLOBAL_STOP,
	};

	if (client != MPL_LOG_MIGRATION)
		event.type = EVENT_UNTOLD;
	return tell(opaque, &event);
}

static const struct mpl_listener_ops listener_ops = {
	.name = "replay",
	.priority = 10,
	.begin = on_begin,
	.range_del = on_range_del,
	.range_add = on_range_add,
	.log_start = on_log_start,
	.log_stop = on_log_stop,
	.ioeventfd_del = on_ioeventfd_del,
	.ioeventfd_add = on_ioeventfd_add,
	.coalesced_del = on_coalesced_del,
	.coalesced_add = on_coalesced_add,
	.log_global = on_log_global,
	.commit = on_commit,
};

int events_register(struct events **list, struct machine *machine,
		    uint32_t space, event_sink sink, void *arg)
{
	struct machine_space *where = machine_space(machine, space);
	struct events *events;
	int err;

	if (!where)
		return failure_set(machine->failure, "no address space %u",
				   space);
	events = calloc(1, sizeof(*events));
	if (!events)
		return failure_errno(machine->failure, "listener", -ENOMEM);
	*events = (struct events){ *list, machine, space,       sink,
				   arg,   NULL,    listener_ops };
	*list = events;
	err = mpl_listener_register(where->as, &events->ops, events,
				    &events->listener);
	if (err)
		return failure_errno(machine->failure, "listener", err);
	return 0;
}

void events_free(struct events *list)
{
	while (list) {
		struct events *next = list->next;

		free(list);
		list = next;
	}
}

static const char *size_text(char *to, size_t max, uint64_t size)
{
	if (size)
		snprintf(to, max, "0x%" PRIx64, size);
	else
		snprintf(to, max, "0x10000000000000000");
	return to;
}

int event_write(void *arg, const struct event *event)
{
	const uint64_t *detail = event->detail;
	FILE *file = arg;
	char size[24], zone[24];

	if (event->type == EVENT_UNTOLD)
		return 0;
	fprintf(file, "ev %u %s", event->space, names[event->type]);
	if (event->type >= EVENT_EVENTFD_ADD &&
	    event->type <= EVENT_EVENTFD_DEL)
		fprintf(file,
			" 0x%" PRIx64 " 0x%" PRIx64 " 0 0x0 0 0 %" PRIu64
			" 0x%" PRIx64 " %" PRIu64,
			event->start, event->size, detail[0], detail[1],
			detail[2]);
	else if (event->type >= EVENT_REGION_ADD)
		fprintf(file, " 0x%" PRIx64 " %s %u 0x%" PRIx64 " %d %d",
			event->start,
			size_text(size, sizeof(size), event->size),
			event->region, event->offset, event->readonly,
			event->nonvolatile);
	if (event->type == EVENT_LOG_START || event->type == EVENT_LOG_STOP)
		fprintf(file, " %" PRIu64 " %" PRIu64, detail[0], detail[1]);
	if (event->type >= EVENT_COALESCED_ADD)
		fprintf(file, " 0x%" PRIx64 " %s", detail[0],
			size_text(zone, sizeof(zone), detail[1]));
	return fputc('\n', file) == EOF ? -EIO : 0;
}

/* A size as it is kept here: 2^64 is 0. */
static uint64_t event_size(struct cursor *c, uint64_t start)
{
	return field_last(c, start) - start + 1;
}

static void parse_range(struct cursor *c, struct event *event)
{
	event->start = field_hex(c);
	event->size = event_size(c, event->start);
	event->region = field_id(c);
	event->offset = field_hex(c);
	event->readonly = field_bool(c);
	event->nonvolatile = field_bool(c);
	if (event->type == EVENT_LOG_START || event->type == EVENT_LOG_STOP) {
		event->detail[0] = field_decimal(c, UINT8_MAX);
		event->detail[1] = field_decimal(c, UINT8_MAX);
	}
	if (event->type >= EVENT_COALESCED_ADD) {
		event->detail[0] = field_hex(c);
		event->detail[1] = event_size(c, event->detail[0]);
	}
}

static void parse_eventfd(struct cursor *c, struct event *event)
{
	event->start = field_hex(c);
	event->size = field_hex(c);
	field_decimal(c, 0);
	field_hex(c);
	field_bool(c);
	field_bool(c);
	event->detail[0] = field_bool(c);
	event->detail[1] = field_hex(c);
	event->detail[2] = field_id(c);
}

int event_parse(struct word text, struct event *event, struct failure *failure)
{
	struct cursor c = { text.at, text.at + text.len, NULL };
	struct word name;
	unsigned int type;

	*event = (struct event){ .line = failure->line };
	event->space = field_id(&c);
	name = field_word(&c);
	for (type = 0; type < EVENT_TYPES; type++)
		if (word_is(name, names[type]))
			break;
	event->type = type;
	if (!c.wrong && type == EVENT_TYPES)
		c.wrong = "unknown event";
	else if (type == EVENT_EVENTFD_ADD || type == EVENT_EVENTFD_DEL)
		parse_eventfd(&c, event);
	else if (type >= EVENT_REGION_ADD)
		parse_range(&c, event);
	if (c.wrong)
		return failure_set(failure, "ev: %s", c.wrong);
	return 0;
}
