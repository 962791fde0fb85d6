/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small machine to make accesses in: memory, devices whose callbacks do
 * nothing, and the same devices on a bus as other monitors have it.
 *
 *	0		RAM, IO_RAM_BYTES
 *	c0000000	IO_DEVICES devices of a page each, 64 KiB apart
 *	e0000000	one more, of the serialised class
 *
 * And a space that shows all that through an iommu, page by page where it is.
 */
#ifndef BENCH_IO_WORLD_H
#define BENCH_IO_WORLD_H

#include <memplane.h>

#include "peers/rbtree.h"

#define IO_RAM_BYTES (64 * MPL_MIB)
#define IO_DEVICES 64
#define IO_FIRST UINT64_C(0xc0000000)
#define IO_STEP UINT64_C(0x10000)
#define IO_PAGE UINT64_C(0x1000)
#define IO_SERIALISED UINT64_C(0xe0000000)

struct io_world {
	struct mpl_plane *plane;
	struct mpl_address_space *as;
	struct mpl_address_space *translated;
	uint8_t *ram; /* IO_RAM_BYTES */

	struct mpl_section *sections; /* the lock-free devices, from [1] on */
	struct rb_bus *bus;
};

/* Made on first use and kept; 0 or -errno. */
int io_world_get(struct io_world **out);
void io_world_free(void);

static inline uint64_t io_device(unsigned int index)
{
	return IO_FIRST + index % IO_DEVICES * IO_STEP;
}

#endif
