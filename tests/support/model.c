/* SPDX-License-Identifier: BSD-3-Clause */
#include "model.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

void model_init(struct model *model)
{
	memset(model, 0, sizeof(*model));
}

bool model_has_memory(const struct model *model, int id)
{
	switch (model->regions[id].kind) {
	case MPL_RAM:
	case MPL_ROM:
	case MPL_ROM_DEVICE:
	case MPL_RAM_DEVICE:
		return true;
	default:
		return false;
	}
}

int model_new_region(struct model *model, enum mpl_region_kind kind,
		     const char *name, uint64_t size)
{
	int id = model->n_regions++;
	struct model_region *r = &model->regions[id];

	assert(id < MODEL_REGIONS);
	memset(r, 0, sizeof(*r));
	snprintf(r->name, sizeof(r->name), "%s", name);
	r->kind = kind;
	r->size = size;
	r->max_size = size;
	r->enabled = true;
	r->readonly = kind == MPL_ROM;
	r->rom_mode = true;
	r->parent = MODEL_NONE;
	r->first_child = MODEL_NONE;
	r->next = MODEL_NONE;
	r->target = MODEL_NONE;
	for (int client = 0; client < MPL_LOG_CLIENTS; client++)
		r->takes_part[client] = model_has_memory(model, id);
	return id;
}

int model_new_alias(struct model *model, const char *name, int target,
		    uint64_t offset, uint64_t size)
{
	int id = model_new_region(model, MPL_ALIAS, name, size);

	model->regions[id].target = target;
	model->regions[id].alias_offset = offset;
	return id;
}

int model_depth(const struct model *model, int id)
{
	const struct model_region *r = &model->regions[id];
	int deepest = 0;

	if (r->kind == MPL_ALIAS)
		return 1 + model_depth(model, r->target);
	for (int c = r->first_child; c != MODEL_NONE;
	     c = model->regions[c].next) {
		int depth = model_depth(model, c);

		if (depth > deepest)
			deepest = depth;
	}
	return 1 + deepest;
}

bool model_contains(const struct model *model, int from, int to)
{
	if (from == to)
		return true;
	for (int c = model->regions[from].first_child; c != MODEL_NONE;
	     c = model->regions[c].next)
		if (model_contains(model, c, to))
			return true;
	return false;
}

static bool reaches(const struct model *model, int from, int to, bool *seen)
{
	const struct model_region *r = &model->regions[from];

	if (from == to)
		return true;
	if (seen[from])
		return false;
	seen[from] = true;
	if (r->kind == MPL_ALIAS)
		return reaches(model, r->target, to, seen);
	for (int c = r->first_child; c != MODEL_NONE;
	     c = model->regions[c].next)
		if (reaches(model, c, to, seen))
			return true;
	return false;
}

bool model_reaches(const struct model *model, int from, int to)
{
	bool seen[MODEL_REGIONS] = { false };

	return reaches(model, from, to, seen);
}

wide_t wide_size(uint64_t size)
{
	return size == UINT64_MAX ? (wide_t)1 << 64 : (wide_t)size;
}

#define DEPTH_MAX (4 * MPL_DEPTH_MAX)

static void visit(const struct model *model, int id, wide_t base, wide_t start,
		  wide_t end, int depth, size_t *visits)
{
	const struct model_region *r = &model->regions[id];

	if (start < base)
		start = base;
	if (end > base + wide_size(r->size))
		end = base + wide_size(r->size);
	if (!r->enabled || start >= end || *visits >= MODEL_ENDLESS)
		return;
	++*visits;
	if (depth > DEPTH_MAX) {
		*visits = MODEL_ENDLESS;
		return;
	}
	if (r->kind == MPL_ALIAS) {
		visit(model, r->target, base - (wide_t)r->alias_offset, start,
		      end, depth + 1, visits);
		return;
	}
	for (int c = r->first_child; c != MODEL_NONE;
	     c = model->regions[c].next)
		visit(model, c, base + (wide_t)model->regions[c].offset, start,
		      end, depth + 1, visits);
}

size_t model_visits(const struct model *model, int root)
{
	size_t visits = 0;

	visit(model, root, 0, 0, (wide_t)1 << 64, 0, &visits);
	return visits;
}

/* Before the first sibling that does not have a higher priority. */
static void link_child(struct model *model, int parent, int child)
{
	int *at = &model->regions[parent].first_child;

	while (*at != MODEL_NONE &&
	       model->regions[*at].priority > model->regions[child].priority)
		at = &model->regions[*at].next;
	model->regions[child].next = *at;
	*at = child;
	model->regions[child].parent = parent;
}

static void unlink_child(struct model *model, int child)
{
	int *at = &model->regions[model->regions[child].parent].first_child;

	while (*at != child)
		at = &model->regions[*at].next;
	*at = model->regions[child].next;
	model->regions[child].next = MODEL_NONE;
	model->regions[child].parent = MODEL_NONE;
}

int model_add(struct model *model, int parent, uint64_t offset, int child,
	      int priority)
{
	struct model_region *c = &model->regions[child];
	uint64_t offset_before = c->offset;
	int priority_before = c->priority;

	if (model->regions[parent].kind == MPL_ALIAS)
		return -EINVAL;
	if (c->parent != MODEL_NONE)
		return -EBUSY;
	if (model_contains(model, child, parent))
		return -ELOOP;
	c->offset = offset;
	c->priority = priority;
	link_child(model, parent, child);
	if (!model_reaches(model, child, parent) ||
	    model_visits(model, parent) < MODEL_ENDLESS)
		return 0;
	unlink_child(model, child);
	c->offset = offset_before;
	c->priority = priority_before;
	return -ELOOP;
}

int model_remove(struct model *model, int child)
{
	if (model->regions[child].parent == MODEL_NONE)
		return -ENOENT;
	unlink_child(model, child);
	return 0;
}

static void link_again(struct model *model, int id)
{
	int parent = model->regions[id].parent;

	if (parent == MODEL_NONE)
		return;
	unlink_child(model, id);
	link_child(model, parent, id);
}

int model_move(struct model *model, int id, uint64_t offset)
{
	model->regions[id].offset = offset;
	link_again(model, id);
	return 0;
}

int model_set_priority(struct model *model, int id, int priority)
{
	model->regions[id].priority = priority;
	link_again(model, id);
	return 0;
}

int model_resize(struct model *model, int id, uint64_t size)
{
	struct model_region *r = &model->regions[id];

	if (model_has_memory(model, id) && size > r->max_size)
		return -ENOSPC;
	r->size = size;
	return 0;
}

int model_log_start(struct model *model, int id, enum mpl_log_client client)
{
	model->regions[id].log[client]++;
	return 0;
}

int model_log_stop(struct model *model, int id, enum mpl_log_client client)
{
	if (!model->regions[id].log[client])
		return -EINVAL;
	model->regions[id].log[client]--;
	return 0;
}

#define COMPARE(a, b)                                                          \
	do {                                                                   \
		if ((a) != (b))                                                \
			return (a) < (b) ? -1 : 1;                             \
	} while (0)

static int compare_events(const struct mpl_ioeventfd *a,
			  const struct mpl_ioeventfd *b)
{
	COMPARE(a->offset, b->offset);
	COMPARE(a->size, b->size);
	COMPARE(a->match, b->match);
	if (a->match)
		COMPARE(a->data, b->data);
	COMPARE(a->fd, b->fd);
	return 0;
}

int model_ioeventfd_add(struct model *model, int id,
			const struct mpl_ioeventfd *ev)
{
	struct model_region *r = &model->regions[id];
	int at = 0;

	while (at < r->n_events && compare_events(&r->events[at], ev) < 0)
		at++;
	if (at < r->n_events && !compare_events(&r->events[at], ev))
		return -EEXIST;
	assert(r->n_events < MODEL_EVENTS);
	memmove(&r->events[at + 1], &r->events[at],
		(size_t)(r->n_events - at) * sizeof(*ev));
	r->events[at] = *ev;
	r->n_events++;
	return 0;
}

int model_ioeventfd_del(struct model *model, int id,
			const struct mpl_ioeventfd *ev)
{
	struct model_region *r = &model->regions[id];

	for (int at = 0; at < r->n_events; at++) {
		if (compare_events(&r->events[at], ev))
			continue;
		r->n_events--;
		memmove(&r->events[at], &r->events[at + 1],
			(size_t)(r->n_events - at) * sizeof(*ev));
		return 0;
	}
	return -ENOENT;
}

int model_coalescing_add(struct model *model, int id, uint64_t offset,
			 uint64_t size)
{
	struct model_region *r = &model->regions[id];

	assert(r->n_zones < MODEL_ZONES);
	r->zones[r->n_zones].offset = offset;
	r->zones[r->n_zones].size = size;
	r->n_zones++;
	return 0;
}
