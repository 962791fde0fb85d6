/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty tracking in the data plane: sets of pages, and the marks that writes
 * leave in those of their region.
 *
 * A set is a bitmap with two summaries.  1 TiB, with page 5 of it marked:
 *
 *     level 2   8 KiB    bit 0: something in pages 0..4095
 *     level 1   512 KiB  bit 0: something in pages 0..63
 *     level 0   32 MiB   bit 5: page 5
 *
 * Invariant: a mark is complete when its page's bit is set on all levels, or
 * was taken since.  Writers set from level 0 up, takers clear from level 2
 * down; so a summary's bit may be set with nothing below it, never the other
 * way round once the writer is done.  docs/dirty.md has the argument.
 */
#ifndef MEMPLANE_DISPATCH_DIRTY_H
#define MEMPLANE_DISPATCH_DIRTY_H

#include <memplane/dirty.h>

struct mpl_device;
struct mpl_section;

#define MPL_DIRTY_LEVELS 3

/* At the start of the mapping that has its levels. */
struct mpl_dirty_set {
	uint64_t pages;
	uint64_t words[MPL_DIRTY_LEVELS];
	uint64_t *level[MPL_DIRTY_LEVELS];
	size_t bytes;
};

/* What a region's device has: the logs of its clients. */
struct mpl_dirty {
	/* Made before its client logs for the first time; stays. */
	struct mpl_dirty_set *sets[MPL_LOG_CLIENTS];
	uint64_t pages;	 /* 0: it has no logs */
	uint8_t clients; /* a bit for each that logs now */
};

/*
 * Make the sets of `clients`, if they are not there.  One thread at a time
 * (the control side, or whoever makes the region).  Errors: -ENOMEM.
 */
int mpl_dirty_prepare(struct mpl_dirty *dirty, uint8_t clients);
/* Who logs from now on: their sets must be there. */
void mpl_dirty_set_clients(struct mpl_dirty *dirty, uint8_t clients);
void mpl_dirty_destroy(struct mpl_dirty *dirty);

/* A client's set, or NULL. */
struct mpl_dirty_set *mpl_dirty_set_of(const struct mpl_dirty *dirty,
				       unsigned int client);

/*
 * After a store to the region: mark for those who log now.  The range is in
 * the region, `len` is not 0.
 */
void mpl_dirty_mark_device(struct mpl_device *device, uint64_t offset,
			   uint64_t len);

/* Pages, for the clients of a mask; after a full fence [B31]. */
void mpl_dirty_mark_clients(const struct mpl_dirty *dirty, uint32_t clients,
			    uint64_t first, uint64_t last);

/* The same by the mask of the section through which it was stored. */
void mpl_dirty_mark_section(const struct mpl_section *section, uint64_t gpa,
			    uint64_t len);

/* Merge a bitmap from outside, for those who log now. */
void mpl_dirty_merge_device(struct mpl_device *device, uint64_t page,
			    const uint64_t *bitmap, uint64_t pages);

/* Set bits from `first` to `last`, beside writers and takers. */
void mpl_dirty_set_mark(struct mpl_dirty_set *set, uint64_t first,
			uint64_t last);
/* Bit i of the bitmap is page `page` + i; 64 pages at a time. */
void mpl_dirty_set_merge(struct mpl_dirty_set *set, uint64_t page,
			 const uint64_t *bitmap, uint64_t pages);
/* Move what is set from `first` to `last` into `into`, a private set. */
void mpl_dirty_set_take(struct mpl_dirty_set *set, uint64_t first,
			uint64_t last, struct mpl_dirty_set *into);

#endif
