/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commit: the pipeline that turns a batch of transactions into a published
 * map.
 *
 *   apply     mutations -> region tree          marks windows of views
 *   roots     effective roots                   switches spaces to views
 *   render    marked windows -> pieces          (lib/render.c)
 *   diff      pieces <-> ranges -> changes      puts them into the views
 *   compile   changes -> sections, radix nodes  copies paths
 *   plan      changes -> listener events
 *   prepare                                     -- all that may run short of
 *   removals                                       memory is behind us --
 *   publish   one release store
 *   additions
 *   settle    what was replaced is retired
 *
 * An error in any stage unwinds the ones before it, in reverse.
 */
#ifndef MEMPLANE_LIB_COMMIT_H
#define MEMPLANE_LIB_COMMIT_H

#include "dispatch/compile.h"
#include "lib/events.h"
#include "lib/flat_view.h"
#include "lib/render.h"
#include "lib/txn.h"

struct mpl_commit {
	struct mpl_plane *plane;
	struct mpl_undos undos;
	struct mpl_link spaces; /* whose root must be looked for */
	struct mpl_link views;	/* with marks, fresh, or left by a switch */
	struct mpl_render render;
	struct mpl_compile compile;
	struct mpl_retired *stale;   /* what the old map has alone */
	struct mpl_retired *retract; /* what the new map has alone */
	struct mpl_snapshot *fresh;  /* to be published */
	uint32_t *view_table;	     /* its view_of, if that is new */
	struct mpl_snapshot *restored; /* the old content, to come back to */
	struct mpl_events events;
	uint8_t log_global_before;
	uint64_t paths; /* walked to mark windows */
	bool published;
};

void mpl_commit_init(struct mpl_commit *commit, struct mpl_plane *plane);

/*
 * Everything after apply.  On an error all is as before, undos included.
 * Either way the commit is over.
 */
int mpl_commit_carry_out(struct mpl_commit *commit);

/* A view takes part in this commit. */
void mpl_commit_touch(struct mpl_commit *commit, struct mpl_view *view);

/*
 * Note that `region` may look different at its offsets [start, last]: marks
 * these windows of every view that shows them, up through parents and
 * aliases.  Errors: -ENOMEM.
 */
int mpl_mark(struct mpl_commit *commit, struct mpl_region *region,
	     uint64_t start, uint64_t last);
/* The whole of a region. */
int mpl_mark_all(struct mpl_commit *commit, struct mpl_region *region);
/* The whole of every view. */
int mpl_mark_everything(struct mpl_commit *commit);

#endif
