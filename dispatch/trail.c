/* SPDX-License-Identifier: BSD-3-Clause */
/* Ways through iommus that windows and mappings rest on. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/iommu.h"

bool mpl_trail_is_good(const struct mpl_reader *reader,
		       const struct mpl_trail *trail)
{
	const struct mpl_snapshot *snapshot = mpl_reader_snapshot(reader);

	for (unsigned int i = 0; i < trail->count; i++) {
		const struct mpl_hop *hop = &trail->hops[i];
		uint64_t generation = hop->generation;

		/* In this order: the space may go once it is invalidated. */
		if (!mpl_iommu_untouched(hop->device->iommu, hop->first,
					 hop->last, &generation) ||
		    mpl_root_of(snapshot, hop->as)->stamp != hop->stamp)
			return false;
	}
	return true;
}

struct mpl_trail *mpl_trail_keep(const struct mpl_trail *trail)
{
	/* Few ways have more than one or two hops. */
	size_t bytes = offsetof(struct mpl_trail, hops) +
		       trail->count * sizeof(trail->hops[0]);
	struct mpl_trail *kept = malloc(bytes);

	if (!kept)
		return NULL;
	memcpy(kept, trail, bytes);
	for (unsigned int i = 0; i < kept->count; i++) {
		mpl_list_init(&kept->hops[i].link);
		mpl_device_ref(kept->hops[i].device);
	}
	return kept;
}

void mpl_trail_drop(struct mpl_trail *trail)
{
	if (!trail)
		return;
	for (unsigned int i = 0; i < trail->count; i++)
		mpl_device_unref(trail->hops[i].device);
	free(trail);
}

void mpl_trail_hold(struct mpl_trail *trail)
{
	for (unsigned int i = 0; i < trail->count; i++) {
		struct mpl_iommu *iommu = trail->hops[i].device->iommu;

		pthread_mutex_lock(&iommu->mutex);
		mpl_list_append(&iommu->mapped, &trail->hops[i].link);
		pthread_mutex_unlock(&iommu->mutex);
	}
}

/* The mutex is held. */
static bool is_mapped(const struct mpl_iommu *iommu,
		      struct mpl_iommu_range range, uint64_t number)
{
	const struct mpl_link *link;

	MPL_LIST_EACH(link, &iommu->mapped) {
		const struct mpl_hop *hop =
			MPL_OF(link, const struct mpl_hop, link);

		if (hop->generation <= number && hop->first <= range.last &&
		    hop->last >= range.first)
			return true;
	}
	return false;
}

bool mpl_iommu_is_mapped(struct mpl_iommu *iommu, struct mpl_iommu_range range,
			 uint64_t number)
{
	bool mapped;

	pthread_mutex_lock(&iommu->mutex);
	mapped = is_mapped(iommu, range, number);
	pthread_mutex_unlock(&iommu->mutex);
	return mapped;
}

/* The mutex is held: move those that need wait no longer. */
static void take_done(struct mpl_iommu *iommu, struct mpl_link *done)
{
	struct mpl_link *link, *following;

	MPL_LIST_EACH_SAFE(link, following, &iommu->waits) {
		const struct mpl_iommu_wait *wait =
			MPL_OF(link, struct mpl_iommu_wait, link);

		if (is_mapped(iommu, wait->range, wait->number))
			continue;
		mpl_list_remove(link);
		mpl_list_append(done, link);
	}
}

/* Nothing is held: they may do what they like. */
static void tell_done(struct mpl_link *done)
{
	while (!mpl_list_empty(done)) {
		struct mpl_iommu_wait *wait =
			MPL_OF(done->next, struct mpl_iommu_wait, link);

		mpl_list_remove(&wait->link);
		wait->done(wait->arg);
		mpl_device_unref(wait->device);
		free(wait);
	}
}

void mpl_trail_release(struct mpl_trail *trail)
{
	struct mpl_link done;

	mpl_list_init(&done);
	for (unsigned int i = 0; i < trail->count; i++) {
		struct mpl_iommu *iommu = trail->hops[i].device->iommu;

		pthread_mutex_lock(&iommu->mutex);
		mpl_list_remove(&trail->hops[i].link);
		take_done(iommu, &done);
		pthread_mutex_unlock(&iommu->mutex);
	}
	tell_done(&done);
}

void mpl_iommu_wait(struct mpl_iommu_wait *wait)
{
	struct mpl_iommu *iommu = wait->device->iommu;
	struct mpl_link done;

	mpl_list_init(&done);
	pthread_mutex_lock(&iommu->mutex);
	mpl_list_append(&iommu->waits, &wait->link);
	take_done(iommu, &done);
	pthread_mutex_unlock(&iommu->mutex);
	tell_done(&done);
}
