/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Growing an array: doubling, with new elements zeroed.  Ids in a trace are
 * counted up from 1 and are checked against what exists before they index
 * anything, so an array never grows by more than the input does.
 */
#ifndef REPLAY_VEC_H
#define REPLAY_VEC_H

#include <stdlib.h>
#include <string.h>

/* Make room for `need` elements of `size` bytes.  0 or -1. */
static inline int vec_reserve(void *array_at, size_t *cap, size_t need,
			      size_t size)
{
	void **array = array_at;
	size_t want = *cap ? *cap : 16;
	void *grown;

	if (need <= *cap)
		return 0;
	while (want < need)
		want *= 2;
	grown = reallocarray(*array, want, size);
	if (!grown)
		return -1;
	memset((char *)grown + *cap * size, 0, (want - *cap) * size);
	*array = grown;
	*cap = want;
	return 0;
}

#endif
