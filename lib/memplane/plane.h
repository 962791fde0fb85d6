/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plane is all state of one virtual machine's memory map.  There is no
 * global state; two planes in one process never meet.
 */
#ifndef MEMPLANE_PLANE_H
#define MEMPLANE_PLANE_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum mpl_log_level { MPL_LOG_ERROR, MPL_LOG_WARNING, MPL_LOG_INFO };

struct mpl_plane_config {
	/* How many readers may be registered at once; 0: 64. */
	unsigned int max_readers;

	/* Address spaces that may exist at once; 0: 4096. */
	unsigned int max_spaces;

	/*
	 * Run the commit pipeline in a thread of the plane's own.  Without
	 * it, mpl_commit() runs the pipeline in the caller's thread, and
	 * nothing is reclaimed except by commits and by mpl_reclaim().
	 */
	bool control_thread;

	/*
	 * Every commit renders every view anew, and compiles those that differ
	 * from nothing.  For debugging: the result is the same, only slower.
	 */
	bool full_rebuild;

	/*
	 * After every commit compare the published maps with the views, and
	 * the incremental views with a full render; a difference fails the
	 * commit with -EUCLEAN.  For tests: costs a full render.
	 */
	bool verify;

	/*
	 * Readers see nodes and sections through a mapping that cannot be
	 * written: proves that look-ups store nothing there.  For tests; it
	 * does without huge pages.
	 */
	bool readonly_view;

	/*
	 * The effective-root and root-position rules of recorded traces
	 * (docs/topology.md) instead of this library's own.
	 */
	bool trace_rules;

	/*
	 * Radix nodes that have few sections are packed (dispatch.h) in a
	 * plane with more than this many nodes: fewer are all in the
	 * first-level cache, and faster plain.  0: 128.  For tests and
	 * measurements.
	 */
	unsigned int plain_nodes;

	/*
	 * Memory that waits for readers to become quiescent is bounded by
	 * this many bytes; commits that add are refused with -EAGAIN beyond
	 * it.  0: 256 MiB.
	 */
	uint64_t retired_max;

	/*
	 * A reader that holds reclamation back for longer is named in the
	 * log and in the statistics, in milliseconds; 0: 1000.
	 */
	unsigned int stall_ms;

	/*
	 * A region with at least this many doorbells (txn.h) gets an rte_hash
	 * for them, in which a write finds its doorbell, beside the sorted
	 * arrays; 0, the default: none.  It pays from some 256 on, for a device
	 * whose other registers are written as well (docs/bench.md, doorbell).
	 * Hashes are made from the memory of the EAL that runs in the process,
	 * the application's or mpl_eal_start()'s.  Where there is none, or its
	 * memory does not suffice, the arrays are used; that is logged once
	 * and counted (mpl_plane_stats.doorbell_hashes_refused), no error.
	 * An EAL with hashes of this plane's in it must outlive the plane.
	 */
	unsigned int hash_doorbells;

	/* What a read of an address with nothing behind it yields; the
	 * default, when `unassigned_set` is false, is 0xff. */
	uint8_t unassigned_byte;
	bool unassigned_set;

	/*
	 * Receives log lines without newline; NULL: they are dropped.  Called
	 * from any thread that calls the library; must not call it back.
	 */
	void (*log)(void *opaque, enum mpl_log_level level, const char *line);
	void *log_opaque;
};

/*
 * Create a plane.  `config` may be NULL for the defaults and is not kept.
 *
 * Errors: -ENOMEM, -EINVAL (a limit out of range), -EPROTO (the caller was
 * compiled for another MPL_LAYOUT), -EAGAIN (no thread could be started).
 */
#define mpl_plane_new(out, /* config */...) \
	mpl_plane_new_layout((out), (__VA_ARGS__), MPL_LAYOUT)
int mpl_plane_new_layout(struct mpl_plane **out,
			 const struct mpl_plane_config *config,
			 unsigned int layout);

/*
 * Destroy a plane: queued commits are carried out or refused, the control
 * thread ends, every region's `release` runs.  No reader may be registered
 * and no other call may be running; address spaces, listeners and regions
 * that are left are freed with it.  NULL is fine.
 *
 * Errors: -EBUSY while readers are registered, something is mapped (dma.h) or
 * attached to a VM (kvm.h), and nothing happened.
 */
int mpl_plane_free(struct mpl_plane *plane);

/*
 * Free what was retired and is no longer seen by any reader.  Never waits for
 * one.  Any thread; inside a callback it does nothing.  Returns the number of
 * bytes that are still pending.
 */
uint64_t mpl_reclaim(struct mpl_plane *plane);

/*
 * Wait until every reader that is online now has been quiescent once, and
 * reclaim.  -EDEADLK inside an access or on the control thread; a reader of
 * the calling thread must be offline (also -EDEADLK).
 */
int mpl_synchronize(struct mpl_plane *plane);

/* Generation of the snapshot that is published now.  Any thread. */
uint64_t mpl_plane_generation(const struct mpl_plane *plane);

#ifdef __cplusplus
}
#endif

#endif
