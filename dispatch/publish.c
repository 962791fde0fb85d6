/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/publish.h"

#include <stdlib.h>
#include <string.h>

#include "dispatch/compile.h"

struct mpl_snapshot *mpl_snapshot_new(struct mpl_data_plane *dp,
				      uint64_t generation, uint64_t slots)
{
	const struct mpl_snapshot *old = dp->published;
	uint64_t kept = old ? old->slots : 0;
	struct mpl_snapshot *snapshot;

	if (slots < kept)
		slots = kept;
	snapshot = malloc(mpl_snapshot_bytes(slots));
	if (!snapshot)
		return NULL;
	snapshot->generation = generation;
	snapshot->slots = slots;
	if (old)
		memcpy(snapshot->root, old->root,
		       kept * sizeof(snapshot->root[0]));
	for (uint64_t i = kept; i < slots; i++)
		snapshot->root[i] = (struct mpl_root){
			.stamp = mpl_stamp_new(dp),
			.entry = MPL_ENTRY_EMPTY,
		};
	return snapshot;
}

void mpl_snapshot_drop(struct mpl_snapshot *snapshot)
{
	free(snapshot);
}

uint64_t mpl_stamp_new(struct mpl_data_plane *dp)
{
	return ++dp->stamp;
}

struct mpl_snapshot *mpl_publish(struct mpl_data_plane *dp,
				 struct mpl_snapshot *snapshot)
{
	const struct mpl_snapshot *old = dp->published;

	/*
	 * [B1] release; pairs with [B1] in mpl_reader_snapshot().  Nodes,
	 * sections and the snapshot itself are written before a reader can
	 * find them.
	 */
	__atomic_store_n(&dp->published, snapshot, __ATOMIC_RELEASE);
	__atomic_store_n(&dp->generation, snapshot->generation,
			 __ATOMIC_RELEASE);
	return (struct mpl_snapshot *)old;
}
