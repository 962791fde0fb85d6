/* SPDX-License-Identifier: BSD-3-Clause */
/* Those who hear of pages that an iommu maps and unmaps. */
#include <memplane/iommu.h>

#include <errno.h>
#include <stdlib.h>

#include "dispatch/count.h"
#include "dispatch/iommu.h"
#include "dispatch/lock.h"
#include "lib/region.h"

enum { REPLAY_STEPS = 1 << 24 };

struct mpl_iommu_notifier {
	struct mpl_link link;
	struct mpl_region *region;
	unsigned int kinds;
	uint64_t start;
	uint64_t last;
	mpl_iommu_notifier_fn fn;
	void *opaque;
};

/* -EDEADLK: the caller is a notifier that is being told. */
static int lock(struct mpl_iommu *iommu)
{
	uintptr_t self = (uintptr_t)pthread_self();

	/* Only the calling thread can have put its own name there. */
	if (__atomic_load_n(&iommu->notifying, __ATOMIC_RELAXED) == self)
		return -EDEADLK;
	pthread_mutex_lock(&iommu->notify_mutex);
	__atomic_store_n(&iommu->notifying, self, __ATOMIC_RELAXED);
	return 0;
}

static void unlock(struct mpl_iommu *iommu)
{
	__atomic_store_n(&iommu->notifying, 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&iommu->notify_mutex);
}

int mpl_iommu_notifier_register(struct mpl_region *region, unsigned int kinds,
				uint64_t start, uint64_t last,
				mpl_iommu_notifier_fn fn, void *opaque,
				struct mpl_iommu_notifier **out)
{
	struct mpl_iommu_notifier *notifier;
	int err;

	if (!region || !region->device.iommu || !fn || start > last ||
	    !(kinds & (MPL_IOMMU_MAP | MPL_IOMMU_UNMAP)))
		return -EINVAL;
	notifier = malloc(sizeof(*notifier));
	if (!notifier)
		return -ENOMEM;
	*notifier = (struct mpl_iommu_notifier){
		.region = region,
		.kinds = kinds,
		.start = start,
		.last = last,
		.fn = fn,
		.opaque = opaque,
	};
	err = lock(region->device.iommu);
	if (err) {
		free(notifier);
		return err;
	}
	mpl_list_append(&region->device.iommu->notifiers, &notifier->link);
	mpl_region_ref(region);
	unlock(region->device.iommu);
	*out = notifier;
	return 0;
}

int mpl_iommu_notifier_unregister(struct mpl_iommu_notifier *notifier)
{
	struct mpl_region *region = notifier->region;
	int err = lock(region->device.iommu);

	if (err)
		return err;
	mpl_list_remove(&notifier->link);
	unlock(region->device.iommu);
	free(notifier);
	mpl_region_unref(region);
	return 0;
}

/* Cut an event to the notifier's range.  The lock is held. */
static void tell(const struct mpl_iommu_notifier *notifier,
		 const struct mpl_iommu_event *event)
{
	struct mpl_iommu_event cut = *event;
	uint64_t last = event->iova + event->span;

	if (!(notifier->kinds & event->kind) || event->iova > notifier->last ||
	    last < notifier->start)
		return;
	if (cut.iova < notifier->start) {
		cut.address += notifier->start - cut.iova;
		cut.iova = notifier->start;
	}
	if (last > notifier->last)
		last = notifier->last;
	cut.span = last - cut.iova;
	notifier->fn(notifier->opaque, &cut);
}

int mpl_iommu_notify(struct mpl_region *region,
		     const struct mpl_iommu_event *event)
{
	struct mpl_iommu *iommu = region ? region->device.iommu : NULL;
	struct mpl_link *link;
	int err;

	if (!iommu || event->span > UINT64_MAX - event->iova ||
	    (event->kind != MPL_IOMMU_MAP && event->kind != MPL_IOMMU_UNMAP))
		return -EINVAL;
	err = lock(iommu);
	if (err)
		return err;
	MPL_LIST_EACH(link, &iommu->notifiers)
		tell(MPL_OF(link, struct mpl_iommu_notifier, link), event);
	unlock(iommu);
	return 0;
}

void mpl_iommu_tell(struct mpl_iommu_notifier *notifier,
		    const struct mpl_iommu_event *event)
{
	struct mpl_iommu *iommu = notifier->region->device.iommu;

	if (event->span > UINT64_MAX - event->iova || lock(iommu))
		return;
	tell(notifier, event);
	unlock(iommu);
}

/* Ask the callback alone: the IOTLB might know less than there is. */
static mpl_result_t ask(struct mpl_reader_state *reader,
			struct mpl_region *region, uint64_t iova,
			enum mpl_intent intent, struct mpl_iommu_page *page)
{
	const struct mpl_iommu *iommu = region->device.iommu;
	const struct mpl_attrs attrs = { 0 };
	struct mpl_frame frame;
	mpl_result_t result;

	*page = (struct mpl_iommu_page){ 0 };
	result = mpl_device_enter(reader, &region->device, &frame);
	if (result)
		return result;
	mpl_count(reader, &region->device);
	result = iommu->ops->translate(iommu->opaque, iova, intent, attrs,
				       page);
	mpl_device_leave(reader, &frame);
	return result;
}

/* The page around an iova, for whatever may be done there. */
static bool is_mapped(struct mpl_reader_state *reader,
		      struct mpl_region *region, uint64_t iova,
		      struct mpl_iommu_page *page)
{
	struct mpl_iommu_page unreadable;

	if (!ask(reader, region, iova, MPL_FOR_READ, page))
		return page->as && page->permissions;
	if (ask(reader, region, iova, MPL_FOR_WRITE, &unreadable))
		return false;
	*page = unreadable;
	return page->as && page->permissions;
}

static int walk(struct mpl_iommu_notifier *notifier,
		struct mpl_reader_state *reader)
{
	struct mpl_region *region = notifier->region;
	uint64_t iova = notifier->start;

	for (unsigned int steps = 0; steps < REPLAY_STEPS; steps++) {
		struct mpl_iommu_page page;
		bool mapped = is_mapped(reader, region, iova, &page);
		uint64_t mask = mapped || page.mask ?
					page.mask :
					region->device.iommu->smallest;
		uint64_t last = iova | mask;

		if (mask & (mask + 1))
			return -EINVAL; /* not the size of any page */
		if (mapped)
			mpl_iommu_tell(notifier, &(struct mpl_iommu_event){
				.kind = MPL_IOMMU_MAP,
				.iova = iova & ~mask,
				.span = mask,
				.as = page.as,
				.address = page.address & ~mask,
				.permissions = page.permissions,
			});
		if (last >= notifier->last)
			return 0;
		iova = last + 1;
	}
	return -E2BIG;
}

int mpl_iommu_replay(struct mpl_iommu_notifier *notifier,
		     struct mpl_reader *reader)
{
	const struct mpl_iommu *iommu = notifier->region->device.iommu;

	if (__atomic_load_n(&iommu->notifying, __ATOMIC_RELAXED) ==
	    (uintptr_t)pthread_self())
		return -EDEADLK;
	if (iommu->ops->replay)
		return iommu->ops->replay(iommu->opaque, notifier,
					  notifier->start, notifier->last);
	if (!iommu->ops->translate)
		return 0;
	return reader ? walk(notifier, mpl_reader_state(reader)) : -ENOTSUP;
}
