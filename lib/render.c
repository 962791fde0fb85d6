/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/render.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/vector.h"

/* Aliases of aliases can multiply: 256 levels of two make 2^256 paths. */
#define VISITS_MAX (UINT64_C(1) << 26)

/*
 * Regions are nested MPL_DEPTH_MAX deep; a folded alias (lib/tree.h) may add to
 * that, but one that shows itself goes on for ever.
 */
#define LEVELS_MAX (2 * MPL_DEPTH_MAX)

/* A part of a region, in its own offsets, and where that appears. */
struct window {
	uint64_t start;
	uint64_t last;
	uint64_t base; /* address of offset 0, modulo 2^64 */
	bool readonly;
	bool nonvolatile;
	unsigned int level;
};

void mpl_render_destroy(struct mpl_render *render)
{
	free(render->pieces.items);
	free(render->scratch.items);
	free(render->found.items);
}

static int push(struct mpl_pieces *pieces, const struct mpl_piece *piece)
{
	if (MPL_RESERVE(pieces, 1))
		return -ENOMEM;
	pieces->items[pieces->count++] = *piece;
	return 0;
}

/* `low` from `start` to `last`. */
static struct mpl_piece part(const struct mpl_piece *low, uint64_t start,
			     uint64_t last)
{
	struct mpl_piece piece = *low;

	piece.start = start;
	piece.last = last;
	piece.offset += start - low->start;
	return piece;
}

/*
 * Lay pieces [from, middle) over pieces [middle, count): both are ascending
 * and disjoint, and so is the result, at [from, count).
 */
static int overlay(struct mpl_render *render, size_t from, size_t middle)
{
	struct mpl_pieces *pieces = &render->pieces;
	struct mpl_pieces *out = &render->scratch;
	size_t high = from, low = middle;
	size_t end = pieces->count;
	/* Where the rest of the low piece starts. */
	uint64_t start = low < end ? pieces->items[low].start : 0;

	/* Each high piece splits at most one low piece in two. */
	out->count = 0;
	if (MPL_RESERVE(out, 2 * (end - from) + 1) ||
	    MPL_RESERVE(pieces, end - from + 1))
		return -ENOMEM;
	while (low < end) {
		const struct mpl_piece *below = &pieces->items[low];
		const struct mpl_piece *above = &pieces->items[high];

		if (high == middle || above->start > below->last) {
			out->items[out->count++] =
				part(below, start, below->last);
			if (++low < end)
				start = pieces->items[low].start;
			continue;
		}
		if (above->last < start) {
			out->items[out->count++] = *above;
			high++;
			continue;
		}
		if (above->start > start)
			out->items[out->count++] =
				part(below, start, above->start - 1);
		if (above->last < below->last) {
			start = above->last + 1;
			out->items[out->count++] = *above;
			high++;
		} else if (++low < end) {
			start = pieces->items[low].start;
		}
	}
	while (high < middle)
		out->items[out->count++] = pieces->items[high++];
	memcpy(pieces->items + from, out->items,
	       out->count * sizeof(out->items[0]));
	pieces->count = from + out->count;
	return 0;
}

static int render_region(struct mpl_render *render, struct mpl_region *region,
			 struct window window);

/* The part of a child that the parent's window shows. */
static int render_child(struct mpl_render *render, struct mpl_region *child,
			const struct window *parent)
{
	uint64_t start = child->interval.start;
	uint64_t last = child->interval.last;
	struct window window = *parent;

	window.start = (parent->start > start ? parent->start : start) - start;
	window.last = (parent->last < last ? parent->last : last) - start;
	window.base += start;
	return render_region(render, child, window);
}

/* Children found[from, to), the topmost first. */
static int render_stack(struct mpl_render *render, size_t from, size_t to,
			const struct window *window)
{
	size_t begin = render->pieces.count;
	size_t middle;
	int err;

	if (to - from == 1)
		return render_child(render, render->found.items[from], window);
	err = render_stack(render, from, from + (to - from) / 2, window);
	middle = render->pieces.count;
	if (!err)
		err = render_stack(render, from + (to - from) / 2, to, window);
	if (!err && middle > begin && render->pieces.count > middle)
		err = overlay(render, begin, middle);
	return err;
}

/* Topmost first: higher priority, then added later. */
static int compare_stack(const void *a, const void *b)
{
	const struct mpl_region *left = *(struct mpl_region *const *)a;
	const struct mpl_region *right = *(struct mpl_region *const *)b;

	if (left->priority != right->priority)
		return left->priority > right->priority ? -1 : 1;
	return left->order > right->order ? -1 : 1;
}

static int note_child(void *arg, struct mpl_interval *node)
{
	struct mpl_render *render = arg;
	struct mpl_region *child = MPL_OF(node, struct mpl_region, interval);

	if (!child->enabled)
		return 0;
	if (MPL_RESERVE(&render->found, 1))
		return -ENOMEM;
	render->found.items[render->found.count++] = child;
	return 0;
}

static int render_children(struct mpl_render *render,
			   struct mpl_region *region,
			   const struct window *window)
{
	size_t bottom = render->found.count;
	size_t from, end;
	int err = mpl_interval_each(&region->index, window->start,
				    window->last, note_child, render);

	end = render->found.count;
	for (from = bottom; from < end && !err;) {
		uint64_t last = render->found.items[from]->interval.last;
		size_t to = from + 1;

		for (; to < end; to++) {
			const struct mpl_interval *next =
				&render->found.items[to]->interval;

			if (next->start > last)
				break;
			if (next->last > last)
				last = next->last;
		}
		if (to - from > 1)
			qsort(render->found.items + from, to - from,
			      sizeof(render->found.items[0]), compare_stack);
		err = render_stack(render, from, to, window);
		from = to;
	}
	render->found.count = bottom;
	return err;
}

static int render_alias(struct mpl_render *render, struct mpl_region *alias,
			struct window window)
{
	struct mpl_region *target = alias->target;
	uint64_t offset = alias->alias_offset;

	if (!target->size || window.start > UINT64_MAX - offset)
		return 0;
	window.start += offset;
	window.last = window.last > UINT64_MAX - offset ? UINT64_MAX :
							  window.last + offset;
	if (window.last > mpl_region_last(target))
		window.last = mpl_region_last(target);
	if (window.start > window.last)
		return 0;
	window.base -= offset;
	return render_region(render, target, window);
}

static int render_region(struct mpl_render *render, struct mpl_region *region,
			 struct window window)
{
	size_t begin = render->pieces.count;
	size_t middle;
	int err;

	if (!region->enabled)
		return 0;
	if (++render->visits > VISITS_MAX)
		return -E2BIG;
	if (++window.level > LEVELS_MAX)
		return -ELOOP;
	window.readonly |= region->readonly;
	window.nonvolatile |= region->nonvolatile;
	if (region->kind == MPL_ALIAS)
		return render_alias(render, region, window);
	err = render_children(render, region, &window);
	if (err || !mpl_region_terminates(region))
		return err;
	middle = render->pieces.count;
	err = push(&render->pieces,
		   &(struct mpl_piece){
			   .start = window.base + window.start,
			   .last = window.base + window.last,
			   .region = region,
			   .offset = window.start,
			   .readonly = window.readonly,
			   .nonvolatile = window.nonvolatile,
		   });
	return err || middle == begin ? err : overlay(render, begin, middle);
}

int mpl_render_window(struct mpl_render *render, struct mpl_region *root,
		      uint64_t base, uint64_t start, uint64_t last)
{
	struct window window = { .base = base };

	if (!root || !root->size || last < base)
		return 0;
	window.start = start > base ? start - base : 0;
	window.last = last - base;
	if (window.last > mpl_region_last(root))
		window.last = mpl_region_last(root);
	if (window.start > window.last)
		return 0;
	return render_region(render, root, window);
}
