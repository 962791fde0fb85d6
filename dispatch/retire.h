/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Retiring: what a commit replaced waits here until no reader can see it.
 *
 * A batch is filled while the commit is being prepared (which may fail), and
 * handed over in one step that cannot fail after the new map is published.
 * Control side only.
 */
#ifndef MEMPLANE_DISPATCH_RETIRE_H
#define MEMPLANE_DISPATCH_RETIRE_H

#include "dispatch/data_plane.h"

struct mpl_retired_object {
	void (*fn)(void *arg);
	void *arg;
};

struct mpl_retired_objects {
	struct mpl_retired_object *items;
	size_t count;
	size_t capacity;
};

struct mpl_retired {
	struct mpl_retired *next;
	uint64_t token;
	uint64_t since_ns;
	uint64_t bytes;
	struct mpl_indexes nodes;
	struct mpl_indexes leaves;
	struct mpl_indexes sections;
	struct mpl_retired_objects objects;
};

/* NULL when out of memory. */
struct mpl_retired *mpl_retired_new(void);
/* Drop a batch without freeing what it names. */
void mpl_retired_drop(struct mpl_retired *batch);

/* Errors: -ENOMEM. */
int mpl_retire_node(struct mpl_retired *batch, uint32_t index);
int mpl_retire_leaf(struct mpl_retired *batch, uint32_t index);
int mpl_retire_section(struct mpl_retired *batch, uint32_t index);
int mpl_retire_object(struct mpl_retired *batch, void (*fn)(void *arg),
		      void *arg, size_t bytes);

/* Start the grace period of a batch; takes it over. */
void mpl_retire(struct mpl_data_plane *dp, struct mpl_retired *batch);

/*
 * Free every batch whose grace period is over.  Objects' functions run here.
 * Returns the bytes that still wait.  Names a reader that stalls.
 */
uint64_t mpl_retire_poll(struct mpl_data_plane *dp);

#endif
