/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/data_plane.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "dispatch/compile.h"
#include "dispatch/count.h"
#include "dispatch/mapped.h"
#include "dispatch/publish.h"
#include "dispatch/retire.h"
#include "dispatch/section.h"

uint64_t mpl_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int init_arenas(struct mpl_data_plane *dp)
{
	int (*init)(struct mpl_arena * arena, size_t item_size, uint32_t max) =
		dp->readonly_view ? mpl_arena_init_twice : mpl_arena_init;
	const uint32_t max = 1u << MPL_INDEX_BITS;
	int err;

	err = init(&dp->nodes, MPL_NODE_ENTRIES * sizeof(uint32_t), max);
	if (!err)
		err = init(&dp->leaves, sizeof(struct mpl_leaf), max);
	if (!err)
		err = init(&dp->sections, sizeof(struct mpl_section), max);
	if (!err) /* readers never look at these */
		err = mpl_arena_init(&dp->notes, sizeof(struct mpl_node_note),
				     max);
	return err;
}

int mpl_data_plane_init(struct mpl_data_plane *dp, unsigned int max_readers,
			unsigned int spare_readers)
{
	unsigned int readers = max_readers + spare_readers;
	int err = init_arenas(dp);

	if (!dp->plain_nodes)
		dp->plain_nodes = MPL_PLAIN_NODES;
	pthread_mutex_init(&dp->readers_mutex, NULL);
	pthread_mutex_init(&dp->waits.mutex, NULL);
	pthread_cond_init(&dp->waits.released, NULL);
	if (!err)
		err = mpl_rcu_new(readers, &dp->rcu);
	if (!err) {
		dp->readers_max = max_readers;
		dp->readers_size = readers;
		dp->readers = calloc(readers, sizeof(dp->readers[0]));
		if (!dp->readers)
			err = -ENOMEM;
	}
	if (!err) {
		mpl_section_init_unassigned(dp);
		dp->generation = 1;
		dp->announced = dp->generation;
		dp->published = mpl_snapshot_new(dp, dp->generation, 0);
		if (!dp->published)
			err = -ENOMEM;
	}
	if (err)
		mpl_data_plane_destroy(dp);
	return err;
}

void mpl_data_plane_destroy(struct mpl_data_plane *dp)
{
	/* Without readers every grace period is over. */
	while (dp->retired_first)
		mpl_retire_poll(dp);
	if (dp->published)
		free((void *)dp->published->view_of);
	mpl_snapshot_drop((struct mpl_snapshot *)dp->published);
	mpl_count_destroy(dp);
	mpl_mapped_destroy(dp);
	free(dp->readers);
	mpl_rcu_free(dp->rcu);
	mpl_arena_destroy(&dp->nodes);
	mpl_arena_destroy(&dp->notes);
	mpl_arena_destroy(&dp->leaves);
	mpl_arena_destroy(&dp->sections);
	pthread_cond_destroy(&dp->waits.released);
	pthread_mutex_destroy(&dp->waits.mutex);
	pthread_mutex_destroy(&dp->readers_mutex);
}
