/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA: guest memory as host pointers that last.
 *
 *     call                  the pointer is good until      what it may be
 *     mpl_translate         the next quiescent state       memory
 *     mpl_window_open       mpl_window_close               memory; ask if stale
 *     mpl_map               mpl_unmap                      anything
 *
 * A mapping of memory is the memory itself: it is kept (even past the removal
 * of its region), and costs two counters of the reader's own, no lock and no
 * line that threads share.  A mapping of a device's registers, or of mapped
 * device memory, is a *bounce buffer*: a copy that is read at once and written
 * back by mpl_unmap(), by accesses of the kind that mpl_read() and mpl_write()
 * make.  Buffers are limited for each address space.
 *
 *     mpl_map(reader, bus, gpa, attrs, MPL_FOR_WRITE, &len, &mapping);
 *     n = read(disk, mapping.host, mapping.len);     in any thread
 *     mpl_unmap(reader, &mapping, n);                marks n bytes as dirty
 *
 * Through an iommu (iommu.h) a mapping goes on as long as the memory behind is
 * contiguous.  It does not end when its translation is invalidated:
 * mpl_iommu_invalidate_sync() and _async() wait for it.  Whoever keeps one for
 * long registers a notifier.
 *
 * While a mapping exists, mpl_region_drain() of its region waits, and so does
 * the region's `release`; mpl_plane_free() is -EBUSY, and so is
 * mpl_address_space_free() while a bounce buffer of the space exists.
 */
#ifndef MEMPLANE_DMA_H
#define MEMPLANE_DMA_H

#include "access.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The caller's to keep; only `host` and `len` are to be looked at. */
struct mpl_mapping {
	void *host; /* NULL: not mapped */
	size_t len;
	/* Private. */
	const struct mpl_address_space *as;
	uint64_t gpa;
	struct mpl_attrs attrs;
	enum mpl_intent intent;
	struct mpl_region *region; /* NULL: a bounce buffer */
	uint64_t offset;	   /* in the region */
	struct mpl_trail *trail;   /* through iommus, or NULL */
};

/*
 * Map the `*len` bytes at `gpa`: *mapping, and as *len how many there are, 1 at
 * least: as far as the memory is contiguous, or as one buffer reaches.  An
 * online reader, its own thread, also in a callback.
 *
 * A bounce buffer starts with the content if it is mapped to be read, else
 * with zeros.  A callback that reads may wait: see reader.h.
 *
 * Errors, and *mapping is as it was: -EINVAL (*len 0, a range that wraps, no
 * such intent, a reader that is offline), -EPERM (another thread's reader),
 * -EFAULT (nothing there), -EACCES (not for this intent, or poisoned),
 * -EIO (a device or an iommu failed), -ENOMEM, -EAGAIN (the space's buffers
 * are in use: mpl_map_notify()).
 */
int mpl_map(struct mpl_reader *reader, const struct mpl_address_space *as,
	    uint64_t gpa, struct mpl_attrs attrs, enum mpl_intent intent,
	    size_t *len, struct mpl_mapping *mapping);

/*
 * End a mapping of which the first `written` bytes were written (0 if it was
 * for reading): these are marked in dirty logs, or written back, and the
 * mapping is cleared.  Any thread, with an online reader of its own; a mapping
 * of memory also without (NULL).
 *
 * Errors: -EINVAL (not mapped, or unmapped already, which is logged; more
 * written than mapped; a bounce buffer without a reader), -EPERM (another
 * thread's reader): nothing happened.  -EFAULT, -EACCES, -EIO: writing back
 * failed, at least in part; the mapping has ended.
 */
int mpl_unmap(struct mpl_reader *reader, struct mpl_mapping *mapping,
	      size_t written);

/*
 * Several mappings for a range: mapping[0] .. mapping[*count - 1], one behind
 * the other, with *done bytes in all, and as iov (may be NULL) what a system
 * call takes.  It ends early when `max` are full or at what cannot be mapped
 * now; if that is the first byte it is an error as above.
 */
int mpl_map_sg(struct mpl_reader *reader, const struct mpl_address_space *as,
	       uint64_t gpa, struct mpl_attrs attrs, enum mpl_intent intent,
	       size_t len, struct mpl_mapping *mapping, struct iovec *iov,
	       unsigned int max, unsigned int *count, size_t *done);
/* End them all; `written` in all.  The first error, after the last unmap. */
int mpl_unmap_sg(struct mpl_reader *reader, struct mpl_mapping *mapping,
		 unsigned int count, size_t written);

/* Of bounce buffers, per address space, until told otherwise. */
#define MPL_BOUNCE_DEFAULT (UINT64_C(16) << 20)

/* Any thread.  Buffers that exist stay.  0: there are none (-EAGAIN). */
void mpl_map_set_limit(struct mpl_address_space *as, uint64_t bytes);
/* Bytes of bounce buffers that exist now. */
uint64_t mpl_map_bounced(struct mpl_address_space *as);

/*
 * Call `fn` once when bounce buffers of `len` bytes (or of the limit, if that
 * is less) can be had: at once, in this call, or in the mpl_unmap() or
 * mpl_map_set_limit() that makes room, on that thread, no lock held.  All whom
 * it concerns are called; who maps first has it.  Any thread.
 *
 * Errors: -EINVAL (`len` 0, no `fn`), -ENOMEM.
 */
int mpl_map_notify(struct mpl_address_space *as, size_t len,
		   void (*fn)(void *arg), void *arg);
/* Not any more.  -ENOENT: it has been called, or is being called. */
int mpl_map_notify_cancel(struct mpl_address_space *as, void (*fn)(void *arg),
			  void *arg);

#ifdef __cplusplus
}
#endif

#endif
