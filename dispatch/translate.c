/* SPDX-License-Identifier: BSD-3-Clause */
/* Host pointers: refusals and windows. */
#include <errno.h>

#include <memplane/access.h>

#include "dispatch/device.h"
#include "dispatch/fast.h"

static struct mpl_translated refused(mpl_result_t why)
{
	return (struct mpl_translated){
		.packed = (uint64_t)why << MPL_RESULT_SHIFT,
	};
}

struct mpl_translated mpl_translate_slow(struct mpl_reader *pub,
					 const struct mpl_section *section,
					 uint64_t gpa, size_t len,
					 enum mpl_intent intent)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);

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
	*window = (struct mpl_window){ 0 };
}
