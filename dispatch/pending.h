/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages that a reader may be writing: host pointers for writing into logged
 * memory were given out, the stores come later.  The pages are marked when the
 * pointers lose their validity: before the reader is quiescent, goes offline,
 * or waits.  Until then the section, and so the device, cannot go.
 *
 * The list is the reader's own.  It grows up to MPL_PENDING_MAX ranges; beyond
 * that, or without memory, a range is widened until it has the new one, too:
 * marks come to be too many, never too few.  Where even that is impossible
 * (no range of that device) the pointer is not given out.
 */
#ifndef MEMPLANE_DISPATCH_PENDING_H
#define MEMPLANE_DISPATCH_PENDING_H

#include <stdbool.h>
#include <stdint.h>

#define MPL_PENDING_MAX 4096

struct mpl_device;
struct mpl_section;

struct mpl_pending_range {
	struct mpl_device *device;
	uint64_t first; /* pages */
	uint64_t last;
	uint32_t clients;
};

struct mpl_pending {
	struct mpl_pending_range *items;
	uint32_t count;
	uint32_t capacity;
	bool full; /* nothing to be joined, and not to grow */
};

/* False: it cannot be noted. */
bool mpl_pending_add(struct mpl_pending *pending,
		     const struct mpl_section *section, uint64_t gpa,
		     uint64_t len);

/* Mark all of them and forget them. */
void mpl_pending_flush(struct mpl_pending *pending);

void mpl_pending_destroy(struct mpl_pending *pending);

#endif
