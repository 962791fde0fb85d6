/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RAM blocks: the host memory behind regions of the kinds that have memory.
 *
 *     reservation, no access but to the part that is used
 *     +-------+-----------------------------+-----------------+-------+
 *     | guard | used: mapped, accessible    | up to max_size  | guard |
 *     +-------+-----------------------------+-----------------+-------+
 *             ^ host, aligned to the page size; with transparent huge
 *               pages to 2 MiB
 *
 * A block gets its pages from anonymous memory, from a memfd, from a file (on
 * hugetlbfs, for example) or from the caller.  Wished for is a list of page
 * sizes, in order; what was got is in mpl_ram_query(), with the reasons why
 * earlier wishes were refused, and these reasons are logged.  If no wish can
 * be fulfilled the region is not made: put 4 KiB last if any page will do.
 *
 * Huge pages come from pools that must be filled before: tools/mpl-hugepages,
 * docs/hugepages.md.
 *
 * All functions may be called from any thread unless they say otherwise.
 */
#ifndef MEMPLANE_RAM_H
#define MEMPLANE_RAM_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mpl_flat_range;

enum mpl_ram_backing {
	/* Private memory; if it is to be of huge pages, as MPL_RAM_MEMFD. */
	MPL_RAM_ANONYMOUS,
	/* A memfd, which other processes can map. */
	MPL_RAM_MEMFD,
	/* `path`: a directory (in which a file without a name is made; the
	 * mount point of a hugetlbfs for huge pages) or a file. */
	MPL_RAM_PATH,
	/* `fd`, from `fd_offset` on; duplicated. */
	MPL_RAM_FD,

	/* In reports only: `host` or `unbacked` was set. */
	MPL_RAM_CALLER,
	MPL_RAM_UNBACKED,
};

enum mpl_ram_flags {
	MPL_RAM_NO_THP = 1 << 0,   /* no transparent huge pages, please */
	MPL_RAM_DONTFORK = 1 << 1, /* children do not inherit it */
	MPL_RAM_DONTDUMP = 1 << 2, /* left out of core dumps */
	/* The kernel may merge equal pages (KSM): private memory only. */
	MPL_RAM_MERGEABLE = 1 << 3,
	/* Map huge pages without setting them aside.  Then touching one when
	 * there is none left is a SIGBUS. */
	MPL_RAM_NORESERVE = 1 << 4,
	/* MPL_RAM_PATH, MPL_RAM_FD: changes stay in this process. */
	MPL_RAM_PRIVATE = 1 << 5,
	/* MPL_RAM_PATH: make the file if it is not there, and make it longer
	 * if it is too short. */
	MPL_RAM_CREATE = 1 << 6,
	/* `ram_address` is where it has to be. */
	MPL_RAM_AT_ADDRESS = 1 << 7,
};

enum mpl_numa_policy {
	MPL_NUMA_BIND,       /* from these nodes only */
	MPL_NUMA_PREFERRED,  /* from the lowest of them, as long as it can */
	MPL_NUMA_INTERLEAVE, /* from these nodes in turn */
};

/* How to preallocate. */
struct mpl_ram_prealloc {
	/* Threads that do it, the calling one among them; 0 in an
	 * mpl_ram_config: do not, else: 1.  At most 256. */
	unsigned int threads;

	/*
	 * May be NULL.  Called on the calling thread, between its chunks and
	 * once at the end: so many bytes of so many are there.  False cancels
	 * (-ECANCELED).
	 */
	bool (*progress)(void *opaque, uint64_t done, uint64_t total);
	void *opaque;
};

#define MPL_RAM_WISHES 4

struct mpl_ram_config {
	/* The caller's memory, at least the region's size (or `max_size`),
	 * valid until `release`; NULL: the library finds some. */
	void *host;

	/* Host address space set aside, and the greatest size that the region
	 * can be given (also if unbacked); 0: its size. */
	uint64_t max_size;

	/* No host address exists in this process (for example private guest
	 * memory): look-ups find it, accesses are access errors. */
	bool unbacked;

	enum mpl_ram_backing backing;
	uint32_t flags; /* mask of mpl_ram_flags */

	/*
	 * Page sizes in bytes, the most wanted first, ended by 0 or by the
	 * array.  None: 4 KiB pages, or for a file those of its file system.
	 * With 4 KiB pages transparent huge ones are asked for (madvise), which
	 * the kernel gives and takes as it likes: they are not reported.
	 */
	uint64_t page_sizes[MPL_RAM_WISHES];

	const char *path;   /* MPL_RAM_PATH; used during the call */
	int fd;             /* MPL_RAM_FD; stays the caller's */
	uint64_t fd_offset; /* multiple of the page size; PATH, FD */

	/* Nodes to take memory from, as a mask; 0: the process's policy. */
	uint64_t numa_nodes;
	enum mpl_numa_policy numa_policy;

	/* Preallocate in the constructor, and what a resize adds in the commit
	 * (by one thread, without progress). */
	struct mpl_ram_prealloc prealloc;

	/* With MPL_RAM_AT_ADDRESS: multiple of the page size. */
	uint64_t ram_address;
};

#define MPL_RAM_NO_ADDRESS UINT64_MAX

/* What a block is. */
struct mpl_ram_info {
	const char *name; /* of the region */
	enum mpl_ram_backing backing;
	uint32_t flags; /* as configured */

	void *host;        /* NULL: unbacked, or empty */
	uint64_t size;     /* of the region */
	uint64_t max_size; /* it can grow to */
	/* Bytes from `host` on that may be accessed: the greatest size that it
	 * ever had, in whole pages. */
	uint64_t accessible;

	uint64_t page_wished; /* first of the list; 0: no wish */
	uint64_t page_size;   /* got: mpl_region_page_size() */
	/* Why earlier wishes were not fulfilled, as a sentence; "" if they
	 * were.  Valid as long as the region. */
	const char *refused;

	/*
	 * What another process maps to see the same memory; -1: it cannot.
	 * Stays the library's: duplicate it, or send it (SCM_RIGHTS).  A memfd
	 * is sealed against shrinking, and against growing too if it may not.
	 */
	int fd;
	uint64_t fd_offset; /* in fd, of `host` */

	/* In the plane's space of ram addresses: never changes, no two blocks
	 * overlap.  MPL_RAM_NO_ADDRESS if there is no host memory. */
	uint64_t ram_address;

	uint64_t numa_nodes; /* bound to; 0: not */
	bool preallocated;   /* all that is accessible was, at some time */
};

/* Errors: -EINVAL (a region of a kind without memory). */
int mpl_ram_query(const struct mpl_region *region, struct mpl_ram_info *out);

/*
 * Which region has this host address, or this ram address?  Takes a
 * reference on *region, for the caller to drop; the reserved part beyond what
 * is accessible counts.  O(log n) of the blocks.
 *
 * Errors: -ENOENT.
 */
int mpl_ram_at_host(struct mpl_plane *plane, const void *host,
		    struct mpl_region **region, uint64_t *offset);
int mpl_ram_at_address(struct mpl_plane *plane, uint64_t ram_address,
		       struct mpl_region **region, uint64_t *offset);

/*
 * Where an address space shows [offset, offset + len) of a region with host
 * memory: calls `fn` for each place, clipped to that, in ascending order of
 * offset; a non-zero return ends the walk and is returned.  The first call
 * for a view builds an index, which is kept up from then on: O(log n) of the
 * view's ranges plus what is found.
 *
 * Control side, as mpl_address_space_walk(): takes the plane's lock; `fn` must
 * not commit.  Errors: -EDEADLK from a listener or on the control thread;
 * -EINVAL (no host memory, another plane, a length that is 0 or wraps).
 */
int mpl_address_space_find(
	struct mpl_address_space *as, struct mpl_region *region,
	uint64_t offset, uint64_t len,
	int (*fn)(void *arg, const struct mpl_flat_range *range), void *arg);

/*
 * Have the pages of [offset, offset + len) now: later accesses find them.
 * What they hold stays.  `how` may be NULL: one thread.
 *
 * If pages run out this is -ENOMEM, where a touch would have been a SIGBUS;
 * those that were had stay.  Other errors: -EINVAL (a range that is empty,
 * wraps or is not accessible; the caller's or no memory), -ECANCELED, -EIO (a
 * poisoned page, or the file's medium failed).
 */
int mpl_ram_preallocate(struct mpl_region *region, uint64_t offset,
			uint64_t len, const struct mpl_ram_prealloc *how);

/*
 * Give the memory of [offset, offset + len), whole pages, back to the host.
 * Listeners are told before it goes.  Afterwards it reads as zeros (private
 * mappings of files: as the file), and comes back when touched; with huge
 * pages call mpl_ram_populate() first, since the page may have gone to somebody
 * else.  Dirty logs are not touched.
 *
 * Errors: -EINVAL (a range that is empty, wraps, is not accessible or not of
 * whole pages), -ENOTSUP (the caller's memory, or the file system cannot),
 * -ENOMEM, -EDEADLK from one of the region's listeners.
 */
int mpl_ram_discard(struct mpl_region *region, uint64_t offset, uint64_t len);

/*
 * Take a discarded range into use again: huge pages are allocated, then
 * listeners are told; if one refuses, those already told hear that it is
 * discarded again, and so it is.  What is not discarded is passed over.
 *
 * Errors: as mpl_ram_discard() and mpl_ram_preallocate(), or the listener's.
 */
int mpl_ram_populate(struct mpl_region *region, uint64_t offset, uint64_t len);

/*
 * Hears which parts of a block are in use: not discarded.  For those who pin
 * or map RAM elsewhere (an IOMMU, another process).  A resize is no event: all
 * of max_size counts as populated until it is discarded.  Callbacks run on the
 * thread that populates or discards, one at a time for a region, and must not
 * do so themselves (-EDEADLK), nor make accesses to devices.  They may commit.
 */
struct mpl_ram_listener_ops {
	/* 0 or -errno, which refuses. */
	int (*populated)(void *opaque, struct mpl_region *region,
			 uint64_t offset, uint64_t len);
	/* NULL is fine. */
	void (*discarded)(void *opaque, struct mpl_region *region,
			  uint64_t offset, uint64_t len);
};

struct mpl_ram_listener;

/*
 * Register: `populated` is called for all that is in use, in ascending order;
 * if one call fails, the others are taken back and it is not registered.
 * Holds a reference on the region.  `ops` must outlive the registration.
 *
 * Errors: -EINVAL (a region without host memory, no `populated`), -ENOMEM,
 * -EDEADLK from a listener of this region, or what `populated` returned.
 */
int mpl_ram_listener_register(struct mpl_region *region,
			      const struct mpl_ram_listener_ops *ops,
			      void *opaque, struct mpl_ram_listener **out);
/* Unregister: `discarded` is called for all that is in use.  -EDEADLK. */
int mpl_ram_listener_unregister(struct mpl_ram_listener *listener);

/*
 * The host's pages that hold [offset, offset + len) are broken: from the
 * commit that this is on, accesses there are access errors and never touch
 * them; look-ups give a section without host memory, translation and windows
 * are refused.  In flat views these are ranges of their own, `poisoned`.
 * Accesses elsewhere cost what they cost.
 *
 * A commit of its own, with the context rules and the errors of mpl_commit();
 * -EINVAL for a range that is empty, wraps or ends beyond max_size.
 */
int mpl_ram_poison(struct mpl_region *region, uint64_t offset, uint64_t len);

/*
 * The pages are good again.  The library's own memory is discarded first, so
 * that the host gives fresh pages (zeros); the caller's has been replaced by
 * the caller.  A commit, too.  Errors: -ENOENT if nothing there is poisoned,
 * those of mpl_ram_poison() and of mpl_ram_discard().
 */
int mpl_ram_unpoison(struct mpl_region *region, uint64_t offset, uint64_t len);

/* What a fault hit. */
struct mpl_ram_fault {
	/* Not referenced: whoever accessed it has it. */
	struct mpl_region *region;
	uint64_t offset; /* of the host page */
	uint64_t len;    /* of the host page */
	/* It is noted for mpl_ram_fault_commit(); false: 64 are already. */
	bool noted;
};

/*
 * For the embedder's SIGBUS handler; async-signal-safe.  `host` is the
 * siginfo's si_addr.  Tells which page of which block it is, and notes that
 * page as poisoned.  The library installs no handler of its own.
 *
 *     static void on_sigbus(int number, siginfo_t *info, void *context)
 *     {
 *             struct mpl_ram_fault fault;
 *
 *             if (mpl_ram_fault(plane, info->si_addr, &fault))
 *                     die(number);              // not the guest's memory
 *             if (mmap(page_of(info->si_addr), fault.len,
 *                      PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
 *                      MAP_FIXED, -1, 0) == MAP_FAILED)
 *                     die(number);
 *             // goes on with zeros; the main loop calls
 *             // mpl_ram_fault_commit() and tells the guest
 *     }
 *
 * Instead of patching the page (or where huge pages have run out) the handler
 * may siglongjmp() to where the access was made, if that was with a reader of
 * the caller's own (mpl_plane_read() borrows one) and not inside a device
 * callback: such an access to memory holds nothing of the library's.
 *
 * Errors: -ENOENT (not in any block).
 */
int mpl_ram_fault(struct mpl_plane *plane, const void *host,
		  struct mpl_ram_fault *out);

/*
 * mpl_ram_poison() for every page that was noted.  `fn` (may be NULL) is called
 * for each, after its commit: there mpl_address_space_find() tells the guest
 * addresses.  If a commit fails its page stays noted.  Not from a signal
 * handler.  When two threads call this at once, one of them tells of a page.
 */
int mpl_ram_fault_commit(struct mpl_plane *plane,
			 void (*fn)(void *arg, struct mpl_region *region,
				    uint64_t offset, uint64_t len),
			 void *arg);

/*
 * For post-copy: missing pages of all that is accessible are reported to
 * `uffd` (the caller's, after UFFDIO_API) instead of being made.  Register
 * before the first touch, or discard first.  UFFDIO_COPY wants whole pages of
 * mpl_region_page_size().  A later growth is not registered: call it again.
 *
 * Errors: -EINVAL (no memory of the library's own, or uffd is none), -ENOTSUP
 * (the kernel cannot for such pages), -EBUSY (another one has it).
 */
int mpl_ram_userfaultfd_register(struct mpl_region *region, int uffd);
int mpl_ram_userfaultfd_unregister(struct mpl_region *region, int uffd);

#ifdef __cplusplus
}
#endif

#endif
