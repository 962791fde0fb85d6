/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An index by hash (rte_hash) of a region's doorbells, for tables with many.
 * This header hides DPDK's from all others.
 *
 * One hash serves a table and those that follow from it, each of which has a
 * version.  An entry says from which version on it is there, and before which
 * one it is gone:
 *
 *	entry			born	died
 *	offset 0		1	never
 *	offset 8		1	3	table 3 came without it
 *	offset 16		2	never	table 2 brought it
 *
 * so that readers of table 1 see the first two, of table 2 all three, of table
 * 3 the first and the last, all of them in one rte_hash: a change adds or marks
 * one entry, and no table that is in use gains or loses any.  An entry that no
 * table has any more leaves the rte_hash, and is freed a grace period later.
 *
 * A table that does not follow from the newest one (that was undone with its
 * transaction), or that no longer fits, gets a hash of its own.
 *
 * Threads: mpl_doorbell_hash_find() by readers, everything else on the control
 * side.  Needs a running EAL, like all of rte_hash.
 */
#ifndef MEMPLANE_DISPATCH_DOORBELL_HASH_H
#define MEMPLANE_DISPATCH_DOORBELL_HASH_H

#include "dispatch/doorbell.h"

/* Is there an EAL that rte_hash could allocate from? */
bool mpl_doorbell_hash_possible(void);

/*
 * Give `table` an index, if the plane wants one for as many doorbells: that
 * of `from` with one item more or less, or a new one.  Without an EAL, or
 * without room in its memory, the table has none: that is logged, counted, and
 * tried again when the table has twice as many.
 */
void mpl_doorbell_hash_join(struct mpl_data_plane *dp,
			    const struct mpl_doorbells *from,
			    struct mpl_doorbells *table,
			    const struct mpl_doorbell *item);
/* The table is seen by nobody any more. */
void mpl_doorbell_hash_leave(struct mpl_doorbells *table);

/* As mpl_bells_find(), in a table that has an index.  Data plane. */
const struct mpl_doorbell *
mpl_doorbell_hash_find(const struct mpl_doorbells *table,
		       const struct mpl_doorbell *key);

#endif
