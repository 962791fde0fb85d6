/* SPDX-License-Identifier: BSD-3-Clause */
/* Iommu regions: invalidations, and waiting for what they leave in flight. */
#include <memplane/iommu.h>

#include <errno.h>
#include <stdlib.h>

#include "dispatch/iommu.h"
#include "dispatch/retire.h"
#include "lib/control.h"
#include "lib/plane.h"
#include "lib/region.h"

/* -EINVAL: not an iommu, or not a range. */
static int range_of(const struct mpl_region *region, uint64_t iova,
		    uint64_t len, struct mpl_iommu_range *range)
{
	uint64_t span = len == UINT64_MAX ? UINT64_MAX : len - 1;

	if (!region || !region->device.iommu || !len)
		return -EINVAL;
	/* 2^64 bytes from anywhere are all there is from there on. */
	if (len == UINT64_MAX)
		span -= iova;
	if (span > UINT64_MAX - iova)
		return -EINVAL;
	range->first = iova;
	range->last = iova + span;
	return 0;
}

uint64_t mpl_iommu_page_sizes(const struct mpl_region *region)
{
	const struct mpl_iommu *iommu = region->device.iommu;

	if (!iommu)
		return 0;
	return iommu->ops->page_sizes ? iommu->ops->page_sizes :
					~iommu->smallest;
}

int mpl_iommu_invalidate(struct mpl_region *region, uint64_t iova,
			 uint64_t len)
{
	struct mpl_iommu_range range;
	int err = range_of(region, iova, len, &range);

	if (!err)
		mpl_iommu_forget(region->device.iommu, range.first,
				 range.last);
	return err;
}

int mpl_iommu_invalidate_sync(struct mpl_region *region, uint64_t iova,
			      uint64_t len)
{
	struct mpl_iommu_range range;
	int err = range_of(region, iova, len, &range);
	struct mpl_iommu *iommu;
	unsigned int us = 0;
	uint64_t number;

	if (!err)
		err = mpl_plane_may_wait(region->plane);
	if (err)
		return err;
	iommu = region->device.iommu;
	number = mpl_iommu_forget(iommu, range.first, range.last);
	err = mpl_synchronize(region->plane);
	while (!err && mpl_iommu_is_mapped(iommu, range, number))
		mpl_plane_nap(&us);
	return err;
}

/* The readers have moved on. */
static void grace_is_over(void *arg)
{
	mpl_iommu_wait(arg);
}

int mpl_iommu_invalidate_async(struct mpl_region *region, uint64_t iova,
			       uint64_t len, void (*done)(void *arg),
			       void *arg)
{
	struct mpl_iommu_range range;
	struct mpl_iommu_wait *wait;
	struct mpl_retired *batch;
	bool locked;
	int err = range_of(region, iova, len, &range);

	if (err || !done)
		return -EINVAL;
	wait = malloc(sizeof(*wait));
	batch = mpl_retired_new();
	if (!wait || !batch ||
	    mpl_retire_object(batch, grace_is_over, wait, sizeof(*wait))) {
		mpl_retired_drop(batch);
		free(wait);
		return -ENOMEM;
	}
	mpl_region_ref(region);
	*wait = (struct mpl_iommu_wait){
		.device = &region->device,
		.range = range,
		.done = done,
		.arg = arg,
	};
	mpl_list_init(&wait->link);
	wait->number = mpl_iommu_forget(region->device.iommu, range.first,
					range.last);
	locked = mpl_control_lock(region->plane);
	mpl_retire(&region->plane->data, batch);
	mpl_control_unlock(region->plane, locked);
	mpl_control_wake(region->plane);
	return 0;
}
