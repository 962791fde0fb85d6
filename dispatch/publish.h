/* SPDX-License-Identifier: BSD-3-Clause */
/* Publish: one new snapshot for all address spaces, in one store. */
#ifndef MEMPLANE_DISPATCH_PUBLISH_H
#define MEMPLANE_DISPATCH_PUBLISH_H

#include "dispatch/data_plane.h"

/*
 * A copy of the published snapshot, under another generation and with room
 * for at least `views` roots, for the caller to put roots into.  It shares the
 * table view_of, which whoever replaces it retires.  NULL when out of memory.
 */
struct mpl_snapshot *mpl_snapshot_new(struct mpl_data_plane *dp,
				      uint64_t generation, uint32_t views);
void mpl_snapshot_drop(struct mpl_snapshot *snapshot);

static inline size_t mpl_snapshot_bytes(uint32_t views)
{
	return sizeof(struct mpl_snapshot) + views * sizeof(struct mpl_root);
}

/*
 * A copy of a snapshot's view_of for `slots` address spaces; new ones show
 * view 0, the empty one.  NULL when out of memory; free() releases it.
 */
uint32_t *mpl_view_table_new(const struct mpl_snapshot *old, uint32_t slots);

/* A stamp that no root ever had. */
uint64_t mpl_stamp_new(struct mpl_data_plane *dp);

/*
 * Make it the published one and return the one before, which readers may
 * still use.
 */
struct mpl_snapshot *mpl_publish(struct mpl_data_plane *dp,
				 struct mpl_snapshot *snapshot);

#endif
