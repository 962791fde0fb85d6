/* SPDX-License-Identifier: BSD-3-Clause */
/* Host pointers: refusals and windows. */
#include <errno.h>

#include <memplane/access.h>

#include "dispatch/device.h"
#include "dispatch/fast.h"
#include "dispatch/iotlb.h"

static struct mpl_translated refused(mpl_result_t why)
{
	return (struct mpl_translated){
		.packed = (uint64_t)why << MPL_RESULT_SHIFT,
	};
}

static __attribute__((noinline)) struct mpl_translated
through_any(struct mpl_reader_state *reader, const struct mpl_address_space *as,
	    uint64_t gpa, size_t len, enum mpl_intent intent)
{
	const struct mpl_asked asked = {
		.as = as,
		.gpa = gpa,
		.len = mpl_clip_to_top(gpa, len ? len : 1),
		.intent = intent,
		.attrs = reader->attrs,
	};
	struct mpl_reach reach;
	mpl_result_t result = mpl_iommu_pointer(reader, &asked, &reach);

	if (result)
		return refused(result);
	return (struct mpl_translated){
		.host = mpl_section_host(reach.section, reach.gpa),
		.packed = len ? reach.len : 0,
	};
}

static struct mpl_translated through(struct mpl_reader_state *reader,
				     const struct mpl_section *section,
				     const struct mpl_address_space *as,
				     uint64_t gpa, size_t len,
				     enum mpl_intent intent)
{
	void *host = mpl_iotlb_all(reader, section, gpa, len, intent,
				   reader->attrs);

	if (!host)
		return through_any(reader, as, gpa, len, intent);
	return (struct mpl_translated){ .host = host, .packed = len };
}

/* What is not simply memory for this intent. */
static __attribute__((noinline)) struct mpl_translated
not_simple(struct mpl_reader *pub, const struct mpl_section *section,
	   const struct mpl_address_space *as, uint64_t gpa, size_t len,
	   enum mpl_intent intent)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);

	if (section->flags & MPL_SECTION_IOMMU)
		return through(reader, section, as, gpa, len, intent);
	if (mpl_section_is_unassigned(section))
		return refused(mpl_count_decode_error(reader));
	if (len)
		len = mpl_section_rest(section, gpa, len);
	if ((mpl_section_rights(section) & intent) != (uint32_t)intent ||
	    (len && !mpl_reader_note_write(reader, section, gpa, len)))
		return refused(mpl_count_access_error(reader));
	return (struct mpl_translated){
		.host = mpl_section_host(section, gpa),
		.packed = len,
	};
}

/* Given up, slots should not hit by chance, but be foretold not to. */
void mpl_extents_give_up(struct mpl_reader *reader)
{
	for (size_t i = 0; i < MPL_EXTENTS; i++)
		reader->extent[i].stamp = UINT64_MAX;
}

/* What a walk led to, and what a reader keeps of it. */
static __attribute__((noinline)) struct mpl_translated
found(struct mpl_reader *reader, const struct mpl_section *section,
      const struct mpl_address_space *as, uint64_t gpa, size_t len,
      enum mpl_intent intent)
{
	struct mpl_run run = mpl_run_of(section, (uint32_t)intent);
	uint64_t rest, again;

	if (__builtin_expect(!run.size, 0)) {
		mpl_count_walk(reader);
		return not_simple(reader, section, as, gpa, len, intent);
	}
	mpl_extent_put(reader, gpa, section, run);
	mpl_count_walk(reader);
	rest = run.size - (gpa - run.start);
	again = reader->translated.seen == section;
	reader->translated.seen = section;
	run.size &= -again;
	reader->run[intent % MPL_RUNS] = run;
	return (struct mpl_translated){
		.host = (void *)(run.base + gpa),
		.packed = len <= rest ? len : rest,
	};
}

static inline const struct mpl_section *walk(const struct mpl_reader *reader,
					     uint64_t gpa)
{
	return mpl_section_checked(
		reader, mpl_walk(reader, reader->translated.entry, gpa), gpa);
}

struct mpl_translated mpl_translate_slow(struct mpl_reader *reader,
					 const struct mpl_address_space *as,
					 uint64_t gpa, size_t len,
					 enum mpl_intent intent)
{
	mpl_translate_begin(reader, as);
	return found(reader, walk(reader, gpa), as, gpa, len, intent);
}

/* With slots given up, and another section each time, there is little to keep. */
struct mpl_translated mpl_translate_walk(struct mpl_reader *reader,
					 const struct mpl_address_space *as,
					 uint64_t gpa, size_t len,
					 enum mpl_intent intent)
{
	const struct mpl_section *section = walk(reader, gpa);
	uint64_t at = gpa - section->start, rest = section->span - at + 1;

	if (reader->translated.seen == section || mpl_extents_pay(reader))
		return found(reader, section, as, gpa, len, intent);
	mpl_count_walk(reader);
	if ((section->flags & intent) != (uint32_t)intent)
		return not_simple(reader, section, as, gpa, len, intent);
	reader->translated.seen = section;
	reader->run[intent % MPL_RUNS].size = 0;
	return (struct mpl_translated){
		.host = section->host + at,
		.packed = len <= rest ? len : rest,
	};
}

mpl_result_t mpl_translate_sym(struct mpl_reader *reader,
			       const struct mpl_address_space *as,
			       uint64_t gpa, size_t len,
			       enum mpl_intent intent, void **host,
			       size_t *contiguous)
{
	return mpl_translate(reader, as, gpa, len, intent, host, contiguous);
}

bool mpl_window_is_stale_sym(const struct mpl_reader *reader,
			     const struct mpl_window *window)
{
	return mpl_window_is_stale(reader, window);
}

/* A window through iommus. */
static int open_through(struct mpl_reader_state *reader,
			const struct mpl_asked *asked,
			struct mpl_window *window)
{
	struct mpl_reach reach;
	struct mpl_trail trail, *kept;
	mpl_result_t result = mpl_iommu_host(reader, asked, &reach, &trail);

	if (result)
		return mpl_result_error(result);
	if (reach.len != asked->len)
		return -ERANGE;
	kept = mpl_trail_keep(&trail);
	if (!kept)
		return -ENOMEM;
	*window = (struct mpl_window){
		.host = mpl_section_host(reach.section, reach.gpa),
		.gpa = asked->gpa,
		.len = asked->len,
		.stamp = trail.stamp,
		.as = asked->as,
		.region = mpl_section_region(reach.section),
		.offset = mpl_section_offset(reach.section, reach.gpa),
		.intent = asked->intent,
		.trail = kept,
	};
	mpl_device_ref(reach.section->device);
	return 0;
}

bool mpl_window_is_stale_slow(const struct mpl_reader *reader,
			      const struct mpl_window *window)
{
	return !mpl_trail_is_good(reader, window->trail);
}

int mpl_window_open(struct mpl_reader *reader,
		    const struct mpl_address_space *as, uint64_t gpa,
		    size_t len, enum mpl_intent intent,
		    struct mpl_window *window)
{
	const struct mpl_snapshot *snapshot = mpl_reader_snapshot(reader);
	const struct mpl_root *root = mpl_root_of(snapshot, as);
	const struct mpl_section *section = mpl_section_checked(
		reader, mpl_walk(reader, root->entry, gpa), gpa);

	if (!len)
		return -EINVAL;
	if (mpl_section_is_unassigned(section))
		return -EFAULT;
	if (section->flags & MPL_SECTION_IOMMU) {
		struct mpl_reader_state *state = mpl_reader_state(reader);
		const struct mpl_asked asked = {
			.as = as,
			.gpa = gpa,
			.len = len,
			.intent = intent,
			.attrs = state->attrs,
		};

		return mpl_clip_to_top(gpa, len) != len ?
			       -ERANGE :
			       open_through(state, &asked, window);
	}
	if ((mpl_section_rights(section) & intent) != (uint32_t)intent)
		return -EACCES;
	if (!mpl_section_holds(section, gpa, len))
		return -ERANGE;
	/* The section holds one reference: the region cannot be gone yet. */
	mpl_device_ref(section->device);
	*window = (struct mpl_window){
		.host = mpl_section_host(section, gpa),
		.gpa = gpa,
		.len = len,
		.stamp = root->stamp,
		.as = as,
		.region = mpl_section_region(section),
		.offset = mpl_section_offset(section, gpa),
		.intent = intent,
	};
	return 0;
}

/* A region begins with its device: see mpl_section_region(). */
static struct mpl_device *device_of(const struct mpl_window *window)
{
	return (struct mpl_device *)window->region;
}

int mpl_window_dirty(const struct mpl_window *window, size_t offset,
		     size_t len)
{
	if (!(window->intent & MPL_FOR_WRITE))
		return -EACCES;
	if (offset > window->len || len > window->len - offset)
		return -ERANGE;
	if (len)
		mpl_dirty_mark_device(device_of(window),
				      window->offset + offset, len);
	return 0;
}

void mpl_window_close(struct mpl_window *window)
{
	if (window->region) {
		(void)mpl_window_dirty(window, 0, window->len);
		mpl_device_unref(device_of(window));
	}
	mpl_trail_drop(window->trail);
	*window = (struct mpl_window){ 0 };
}
