/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/verify.h"

#include <errno.h>
#include <string.h>

#include "dispatch/leaf.h"
#include "dispatch/section.h"

/* What is being compared. */
struct check {
	const struct mpl_data_plane *dp;
	const uint32_t *sections;
	size_t count;
};

static const struct mpl_section *find(const struct mpl_data_plane *dp,
				      uint32_t root, uint64_t gpa)
{
	const struct mpl_reader reader = {
		.nodes = mpl_arena_at(&dp->nodes, 0),
		.leaves = mpl_leaf_at(dp, 0),
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

static int check_order(const struct mpl_data_plane *dp,
		       const uint32_t *sections, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		const struct mpl_section *at = mpl_section_at(dp, sections[i]);

		if (mpl_section_last(mpl_section_at(dp, sections[i - 1])) >=
		    at->start)
			return complain(dp, "sections overlap", at->start);
	}
	return 0;
}

/* As a reader finds them. */
static int check_lookups(const struct mpl_data_plane *dp, uint32_t root,
			 const uint32_t *sections, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct mpl_section *at = mpl_section_at(dp, sections[i]);

		if (find(dp, root, at->start) != at ||
		    find(dp, root, mpl_section_last(at)) != at ||
		    find(dp, root, at->start + at->span / 2) != at)
			return complain(dp, "section not found", at->start);
	}
	return 0;
}

/* The first section that reaches `gpa` or lies above it. */
static size_t first_from(const struct check *check, uint64_t gpa)
{
	size_t low = 0, high = check->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (mpl_section_last(mpl_section_at(
			    check->dp, check->sections[middle])) < gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int check_entry(const struct check *check, uint32_t entry,
		       uint64_t base, uint64_t last);

/*
 * The lowest address of a node's block, and its entries: where they lie, or
 * unpacked into `room`.  A leaf must be just what packing these gives.
 */
static int open_node(const struct mpl_data_plane *dp, uint32_t entry,
		     uint64_t low, uint64_t *base, uint32_t *room,
		     const uint32_t **node)
{
	uint32_t index = entry >> MPL_ENTRY_BITS;
	unsigned int shift = mpl_entry_shift(entry);
	const struct mpl_leaf *leaf = mpl_leaf_at(dp, index);
	struct mpl_leaf again;

	if (!index || index >= (mpl_entry_is_leaf(entry) ? dp->leaves.count :
							   dp->nodes.count))
		return complain(dp, "not the node that is needed", low);
	if (!mpl_entry_is_leaf(entry)) {
		const struct mpl_node_note *note =
			mpl_arena_at(&dp->notes, index);

		*base = note->base;
		*node = mpl_arena_at(&dp->nodes, index);
		return 0;
	}
	*base = mpl_node_base(low, shift);
	*node = room;
	if (mpl_bits_set(leaf->starts) > MPL_LEAF_ENTRIES)
		return complain(dp, "a leaf with too many entries", low);
	for (unsigned int i = 0; i < MPL_LEAF_ENTRIES; i++)
		if (leaf->entry[i] >> MPL_ENTRY_BITS >= dp->sections.count)
			return complain(dp, "a leaf with a bad entry", low);
	mpl_leaf_unpack(dp, leaf, *base, shift, room);
	if (!mpl_leaf_pack(room, &again) ||
	    memcmp(leaf, &again, sizeof(again)) != 0)
		return complain(dp, "a leaf that is not packed right", low);
	return 0;
}

/* A node must divide just the block that its sections need. */
static int check_node(const struct check *check, uint32_t entry, uint64_t low,
		      uint64_t high)
{
	const struct mpl_data_plane *dp = check->dp;
	unsigned int shift = mpl_common_shift(low, high);
	uint64_t span = (UINT64_C(1) << shift) - 1;
	uint32_t room[MPL_NODE_ENTRIES];
	const uint32_t *node;
	uint64_t first = 0;
	int err;

	if (mpl_entry_is_section(entry) || mpl_entry_shift(entry) != shift ||
	    (mpl_entry_is_leaf(entry) && shift == MPL_TOP_SHIFT))
		return complain(dp, "not the node that is needed", low);
	err = open_node(dp, entry, low, &first, room, &node);
	if (err)
		return err;
	if (low - first > span + span * (MPL_NODE_ENTRIES - 1) +
				  (MPL_NODE_ENTRIES - 1))
		return complain(dp, "node notes a wrong block", low);
	for (unsigned int i = 0; i < MPL_NODE_ENTRIES; i++) {
		uint64_t base = first + ((uint64_t)i << shift);

		/* The topmost node has more entries than there are bits. */
		if (base < first || (i && base == first))
			break;
		err = check_entry(check, node[i], base, base + span);
		if (err)
			return err;
	}
	return 0;
}

/* The entry of the block [base, last], by the rules of canonical form. */
static int check_entry(const struct check *check, uint32_t entry,
		       uint64_t base, uint64_t last)
{
	const struct mpl_data_plane *dp = check->dp;
	size_t from = first_from(check, base);
	size_t to = from;
	const struct mpl_section *first, *final;

	while (to < check->count && to < from + 2 &&
	       mpl_section_at(dp, check->sections[to])->start <= last)
		to++;
	if (to == from)
		return entry == MPL_ENTRY_EMPTY ?
			       0 :
			       complain(dp, "something where nothing is", base);
	if (to == from + 1)
		return entry == mpl_entry_section(check->sections[from]) ?
			       0 :
			       complain(dp, "not the only section", base);
	to = first_from(check, last);
	if (to == check->count ||
	    mpl_section_at(dp, check->sections[to])->start > last)
		to--;
	first = mpl_section_at(dp, check->sections[from]);
	final = mpl_section_at(dp, check->sections[to]);
	return check_node(check, entry,
			  first->start > base ? first->start : base,
			  mpl_section_last(final) < last ?
				  mpl_section_last(final) :
				  last);
}

int mpl_verify_map(const struct mpl_data_plane *dp, uint32_t root,
		   const uint32_t *sections, size_t count)
{
	const struct check check = {
		.dp = dp,
		.sections = sections,
		.count = count,
	};
	int err = check_order(dp, sections, count);

	/* The structure first: in a broken one a walk might not end. */
	if (!err)
		err = check_entry(&check, root, 0, UINT64_MAX);
	return err ? err : check_lookups(dp, root, sections, count);
}
