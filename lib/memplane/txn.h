/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transactions: the only way to change a topology.
 *
 * mpl_begin() gives a transaction, the calls below *record* mutations into
 * it, mpl_commit() carries all of them out or none.  Mutations return
 * nothing: the first error sticks to the transaction and is what mpl_commit()
 * returns.  A transaction belongs to one thread at a time; several may be
 * open at once, and they take effect in the order in which they are
 * committed.
 *
 * Every region that a transaction names is kept alive by it.
 */
#ifndef MEMPLANE_TXN_H
#define MEMPLANE_TXN_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Never NULL: out of memory gives a transaction that fails with -ENOMEM. */
struct mpl_txn *mpl_begin(struct mpl_plane *plane);

/* The error that sticks to the transaction, or 0. */
int mpl_txn_error(const struct mpl_txn *tx);

/* Drop a transaction and everything in it.  NULL is fine. */
void mpl_abort(struct mpl_txn *tx);

/*
 * Carry the transaction out and free it, whatever the result.  After 0 every
 * look-up that starts later sees the new map; after an error the topology,
 * the published map and the listeners are as before (what guests did while a
 * commit was being unwound stays done).
 *
 * Any thread, also from inside a device callback; -EDEADLK from a listener, a
 * `release` or a `done` callback.
 *
 * Errors: the transaction's own; -ELOOP (a region would contain or show
 * itself), -E2BIG (nested deeper than MPL_DEPTH_MAX, or more ranges than can
 * be indexed), -EBUSY (the child is attached already, or the region is in
 * use), -ENOENT (not a child, no such ioeventfd), -EEXIST (that ioeventfd is
 * there already), -EINVAL, -ENOMEM, -ENOSPC, -EAGAIN (too much is waiting for
 * readers, see mpl_plane_config.retired_max), -ESHUTDOWN, or whatever a
 * listener returned.
 */
int mpl_commit(struct mpl_txn *tx);

/*
 * Queue the transaction; `done` is called once with the result, on the
 * control thread (in a plane without one: in this call).  Allowed everywhere,
 * also in listeners, `release` and `done`.
 *
 * Errors (then `done` is not called, and the transaction is gone): -EAGAIN
 * (the queue is full), -ENOMEM, -ESHUTDOWN.
 */
int mpl_commit_async(struct mpl_txn *tx, void (*done)(void *arg, int err),
		     void *arg);

/*
 * Attach `child` at `offset` of `parent`.  Higher `priority` wins, among
 * equals the child added last.  The parent may not be an alias.  An alias may
 * lie inside its own target as long as no address shows itself; until it is
 * removed, the two then keep each other alive.
 */
void mpl_region_add(struct mpl_txn *tx, struct mpl_region *parent,
		    uint64_t offset, struct mpl_region *child, int priority);

/* Detach `child` from its parent. */
void mpl_region_remove(struct mpl_txn *tx, struct mpl_region *child);

void mpl_region_set_enabled(struct mpl_txn *tx, struct mpl_region *region,
			    bool enabled);

/*
 * Move a region within its parent; among siblings of equal priority it
 * becomes the last added.  For a detached region the offset is only noted.
 */
void mpl_region_move(struct mpl_txn *tx, struct mpl_region *region,
		     uint64_t offset);
/* As a move to where it is: it becomes the last added of its equals. */
void mpl_region_set_priority(struct mpl_txn *tx, struct mpl_region *region,
			     int priority);

/*
 * Memory cannot outgrow its max_size (-ENOSPC), and gets its host memory in the
 * commit: -ENOMEM if there is none, -ERANGE if its file is too short.
 */
void mpl_region_resize(struct mpl_txn *tx, struct mpl_region *region,
		       uint64_t size);
void mpl_region_set_alias_offset(struct mpl_txn *tx, struct mpl_region *alias,
				 uint64_t offset);
void mpl_region_set_readonly(struct mpl_txn *tx, struct mpl_region *region,
			     bool readonly);
void mpl_region_set_nonvolatile(struct mpl_txn *tx, struct mpl_region *region,
				bool nonvolatile);

/* ROM devices: reads are memory (true, the default) or callbacks. */
void mpl_region_set_rom_mode(struct mpl_txn *tx, struct mpl_region *region,
			     bool rom_mode);

/*
 * Dirty logging of one region by one client: starts and stops are counted
 * (a stop without a start is -EINVAL).
 */
void mpl_log_start(struct mpl_txn *tx, struct mpl_region *region,
		   enum mpl_log_client client);
void mpl_log_stop(struct mpl_txn *tx, struct mpl_region *region,
		  enum mpl_log_client client);

/*
 * Switch dirty logging for a client on or off in all regions of the plane
 * that take part in it.  Regions with memory take part in all clients' unless
 * told otherwise; others take part in none.
 */
void mpl_log_global(struct mpl_txn *tx, enum mpl_log_client client, bool on);
void mpl_log_take_part(struct mpl_txn *tx, struct mpl_region *region,
		       enum mpl_log_client client, bool takes_part);

/*
 * Doorbells.  A guest's write of `size` bytes (0: of any size; else 1, 2, 4
 * or 8) at `offset` of an io region, and if `match` only of the value `data`,
 * signals the eventfd `fd` instead of running the device's callback.  `data`
 * is in the region's byte order, as the write callback would get it.  The
 * library duplicates `fd` when this is called and closes its duplicate when
 * no reader can see it any more.  To delete, name the same values; `fd` is
 * compared by number with what was given to the add.
 */
struct mpl_ioeventfd {
	uint64_t offset;
	uint64_t data;
	unsigned int size;
	bool match;
	int fd;
};
void mpl_ioeventfd_add(struct mpl_txn *tx, struct mpl_region *region,
		       const struct mpl_ioeventfd *ioeventfd);
void mpl_ioeventfd_del(struct mpl_txn *tx, struct mpl_region *region,
		       const struct mpl_ioeventfd *ioeventfd);

/*
 * Coalesced ranges: writes there may be queued by a listener (KVM) and
 * delivered late.  No influence on views.  `size` as everywhere.
 */
void mpl_coalescing_add(struct mpl_txn *tx, struct mpl_region *region,
			uint64_t offset, uint64_t size);
void mpl_coalescing_clear(struct mpl_txn *tx, struct mpl_region *region);

#ifdef __cplusplus
}
#endif

#endif
