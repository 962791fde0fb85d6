/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty tracking: which pages of a region were written since somebody asked.
 *
 * Each client (enum mpl_log_client) has a log of its own in each region with
 * memory: a bit for every MPL_DIRTY_PAGE bytes, by offset in the region, so
 * that all aliases of a region share its bits.  Pages are marked
 *
 *   - by accesses (mpl_write(), mpl_store() and their kin), after the store;
 *   - where a host pointer for writing was given out (mpl_translate(), bursts,
 *     windows): when the pointer loses its validity, that is after the stores;
 *   - by mpl_dirty_mark() and mpl_dirty_merge(), for writes that nobody here
 *     can see: a device's own, KVM's log.
 *
 * A migration:
 *
 *     mpl_dirty_set_new(pages, &set);
 *     mpl_dirty_start(plane, NULL, MPL_LOG_MIGRATION);   everything is dirty
 *     do {
 *             mpl_dirty_sync(plane);                     KVM's log comes in
 *             mpl_dirty_snapshot_clear(region, MPL_LOG_MIGRATION, 0,
 *                                      UINT64_MAX, set);
 *             for (at = 0; mpl_dirty_set_next(set, at, &page, &count);
 *                  at = page + count)
 *                     send(page, count);                 read it only now
 *             mpl_dirty_set_clear(set);
 *     } while (much is left);
 *     stop the writers; mpl_synchronize(plane); once more the same
 *     mpl_dirty_stop(plane, NULL, MPL_LOG_MIGRATION);
 *
 * What is written while a snapshot is taken is either in memory when the
 * snapshot returns, or its page is marked for the next: docs/dirty.md.
 */
#ifndef MEMPLANE_DIRTY_H
#define MEMPLANE_DIRTY_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes that one bit stands for, on every host. */
#define MPL_DIRTY_PAGE 4096

/* Regions up to this many bytes have logs; beyond it calls are -E2BIG. */
#define MPL_DIRTY_MAX (UINT64_C(1) << 47)

/*
 * A set of pages: a bitmap with two levels of summary (a bit for 64 pages, a
 * bit for 4096), of which only what is used takes memory.  Belongs to one
 * thread at a time.
 */
struct mpl_dirty_set;

/*
 * An empty set for pages 0 .. pages - 1.
 * Errors: -EINVAL (no pages), -E2BIG (more than MPL_DIRTY_MAX bytes have),
 * -ENOMEM.
 */
int mpl_dirty_set_new(uint64_t pages, struct mpl_dirty_set **out);
/* NULL is fine. */
void mpl_dirty_set_free(struct mpl_dirty_set *set);

/*
 * The first run of pages in the set at or after `from`: *page, and how many
 * from there are in it without a gap.  False: there is none.
 */
bool mpl_dirty_set_next(const struct mpl_dirty_set *set, uint64_t from,
			uint64_t *page, uint64_t *count);

/* How many pages are in it. */
uint64_t mpl_dirty_set_count(const struct mpl_dirty_set *set);

/* Take out pages page .. page + count - 1; beyond the end there are none. */
void mpl_dirty_set_remove(struct mpl_dirty_set *set, uint64_t page,
			  uint64_t count);
/* Take out all. */
void mpl_dirty_set_clear(struct mpl_dirty_set *set);

/*
 * As a plain bitmap: bit i % 64 of bitmap[i / 64] is page `page` + i, for
 * `pages` pages; what is left of the last word is 0.
 */
void mpl_dirty_set_bitmap(const struct mpl_dirty_set *set, uint64_t page,
			  uint64_t pages, uint64_t *bitmap);

/*
 * The calls below: any thread, also inside accesses.  `offset` and `len` in
 * bytes; pages that are touched in part count as a whole.  A `len` of
 * UINT64_MAX reaches to the end.
 *
 * Errors of all: -EINVAL (the region has no memory, no such client), -ERANGE
 * (beyond the region's greatest size), -E2BIG (more than MPL_DIRTY_MAX).
 */

/*
 * Something was written: mark for every client that logs the region now, a
 * few instructions if none does.  Call it after the store.
 */
int mpl_dirty_mark(struct mpl_region *region, uint64_t offset, uint64_t len);

/*
 * Merge a bitmap from outside, for every client that logs the region now: bit
 * i % 64 of the little-endian word bitmap[i / 64] is the page at `offset` + i *
 * MPL_DIRTY_PAGE, which is how KVM_GET_DIRTY_LOG gives it.  -EINVAL also if
 * `offset` is not that of a page.
 */
int mpl_dirty_merge(struct mpl_region *region, uint64_t offset,
		    const uint64_t *bitmap, uint64_t pages);

/*
 * Take a client's marks in the range and add them to `into` (which has the
 * region's page numbers): one step, in which no write is lost.  Read the
 * memory after it returns.  Two threads that take the same client's marks
 * share them out among each other.  A client that does not log any more has
 * what was left; one that never did has nothing.
 *
 * -ERANGE also if `into` is too small for the range.
 */
int mpl_dirty_snapshot_clear(struct mpl_region *region,
			     enum mpl_log_client client, uint64_t offset,
			     uint64_t len, struct mpl_dirty_set *into);

/* Is a page of the range marked?  Nothing is changed. */
int mpl_dirty_test(struct mpl_region *region, enum mpl_log_client client,
		   uint64_t offset, uint64_t len, bool *dirty);

/* How many pages of the whole region are marked. */
int mpl_dirty_count(struct mpl_region *region, enum mpl_log_client client,
		    uint64_t *pages);

/*
 * Start a client's log in a region, or with `region` NULL in all that take
 * part in it (mpl_log_take_part()), and wait until it is complete.  A commit
 * alone does not do that: a writer that looked its section up before may still
 * store without a mark.  So this commits, waits for the readers as
 * mpl_synchronize() does, and then marks all that there is, for what was
 * written before is in no log either.  A `region`'s starts are counted.
 *
 * Errors: as mpl_commit() (nothing has started), -EDEADLK as
 * mpl_synchronize(), -EINVAL, -E2BIG.
 */
int mpl_dirty_start(struct mpl_plane *plane, struct mpl_region *region,
		    enum mpl_log_client client);

/*
 * Stop it: a commit, whose errors it has.  Marks that nobody took stay, and
 * writers in flight may add some, until a start marks everything anew.
 */
int mpl_dirty_stop(struct mpl_plane *plane, struct mpl_region *region,
		   enum mpl_log_client client);

/*
 * Fetch what others have logged: runs the `log_sync` callback of every
 * listener (listener.h) for each of its ranges that is logged.  Context as
 * mpl_commit().  A failure does not keep the rest from being fetched; the
 * first one is returned, and -ENOTRECOVERABLE for a listener that is
 * degraded.
 */
int mpl_dirty_sync(struct mpl_plane *plane);

#ifdef __cplusplus
}
#endif

#endif
