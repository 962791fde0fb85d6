/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Statistics.  Counters of a reader are written by its thread only and read
 * at any time, so that a set of them is not one moment's.  Reading the plane's
 * waits for a commit that is running; no reader is ever stopped.
 */
#ifndef MEMPLANE_STATS_H
#define MEMPLANE_STATS_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mpl_plane_stats {
	uint64_t generation;
	uint64_t commits;	  /* transactions that took effect */
	uint64_t commits_failed;
	uint64_t batches;	  /* renders; commits / batches = batch size */
	uint64_t batch_max;
	uint64_t intervals;	  /* rendered anew, over all batches */
	uint64_t ranges_rendered;
	uint64_t ranges_added;
	uint64_t ranges_removed;
	uint64_t views_built;	  /* views rendered from nothing */
	uint64_t nodes_copied;	  /* radix nodes made */
	uint64_t nodes_live;	  /* in use or waiting */
	uint64_t sections_live;
	uint64_t retired_bytes;	  /* waiting for readers now: nodes,
				   * sections and snapshots, without the
				   * lists that name them */
	uint64_t retired_bytes_peak;
	uint64_t retired_bytes_total;
	uint64_t retired_age_ns;  /* of the oldest that waits; 0: none */
	uint64_t readers;	  /* also those behind mpl_plane_read() */
	uint64_t spaces;
	uint64_t views;
	uint64_t regions;
	uint64_t doorbell_hashes; /* in use: mpl_plane_config.hash_doorbells */
	uint64_t doorbell_hashes_refused; /* the arrays were used instead */
	uint64_t decode_errors;	  /* summed over readers that exist or did */
	uint64_t access_errors;
	uint64_t stalls;	  /* readers named for stalling reclamation */
	char stalled_reader[32];  /* the last one; "" for none */
};

struct mpl_reader_stats {
	char name[32];
	uint64_t misses;	/* look-ups that walked the radix */
	uint64_t hits;		/* answered by a cache slot; those that the
				 * last section answered are not counted:
				 * that would take a third as long again */
	uint64_t reads;		/* mpl_read, mpl_load, mpl_plane_read */
	uint64_t writes;
	uint64_t decode_errors;
	uint64_t access_errors;
	uint64_t reentries;	/* refused: a device came back to itself */
	uint64_t lock_cycles;	/* refused: devices wait for each other */
	uint64_t doorbells;	/* eventfds signalled */
};

/*
 * Accesses that reached the region's callbacks, or rang one of its doorbells,
 * by all readers that are or were.  Counted for the first 65,535 regions that
 * exist at once; 0 for others.  Any thread.
 */
uint64_t mpl_region_accesses(const struct mpl_region *region);

/* Any thread. */
void mpl_plane_stats(struct mpl_plane *plane, struct mpl_plane_stats *out);
/* Any thread, while the reader is registered. */
void mpl_reader_stats(const struct mpl_reader *reader,
		      struct mpl_reader_stats *out);

#ifdef __cplusplus
}
#endif

#endif
