/* SPDX-License-Identifier: BSD-3-Clause */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void contradict(struct recorder *r, const char *format, ...)
{
	va_list args;

	if (r->bad[0])
		return; /* the first one explains the others */
	va_start(args, format);
	vsnprintf(r->bad, sizeof(r->bad), format, args);
	va_end(args);
}

/* Write the call down, and decide whether it fails. */
static int step(struct recorder *r, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static int step(struct recorder *r, const char *format, ...)
{
	bool fails = ++r->calls >= r->fail_from && r->fail_from &&
		     r->calls <= r->fail_to;
	char line[256];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (r->log)
		text_add(r->log, "%s %s%s\n", r->name, line,
			 fails ? " fails" : "");
	if (!fails)
		return 0;
	if (!r->failures++)
		r->generation_at_failure = mpl_plane_generation(r->plane);
	return -EIO;
}

static int step_range(struct recorder *r, const char *what,
		      const struct mpl_flat_range *range, const char *suffix)
{
	struct text text = { 0 };
	int err;

	textmap_range(&text, range);
	err = step(r, "%s %s%s", what, text_chars(&text), suffix);
	text_free(&text);
	return err;
}

/* Make room for one item at `at` of an array; its address may change. */
static void *insert(void *items, size_t *n, size_t at, size_t size)
{
	char *bytes = realloc(items, (*n + 1) * size);

	assert_non_null(bytes);
	memmove(bytes + (at + 1) * size, bytes + at * size, (*n - at) * size);
	++*n;
	return bytes;
}

static void erase(void *items, size_t *n, size_t at, size_t size)
{
	char *bytes = items;

	memmove(bytes + at * size, bytes + (at + 1) * size,
		(*n - at - 1) * size);
	--*n;
}

static int on_begin(void *opaque)
{
	struct recorder *r = opaque;
	int err = step(r, "begin");

	if (!err)
		r->begins++;
	return err;
}

static int on_prepare(void *opaque, const struct mpl_listener_plan *plan)
{
	struct recorder *r = opaque;

	r->plan = *plan;
	return step(r, "prepare");
}

static int on_commit(void *opaque)
{
	struct recorder *r = opaque;
	int err = step(r, "commit");

	if (!err)
		r->commits++;
	return err;
}

static int on_abort(void *opaque)
{
	struct recorder *r = opaque;

	r->aborts++;
	if (r->log)
		text_add(r->log, "%s abort\n", r->name);
	return 0;
}

static int on_reset(void *opaque)
{
	struct recorder *r = opaque;
	int err = step(r, "reset");

	if (err)
		return err;
	r->n_ranges = r->n_events = r->n_zones = 0;
	memset(r->log_global, 0, sizeof(r->log_global));
	return 0;
}

/* The first range that ends at `gpa` or later. */
static size_t range_at(const struct recorder *r, uint64_t gpa)
{
	size_t at = 0;

	while (at < r->n_ranges && r->ranges[at].last < gpa)
		at++;
	return at;
}

static struct mpl_flat_range *same_range(struct recorder *r,
					 const struct mpl_flat_range *range)
{
	size_t at = range_at(r, range->start);
	struct mpl_flat_range *there = &r->ranges[at];

	if (at == r->n_ranges || there->start != range->start ||
	    there->last != range->last || there->region != range->region ||
	    there->offset != range->offset ||
	    there->readonly != range->readonly ||
	    there->nonvolatile != range->nonvolatile ||
	    there->rom_mode != range->rom_mode)
		return NULL;
	return there;
}

static int on_range_del(void *opaque, const struct mpl_flat_range *range)
{
	struct recorder *r = opaque;
	int err = step_range(r, "del", range, "");
	struct mpl_flat_range *there = same_range(r, range);

	if (!there)
		contradict(r, "del of %llx-%llx, which is not there",
			   (unsigned long long)range->start,
			   (unsigned long long)range->last);
	else if (there->dirty_mask && there->dirty_mask != range->dirty_mask)
		contradict(r, "del of %llx with dirty mask %x, it has %x",
			   (unsigned long long)range->start, range->dirty_mask,
			   there->dirty_mask);
	if (err)
		return err;
	r->dels++;
	r->generation_at_del = mpl_plane_generation(r->plane);
	if (there)
		erase(r->ranges, &r->n_ranges, (size_t)(there - r->ranges),
		      sizeof(*there));
	return 0;
}

static int on_range_add(void *opaque, const struct mpl_flat_range *range)
{
	struct recorder *r = opaque;
	int err = step_range(r, "add", range, "");
	size_t at = range_at(r, range->start);

	if (range->start > range->last)
		contradict(r, "an inverted range is added");
	if (at < r->n_ranges && r->ranges[at].start <= range->last)
		contradict(r, "add of %llx-%llx over %llx-%llx",
			   (unsigned long long)range->start,
			   (unsigned long long)range->last,
			   (unsigned long long)r->ranges[at].start,
			   (unsigned long long)r->ranges[at].last);
	if (err)
		return err;
	r->adds++;
	r->generation_at_add = mpl_plane_generation(r->plane);
	r->ranges = insert(r->ranges, &r->n_ranges, at, sizeof(*range));
	r->ranges[at] = *range;
	return 0;
}

static int change_mask(struct recorder *r, const char *what,
		       const struct mpl_flat_range *range, uint8_t old_mask,
		       uint8_t new_mask)
{
	struct mpl_flat_range *there = same_range(r, range);
	struct mpl_flat_range plain = *range;
	char suffix[32];
	int err;

	plain.dirty_mask = 0; /* the masks are arguments of their own */
	snprintf(suffix, sizeof(suffix), " %x>%x", old_mask, new_mask);
	err = step_range(r, what, &plain, suffix);
	if (!there)
		contradict(r, "%s of a range that is not there", what);
	else if (there->dirty_mask != old_mask && there->dirty_mask != new_mask)
		contradict(r, "%s from %x, it has %x", what, old_mask,
			   there->dirty_mask);
	if (err)
		return err;
	r->changes++;
	if (there)
		there->dirty_mask = new_mask;
	return 0;
}

static int on_log_start(void *opaque, const struct mpl_flat_range *range,
			uint8_t old_mask, uint8_t new_mask)
{
	if (!(new_mask & ~old_mask))
		contradict(opaque, "log_start that starts nothing");
	return change_mask(opaque, "log_start", range, old_mask, new_mask);
}

static int on_log_stop(void *opaque, const struct mpl_flat_range *range,
		       uint8_t old_mask, uint8_t new_mask)
{
	if (!(old_mask & ~new_mask))
		contradict(opaque, "log_stop that stops nothing");
	return change_mask(opaque, "log_stop", range, old_mask, new_mask);
}

#define COMPARE(a, b)                                                          \
	do {                                                                   \
		if ((a) != (b))                                                \
			return (a) < (b) ? -1 : 1;                             \
	} while (0)

static int compare_events(const struct mpl_flat_ioeventfd *a,
			  const struct mpl_flat_ioeventfd *b)
{
	COMPARE(a->gpa, b->gpa);
	COMPARE(a->size, b->size);
	COMPARE(a->match, b->match);
	if (a->match)
		COMPARE(a->data, b->data);
	COMPARE(a->caller_fd, b->caller_fd);
	return 0;
}

static size_t event_at(const struct recorder *r,
		       const struct mpl_flat_ioeventfd *ev)
{
	size_t at = 0;

	while (at < r->n_events && compare_events(&r->events[at], ev) < 0)
		at++;
	return at;
}

static int step_event(struct recorder *r, const char *what,
		      const struct mpl_flat_ioeventfd *ev)
{
	if (fcntl(ev->fd, F_GETFD) < 0)
		contradict(r, "%s of an fd that is closed", what);
	return step(r, "%s %llx/%u%s", what, (unsigned long long)ev->gpa,
		    ev->size, ev->match ? " match" : "");
}

static int on_ioeventfd_del(void *opaque, const struct mpl_flat_ioeventfd *ev)
{
	struct recorder *r = opaque;
	int err = step_event(r, "ev_del", ev);
	size_t at = event_at(r, ev);

	if (at == r->n_events || compare_events(&r->events[at], ev))
		contradict(r, "ev_del of %llx, which is not there",
			   (unsigned long long)ev->gpa);
	else if (!err)
		erase(r->events, &r->n_events, at, sizeof(*ev));
	r->changes += !err;
	return err;
}

static int on_ioeventfd_add(void *opaque, const struct mpl_flat_ioeventfd *ev)
{
	struct recorder *r = opaque;
	int err = step_event(r, "ev_add", ev);
	size_t at = event_at(r, ev);

	if (err)
		return err;
	r->changes++;
	r->events = insert(r->events, &r->n_events, at, sizeof(*ev));
	r->events[at] = *ev;
	return 0;
}

static size_t zone_at(const struct recorder *r, uint64_t start, uint64_t last)
{
	size_t at = 0;

	while (at < r->n_zones &&
	       (r->zones[at].start < start ||
		(r->zones[at].start == start && r->zones[at].last < last)))
		at++;
	return at;
}

static void check_zone(struct recorder *r, const struct mpl_flat_range *range,
		       uint64_t start, uint64_t last)
{
	if (start > last || start < range->start || last > range->last)
		contradict(r, "zone %llx-%llx is not clipped",
			   (unsigned long long)start, (unsigned long long)last);
	if (!same_range(r, range))
		contradict(r, "zone %llx in a range that is not there",
			   (unsigned long long)start);
}

static int on_coalesced_del(void *opaque, const struct mpl_flat_range *range,
			    uint64_t start, uint64_t last)
{
	struct recorder *r = opaque;
	int err = step(r, "zone_del %llx-%llx", (unsigned long long)start,
		       (unsigned long long)last);
	size_t at = zone_at(r, start, last);

	check_zone(r, range, start, last);
	if (at == r->n_zones || r->zones[at].start != start ||
	    r->zones[at].last != last)
		contradict(r, "zone_del of %llx-%llx, which is not there",
			   (unsigned long long)start, (unsigned long long)last);
	else if (!err)
		erase(r->zones, &r->n_zones, at, sizeof(*r->zones));
	r->changes += !err;
	return err;
}

static int on_coalesced_add(void *opaque, const struct mpl_flat_range *range,
			    uint64_t start, uint64_t last)
{
	struct recorder *r = opaque;
	int err = step(r, "zone_add %llx-%llx", (unsigned long long)start,
		       (unsigned long long)last);
	size_t at = zone_at(r, start, last);

	check_zone(r, range, start, last);
	if (err)
		return err;
	r->changes++;
	r->zones = insert(r->zones, &r->n_zones, at, sizeof(*r->zones));
	r->zones[at].start = start;
	r->zones[at].last = last;
	return 0;
}

static int on_log_global(void *opaque, enum mpl_log_client client, bool on)
{
	struct recorder *r = opaque;
	int err = step(r, "log_global %d %s", client, on ? "on" : "off");

	if (r->log_global[client] == on)
		contradict(r, "log_global %d is %s already", client,
			   on ? "on" : "off");
	if (err)
		return err;
	r->changes++;
	r->log_global[client] = on;
	return 0;
}

struct recorder *recorder_new(const char *name, int priority, struct text *log)
{
	struct recorder *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->name = name;
	r->log = log;
	r->ops = (struct mpl_listener_ops){
		.name = name,
		.priority = priority,
		.begin = on_begin,
		.prepare = on_prepare,
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
		.abort = on_abort,
		.reset = on_reset,
	};
	return r;
}

void recorder_free(struct recorder *r)
{
	free(r->ranges);
	free(r->events);
	free(r->zones);
	free(r);
}

int recorder_register(struct recorder *r, struct topo *t, int space)
{
	int err;

	r->plane = t->plane;
	r->space = space;
	err = mpl_listener_register(t->space[space].as, &r->ops, r,
				    &r->listener);
	if (err)
		r->listener = NULL;
	return err;
}

int recorder_unregister(struct recorder *r)
{
	int err = mpl_listener_unregister(r->listener);

	r->listener = NULL;
	return err;
}

void recorder_arm(struct recorder *r, unsigned int from, unsigned int to)
{
	r->calls = 0;
	r->failures = 0;
	r->generation_at_failure = 0;
	r->fail_from = from;
	r->fail_to = to;
}

static int compare_zones(const void *a, const void *b)
{
	const struct oracle_zone *x = a, *y = b;

	COMPARE(x->start, y->start);
	COMPARE(x->last, y->last);
	return 0;
}

static int compare_oracle_events(const void *a, const void *b)
{
	const struct oracle_event *x = a, *y = b;

	COMPARE(x->gpa, y->gpa);
	COMPARE(x->ev.size, y->ev.size);
	COMPARE(x->ev.match, y->ev.match);
	if (x->ev.match)
		COMPARE(x->ev.data, y->ev.data);
	COMPARE(x->ev.fd, y->ev.fd);
	return 0;
}

static void add_event(struct text *text, uint64_t gpa, unsigned int size,
		      bool match, uint64_t data, int fd)
{
	text_add(text, "ev %llx/%u %d %llx fd %d\n", (unsigned long long)gpa,
		 size, match, match ? (unsigned long long)data : 0, fd);
}

static void oracle_says(struct text *text, struct topo *t, int root)
{
	struct oracle_event *events;
	struct oracle_zone *zones;
	size_t n;

	textmap_oracle(text, &t->now, root, t->trace_rules);
	n = oracle_ioeventfds(&t->now, root, t->trace_rules, &events);
	if (n)
		qsort(events, n, sizeof(*events), compare_oracle_events);
	for (size_t i = 0; i < n; i++)
		add_event(text, events[i].gpa, events[i].ev.size,
			  events[i].ev.match, events[i].ev.data,
			  events[i].ev.fd);
	free(events);
	n = oracle_zones(&t->now, root, t->trace_rules, &zones);
	if (n)
		qsort(zones, n, sizeof(*zones), compare_zones);
	for (size_t i = 0; i < n; i++)
		text_add(text, "zone %llx-%llx\n",
			 (unsigned long long)zones[i].start,
			 (unsigned long long)zones[i].last);
	free(zones);
	for (int client = 0; client < MPL_LOG_CLIENTS; client++)
		text_add(text, "log_global %d %d\n", client,
			 t->now.log_global[client]);
}

static void mirror_says(struct text *text, const struct recorder *r)
{
	for (size_t i = 0; i < r->n_ranges; i++) {
		textmap_range(text, &r->ranges[i]);
		text_add(text, "\n");
	}
	for (size_t i = 0; i < r->n_events; i++)
		add_event(text, r->events[i].gpa, r->events[i].size,
			  r->events[i].match, r->events[i].data,
			  r->events[i].caller_fd);
	for (size_t i = 0; i < r->n_zones; i++)
		text_add(text, "zone %llx-%llx\n",
			 (unsigned long long)r->zones[i].start,
			 (unsigned long long)r->zones[i].last);
	for (int client = 0; client < MPL_LOG_CLIENTS; client++)
		text_add(text, "log_global %d %d\n", client,
			 r->log_global[client]);
}

void recorder_check(const struct recorder *r, struct topo *t)
{
	struct text expected = { 0 }, got = { 0 };
	char title[200];

	if (r->bad[0])
		fail_msg("%s: listener %s: %s", t->note, r->name, r->bad);
	oracle_says(&expected, t, t->space[r->space].root);
	mirror_says(&got, r);
	snprintf(title, sizeof(title), "%s: oracle and mirror of listener %s",
		 t->note, r->name);
	textmap_compare(title, text_chars(&expected), text_chars(&got),
			__FILE__, __LINE__);
	text_free(&expected);
	text_free(&got);
}
