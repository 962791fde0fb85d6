/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Judy: JudyL maps a word to a word; JudyLLast() finds the last index that is
 * at most the one asked for.  Here: start address to section.
 */
#include <errno.h>
#include <stdlib.h>

#include <Judy.h>

#include "peers.h"

struct judy {
	Pvoid_t array;
	const struct mpl_section *sections;
};

static void destroy(void *self)
{
	struct judy *judy = self;

	JudyLFreeArray(&judy->array, PJE0);
	free(judy);
}

static int build(const struct peer_map *map, void **out)
{
	struct judy *judy = calloc(1, sizeof(*judy));

	if (!judy)
		return -ENOMEM;
	judy->sections = map->sections;
	for (size_t i = 1; i <= map->count; i++) {
		const struct mpl_section *section = &map->sections[i];
		PPvoid_t slot = JudyLIns(&judy->array, section->start, PJE0);

		if (!slot || slot == PPJERR) {
			destroy(judy);
			return -ENOMEM;
		}
		*slot = (void *)(uintptr_t)section;
	}
	*out = judy;
	return 0;
}

static const struct mpl_section *lookup(void *self, uint64_t gpa)
{
	const struct judy *judy = self;
	const struct mpl_section *section;
	Word_t start = gpa;
	PPvoid_t slot = JudyLLast(judy->array, &start, PJE0);

	if (!slot)
		return judy->sections;
	section = *slot;
	return mpl_section_covers(section, gpa) ? section : judy->sections;
}

static void sweep(void *self, const uint64_t *gpa, size_t count)
{
	peer_sweep(lookup, self, gpa, count);
}

const struct peer peer_judy = {
	.name = "judy",
	.cannot = "threads: it has no locking, readers must be kept out of changes",
	.build = build,
	.free = destroy,
	.lookup = lookup,
	.sweep = sweep,
};
