/* SPDX-License-Identifier: BSD-3-Clause */
/* Host pointers: refusals, bursts and windows. */
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

/* Keep what a burst found last as the reader's last section. */
static void keep_last(struct mpl_reader *reader,
		      const struct mpl_snapshot *snapshot,
		      const struct mpl_address_space *as,
		      const struct mpl_section *section)
{
	if (section == reader->sections)
		return;
	reader->last_generation = snapshot->generation;
	reader->last_as = as;
	reader->last = section;
}

/* A section to begin a burst with: the last one, if it is still good. */
static const struct mpl_section *
first_guess(const struct mpl_reader *reader,
	    const struct mpl_snapshot *snapshot,
	    const struct mpl_address_space *as)
{
	return reader->last_generation == snapshot->generation &&
			       reader->last_as == as ?
		       reader->last :
		       reader->sections;
}

/*
 * From one address to the next the section is mostly the same, or must be
 * walked for; reader's slots are for small sections and are left alone.
 */
static inline const struct mpl_section *
next_section(const struct mpl_reader *reader, uint32_t root,
	     const struct mpl_section *section, uint64_t gpa)
{
	if (section != reader->sections && mpl_section_covers(section, gpa))
		return section;
	return mpl_section_checked(reader, mpl_walk(reader, root, gpa), gpa);
}

unsigned int mpl_translate_burst(struct mpl_reader *reader,
				 const struct mpl_address_space *as,
				 const uint64_t *gpa, unsigned int count,
				 size_t len, enum mpl_intent intent,
				 void **host)
{
	const struct mpl_snapshot *snapshot = mpl_reader_snapshot(reader);
	uint32_t root = mpl_root_of(snapshot, as)->entry;
	const struct mpl_section *section = first_guess(reader, snapshot, as);
	unsigned int found = 0;

	for (unsigned int i = 0; i < count; i++) {
		bool good;

		section = next_section(reader, root, section, gpa[i]);
		good = (section->flags & intent) == (uint32_t)intent &&
		       mpl_section_holds(section, gpa[i], len);
		host[i] = good ? mpl_section_host(section, gpa[i]) : NULL;
		found += good;
	}
	keep_last(reader, snapshot, as, section);
	return found;
}

void mpl_lookup_burst(struct mpl_reader *reader,
		      const struct mpl_address_space *as, const uint64_t *gpa,
		      unsigned int count, const struct mpl_section **out)
{
	const struct mpl_snapshot *snapshot = mpl_reader_snapshot(reader);
	uint32_t root = mpl_root_of(snapshot, as)->entry;
	const struct mpl_section *section = first_guess(reader, snapshot, as);

	for (unsigned int i = 0; i < count; i++) {
		section = next_section(reader, root, section, gpa[i]);
		out[i] = section;
	}
	keep_last(reader, snapshot, as, section);
}

int mpl_window_open(struct mpl_reader *reader,
		    const struct mpl_address_space *as, uint64_t gpa,
		    size_t len, enum mpl_intent intent,
		    struct mpl_window *window)
{
	const struct mpl_snapshot *snapshot = mpl_reader_snapshot(reader);
	const struct mpl_root *root = mpl_root_of(snapshot, as);
	const struct mpl_section *section =
		next_section(reader, root->entry, reader->sections, gpa);

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
