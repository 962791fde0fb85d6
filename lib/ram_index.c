/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All blocks of a plane: by host address, by ram address, and in slots for
 * signal handlers, which can take no lock.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "lib/base/vector.h"
#include "lib/hugepage.h"
#include "lib/plane.h"
#include "lib/ram.h"
#include "lib/region.h"

int mpl_ram_init(struct mpl_ram *ram)
{
	pthread_mutex_init(&ram->mutex, NULL);
	return mpl_ram_space_init(&ram->space);
}

void mpl_ram_destroy(struct mpl_ram *ram)
{
	while (ram->slots) {
		struct mpl_ram_slots *next = ram->slots->next;

		free(ram->slots);
		ram->slots = next;
	}
	mpl_ram_space_destroy(&ram->space);
	free(ram->vacant.items);
	pthread_mutex_destroy(&ram->mutex);
}

/* More slots.  There is always room to note all of them as vacant. */
static int more_slots(struct mpl_ram *ram)
{
	struct mpl_ram_slots *slots = calloc(1, sizeof(*slots));

	if (!slots ||
	    MPL_RESERVE(&ram->vacant, ram->slot_count + MPL_RAM_SLOTS)) {
		free(slots);
		return -ENOMEM;
	}
	for (unsigned int i = MPL_RAM_SLOTS; i > 0; i--)
		ram->vacant.items[ram->vacant.count++] = &slots->slot[i - 1];
	ram->slot_count += MPL_RAM_SLOTS;
	slots->next = ram->slots;
	/* [B21] release; pairs with [B21] in find_slot(): a handler that sees
	 * the new slots sees them empty, and the others behind them. */
	__atomic_store_n(&ram->slots, slots, __ATOMIC_RELEASE);
	return 0;
}

/* Who has the host address?  Async-signal-safe. */
static struct mpl_ram_block *find_slot(const struct mpl_ram *ram,
				       uintptr_t host)
{
	/* [B21] acquire; pairs with [B21] in more_slots() */
	struct mpl_ram_slots *slots =
		__atomic_load_n(&ram->slots, __ATOMIC_ACQUIRE);

	for (; slots; slots = slots->next) {
		for (unsigned int i = 0; i < MPL_RAM_SLOTS; i++) {
			/* [B20] seq_cst; pairs with [B20] in
			 * mpl_ram_index_remove() */
			struct mpl_ram_block *block = __atomic_load_n(
				&slots->slot[i], __ATOMIC_SEQ_CST);

			if (block && host - (uintptr_t)block->host <
					     block->by_host.last + 1 -
						     block->by_host.start)
				return block;
		}
	}
	return NULL;
}

static uint64_t space_length(const struct mpl_ram_block *block)
{
	return mpl_whole_pages(block->max, mpl_base_page());
}

static int take_address(struct mpl_ram *ram, struct mpl_ram_block *block)
{
	uint64_t length = space_length(block);
	int err;

	if (!(block->flags & MPL_RAM_AT_ADDRESS)) {
		err = mpl_ram_space_take(&ram->space, length, block->page_size,
					 &block->ram_address);
		if (err == -ENOSPC)
			mpl_ram_refuse(
				block, err,
				"no room for %#llx bytes of ram addresses",
				(unsigned long long)length);
		return err;
	}
	if (block->ram_address & (block->page_size - 1))
		return mpl_ram_refuse(block, -EINVAL,
				      "ram address %#llx is no multiple of the page size %#llx",
				      (unsigned long long)block->ram_address,
				      (unsigned long long)block->page_size);
	err = mpl_ram_space_take_at(&ram->space, block->ram_address, length);
	if (err == -EEXIST)
		mpl_ram_refuse(
			block, err,
			"another block is in ram addresses %#llx to %#llx: leave MPL_RAM_AT_ADDRESS out",
			(unsigned long long)block->ram_address,
			(unsigned long long)(block->ram_address + length - 1));
	return err;
}

static void give_address(struct mpl_ram *ram, const struct mpl_ram_block *block)
{
	uint64_t start = block->by_address.start;
	uint64_t last = block->by_address.last;
	uint64_t begin = 0, end = MPL_RAM_SPACE_LAST + 1;
	const struct mpl_interval *node;

	node = start ? mpl_interval_below(&ram->by_address, start - 1) : NULL;
	if (node)
		begin = node->last + 1;
	node = mpl_interval_first(&ram->by_address, last + 1, UINT64_MAX);
	if (node)
		end = node->start;
	mpl_ram_space_give(&ram->space, start, last - start + 1, start - begin,
			   end - last - 1);
}

static int add_locked(struct mpl_ram *ram, struct mpl_ram_block *block)
{
	uint64_t start = (uintptr_t)block->host;
	int err = 0;

	if (mpl_interval_first(&ram->by_host, start, start + block->max - 1))
		return mpl_ram_refuse(block, -EEXIST,
				      "another region has this host memory: show it twice with an alias");
	if (!ram->vacant.count)
		err = more_slots(ram);
	if (!err)
		err = take_address(ram, block);
	if (err)
		return err;
	block->by_host.start = start;
	block->by_host.last = start + block->max - 1;
	mpl_interval_insert(&ram->by_host, &block->by_host);
	block->by_address.start = block->ram_address;
	block->by_address.last = block->ram_address + space_length(block) - 1;
	mpl_interval_insert(&ram->by_address, &block->by_address);
	/* [B20] seq_cst; pairs with [B20] in find_slot(): the handler sees a
	 * block that is filled in. */
	block->slot = ram->vacant.items[--ram->vacant.count];
	__atomic_store_n(block->slot, block, __ATOMIC_SEQ_CST);
	return 0;
}

int mpl_ram_index_add(struct mpl_plane *plane, struct mpl_ram_block *block)
{
	struct mpl_ram *ram = &plane->ram;
	int err;

	pthread_mutex_lock(&ram->mutex);
	err = add_locked(ram, block);
	pthread_mutex_unlock(&ram->mutex);
	return err;
}

/* The page is poisoned, or gone.  False: somebody else has dropped the note. */
static bool drop_note(struct mpl_ram *ram, unsigned int i, uintptr_t page)
{
	return __atomic_compare_exchange_n(&ram->faults[i], &page, 0, false,
					   __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* No handler looks at the block: it gets no more notes. */
static void drop_notes(struct mpl_ram *ram, const struct mpl_ram_block *block)
{
	for (unsigned int i = 0; i < MPL_RAM_FAULTS; i++) {
		uintptr_t host =
			__atomic_load_n(&ram->faults[i], __ATOMIC_RELAXED);

		if (host - block->by_host.start <=
		    block->by_host.last - block->by_host.start)
			drop_note(ram, i, host);
	}
}

void mpl_ram_index_remove(struct mpl_plane *plane, struct mpl_ram_block *block)
{
	struct mpl_ram *ram = &plane->ram;

	/*
	 * [B20] seq_cst; pairs with [B20] in mpl_ram_fault() and find_slot():
	 * either a handler is counted here, or it sees the empty slot.  It
	 * takes no lock and does not block, so this ends.
	 */
	__atomic_store_n(block->slot, NULL, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&ram->looking, __ATOMIC_SEQ_CST))
		sched_yield();
	pthread_mutex_lock(&ram->mutex);
	/* Before another block can have the host addresses: under the mutex a
	 * note is always of the block that by_host has there. */
	drop_notes(ram, block);
	mpl_interval_remove(&ram->by_host, &block->by_host);
	mpl_interval_remove(&ram->by_address, &block->by_address);
	give_address(ram, block);
	ram->vacant.items[ram->vacant.count++] = block->slot;
	pthread_mutex_unlock(&ram->mutex);
}

static int found(struct mpl_ram_block *block, uint64_t offset_there,
		 struct mpl_region **region, uint64_t *offset)
{
	/* It may be dying. */
	if (!mpl_device_try_ref(&block->region->device))
		return -ENOENT;
	*region = block->region;
	*offset = offset_there;
	return 0;
}

static int at_host(const struct mpl_ram *ram, uint64_t at,
		   struct mpl_region **region, uint64_t *offset)
{
	struct mpl_interval *node = mpl_interval_first(&ram->by_host, at, at);

	if (!node)
		return -ENOENT;
	return found(MPL_OF(node, struct mpl_ram_block, by_host),
		     at - node->start, region, offset);
}

int mpl_ram_at_host(struct mpl_plane *plane, const void *host,
		    struct mpl_region **region, uint64_t *offset)
{
	struct mpl_ram *ram = &plane->ram;
	int err;

	pthread_mutex_lock(&ram->mutex);
	err = at_host(ram, (uintptr_t)host, region, offset);
	pthread_mutex_unlock(&ram->mutex);
	return err;
}

int mpl_ram_at_address(struct mpl_plane *plane, uint64_t ram_address,
		       struct mpl_region **region, uint64_t *offset)
{
	struct mpl_ram *ram = &plane->ram;
	struct mpl_interval *node;
	int err = -ENOENT;

	pthread_mutex_lock(&ram->mutex);
	node = mpl_interval_first(&ram->by_address, ram_address, ram_address);
	if (node)
		err = found(MPL_OF(node, struct mpl_ram_block, by_address),
			    ram_address - node->start, region, offset);
	pthread_mutex_unlock(&ram->mutex);
	return err;
}

/* Note the page for mpl_ram_fault_commit(), once. */
static bool note_fault(struct mpl_ram *ram, uintptr_t host)
{
	/* An empty slot may lie before the page's own. */
	for (unsigned int i = 0; i < MPL_RAM_FAULTS; i++)
		if (__atomic_load_n(&ram->faults[i], __ATOMIC_RELAXED) == host)
			return true;
	for (unsigned int i = 0; i < MPL_RAM_FAULTS; i++) {
		uintptr_t there = 0;

		if (__atomic_compare_exchange_n(&ram->faults[i], &there, host,
						false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED) ||
		    there == host)
			return true;
	}
	return false;
}

int mpl_ram_fault(struct mpl_plane *plane, const void *host,
		  struct mpl_ram_fault *out)
{
	struct mpl_ram *ram = &plane->ram;
	struct mpl_ram_block *block;
	uintptr_t page, base;

	/* [B20] seq_cst; pairs with [B20] in mpl_ram_index_remove() */
	__atomic_add_fetch(&ram->looking, 1, __ATOMIC_SEQ_CST);
	block = find_slot(ram, (uintptr_t)host);
	if (block) {
		base = (uintptr_t)block->host;
		page = (uintptr_t)host & ~(uintptr_t)(block->page_size - 1);
		if (page < base)
			page = base;
		*out = (struct mpl_ram_fault){
			.region = block->region,
			.offset = page - base,
			.len = block->page_size -
			       (page & (block->page_size - 1)),
			.noted = note_fault(ram, page),
		};
	}
	/* [B20] seq_cst; pairs with [B20] in mpl_ram_index_remove(): what was
	 * read of the block was read before. */
	__atomic_sub_fetch(&ram->looking, 1, __ATOMIC_SEQ_CST);
	return block ? 0 : -ENOENT;
}

/* The noted page, and its region with a reference.  -ENOENT: no note, or its
 * block is going and so will be the note. */
static int noted_page(struct mpl_ram *ram, unsigned int i, uintptr_t *page,
		      struct mpl_region **region, uint64_t *offset)
{
	int err = -ENOENT;

	if (!__atomic_load_n(&ram->faults[i], __ATOMIC_RELAXED))
		return err;
	pthread_mutex_lock(&ram->mutex);
	/* Once more: what was noted before may be of an earlier block. */
	*page = __atomic_load_n(&ram->faults[i], __ATOMIC_RELAXED);
	if (*page)
		err = at_host(ram, *page, region, offset);
	pthread_mutex_unlock(&ram->mutex);
	return err;
}

int mpl_ram_fault_commit(struct mpl_plane *plane,
			 void (*fn)(void *arg, struct mpl_region *region,
				    uint64_t offset, uint64_t len),
			 void *arg)
{
	struct mpl_ram *ram = &plane->ram;
	int err, first = 0;

	for (unsigned int i = 0; i < MPL_RAM_FAULTS; i++) {
		struct mpl_region *region;
		uint64_t offset, len;
		uintptr_t page;

		if (noted_page(ram, i, &page, &region, &offset))
			continue;
		len = region->page_size - (page & (region->page_size - 1));
		if (len > region->max_size - offset)
			len = region->max_size - offset;
		err = mpl_ram_poison(region, offset, len);
		if (err)
			first = first ? first : err;
		else if (drop_note(ram, i, page) && fn)
			fn(arg, region, offset, len);
		mpl_region_unref(region);
	}
	return first;
}
