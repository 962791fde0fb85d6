/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/hugepage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

/* From include/uapi/linux/fs.h of Linux 6.11; older headers lack it. */
struct procmap_query {
	uint64_t size;
	uint64_t query_flags;
	uint64_t query_addr;
	uint64_t vma_start;
	uint64_t vma_end; /* exclusive */
	uint64_t vma_flags;
	uint64_t vma_page_size;
	uint64_t vma_offset;
	uint64_t inode;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t vma_name_size;
	uint32_t build_id_size;
	uint64_t vma_name_addr;
	uint64_t build_id_addr;
};
#define PROCMAP_QUERY_IOCTL _IOWR('f', 17, struct procmap_query)

uint64_t mpl_base_page(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static int read_number(uint64_t page, const char *name, uint64_t *out)
{
	char path[128], text[32];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
		 (unsigned long long)(page / 1024), name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ENOENT;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return -ENOENT;
	text[len] = '\0';
	*out = strtoull(text, NULL, 10);
	return 0;
}

int mpl_hugepage_pool(uint64_t size, struct mpl_hugepage_pool *out)
{
	int err = read_number(size, "nr_hugepages", &out->total);

	if (!err)
		err = read_number(size, "free_hugepages", &out->free);
	if (!err)
		err = read_number(size, "resv_hugepages", &out->reserved);
	if (!err)
		err = read_number(size, "nr_overcommit_hugepages",
				  &out->overcommit);
	if (!err)
		err = read_number(size, "surplus_hugepages", &out->surplus);
	return err;
}

int mpl_hugepage_of_file(int fd, uint64_t *size)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return -errno;
	*size = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize :
					       mpl_base_page();
	return 0;
}

int mpl_hugepage_by_query(const void *host, uint64_t len, uint64_t *size)
{
	uint64_t at = (uintptr_t)host, end = at + len;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	*size = UINT64_MAX;
	while (at<end && * size> mpl_base_page()) {
		struct procmap_query query = {
			.size = sizeof(query),
			.query_addr = at,
		};

		if (ioctl(fd, PROCMAP_QUERY_IOCTL, &query)) {
			err = errno == ENOENT ? -EFAULT : -errno;
			break;
		}
		if (query.vma_page_size < *size)
			*size = query.vma_page_size;
		at = query.vma_end;
	}
	close(fd);
	return err;
}

/* "START-END ..." begins a mapping, "KernelPageSize: N kB" is one of its. */
int mpl_hugepage_by_smaps(const void *host, uint64_t len, uint64_t *size)
{
	uint64_t at = (uintptr_t)host, last = at + len - 1;
	unsigned long long start, end, kib;
	bool inside = false;
	char *line = NULL;
	size_t room = 0;
	FILE *file = fopen("/proc/self/smaps", "re");

	if (!file)
		return -errno;
	*size = UINT64_MAX;
	while (getline(&line, &room, file) > 0) {
		if (sscanf(line, "%llx-%llx ", &start, &end) == 2) {
			if (start > last)
				break;
			inside = end > at;
		} else if (inside &&
			   sscanf(line, "KernelPageSize: %llu", &kib) == 1 &&
			   kib * 1024 < *size) {
			*size = kib * 1024;
		}
	}
	free(line);
	fclose(file);
	return *size == UINT64_MAX ? -EFAULT : 0;
}

int mpl_hugepage_of_mapping(const void *host, uint64_t len, uint64_t *size)
{
	int err = mpl_hugepage_by_query(host, len, size);

	/* Old kernels know no such ioctl. */
	if (err && err != -EFAULT)
		err = mpl_hugepage_by_smaps(host, len, size);
	return err;
}
