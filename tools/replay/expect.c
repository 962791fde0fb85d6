/* SPDX-License-Identifier: BSD-3-Clause */
#include "expect.h"

#include <errno.h>

#include "vec.h"

/*
 * A view may repeat a whole other one by a single line, so that memory would
 * grow faster than the input.  Real machines have about as many ranges in
 * their views as the trace has lines.
 */
#define RANGES_PER_LINE 256

void expect_init(struct expect *expect, struct failure *failure)
{
	*expect = (struct expect){ .failure = failure };
}

static void put_view(struct expect *expect, struct expect_view *view)
{
	expect->views[view->id] = NULL;
	expect->ranges_live -= view->count;
	if (view->keepers)
		view->listed = false;
	else
		free(view);
}

static void put_doorbells(struct expect_doorbells *list)
{
	if (list && !--list->users)
		free(list);
}

static void drop_recent(struct expect *expect)
{
	while (expect->recents)
		put_doorbells(expect->recent[--expect->recents]);
}

void expect_fini(struct expect *expect)
{
	size_t i;

	drop_recent(expect);
	for (i = 0; i < expect->spaces_cap; i++)
		put_doorbells(expect->spaces[i].doorbells);
	for (i = 0; i < expect->views_cap; i++)
		if (expect->views[i])
			put_view(expect, expect->views[i]);
	free(expect->views);
	free(expect->spaces);
	free(expect->list);
	free(expect->ranges);
	free(expect->idle);
	*expect = (struct expect){ 0 };
}

/* Look at the view again when the publication is done. */
static int list_idle(struct expect *expect, struct expect_view *view)
{
	if (view->listed)
		return 0;
	if (vec_reserve(&expect->idle, &expect->idle_cap,
			expect->idle_count + 1, sizeof(*expect->idle)))
		return failure_errno(expect->failure, "views", -ENOMEM);
	expect->idle[expect->idle_count++] = view;
	view->listed = true;
	return 0;
}

void expect_done(struct expect *expect)
{
	size_t i;

	for (i = 0; i < expect->idle_count; i++) {
		expect->idle[i]->listed = false;
		if (!expect->idle[i]->users)
			put_view(expect, expect->idle[i]);
	}
	expect->idle_count = 0;
	drop_recent(expect);
	expect->open = false;
}

void expect_keep(struct expect_view *view)
{
	view->keepers++;
}

/* Only after expect_fini(): then nobody else holds a view. */
void expect_unkeep(struct expect_view *view)
{
	if (!--view->keepers)
		free(view);
}

int expect_space_new(struct expect *expect, uint32_t id)
{
	if (vec_reserve(&expect->spaces, &expect->spaces_cap, (size_t)id + 1,
			sizeof(*expect->spaces)))
		return failure_errno(expect->failure, "spaces", -ENOMEM);
	expect->spaces[id].alive = true;
	expect->spaces_count = id;
	return 0;
}

static struct expect_space *find_space(struct expect *expect, uint32_t id)
{
	if (id && id <= expect->spaces_count && expect->spaces[id].alive)
		return &expect->spaces[id];
	failure_set(expect->failure, "there is no address space %u", id);
	return NULL;
}

static int set_view(struct expect *expect, struct expect_space *space,
		    struct expect_view *view)
{
	if (space->view && !--space->view->users &&
	    list_idle(expect, space->view))
		return -1;
	space->view = view;
	view->users++;
	return 0;
}

void expect_space_end(struct expect *expect, uint32_t id)
{
	struct expect_space *space = &expect->spaces[id];

	if (space->view && !--space->view->users && !space->view->listed)
		put_view(expect, space->view);
	put_doorbells(space->doorbells);
	*space = (struct expect_space){ 0 };
}

int expect_begin(struct expect *expect, const struct trace_publish *publish)
{
	if (expect->open)
		return failure_set(expect->failure,
				   "publication %u is not at its end",
				   expect->seq);
	if (publish->seq != expect->seq + 1)
		return failure_set(expect->failure,
				   "publication %u follows number %u",
				   publish->seq, expect->seq);
	expect->seq = publish->seq;
	expect->publish = *publish;
	expect->open = true;
	expect->new_views = 0;
	return 0;
}

static struct expect_view *find_view(struct expect *expect, uint32_t id)
{
	if (id && id <= expect->views_count && expect->views[id])
		return expect->views[id];
	failure_set(expect->failure, "there is no view %u", id);
	return NULL;
}

/* Grow by what is there, never by what a line promises. */
static int append_ranges(struct expect *expect, const struct trace_range *from,
			 size_t count)
{
	if (vec_reserve(&expect->ranges, &expect->ranges_cap,
			expect->ranges_count + count, sizeof(*expect->ranges)))
		return failure_errno(expect->failure, "view", -ENOMEM);
	if (count)
		memcpy(expect->ranges + expect->ranges_count, from,
		       count * sizeof(*from));
	expect->ranges_count += count;
	return 0;
}

/* All ranges are there but those that the base has at its tail. */
static int end_view(struct expect *expect)
{
	const struct trace_view *record = &expect->filling;
	const struct expect_view *base = expect->views[record->base];
	struct expect_view *view;

	if (record->tail &&
	    append_ranges(expect, base->ranges + base->count - record->tail,
			  record->tail))
		return -1;
	view = calloc(1, sizeof(*view) +
				 expect->ranges_count * sizeof(*view->ranges));
	if (!view)
		return failure_errno(expect->failure, "view", -ENOMEM);
	view->id = record->id;
	view->count = expect->ranges_count;
	if (view->count)
		memcpy(view->ranges, expect->ranges,
		       view->count * sizeof(*view->ranges));
	expect->views[view->id] = view;
	expect->views_count = view->id;
	expect->ranges_live += view->count;
	expect->new_views++;
	expect->filling.id = 0;
	return list_idle(expect, view);
}

static int check_view(struct expect *expect, const struct trace_view *record)
{
	uint64_t reused = (uint64_t)record->head + record->tail;
	struct expect_view *base = NULL;

	if (record->id != expect->views_count + 1)
		return failure_set(expect->failure,
				   "view %u follows number %zu", record->id,
				   expect->views_count);
	if (record->base) {
		base = find_view(expect, record->base);
		if (!base)
			return -1;
	}
	if (reused > record->count || reused > (base ? base->count : 0))
		return failure_set(expect->failure,
				   "head and tail are longer than the view");
	if (expect->ranges_live + reused >
	    RANGES_PER_LINE * (expect->failure->line + 1))
		return failure_set(expect->failure,
				   "views repeat more ranges than %u per line",
				   RANGES_PER_LINE);
	return 0;
}

static int begin_view(struct expect *expect, const struct trace_view *record)
{
	if (check_view(expect, record))
		return -1;
	if (vec_reserve(&expect->views, &expect->views_cap,
			(size_t)record->id + 1, sizeof(*expect->views)))
		return failure_errno(expect->failure, "views", -ENOMEM);
	expect->filling = *record;
	expect->ranges_left = record->count - record->head - record->tail;
	expect->ranges_count = 0;
	if (record->head &&
	    append_ranges(expect, expect->views[record->base]->ranges,
			  record->head))
		return -1;
	return expect->ranges_left ? 0 : end_view(expect);
}

static int fill_view(struct expect *expect, const struct trace_range *range)
{
	if (!expect->filling.id)
		return failure_set(expect->failure,
				   "more ranges than the view has");
	if (append_ranges(expect, range, 1))
		return -1;
	return --expect->ranges_left ? 0 : end_view(expect);
}

static int use_view(struct expect *expect, const struct trace_pair *pair)
{
	struct expect_space *space = find_space(expect, pair->space);
	struct expect_view *view = find_view(expect, pair->value);

	return space && view ? set_view(expect, space, view) : -1;
}

static struct expect_doorbells *find_recent(struct expect *expect)
{
	size_t bytes = expect->list_count * sizeof(*expect->list);
	unsigned int i;

	for (i = 0; i < expect->recents; i++)
		if (expect->recent[i]->count == expect->list_count &&
		    !memcmp(expect->recent[i]->items, expect->list, bytes))
			return expect->recent[i];
	return NULL;
}

/* The list is complete: give it to its address space. */
static int end_list(struct expect *expect)
{
	struct expect_space *space = &expect->spaces[expect->list_space];
	struct expect_doorbells *list = NULL;
	size_t bytes = expect->list_count * sizeof(*expect->list);

	expect->list_space = 0;
	put_doorbells(space->doorbells);
	space->doorbells = NULL;
	if (!bytes)
		return 0;
	list = find_recent(expect);
	if (!list) {
		list = malloc(sizeof(*list) + bytes);
		if (!list)
			return failure_errno(expect->failure, "list", -ENOMEM);
		list->users = 0;
		list->count = expect->list_count;
		memcpy(list->items, expect->list, bytes);
		if (expect->recents < EXPECT_RECENT) {
			expect->recent[expect->recents++] = list;
			list->users++;
		}
	}
	list->users++;
	space->doorbells = list;
	return 0;
}

static int begin_list(struct expect *expect, const struct trace_pair *pair)
{
	if (!find_space(expect, pair->space))
		return -1;
	expect->list_space = pair->space;
	expect->list_left = pair->value;
	expect->list_count = 0;
	return expect->list_left ? 0 : end_list(expect);
}

static int fill_list(struct expect *expect,
		     const struct trace_ioeventfd *record)
{
	struct trace_ioeventfd *item;

	if (!expect->list_space)
		return failure_set(expect->failure,
				   "more ioeventfds than the list has");
	if (vec_reserve(&expect->list, &expect->list_cap,
			expect->list_count + 1, sizeof(*expect->list)))
		return failure_errno(expect->failure, "list", -ENOMEM);
	/* Field by field, so that the padding stays zero for memcmp(). */
	item = &expect->list[expect->list_count++];
	item->address = record->address;
	item->data = record->data;
	item->size = record->size;
	item->match = record->match;
	item->fd = record->fd;
	return --expect->list_left ? 0 : end_list(expect);
}

/* Is something incomplete that this record can't complete? */
static int check_open(struct expect *expect, enum record_type type)
{
	if (expect->filling.id && type != REC_RANGE && type != REC_SKIP)
		return failure_set(expect->failure,
				   "view %u wants %u ranges more",
				   expect->filling.id, expect->ranges_left);
	if (expect->list_space && type != REC_IOEVENTFD && type != REC_SKIP)
		return failure_set(expect->failure,
				   "address space %u wants %u ioeventfds more",
				   expect->list_space, expect->list_left);
	return 0;
}

int expect_block(struct expect *expect, const struct record *record)
{
	if (check_open(expect, record->type))
		return -1;
	switch (record->type) {
	case REC_SKIP:
		return 0;
	case REC_VIEW:
		return begin_view(expect, &record->view);
	case REC_RANGE:
		return fill_view(expect, &record->range);
	case REC_USE:
		return use_view(expect, &record->pair);
	case REC_IOEVENTFDS:
		return begin_list(expect, &record->pair);
	case REC_IOEVENTFD:
		return fill_list(expect, &record->ioeventfd);
	case REC_END:
		if (record->publish.seq == expect->seq)
			return 0;
		return failure_set(expect->failure,
				   "this ends %u inside publication %u",
				   record->publish.seq, expect->seq);
	default:
		return failure_set(expect->failure,
				   "this does not belong into a publication");
	}
}
