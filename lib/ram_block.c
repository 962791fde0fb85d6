/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/ram_block.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int mpl_ram_block_attach(struct mpl_region *region,
			 const struct mpl_ram_config *config)
{
	static const struct mpl_ram_config defaults;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	void *host;

	if (!config)
		config = &defaults;
	region->max_size = config->max_size ? config->max_size : region->size;
	if (region->max_size < region->size)
		return -EINVAL;
	if (config->unbacked || config->host) {
		region->host = config->unbacked ? NULL : config->host;
		region->page_size = region->host ? page : 0;
		return 0;
	}
	if (!region->max_size)
		return 0;
	if (region->max_size > UINT64_MAX / 2)
		return -EINVAL;
	region->host_size = (region->max_size + page - 1) & ~(page - 1);
	host = mmap(NULL, region->host_size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (host == MAP_FAILED) {
		region->host_size = 0;
		return -ENOMEM;
	}
	/* Only a wish. */
	(void)madvise(host, region->host_size, MADV_HUGEPAGE);
	region->host = host;
	region->page_size = page;
	return 0;
}

void mpl_ram_block_detach(struct mpl_region *region)
{
	if (region->host_size)
		munmap(region->host, region->host_size);
}
