/* SPDX-License-Identifier: BSD-3-Clause */
/* Publish: one new snapshot for all address spaces, in one store. */
#ifndef MEMPLANE_DISPATCH_PUBLISH_H
#define MEMPLANE_DISPATCH_PUBLISH_H

#include "dispatch/data_plane.h"

/*
 * A copy of the published snapshot, under another generation and with at
 * least `slots` address-space slots, for the caller to put roots into.
 * NULL when out of memory.
 */
struct mpl_snapshot *mpl_snapshot_new(struct mpl_data_plane *dp,
				      uint64_t generation, uint64_t slots);
void mpl_snapshot_drop(struct mpl_snapshot *snapshot);

static inline size_t mpl_snapshot_bytes(uint64_t slots)
{
	return sizeof(struct mpl_snapshot) + slots * sizeof(struct mpl_root);
}

/* A stamp that no root ever had. */
uint64_t mpl_stamp_new(struct mpl_data_plane *dp);

/*
 * Make it the published one and return the one before, which readers may
 * still use.
 */
struct mpl_snapshot *mpl_publish(struct mpl_data_plane *dp,
				 struct mpl_snapshot *snapshot);

#endif
