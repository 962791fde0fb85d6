/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/verify.h"

#include <errno.h>

#include "dispatch/compile.h"
#include "dispatch/section.h"

struct tally {
	const struct mpl_data_plane *dp;
	const uint32_t *sections;
	size_t count;
	size_t next; /* position in sections that the walk expects next */
	bool wrong;
};

static const struct mpl_section *find(const struct mpl_data_plane *dp,
				      uint32_t root, uint64_t gpa)
{
	const struct mpl_reader reader = {
		.nodes = mpl_arena_at(&dp->nodes, 0),
		.sections = mpl_arena_at(&dp->sections, 0),
	};
	const struct mpl_section *section = mpl_walk(&reader, root, gpa);

	return mpl_section_covers(section, gpa) ? section : reader.sections;
}

static int complain(const struct mpl_data_plane *dp, const char *what,
		    uint64_t gpa)
{
	mpl_log(&dp->log, MPL_LOG_ERROR, "map verification: %s at %#llx", what,
		(unsigned long long)gpa);
	return -EUCLEAN;
}

static int check_lookups(const struct mpl_data_plane *dp, uint32_t root,
			 const uint32_t *sections, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct mpl_section *at = mpl_section_at(dp, sections[i]);
		uint64_t last = mpl_section_last(at);
		const struct mpl_section *before =
			i ? mpl_section_at(dp, sections[i - 1]) : NULL;

		if (before && mpl_section_last(before) >= at->start)
			return complain(dp, "sections overlap", at->start);
		if (find(dp, root, at->start) != at ||
		    find(dp, root, last) != at ||
		    find(dp, root, at->start + at->span / 2) != at)
			return complain(dp, "section not found", at->start);
		if (at->start &&
		    (!before || mpl_section_last(before) != at->start - 1) &&
		    find(dp, root, at->start - 1)->id)
			return complain(dp, "something below", at->start);
		if (last != UINT64_MAX && i + 1 == count &&
		    find(dp, root, last + 1)->id)
			return complain(dp, "something above", last);
	}
	return 0;
}

/* Leaves of a canonical map appear in the order of the sections. */
static void walk(struct tally *tally, uint32_t entry)
{
	uint32_t index = entry >> MPL_NODE_BITS;
	const uint32_t *node;
	uint32_t found = MPL_ENTRY_EMPTY;
	unsigned int distinct = 0;

	if (entry == MPL_ENTRY_EMPTY)
		return;
	if ((entry & MPL_ENTRY_SHIFT_MASK) == MPL_ENTRY_SECTION) {
		if (tally->next && tally->sections[tally->next - 1] == index)
			return;
		if (tally->next == tally->count ||
		    tally->sections[tally->next] != index)
			tally->wrong = true;
		else
			tally->next++;
		return;
	}
	node = mpl_arena_at(&tally->dp->nodes, index);
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES && !tally->wrong; i++) {
		if (node[i] != MPL_ENTRY_EMPTY && node[i] != found) {
			found = node[i];
			distinct++;
		}
		walk(tally, node[i]);
	}
	if (distinct < 2)
		tally->wrong = true;
}

int mpl_verify_map(const struct mpl_data_plane *dp, uint32_t root,
		   const uint32_t *sections, size_t count)
{
	struct tally tally = { .dp = dp, .sections = sections, .count = count };
	int err = check_lookups(dp, root, sections, count);

	if (err)
		return err;
	walk(&tally, root);
	if (tally.wrong || tally.next != count)
		return complain(dp, "map is not canonical", 0);
	return 0;
}
