// SPDX-License-Identifier: BSD-3-Clause
// Every public header and every inline function, as C++17.
#include <memplane.h>

#include "tests/embed/embed.h"

extern "C" unsigned int embed_cxx17(struct mpl_reader *reader,
				    const struct mpl_address_space *as,
				    uint64_t gpa)
{
	const auto *snapshot = mpl_reader_snapshot(reader);
	const auto *root = mpl_root_of(snapshot, as);
	const auto *section = mpl_walk(reader, root->entry, gpa);
	struct mpl_window window;
	unsigned int seen = 0;
	size_t contiguous;
	void *host;
	auto entry = root->entry;

	while (!mpl_entry_is_section(entry))
		entry = mpl_entry_below(reader, entry, gpa);
	if (mpl_section_covers(section, gpa))
		seen |= EMBED_COVERED;
	if (mpl_section_covers(section, gpa) &&
	    mpl_lookup(reader, as, gpa) == section &&
	    mpl_lookup_uncached(reader, as, gpa) == section &&
	    mpl_lookup_sym(reader, as, gpa) == section &&
	    mpl_lookup_uncached_sym(reader, as, gpa) == section &&
	    mpl_section_checked(reader, section, gpa) == section &&
	    mpl_lookup_slot(reader, gpa) == section)
		seen |= EMBED_AGREED;
	if (!mpl_section_is_unassigned(section) &&
	    mpl_section_offset(section, gpa) - section->offset ==
		    gpa - section->start)
		seen |= EMBED_ASSIGNED;
	if (mpl_cache_offset(gpa) < sizeof(reader->cache))
		seen |= EMBED_CACHED;
	if (mpl_translate(reader, as, gpa, 1, MPL_FOR_BOTH, &host,
			  &contiguous) == MPL_OK &&
	    contiguous == 1 &&
	    mpl_window_open(reader, as, gpa, 1, MPL_FOR_BOTH, &window) == 0) {
		if (!mpl_window_is_stale(reader, &window) &&
		    window.host == host)
			seen |= EMBED_MAPPED;
		mpl_window_close(&window);
	}
	return seen;
}

// The constructor is a macro: it must do in C++ as well.
extern "C" int embed_cxx17_plane(struct mpl_plane **plane)
{
	struct mpl_plane_config config = {};

	config.max_readers = 4;
	return mpl_plane_new(plane, &config);
}
