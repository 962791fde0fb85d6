/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listeners receive the differences between two flat views of an address
 * space: KVM slots, vhost tables, or your own mirror of the map.
 *
 * Order within a commit, over all listeners of all address spaces that
 * change:
 *
 *   1. begin     ascending priority                       fallible
 *   2. prepare   ascending priority                       fallible
 *   3. removals  descending priority: ioeventfds, coalesced zones and ranges
 *                that are gone; within a listener in ascending address order,
 *                then `take`
 *   4.           -- the new map is published --
 *   5. additions ascending priority: `put`, then ranges, log_start/log_stop,
 *                coalesced zones, ioeventfds; in ascending address order
 *   6. commit    ascending priority
 *
 * Among listeners of equal priority the one registered first comes first in
 * an ascending pass.  Only listeners of address spaces in which something
 * changed are called.
 *
 * Callbacks return 0 or -errno; NULL ones are skipped.  A failure unwinds
 * the commit: the inverse steps in reverse order, the old content published
 * under a new generation, then `abort` instead of `commit` (or after it, if
 * somebody's `commit` failed).  If an inverse step or `abort` fails as well the
 * listener is marked degraded (mpl_listener_error() is -ENOTRECOVERABLE), and
 * but for the `abort` that is due is not called again until
 * mpl_listener_resync().
 *
 * Callbacks run on the control thread, or on the committing thread.  They
 * must not commit synchronously (-EDEADLK) and make no accesses.
 */
#ifndef MEMPLANE_LISTENER_H
#define MEMPLANE_LISTENER_H

#include "space.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What one commit will do to one listener, before it does. */
struct mpl_listener_plan {
	size_t removed;
	size_t added;
	const void *changes; /* for mpl_listener_plan_each() */
};

/*
 * Visit the differences in ascending order, only inside `prepare`: a range
 * vanishes (`after` is NULL), appears (`before` is NULL), or stays where it is
 * and its dirty mask, ioeventfds or coalesced zones change.  A non-zero return
 * of `fn` ends the walk and is returned.
 */
int mpl_listener_plan_each(const struct mpl_listener_plan *plan,
			   int (*fn)(void *arg,
				     const struct mpl_flat_range *before,
				     const struct mpl_flat_range *after),
			   void *arg);

struct mpl_listener_ops {
	const char *name;
	int priority;

	int (*begin)(void *opaque);
	int (*prepare)(void *opaque, const struct mpl_listener_plan *plan);
	int (*range_del)(void *opaque, const struct mpl_flat_range *range);
	int (*range_add)(void *opaque, const struct mpl_flat_range *range);

	/*
	 * For listeners that do all at once what `prepare` showed them: before
	 * and after the new map is published.  With `undo` they are taken
	 * back, `put` first.
	 */
	int (*take)(void *opaque, bool undo);
	int (*put)(void *opaque, bool undo);

	/*
	 * The dirty mask of a range that stays changes; range->dirty_mask is
	 * the new one (while unwinding, too).  A range that comes or goes has
	 * its mask in range_add and range_del.
	 */
	int (*log_start)(void *opaque, const struct mpl_flat_range *range,
			 uint8_t old_mask, uint8_t new_mask);
	int (*log_stop)(void *opaque, const struct mpl_flat_range *range,
			uint8_t old_mask, uint8_t new_mask);

	int (*ioeventfd_del)(void *opaque, const struct mpl_flat_ioeventfd *ev);
	int (*ioeventfd_add)(void *opaque, const struct mpl_flat_ioeventfd *ev);

	/* [start, last] is the zone, clipped to `range`. */
	int (*coalesced_del)(void *opaque, const struct mpl_flat_range *range,
			     uint64_t start, uint64_t last);
	int (*coalesced_add)(void *opaque, const struct mpl_flat_range *range,
			     uint64_t start, uint64_t last);

	/* mpl_log_global() switched a client on or off. */
	int (*log_global)(void *opaque, enum mpl_log_client client, bool on);

	int (*commit)(void *opaque);
	/* The commit that `begin` announced was unwound; an error degrades. */
	int (*abort)(void *opaque);

	/* Forget everything that you were told: all of it is told again next.
	 * Needed by mpl_listener_resync() only. */
	int (*reset)(void *opaque);

	/*
	 * mpl_dirty_sync(): fetch what was logged of a range, whose dirty_mask
	 * is not 0, and merge it (mpl_dirty_merge(), in dirty.h).  An error is
	 * reported to who called that, and unwinds nothing.
	 */
	int (*log_sync)(void *opaque, const struct mpl_flat_range *range);
};

/*
 * Register: the listener is told of everything that is there (begin, prepare,
 * log_global, range_add and coalesced_add of each range, ioeventfd_add,
 * log_start of each range with a dirty mask, commit).  If it fails, what it was
 * told is taken back and it is not registered.  `ops` must outlive the
 * registration.  Context as mpl_commit().
 */
int mpl_listener_register(struct mpl_address_space *as,
			  const struct mpl_listener_ops *ops, void *opaque,
			  struct mpl_listener **out);

/*
 * Unregister: the listener is told that everything goes away; its errors are
 * logged and do not stop that.  Context as mpl_commit().
 */
int mpl_listener_unregister(struct mpl_listener *listener);

/* 0, or -ENOTRECOVERABLE when degraded. */
int mpl_listener_error(const struct mpl_listener *listener);

/*
 * Full resynchronisation of a listener, degraded or not: `reset`, then
 * everything that is there as at registration.  On success it is no longer
 * degraded, on an error it is.  Context as mpl_commit().
 *
 * Errors: -ENOTSUP without a `reset` callback, else what a callback returned.
 */
int mpl_listener_resync(struct mpl_listener *listener);

#ifdef __cplusplus
}
#endif

#endif
