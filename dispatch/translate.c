/* SPDX-License-Identifier: BSD-3-Clause */
/* Host pointers: refusals and windows. */
#include <errno.h>

#include <memplane/access.h>

#include "dispatch/device.h"
#include "dispatch/fast.h"

mpl_result_t mpl_translate_refused(struct mpl_reader *pub,
				   const struct mpl_section *section)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);

	return mpl_section_is_unassigned(section) ?
		       mpl_count_decode_error(reader) :
		       mpl_count_access_error(reader);
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
	if ((section->flags & intent) != (uint32_t)intent)
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
	};
	return 0;
}

void mpl_window_close(struct mpl_window *window)
{
	/* A region begins with its device: see mpl_section_region(). */
	if (window->region)
		mpl_device_unref((struct mpl_device *)window->region);
	*window = (struct mpl_window){ 0 };
}
