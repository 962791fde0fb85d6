/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include "lib/ram_map.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/hugepage.h"
#include "lib/plane.h"
#include "lib/region.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

/* What a transparent huge page takes on x86-64. */
static const uint64_t thp = 2 * MPL_MIB;

static bool wants_thp(const struct mpl_ram_block *block)
{
	return !(block->flags & MPL_RAM_NO_THP) &&
	       block->page_size == mpl_base_page();
}

int mpl_ram_reserve(struct mpl_ram_block *block)
{
	uint64_t guard = mpl_base_page();
	uint64_t align = block->page_size;
	uint64_t start, host, end;
	void *all;

	block->max = mpl_whole_pages(block->region->max_size, block->page_size);
	if (wants_thp(block) && block->max >= thp)
		align = thp;
	block->reserved = guard + block->max + guard + (align - guard);
	all = mmap(NULL, block->reserved, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (all == MAP_FAILED)
		return -ENOMEM;
	start = (uintptr_t)all;
	end = start + block->reserved;
	host = (start + guard + align - 1) & ~(align - 1);
	/* Give back what alignment does not need. */
	if (host - guard > start)
		munmap(all, host - guard - start);
	if (end > host + block->max + guard)
		munmap((void *)(host + block->max + guard),
		       end - (host + block->max + guard));
	block->host = (uint8_t *)host;
	block->reservation = (void *)(host - guard);
	block->reserved = block->max + 2 * guard;
	block->limit = block->max;
	return 0;
}

/* Make sure that the file has [0, last) of what is mapped. */
static int fit_file(const struct mpl_ram_block *block, uint64_t to)
{
	uint64_t need = block->fd_offset + to;
	struct stat stat_;

	if (fstat(block->fd, &stat_))
		return -errno;
	/* Devices have no length. */
	if (!S_ISREG(stat_.st_mode) || (uint64_t)stat_.st_size >= need)
		return 0;
	if (block->backing == MPL_RAM_MEMFD || block->flags & MPL_RAM_CREATE)
		return ftruncate(block->fd, (off_t)need) ? -errno : 0;
	/* The last page of a file may be shorter than a page. */
	if (need - (uint64_t)stat_.st_size < block->page_size &&
	    (uint64_t)stat_.st_size - block->fd_offset >= block->region->size)
		return 0;
	return mpl_ram_refuse(block, -ERANGE,
			      "the file has %#llx bytes, %#llx are needed: make it longer, or set MPL_RAM_CREATE",
			      (unsigned long long)stat_.st_size,
			      (unsigned long long)need);
}

/*
 * A fixed mapping failed, which may have left a hole: fill it.  If that cannot
 * be, somebody else may be there by now, so that what follows is given up:
 * never grown into, never unmapped.
 */
static void mend_reservation(struct mpl_ram_block *block, uint64_t from,
			     uint64_t to)
{
	void *wanted = block->host + from;
	void *again = mmap(wanted, to - from, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				   MAP_FIXED_NOREPLACE,
			   -1, 0);

	if (again == wanted)
		return;
	if (again != MAP_FAILED)
		munmap(again, to - from);
	block->limit = from;
	block->reserved = mpl_base_page() + from;
}

static int map_file(struct mpl_ram_block *block, uint64_t from, uint64_t to)
{
	int flags = block->shared ? MAP_SHARED : MAP_PRIVATE;
	off_t offset = (off_t)(block->fd_offset + from);
	void *probe, *host;
	int err;

	if (block->flags & MPL_RAM_NORESERVE)
		flags |= MAP_NORESERVE;
	/*
	 * A fixed mapping that fails has already unmapped what was there.
	 * Whatever can fail does so here: huge pages that this sets aside stay
	 * set aside, for the file.
	 */
	probe = mmap(NULL, to - from, PROT_READ | PROT_WRITE, flags, block->fd,
		     offset);
	if (probe == MAP_FAILED)
		return -errno;
	host = mmap(block->host + from, to - from, PROT_READ | PROT_WRITE,
		    flags | MAP_FIXED, block->fd, offset);
	err = -errno;
	munmap(probe, to - from);
	if (host != MAP_FAILED)
		return 0;
	mend_reservation(block, from, to);
	return err;
}

/* What is asked of the kernel for part of a block; wishes, and choices. */
static int advise(const struct mpl_ram_block *block, uint64_t from, uint64_t to)
{
	static const struct {
		uint32_t flag;
		int advice;
		const char *name;
	} choices[] = {
		{ MPL_RAM_DONTFORK, MADV_DONTFORK, "MPL_RAM_DONTFORK" },
		{ MPL_RAM_DONTDUMP, MADV_DONTDUMP, "MPL_RAM_DONTDUMP" },
		{ MPL_RAM_MERGEABLE, MADV_MERGEABLE, "MPL_RAM_MERGEABLE" },
	};
	uint8_t *host = block->host + from;
	char name[80];

	for (unsigned int i = 0; i < sizeof(choices) / sizeof(choices[0]);
	     i++) {
		if (!(block->flags & choices[i].flag) ||
		    !madvise(host, to - from, choices[i].advice))
			continue;
		return mpl_ram_refuse(block, -errno,
				      "this kernel refuses %s: leave it out",
				      choices[i].name);
	}
	if (block->page_size == mpl_base_page())
		(void)madvise(host, to - from,
			      wants_thp(block) ? MADV_HUGEPAGE :
						 MADV_NOHUGEPAGE);
	/* For /proc/PID/maps; names of shared memory are the file's. */
	snprintf(name, sizeof(name), "mpl:%.70s", block->region->name);
	if (block->fd < 0)
		(void)prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, host, to - from,
			    name);
	return 0;
}

/* Is it what the kernel says it is? */
static int check_pages(const struct mpl_ram_block *block, uint64_t from,
		       uint64_t to)
{
	uint64_t page;
	int err;

	/* They cannot be smaller. */
	if (block->page_size == mpl_base_page())
		return 0;
	err = mpl_hugepage_of_mapping(block->host + from, to - from, &page);
	if (!err && page != block->page_size)
		err = mpl_ram_refuse(block, -EMEDIUMTYPE,
				     "wanted pages of %#llx bytes, the kernel mapped pages of %#llx",
				     (unsigned long long)block->page_size,
				     (unsigned long long)page);
	return err;
}

int mpl_ram_map_quietly(struct mpl_ram_block *block, uint64_t to)
{
	uint64_t from = block->used;
	int err = 0;

	to = mpl_whole_pages(to, block->page_size);
	if (to <= from)
		return 0;
	if (to > block->limit)
		return -ENOSPC;
	if (block->fd < 0) {
		if (mprotect(block->host + from, to - from,
			     PROT_READ | PROT_WRITE))
			err = -errno;
	} else {
		err = fit_file(block, to);
		if (!err)
			err = map_file(block, from, to);
	}
	if (!err)
		err = check_pages(block, from, to);
	if (!err)
		err = mpl_ram_bind(block, from, to - from);
	if (!err)
		err = advise(block, from, to);
	if (!err)
		/* [B22] release; pairs with [B22] in mpl_ram_used() */
		__atomic_store_n(&block->used, to, __ATOMIC_RELEASE);
	return err;
}

int mpl_ram_map(struct mpl_ram_block *block, uint64_t to)
{
	struct mpl_hugepage_pool pool;
	uint64_t page = block->page_size;
	uint64_t more = mpl_whole_pages(to, page) - block->used;
	int err = mpl_ram_map_quietly(block, to);

	if (err != -ENOMEM)
		return err;
	if (page == mpl_base_page() || mpl_hugepage_pool(page, &pool))
		return mpl_ram_refuse(block, err,
				      "no memory for %#llx bytes more",
				      (unsigned long long)more);
	return mpl_ram_refuse(block, err,
			      "%llu huge pages of %llu KiB needed, %llu of %llu free: reserve with tools/mpl-hugepages",
			      (unsigned long long)(more / page),
			      (unsigned long long)(page / 1024),
			      (unsigned long long)(pool.free - pool.reserved),
			      (unsigned long long)pool.total);
}

void mpl_ram_close(struct mpl_ram_block *block)
{
	if (block->reservation)
		munmap(block->reservation, block->reserved);
	if (block->fd >= 0)
		close(block->fd);
	block->reservation = NULL;
	block->host = NULL;
	block->used = 0;
	block->fd = -1;
	block->shared = false;
}
