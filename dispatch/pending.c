/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/pending.h"

#include <stdlib.h>

#include "dispatch/device.h"
#include "dispatch/section.h"

enum { FIRST_CAPACITY = 64 };

static bool same_log(const struct mpl_pending_range *a,
		     const struct mpl_pending_range *b)
{
	return a->device == b->device && a->clients == b->clients;
}

/* Do they overlap, or touch? */
static bool joins(const struct mpl_pending_range *a,
		  const struct mpl_pending_range *b)
{
	return same_log(a, b) && b->first <= a->last + 1 &&
	       a->first <= b->last + 1;
}

static void widen(struct mpl_pending_range *range,
		  const struct mpl_pending_range *more)
{
	if (more->first < range->first)
		range->first = more->first;
	if (more->last > range->last)
		range->last = more->last;
}

static int compare(const void *a, const void *b)
{
	const struct mpl_pending_range *left = a, *right = b;

	if (left->device != right->device)
		return (uintptr_t)left->device < (uintptr_t)right->device ? -1 :
									    1;
	if (left->clients != right->clients)
		return left->clients < right->clients ? -1 : 1;
	return left->first < right->first ? -1 : left->first > right->first;
}

/* Sort, and join what touches. */
static void compact(struct mpl_pending *pending)
{
	struct mpl_pending_range *items = pending->items;
	uint32_t kept = 0;

	qsort(items, pending->count, sizeof(*items), compare);
	for (uint32_t i = 1; i < pending->count; i++) {
		if (joins(&items[kept], &items[i]))
			widen(&items[kept], &items[i]);
		else
			items[++kept] = items[i];
	}
	pending->count = kept + 1;
}

static bool grow(struct mpl_pending *pending)
{
	uint32_t capacity = pending->capacity ? pending->capacity * 2 :
						FIRST_CAPACITY;
	struct mpl_pending_range *items;

	if (capacity > MPL_PENDING_MAX)
		return false;
	items = realloc(pending->items, capacity * sizeof(*items));
	if (!items)
		return false;
	pending->items = items;
	pending->capacity = capacity;
	return true;
}

/* Room for one more; joining is worth it if it leaves a quarter free. */
static bool make_room(struct mpl_pending *pending)
{
	if (pending->count < pending->capacity)
		return true;
	if (pending->full)
		return false;
	if (pending->count)
		compact(pending);
	if (pending->count < pending->capacity / 4 * 3 || grow(pending))
		return true;
	/* Not to be tried for each range that comes. */
	pending->full = pending->count == pending->capacity;
	return !pending->full;
}

bool mpl_pending_add(struct mpl_pending *pending,
		     const struct mpl_section *section, uint64_t gpa,
		     uint64_t len)
{
	uint64_t offset = mpl_section_offset(section, gpa);
	const struct mpl_pending_range range = {
		.device = section->device,
		.first = offset / MPL_DIRTY_PAGE,
		.last = (offset + (len - 1)) / MPL_DIRTY_PAGE,
		.clients = section->flags >> MPL_SECTION_DIRTY_SHIFT & 0xff,
	};
	uint32_t count = pending->count;

	if (count && joins(&pending->items[count - 1], &range)) {
		widen(&pending->items[count - 1], &range);
		return true;
	}
	if (make_room(pending)) {
		pending->items[pending->count++] = range;
		return true;
	}
	for (uint32_t i = 0; i < pending->count; i++)
		if (same_log(&pending->items[i], &range)) {
			widen(&pending->items[i], &range);
			return true;
		}
	return false;
}

void mpl_pending_flush(struct mpl_pending *pending)
{
	/* [B31] full fence, as in mpl_dirty_mark_section(): the stores first. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (uint32_t i = 0; i < pending->count; i++) {
		const struct mpl_pending_range *range = &pending->items[i];

		mpl_dirty_mark_clients(&range->device->dirty, range->clients,
				       range->first, range->last);
	}
	pending->count = 0;
	pending->full = false;
}

void mpl_pending_destroy(struct mpl_pending *pending)
{
	free(pending->items);
}
