/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/iommu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/count.h"
#include "dispatch/fast.h"
#include "dispatch/iotlb.h"
#include "dispatch/lock.h"

/* No root ever has this stamp. */
#define NO_STAMP UINT64_MAX

/* What of mpl_iotlb_tag() matters. */
static uint64_t tag_mask_of(unsigned int ignores)
{
	struct mpl_attrs matters;

	/* Not what is between the fields either. */
	memset(&matters, 0, sizeof(matters));
	if (!(ignores & MPL_IOMMU_IGNORES_REQUESTER))
		matters.requester_id = UINT32_MAX;
	if (!(ignores & MPL_IOMMU_IGNORES_VCPU))
		matters.vcpu = UINT16_MAX;
	matters.secure = !(ignores & MPL_IOMMU_IGNORES_SECURE);
	matters.user = !(ignores & MPL_IOMMU_IGNORES_USER);
	return mpl_attrs_word(matters);
}

int mpl_iommu_new(struct mpl_data_plane *dp, const struct mpl_iommu_ops *ops,
		  void *opaque, struct mpl_iommu **out)
{
	static const struct mpl_iommu_ops nothing;
	struct mpl_iommu *iommu = aligned_alloc(128, sizeof(*iommu));

	if (!iommu)
		return -ENOMEM;
	memset(iommu, 0, sizeof(*iommu));
	iommu->ops = ops ? ops : &nothing;
	iommu->opaque = opaque;
	iommu->id = __atomic_add_fetch(&dp->iommus_made, 1, __ATOMIC_RELAXED);
	iommu->tag_mask = tag_mask_of(iommu->ops->ignores);
	iommu->smallest = iommu->ops->page_sizes ?
				  (iommu->ops->page_sizes &
				   -iommu->ops->page_sizes) - 1 :
				  0xfff;
	iommu->generation = 1;
	pthread_mutex_init(&iommu->mutex, NULL);
	pthread_mutex_init(&iommu->notify_mutex, NULL);
	mpl_list_init(&iommu->mapped);
	mpl_list_init(&iommu->waits);
	mpl_list_init(&iommu->notifiers);
	*out = iommu;
	return 0;
}

void mpl_iommu_free(struct mpl_iommu *iommu)
{
	if (!iommu)
		return;
	pthread_mutex_destroy(&iommu->notify_mutex);
	pthread_mutex_destroy(&iommu->mutex);
	free(iommu);
}

uint64_t mpl_iommu_forget(struct mpl_iommu *iommu, uint64_t first,
			  uint64_t last)
{
	struct mpl_iommu_range *range;
	uint64_t number;

	pthread_mutex_lock(&iommu->mutex);
	number = iommu->generation;
	range = &iommu->log[number % MPL_IOMMU_LOG];
	/*
	 * [B41] release; pairs with [B41] in mpl_iommu_untouched(): whoever reads a
	 * range that replaces an older one also finds the generation from
	 * which on it may be replaced.
	 */
	__atomic_store_n(&range->first, first, __ATOMIC_RELEASE);
	__atomic_store_n(&range->last, last, __ATOMIC_RELEASE);
	/*
	 * [B40] release; pairs with [B40] in mpl_iommu_current().  Sequentially
	 * consistent, so that it is visible when the call returns, and before
	 * a grace period starts ([B2] takes it for what is published).
	 */
	__atomic_store_n(&iommu->generation, number + 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&iommu->mutex);
	return number;
}

bool mpl_iommu_untouched(const struct mpl_iommu *iommu, uint64_t first,
		      uint64_t last, uint64_t *generation)
{
	uint64_t now = mpl_iommu_current(iommu);

	if (now - *generation >= MPL_IOMMU_LOG)
		return false;
	for (uint64_t i = *generation; i < now; i++) {
		const struct mpl_iommu_range *range =
			&iommu->log[i % MPL_IOMMU_LOG];

		/* [B41] acquire; pairs with [B41] in mpl_iommu_forget() */
		uint64_t from = __atomic_load_n(&range->first,
						__ATOMIC_ACQUIRE);
		uint64_t to = __atomic_load_n(&range->last, __ATOMIC_ACQUIRE);

		if (from <= last && to >= first)
			return false;
	}
	/* Were they still those? */
	if (mpl_iommu_current(iommu) - *generation >= MPL_IOMMU_LOG)
		return false;
	*generation = now;
	return true;
}

static bool matches(struct mpl_iotlb_entry *entry,
		    const struct mpl_iommu *iommu, uint64_t iova, uint64_t tag,
		    uint32_t intent)
{
	if (!mpl_iotlb_holds(entry, iommu, iova, tag, intent))
		return false;
	if (__builtin_expect(entry->generation == mpl_iommu_current(iommu), 1))
		return true;
	if (mpl_iommu_untouched(iommu, entry->base, entry->base | entry->mask,
				&entry->generation))
		return true;
	entry->id = 0;
	return false;
}

/* NULL: not cached. */
static struct mpl_iotlb_entry *find(struct mpl_iotlb *tlb,
				    const struct mpl_iommu *iommu,
				    uint64_t iova, uint64_t tag,
				    uint32_t intent)
{
	struct mpl_iotlb_entry *entry;

	if (!tlb)
		return NULL;
	entry = mpl_iotlb_at(tlb, iommu->id, iova, MPL_IOTLB_SMALL);
	if (matches(entry, iommu, iova, tag, intent))
		return entry;
	entry = mpl_iotlb_at(tlb, iommu->id, iova, MPL_IOTLB_HUGE);
	return matches(entry, iommu, iova, tag, intent) ? entry : NULL;
}

/* Where a page may be kept; NULL when out of memory. */
static struct mpl_iotlb_entry *place(struct mpl_reader_state *reader,
				     uint64_t id, uint64_t iova, uint64_t mask)
{
	if (!reader->iotlb)
		reader->iotlb = calloc(1, sizeof(*reader->iotlb));
	return reader->iotlb ? mpl_iotlb_slot(reader->iotlb, id, iova, mask) :
			       NULL;
}

/* What a translation came to. */
struct found {
	struct mpl_iotlb_entry *entry;
	struct mpl_iotlb_entry uncached;
	uint64_t fails; /* mask of the block that an error is about */
};

static mpl_result_t check(struct mpl_reader_state *reader,
			  const struct mpl_iommu_page *page)
{
	if (page->as && (page->mask & (page->mask + 1)) == 0)
		return MPL_OK;
	mpl_log(&reader->dp->log, MPL_LOG_ERROR,
		"an iommu's translate callback returned MPL_OK with %s (mask 0x%llx): the access fails; fill in `as`, and as `mask` the page size - 1",
		page->as ? "a mask that is not 2^n - 1" : "no address space",
		(unsigned long long)page->mask);
	return MPL_ACCESS_ERROR;
}

/* Ask the callback.  The device may be gone afterwards if there was a pause. */
static mpl_result_t ask(struct mpl_reader_state *reader,
			struct mpl_device *device, uint64_t iova,
			const struct mpl_asked *asked,
			struct found *found)
{
	const struct mpl_iommu *iommu = device->iommu;
	struct mpl_iommu_page page = { 0 };
	struct mpl_iotlb_entry *entry;
	struct mpl_frame frame;
	uint64_t generation;
	mpl_result_t result;

	found->fails = iommu->smallest;
	if (!iommu->ops->translate)
		return mpl_count_decode_error(reader);
	result = mpl_device_enter(reader, device, &frame);
	if (result)
		return result;
	mpl_count(reader, device);
	/* Before the tables are read: see mpl_iommu_current(). */
	generation = mpl_iommu_current(iommu);
	result = iommu->ops->translate(iommu->opaque, iova, asked->intent,
				       asked->attrs, &page);
	if (!result)
		result = check(reader, &page);
	else if (page.mask && (page.mask & (page.mask + 1)) == 0)
		found->fails = page.mask;
	found->uncached = (struct mpl_iotlb_entry){
		.id = iommu->id,
		.tag = mpl_iotlb_tag(iommu, asked->attrs),
		.base = iova & ~page.mask,
		.mask = page.mask,
		.generation = generation,
		.as = page.as,
		.address = page.address & ~page.mask,
		.stamp = NO_STAMP,
		.permissions = page.permissions,
	};
	found->entry = &found->uncached;
	entry = result ? NULL : place(reader, iommu->id, iova, page.mask);
	if (entry) {
		*entry = found->uncached;
		found->entry = entry;
	}
	mpl_device_leave(reader, &frame);
	if (result & MPL_DECODE_ERROR)
		mpl_count_decode_error(reader);
	if (result & MPL_ACCESS_ERROR)
		mpl_count_access_error(reader);
	if (!result && (page.permissions & asked->intent) != asked->intent)
		return mpl_count_access_error(reader);
	return result;
}

/* What lies at the address that a page leads to. */
static const struct mpl_section *section_at(struct mpl_reader *reader,
					    struct mpl_iotlb_entry *entry,
					    uint64_t gpa)
{
	const struct mpl_root *root =
		mpl_root_of(mpl_reader_snapshot(reader), entry->as);

	if (__builtin_expect(entry->stamp == root->stamp &&
				     mpl_section_covers(entry->section, gpa),
			     1))
		return entry->section;
	entry->section = mpl_section_checked(
		reader, mpl_walk(reader, root->entry, gpa), gpa);
	/* The unassigned section would cover everything. */
	entry->stamp = entry->section == reader->sections ? NO_STAMP :
							     root->stamp;
	return entry->section;
}

/* Add to the way what the last translation was, and where that led. */
static void note(struct mpl_trail *trail, const struct mpl_section *section,
		 uint64_t iova, uint64_t len,
		 const struct mpl_iotlb_entry *entry)
{
	struct mpl_hop *hop = &trail->hops[trail->count++];

	hop->device = section->device;
	hop->first = iova;
	hop->last = iova + len - 1;
	hop->generation = entry->generation;
	hop->as = entry->as;
	hop->stamp = entry->stamp;
}

/*
 * After a pause: is the way here, with what its last translation gave, still
 * what it was?  The stamps say so of the sections and their devices, one
 * after the other, the generations of the pages.
 */
static bool is_good(const struct mpl_reader_state *reader,
		    const struct mpl_asked *asked,
		    const struct mpl_trail *trail)
{
	const struct mpl_snapshot *snapshot =
		mpl_reader_snapshot(&reader->pub);

	return mpl_root_of(snapshot, asked->as)->stamp == trail->stamp &&
	       mpl_trail_is_good(&reader->pub, trail);
}

/* One iommu further.  *again: what was found before is not good any more. */
static mpl_result_t step(struct mpl_reader_state *reader,
			 const struct mpl_asked *asked,
			 struct mpl_reach *reach, struct mpl_trail *trail,
			 bool *again)
{
	const struct mpl_section *section = reach->section;
	const struct mpl_iommu *iommu = section->device->iommu;
	uint64_t iova = mpl_section_offset(section, reach->gpa);
	uint64_t pauses = reader->pauses;
	struct found found;
	uint64_t rest;

	*again = false;
	reach->len = mpl_section_rest(section, reach->gpa, reach->len);
	found.entry = find(reader->iotlb, iommu, iova,
			   mpl_iotlb_tag(iommu, asked->attrs), asked->intent);
	if (!found.entry) {
		mpl_result_t result = ask(reader, section->device, iova, asked,
					  &found);

		if (result) {
			rest = found.fails - (iova & found.fails);
			if (reach->len - 1 > rest)
				reach->len = rest + 1;
			reach->section = NULL;
			return result;
		}
		*again = reader->pauses != pauses &&
			 (!is_good(reader, asked, trail) ||
			  !mpl_iommu_untouched(iommu, iova, iova,
					       &found.entry->generation));
		if (*again)
			return MPL_OK;
	}
	rest = found.entry->mask - (iova & found.entry->mask);
	if (reach->len - 1 > rest)
		reach->len = rest + 1;
	reach->as = found.entry->as;
	reach->gpa = found.entry->address + (iova & found.entry->mask);
	reach->section = section_at(&reader->pub, found.entry, reach->gpa);
	note(trail, section, iova, reach->len, found.entry);
	return MPL_OK;
}

/* From the beginning. */
static void begin(struct mpl_reader *reader, const struct mpl_asked *asked,
		  struct mpl_reach *reach, struct mpl_trail *trail)
{
	const struct mpl_root *root =
		mpl_root_of(mpl_reader_snapshot(reader), asked->as);

	reach->section = mpl_section_checked(
		reader, mpl_walk(reader, root->entry, asked->gpa), asked->gpa);
	reach->as = asked->as;
	reach->gpa = asked->gpa;
	reach->len = asked->len;
	trail->count = 0;
	trail->stamp = root->stamp;
}

mpl_result_t mpl_iommu_reach(struct mpl_reader_state *reader,
			     const struct mpl_asked *asked,
			     struct mpl_reach *reach, struct mpl_trail *trail)
{
	unsigned int restarts = 0;

	begin(&reader->pub, asked, reach, trail);
	while (reach->section->flags & MPL_SECTION_IOMMU) {
		mpl_result_t result;
		bool again;

		if (trail->count == MPL_IOMMU_CHAIN ||
		    restarts == MPL_IOMMU_RESTARTS) {
			reach->section = NULL;
			return mpl_count_access_error(reader);
		}
		result = step(reader, asked, reach, trail, &again);
		if (result)
			return result;
		if (again) {
			restarts++;
			begin(&reader->pub, asked, reach, trail);
		}
	}
	if (!mpl_section_is_unassigned(reach->section))
		reach->len = mpl_section_rest(reach->section, reach->gpa,
					      reach->len);
	return MPL_OK;
}

static bool is_memory(const struct mpl_section *section, uint32_t intent)
{
	return (mpl_section_rights(section) & intent) == intent;
}

/* Does the memory of `next` follow that of `reach`, in the same way? */
static bool follows(const struct mpl_reach *reach,
		    const struct mpl_trail *trail,
		    const struct mpl_reach *next, const struct mpl_trail *way,
		    uint32_t intent)
{
	const struct mpl_hop *before = &trail->hops[0];
	const struct mpl_hop *after = &way->hops[0];

	return way->count == 1 && way->stamp == trail->stamp &&
	       after->device == before->device &&
	       after->first == before->last + 1 && after->as == before->as &&
	       after->stamp == before->stamp &&
	       next->section->device == reach->section->device &&
	       is_memory(next->section, intent) &&
	       mpl_section_host(next->section, next->gpa) ==
		       mpl_section_host(reach->section, reach->gpa) +
			       reach->len;
}

/*
 * Add pages as long as their memory follows.  Where it ends is no error.
 * False: a callback waited, and what was found before is not good any more.
 */
static bool extend(struct mpl_reader_state *reader,
		   const struct mpl_asked *asked, struct mpl_reach *reach,
		   struct mpl_trail *trail)
{
	uint64_t pauses = reader->pauses;

	for (unsigned int i = 1; i < MPL_IOMMU_PAGES; i++) {
		struct mpl_asked more = *asked;
		struct mpl_trail way;
		struct mpl_reach next;
		mpl_result_t result;

		if (reach->len == asked->len || trail->count != 1)
			break;
		more.gpa += reach->len;
		more.len -= reach->len;
		result = mpl_iommu_reach(reader, &more, &next, &way);
		if (reader->pauses != pauses && !is_good(reader, asked, trail))
			return false;
		if (result ||
		    !follows(reach, trail, &next, &way, asked->intent))
			break;
		reach->len += next.len;
		trail->hops[0].last = way.hops[0].last;
		if (way.hops[0].generation < trail->hops[0].generation)
			trail->hops[0].generation = way.hops[0].generation;
	}
	return true;
}

mpl_result_t mpl_iommu_host(struct mpl_reader_state *reader,
			    const struct mpl_asked *asked,
			    struct mpl_reach *reach, struct mpl_trail *trail)
{
	for (unsigned int i = 0; i < MPL_IOMMU_RESTARTS; i++) {
		uint64_t decode_errors = reader->stats.decode_errors;
		uint64_t access_errors = reader->stats.access_errors;
		mpl_result_t result;
		bool done;

		result = mpl_iommu_reach(reader, asked, reach, trail);
		if (result)
			return result;
		if (mpl_section_is_unassigned(reach->section))
			return mpl_count_decode_error(reader);
		if (!is_memory(reach->section, asked->intent))
			return mpl_count_access_error(reader);
		if (reach->len == asked->len || trail->count != 1)
			return MPL_OK;
		done = extend(reader, asked, reach, trail);
		reader->stats.decode_errors = decode_errors;
		reader->stats.access_errors = access_errors;
		if (done)
			return MPL_OK;
	}
	reach->section = NULL;
	return mpl_count_access_error(reader);
}

mpl_result_t mpl_iommu_pointer(struct mpl_reader_state *reader,
			       const struct mpl_asked *asked,
			       struct mpl_reach *reach)
{
	struct mpl_trail trail;
	mpl_result_t result = mpl_iommu_host(reader, asked, reach, &trail);

	if (result || !(asked->intent & MPL_FOR_WRITE) ||
	    !(reach->section->flags & MPL_SECTION_LOGGED))
		return result;
	return mpl_reader_note_write(reader, reach->section, reach->gpa,
				     reach->len) ?
		       MPL_OK :
		       mpl_count_access_error(reader);
}
