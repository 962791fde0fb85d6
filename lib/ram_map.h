/* SPDX-License-Identifier: BSD-3-Clause */
/* Host address space of a block: reserved as a whole, mapped as it grows. */
#ifndef MEMPLANE_LIB_RAM_MAP_H
#define MEMPLANE_LIB_RAM_MAP_H

#include "lib/ram.h"

/* Set block->host and ->max, with guards; page_size and fd are known. */
int mpl_ram_reserve(struct mpl_ram_block *block);

/* mpl_ram_map() that leaves it to the caller to say that pages ran out. */
int mpl_ram_map_quietly(struct mpl_ram_block *block, uint64_t to);

#endif
