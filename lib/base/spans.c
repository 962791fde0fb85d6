/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/base/spans.h"

#include <string.h>

#include "lib/base/vector.h"

size_t mpl_spans_from(const struct mpl_spans *spans, uint64_t at)
{
	size_t low = 0, high = spans->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (spans->items[middle].last < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int mpl_spans_reserve(struct mpl_spans *spans)
{
	return MPL_RESERVE(spans, 1);
}

/* Put `count` items in the place of [from, to). */
static void replace(struct mpl_spans *spans, size_t from, size_t to,
		    const struct mpl_span *items, size_t count)
{
	memmove(spans->items + from + count, spans->items + to,
		(spans->count - to) * sizeof(*items));
	memcpy(spans->items + from, items, count * sizeof(*items));
	spans->count += count - (to - from);
}

void mpl_spans_add(struct mpl_spans *spans, uint64_t start, uint64_t last)
{
	size_t from = mpl_spans_from(spans, start ? start - 1 : 0);
	struct mpl_span all = { .start = start, .last = last };
	size_t to;

	for (to = from; to < spans->count; to++) {
		const struct mpl_span *span = &spans->items[to];

		if (last < UINT64_MAX && span->start > last + 1)
			break;
		if (span->start < all.start)
			all.start = span->start;
		if (span->last > all.last)
			all.last = span->last;
	}
	replace(spans, from, to, &all, 1);
}

void mpl_spans_cut(struct mpl_spans *spans, uint64_t start, uint64_t last)
{
	size_t from = mpl_spans_from(spans, start);
	struct mpl_span rest[2];
	size_t to, count = 0;

	for (to = from; to < spans->count; to++) {
		const struct mpl_span *span = &spans->items[to];

		if (span->start > last)
			break;
		if (span->start < start)
			rest[count++] = (struct mpl_span){ .start = span->start,
							   .last = start - 1 };
		if (span->last > last)
			rest[count++] = (struct mpl_span){ .start = last + 1,
							   .last = span->last };
	}
	if (from != to)
		replace(spans, from, to, rest, count);
}

int mpl_spans_part(const struct mpl_spans *spans, int in, uint64_t start,
		   uint64_t last, struct mpl_span *part)
{
	size_t at = mpl_spans_from(spans, start);
	const struct mpl_span *span = &spans->items[at];

	*part = (struct mpl_span){ .start = start, .last = last };
	if (at == spans->count || span->start > last)
		return !in;
	if (in) {
		if (span->start > start)
			part->start = span->start;
		if (span->last < last)
			part->last = span->last;
		return 1;
	}
	if (span->start > start) {
		part->last = span->start - 1;
		return 1;
	}
	if (span->last >= last)
		return 0;
	/* Ranges never meet: what follows is not in the set. */
	part->start = span->last + 1;
	if (at + 1 < spans->count && spans->items[at + 1].start <= last)
		part->last = spans->items[at + 1].start - 1;
	return 1;
}
