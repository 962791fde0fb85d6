/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The space of ram addresses, [0, 2^63): who has which part of it.
 *
 * Best fit: the smallest gap that is large enough, the lowest among equals, so
 * that the same requests give the same addresses, and a block that is plugged
 * again finds the gap that it left.  Gaps are in an array sorted by length: a
 * binary search, and a move of what lies above.  A block keeps its place for
 * its greatest size, so that resizes move nothing.
 */
#ifndef MEMPLANE_LIB_RAM_SPACE_H
#define MEMPLANE_LIB_RAM_SPACE_H

#include <stddef.h>
#include <stdint.h>

#define MPL_RAM_SPACE_LAST (UINT64_MAX / 2)

struct mpl_ram_gap {
	uint64_t length;
	uint64_t start;
};

struct mpl_ram_space {
	struct {
		struct mpl_ram_gap *items; /* by length, then by start */
		size_t count;
		size_t capacity;
	} gaps;
	size_t taken;
};

int mpl_ram_space_init(struct mpl_ram_space *space);
void mpl_ram_space_destroy(struct mpl_ram_space *space);

/*
 * Take `length` bytes (not 0) at a multiple of `align`, a power of two.
 * Errors: -ENOSPC, -ENOMEM.
 */
int mpl_ram_space_take(struct mpl_ram_space *space, uint64_t length,
		       uint64_t align, uint64_t *start);
/* Take [start, start + length).  Looks at all gaps that are long enough.
 * Errors: -EEXIST if it does not, -ENOMEM. */
int mpl_ram_space_take_at(struct mpl_ram_space *space, uint64_t start,
			  uint64_t length);
/*
 * Give back what was taken; `below` and `above` are the lengths of the gaps on
 * either side of it.  Cannot fail: whoever takes makes room for that, too.
 */
void mpl_ram_space_give(struct mpl_ram_space *space, uint64_t start,
			uint64_t length, uint64_t below, uint64_t above);

#endif
