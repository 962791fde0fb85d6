/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks come and go, grow, and are asked about. */
#include "lib/ram_block.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/control.h"
#include "lib/hugepage.h"
#include "lib/plane.h"
#include "lib/ram.h"

int mpl_ram_refuse(const struct mpl_ram_block *block, int err,
		   const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	mpl_log(&block->region->plane->data.log, MPL_LOG_ERROR,
		"ram \"%.40s\": %s", block->region->name, text);
	return err;
}

void mpl_ram_warn(const struct mpl_ram_block *block, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	mpl_log(&block->region->plane->data.log, MPL_LOG_WARNING,
		"ram \"%.40s\": %s", block->region->name, text);
}

static int block_new(struct mpl_region *region,
		     const struct mpl_ram_config *config,
		     struct mpl_ram_block **out)
{
	struct mpl_ram_block *block = calloc(1, sizeof(*block));
	pthread_mutexattr_t checked;

	if (!block)
		return -ENOMEM;
	pthread_mutexattr_init(&checked);
	pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&block->mutex, &checked);
	pthread_mutexattr_destroy(&checked);
	mpl_list_init(&block->listeners);
	block->region = region;
	block->backing = config->host ? MPL_RAM_CALLER : config->backing;
	block->flags = config->flags;
	block->page_wished = config->page_sizes[0];
	block->numa_nodes = config->numa_nodes;
	block->numa_policy = config->numa_policy;
	block->wants_prealloc = config->prealloc.threads > 0;
	block->ram_address = config->ram_address;
	block->fd = -1;
	*out = block;
	return 0;
}

static void block_free(struct mpl_ram_block *block)
{
	mpl_ram_close(block);
	mpl_ram_forget_listeners(block);
	free(block->discarded.items);
	pthread_mutex_destroy(&block->mutex);
	free(block);
}

/* Memory that the caller brings: nothing can be wished for. */
static int take_callers(struct mpl_ram_block *block,
			const struct mpl_ram_config *config)
{
	uint64_t len = block->region->max_size;

	if (config->backing || config->page_sizes[0] || config->numa_nodes ||
	    config->prealloc.threads || config->flags & ~MPL_RAM_AT_ADDRESS)
		return mpl_ram_refuse(
			block, -EINVAL,
			"with `host` set, pages, flags, nodes and preallocation are the caller's own business");
	if ((uintptr_t)config->host + len < (uintptr_t)config->host)
		return mpl_ram_refuse(block, -EINVAL,
				      "host + length wraps around");
	block->host = config->host;
	block->max = block->used = len;
	/* What the kernel does not tell is taken to be small. */
	if (mpl_hugepage_of_mapping(config->host, len, &block->page_size))
		block->page_size = mpl_base_page();
	return 0;
}

static int check_config(const struct mpl_ram_block *block,
			const struct mpl_ram_config *config)
{
	uint64_t max = block->region->max_size;

	if ((unsigned int)config->backing > MPL_RAM_FD ||
	    (unsigned int)config->numa_policy > MPL_NUMA_INTERLEAVE)
		return -EINVAL;
	if (max > UINT64_MAX / 2 || config->fd_offset > UINT64_MAX / 2 - max)
		return mpl_ram_refuse(
			block, -EINVAL,
			"no process can map %#llx bytes at offset %#llx",
			(unsigned long long)max,
			(unsigned long long)config->fd_offset);
	for (unsigned int i = 0; i < MPL_RAM_WISHES; i++) {
		uint64_t page = config->page_sizes[i];

		if (!page)
			break;
		if (!mpl_is_page_size(page))
			return mpl_ram_refuse(block, -EINVAL,
					      "%#llx is no size of pages: wish for 4 KiB, 2 MiB or 1 GiB",
					      (unsigned long long)page);
	}
	return 0;
}

static int block_fill(struct mpl_ram_block *block,
		      const struct mpl_ram_config *config)
{
	struct mpl_region *region = block->region;
	int err = check_config(block, config);

	if (err)
		return err;
	if (config->host)
		return take_callers(block, config);
	err = mpl_ram_open(block, config);
	if (err || !block->wants_prealloc || !block->used)
		return err;
	err = mpl_ram_populate_pages(block, 0, block->used, &config->prealloc);
	if (err == -ENOMEM)
		mpl_ram_refuse(
			block, err,
			"memory ran out while %#llx bytes were preallocated",
			(unsigned long long)region->size);
	block->preallocated = !err;
	return err;
}

int mpl_ram_block_attach(struct mpl_region *region,
			 const struct mpl_ram_config *config)
{
	static const struct mpl_ram_config defaults;
	struct mpl_ram_block *block;
	int err;

	if (!config)
		config = &defaults;
	region->max_size = config->max_size ? config->max_size : region->size;
	if (region->max_size < region->size)
		return -EINVAL;
	if (config->unbacked || !region->max_size)
		return 0;
	err = block_new(region, config, &block);
	if (err)
		return err;
	err = block_fill(block, config);
	if (!err)
		err = mpl_ram_index_add(region->plane, block);
	if (err) {
		block_free(block);
		return err;
	}
	region->ram = block;
	region->host = block->host;
	region->page_size = block->page_size;
	return 0;
}

void mpl_ram_block_hide(struct mpl_region *region)
{
	if (region->ram)
		mpl_ram_index_remove(region->plane, region->ram);
}

void mpl_ram_block_detach(struct mpl_region *region)
{
	if (!region->ram)
		return;
	block_free(region->ram);
	region->ram = NULL;
}

int mpl_ram_block_grow(struct mpl_region *region, uint64_t size)
{
	struct mpl_ram_block *block = region->ram;
	uint64_t from;
	int err;

	if (!block || block->backing == MPL_RAM_CALLER || size <= block->used)
		return 0;
	from = block->used;
	err = mpl_ram_map(block, size);
	if (err || !block->wants_prealloc) {
		mpl_ram_set_preallocated(block, false);
		return err;
	}
	err = mpl_ram_populate_pages(block, from, block->used - from, NULL);
	if (err) {
		mpl_ram_set_preallocated(block, false);
		mpl_ram_refuse(block, err,
			       "memory ran out while it grew to %#llx bytes",
			       (unsigned long long)size);
	}
	return err;
}

int mpl_ram_query(const struct mpl_region *region, struct mpl_ram_info *out)
{
	struct mpl_ram_block *block = region->ram;

	if (!mpl_region_has_memory(region))
		return -EINVAL;
	*out = (struct mpl_ram_info){
		.name = region->name,
		.backing = MPL_RAM_UNBACKED,
		.size = mpl_region_size(region),
		.max_size = region->max_size,
		.refused = "",
		.fd = -1,
		.ram_address = MPL_RAM_NO_ADDRESS,
	};
	if (!block)
		return 0;
	out->backing = block->backing;
	out->flags = block->flags;
	out->host = block->host;
	out->page_wished = block->page_wished;
	out->page_size = block->page_size;
	out->refused = block->refused;
	out->fd = block->shared ? block->fd : -1;
	out->fd_offset = block->shared ? block->fd_offset : 0;
	out->ram_address = block->ram_address;
	out->numa_nodes = block->numa_nodes;
	out->accessible = mpl_ram_used(block);
	out->preallocated =
		__atomic_load_n(&block->preallocated, __ATOMIC_RELAXED);
	return 0;
}

bool mpl_ram_has(const struct mpl_ram_block *block, uint64_t offset,
		 uint64_t len)
{
	uint64_t used = mpl_ram_used(block);

	return len && offset <= used && len <= used - offset;
}
