/* SPDX-License-Identifier: BSD-3-Clause */
/* Coalesced zones of a region: immutable tables, replaced as a whole. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/region.h"

struct mpl_coalesced *mpl_coalesced_ref(struct mpl_coalesced *coalesced)
{
	if (coalesced)
		__atomic_add_fetch(&coalesced->refs, 1, __ATOMIC_RELAXED);
	return coalesced;
}

void mpl_coalesced_unref(struct mpl_coalesced *coalesced)
{
	/* [B4] as in mpl_device_unref() */
	if (coalesced &&
	    __atomic_sub_fetch(&coalesced->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(coalesced);
}

int mpl_coalesced_with(const struct mpl_coalesced *from, uint64_t offset,
		       uint64_t last, struct mpl_coalesced **out)
{
	uint32_t count = from ? from->count : 0;
	struct mpl_coalesced *table = malloc(
		sizeof(*table) + (count + 1) * sizeof(table->zones[0]));

	if (!table)
		return -ENOMEM;
	table->refs = 1;
	table->count = count + 1;
	if (from)
		memcpy(table->zones, from->zones,
		       count * sizeof(table->zones[0]));
	table->zones[count].offset = offset;
	table->zones[count].last = last;
	*out = table;
	return 0;
}
