/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/base/vector.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

int mpl_grow(void **items, size_t *capacity, size_t count, size_t size)
{
	size_t room = *capacity ? *capacity : 8;
	void *moved;

	while (room < count) {
		if (room > SIZE_MAX / 2)
			return -ENOMEM;
		room *= 2;
	}
	if (room > SIZE_MAX / size)
		return -ENOMEM;
	moved = realloc(*items, room * size);
	if (!moved)
		return -ENOMEM;
	*items = moved;
	*capacity = room;
	return 0;
}
