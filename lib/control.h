/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Control: who carries requests out.  With a control thread all of them queue
 * up for it, and transactions that meet in the queue are committed as one
 * batch; without one the caller's thread does it under the control lock.
 *
 * The control side never waits for a reader, takes no device's lock, and so
 * can be waited for from inside a callback.
 */
#ifndef MEMPLANE_LIB_CONTROL_H
#define MEMPLANE_LIB_CONTROL_H

#include "lib/plane.h"

/*
 * Run `fn` on the control side, under the control lock, and wait for it.
 * Errors: -EDEADLK if the caller is on the control side already, -ESHUTDOWN,
 * or what `fn` returned.
 */
int mpl_control_run(struct mpl_plane *plane,
		    int (*fn)(struct mpl_plane *plane, void *arg), void *arg);

/*
 * mpl_plane_reclaim(), and then what `release` callbacks have queued, if there
 * is no control thread for it; lock held, outside of accesses.
 */
uint64_t mpl_control_reclaim(struct mpl_plane *plane);

/* There are regions to be buried: wake the control thread up. */
void mpl_control_wake(struct mpl_plane *plane);

/* Start the control thread.  Errors: -EAGAIN. */
int mpl_control_start(struct mpl_plane *plane);
/* Refuse new requests, carry out what is queued, and end the thread. */
void mpl_control_end(struct mpl_plane *plane);

#endif
