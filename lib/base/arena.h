/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arenas: items of one size, named by index, at addresses that never change.
 *
 * An arena reserves address space for all items that it can ever hold, so
 * that `base + index * size` holds for its life, and makes memory accessible
 * in steps as it grows.  Steps are 2 MiB once the arena is large, and marked
 * for transparent huge pages, so that walks through it take few TLB entries.
 *
 *     reserved  |#### in use ####|.... accessible ....|     no access     |
 *               base             count                committed           max
 *
 * One thread at a time allocates and frees (the control side).  Whether
 * somebody may still be reading a freed item is the caller's matter.
 */
#ifndef MEMPLANE_BASE_ARENA_H
#define MEMPLANE_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct mpl_arena {
	char *base;
	const char *view; /* the same memory: base, or a mapping without
			   * the right to write */
	size_t item_size;
	uint32_t max;	    /* items that fit */
	uint32_t count;	    /* items ever handed out */
	uint32_t live;	    /* items handed out and not freed */
	uint32_t free_head; /* chain through freed items; 0: none */
	size_t committed;   /* bytes that may be touched */
};

/*
 * `item_size` in bytes, at least 4.  Item 0 is never handed out by
 * mpl_arena_alloc(); it is accessible from the start and zero.
 * Errors: -ENOMEM.
 */
int mpl_arena_init(struct mpl_arena *arena, size_t item_size, uint32_t max);

/*
 * The same with two mappings of one memory file: `base` to write through, and
 * `view` to read through.  No huge pages.  Errors: -ENOMEM.
 */
int mpl_arena_init_twice(struct mpl_arena *arena, size_t item_size,
			 uint32_t max);
void mpl_arena_destroy(struct mpl_arena *arena);

/* Errors: -ENOSPC (all `max` are live), -ENOMEM.  Contents are undefined. */
int mpl_arena_alloc(struct mpl_arena *arena, uint32_t *index);
void mpl_arena_free(struct mpl_arena *arena, uint32_t index);

static inline void *mpl_arena_at(const struct mpl_arena *arena, uint32_t index)
{
	return arena->base + (size_t)index * arena->item_size;
}

#endif
