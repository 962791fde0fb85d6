/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which clients log a region *now*, for marks that are not made through a
 * section.  `device.dirty.clients` follows mpl_region_dirty_mask(): a client
 * joins before the commit that starts its log is published, and leaves after
 * the one that stops it is live.  So there is never one too few, not even
 * while a commit is unwound; after one that failed there may be one too many,
 * until the next that changes the region's clients.  That is harmless: nobody
 * reads its marks before it starts anew.
 */
#ifndef MEMPLANE_LIB_DIRTY_H
#define MEMPLANE_LIB_DIRTY_H

#include "lib/region.h"

/*
 * A region has got its memory: it takes part in all clients' logs.
 * Errors: -ENOMEM.
 */
int mpl_dirty_attach(struct mpl_region *region);

/* Clients may have been added; under the control lock.  Errors: -ENOMEM. */
int mpl_dirty_begin(struct mpl_region *region);
/* The same for all regions, with the plane's clients set to `clients`. */
int mpl_dirty_begin_global(struct mpl_plane *plane, uint8_t clients);
void mpl_dirty_undo_global(struct mpl_plane *plane, uint8_t clients);

/* The commit is live: those who stopped go. */
void mpl_dirty_settle(struct mpl_region *region);
void mpl_dirty_settle_global(struct mpl_plane *plane);

#endif
