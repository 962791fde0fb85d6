/* SPDX-License-Identifier: BSD-3-Clause */
/* Host memory behind ram, rom, rom-device and ram-device regions. */
#ifndef MEMPLANE_LIB_RAM_BLOCK_H
#define MEMPLANE_LIB_RAM_BLOCK_H

#include "lib/region.h"

/*
 * Give a region its memory, as `config` (NULL: the defaults) says.
 * Errors: see the constructors in memplane/region.h.
 */
int mpl_ram_block_attach(struct mpl_region *region,
			 const struct mpl_ram_config *config);
/* The region dies: nobody finds its block any more. */
void mpl_ram_block_hide(struct mpl_region *region);
void mpl_ram_block_detach(struct mpl_region *region);

/*
 * Make memory accessible for a region that is to have `size` bytes, at most
 * its max_size.  What has been accessible stays so.  Control lock held.
 */
int mpl_ram_block_grow(struct mpl_region *region, uint64_t size);

#endif
