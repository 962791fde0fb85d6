/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets of numbers as disjoint ranges [start, last] in an ascending array.
 * Ranges that meet are one.  For few ranges that change seldom: a change moves
 * what lies above it, a question is a binary search.
 */
#ifndef MEMPLANE_BASE_SPANS_H
#define MEMPLANE_BASE_SPANS_H

#include <stddef.h>
#include <stdint.h>

struct mpl_span {
	uint64_t start;
	uint64_t last; /* inclusive */
};

struct mpl_spans {
	struct mpl_span *items;
	size_t count;
	size_t capacity;
};

/* Index of the first range that ends at `at` or later; or the count. */
size_t mpl_spans_from(const struct mpl_spans *spans, uint64_t at);

/* Each needs room for one more range: mpl_spans_reserve() before. */
int mpl_spans_reserve(struct mpl_spans *spans);
void mpl_spans_add(struct mpl_spans *spans, uint64_t start, uint64_t last);
void mpl_spans_cut(struct mpl_spans *spans, uint64_t start, uint64_t last);

/*
 * The lowest part of [start, last] that is in the set (`in`), or that is not,
 * as *part.  Returns 0 if there is none.
 */
int mpl_spans_part(const struct mpl_spans *spans, int in, uint64_t start,
		   uint64_t last, struct mpl_span *part);

#endif
