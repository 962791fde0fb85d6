/* SPDX-License-Identifier: BSD-3-Clause */
/* Where memory comes from, on machines where that makes a difference. */
#include <errno.h>
#include <numaif.h>

#include "lib/ram.h"

/* As many as a mask of ours has; the kernel wants one more than it uses. */
#define NODES 64
/* The kernel refuses a mask that is smaller than its own. */
#define KERNEL_NODES 1024

/* Nodes that this process may take memory from. */
static int allowed_nodes(uint64_t *out)
{
	unsigned long mask[KERNEL_NODES / (8 * sizeof(long))] = { 0 };

	if (get_mempolicy(NULL, mask, KERNEL_NODES, NULL, MPOL_F_MEMS_ALLOWED))
		return -errno;
	*out = mask[0];
	return 0;
}

int mpl_ram_bind(const struct mpl_ram_block *block, uint64_t offset,
		 uint64_t len)
{
	static const int modes[] = {
		[MPL_NUMA_BIND] = MPOL_BIND,
		[MPL_NUMA_PREFERRED] = MPOL_PREFERRED,
		[MPL_NUMA_INTERLEAVE] = MPOL_INTERLEAVE,
	};
	unsigned long mask = block->numa_nodes;
	uint64_t allowed = 0;
	int err;

	if (!block->numa_nodes || !len)
		return 0;
	err = allowed_nodes(&allowed);
	if (err)
		return mpl_ram_refuse(
			block, err,
			"the kernel has no NUMA policies; leave numa_nodes 0");
	if (block->numa_nodes & ~allowed)
		return mpl_ram_refuse(block, -EINVAL,
				      "NUMA nodes %#llx wanted, this process may use %#llx: see numactl --hardware",
				      (unsigned long long)block->numa_nodes,
				      (unsigned long long)allowed);
	if (mbind(block->host + offset, len, modes[block->numa_policy], &mask,
		  NODES + 1, 0)) {
		err = -errno;
		return mpl_ram_refuse(block, err,
				      "binding to NUMA nodes %#llx failed",
				      (unsigned long long)block->numa_nodes);
	}
	return 0;
}
