/* SPDX-License-Identifier: BSD-3-Clause */
/* A reader's cache of translations, and accesses that it answers alone. */
#ifndef MEMPLANE_DISPATCH_IOTLB_H
#define MEMPLANE_DISPATCH_IOTLB_H

#include "dispatch/fast.h"
#include "dispatch/iommu.h"

#define MPL_IOTLB_ENTRIES 256

/* A page that was translated.  id 0: none. */
struct mpl_iotlb_entry {
	uint64_t id;  /* of the iommu */
	uint64_t tag; /* attributes */
	uint64_t base;
	uint64_t mask;
	uint64_t generation; /* valid as of it */
	const struct mpl_address_space *as;
	uint64_t address; /* of `base` in `as` */
	/* Found at the page, good while the space's root has this stamp. */
	const struct mpl_section *section;
	uint64_t stamp;
	uint32_t permissions;
};

struct mpl_iotlb {
	struct mpl_iotlb_entry entry[MPL_IOTLB_ENTRIES];
};

/* Pages are kept by their address in the smaller or in the larger unit. */
enum { MPL_IOTLB_SMALL = 12, MPL_IOTLB_HUGE = 21 };

/*
 * [B40] acquire; pairs with [B40] in mpl_iommu_forget(): a translation that
 * begins after this sees the tables as they were changed before that number
 * was published.  Hazard: an old page under a new number, never dropped.
 */
static inline uint64_t mpl_iommu_current(const struct mpl_iommu *iommu)
{
	return __atomic_load_n(&iommu->generation, __ATOMIC_ACQUIRE);
}

/* What an iommu tells accesses apart by. */
static inline uint64_t mpl_iotlb_tag(const struct mpl_iommu *iommu,
				     struct mpl_attrs attrs)
{
	return mpl_attrs_word(attrs) & iommu->tag_mask;
}

static inline struct mpl_iotlb_entry *
mpl_iotlb_at(struct mpl_iotlb *tlb, uint64_t id, uint64_t iova,
	     unsigned int shift)
{
	uint64_t key = (iova >> shift) + (id << 52) + shift;

	/* As mpl_cache_offset(). */
	return &tlb->entry[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 56];
}
_Static_assert(MPL_IOTLB_ENTRIES == 1 << (64 - 56), "mpl_iotlb_at()");

/* Where a page of mask + 1 bytes, a power of two, is kept. */
static inline struct mpl_iotlb_entry *
mpl_iotlb_slot(struct mpl_iotlb *tlb, uint64_t id, uint64_t iova,
	       uint64_t mask)
{
	return mpl_iotlb_at(tlb, id, iova,
			    mask >> (MPL_IOTLB_HUGE - 1) ? MPL_IOTLB_HUGE :
							   MPL_IOTLB_SMALL);
}

/* Is that the page, as of some generation? */
static inline bool mpl_iotlb_holds(const struct mpl_iotlb_entry *entry,
				   const struct mpl_iommu *iommu,
				   uint64_t iova, uint64_t tag,
				   uint32_t intent)
{
	return entry->id == iommu->id && entry->tag == tag &&
	       (iova & ~entry->mask) == entry->base &&
	       (entry->permissions & intent) == intent;
}

static inline uint64_t mpl_iotlb_less(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * The common case of mpl_iommu_reach(), for a quarter of the instructions: one
 * translation that is kept, of the address `gpa`, which `section`, an iommu's,
 * covers, and nothing has been invalidated since; to memory that is not logged
 * and does not mind how it is accessed.  Its host address, and in *rest how
 * many bytes after the first are there; NULL if it is anything else.
 */
static inline __attribute__((always_inline)) void *
mpl_iotlb_host(struct mpl_reader_state *reader,
	       const struct mpl_section *section, uint64_t gpa,
	       enum mpl_intent intent, struct mpl_attrs attrs, uint64_t *rest)
{
	const struct mpl_iommu *iommu = section->device->iommu;
	uint64_t tag = mpl_iotlb_tag(iommu, attrs);
	uint64_t at = mpl_section_offset(section, gpa);
	const struct mpl_iotlb_entry *entry;
	const struct mpl_root *root;

	if (!reader->iotlb)
		return NULL;
	entry = mpl_iotlb_at(reader->iotlb, iommu->id, at, MPL_IOTLB_SMALL);
	if (!mpl_iotlb_holds(entry, iommu, at, tag, (uint32_t)intent)) {
		entry = mpl_iotlb_at(reader->iotlb, iommu->id, at,
				     MPL_IOTLB_HUGE);
		if (!mpl_iotlb_holds(entry, iommu, at, tag, (uint32_t)intent))
			return NULL;
	}
	/* First: the space stays until its pages are invalidated (iommu.h). */
	if (entry->generation != mpl_iommu_current(iommu))
		return NULL;
	root = mpl_root_of(mpl_reader_snapshot(&reader->pub), entry->as);
	if (entry->stamp != root->stamp)
		return NULL;
	at -= entry->base;
	*rest = mpl_iotlb_less(section->span - (gpa - section->start),
			       entry->mask - at);
	section = entry->section;
	at += entry->address - section->start;
	if (at > section->span ||
	    !mpl_section_direct(section, (uint32_t)intent))
		return NULL;
	*rest = mpl_iotlb_less(*rest, section->span - at);
	return section->host + at;
}

/* The same for `len` bytes; NULL, too, if they are not all there, or none. */
static inline __attribute__((always_inline)) void *
mpl_iotlb_all(struct mpl_reader_state *reader,
	      const struct mpl_section *section, uint64_t gpa, uint64_t len,
	      enum mpl_intent intent, struct mpl_attrs attrs)
{
	uint64_t rest;
	void *host = mpl_iotlb_host(reader, section, gpa, intent, attrs, &rest);

	return host && len - 1 <= rest ? host : NULL;
}

#endif
