/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A sorted array of start addresses and binary search: without branches
 * (the compiler makes conditional moves of the selection), once as it is and
 * once under a read-write lock, which is how an array that changes is shared.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "peers.h"

struct binary {
	pthread_rwlock_t lock;
	const struct mpl_section *sections;
	size_t count;
	uint64_t starts[]; /* [count], ascending; sections[i + 1] */
};

static int build(const struct peer_map *map, void **out)
{
	struct binary *binary;
	int err;

	binary = malloc(sizeof(*binary) + map->count * sizeof(uint64_t));
	if (!binary)
		return -ENOMEM;
	err = pthread_rwlock_init(&binary->lock, NULL);
	if (err) {
		free(binary);
		return -err;
	}
	binary->sections = map->sections;
	binary->count = map->count;
	for (size_t i = 0; i < map->count; i++)
		binary->starts[i] = map->sections[i + 1].start;
	*out = binary;
	return 0;
}

static void destroy(void *self)
{
	struct binary *binary = self;

	pthread_rwlock_destroy(&binary->lock);
	free(binary);
}

/* How many starts are at most `gpa`, halving what is left each time. */
static inline const struct mpl_section *search(const struct binary *binary,
					       uint64_t gpa)
{
	const uint64_t *base = binary->starts;
	const struct mpl_section *section;
	size_t left = binary->count;

	if (!left)
		return binary->sections;
	while (left > 1) {
		size_t half = left / 2;

		base = base[half] <= gpa ? base + half : base;
		left -= half;
	}
	section = &binary->sections[(base - binary->starts) + (*base <= gpa)];
	return mpl_section_covers(section, gpa) ? section : binary->sections;
}

static const struct mpl_section *lookup(void *self, uint64_t gpa)
{
	return search(self, gpa);
}

static void sweep(void *self, const uint64_t *gpa, size_t count)
{
	peer_sweep(lookup, self, gpa, count);
}

static const struct mpl_section *lookup_locked(void *self, uint64_t gpa)
{
	struct binary *binary = self;
	const struct mpl_section *section;

	pthread_rwlock_rdlock(&binary->lock);
	section = search(binary, gpa);
	pthread_rwlock_unlock(&binary->lock);
	return section;
}

static void sweep_locked(void *self, const uint64_t *gpa, size_t count)
{
	peer_sweep(lookup_locked, self, gpa, count);
}

const struct peer peer_binary = {
	.name = "binary",
	.cannot = "changes while readers run; the array is copied as a whole",
	.build = build,
	.free = destroy,
	.lookup = lookup,
	.sweep = sweep,
};

const struct peer peer_binary_locked = {
	.name = "binary_rwlock",
	.cannot = "readers without shared writes; use of a section after unlock",
	.build = build,
	.free = destroy,
	.lookup = lookup_locked,
	.sweep = sweep_locked,
};
