/* SPDX-License-Identifier: BSD-3-Clause */
/* Marks that writes leave in the logs of their region. */
#include "dispatch/dirty.h"

#include <errno.h>

#include "dispatch/device.h"
#include "dispatch/section.h"

int mpl_dirty_prepare(struct mpl_dirty *dirty, uint8_t clients)
{
	for (unsigned int i = 0; i < MPL_LOG_CLIENTS; i++) {
		struct mpl_dirty_set *set;
		int err;

		if (!(clients & 1u << i) || dirty->sets[i])
			continue;
		err = mpl_dirty_set_new(dirty->pages, &set);
		if (err)
			return err;
		/* [B32] release; pairs with [B32] in mpl_dirty_set_of() */
		__atomic_store_n(&dirty->sets[i], set, __ATOMIC_RELEASE);
	}
	return 0;
}

void mpl_dirty_set_clients(struct mpl_dirty *dirty, uint8_t clients)
{
	/*
	 * [B32] release; pairs with [B32] in clients_of(): who sees a client
	 * finds its set.
	 */
	__atomic_store_n(&dirty->clients, clients, __ATOMIC_RELEASE);
}

void mpl_dirty_destroy(struct mpl_dirty *dirty)
{
	for (unsigned int i = 0; i < MPL_LOG_CLIENTS; i++)
		mpl_dirty_set_free(dirty->sets[i]);
}

struct mpl_dirty_set *mpl_dirty_set_of(const struct mpl_dirty *dirty,
				       unsigned int client)
{
	/*
	 * [B32] acquire; pairs with [B32] in mpl_dirty_prepare(): the set's
	 * sizes and levels are there.
	 */
	return __atomic_load_n(&dirty->sets[client], __ATOMIC_ACQUIRE);
}

static unsigned int clients_of(const struct mpl_dirty *dirty)
{
	/* [B32] acquire; pairs with [B32] in mpl_dirty_set_clients() */
	return __atomic_load_n(&dirty->clients, __ATOMIC_ACQUIRE);
}

void mpl_dirty_mark_clients(const struct mpl_dirty *dirty, uint32_t clients,
			    uint64_t first, uint64_t last)
{
	for (; clients; clients &= clients - 1)
		mpl_dirty_set_mark(dirty->sets[__builtin_ctz(clients)], first,
				   last);
}

void mpl_dirty_mark_device(struct mpl_device *device, uint64_t offset,
			   uint64_t len)
{
	/* [B31] full fence, as in mpl_dirty_mark_section(). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	mpl_dirty_mark_clients(&device->dirty, clients_of(&device->dirty),
			       offset / MPL_DIRTY_PAGE,
			       (offset + (len - 1)) / MPL_DIRTY_PAGE);
}

void mpl_dirty_mark_section(const struct mpl_section *section, uint64_t gpa,
			    uint64_t len)
{
	uint64_t offset = mpl_section_offset(section, gpa);

	/*
	 * [B31] full fence between the store and the look at the bits; pairs
	 * with [B31] in mpl_dirty_set_take().  Hazard: the look comes first
	 * and finds the page marked; a taker clears the mark and reads what
	 * is not stored yet.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	mpl_dirty_mark_clients(&section->device->dirty,
			       section->flags >> MPL_SECTION_DIRTY_SHIFT & 0xff,
			       offset / MPL_DIRTY_PAGE,
			       (offset + (len - 1)) / MPL_DIRTY_PAGE);
}

void mpl_dirty_merge_device(struct mpl_device *device, uint64_t page,
			    const uint64_t *bitmap, uint64_t pages)
{
	const struct mpl_dirty *dirty = &device->dirty;
	unsigned int clients;

	/* [B31] full fence, as in mpl_dirty_mark_section(). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (clients = clients_of(dirty); clients; clients &= clients - 1)
		mpl_dirty_set_merge(dirty->sets[__builtin_ctz(clients)], page,
				    bitmap, pages);
}
