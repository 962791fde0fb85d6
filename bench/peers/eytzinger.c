/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sorted array in breadth-first order (Eytzinger layout): node k has its
 * children at 2k and 2k + 1, so that the first levels share cache lines and
 * the lines of four levels below can be fetched ahead.
 *
 * After Khuong and Morin, "Array Layouts for Comparison-Based Searching",
 * 2015, branch-free variant with prefetch.
 */
#include <errno.h>
#include <stdlib.h>

#include "peers.h"

/* Keys in a cache line: so many descendants are fetched ahead. */
#define LINE_KEYS 8

struct eytzinger {
	const struct mpl_section *sections;
	size_t count;
	uint64_t *starts; /* [1 .. count] in breadth-first order */
	uint32_t *order;  /* [0 .. count]: the section of that node */
};

/* Fill node `k` and what is below; `next` is the section that comes next. */
static size_t fill(struct eytzinger *ey, size_t next, size_t k)
{
	if (k > ey->count)
		return next;
	next = fill(ey, next, 2 * k);
	ey->starts[k] = ey->sections[next].start;
	ey->order[k] = (uint32_t)next;
	return fill(ey, next + 1, 2 * k + 1);
}

static void destroy(void *self)
{
	struct eytzinger *ey = self;

	free(ey->starts);
	free(ey->order);
	free(ey);
}

static int build(const struct peer_map *map, void **out)
{
	struct eytzinger *ey = calloc(1, sizeof(*ey));
	size_t bytes = (map->count + 1) * sizeof(uint64_t);

	if (!ey)
		return -ENOMEM;
	ey->sections = map->sections;
	ey->count = map->count;
	ey->order = calloc(map->count + 1, sizeof(*ey->order));
	/* Aligned, so that the children fetched ahead are one line. */
	if (posix_memalign((void **)&ey->starts, 64, bytes))
		ey->starts = NULL;
	if (!ey->order || !ey->starts) {
		destroy(ey);
		return -ENOMEM;
	}
	ey->starts[0] = 0;
	fill(ey, 1, 1);
	*out = ey;
	return 0;
}

static inline const struct mpl_section *lookup(void *self, uint64_t gpa)
{
	const struct eytzinger *ey = self;
	const struct mpl_section *section;
	size_t k = 1;

	while (k <= ey->count) {
		__builtin_prefetch(ey->starts + k * LINE_KEYS);
		k = 2 * k + (ey->starts[k] <= gpa);
	}
	/* Undo the steps to the left after the last one to the right: what is
	 * left is the last start that is at most `gpa`; 0 if there is none. */
	k >>= __builtin_ctzl(k) + 1;
	section = &ey->sections[ey->order[k]];
	return mpl_section_covers(section, gpa) ? section : ey->sections;
}

static void sweep(void *self, const uint64_t *gpa, size_t count)
{
	peer_sweep(lookup, self, gpa, count);
}

const struct peer peer_eytzinger = {
	.name = "eytzinger",
	.cannot = "changes while readers run; every change lays it out anew",
	.build = build,
	.free = destroy,
	.lookup = lookup,
	.sweep = sweep,
};
