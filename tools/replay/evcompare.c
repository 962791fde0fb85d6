/* SPDX-License-Identifier: BSD-3-Clause */
#include "evcompare.h"

#include <errno.h>

#include "vec.h"

struct report {
	FILE *say;
	uint32_t left; /* that may still be told */
	int differences;
};

int event_list_add(void *arg, const struct event *event)
{
	struct event_list *list = arg;

	if (vec_reserve(&list->items, &list->cap, list->count + 1,
			sizeof(*list->items)))
		return -ENOMEM;
	list->items[list->count++] = *event;
	return 0;
}

int evcompare_before(struct evcompare *evcompare, const struct expect *expect,
		     struct failure *failure)
{
	uint32_t id;

	if (vec_reserve(&evcompare->before, &evcompare->before_cap,
			expect->spaces_count + 1, sizeof(*evcompare->before)))
		return failure_errno(failure, "events", -ENOMEM);
	for (id = 1; id <= expect->spaces_count; id++)
		evcompare->before[id] = expect->spaces[id].view;
	evcompare->before_count = expect->spaces_count;
	return 0;
}

void evcompare_fini(struct evcompare *evcompare)
{
	free(evcompare->ours.items);
	free(evcompare->recorded.items);
	free(evcompare->before);
	*evcompare = (struct evcompare){ 0 };
}

static void differ(struct report *report, const char *what,
		   const struct event *recorded, const struct event *ours)
{
	report->differences++;
	if (!report->say || !report->left)
		return;
	report->left--;
	fprintf(report->say, "events: %s\n", what);
	if (recorded) {
		fprintf(report->say, "    recorded in line %u  ",
			recorded->line);
		event_write(report->say, recorded);
	}
	if (ours) {
		fputs("    ours  ", report->say);
		event_write(report->say, ours);
	}
}

static bool is_bracket(const struct event *event)
{
	return event->type == EVENT_BEGIN || event->type == EVENT_COMMIT;
}

static bool same_event(const struct event *a, const struct event *b)
{
	return a->start == b->start && a->size == b->size &&
	       a->offset == b->offset && a->region == b->region &&
	       a->readonly == b->readonly && a->nonvolatile == b->nonvolatile &&
	       a->detail[0] == b->detail[0] && a->detail[1] == b->detail[1] &&
	       a->detail[2] == b->detail[2];
}

/* The next event of a space and type from *at on, or NULL. */
static const struct event *next_of(const struct event_list *list, size_t *at,
				   uint32_t space, enum event_type type)
{
	while (*at < list->count) {
		const struct event *event = &list->items[(*at)++];

		if (event->space == space && event->type == type)
			return event;
	}
	return NULL;
}

/* Content, and order among events of one space and type. */
static void compare_type(struct evcompare *evcompare, uint32_t space,
			 enum event_type type, struct report *report)
{
	size_t theirs_at = 0, ours_at = 0;

	for (;;) {
		const struct event *theirs, *ours;

		theirs = next_of(&evcompare->recorded, &theirs_at, space, type);
		ours = next_of(&evcompare->ours, &ours_at, space, type);
		if (!theirs && !ours)
			return;
		if (!theirs || !ours || !same_event(theirs, ours)) {
			differ(report, "content or order differs", theirs,
			       ours);
			return;
		}
		evcompare->compared++;
	}
}

static bool is_global(const struct event *event)
{
	return event->type == EVENT_LOG_GLOBAL_START ||
	       event->type == EVENT_LOG_GLOBAL_STOP;
}

/*
 * What is left of one side has one more publication to find its counterpart:
 * the producer tells of a stop only after the publication that shows it.
 */
static size_t left_over(struct event_list *list, size_t at, uint32_t space,
			enum event_type type, struct report *report)
{
	size_t i, left = 0;

	for (i = at; i < list->count; i++) {
		struct event *event = &list->items[i];

		if (event->space != space || event->type != type)
			continue;
		if (event->late)
			differ(report, "only one side tells of this",
			       event->line ? event : NULL,
			       event->line ? NULL : event);
		event->late = !event->late;
		left += event->late;
	}
	return left;
}

static void compare_global(struct evcompare *evcompare, uint32_t space,
			   enum event_type type, struct report *report)
{
	size_t theirs = 0, ours = 0, theirs_end = 0, ours_end = 0;

	/* There is nothing in them that could differ: pair them off. */
	while (next_of(&evcompare->recorded, &theirs_end, space, type) &&
	       next_of(&evcompare->ours, &ours_end, space, type)) {
		evcompare->recorded.items[theirs_end - 1].late = false;
		evcompare->ours.items[ours_end - 1].late = false;
		theirs = theirs_end;
		ours = ours_end;
		evcompare->compared++;
	}
	evcompare->left +=
		left_over(&evcompare->recorded, theirs, space, type, report) +
		left_over(&evcompare->ours, ours, space, type, report);
}

/* Start anew, but with what is late. */
static void restart(struct event_list *list)
{
	size_t i, kept = 0;

	for (i = 0; i < list->count; i++)
		if (list->items[i].late)
			list->items[kept++] = list->items[i];
	list->count = kept;
}

/* Ours begin and commit only where there is something to tell. */
static void check_brackets(struct evcompare *evcompare, uint32_t space,
			   struct report *report)
{
	unsigned int begins = 0, commits = 0, others = 0;
	size_t i;

	for (i = 0; i < evcompare->ours.count; i++) {
		const struct event *event = &evcompare->ours.items[i];

		if (event->space != space || event->late)
			continue;
		begins += event->type == EVENT_BEGIN;
		commits += event->type == EVENT_COMMIT;
		others += !is_bracket(event);
		if (begins != commits + 1 &&
		    !(event->type == EVENT_COMMIT && begins == commits))
			differ(report, "outside of begin and commit", NULL,
			       event);
	}
	if (begins != commits || (begins && !others && !evcompare->registered))
		differ(report, "begin and commit with nothing in between", NULL,
		       NULL);
}

/* Where in one of our commits an event stands. */
static int phase(const struct event *event)
{
	switch (event->type) {
	case EVENT_BEGIN:
		return 0;
	case EVENT_REGION_DEL:
	case EVENT_EVENTFD_DEL:
	case EVENT_COALESCED_DEL:
		return 1;
	case EVENT_COMMIT:
		return 3;
	default:
		return 2;
	}
}

/*
 * The order that is ours on purpose: removals of all spaces, last registered
 * first; then additions, first registered first.
 */
static void check_phases(const struct event_list *list, struct report *report)
{
	const struct event *last = NULL;
	size_t i;

	for (i = 0; i < list->count; i++) {
		const struct event *event = &list->items[i];
		int was = last ? phase(last) : 3, is = phase(event);
		bool starts = was == 3 && is == 0;

		if (is_global(event) || event->type == EVENT_UNTOLD)
			continue; /* of the plane, not of a space's ranges */
		if (!starts &&
		    (is < was ||
		     (is == was && (is == 1 ? event->space > last->space :
					      event->space < last->space))))
			differ(report, "not in the order of a commit", last,
			       event);
		last = event;
	}
}

static const struct trace_range *find_range(const struct expect_view *view,
					    uint64_t start)
{
	size_t low = 0, high = view ? view->count : 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (view->ranges[middle].start < start)
			low = middle + 1;
		else
			high = middle;
	}
	if (!view || low == view->count || view->ranges[low].start != start)
		return NULL;
	return &view->ranges[low];
}

static bool shows(const struct expect_view *view, const struct event *event)
{
	const struct trace_range *range = find_range(view, event->start);

	return range && range->last - range->start + 1 == event->size &&
	       range->region == event->region &&
	       range->offset == event->offset &&
	       range->readonly == event->readonly &&
	       range->nonvolatile == event->nonvolatile;
}

/* "Nothing happened to this range": it is there before and after. */
static void check_nops(struct evcompare *evcompare, const struct expect *expect,
		       struct report *report)
{
	size_t i;

	for (i = 0; i < evcompare->recorded.count; i++) {
		const struct event *event = &evcompare->recorded.items[i];
		uint32_t space = event->space;

		if (event->type != EVENT_REGION_NOP)
			continue;
		if (space > evcompare->before_count ||
		    !shows(evcompare->before[space], event) ||
		    !shows(expect->spaces[space].view, event))
			differ(report, "this range did change", event, NULL);
		else
			evcompare->nops++;
	}
}

static uint32_t last_space(const struct evcompare *evcompare)
{
	uint32_t last = 0;
	size_t i;

	for (i = 0; i < evcompare->ours.count; i++)
		if (evcompare->ours.items[i].space > last)
			last = evcompare->ours.items[i].space;
	for (i = 0; i < evcompare->recorded.count; i++)
		if (evcompare->recorded.items[i].space > last)
			last = evcompare->recorded.items[i].space;
	return last;
}

int evcompare_flush(struct evcompare *evcompare, const struct expect *expect,
		    FILE *say, uint32_t say_max)
{
	struct report report = { .say = say, .left = say_max };
	uint32_t space, last = last_space(evcompare);
	unsigned int type;

	evcompare->left = 0;

	for (space = 1; space <= last; space++) {
		check_brackets(evcompare, space, &report);
		compare_global(evcompare, space, EVENT_LOG_GLOBAL_START,
			       &report);
		compare_global(evcompare, space, EVENT_LOG_GLOBAL_STOP,
			       &report);
		for (type = EVENT_REGION_ADD; type < EVENT_TYPES; type++)
			if (type != EVENT_REGION_NOP)
				compare_type(evcompare, space, type, &report);
	}
	check_phases(&evcompare->ours, &report);
	check_nops(evcompare, expect, &report);
	restart(&evcompare->ours);
	restart(&evcompare->recorded);
	evcompare->registered = false;
	evcompare->before_count = 0; /* these views may go now */
	return report.differences;
}
