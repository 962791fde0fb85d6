/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions as the control plane sees them. */
#ifndef MEMPLANE_LIB_REGION_H
#define MEMPLANE_LIB_REGION_H

#include <memplane/region.h>
#include <memplane/space.h>

#include "dispatch/device.h"
#include "dispatch/doorbell.h"
#include "lib/base/interval.h"
#include "lib/base/list.h"

struct mpl_poison;
struct mpl_ram_block;
struct mpl_view;

/* Zones of a region whose writes may be coalesced: immutable, shared. */
struct mpl_coalesced {
	uint32_t refs;
	uint32_t count;
	struct {
		uint64_t offset;
		uint64_t last;
	} zones[];
};

/*
 * Everything but `device` and `refs` in it is written under the plane's
 * control lock only.
 */
struct mpl_region {
	struct mpl_device device; /* first: a section's device is its region */
	struct mpl_plane *plane;
	struct mpl_link link; /* in plane->regions, or plane->dead */
	char *name;
	enum mpl_region_kind kind;
	uint64_t size;	 /* UINT64_MAX: 2^64 */
	uint64_t offset; /* in the parent */
	int priority;
	uint64_t order; /* greater: added later */
	bool enabled;
	bool readonly;
	bool nonvolatile;
	bool rom_mode;
	bool unmergeable;
	unsigned int log_starts[MPL_LOG_CLIENTS];
	uint8_t log_takes_part;

	/* Tree edges. */
	struct mpl_region *parent;
	struct mpl_link sibling;
	struct mpl_link children;
	struct mpl_interval interval; /* in the parent's index */
	struct mpl_interval_tree index; /* of children that are not empty */
	bool indexed;
	uint32_t enabled_children;
	uintptr_t enabled_xor; /* of their addresses: names the only one */

	/* Alias edges.  Shown aliases come first in the target's list. */
	struct mpl_region *target;
	uint64_t alias_offset;
	struct mpl_link alias_link;
	struct mpl_link aliases; /* that show this region */
	bool folded; /* the target contains this alias: lib/tree.h */

	/*
	 * More than the height of every child and target, so that an edge
	 * from a higher to a lower region cannot close a cycle.
	 */
	unsigned int height;
	uint64_t searched; /* plane->searches that came by last */

	/*
	 * How many of these there are: a view rooted here, a parent that is
	 * shown, aliases that are shown.  Zero: no view can see a change.
	 */
	unsigned int shown;

	struct mpl_view *view;	 /* rooted here, or NULL */
	struct mpl_region *step; /* see lib/root.h; valid if deps is not empty */
	struct mpl_link deps;	 /* address spaces whose root chain has it */

	struct mpl_doorbells *doorbells;
	uint64_t doorbells_noted; /* plane->applied that notes what was before */
	struct mpl_coalesced *coalesced;

	struct mpl_ram_block *ram; /* NULL: no host memory */
	struct mpl_poison *poison; /* NULL: none */
	void *host;
	uint64_t max_size;
	uint64_t page_size; /* 0: no host memory */

	void (*release)(void *opaque);
	void *release_opaque;
};

static inline struct mpl_region *mpl_region_of(struct mpl_device *device)
{
	return (struct mpl_region *)device;
}

static inline bool mpl_region_has_memory(const struct mpl_region *region)
{
	return region->kind == MPL_RAM || region->kind == MPL_ROM ||
	       region->kind == MPL_ROM_DEVICE ||
	       region->kind == MPL_RAM_DEVICE;
}

/* Does it claim the addresses that its children leave free? */
static inline bool mpl_region_terminates(const struct mpl_region *region)
{
	return region->kind != MPL_CONTAINER && region->kind != MPL_ALIAS;
}

/* Last offset; the region must not be empty. */
static inline uint64_t mpl_region_last(const struct mpl_region *region)
{
	return region->size == UINT64_MAX ? UINT64_MAX : region->size - 1;
}

uint8_t mpl_region_dirty_mask(const struct mpl_region *region);

/* Drop all edges to children, parent and target; lock held. */
void mpl_region_isolate(struct mpl_region *region);

/* Clean up and run `release`; under the control lock, reference count 0. */
void mpl_region_destroy(struct mpl_region *region);

struct mpl_coalesced *mpl_coalesced_ref(struct mpl_coalesced *coalesced);
void mpl_coalesced_unref(struct mpl_coalesced *coalesced);
/* Errors: -ENOMEM. */
int mpl_coalesced_with(const struct mpl_coalesced *from, uint64_t offset,
		       uint64_t last, struct mpl_coalesced **out);

#endif
