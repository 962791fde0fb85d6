/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Iommu regions in the data plane: translations, each reader's cache of them
 * (IOTLB), and invalidations.
 *
 * An invalidation has a number, the iommu's generation.  It writes its range
 * into a log of the last MPL_IOMMU_LOG ones and publishes the next number.  A
 * cached page carries the number that was current *before* its translation
 * began.  On a hit the two are compared, which is a load of a line that only
 * invalidations write; if they differ the ranges between are looked at, and
 * the page is dropped or carries the new number from then on.
 *
 *     generation 70   log: ... 67: 1000..1fff  68: 8000..8fff  69: 0..ffff
 *     a page 20000..20fff of number 68: 68 and 69 do not touch it: now 70
 *     a page  8000.. 8fff of number 68: dropped
 *     a page of number 5: more than the log has: dropped
 *
 * A callback may wait, and its reader be offline then: mpl_reader_state.pauses
 * tells.  What was found before is then used only if stamps and generations
 * say that nothing has changed; else the access starts anew.
 */
#ifndef MEMPLANE_DISPATCH_IOMMU_H
#define MEMPLANE_DISPATCH_IOMMU_H

#include <pthread.h>

#include <memplane/iommu.h>

#include "dispatch/reader.h"
#include "lib/base/list.h"

#define MPL_IOMMU_LOG 64

/* An access starts anew so often; then it is an access error. */
#define MPL_IOMMU_RESTARTS 64

struct mpl_iommu_range {
	uint64_t first;
	uint64_t last;
};

struct mpl_iommu {
	/* Set when made, constant. */
	const struct mpl_iommu_ops *ops;
	void *opaque;
	uint64_t id;	   /* of all iommus of the plane, ever: never 0 */
	uint64_t tag_mask; /* attributes that matter */
	uint64_t smallest; /* page size - 1 */

	/* Read by readers, written by invalidations only. */
	uint64_t generation __attribute__((aligned(128)));
	struct mpl_iommu_range log[MPL_IOMMU_LOG];

	pthread_mutex_t mutex __attribute__((aligned(128)));
	struct mpl_link mapped; /* mpl_hop.link: mappings that are held */
	struct mpl_link waits;	/* for such to go */

	/* Notifiers, and who is telling them. */
	pthread_mutex_t notify_mutex;
	uintptr_t notifying;
	struct mpl_link notifiers;
};

/* One translation that a window or a mapping rests on. */
struct mpl_hop {
	struct mpl_device *device; /* whose iommu it is */
	uint64_t first; /* iovas */
	uint64_t last;
	uint64_t generation;
	/* Where its result was looked up, and in which content. */
	const struct mpl_address_space *as;
	uint64_t stamp;
	struct mpl_link link; /* of a mapping: in mpl_iommu.mapped */
};

/* Somebody waits for accesses and mappings from before an invalidation. */
struct mpl_iommu_wait {
	struct mpl_link link; /* in mpl_iommu.waits, once readers have gone */
	struct mpl_device *device; /* holds a reference */
	struct mpl_iommu_range range;
	uint64_t number;
	void (*done)(void *arg);
	void *arg;
};

struct mpl_trail {
	unsigned int count;
	uint64_t stamp; /* of the space that the access was made in */
	struct mpl_hop hops[MPL_IOMMU_CHAIN];
};

/* What an access reaches behind all iommus. */
struct mpl_reach {
	const struct mpl_section *section;
	const struct mpl_address_space *as;
	uint64_t gpa; /* in `as` */
	uint64_t len; /* bytes that go there together; after an error: that
		       * fail together */
};

/* An access as it was asked for. */
struct mpl_asked {
	const struct mpl_address_space *as;
	uint64_t gpa;
	uint64_t len; /* not 0, does not wrap */
	enum mpl_intent intent;
	struct mpl_attrs attrs;
};

/* Errors: -EINVAL (page sizes without a bit), -ENOMEM. */
int mpl_iommu_new(struct mpl_data_plane *dp, const struct mpl_iommu_ops *ops,
		  void *opaque, struct mpl_iommu **out);
void mpl_iommu_free(struct mpl_iommu *iommu);

/*
 * Look up, and follow the iommus.  `trail` gets the way.  The section reached
 * is as good as one from a look-up.  Errors are counted.
 */
mpl_result_t mpl_iommu_reach(struct mpl_reader_state *reader,
			     const struct mpl_asked *asked,
			     struct mpl_reach *reach, struct mpl_trail *trail);

/*
 * Look up, follow, and go on as long as the host memory behind is contiguous:
 * over pages of a single iommu, at most MPL_IOMMU_PAGES.  If what is reached
 * is not memory for this intent that is an error (counted), and reach->section
 * tells what it is; NULL: the translation failed.
 */
#define MPL_IOMMU_PAGES 4096
mpl_result_t mpl_iommu_host(struct mpl_reader_state *reader,
			    const struct mpl_asked *asked,
			    struct mpl_reach *reach, struct mpl_trail *trail);

/*
 * The same for a pointer that is valid until the reader is quiescent: where
 * writes are logged they are noted.
 */
mpl_result_t mpl_iommu_pointer(struct mpl_reader_state *reader,
			       const struct mpl_asked *asked,
			       struct mpl_reach *reach);

/*
 * Has no invalidation since *generation touched [first, last]?  Then
 * *generation is the current one.
 */
bool mpl_iommu_untouched(const struct mpl_iommu *iommu, uint64_t first,
			 uint64_t last, uint64_t *generation);

/* Is a way still what it was?  The reader is online. */
bool mpl_trail_is_good(const struct mpl_reader *reader,
		       const struct mpl_trail *trail);
/* A copy that holds references on its regions.  NULL when out of memory. */
struct mpl_trail *mpl_trail_keep(const struct mpl_trail *trail);
void mpl_trail_drop(struct mpl_trail *trail);

/* Let invalidations wait for a mapping that rests on this way, and no more. */
void mpl_trail_hold(struct mpl_trail *trail);
void mpl_trail_release(struct mpl_trail *trail);

/* Are there mappings in the range from before an invalidation? */
bool mpl_iommu_is_mapped(struct mpl_iommu *iommu,
			 struct mpl_iommu_range range, uint64_t number);
/* Call wait->done once there is none; takes it over. */
void mpl_iommu_wait(struct mpl_iommu_wait *wait);

/* Publish an invalidation; returns its number. */
uint64_t mpl_iommu_forget(struct mpl_iommu *iommu, uint64_t first,
			  uint64_t last);

#endif
