/* SPDX-License-Identifier: BSD-3-Clause */
/* RAM blocks: the host memory behind a region. */
#ifndef MEMPLANE_LIB_RAM_BLOCK_H
#define MEMPLANE_LIB_RAM_BLOCK_H

#include "lib/region.h"

/*
 * Give a region its host memory: the caller's, none, or anonymous memory of
 * the library's, mapped for max_size and touched by nobody yet.
 * Errors: -EINVAL (max_size below the size, 2^64 bytes), -ENOMEM.
 */
int mpl_ram_block_attach(struct mpl_region *region,
			 const struct mpl_ram_config *config);
void mpl_ram_block_detach(struct mpl_region *region);

#endif
