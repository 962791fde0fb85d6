/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a block's pages come from: wishes, files, and their sizes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/hugepage.h"
#include "lib/plane.h"
#include "lib/ram.h"
#include "lib/ram_map.h"
#include "lib/region.h"

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

static int base_two(uint64_t size)
{
	return 63 - __builtin_clzll(size);
}

/* "2 MiB" */
static const char *say_size(char *text, size_t room, uint64_t size)
{
	static const char *const units[] = { "KiB", "MiB", "GiB" };
	unsigned int unit = 0;

	for (size /= 1024; size >= 1024 && unit < 2; unit++)
		size /= 1024;
	snprintf(text, room, "%llu %s", (unsigned long long)size, units[unit]);
	return text;
}

/* Add to the block's sentence why pages of this size were not to be had. */
static void note_refusal(struct mpl_ram_block *block, uint64_t page, int err)
{
	uint64_t size = block->region->size;
	size_t len = strlen(block->refused);
	char *text = block->refused + len;
	size_t room = sizeof(block->refused) - len;
	struct mpl_hugepage_pool pool;
	char unit[32];

	say_size(unit, sizeof(unit), page);
	if (len) {
		snprintf(text, room, "; ");
		len = strlen(text);
		text += len;
		room -= len;
	}
	if (page == mpl_base_page())
		snprintf(text, room, "%s pages: %s", unit, strerror(-err));
	else if (mpl_hugepage_pool(page, &pool))
		snprintf(text, room, "%s pages: the kernel has none", unit);
	else if (err == -ENOMEM)
		snprintf(text, room, "%s pages: %llu needed, %llu of %llu free",
			 unit,
			 (unsigned long long)(mpl_whole_pages(size, page) /
					      page),
			 (unsigned long long)(pool.free - pool.reserved),
			 (unsigned long long)pool.total);
	else
		snprintf(text, room, "%s pages: %s", unit, strerror(-err));
}

static int open_memfd(struct mpl_ram_block *block, uint64_t page)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	char name[64];

	if (page != mpl_base_page())
		flags |= MFD_HUGETLB | (unsigned int)base_two(page)
					       << MFD_HUGE_SHIFT;
	snprintf(name, sizeof(name), "mpl:%s", block->region->name);
	block->fd = memfd_create(name, flags);
	if (block->fd < 0)
		return -errno;
	block->backing = MPL_RAM_MEMFD;
	block->shared = true;
	return 0;
}

/* Nobody can make it shorter, nor longer if that is not planned. */
static int seal(const struct mpl_ram_block *block)
{
	int seals = F_SEAL_SHRINK;

	if (block->max == block->used)
		seals |= F_SEAL_GROW | F_SEAL_SEAL;
	return fcntl(block->fd, F_ADD_SEALS, seals) ? -errno : 0;
}

/* Anonymous memory or a memfd, of pages of this size. */
static int try_pages(struct mpl_ram_block *block, enum mpl_ram_backing backing,
		     uint64_t page)
{
	struct mpl_hugepage_pool pool;
	int err = 0;

	block->backing = backing;
	block->page_size = page;
	if (page != mpl_base_page())
		err = mpl_hugepage_pool(page, &pool);
	if (!err && (page != mpl_base_page() || backing == MPL_RAM_MEMFD))
		err = open_memfd(block, page);
	if (!err)
		err = mpl_ram_reserve(block);
	if (!err)
		err = mpl_ram_map_quietly(block, block->region->size);
	if (!err && block->fd >= 0)
		err = seal(block);
	if (err)
		mpl_ram_close(block);
	return err;
}

static int by_wishes(struct mpl_ram_block *block,
		     const struct mpl_ram_config *config)
{
	const uint64_t base = mpl_base_page();
	char unit[32];
	int err = -ENOMEM;

	if (!config->page_sizes[0]) {
		err = try_pages(block, config->backing, base);
		/* Of what is wrong with the configuration it was told. */
		if (err && err != -EINVAL)
			mpl_ram_refuse(
				block, err, "no memory of %#llx bytes: %s",
				(unsigned long long)block->region->max_size,
				strerror(-err));
		return err;
	}
	for (unsigned int i = 0; i < MPL_RAM_WISHES && config->page_sizes[i];
	     i++) {
		uint64_t page = config->page_sizes[i];

		err = try_pages(block, config->backing, page);
		if (!err && block->refused[0])
			mpl_ram_warn(block, "%s; got %s pages", block->refused,
				     say_size(unit, sizeof(unit), page));
		/* A node that is not there, nodes that may not be used ... */
		if (!err || err == -EINVAL)
			return err;
		note_refusal(block, page, err);
	}
	return mpl_ram_refuse(block, err == -ENOENT ? -ENOMEM : err,
			      "%s: reserve with tools/mpl-hugepages, or add 4096 to page_sizes",
			      block->refused);
}

/* A file without a name in a directory. */
static int open_in_directory(struct mpl_ram_block *block, const char *path)
{
	char name[4096];

	if (snprintf(name, sizeof(name), "%s/mpl-XXXXXX", path) >=
	    (int)sizeof(name))
		return -ENAMETOOLONG;
	block->fd = mkostemp(name, O_CLOEXEC);
	if (block->fd < 0)
		return -errno;
	unlink(name);
	/* It has to be as long as what is mapped of it. */
	block->flags |= MPL_RAM_CREATE;
	return 0;
}

static int open_path(struct mpl_ram_block *block, const char *path)
{
	int flags = block->flags & MPL_RAM_PRIVATE ? O_RDONLY : O_RDWR;
	struct stat stat_;
	int err = 0;

	if (!path)
		return mpl_ram_refuse(block, -EINVAL, "`path` is not set");
	if (!stat(path, &stat_) && S_ISDIR(stat_.st_mode)) {
		err = open_in_directory(block, path);
	} else {
		if (block->flags & MPL_RAM_CREATE)
			flags = O_RDWR | O_CREAT;
		block->fd = open(path, flags | O_CLOEXEC, 0600);
		if (block->fd < 0)
			err = -errno;
	}
	return err ? mpl_ram_refuse(block, err, "%.100s: %s", path,
				    strerror(-err)) :
		     0;
}

/* Are the file's pages of a size that was wished for? */
static int check_wishes(struct mpl_ram_block *block,
			const struct mpl_ram_config *config)
{
	char got[32], wish[32];
	unsigned int i;

	for (i = 0; i < MPL_RAM_WISHES && config->page_sizes[i]; i++) {
		if (config->page_sizes[i] == block->page_size)
			break;
	}
	say_size(got, sizeof(got), block->page_size);
	say_size(wish, sizeof(wish), config->page_sizes[0]);
	if (i > 0)
		snprintf(block->refused, sizeof(block->refused),
			 "the file system has %s pages, not %s", got, wish);
	if (i < MPL_RAM_WISHES && config->page_sizes[i]) {
		if (i > 0)
			mpl_ram_warn(block, "%s", block->refused);
		return 0;
	}
	if (!config->page_sizes[0])
		return 0;
	return mpl_ram_refuse(block, -EINVAL,
			      "%s: give the mount point of a hugetlbfs with such pages (tools/mpl-hugepages mount)",
			      block->refused);
}

static int by_file(struct mpl_ram_block *block,
		   const struct mpl_ram_config *config)
{
	int err = mpl_hugepage_of_file(block->fd, &block->page_size);

	if (!err)
		err = check_wishes(block, config);
	if (err)
		return err;
	block->shared = !(block->flags & MPL_RAM_PRIVATE);
	block->fd_offset = config->fd_offset;
	if (block->fd_offset & (block->page_size - 1))
		return mpl_ram_refuse(
			block, -EINVAL,
			"fd_offset %#llx is no multiple of the page size %#llx",
			(unsigned long long)block->fd_offset,
			(unsigned long long)block->page_size);
	/* Copies of huge pages cannot be set aside: they would be a SIGBUS. */
	if (!block->shared && block->page_size != mpl_base_page())
		return mpl_ram_refuse(block, -EINVAL,
				      "huge pages cannot be MPL_RAM_PRIVATE");
	err = mpl_ram_reserve(block);
	return err ? err : mpl_ram_map(block, block->region->size);
}

int mpl_ram_open(struct mpl_ram_block *block,
		 const struct mpl_ram_config *config)
{
	int err;

	if (block->flags & MPL_RAM_MERGEABLE &&
	    (config->backing != MPL_RAM_ANONYMOUS ||
	     (config->page_sizes[0] &&
	      config->page_sizes[0] != mpl_base_page())))
		return mpl_ram_refuse(block, -EINVAL,
				      "only anonymous memory of 4 KiB pages can be MPL_RAM_MERGEABLE");
	switch (config->backing) {
	case MPL_RAM_PATH:
		err = open_path(block, config->path);
		break;
	case MPL_RAM_FD:
		block->fd = fcntl(config->fd, F_DUPFD_CLOEXEC, 0);
		err = block->fd < 0 ?
			      mpl_ram_refuse(block, -errno, "`fd` %d: %s",
					     config->fd, strerror(errno)) :
			      0;
		break;
	default:
		return by_wishes(block, config);
	}
	return err ? err : by_file(block, config);
}
