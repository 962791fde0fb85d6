/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All state of the data plane of one virtual machine: where nodes, sections
 * and snapshots live, who reads them, and what waits to be freed.
 */
#ifndef MEMPLANE_DISPATCH_DATA_PLANE_H
#define MEMPLANE_DISPATCH_DATA_PLANE_H

#include <pthread.h>

#include <memplane/dispatch.h>
#include <memplane/stats.h>

#include "dispatch/rcu.h"
#include "lib/base/arena.h"
#include "lib/base/log.h"
#include "lib/base/vector.h"

/* Counters of accesses per device: dispatch/count.h. */
#define MPL_COUNT_CHUNKS 64
#define MPL_COUNT_CHUNK 1024

struct mpl_device;
struct mpl_mapped;
struct mpl_retired;
struct mpl_reader_state;

/* What the control side notes of a node; readers never look. */
struct mpl_node_note {
	uint64_t base;	/* lowest address of the block that it divides */
	uint64_t epoch; /* compile that made it: that one may still write it */
};

struct mpl_reader_slot {
	struct mpl_reader_state *reader; /* NULL: free */
	uintptr_t thread;
};

/* Device locks: who waits for what, only touched when somebody waits. */
struct mpl_waits {
	pthread_mutex_t mutex;
	pthread_cond_t released;
};

/*
 * So many nodes of 256 bytes, of which a look-up touches a quarter, are in the
 * first-level cache, where packed ones would only cost more instructions.
 */
#define MPL_PLAIN_NODES 128

struct mpl_data_plane {
	/* Read by readers, written by publish only; on a pair of lines of its
	 * own, since processors fetch lines in pairs. */
	const struct mpl_snapshot *published __attribute__((aligned(128)));
	uint64_t generation; /* its generation */
	uint64_t announced;  /* the same, but stored before `published` */

	/* Control side. */
	struct mpl_arena nodes __attribute__((aligned(128)));
	struct mpl_arena notes; /* parallel to nodes */
	struct mpl_arena leaves;
	struct mpl_arena sections;
	uint64_t epoch;
	uint64_t stamp; /* last one given to a root */
	uint64_t nodes_made;
	uint32_t plain_nodes; /* leaves of as many are not packed; set before
			       * init, 0: MPL_PLAIN_NODES */

	struct mpl_retired *retired_first; /* oldest */
	struct mpl_retired *retired_last;
	uint64_t retired_bytes;
	uint64_t retired_peak;
	uint64_t retired_total;

	struct mpl_device *lingering; /* dispatch/mapped.h */

	/* Readers. */
	struct mpl_rcu *rcu;
	pthread_mutex_t readers_mutex;
	struct mpl_reader_slot *readers;
	uint32_t readers_max;  /* for registered ones */
	uint32_t readers_size; /* with the spare ones above */
	uint32_t readers_high; /* slots ever used */
	uint32_t readers_live;
	struct mpl_reader_stats gone; /* sums of readers that left */
	uint64_t *gone_counts[MPL_COUNT_CHUNKS];
	struct mpl_mapped *gone_mapped[MPL_COUNT_CHUNKS];
	struct mpl_indexes numbers_free; /* of devices: dispatch/count.h */
	uint32_t numbers_used;
	uint64_t iommus_made;
	struct mpl_waits waits;

	/* Doorbells: dispatch/doorbell_hash.h. */
	uint32_t hash_doorbells; /* a hash for as many or more; 0: none */
	uint64_t hashes;	 /* in use */
	uint64_t hashes_refused;

	/* Stalls. */
	uint64_t stall_ns;
	uint64_t stalls;
	uint64_t stall_token; /* the grace period last complained about */
	char stalled_reader[32];

	uint8_t unassigned_byte;
	bool readonly_view; /* set before init: readers cannot write arenas */
	struct mpl_log log;
};

/* Errors: -ENOMEM, -EINVAL. */
int mpl_data_plane_init(struct mpl_data_plane *dp, unsigned int max_readers,
			unsigned int spare_readers);
/* No readers may be left; everything that waits is freed. */
void mpl_data_plane_destroy(struct mpl_data_plane *dp);

uint64_t mpl_now_ns(void);

#endif
