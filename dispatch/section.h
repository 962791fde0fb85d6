/* SPDX-License-Identifier: BSD-3-Clause */
/* Sections: flat ranges as the data plane sees them, one cache line each. */
#ifndef MEMPLANE_DISPATCH_SECTION_H
#define MEMPLANE_DISPATCH_SECTION_H

#include "dispatch/data_plane.h"
#include "dispatch/device.h"
#include "dispatch/doorbell.h"

/*
 * Make a section like `from` (`id` is filled in).  It holds a reference on
 * its device and on its doorbells until mpl_section_free().
 * Errors: -ENOSPC, -ENOMEM.
 */
int mpl_section_new(struct mpl_data_plane *dp, const struct mpl_section *from,
		    uint32_t *index);
void mpl_section_free(struct mpl_data_plane *dp, uint32_t index);

static inline struct mpl_section *
mpl_section_at(const struct mpl_data_plane *dp, uint32_t index)
{
	return mpl_arena_at(&dp->sections, index);
}

static inline uint64_t mpl_section_last(const struct mpl_section *section)
{
	return section->start + section->span;
}

/* Make section 0. */
void mpl_section_init_unassigned(struct mpl_data_plane *dp);

#endif
