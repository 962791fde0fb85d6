/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel says about page sizes and pools of huge pages. */
#ifndef MEMPLANE_LIB_HUGEPAGE_H
#define MEMPLANE_LIB_HUGEPAGE_H

#include <stdbool.h>
#include <stdint.h>

struct mpl_hugepage_pool {
	uint64_t total;
	uint64_t free;
	uint64_t reserved; /* of the free: promised to mappings */
	uint64_t overcommit;
	uint64_t surplus; /* of the total: from beyond the pool */
};

uint64_t mpl_base_page(void);

static inline bool mpl_is_page_size(uint64_t size)
{
	return size >= 4096 && (size & (size - 1)) == 0;
}

/* `size` up to whole pages; 0 if that is more than can be. */
static inline uint64_t mpl_whole_pages(uint64_t size, uint64_t page)
{
	return (size + page - 1) & ~(page - 1);
}

/* Errors: -ENOENT: the kernel has no pages of that size. */
int mpl_hugepage_pool(uint64_t size, struct mpl_hugepage_pool *out);

/* Page size of a file, from its file system.  Errors: -errno. */
int mpl_hugepage_of_file(int fd, uint64_t *size);

/*
 * The smallest page size of the mappings in [host, host + len).  By an ioctl
 * (PROCMAP_QUERY, Linux 6.11), before that by reading smaps, which takes longer
 * the more is mapped.  Errors: -EFAULT (nothing is mapped there), -errno.
 */
int mpl_hugepage_of_mapping(const void *host, uint64_t len, uint64_t *size);
/* The two ways, for a test. */
int mpl_hugepage_by_query(const void *host, uint64_t len, uint64_t *size);
int mpl_hugepage_by_smaps(const void *host, uint64_t len, uint64_t *size);

#endif
