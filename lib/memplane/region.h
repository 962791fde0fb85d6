/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory regions: the nodes of the topology.
 *
 * A region is made outside any transaction and is seen by nobody until a
 * transaction (txn.h) attaches it below the root of an address space.  It is
 * reference counted: the maker holds one reference, so does a parent, an
 * alias, a transaction that names it, and every published section.  When the
 * last goes, `release` runs once, on whichever thread noticed it (the control
 * thread, or in a plane without one whoever commits, reclaims or unrefs).
 *
 * All functions here may be called from any thread.
 */
#ifndef MEMPLANE_REGION_H
#define MEMPLANE_REGION_H

#include "ram.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum mpl_region_kind {
	MPL_CONTAINER,	/* nothing of its own; transparent where no child is */
	MPL_IO,		/* callbacks */
	MPL_RAM,	/* memory */
	MPL_ROM,	/* memory that the guest cannot write */
	MPL_ROM_DEVICE, /* reads are memory, writes callbacks; or both callbacks */
	MPL_RAM_DEVICE, /* mapped device memory, accessed with the exact size */
	MPL_ALIAS,	/* a window onto another region */
	MPL_IOMMU,	/* translates into another address space */
};

/* Which access sizes, in bytes, and whether unaligned ones too. */
struct mpl_access_sizes {
	uint8_t min; /* power of two to 8; 0: 1 */
	uint8_t max; /* power of two to 8; 0: no bound (valid), 4 (impl) */
	bool unaligned;
};

enum mpl_concurrency {
	MPL_SERIALISED, /* the library takes the device's own lock around it */
	MPL_LOCK_FREE,	/* callbacks may run on several threads at once */
	MPL_CALLER_LOCK, /* as lock-free: the callbacks lock by themselves */
};

/*
 * A device's callbacks.  They run on the reader's thread; one that makes accesses
 * itself does so with that reader: mpl_access_reader().  `offset` is
 * relative to the region, `size` is 1, 2, 4 or 8 and within `impl`; `value`
 * holds the access's bytes as a number in the device's byte order.
 *
 * Return MPL_OK or a mask of mpl_result.  A NULL `read` or `write` is an
 * access error.
 */
struct mpl_io_ops {
	mpl_result_t (*read)(void *opaque, uint64_t offset, unsigned int size,
			     struct mpl_attrs attrs, uint64_t *value);
	mpl_result_t (*write)(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t value);

	/* May refuse an access (then an access error); NULL accepts all. */
	bool (*accepts)(void *opaque, uint64_t offset, unsigned int size,
			bool is_write, struct mpl_attrs attrs);

	/*
	 * `valid` is what the guest may do: larger and (unless allowed)
	 * unaligned accesses are split into aligned pieces that are valid; a
	 * piece that is smaller than valid.min is an access error.
	 * `impl` is what the callbacks can take: the library splits further,
	 * or reads wider and picks the bytes asked for; a write that is
	 * narrower than impl.min is widened with zeros.
	 */
	struct mpl_access_sizes valid;
	struct mpl_access_sizes impl;

	enum mpl_endian endian;
	enum mpl_concurrency concurrency;

	/* The callbacks may make accesses that come back to this device. */
	bool reentrant;
};

/*
 * Constructors.  `name` is copied and may be NULL.  `size` in bytes,
 * UINT64_MAX means 2^64; zero is allowed and shows nothing.  `ops` must
 * outlive the region (until `release`).  On success *out holds one reference
 * of the caller's.
 *
 * Errors: -ENOMEM, -EINVAL (ops with impossible sizes; memory larger than the
 * process could map; an alias of a region of another plane), -E2BIG for an
 * alias whose target is nested deeper than MPL_DEPTH_MAX - 1.  With memory
 * also (and a line in the log says what to do): -ENOMEM (too few huge pages),
 * -EINVAL (a path that is on no hugetlbfs though huge pages are wished for, a
 * NUMA node that is not there, choices that do not go together), -ERANGE (a file
 * that is too short), -EEXIST (host memory that another region has, or a ram
 * address that another one has), -ECANCELED (preallocation), -errno (of the path
 * or fd).
 */
int mpl_region_new_container(struct mpl_plane *plane, const char *name,
			     uint64_t size, struct mpl_region **out);
int mpl_region_new_io(struct mpl_plane *plane, const char *name, uint64_t size,
		      const struct mpl_io_ops *ops, void *opaque,
		      struct mpl_region **out);
int mpl_region_new_ram(struct mpl_plane *plane, const char *name,
		       uint64_t size, const struct mpl_ram_config *config,
		       struct mpl_region **out);
int mpl_region_new_rom(struct mpl_plane *plane, const char *name,
		       uint64_t size, const struct mpl_ram_config *config,
		       struct mpl_region **out);
int mpl_region_new_rom_device(struct mpl_plane *plane, const char *name,
			      uint64_t size,
			      const struct mpl_ram_config *config,
			      const struct mpl_io_ops *ops, void *opaque,
			      struct mpl_region **out);
int mpl_region_new_ram_device(struct mpl_plane *plane, const char *name,
			      uint64_t size,
			      const struct mpl_ram_config *config,
			      struct mpl_region **out);
int mpl_region_new_alias(struct mpl_plane *plane, const char *name,
			 struct mpl_region *target, uint64_t offset,
			 uint64_t size, struct mpl_region **out);
/* mpl_region_new_iommu() is in iommu.h. */

/*
 * Set before the region is attached for the first time; not synchronised.
 * `release` runs once when nothing refers to the region any more; it may free
 * what `opaque` and `ops` point at, must not touch the region, and must not
 * commit synchronously (-EDEADLK).
 */
void mpl_region_on_release(struct mpl_region *region,
			   void (*release)(void *opaque), void *opaque);

/* Never merge this region's ranges with their neighbours. */
void mpl_region_set_unmergeable(struct mpl_region *region, bool unmergeable);

void mpl_region_ref(struct mpl_region *region);
/* Drop one reference.  NULL is fine. */
void mpl_region_unref(struct mpl_region *region);

/*
 * Wait until a detached region is out of every published snapshot and no
 * access to it is in flight.
 *
 * Errors: -EDEADLK inside an access, on the control thread, or while a reader
 * of the calling thread is online; -EBUSY if the region is attached to a
 * parent, or an address space shows it through an alias or as its root.
 */
int mpl_region_drain(struct mpl_region *region);

const char *mpl_region_name(const struct mpl_region *region);
enum mpl_region_kind mpl_region_kind(const struct mpl_region *region);
/* Host address of offset 0, or NULL for kinds without memory. */
void *mpl_region_host(const struct mpl_region *region);
/*
 * Size in bytes of the host pages that are really behind the region's memory,
 * as the kernel says: 4 KiB at least, more with huge pages (transparent ones
 * do not count: the kernel may split them).  0 without memory in this process.
 */
uint64_t mpl_region_page_size(const struct mpl_region *region);
/* The `opaque` of the constructor, or NULL. */
void *mpl_region_opaque(const struct mpl_region *region);
/* Size as of the last commit; UINT64_MAX is 2^64. */
uint64_t mpl_region_size(const struct mpl_region *region);

#ifdef __cplusplus
}
#endif

#endif
