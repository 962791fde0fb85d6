/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/publish.h"

#include <stdlib.h>
#include <string.h>

#include "dispatch/compile.h"

struct mpl_snapshot *mpl_snapshot_new(struct mpl_data_plane *dp,
				      uint64_t generation, uint32_t views)
{
	const struct mpl_snapshot *old = dp->published;
	uint32_t kept = old ? old->views : 0;
	struct mpl_snapshot *snapshot;

	if (views < kept)
		views = kept;
	snapshot = malloc(mpl_snapshot_bytes(views));
	if (!snapshot)
		return NULL;
	snapshot->generation = generation;
	snapshot->view_of = old ? old->view_of : NULL;
	snapshot->slots = old ? old->slots : 0;
	snapshot->views = views;
	if (old)
		memcpy(snapshot->root, old->root,
		       kept * sizeof(snapshot->root[0]));
	for (uint32_t i = 0; i < MPL_FIRST_SLOTS; i++)
		snapshot->first[i] = (struct mpl_root){
			.entry = MPL_ENTRY_EMPTY,
		};
	for (uint32_t i = kept; i < views; i++)
		snapshot->root[i] = (struct mpl_root){
			.stamp = mpl_stamp_new(dp),
			.entry = MPL_ENTRY_EMPTY,
		};
	return snapshot;
}

uint32_t *mpl_view_table_new(const struct mpl_snapshot *old, uint32_t slots)
{
	uint32_t *table = calloc(slots ? slots : 1, sizeof(*table));

	if (table && old->slots)
		memcpy(table, old->view_of,
		       (old->slots < slots ? old->slots : slots) *
			       sizeof(*table));
	return table;
}

void mpl_snapshot_drop(struct mpl_snapshot *snapshot)
{
	free(snapshot);
}

uint64_t mpl_stamp_new(struct mpl_data_plane *dp)
{
	return ++dp->stamp;
}

/* Nothing is written to one that has been published before. */
static void fill_first(struct mpl_snapshot *snapshot)
{
	for (uint32_t i = 0; i < MPL_FIRST_SLOTS && i < snapshot->slots; i++) {
		const struct mpl_root *root =
			&snapshot->root[snapshot->view_of[i]];

		if (snapshot->first[i].stamp != root->stamp)
			snapshot->first[i] = *root;
	}
}

struct mpl_snapshot *mpl_publish(struct mpl_data_plane *dp,
				 struct mpl_snapshot *snapshot)
{
	const struct mpl_snapshot *old = dp->published;

	fill_first(snapshot);
	/*
	 * First, so that a reader which has seen the new snapshot in one way
	 * does not take its caches of the old one for current in another.
	 */
	__atomic_store_n(&dp->announced, snapshot->generation,
			 __ATOMIC_RELAXED);
	/*
	 * [B1] release; pairs with [B1] in mpl_reader_snapshot().  Nodes,
	 * sections and the snapshot itself are written before a reader can
	 * find them.
	 */
	__atomic_store_n(&dp->published, snapshot, __ATOMIC_RELEASE);
	/* [B8] release; pairs with [B8] in mpl_plane_generation() */
	__atomic_store_n(&dp->generation, snapshot->generation,
			 __ATOMIC_RELEASE);
	return (struct mpl_snapshot *)old;
}
