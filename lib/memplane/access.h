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
 * What hits an iommu region (iommu.h) goes on where that leads, page by page.
 * Calls without attributes pass it those of mpl_reader_set_attrs().
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

/* The values are those of mpl_section_flags. */
enum mpl_intent {
	MPL_FOR_READ = MPL_SECTION_READ,
	MPL_FOR_WRITE = MPL_SECTION_WRITE,
	MPL_FOR_BOTH = MPL_SECTION_READ | MPL_SECTION_WRITE,
};

static inline struct mpl_extent *mpl_extent_of(struct mpl_reader *reader,
					       uint64_t gpa)
{
	return &reader->extent[gpa >> MPL_EXTENT_SHIFT & (MPL_EXTENTS - 1)];
}

/*
 * Of so many hits of a slot (its `reserved` counts them) one is looked at.  A
 * run that two of these find running is the one that is tried first; if they
 * differ, none is.  Starts tell the runs of a view apart.
 */
#define MPL_EXTENT_HITS 16

static inline void mpl_run_sample(struct mpl_run *kept,
				  const struct mpl_run *found)
{
	bool again = kept->start == found->start;

	*kept = *found;
	if (!again)
		kept->size = 0;
}

/* The run that a slot has for the address and the intent, or NULL. */
static inline const struct mpl_run *
mpl_extent_get(struct mpl_reader *reader, uint64_t gpa, uint32_t intent)
{
	struct mpl_extent *extent = mpl_extent_of(reader, gpa);

	if (extent->stamp != reader->translated.stamp ||
	    gpa - extent->run.start >= extent->run.size ||
	    (extent->flags & intent) != intent)
		return NULL;
	reader->translated.credit = MPL_EXTENT_PATIENCE;
	if (__builtin_expect(++extent->reserved % MPL_EXTENT_HITS == 0, 0))
		mpl_run_sample(&reader->run[intent % MPL_RUNS], &extent->run);
	return &extent->run;
}

/*
 * What mpl_translate() does not do inline: walks, logged memory, iommus,
 * refusals; _walk, if the reader's view is current.  By value and without
 * branches, so that it costs the inline part nothing.
 */
struct mpl_translated {
	void *host;
	uint64_t packed; /* result << MPL_RESULT_SHIFT | contiguous bytes */
};
#define MPL_RESULT_SHIFT 60
struct mpl_translated mpl_translate_slow(struct mpl_reader *reader,
					 const struct mpl_address_space *as,
					 uint64_t gpa, size_t len,
					 enum mpl_intent intent);
struct mpl_translated mpl_translate_walk(struct mpl_reader *reader,
					 const struct mpl_address_space *as,
					 uint64_t gpa, size_t len,
					 enum mpl_intent intent);

static inline mpl_result_t mpl_translate_rest(struct mpl_translated slow,
					      void **host, size_t *contiguous)
{
	*host = slow.host;
	*contiguous = (size_t)(slow.packed &
			       ((UINT64_C(1) << MPL_RESULT_SHIFT) - 1));
	return (mpl_result_t)(slow.packed >> MPL_RESULT_SHIFT);
}

/*
 * Host address of guest memory: *host and how many bytes from there are
 * contiguous (at most `len`; behind iommus perhaps fewer than could be).
 * Valid until the reader's next quiescent state, or its next access to a
 * device (reader.h).  `intent` is not 0.
 * MPL_ACCESS_ERROR where there is memory but not for this intent, or only a
 * device; MPL_DECODE_ERROR where there is nothing.
 *
 * To write into memory that is logged (dirty.h) is to have all pages of the
 * range entered in the log when the pointer loses its validity.  The reader
 * notes them until then; without memory for its notes the pointer is refused
 * with MPL_ACCESS_ERROR.
 */
static inline mpl_result_t
mpl_translate(struct mpl_reader *reader, const struct mpl_address_space *as,
	      uint64_t gpa, size_t len, enum mpl_intent intent, void **host,
	      size_t *contiguous)
{
	const struct mpl_run *run = &reader->run[intent % MPL_RUNS];
	uint64_t at = gpa - run->start;

	/* Used twice: it is not to be computed another way. */
	__asm__("" : "+r"(at));
	/* Two ways to the end, apart: which run it is stays known on each. */
	if (!mpl_view_is_current(reader, &reader->translated, as))
		return mpl_translate_rest(
			mpl_translate_slow(reader, as, gpa, len, intent), host,
			contiguous);
	if (__builtin_expect(at < run->size, 1)) {
		*host = (void *)(run->base + gpa);
		*contiguous = len <= run->size - at ? len : run->size - at;
		return MPL_OK;
	}
	run = mpl_extent_get(reader, gpa, intent);
	if (!run)
		return mpl_translate_rest(
			mpl_translate_walk(reader, as, gpa, len, intent), host,
			contiguous);
	at = gpa - run->start;
	*host = (void *)(run->base + gpa);
	*contiguous = len <= run->size - at ? len : run->size - at;
	return MPL_OK;
}

/*
 * Scatter-gather: the `len` bytes at `gpa` as iov[0] .. iov[*count - 1], at
 * most `max` of them; *done bytes are in them, from the first on.  Neighbours
 * whose memory follows are one.  It ends early, with *done < len, when `max`
 * are full, at what is not memory for this intent, or at the last address; if
 * the first byte is not such memory that is an error as above.  The pointers
 * are valid as those of mpl_translate(); mpl_map_sg() (dma.h) gives ones that
 * last.  A `len` or `max` of 0 gives *count 0.
 */
struct iovec;
mpl_result_t mpl_translate_sg(struct mpl_reader *reader,
			      const struct mpl_address_space *as, uint64_t gpa,
			      struct mpl_attrs attrs, size_t len,
			      enum mpl_intent intent, struct iovec *iov,
			      unsigned int max, unsigned int *count,
			      size_t *done);

/*
 * Bursts, for descriptor rings: `count` addresses at once.
 *
 * mpl_translate_burst: host[i] is the host address of `len` bytes at gpa[i],
 * NULL if these are not contiguous memory for this intent, or `len` is 0.
 * Returns how many are not NULL.  mpl_lookup_burst: section[i] as mpl_lookup()
 * gives it.
 * All of a burst sees the same snapshot.  Results as for single calls are
 * valid until the next quiescent state; logged pages are marked then.
 */
unsigned int mpl_translate_burst(struct mpl_reader *reader,
				 const struct mpl_address_space *as,
				 const uint64_t *gpa, unsigned int count,
				 size_t len, enum mpl_intent intent,
				 void **host);
void mpl_lookup_burst(struct mpl_reader *reader,
		      const struct mpl_address_space *as, const uint64_t *gpa,
		      unsigned int count, const struct mpl_section **section);

/*
 * A window: a range of guest memory, translated once and used for long, for
 * example a descriptor ring.  It keeps the memory (not the mapping): `host`
 * is good until mpl_window_close(), even past the region's removal.  Before
 * each use ask whether it is stale: a commit has changed a view on the way, or
 * an iommu on the way has invalidated a page of it; then open it again.
 * A window belongs to the reader's thread.
 *
 * Dirty logging: one that was opened to write marks all of itself when it is
 * closed, and what mpl_window_dirty() says before that.  Whoever keeps it open
 * says so after each batch of writes, or they come into no log meanwhile.
 */
struct mpl_trail; /* private: a way through iommus */

struct mpl_window {
	void *host;
	uint64_t gpa;
	size_t len;
	uint64_t stamp;
	const struct mpl_address_space *as;
	struct mpl_region *region;
	uint64_t offset; /* in the region */
	enum mpl_intent intent;
	struct mpl_trail *trail; /* NULL: no iommu on the way */
};

/*
 * Errors: -EFAULT (nothing there), -EACCES (not for this intent), -ERANGE (not
 * `len` bytes in one section, or one behind the other behind an iommu), -EINVAL
 * (len is 0), -ENOMEM and -EIO (behind an iommu: its callback failed).
 */
int mpl_window_open(struct mpl_reader *reader,
		    const struct mpl_address_space *as, uint64_t gpa,
		    size_t len, enum mpl_intent intent,
		    struct mpl_window *window);
void mpl_window_close(struct mpl_window *window);

/*
 * `len` bytes from `offset` on, counted from the window's start, were written.
 * Errors: -EACCES (not opened to write), -ERANGE (beyond the window).
 */
int mpl_window_dirty(const struct mpl_window *window, size_t offset,
		     size_t len);

/* The rest of mpl_window_is_stale(): the way through iommus. */
bool mpl_window_is_stale_slow(const struct mpl_reader *reader,
			      const struct mpl_window *window);

/* Has the way there changed since?  The reader must be online. */
static inline bool mpl_window_is_stale(const struct mpl_reader *reader,
				       const struct mpl_window *window)
{
	if (mpl_root_of(mpl_reader_snapshot(reader), window->as)->stamp !=
	    window->stamp)
		return true;
	return window->trail && mpl_window_is_stale_slow(reader, window);
}

/* The inline function as a symbol, for other languages. */
mpl_result_t mpl_translate_sym(struct mpl_reader *reader,
			       const struct mpl_address_space *as,
			       uint64_t gpa, size_t len,
			       enum mpl_intent intent, void **host,
			       size_t *contiguous);
bool mpl_window_is_stale_sym(const struct mpl_reader *reader,
			     const struct mpl_window *window);

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
