/* SPDX-License-Identifier: BSD-3-Clause */
/* The inline look-up as symbols, and what pins its layout. */
#include <memplane/dispatch.h>

_Static_assert(sizeof(struct mpl_root) == 16, "layout");
_Static_assert(offsetof(struct mpl_snapshot, first) == 24, "layout");
_Static_assert(offsetof(struct mpl_snapshot, root) == 152, "layout");
_Static_assert(offsetof(struct mpl_section, host) == 16, "layout");
_Static_assert(offsetof(struct mpl_section, flags) == 56, "layout");
_Static_assert(offsetof(struct mpl_reader, looked) == 64, "layout");
_Static_assert(offsetof(struct mpl_reader, translated) == 128, "layout");
_Static_assert(offsetof(struct mpl_reader, cache) == 320, "layout");
_Static_assert(1 << MPL_NODE_BITS == MPL_NODE_ENTRIES, "layout");
_Static_assert(MPL_ENTRY_BITS + MPL_INDEX_BITS == 32, "an entry is 32 bits");
_Static_assert(MPL_ENTRY_BITS == MPL_NODE_BITS,
	       "mpl_entry_below() puts index and slot side by side");
_Static_assert(MPL_CACHE_SLOTS == 1 << (64 - 58) &&
		       sizeof(struct mpl_cache_slot) == 1 << (58 - 53),
	       "mpl_cache_offset()");
_Static_assert(sizeof(struct mpl_section) == 1 << MPL_ENTRY_BITS,
	       "mpl_walk() takes the index for an offset");
_Static_assert(sizeof(struct mpl_leaf) * 2 == 1 << MPL_ENTRY_BITS,
	       "mpl_leaf_below() takes half the index for an offset");
_Static_assert(offsetof(struct mpl_reader, leaves) == 48, "layout");

/* A region begins with its device (asserted in lib/region.c). */
struct mpl_region *mpl_section_region(const struct mpl_section *section)
{
	return (struct mpl_region *)section->device;
}

const struct mpl_section *mpl_lookup_sym(struct mpl_reader *reader,
					 const struct mpl_address_space *as,
					 uint64_t gpa)
{
	return mpl_lookup(reader, as, gpa);
}

const struct mpl_section *
mpl_lookup_uncached_sym(const struct mpl_reader *reader,
			const struct mpl_address_space *as, uint64_t gpa)
{
	return mpl_lookup_uncached(reader, as, gpa);
}

const struct mpl_snapshot *
mpl_reader_snapshot_sym(const struct mpl_reader *reader)
{
	return mpl_reader_snapshot(reader);
}

const struct mpl_root *mpl_root_of_sym(const struct mpl_snapshot *snapshot,
				       const struct mpl_address_space *as)
{
	return mpl_root_of(snapshot, as);
}

const struct mpl_section *mpl_walk_sym(const struct mpl_reader *reader,
				       uint32_t entry, uint64_t gpa)
{
	return mpl_walk(reader, entry, gpa);
}

bool mpl_section_covers_sym(const struct mpl_section *section, uint64_t gpa)
{
	return mpl_section_covers(section, gpa);
}

bool mpl_section_is_unassigned_sym(const struct mpl_section *section)
{
	return mpl_section_is_unassigned(section);
}

uint64_t mpl_section_offset_sym(const struct mpl_section *section, uint64_t gpa)
{
	return mpl_section_offset(section, gpa);
}
