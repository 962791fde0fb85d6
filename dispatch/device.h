/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the data plane needs to know of a region: callbacks, sizes, lock, and
 * the reference count that published sections hold.  The control plane
 * embeds one in each region.
 */
#ifndef MEMPLANE_DISPATCH_DEVICE_H
#define MEMPLANE_DISPATCH_DEVICE_H

#include <memplane/region.h>

#include "dispatch/dirty.h"

struct mpl_iommu;
struct mpl_reader_state;
struct mpl_waits;

struct mpl_device {
	/* Set when made, constant. */
	const struct mpl_io_ops *ops; /* NULL: no callbacks */
	void *opaque;
	/* As in `ops`, a cache line less far. */
	mpl_result_t (*read)(void *opaque, uint64_t offset, unsigned int size,
			     struct mpl_attrs attrs, uint64_t *value);
	mpl_result_t (*write)(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t value);
	/*
	 * By length, which accesses are not one callback, without a question
	 * to ask before: mpl_device_takes().  The direct ones need no lock
	 * either, and no other byte order than the host's.
	 */
	uint8_t not_simple[9];
	uint8_t not_direct[9];
	/* Where its number has its counter. */
	uint16_t count_chunk;
	uint16_t count_at;
	struct mpl_access_sizes valid; /* with the defaults filled in */
	struct mpl_access_sizes impl;
	bool big_endian;
	bool serialised;
	bool reentrant;
	struct mpl_iommu *iommu; /* of an iommu region: dispatch/iommu.h */
	uint32_t number; /* of its counters: dispatch/count.h */
	uint64_t counted_before; /* by earlier devices of that number */
	struct mpl_dirty dirty;	 /* written when logs start and stop */
	/* Called when the last reference goes. */
	void (*unreferenced)(struct mpl_device *device);

	bool ever_mapped;	 /* dispatch/mapped.h */
	uint64_t mapped_before;	 /* by earlier devices of that number */

	/* On lines of their own: written while others read the above. */
	uint32_t refs __attribute__((aligned(64)));
	struct mpl_reader_state *owner; /* of the lock; NULL: free */
	uint32_t waiters;
	uint32_t pins; /* sections, and accesses that are suspended */
	uint64_t made; /* mappings by those who have no counter */
	uint64_t ended;

	/* Control side: a pin that waits for mappings to end. */
	struct mpl_device *next_lingering;
	bool lingers;
};

/* No access of that length. */
#define MPL_NEVER 0x80

/*
 * Is an access outside of what `not` excludes?  That has for each length the
 * bits of the offset that must be clear, or MPL_NEVER.
 */
static inline bool mpl_device_takes(const uint8_t not[9], uint64_t offset,
				    uint64_t len)
{
	return len <= 8 && !(not[len] & (uint8_t)(offset | MPL_NEVER));
}

/* Fill in from `ops` (may be NULL).  -EINVAL: sizes that cannot be. */
int mpl_device_init(struct mpl_device *device, const struct mpl_io_ops *ops,
		    void *opaque);

void mpl_device_ref(struct mpl_device *device);
/* A reference on one that may be dying: false if it is. */
bool mpl_device_try_ref(struct mpl_device *device);
void mpl_device_unref(struct mpl_device *device);

/* A reference by which the data plane can still reach the device. */
void mpl_device_pin(struct mpl_device *device);
void mpl_device_unpin(struct mpl_device *device);
/* Can nobody reach it?  Then no access is in flight. */
bool mpl_device_unpinned(const struct mpl_device *device);

#endif
