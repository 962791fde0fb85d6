/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A red-black tree under a mutex whose nodes are reference counted: what most
 * device buses of virtual machine monitors do.  The reference keeps the
 * device alive after the mutex is released; it is dropped after the access.
 *
 * The tree is sys/tree.h's (libbsd), whose search is compiled in here.
 */
#include <errno.h>
#include <stdlib.h>

#include <bsd/sys/tree.h>

#include "rbtree.h"

static int compare(const struct rb_range *a, const struct rb_range *b)
{
	/* A search key is one byte long: equal means "lies inside". */
	if (a->start < b->start)
		return -1;
	return a->start > b->last;
}

RB_PROTOTYPE(rb_ranges, rb_range, links, compare);
RB_GENERATE(rb_ranges, rb_range, links, compare)

static void destroy(void *self)
{
	struct rb_bus *bus = self;

	pthread_mutex_destroy(&bus->mutex);
	free(bus->storage);
	free(bus);
}

static int build(const struct peer_map *map, void **out)
{
	struct rb_bus *bus = calloc(1, sizeof(*bus));
	int err;

	if (!bus)
		return -ENOMEM;
	bus->storage = calloc(map->count + 1, sizeof(*bus->storage));
	err = bus->storage ? pthread_mutex_init(&bus->mutex, NULL) : ENOMEM;
	if (err) {
		free(bus->storage);
		free(bus);
		return -err;
	}
	RB_INIT(&bus->ranges);
	bus->sections = map->sections;
	for (size_t i = 1; i <= map->count; i++) {
		struct rb_range *range = &bus->storage[i];

		range->section = &map->sections[i];
		range->start = range->section->start;
		range->last = range->start + range->section->span;
		range->references = 1;
		RB_INSERT(rb_ranges, &bus->ranges, range);
	}
	*out = bus;
	return 0;
}

struct rb_range *rb_bus_get(struct rb_bus *bus, uint64_t gpa)
{
	struct rb_range key = { .start = gpa };
	struct rb_range *range;

	pthread_mutex_lock(&bus->mutex);
	range = RB_FIND(rb_ranges, &bus->ranges, &key);
	if (range)
		__atomic_fetch_add(&range->references, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&bus->mutex);
	return range;
}

void rb_bus_put(struct rb_range *range)
{
	__atomic_fetch_sub(&range->references, 1, __ATOMIC_RELEASE);
}

static const struct mpl_section *lookup(void *self, uint64_t gpa)
{
	struct rb_bus *bus = self;
	struct rb_range *range = rb_bus_get(bus, gpa);
	const struct mpl_section *section = bus->sections;

	if (!range)
		return section;
	if (mpl_section_covers(range->section, gpa))
		section = range->section;
	rb_bus_put(range);
	return section;
}

static void sweep(void *self, const uint64_t *gpa, size_t count)
{
	peer_sweep(lookup, self, gpa, count);
}

const struct peer peer_rbtree = {
	.name = "rbtree_mutex",
	.cannot = "readers without shared writes",
	.build = build,
	.free = destroy,
	.lookup = lookup,
	.sweep = sweep,
};
