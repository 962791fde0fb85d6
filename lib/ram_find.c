/* SPDX-License-Identifier: BSD-3-Clause */
/* From an offset of a region back to the addresses that show it. */
#include <errno.h>

#include <memplane/space.h>

#include "lib/address_space.h"
#include "lib/flat_view.h"
#include "lib/plane.h"
#include "lib/ram.h"

struct finding {
	uint64_t start; /* ram addresses */
	uint64_t last;
	int (*fn)(void *arg, const struct mpl_flat_range *range);
	void *arg;
};

static int tell(void *arg, struct mpl_interval *node)
{
	const struct finding *finding = arg;
	struct mpl_flat_range flat =
		MPL_OF(node, struct mpl_range, by_ram)->flat;

	if (node->last > finding->last)
		flat.last -= node->last - finding->last;
	if (node->start < finding->start) {
		flat.start += finding->start - node->start;
		flat.offset += finding->start - node->start;
	}
	return finding->fn(finding->arg, &flat);
}

int mpl_address_space_find(
	struct mpl_address_space *as, struct mpl_region *region,
	uint64_t offset, uint64_t len,
	int (*fn)(void *arg, const struct mpl_flat_range *range), void *arg)
{
	struct mpl_space *space = mpl_space_of(as);
	struct finding finding = { .fn = fn, .arg = arg };
	int ret;

	if (!region->ram || region->plane != space->plane || !len ||
	    offset + len - 1 < offset)
		return -EINVAL;
	if (mpl_control_held(space->plane))
		return -EDEADLK;
	if (offset >= region->max_size)
		return 0;
	if (len > region->max_size - offset)
		len = region->max_size - offset;
	finding.start = region->ram->ram_address + offset;
	finding.last = finding.start + len - 1;
	mpl_control_lock(space->plane);
	mpl_view_index_ram(space->view);
	ret = mpl_interval_each(&space->view->by_ram, finding.start,
				finding.last, tell, &finding);
	mpl_control_unlock(space->plane, true);
	return ret;
}
