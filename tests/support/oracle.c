/* SPDX-License-Identifier: BSD-3-Clause */
#include "oracle.h"

#include <assert.h>
#include <stdlib.h>

#define SPACE_END ((wide_t)1 << 64)

static const struct model_region *region_at(const struct model *model, int id)
{
	return &model->regions[id];
}

static int only_enabled_child(const struct model *model, int id, int *count)
{
	int found = MODEL_NONE;

	*count = 0;
	for (int c = region_at(model, id)->first_child; c != MODEL_NONE;
	     c = region_at(model, c)->next) {
		if (!region_at(model, c)->enabled)
			continue;
		found = c;
		++*count;
	}
	return found;
}

int oracle_effective_root(const struct model *model, int root, bool trace_rules)
{
	for (;;) {
		const struct model_region *r = region_at(model, root);
		int children, child;

		if (!r->enabled)
			return MODEL_NONE;
		if (r->kind == MPL_CONTAINER) {
			child = only_enabled_child(model, root, &children);
			if (!children)
				return MODEL_NONE;
			if (children > 1 || region_at(model, child)->offset)
				return root;
		} else if (r->kind == MPL_ALIAS) {
			child = r->target;
			if (r->alias_offset)
				return root;
		} else {
			return root;
		}
		if (region_at(model, child)->size > r->size)
			return root;
		if (!trace_rules && (r->readonly || r->nonvolatile))
			return root;
		root = child;
	}
}

/* Where a view's first address lies in its effective root. */
static wide_t root_base(const struct model *model, int root, bool trace_rules)
{
	return trace_rules ? (wide_t)region_at(model, root)->offset : 0;
}

static uint8_t dirty_mask(const struct model *model, int id)
{
	const struct model_region *r = region_at(model, id);
	uint8_t mask = 0;

	for (int client = 0; client < MPL_LOG_CLIENTS; client++)
		if (r->log[client] ||
		    (model->log_global[client] && r->takes_part[client]))
			mask |= (uint8_t)(1u << client);
	return mask;
}

struct question {
	const struct model *model;
	wide_t gpa;
	struct oracle_hit *answer;
};

struct way {
	bool readonly;
	bool nonvolatile;
	uint64_t path;
};

static bool find(const struct question *q, int id, wide_t base, struct way way)
{
	const struct model_region *r = region_at(q->model, id);

	if (!r->enabled)
		return false;
	if (q->gpa < base || q->gpa >= base + wide_size(r->size))
		return false;
	way.readonly |= r->readonly;
	way.nonvolatile |= r->nonvolatile;
	way.path = (way.path ^ (uint64_t)(id + 1)) * 0x100000001b3;
	if (r->kind == MPL_ALIAS)
		return find(q, r->target, base - (wide_t)r->alias_offset, way);
	for (int c = r->first_child; c != MODEL_NONE;
	     c = region_at(q->model, c)->next)
		if (find(q, c, base + (wide_t)region_at(q->model, c)->offset,
			 way))
			return true;
	if (r->kind == MPL_CONTAINER)
		return false;
	q->answer->region = id;
	q->answer->offset = (uint64_t)(q->gpa - base);
	q->answer->readonly = way.readonly;
	q->answer->nonvolatile = way.nonvolatile;
	q->answer->rom_mode = r->rom_mode;
	q->answer->dirty_mask = dirty_mask(q->model, id);
	q->answer->path = way.path;
	return true;
}

/* The library's rules never need the effective root to find an address. */
static int start_of_walk(const struct model *model, int root, bool trace_rules)
{
	return trace_rules ? oracle_effective_root(model, root, true) : root;
}

bool oracle_find(const struct model *model, int root, bool trace_rules,
		 uint64_t gpa, struct oracle_hit *out)
{
	struct question q = { model, (wide_t)gpa, out };
	struct way way = { false, false, 0xcbf29ce484222325 };

	root = start_of_walk(model, root, trace_rules);
	if (root == MODEL_NONE)
		return false;
	return find(&q, root, root_base(model, root, trace_rules), way);
}

struct list {
	void *items;
	size_t n;
	size_t room;
	size_t item_size;
};

static void *list_push(struct list *list)
{
	if (list->n == list->room) {
		list->room = list->room ? 2 * list->room : 32;
		list->items =
			realloc(list->items, list->room * list->item_size);
		assert(list->items);
	}
	return (char *)list->items + list->item_size * list->n++;
}

static void note_edge(struct list *edges, wide_t at)
{
	if (at >= 0 && at < SPACE_END)
		*(uint64_t *)list_push(edges) = (uint64_t)at;
}

/* [start, end) is what all ancestors together let through. */
static void walk_edges(const struct model *model, int id, wide_t base,
		       wide_t start, wide_t end, struct list *edges)
{
	const struct model_region *r = region_at(model, id);

	if (start < base)
		start = base;
	if (end > base + wide_size(r->size))
		end = base + wide_size(r->size);
	if (!r->enabled || start >= end)
		return;
	note_edge(edges, start);
	note_edge(edges, end);
	if (r->kind == MPL_ALIAS) {
		walk_edges(model, r->target, base - (wide_t)r->alias_offset,
			   start, end, edges);
		return;
	}
	for (int c = r->first_child; c != MODEL_NONE;
	     c = region_at(model, c)->next)
		walk_edges(model, c, base + (wide_t)region_at(model, c)->offset,
			   start, end, edges);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

size_t oracle_edges(const struct model *model, int root, bool trace_rules,
		    uint64_t **out)
{
	struct list edges = { .item_size = sizeof(uint64_t) };
	uint64_t *at;
	size_t n = 0;

	note_edge(&edges, 0);
	root = start_of_walk(model, root, trace_rules);
	if (root != MODEL_NONE)
		walk_edges(model, root, root_base(model, root, trace_rules), 0,
			   SPACE_END, &edges);
	at = edges.items;
	qsort(at, edges.n, sizeof(*at), compare_u64);
	for (size_t i = 0; i < edges.n; i++)
		if (!n || at[i] != at[n - 1])
			at[n++] = at[i];
	*out = at;
	return n;
}

static bool continues(const struct model *model, const struct oracle_range *a,
		      const struct oracle_range *b)
{
	if (a->last + 1 != b->start || a->hit.region != b->hit.region ||
	    (wide_t)a->hit.offset + (b->start - a->start) !=
		    (wide_t)b->hit.offset)
		return false;
	if (a->hit.path == b->hit.path)
		return true; /* one visit: never was two ranges */
	return a->hit.readonly == b->hit.readonly &&
	       a->hit.nonvolatile == b->hit.nonvolatile &&
	       !region_at(model, a->hit.region)->unmergeable;
}

size_t oracle_view(const struct model *model, int root, bool trace_rules,
		   struct oracle_range **out)
{
	struct list view = { .item_size = sizeof(struct oracle_range) };
	uint64_t *edges;
	size_t n = oracle_edges(model, root, trace_rules, &edges);

	for (size_t i = 0; i < n; i++) {
		struct oracle_range *before = view.items, range;

		range.start = edges[i];
		range.last = i + 1 < n ? edges[i + 1] - 1 : UINT64_MAX;
		if (!oracle_find(model, root, trace_rules, range.start,
				 &range.hit))
			continue;
		if (view.n && continues(model, &before[view.n - 1], &range))
			before[view.n - 1].last = range.last;
		else
			*(struct oracle_range *)list_push(&view) = range;
	}
	free(edges);
	*out = view.items;
	return view.n;
}

/* Does [at, at + size) touch the range?  Size 0 is the address alone. */
static bool touches(const struct oracle_range *range, wide_t at, wide_t size)
{
	wide_t end = at + (size ? size : 1);

	return end > (wide_t)range->start && at <= (wide_t)range->last;
}

static wide_t gpa_of(const struct oracle_range *range, uint64_t offset)
{
	return (wide_t)range->start - (wide_t)range->hit.offset +
	       (wide_t)offset;
}

size_t oracle_ioeventfds(const struct model *model, int root, bool trace_rules,
			 struct oracle_event **out)
{
	struct list events = { .item_size = sizeof(struct oracle_event) };
	struct oracle_range *view;
	size_t n = oracle_view(model, root, trace_rules, &view);

	for (size_t i = 0; i < n; i++) {
		const struct model_region *r =
			region_at(model, view[i].hit.region);

		for (int e = 0; e < r->n_events; e++) {
			wide_t at = gpa_of(&view[i], r->events[e].offset);
			struct oracle_event *ev;

			if (!touches(&view[i], at, r->events[e].size))
				continue;
			ev = list_push(&events);
			ev->region = view[i].hit.region;
			ev->gpa = (uint64_t)at;
			ev->ev = r->events[e];
		}
	}
	free(view);
	*out = events.items;
	return events.n;
}

size_t oracle_zones(const struct model *model, int root, bool trace_rules,
		    struct oracle_zone **out)
{
	struct list zones = { .item_size = sizeof(struct oracle_zone) };
	struct oracle_range *view;
	size_t n = oracle_view(model, root, trace_rules, &view);

	for (size_t i = 0; i < n; i++) {
		const struct model_region *r =
			region_at(model, view[i].hit.region);

		for (int z = 0; z < r->n_zones; z++) {
			wide_t at = gpa_of(&view[i], r->zones[z].offset);
			wide_t end = at + wide_size(r->zones[z].size);
			struct oracle_zone *zone;

			if (at < (wide_t)view[i].start)
				at = (wide_t)view[i].start;
			if (end > (wide_t)view[i].last + 1)
				end = (wide_t)view[i].last + 1;
			if (at >= end)
				continue;
			zone = list_push(&zones);
			zone->start = (uint64_t)at;
			zone->last = (uint64_t)(end - 1);
		}
	}
	free(view);
	*out = zones.items;
	return zones.n;
}
