/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/section.h"

#include "dispatch/mapped.h"

_Static_assert(sizeof(struct mpl_section) == 64, "a section is a cache line");

void mpl_section_init_unassigned(struct mpl_data_plane *dp)
{
	*mpl_section_at(dp, 0) = (struct mpl_section){
		.start = 0,
		.span = UINT64_MAX,
		.flags = MPL_SECTION_UNASSIGNED,
	};
}

int mpl_section_new(struct mpl_data_plane *dp, const struct mpl_section *from,
		    uint32_t *index)
{
	struct mpl_section *section;
	int err = mpl_arena_alloc(&dp->sections, index);

	if (err)
		return err;
	section = mpl_section_at(dp, *index);
	*section = *from;
	section->id = *index;
	mpl_device_pin(section->device);
	mpl_doorbells_ref((struct mpl_doorbells *)section->doorbells);
	return 0;
}

void mpl_section_free(struct mpl_data_plane *dp, uint32_t index)
{
	struct mpl_section *section = mpl_section_at(dp, index);
	struct mpl_device *device = section->device;
	struct mpl_doorbells *doorbells =
		(struct mpl_doorbells *)section->doorbells;

	mpl_arena_free(&dp->sections, index);
	mpl_doorbells_unref(doorbells);
	mpl_mapped_unpin(dp, device);
}
