/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Planes to look addresses up in, made on first use and kept.
 *
 * A world has `count` regions one after the other in one address space, with
 * random gaps between them, and lists of addresses in them.  Shapes differ in
 * what the unit is:
 *
 *	SHAPE_PAGES	io regions of 1, 2, 4 or 8 pages
 *	SHAPE_PORTS	the same with a unit of 8 bytes: many in a page
 *	SHAPE_RAM	memory of RAM_TOTAL bytes in `count` equal parts
 */
#ifndef BENCH_WORLD_H
#define BENCH_WORLD_H

#include <memplane.h>

#include "peers/peers.h"

enum world_shape { SHAPE_PAGES, SHAPE_PORTS, SHAPE_RAM, SHAPES };

#define RAM_TOTAL (64 * MPL_MIB)

/* Addresses in a list; a power of two.  Long, lest they are learned. */
#define WORLD_ADDRESSES (1u << 16)

struct world {
	struct mpl_plane *plane;
	struct mpl_region *root;
	struct mpl_region **regions; /* [count], ascending */
	struct mpl_address_space *as;
	size_t count;
	uint8_t *ram; /* SHAPE_RAM: RAM_TOTAL bytes */

	/* The flat view, with [0] the unassigned section, for peers. */
	struct mpl_section *sections;
	size_t sections_count;

	uint64_t *uniform;     /* random byte of a random region */
	uint64_t *round_robin; /* the regions in turn, first byte */
};

/*
 * The world of this shape and size; its look-ups have been compared with a
 * plain scan.  0 or -errno; it stays this module's.
 */
int world_get(enum world_shape shape, size_t count, struct world **out);
/* A world of one's own, to change it; world_destroy() frees it. */
int world_create(enum world_shape shape, size_t count,
		 const struct mpl_plane_config *config, struct world **out);
void world_destroy(struct world *world);
void world_free_all(void);

/*
 * A reader of the calling thread, online; NULL if none is to be had.
 * world_leave() takes it offline and unregisters it; NULL is fine.
 */
struct mpl_reader *world_enter(struct mpl_plane *plane);
void world_leave(struct mpl_reader *reader);

/* The callbacks of all io regions: lock-free, reads give 0. */
extern const struct mpl_io_ops world_io_ops;

#endif
