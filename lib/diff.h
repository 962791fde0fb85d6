/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Diff: render the marked windows of a view anew, compare with the ranges
 * that are there, and put the differences into the view.
 *
 *     ranges       |---A---|-----B-----|   |--C--|
 *     mark               [======]
 *     rendered           |-D--|                       (hole after D)
 *     new          |--A--|-D--| |---B--|              A's and B's rests
 *
 * Ranges that reach into a mark, or touch it, are part of the comparison, so
 * that they can be cut or merged; a range that comes out as it was stays the
 * same object with the same section.
 */
#ifndef MEMPLANE_LIB_DIFF_H
#define MEMPLANE_LIB_DIFF_H

#include "lib/commit.h"

/*
 * Fill view->changes from view->marks and apply them to the view.
 * Errors: -ENOMEM, -ELOOP, -E2BIG; then the view is as before, its changes empty.
 */
int mpl_diff_view(struct mpl_commit *commit, struct mpl_view *view);

/* Take view->changes back out of the view, and free what they made. */
void mpl_diff_unwind(struct mpl_view *view);

/* Does the view equal a full render?  Errors: -EUCLEAN, -ENOMEM, -E2BIG. */
int mpl_diff_verify(struct mpl_commit *commit, const struct mpl_view *view);

/* What is compared to tell whether a range is another one. */
bool mpl_flat_same_place(const struct mpl_flat_range *a,
			 const struct mpl_flat_range *b);

#endif
