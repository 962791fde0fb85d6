/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Maps: the compiled side of flat views, as one stage of a commit.
 */
#ifndef MEMPLANE_LIB_MAP_H
#define MEMPLANE_LIB_MAP_H

#include "lib/commit.h"

/*
 * Make sections of the ranges that appeared, and the radix maps of all views
 * that take part; what only the old maps have goes to commit->stale.
 * Errors: -ENOMEM, -ENOSPC.
 */
int mpl_map_compile(struct mpl_commit *commit);

/*
 * plane->verify: every view, touched or not, must be as rendered anew, and its
 * map must say the same.  Errors: -EUCLEAN, -ENOMEM.
 */
int mpl_map_verify(struct mpl_commit *commit);

/*
 * The snapshot to publish, commit->fresh, with a table of views if spaces
 * switched; none if no reader could tell the difference.  Errors: -ENOMEM.
 */
int mpl_snapshot_make(struct mpl_commit *commit);

/*
 * What will be needed if listeners fail after the new snapshot is published:
 * the old content under another generation, and a list of what the new one
 * has alone.  Errors: -ENOMEM.
 */
int mpl_snapshot_prepare_retract(struct mpl_commit *commit);

#endif
