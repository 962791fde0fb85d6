/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Iommu regions: what is accessed there is translated, page by page, and goes
 * on in another address space.
 *
 *     bus master's space            iommu region          "memory"
 *     0 .. 2^64-1  ------------->   iova 10000..10fff --> 7f3000..7f3fff  rw
 *                                   iova 11000..11fff --> 012000..012fff  r
 *                                   iova 12000..      --> a fault
 *
 * An *iova* is an offset in the region.  The device model gives one callback,
 * `translate`.  Every kind of access comes by it (mpl_read, mpl_load,
 * mpl_compare_exchange, mpl_translate, bursts, windows, mappings); only
 * mpl_lookup() and mpl_lookup_burst() show the iommu's section itself.  What
 * it leads to may be another iommu; a chain of more than MPL_IOMMU_CHAIN is
 * an access error.
 *
 * A callback may wait (for the region's lock, or in what it accesses); to the
 * reader that is an access to a device (reader.h): pointers that it had are not
 * valid after it.  Several pointers at a time come from a burst, from
 * mpl_translate_sg(), or are mappings.
 *
 * Each reader keeps translations in a cache of its own (its IOTLB), so that
 * a hit stores nothing that others see.  Changing the page tables is
 *
 *     1. change them;
 *     2. mpl_iommu_invalidate(): translations that start later see the change;
 *     3. mpl_iommu_notify(), for those who mirror the translations;
 *     4. before the page is used for anything else: wait until the accesses
 *        that were in flight have ended (mpl_iommu_invalidate_sync(), or
 *        mpl_iommu_invalidate_async() where nobody may wait).
 */
#ifndef MEMPLANE_IOMMU_H
#define MEMPLANE_IOMMU_H

#include "access.h"
#include "region.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* So many iommus one behind the other; more are an access error. */
#define MPL_IOMMU_CHAIN 8

/* Where the page around an iova goes. */
struct mpl_iommu_page {
	/* Of the same plane; stays until it has been invalidated and the
	 * accesses in flight have ended. */
	const struct mpl_address_space *as;
	uint64_t address; /* in `as`; the bits of `mask` do not matter */
	uint64_t mask;	  /* page size - 1: 2^n - 1 */
	uint32_t permissions; /* mask of MPL_FOR_READ and MPL_FOR_WRITE */
};

/* Attributes that make no difference to a translation. */
enum mpl_iommu_ignores {
	MPL_IOMMU_IGNORES_REQUESTER = 1 << 0,
	MPL_IOMMU_IGNORES_VCPU = 1 << 1,
	MPL_IOMMU_IGNORES_SECURE = 1 << 2,
	MPL_IOMMU_IGNORES_USER = 1 << 3,
	MPL_IOMMU_IGNORES_ALL = 15,
};

struct mpl_iommu_notifier;

struct mpl_iommu_ops {
	/*
	 * Translate the page around `iova` for an access of `intent`.  Runs
	 * on the reader's thread, when its IOTLB does not know.  MPL_OK with
	 * *page filled in; or a mask of mpl_result, which becomes the
	 * access's, and page->mask may then say how much around iova fails
	 * alike (0, as it comes: the smallest page).
	 *
	 * Permissions are for the access at hand and for later ones: if an
	 * access needs one that the IOTLB's page lacks the callback is asked
	 * again (so that a page can be given for reading only until somebody
	 * writes).  If it is still missing that is an access error.
	 *
	 * It may make accesses with mpl_access_reader() (page tables in guest
	 * memory), commit, and invalidate; it must not wait for readers.  If
	 * it comes back to its own region through an access, and the IOTLB
	 * does not know, that is an access error.
	 */
	mpl_result_t (*translate)(void *opaque, uint64_t iova,
				  enum mpl_intent intent,
				  struct mpl_attrs attrs,
				  struct mpl_iommu_page *page);

	/*
	 * Tell a notifier, by mpl_iommu_tell(), of everything that is mapped
	 * in [start, last] now.  Any thread, the control thread too: no
	 * accesses.  NULL: see mpl_iommu_replay().
	 */
	int (*replay)(void *opaque, struct mpl_iommu_notifier *notifier,
		      uint64_t start, uint64_t last);

	/* As for devices (region.h): MPL_SERIALISED takes the region's own
	 * lock around `translate`, nothing around `replay`. */
	enum mpl_concurrency concurrency;

	/* Mask of mpl_iommu_ignores: pages are cached for all of them. */
	unsigned int ignores;

	/* Bit n: there are pages of 2^n bytes.  0: 4 KiB and up. */
	uint64_t page_sizes;
};

/*
 * As the other constructors (region.h).  `ops` NULL, or without `translate`:
 * nothing is translated, every access is a decode error.
 */
int mpl_region_new_iommu(struct mpl_plane *plane, const char *name,
			 uint64_t size, const struct mpl_iommu_ops *ops,
			 void *opaque, struct mpl_region **out);

/* The sizes that its pages may have, bit n for 2^n; 0: not an iommu. */
uint64_t mpl_iommu_page_sizes(const struct mpl_region *region);

/*
 * Forget translations of [iova, iova + len), in all readers' IOTLBs; `len`
 * UINT64_MAX is 2^64.  Translations that start after the return ask the
 * callback.  Those that started before may go on until their reader's next
 * quiescent state, and so may pointers that they gave.  Any thread, in any
 * context; never waits for a reader.  An invalidation costs readers who have
 * cached other pages of the region a comparison; 64 of them, the pages.
 *
 * Errors: -EINVAL (not an iommu; len 0, or the range wraps).
 */
int mpl_iommu_invalidate(struct mpl_region *region, uint64_t iova,
			 uint64_t len);

/*
 * The same, and wait until no access, no pointer and no mapping (dma.h) that
 * was translated before is left in the range: the memory that it led to is
 * then touched by nobody on its account.  Windows are not waited for: their
 * owner asks before each use.
 *
 * Errors: as above, and -EDEADLK in the contexts of mpl_synchronize().
 */
int mpl_iommu_invalidate_sync(struct mpl_region *region, uint64_t iova,
			      uint64_t len);

/*
 * The same without waiting: `done` is called once when that point is reached,
 * on the control side (in a plane without a control thread: by a commit or
 * mpl_reclaim()), which must not commit synchronously there.  For callbacks of
 * devices: how a queue of invalidations answers the guest.  Waits for the
 * control lock as mpl_plane_stats() does.
 *
 * Errors: -EINVAL, -ENOMEM; then `done` is not called.
 */
int mpl_iommu_invalidate_async(struct mpl_region *region, uint64_t iova,
			       uint64_t len, void (*done)(void *arg),
			       void *arg);

/*
 * Notifiers: who mirrors translations (a VFIO container, vhost) hears of
 * pages that are mapped and unmapped.  The device model says so with
 * mpl_iommu_notify().
 */
enum mpl_iommu_event_kind {
	MPL_IOMMU_MAP = 1 << 0,
	MPL_IOMMU_UNMAP = 1 << 1,
};

struct mpl_iommu_event {
	enum mpl_iommu_event_kind kind;
	uint64_t iova; /* first, and how much - 1: 2^64 bytes fit */
	uint64_t span;
	/* A map's: where `iova` goes, contiguous, and what may be done. */
	const struct mpl_address_space *as;
	uint64_t address;
	uint32_t permissions;
};

typedef void (*mpl_iommu_notifier_fn)(void *opaque,
				      const struct mpl_iommu_event *event);

/*
 * Hear of events of the `kinds` (a mask) that touch [start, last]; they are
 * cut to it.  Typically in a listener's range_add, for a range of an MPL_IOMMU
 * region, and unregistered in range_del; holds a reference on the region.
 * `fn` runs on the thread that notifies, one event at a time per region; it
 * must not commit synchronously nor call the notifier calls of that region
 * (-EDEADLK).  Any thread, any context.
 *
 * Errors: -EINVAL (not an iommu, no kinds, an empty range), -ENOMEM.
 */
int mpl_iommu_notifier_register(struct mpl_region *region, unsigned int kinds,
				uint64_t start, uint64_t last,
				mpl_iommu_notifier_fn fn, void *opaque,
				struct mpl_iommu_notifier **out);
/* After it `fn` does not run any more. */
int mpl_iommu_notifier_unregister(struct mpl_iommu_notifier *notifier);

/*
 * Tell all notifiers that it concerns.  The device model's call, after it has
 * changed its tables and invalidated.  Any thread, any context.
 * Errors: -EINVAL (not an iommu, kind, wraps), -EDEADLK (from a notifier).
 */
int mpl_iommu_notify(struct mpl_region *region,
		     const struct mpl_iommu_event *event);
/* Tell one, in ops->replay. */
void mpl_iommu_tell(struct mpl_iommu_notifier *notifier,
		    const struct mpl_iommu_event *event);

/*
 * Tell a notifier of everything that is mapped in its range: by ops->replay,
 * or else by translating page after page on `reader` (online, own thread; may
 * be NULL with ops->replay, as in a listener), all attributes zero.  Pages that
 * change meanwhile may be told twice or in vain: an event that comes later is
 * the newer.
 *
 * Errors: what ops->replay returned; -ENOTSUP (neither it nor a reader),
 * -E2BIG (more than 2^24 steps: narrow the range), -EDEADLK (from a notifier).
 */
int mpl_iommu_replay(struct mpl_iommu_notifier *notifier,
		     struct mpl_reader *reader);

#ifdef __cplusplus
}
#endif

#endif
