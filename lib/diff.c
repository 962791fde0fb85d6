/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/diff.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/vector.h"
#include "lib/plane.h"
#include "lib/ram_poison.h"

/*
 * A range in the making: rendered, or the rest of one that is there.  Then it
 * keeps the doorbells and zones that it has.
 */
struct draft {
	struct mpl_flat_range flat;
	struct mpl_doorbells *doorbells;
	struct mpl_coalesced *coalesced;
};

struct drafts {
	struct draft *items;
	size_t count;
	size_t capacity;
};

/* The part of a piece that lies in [start, last]. */
static struct draft draft_of_piece(const struct mpl_piece *piece,
				   uint64_t start, uint64_t last, bool poisoned)
{
	const struct mpl_region *region = piece->region;

	return (struct draft){
		.flat = {
			.start = start,
			.last = last,
			.region = piece->region,
			.offset = piece->offset + (start - piece->start),
			.readonly = piece->readonly,
			.nonvolatile = piece->nonvolatile,
			.rom_mode = region->rom_mode,
			.dirty_mask = mpl_region_dirty_mask(region),
			.poisoned = poisoned,
		},
		.doorbells = region->doorbells,
		.coalesced = region->coalesced,
	};
}

/* The part of an existing range that lies in [start, last]. */
static struct draft draft_of_range(const struct mpl_range *range,
				   uint64_t start, uint64_t last)
{
	struct draft draft = {
		.flat = range->flat,
		.doorbells = range->doorbells,
		.coalesced = range->coalesced,
	};

	if (start > draft.flat.start) {
		draft.flat.offset += start - draft.flat.start;
		draft.flat.start = start;
	}
	if (last < draft.flat.last)
		draft.flat.last = last;
	return draft;
}

static bool same_look(const struct mpl_flat_range *a,
		      const struct mpl_flat_range *b)
{
	return a->region == b->region && a->readonly == b->readonly &&
	       a->nonvolatile == b->nonvolatile &&
	       a->rom_mode == b->rom_mode && a->poisoned == b->poisoned;
}

bool mpl_flat_same_place(const struct mpl_flat_range *a,
			 const struct mpl_flat_range *b)
{
	return a->start == b->start && a->last == b->last &&
	       a->offset == b->offset && same_look(a, b);
}

static bool same(const struct mpl_range *range, const struct draft *draft)
{
	return mpl_flat_same_place(&range->flat, &draft->flat) &&
	       range->flat.dirty_mask == draft->flat.dirty_mask &&
	       range->doorbells == draft->doorbells &&
	       range->coalesced == draft->coalesced;
}

static bool merges(const struct draft *low, const struct draft *high)
{
	/* Offset 0 follows nothing, not even the last of 2^64. */
	return low->flat.last + 1 == high->flat.start && high->flat.offset &&
	       low->flat.offset + (low->flat.last - low->flat.start) + 1 ==
		       high->flat.offset &&
	       same_look(&low->flat, &high->flat) &&
	       low->flat.dirty_mask == high->flat.dirty_mask &&
	       low->doorbells == high->doorbells &&
	       low->coalesced == high->coalesced &&
	       !low->flat.region->unmergeable;
}

/* Append in ascending order, merging with the one before. */
static int append(struct drafts *drafts, const struct draft *draft)
{
	if (drafts->count &&
	    merges(&drafts->items[drafts->count - 1], draft)) {
		drafts->items[drafts->count - 1].flat.last = draft->flat.last;
		return 0;
	}
	if (MPL_RESERVE(drafts, 1))
		return -ENOMEM;
	drafts->items[drafts->count++] = *draft;
	return 0;
}

static int compare_spans(const void *a, const void *b)
{
	const struct mpl_span *left = a;
	const struct mpl_span *right = b;

	return left->start < right->start ? -1 : left->start > right->start;
}

/*
 * So many marks that rendering all between them is cheaper than looking at
 * each become one.
 */
static void join_many_marks(struct mpl_view *view)
{
	struct mpl_spans *marks = &view->marks;
	struct mpl_span all;

	if (marks->count < 16 || marks->count < view->count / 16)
		return;
	all = marks->items[0];
	for (size_t i = 1; i < marks->count; i++) {
		if (marks->items[i].start < all.start)
			all.start = marks->items[i].start;
		if (marks->items[i].last > all.last)
			all.last = marks->items[i].last;
	}
	marks->items[0] = all;
	marks->count = 1;
}

/*
 * Sort the marks and join those that overlap or meet.  A mark that cuts or touches a
 * range which must not merge takes the whole of it: what is rendered there may
 * be one range with it, and could not be joined later.
 */
static void tidy_marks(struct mpl_view *view)
{
	struct mpl_spans *marks = &view->marks;
	size_t count = 0;

	join_many_marks(view);
	for (size_t i = 0; i < marks->count; i++) {
		struct mpl_span *mark = &marks->items[i];
		const struct mpl_range *low = mpl_view_at_or_below(
			view, mark->start ? mark->start - 1 : 0);
		const struct mpl_range *high = mpl_view_at_or_below(
			view,
			mark->last < UINT64_MAX ? mark->last + 1 : UINT64_MAX);

		if (low && low->flat.region->unmergeable && mark->start &&
		    low->flat.last >= mark->start - 1)
			mark->start = low->flat.start;
		if (high && high->flat.region->unmergeable &&
		    high->flat.last > mark->last)
			mark->last = high->flat.last;
	}
	if (marks->count > 1)
		qsort(marks->items, marks->count, sizeof(marks->items[0]),
		      compare_spans);
	for (size_t i = 0; i < marks->count; i++) {
		struct mpl_span *mark = &marks->items[i];
		struct mpl_span *before = &marks->items[count ? count - 1 : 0];

		if (count && (before->last == UINT64_MAX ||
			      mark->start <= before->last + 1)) {
			if (mark->last > before->last)
				before->last = mark->last;
			continue;
		}
		marks->items[count++] = *mark;
	}
	marks->count = count;
}

/* A piece, in parts where some of its pages are poisoned. */
static int append_piece(struct drafts *drafts, const struct mpl_piece *piece)
{
	uint64_t start = piece->start;
	int err;

	for (;;) {
		uint64_t shift = piece->offset - piece->start;
		uint64_t end = piece->last + shift;
		bool poisoned = mpl_poison_at(piece->region->poison,
					      start + shift, &end);
		struct draft draft = draft_of_piece(piece, start, end - shift,
						    poisoned);

		err = append(drafts, &draft);
		if (err || draft.flat.last == piece->last)
			return err;
		start = draft.flat.last + 1;
	}
}

static int append_rendered(struct mpl_commit *commit, struct drafts *drafts,
			   struct mpl_region *root, const struct mpl_span *mark)
{
	struct mpl_plane *plane = commit->plane;
	struct mpl_render *render = &commit->render;
	int err;

	render->pieces.count = 0;
	err = mpl_render_window(render, root,
				plane->trace_rules && root ? root->offset : 0,
				mark->start, mark->last);
	for (size_t i = 0; i < render->pieces.count && !err; i++)
		err = append_piece(drafts, &render->pieces.items[i]);
	plane->stats.intervals++;
	plane->stats.ranges_rendered += render->pieces.count;
	return err;
}

static int change(struct mpl_view *view, struct mpl_range *before,
		  const struct draft *draft)
{
	struct mpl_range *after = NULL;

	if (MPL_RESERVE(&view->changes, 1))
		return -ENOMEM;
	if (draft) {
		after = mpl_range_new(&draft->flat, draft->doorbells,
				      draft->coalesced);
		if (!after)
			return -ENOMEM;
	}
	view->changes.items[view->changes.count++] =
		(struct mpl_change){ .before = before, .after = after };
	return 0;
}

/* Compare the ranges from `range` up to `end` (exclusive) with drafts. */
static int compare(struct mpl_view *view, struct mpl_range *range,
		   const struct mpl_range *end, const struct drafts *drafts)
{
	size_t next = 0;
	int err = 0;

	while (!err && (range != end || next < drafts->count)) {
		const struct draft *draft =
			next < drafts->count ? &drafts->items[next] : NULL;
		struct mpl_range *before = range == end ? NULL : range;

		if (before && draft && same(before, draft)) {
			range = mpl_view_next(view, range);
			next++;
			continue;
		}
		if (before && draft &&
		    !mpl_flat_same_place(&before->flat, &draft->flat)) {
			/* Two events; the lower address first. */
			if (before->flat.start <= draft->flat.start)
				draft = NULL;
			else
				before = NULL;
		}
		err = change(view, before, draft);
		if (before)
			range = mpl_view_next(view, range);
		if (draft)
			next++;
	}
	return err;
}

/*
 * Marks [from, to) of the view, which hang together through ranges: *first is
 * the lowest that they cut or touch.
 */
static int diff_group(struct mpl_commit *commit, struct mpl_view *view,
		      size_t from, size_t to, struct mpl_range *first,
		      struct drafts *drafts)
{
	const struct mpl_span *marks = view->marks.items;
	struct mpl_range *range = first;
	uint64_t resume = 0; /* first address behind the last mark */
	bool at_top = false; /* there is none */
	int err = 0;

	drafts->count = 0;
	for (size_t i = from; i < to && !err; i++) {
		const struct mpl_span *mark = &marks[i];

		/* What lies before the mark stays. */
		while (range && !err && range->flat.start < mark->start) {
			struct draft rest;

			if (range->flat.last >= resume) {
				rest = draft_of_range(range, resume,
						      mark->start - 1);
				err = append(drafts, &rest);
			}
			if (range->flat.last >= mark->start)
				break;
			range = mpl_view_next(view, range);
		}
		if (!err)
			err = append_rendered(commit, drafts, view->root,
					      mark);
		while (range && range->flat.last <= mark->last)
			range = mpl_view_next(view, range);
		at_top = mark->last == UINT64_MAX;
		resume = mark->last + 1;
	}
	/* The rest of a range that is cut, or one that touches. */
	if (!err && range && !at_top && range->flat.start <= resume) {
		struct draft rest = draft_of_range(range, resume, UINT64_MAX);

		err = append(drafts, &rest);
		range = mpl_view_next(view, range);
	}
	return err ? err : compare(view, first, range, drafts);
}

/* The lowest range that a mark cuts or touches, or the first behind it. */
static struct mpl_range *first_at(const struct mpl_view *view,
				  const struct mpl_span *mark)
{
	struct mpl_range *range = mpl_view_at_or_below(
		view, mark->start ? mark->start - 1 : 0);

	if (!range)
		return mpl_view_first(view);
	if (mark->start && range->flat.last < mark->start - 1)
		return mpl_view_next(view, range);
	return range;
}

/*
 * Does a range that the first mark cuts or touches at its end also reach the
 * second, or touch it?  Then they are compared together.
 */
static bool hang_together(const struct mpl_view *view,
			  const struct mpl_span *low,
			  const struct mpl_span *high)
{
	const struct mpl_range *range =
		mpl_view_at_or_below(view, low->last + 1);

	return range && range->flat.last >= high->start - 1;
}

int mpl_diff_view(struct mpl_commit *commit, struct mpl_view *view)
{
	struct drafts drafts = { 0 };
	size_t from = 0;
	int err = 0;

	tidy_marks(view);
	while (from < view->marks.count && !err) {
		const struct mpl_span *marks = view->marks.items;
		size_t to = from + 1;

		while (to < view->marks.count &&
		       hang_together(view, &marks[to - 1], &marks[to]))
			to++;
		err = diff_group(commit, view, from, to,
				 first_at(view, &marks[from]), &drafts);
		from = to;
	}
	free(drafts.items);
	if (err) {
		for (size_t i = 0; i < view->changes.count; i++)
			if (view->changes.items[i].after)
				mpl_range_free(view->changes.items[i].after);
		view->changes.count = 0;
		return err;
	}
	mpl_view_apply(view, &view->changes);
	return 0;
}

void mpl_diff_unwind(struct mpl_view *view)
{
	for (size_t i = 0; i < view->changes.count; i++) {
		struct mpl_range *after = view->changes.items[i].after;

		if (!after)
			continue;
		mpl_view_remove(view, after);
		mpl_range_free(after);
	}
	for (size_t i = 0; i < view->changes.count; i++)
		if (view->changes.items[i].before)
			mpl_view_insert(view, view->changes.items[i].before);
	view->changes.count = 0;
}

int mpl_diff_verify(struct mpl_commit *commit, const struct mpl_view *view)
{
	const struct mpl_span all = { .start = 0, .last = UINT64_MAX };
	const struct mpl_range *range = mpl_view_first(view);
	struct mpl_plane_stats *stats = &commit->plane->stats;
	struct mpl_plane_stats before = *stats;
	struct drafts drafts = { 0 };
	int err = append_rendered(commit, &drafts, view->root, &all);

	*stats = before; /* this is not the commit's own work */
	for (size_t i = 0; i < drafts.count && !err; i++) {
		if (!range || !same(range, &drafts.items[i])) {
			mpl_log(&commit->plane->data.log, MPL_LOG_ERROR,
				"view verification: not as rendered anew at %#llx",
				(unsigned long long)drafts.items[i].flat.start);
			err = -EUCLEAN;
			break;
		}
		range = mpl_view_next(view, range);
	}
	if (!err && range)
		err = -EUCLEAN;
	free(drafts.items);
	return err;
}
