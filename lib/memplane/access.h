/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses: reads and writes of guest-physical memory by a reader.
 *
 * Memory is copied or loaded directly.  For io regions the access is split
 * and aligned by what the device declares (region.h).  An access that runs
 * over several sections is carried out piece by piece, in ascending order,
 * and the results are combined.  An access that would run past the last
 * address wraps nowhere: what lies beyond is a decode error.
 *
 * Unassigned addresses read as the plane's pattern, writes are dropped; both
 * give MPL_DECODE_ERROR and are counted.
 *
 * All calls: an online reader, its own thread.
 */
#ifndef MEMPLANE_ACCESS_H
#define MEMPLANE_ACCESS_H

#include "dispatch.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `buf` holds guest memory in address order.  `len` in bytes, may be 0. */
mpl_result_t mpl_read(struct mpl_reader *reader,
		      const struct mpl_address_space *as, uint64_t gpa,
		      struct mpl_attrs attrs, void *buf, size_t len);
mpl_result_t mpl_write(struct mpl_reader *reader,
		       const struct mpl_address_space *as, uint64_t gpa,
		       struct mpl_attrs attrs, const void *buf, size_t len);

/*
 * Typed accesses of `size` 1, 2, 4 or 8 bytes (else MPL_ACCESS_ERROR), in the
 * byte order named.  Aligned ones to memory are single-copy atomic.
 */
mpl_result_t mpl_load(struct mpl_reader *reader,
		      const struct mpl_address_space *as, uint64_t gpa,
		      struct mpl_attrs attrs, unsigned int size,
		      enum mpl_endian endian, uint64_t *value);
mpl_result_t mpl_store(struct mpl_reader *reader,
		       const struct mpl_address_space *as, uint64_t gpa,
		       struct mpl_attrs attrs, unsigned int size,
		       enum mpl_endian endian, uint64_t value);

/*
 * Queue indexes: aligned 2, 4 or 8 byte words in memory, native order.  A word
 * that is not in writable memory or not aligned is MPL_ACCESS_ERROR.
 */
mpl_result_t mpl_load_acquire(struct mpl_reader *reader,
			      const struct mpl_address_space *as, uint64_t gpa,
			      unsigned int size, uint64_t *value);
mpl_result_t mpl_store_release(struct mpl_reader *reader,
			       const struct mpl_address_space *as,
			       uint64_t gpa, unsigned int size,
			       uint64_t value);
/* *expected is replaced by what was found; *swapped tells. */
mpl_result_t mpl_compare_exchange(struct mpl_reader *reader,
				  const struct mpl_address_space *as,
				  uint64_t gpa, unsigned int size,
				  uint64_t *expected, uint64_t desired,
				  bool *swapped);

enum mpl_intent { MPL_FOR_READ = 1, MPL_FOR_WRITE = 2 };

/*
 * Host address of guest memory: *host and how many bytes from there are
 * contiguous (at most `len`).  Valid until the reader's next quiescent state.
 * MPL_ACCESS_ERROR where there is memory but not for this intent, or only a
 * device; MPL_DECODE_ERROR where there is nothing.  With MPL_FOR_WRITE the
 * pages written are not entered into any dirty log here.
 */
mpl_result_t mpl_translate(struct mpl_reader *reader,
			   const struct mpl_address_space *as, uint64_t gpa,
			   size_t len, enum mpl_intent intent, void **host,
			   size_t *contiguous);

/*
 * The same for threads without a reader (main loop, migration): each call
 * takes a spare one.  -EAGAIN cannot happen: it waits for a spare.  Slow.
 */
mpl_result_t mpl_plane_read(struct mpl_plane *plane,
			    const struct mpl_address_space *as, uint64_t gpa,
			    struct mpl_attrs attrs, void *buf, size_t len);
mpl_result_t mpl_plane_write(struct mpl_plane *plane,
			     const struct mpl_address_space *as, uint64_t gpa,
			     struct mpl_attrs attrs, const void *buf,
			     size_t len);

#ifdef __cplusplus
}
#endif

#endif
