/* SPDX-License-Identifier: BSD-3-Clause */
/* Post-copy: missing pages are somebody else's to bring. */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/ram.h"
#include "lib/region.h"

/* The accessible part of a block of our own. */
static int range_of(struct mpl_region *region, struct uffdio_range *out)
{
	struct mpl_ram_block *block = region->ram;

	if (!block || block->backing == MPL_RAM_CALLER)
		return -EINVAL;
	*out = (struct uffdio_range){
		.start = (uintptr_t)block->host,
		.len = mpl_ram_used(block),
	};
	return out->len ? 0 : -EINVAL;
}

/* What the ioctl says, in our words. */
static int failed(const struct mpl_region *region, int err)
{
	if (err == -ENOTTY || err == -EBADF || err == -EPERM)
		err = -EINVAL;
	return mpl_ram_refuse(
		region->ram, err,
		"userfaultfd: %s; it must be a userfaultfd after UFFDIO_API, with the features for hugetlbfs or shmem",
		strerror(-err));
}

int mpl_ram_userfaultfd_register(struct mpl_region *region, int uffd)
{
	struct uffdio_register how = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int err = range_of(region, &how.range);

	if (err)
		return err;
	if (ioctl(uffd, UFFDIO_REGISTER, &how))
		return failed(region, -errno);
	if (how.ioctls & (UINT64_C(1) << _UFFDIO_COPY))
		return 0;
	ioctl(uffd, UFFDIO_UNREGISTER, &how.range);
	return failed(region, -ENOTSUP);
}

int mpl_ram_userfaultfd_unregister(struct mpl_region *region, int uffd)
{
	struct uffdio_range range;
	int err = range_of(region, &range);

	if (err)
		return err;
	return ioctl(uffd, UFFDIO_UNREGISTER, &range) ? failed(region, -errno) :
							0;
}
