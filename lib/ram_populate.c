/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Preallocation: threads take chunks off a block until none is left.  Pages
 * are made by calls that report what a touch would be killed for.
 */
#define _GNU_SOURCE
#include "lib/ram_populate.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/hugepage.h"
#include "lib/ram.h"
#include "lib/region.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Between two calls of `progress`: some 10 ms. */
static const uint64_t chunk_size = 32 * MPL_MIB;

struct job {
	uint8_t *host;
	uint64_t len;
	uint64_t page;
	uint64_t chunk;
	uint64_t next; /* where the next chunk begins */
	uint64_t done; /* bytes */
	int err;       /* the first one; ends it all */
};

/* What a write there would do, as an error instead of a signal. */
int mpl_touch_page(void *host)
{
	/* Wakes nobody and adds 0 to the word, atomically. */
	uint32_t other = 0;
	uint32_t op = FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0);

	if (syscall(SYS_futex, &other, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0,
		    0L, host, op) >= 0)
		return 0;
	return -errno;
}

static int touch_pages(uint8_t *host, uint64_t len, uint64_t page)
{
	int err = 0;

	for (uint64_t at = 0; at < len && !err; at += page)
		err = mpl_touch_page(host + at);
	return err;
}

int mpl_populate(void *host, uint64_t len, uint64_t page)
{
	int err;

	do {
		err = madvise(host, len, MADV_POPULATE_WRITE) ? -errno : 0;
	} while (err == -EINTR || err == -EAGAIN);
	/* Before Linux 5.14 there is no such advice. */
	if (err == -EINVAL)
		err = touch_pages(host, len, page);
	if (err == -EFAULT)
		return -ENOMEM;
	return err == -EHWPOISON ? -EIO : err;
}

/* Do one chunk; false: there is nothing left to do. */
static bool do_chunk(struct job *job)
{
	uint64_t at, len;
	int err, none = 0;

	if (__atomic_load_n(&job->err, __ATOMIC_RELAXED))
		return false;
	at = __atomic_fetch_add(&job->next, job->chunk, __ATOMIC_RELAXED);
	if (at >= job->len)
		return false;
	len = job->len - at < job->chunk ? job->len - at : job->chunk;
	err = mpl_populate(job->host + at, len, job->page);
	if (err)
		__atomic_compare_exchange_n(&job->err, &none, err, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	else
		__atomic_fetch_add(&job->done, len, __ATOMIC_RELAXED);
	return true;
}

static void *work(void *arg)
{
	while (do_chunk(arg))
		;
	return NULL;
}

static void report(struct job *job, const struct mpl_ram_prealloc *how)
{
	uint64_t done = __atomic_load_n(&job->done, __ATOMIC_RELAXED);
	int none = 0;

	if (!how->progress || how->progress(how->opaque, done, job->len) ||
	    done == job->len)
		return;
	__atomic_compare_exchange_n(&job->err, &none, -ECANCELED, false,
				    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* Up to `wanted` helpers; fewer if the system has no more threads. */
static unsigned int start(struct job *job, unsigned int wanted,
			  pthread_t *threads)
{
	unsigned int count;
	sigset_t all, before;

	/* The embedder's signals are for its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (count = 0; count < wanted; count++)
		if (pthread_create(&threads[count], NULL, work, job))
			break;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return count;
}

int mpl_ram_populate_pages(struct mpl_ram_block *block, uint64_t offset,
			   uint64_t len, const struct mpl_ram_prealloc *how)
{
	static const struct mpl_ram_prealloc alone = { .threads = 1 };
	pthread_t threads[MPL_RAM_THREADS_MAX];
	struct job job = {
		.host = block->host + offset,
		.len = len,
		.page = block->page_size,
		.chunk = mpl_whole_pages(chunk_size, block->page_size),
	};
	unsigned int helpers, wanted;

	if (!how)
		how = &alone;
	if (how->threads > MPL_RAM_THREADS_MAX)
		return -EINVAL;
	wanted = how->threads ? how->threads - 1 : 0;
	if (wanted > len / job.chunk)
		wanted = (unsigned int)(len / job.chunk);
	helpers = start(&job, wanted, threads);
	while (do_chunk(&job))
		report(&job, how);
	for (unsigned int i = 0; i < helpers; i++)
		pthread_join(threads[i], NULL);
	if (!job.err)
		report(&job, how);
	return job.err;
}

int mpl_ram_preallocate(struct mpl_region *region, uint64_t offset,
			uint64_t len, const struct mpl_ram_prealloc *how)
{
	struct mpl_ram_block *block = region->ram;
	uint64_t page, start_, used;
	int err;

	if (!block || block->backing == MPL_RAM_CALLER ||
	    !mpl_ram_has(block, offset, len))
		return -EINVAL;
	used = mpl_ram_used(block);
	page = block->page_size;
	start_ = offset & ~(page - 1);
	len = mpl_whole_pages(offset + len, page) - start_;
	err = mpl_ram_populate_pages(block, start_, len, how);
	if (err == -ENOMEM)
		return mpl_ram_refuse(block, err,
				      "pages of %llu KiB ran out: reserve more (tools/mpl-hugepages), or free memory",
				      (unsigned long long)(page / 1024));
	if (!err && !start_ && len == used)
		mpl_ram_set_preallocated(block, mpl_ram_used(block) == used);
	return err;
}
