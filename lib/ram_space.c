/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/ram_space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/vector.h"

/* Index of the first gap that is not less than (length, start). */
static size_t find(const struct mpl_ram_space *space, uint64_t length,
		   uint64_t start)
{
	size_t low = 0, high = space->gaps.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct mpl_ram_gap *gap = &space->gaps.items[middle];

		if (gap->length < length ||
		    (gap->length == length && gap->start < start))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* There is room. */
static void add(struct mpl_ram_space *space, uint64_t start, uint64_t length)
{
	size_t at = find(space, length, start);
	struct mpl_ram_gap *gap = space->gaps.items + at;

	if (!length)
		return;
	memmove(gap + 1, gap, (space->gaps.count - at) * sizeof(*gap));
	*gap = (struct mpl_ram_gap){ .length = length, .start = start };
	space->gaps.count++;
}

static void remove_at(struct mpl_ram_space *space, size_t at)
{
	struct mpl_ram_gap *gap = space->gaps.items + at;

	space->gaps.count--;
	memmove(gap, gap + 1, (space->gaps.count - at) * sizeof(*gap));
}

int mpl_ram_space_init(struct mpl_ram_space *space)
{
	*space = (struct mpl_ram_space){ 0 };
	if (MPL_RESERVE(&space->gaps, 2))
		return -ENOMEM;
	add(space, 0, MPL_RAM_SPACE_LAST + 1);
	return 0;
}

void mpl_ram_space_destroy(struct mpl_ram_space *space)
{
	free(space->gaps.items);
}

/* Take [start, start + length) out of gap `at`. */
static int carve(struct mpl_ram_space *space, size_t at, uint64_t start,
		 uint64_t length)
{
	struct mpl_ram_gap gap = space->gaps.items[at];

	/* Room for a gap on both sides of every block, so that giving back
	 * cannot fail. */
	if (MPL_RESERVE(&space->gaps, space->taken + 2))
		return -ENOMEM;
	space->taken++;
	remove_at(space, at);
	add(space, gap.start, start - gap.start);
	add(space, start + length, gap.length - length - (start - gap.start));
	return 0;
}

int mpl_ram_space_take(struct mpl_ram_space *space, uint64_t length,
		       uint64_t align, uint64_t *start)
{
	for (size_t at = find(space, length, 0); at < space->gaps.count; at++) {
		const struct mpl_ram_gap *gap = &space->gaps.items[at];
		uint64_t from = (gap->start + align - 1) & ~(align - 1);
		int err;

		if (from - gap->start > gap->length - length)
			continue;
		err = carve(space, at, from, length);
		if (!err)
			*start = from;
		return err;
	}
	return -ENOSPC;
}

int mpl_ram_space_take_at(struct mpl_ram_space *space, uint64_t start,
			  uint64_t length)
{
	for (size_t at = find(space, length, 0); at < space->gaps.count; at++) {
		const struct mpl_ram_gap *gap = &space->gaps.items[at];

		if (start >= gap->start &&
		    start - gap->start <= gap->length - length)
			return carve(space, at, start, length);
	}
	return -EEXIST;
}

void mpl_ram_space_give(struct mpl_ram_space *space, uint64_t start,
			uint64_t length, uint64_t below, uint64_t above)
{
	if (below)
		remove_at(space, find(space, below, start - below));
	if (above)
		remove_at(space, find(space, above, start + length));
	add(space, start - below, below + length + above);
	space->taken--;
}
