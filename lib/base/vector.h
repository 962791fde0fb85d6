/* SPDX-License-Identifier: BSD-3-Clause */
/* Growing arrays: {type *items; size_t count, capacity;} in any struct. */
#ifndef MEMPLANE_BASE_VECTOR_H
#define MEMPLANE_BASE_VECTOR_H

#include <stddef.h>

/*
 * Make room for `count` items of `size` bytes; what is there stays.
 * Returns 0 or -ENOMEM, and then nothing changed.
 */
int mpl_grow(void **items, size_t *capacity, size_t count, size_t size);

/* Room in `vector` for `more` items beyond its count. */
#define MPL_RESERVE(vector, more)                                    \
	((vector)->count + (more) <= (vector)->capacity ?            \
		 0 :                                                 \
		 mpl_grow((void **)&(vector)->items,                 \
			  &(vector)->capacity,                       \
			  (vector)->count + (more), sizeof(*(vector)->items)))

struct mpl_indexes {
	unsigned int *items;
	size_t count;
	size_t capacity;
};

#endif
