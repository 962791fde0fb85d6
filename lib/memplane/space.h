/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address spaces: a root region seen as a whole ("memory", "I/O", one per bus
 * master), and the flat view that comes out.
 *
 * Address spaces whose effective root is the same (docs/topology.md) share
 * one flat view and one compiled map.
 */
#ifndef MEMPLANE_SPACE_H
#define MEMPLANE_SPACE_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the inline look-up needs to know; the rest is private. */
struct mpl_address_space {
	uint32_t slot; /* index into mpl_snapshot.view_of */
};

/*
 * Make an address space and publish it: a commit of its own, with the
 * context rules and the errors of mpl_commit(); -ENOSPC beyond
 * mpl_plane_config.max_spaces.  Holds a reference on `root`.
 */
int mpl_address_space_new(struct mpl_plane *plane, const char *name,
			  struct mpl_region *root,
			  struct mpl_address_space **out);

/*
 * End an address space: a commit of its own that removes every range from
 * its listeners and unregisters them.  No reader may use it any more.
 * Errors as mpl_commit(), -EBUSY while it has bounce buffers (dma.h) or is
 * attached to a VM (kvm.h), and then it still exists.
 */
int mpl_address_space_free(struct mpl_address_space *as);

const char *mpl_address_space_name(const struct mpl_address_space *as);

/* Do both show the same view (because their effective roots are equal)? */
bool mpl_address_space_shares(const struct mpl_address_space *a,
			      const struct mpl_address_space *b);

/* A range of a flat view, as listeners and the walks below see it. */
struct mpl_flat_range {
	uint64_t start; /* in the address space */
	uint64_t last;	/* inclusive */
	struct mpl_region *region;
	uint64_t offset; /* in the region, of `start` */
	bool readonly;
	bool nonvolatile;
	bool rom_mode;	    /* of the region; true but for ROM devices */
	uint8_t dirty_mask; /* bit per mpl_log_client */
	bool poisoned; /* broken host pages: mpl_ram_poison() */
};

/*
 * Walk the flat view in ascending order; a non-zero return of `fn` ends the
 * walk and is returned.  Control side: takes the plane's lock, so it waits
 * for a running commit; `fn` must not commit.  -EDEADLK from a listener or on
 * the control thread.
 */
int mpl_address_space_walk(struct mpl_address_space *as,
			   int (*fn)(void *arg,
				     const struct mpl_flat_range *range),
			   void *arg);

/* An ioeventfd of an address space. */
struct mpl_flat_ioeventfd {
	struct mpl_region *region;
	uint64_t gpa; /* absolute */
	uint64_t data;
	unsigned int size;
	bool match;
	/* All its bytes lie in the range; else no write can ring it there. */
	bool whole;
	int fd; /* the library's own duplicate, good until the next commit */
	int caller_fd; /* the number that the caller gave */
};
/*
 * Walk them: range by range in ascending order, within one by offset, size,
 * match and data.  One that two ranges show comes twice.  Otherwise as
 * mpl_address_space_walk().
 */
int mpl_address_space_walk_ioeventfds(
	struct mpl_address_space *as,
	int (*fn)(void *arg, const struct mpl_flat_ioeventfd *ev), void *arg);

#ifdef __cplusplus
}
#endif

#endif
