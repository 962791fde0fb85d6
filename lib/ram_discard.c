/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory given back to the host and taken again, and who hears of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/hugepage.h"
#include "lib/ram.h"
#include "lib/ram_populate.h"
#include "lib/region.h"

struct mpl_ram_listener {
	struct mpl_link link; /* in block->listeners, the oldest first */
	struct mpl_region *region;
	const struct mpl_ram_listener_ops *ops;
	void *opaque;
};

static struct mpl_ram_listener *listener_of(struct mpl_link *link)
{
	return MPL_OF(link, struct mpl_ram_listener, link);
}

static int tell_populated(struct mpl_ram_listener *listener,
			  const struct mpl_span *part)
{
	return listener->ops->populated(listener->opaque, listener->region,
					part->start,
					part->last - part->start + 1);
}

static void tell_discarded(struct mpl_ram_listener *listener,
			   const struct mpl_span *part)
{
	if (listener->ops->discarded)
		listener->ops->discarded(listener->opaque, listener->region,
					 part->start,
					 part->last - part->start + 1);
}

/* Tell the listeners before `end`, the newest first, that it is gone. */
static void tell_all_discarded(struct mpl_ram_block *block,
			       const struct mpl_link *end,
			       const struct mpl_span *part)
{
	for (struct mpl_link *link = end->prev; link != &block->listeners;
	     link = link->prev)
		tell_discarded(listener_of(link), part);
}

/* All of them or, after an error, none. */
static int tell_all_populated(struct mpl_ram_block *block,
			      const struct mpl_span *part)
{
	struct mpl_link *link;

	MPL_LIST_EACH(link, &block->listeners) {
		int err = tell_populated(listener_of(link), part);

		if (!err)
			continue;
		tell_all_discarded(block, link, part);
		return err;
	}
	return 0;
}

/* The lowest part of [start, last] that is in use; false: none is. */
static bool used_part(const struct mpl_ram_block *block, uint64_t start,
		      uint64_t last, struct mpl_span *part)
{
	return mpl_spans_part(&block->discarded, 0, start, last, part);
}

int mpl_ram_drop(const struct mpl_ram_block *block, uint64_t offset,
		 uint64_t len)
{
	int err;

	if (block->backing == MPL_RAM_CALLER)
		return -ENOTSUP;
	if (block->shared)
		err = fallocate(block->fd,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)(block->fd_offset + offset), (off_t)len);
	else
		err = madvise(block->host + offset, len, MADV_DONTNEED);
	if (err)
		return errno == EOPNOTSUPP ? -ENOTSUP : -errno;
	return 0;
}

/* Lock the block for [offset, offset + len), whole pages of its memory. */
static int lock_pages(struct mpl_ram_block *block, uint64_t offset,
		      uint64_t len)
{
	int err;

	if (!block)
		return -EINVAL;
	err = -pthread_mutex_lock(&block->mutex);
	if (err)
		return err;
	if (mpl_ram_has(block, offset, len) &&
	    !((offset | len) & (block->page_size - 1)))
		return 0;
	pthread_mutex_unlock(&block->mutex);
	return mpl_ram_refuse(block, -EINVAL,
			      "[%#llx, +%#llx) is not of whole pages of %llu KiB within the %#llx bytes that are accessible",
			      (unsigned long long)offset,
			      (unsigned long long)len,
			      (unsigned long long)(block->page_size / 1024),
			      (unsigned long long)mpl_ram_used(block));
}

/* Tell everybody that what is in use of [start, last] goes. */
static void tell_going(struct mpl_ram_block *block, uint64_t start,
		       uint64_t last)
{
	struct mpl_span part;

	while (used_part(block, start, last, &part)) {
		tell_all_discarded(block, &block->listeners, &part);
		if (part.last == last)
			break;
		start = part.last + 1;
	}
}

/* It could not be dropped: they may use it again. */
static void tell_back(struct mpl_ram_block *block, uint64_t start,
		      uint64_t last)
{
	struct mpl_span part;

	while (used_part(block, start, last, &part)) {
		if (tell_all_populated(block, &part))
			mpl_ram_warn(
				block,
				"a listener refused [%#llx, %#llx], which could not be discarded: register it again",
				(unsigned long long)part.start,
				(unsigned long long)part.last);
		if (part.last == last)
			break;
		start = part.last + 1;
	}
}

int mpl_ram_discard(struct mpl_region *region, uint64_t offset, uint64_t len)
{
	struct mpl_ram_block *block = region->ram;
	uint64_t last = offset + len - 1;
	int err = lock_pages(block, offset, len);

	if (err)
		return err;
	if (block->backing == MPL_RAM_CALLER)
		err = mpl_ram_refuse(
			block, -ENOTSUP,
			"its memory is the caller's: discard it there");
	if (!err)
		err = mpl_spans_reserve(&block->discarded);
	if (!err) {
		tell_going(block, offset, last);
		err = mpl_ram_drop(block, offset, len);
		if (!err) {
			mpl_spans_add(&block->discarded, offset, last);
			mpl_ram_set_preallocated(block, false);
		} else {
			mpl_ram_refuse(block, err, "it cannot be discarded: %s",
				       strerror(-err));
			tell_back(block, offset, last);
		}
	}
	pthread_mutex_unlock(&block->mutex);
	return err;
}

int mpl_ram_populate(struct mpl_region *region, uint64_t offset, uint64_t len)
{
	struct mpl_ram_block *block = region->ram;
	uint64_t last = offset + len - 1;
	struct mpl_span part;
	int err = lock_pages(block, offset, len);

	if (err)
		return err;
	/* Cutting may leave one more range than there was. */
	err = mpl_spans_reserve(&block->discarded);
	while (!err &&
	       mpl_spans_part(&block->discarded, 1, offset, last, &part)) {
		if (block->page_size != mpl_base_page())
			err = mpl_populate(block->host + part.start,
					   part.last - part.start + 1,
					   block->page_size);
		if (err == -ENOMEM)
			mpl_ram_refuse(block, err,
				       "huge pages ran out: reserve with tools/mpl-hugepages");
		if (!err)
			err = tell_all_populated(block, &part);
		if (!err)
			mpl_spans_cut(&block->discarded, part.start, part.last);
		else
			(void)mpl_ram_drop(block, part.start,
					   part.last - part.start + 1);
	}
	pthread_mutex_unlock(&block->mutex);
	return err;
}

/* Take back what a listener was told of [0, end). */
static void replay_back(struct mpl_ram_listener *listener, uint64_t end)
{
	struct mpl_span part;

	for (uint64_t at = 0;
	     at < end && used_part(listener->region->ram, at, end - 1, &part);
	     at = part.last + 1)
		tell_discarded(listener, &part);
}

static int replay(struct mpl_ram_listener *listener)
{
	const struct mpl_ram_block *block = listener->region->ram;
	struct mpl_span part;

	for (uint64_t at = 0;
	     at < block->max && used_part(block, at, block->max - 1, &part);
	     at = part.last + 1) {
		int err = tell_populated(listener, &part);

		if (!err)
			continue;
		replay_back(listener, part.start);
		return err;
	}
	return 0;
}

int mpl_ram_listener_register(struct mpl_region *region,
			      const struct mpl_ram_listener_ops *ops,
			      void *opaque, struct mpl_ram_listener **out)
{
	struct mpl_ram_block *block = region->ram;
	struct mpl_ram_listener *listener;
	int err;

	if (!block || !ops->populated)
		return -EINVAL;
	listener = malloc(sizeof(*listener));
	if (!listener)
		return -ENOMEM;
	*listener = (struct mpl_ram_listener){
		.region = region,
		.ops = ops,
		.opaque = opaque,
	};
	err = -pthread_mutex_lock(&block->mutex);
	if (!err) {
		err = replay(listener);
		if (!err)
			mpl_list_append(&block->listeners, &listener->link);
		pthread_mutex_unlock(&block->mutex);
	}
	if (err) {
		free(listener);
		return err;
	}
	mpl_region_ref(region);
	*out = listener;
	return 0;
}

int mpl_ram_listener_unregister(struct mpl_ram_listener *listener)
{
	struct mpl_region *region = listener->region;
	struct mpl_ram_block *block = region->ram;
	int err = -pthread_mutex_lock(&block->mutex);

	if (err)
		return err;
	mpl_list_remove(&listener->link);
	replay_back(listener, block->max);
	pthread_mutex_unlock(&block->mutex);
	free(listener);
	mpl_region_unref(region);
	return 0;
}

void mpl_ram_forget_listeners(struct mpl_ram_block *block)
{
	struct mpl_link *link, *following;

	MPL_LIST_EACH_SAFE(link, following, &block->listeners)
		free(listener_of(link));
}
