/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/ram_poison.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/vector.h"
#include "lib/hugepage.h"
#include "lib/plane.h"
#include "lib/ram.h"
#include "lib/txn.h"

int mpl_poison_change(const struct mpl_poison *from, bool more, uint64_t start,
		      uint64_t last, struct mpl_poison **out)
{
	struct mpl_poison *poison;
	struct mpl_span part;

	if (!more &&
	    (!from || !mpl_spans_part(&from->spans, 1, start, last, &part)))
		return -ENOENT;
	poison = calloc(1, sizeof(*poison));
	if (!poison)
		return -ENOMEM;
	poison->refs = 1;
	if (MPL_RESERVE(&poison->spans, (from ? from->spans.count : 0) + 1)) {
		free(poison);
		return -ENOMEM;
	}
	if (from) {
		memcpy(poison->spans.items, from->spans.items,
		       from->spans.count * sizeof(from->spans.items[0]));
		poison->spans.count = from->spans.count;
	}
	if (more)
		mpl_spans_add(&poison->spans, start, last);
	else
		mpl_spans_cut(&poison->spans, start, last);
	if (!poison->spans.count) {
		mpl_poison_unref(poison);
		poison = NULL;
	}
	*out = poison;
	return 0;
}

void mpl_poison_unref(struct mpl_poison *poison)
{
	if (!poison || --poison->refs)
		return;
	free(poison->spans.items);
	free(poison);
}

bool mpl_poison_at(const struct mpl_poison *poison, uint64_t at, uint64_t *last)
{
	struct mpl_span part;

	if (!poison)
		return false;
	if (mpl_spans_part(&poison->spans, 1, at, *last, &part)) {
		*last = part.start == at ? part.last : part.start - 1;
		return part.start == at;
	}
	return false;
}

/* A commit of its own; whole host pages. */
static int commit(struct mpl_region *region, bool poisoned, uint64_t offset,
		  uint64_t len)
{
	/* Pages are whole in the host's addresses: the caller's memory may
	 * begin inside one. */
	uint64_t into = (uintptr_t)region->host & (region->page_size - 1);
	uint64_t start = (offset + into) & ~(region->page_size - 1);
	uint64_t end = mpl_whole_pages(offset + len + into, region->page_size);
	struct mpl_txn *tx = mpl_begin(region->plane);

	start = start > into ? start - into : 0;
	end -= into;
	mpl_txn_poison(tx, region, poisoned, start, end - 1);
	return mpl_commit(tx);
}

static bool has(const struct mpl_region *region, uint64_t offset, uint64_t len)
{
	return region->ram && len && offset < region->max_size &&
	       len <= region->max_size - offset;
}

int mpl_ram_poison(struct mpl_region *region, uint64_t offset, uint64_t len)
{
	if (!has(region, offset, len))
		return -EINVAL;
	return commit(region, true, offset, len);
}

/* The lowest poisoned part of [start, last]. */
static bool poisoned_part(const struct mpl_region *region, uint64_t start,
			  uint64_t last, struct mpl_span *part)
{
	bool locked = mpl_control_lock(region->plane);
	bool any = region->poison &&
		   mpl_spans_part(&region->poison->spans, 1, start, last, part);

	mpl_control_unlock(region->plane, locked);
	return any;
}

int mpl_ram_unpoison(struct mpl_region *region, uint64_t offset, uint64_t len)
{
	struct mpl_span part;
	uint64_t at = offset;
	int err = 0;

	if (!has(region, offset, len))
		return -EINVAL;
	/* Healthy pages among them keep what they hold. */
	while (!err && region->ram->backing != MPL_RAM_CALLER &&
	       poisoned_part(region, at, offset + len - 1, &part)) {
		uint64_t page = region->page_size;
		uint64_t start = part.start & ~(page - 1);

		at = mpl_whole_pages(part.last + 1, page);
		err = mpl_ram_drop(region->ram, start, at - start);
		if (at >= offset + len)
			break;
	}
	return err ? err : commit(region, false, offset, len);
}
