/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RAM blocks as the control plane sees them, and the plane's index of them.
 */
#ifndef MEMPLANE_LIB_RAM_H
#define MEMPLANE_LIB_RAM_H

#include <pthread.h>

#include <memplane/ram.h>
#include <memplane/region.h>

#include "lib/base/interval.h"
#include "lib/base/list.h"
#include "lib/base/spans.h"
#include "lib/ram_space.h"

struct mpl_plane;

struct mpl_ram_block {
	struct mpl_region *region;

	/* Constant once the region is made. */
	enum mpl_ram_backing backing;
	uint32_t flags;
	uint8_t *host;
	uint64_t page_size;
	uint64_t page_wished;
	uint64_t numa_nodes;
	enum mpl_numa_policy numa_policy;
	uint64_t ram_address;
	uint64_t fd_offset;
	int fd; /* -1: none */
	bool shared;
	bool wants_prealloc;
	char refused[256];

	/* Address space with the guards; NULL: it is the caller's. */
	void *reservation;
	uint64_t reserved; /* its length */

	uint64_t max; /* bytes from host on that are set aside */

	/* Written on the control side; it grows while others look at it. */
	uint64_t used;     /* bytes from host on that are accessible */
	uint64_t limit;    /* to what it can grow: max, or less */
	bool preallocated; /* relaxed */

	/* Held while listeners are called: never taken on the control side.
	 * Recursive use is an error. */
	pthread_mutex_t mutex;
	struct mpl_spans discarded;
	struct mpl_link listeners;

	/* Under mpl_ram.mutex. */
	struct mpl_interval by_host;
	struct mpl_interval by_address;
	struct mpl_ram_block **slot;
};

/*
 * [B22] acquire; pairs with [B22] in mpl_ram_map_quietly(): what is used has
 * been mapped.
 */
static inline uint64_t mpl_ram_used(const struct mpl_ram_block *block)
{
	return __atomic_load_n(&block->used, __ATOMIC_ACQUIRE);
}

static inline void mpl_ram_set_preallocated(struct mpl_ram_block *block,
					    bool preallocated)
{
	__atomic_store_n(&block->preallocated, preallocated, __ATOMIC_RELAXED);
}

#define MPL_RAM_FAULTS 64
#define MPL_RAM_SLOTS  62

/* Blocks as a signal handler finds them: slots that are never moved. */
struct mpl_ram_slots {
	struct mpl_ram_slots *next;
	struct mpl_ram_block *slot[MPL_RAM_SLOTS];
};

/* All blocks of a plane. */
struct mpl_ram {
	pthread_mutex_t mutex;
	struct mpl_interval_tree by_host;
	struct mpl_interval_tree by_address;
	struct mpl_ram_space space;

	struct mpl_ram_slots *slots;
	struct {
		struct mpl_ram_block ***items; /* room for all slots */
		size_t count;
		size_t capacity;
	} vacant;
	size_t slot_count;
	uint32_t looking; /* signal handlers that look at slots */
	uintptr_t faults[MPL_RAM_FAULTS]; /* poisoned pages; 0: free */
};

int mpl_ram_init(struct mpl_ram *ram);
void mpl_ram_destroy(struct mpl_ram *ram);

/*
 * Find a ram address, and make the block known.  Errors: -ENOMEM, -EEXIST (its
 * host memory or its ram address overlaps another block's), -ENOSPC.
 */
int mpl_ram_index_add(struct mpl_plane *plane, struct mpl_ram_block *block);
/* Waits for signal handlers that are looking at it. */
void mpl_ram_index_remove(struct mpl_plane *plane, struct mpl_ram_block *block);

/* A sentence about a block to the plane's log; returns `err`. */
int mpl_ram_refuse(const struct mpl_ram_block *block, int err,
		   const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same as a warning. */
void mpl_ram_warn(const struct mpl_ram_block *block, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Get pages for [0, size) as configured, and the reservation. */
int mpl_ram_open(struct mpl_ram_block *block,
		 const struct mpl_ram_config *config);
/* Make [block->used, to) accessible as well. */
int mpl_ram_map(struct mpl_ram_block *block, uint64_t to);
void mpl_ram_close(struct mpl_ram_block *block);

/* Allocate pages of accessible memory: mpl_ram_preallocate(). */
int mpl_ram_populate_pages(struct mpl_ram_block *block, uint64_t offset,
			   uint64_t len, const struct mpl_ram_prealloc *how);

/* Is it a range of accessible memory that is not empty? */
bool mpl_ram_has(const struct mpl_ram_block *block, uint64_t offset,
		 uint64_t len);

/* Give pages back to the host.  Errors: -ENOTSUP, -errno. */
int mpl_ram_drop(const struct mpl_ram_block *block, uint64_t offset,
		 uint64_t len);
/* The region goes: its listeners' registrations are freed. */
void mpl_ram_forget_listeners(struct mpl_ram_block *block);

/* Bind to nodes.  Errors: -EINVAL for a node that is not there, -errno. */
int mpl_ram_bind(const struct mpl_ram_block *block, uint64_t offset,
		 uint64_t len);

#endif
