/* SPDX-License-Identifier: BSD-3-Clause */
#include "kvm/dirty.h"

#include <errno.h>
#include <linux/kvm.h>
#include <memplane/dirty.h>
#include <memplane/space.h>
#include <stdlib.h>

#include "kvm/kvm.h"
#include "lib/base/vector.h"

#define PAGE UINT64_C(4096)
/* KVM holds its lock over a chunk: 64 MiB. */
#define CHUNK_PAGES UINT64_C(16384)

static int enable(struct mpl_kvm *kvm, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap call = { .cap = cap, .args = { arg } };

	return mpl_kvm_ioctl(kvm, kvm->vm_fd, KVM_ENABLE_CAP, (uintptr_t)&call);
}

static int enable_ring(struct mpl_kvm *kvm)
{
	uint32_t entries = kvm->config.dirty_ring_entries;
	uint64_t bytes;
	int err;

	if (!entries)
		entries = 4096;
	bytes = (uint64_t)entries * sizeof(struct kvm_dirty_gfn);
	if (!kvm->caps.ring)
		return -ENOTSUP;
	/* A page at least: the ring is mapped. */
	if (entries & (entries - 1) || bytes < PAGE || bytes > kvm->caps.ring)
		return -EINVAL;
	err = enable(kvm,
		     kvm->caps.ring_acq_rel ? KVM_CAP_DIRTY_LOG_RING_ACQ_REL :
					      KVM_CAP_DIRTY_LOG_RING,
		     bytes);
	if (!err)
		kvm->dirty.ring_entries = entries;
	return err;
}

static int enable_manual(struct mpl_kvm *kvm, unsigned int bits)
{
	int err;

	if ((kvm->caps.manual & bits) != bits)
		return -ENOTSUP;
	err = enable(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, bits);
	kvm->dirty.manual = !err;
	return err;
}

int mpl_kvm_dirty_setup(struct mpl_kvm *kvm)
{
	switch (kvm->config.dirty_mode) {
	case MPL_KVM_DIRTY_BEST:
		return kvm->caps.manual & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE ?
			       enable_manual(
				       kvm,
				       KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) :
			       0;
	case MPL_KVM_DIRTY_BITMAP:
		return 0;
	case MPL_KVM_DIRTY_MANUAL:
		return enable_manual(kvm, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
	case MPL_KVM_DIRTY_ALL_SET:
		return enable_manual(kvm, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE |
						  KVM_DIRTY_LOG_INITIALLY_SET);
	case MPL_KVM_DIRTY_RING:
		return enable_ring(kvm);
	default:
		return -EINVAL;
	}
}

void mpl_kvm_dirty_destroy(struct mpl_kvm *kvm)
{
	free(kvm->dirty.bitmap.items);
	pthread_mutex_destroy(&kvm->dirty.mutex);
}

int mpl_kvm_dirty_reserve(struct mpl_kvm *kvm, uint64_t bytes)
{
	if (kvm->dirty.ring_entries)
		return 0;
	return MPL_RESERVE(&kvm->dirty.bitmap, (bytes / PAGE + 63) / 64);
}

/*
 * What was fetched may be cleared now, and only that: KVM protects those pages
 * again, and notes writes from then on.  The log's reader reads memory later.
 */
static int clear_log(struct mpl_kvm *kvm, uint32_t id, uint64_t pages)
{
	uint64_t *bitmap = kvm->dirty.bitmap.items;
	int err = 0;

	for (uint64_t page = 0; page < pages && !err; page += CHUNK_PAGES) {
		uint64_t count =
			pages - page < CHUNK_PAGES ? pages - page : CHUNK_PAGES;
		struct kvm_clear_dirty_log call = {
			.slot = id,
			.first_page = page,
			.num_pages = (uint32_t)count,
			.dirty_bitmap = bitmap + page / 64,
		};
		uint64_t any = 0;

		for (uint64_t i = 0; i < (count + 63) / 64; i++)
			any |= bitmap[page / 64 + i];
		if (!any)
			continue;
		err = mpl_kvm_ioctl(kvm, kvm->vm_fd, KVM_CLEAR_DIRTY_LOG,
				    (uintptr_t)&call);
		kvm->stats.log_clears++;
	}
	return err;
}

/* The host's pages and the region's are not the same: each has parts of two. */
static int mark_each(const struct mpl_kvm_slot *slot, const uint64_t *bitmap,
		     uint64_t pages)
{
	int err = 0;

	for (uint64_t i = 0; i < pages && !err; i++)
		if (bitmap[i / 64] >> i % 64 & 1)
			err = mpl_dirty_mark(slot->run.region,
					     slot->run.offset + i * PAGE, PAGE);
	return err;
}

static int merge(const struct mpl_kvm_slot *slot, const uint64_t *bitmap,
		 uint64_t pages)
{
	return slot->run.offset % PAGE ?
		       mark_each(slot, bitmap, pages) :
		       mpl_dirty_merge(slot->run.region, slot->run.offset,
				       bitmap, pages);
}

static int fetch_bitmap(struct mpl_kvm *kvm, const struct mpl_kvm_slot *slot,
			bool clear)
{
	uint32_t id = slot->mirror->which << 16 | slot->id;
	uint64_t pages = (slot->run.last - slot->run.start + 1) / PAGE;
	struct kvm_dirty_log call = {
		.slot = id,
		.dirty_bitmap = kvm->dirty.bitmap.items,
	};
	int err = mpl_kvm_ioctl(kvm, kvm->vm_fd, KVM_GET_DIRTY_LOG,
				(uintptr_t)&call);

	kvm->stats.log_fetches++;
	if (!err)
		err = merge(slot, kvm->dirty.bitmap.items, pages);
	if (!err && clear && kvm->dirty.manual)
		err = clear_log(kvm, id, pages);
	return err;
}

/* An entry may be stale: its slot is gone, or the id is another slot's. */
static int mark_entry(struct mpl_kvm *kvm, const struct kvm_dirty_gfn *gfn)
{
	unsigned int which = gfn->slot >> 16;
	const struct mpl_kvm_slots *slots;
	const struct mpl_kvm_slot *slot;
	uint32_t id = gfn->slot & 0xffff;

	if (which >= MPL_KVM_PIO)
		return 0;
	slots = &kvm->mirrors[which].slots;
	slot = id < slots->ids ? slots->by_id[id] : NULL;
	if (!slot || gfn->offset > (slot->run.last - slot->run.start) / PAGE)
		return 0;
	return mpl_dirty_mark(slot->run.region,
			      slot->run.offset + gfn->offset * PAGE, PAGE);
}

/* The mutex is held.  Returns how many entries were taken, or -errno. */
static int reap_ring(struct mpl_kvm *kvm, struct mpl_kvm_dirty_ring *ring)
{
	uint32_t mask = kvm->dirty.ring_entries - 1;
	int count = 0;

	while ((uint32_t)count <= mask) {
		struct kvm_dirty_gfn *gfn = &ring->gfns[ring->next & mask];
		int err;

		/* [B50] acquire; pairs with the kernel's store of DIRTY. */
		if (__atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE) !=
		    KVM_DIRTY_GFN_F_DIRTY)
			break;
		err = mark_entry(kvm, gfn);
		if (err)
			return err;
		/* [B50] release: the kernel may write the entry again. */
		__atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_RESET,
				 __ATOMIC_RELEASE);
		ring->next++;
		count++;
	}
	return count;
}

static int reap_locked(struct mpl_kvm *kvm)
{
	struct mpl_link *link;
	int err = 0, count = 0;

	MPL_LIST_EACH(link, &kvm->dirty.rings) {
		int taken = reap_ring(
			kvm, MPL_OF(link, struct mpl_kvm_dirty_ring, link));

		if (taken < 0)
			err = taken;
		else
			count += taken;
	}
	kvm->dirty.ring_taken += (uint64_t)count;
	if (count) {
		int reset = mpl_kvm_ioctl(kvm, kvm->vm_fd,
					  KVM_RESET_DIRTY_RINGS, 0);

		if (reset < 0 && !err)
			err = reset;
	}
	return err;
}

int mpl_kvm_dirty_reap(struct mpl_kvm *kvm)
{
	int err;

	if (!kvm->dirty.ring_entries)
		return -ENOTSUP;
	pthread_mutex_lock(&kvm->dirty.mutex);
	err = reap_locked(kvm);
	pthread_mutex_unlock(&kvm->dirty.mutex);
	return err;
}

int mpl_kvm_dirty_fetch(struct mpl_kvm *kvm, const struct mpl_kvm_slot *slot,
			bool clear)
{
	return kvm->dirty.ring_entries ? mpl_kvm_dirty_reap(kvm) :
					 fetch_bitmap(kvm, slot, clear);
}

/* All rings at once: with the first range that is asked for. */
static int sync_rings(struct mpl_kvm *kvm, const struct mpl_flat_range *range)
{
	struct mpl_kvm_dirty *dirty = &kvm->dirty;
	int err;

	if (dirty->ring_synced && range->start > dirty->ring_synced_at) {
		dirty->ring_synced_at = range->start;
		return 0;
	}
	dirty->ring_synced = true;
	dirty->ring_synced_at = range->start;
	/* A processor may have pages in a buffer until it leaves the guest. */
	err = mpl_kvm_park(kvm);
	if (err)
		return err;
	mpl_kvm_unpark(kvm);
	return mpl_kvm_dirty_reap(kvm);
}

static int sync_slot(void *arg, struct mpl_interval *node)
{
	const struct mpl_kvm_slot *slot = mpl_kvm_slot_of(node);
	struct mpl_kvm *kvm = arg;
	int err;

	if (!slot->run.log)
		return 0;
	err = mpl_kvm_dirty_reserve(kvm, slot->run.last - slot->run.start + 1);
	return err ? err : mpl_kvm_dirty_fetch(kvm, slot, true);
}

int mpl_kvm_dirty_sync(void *opaque, const struct mpl_flat_range *range)
{
	struct mpl_kvm_mirror *mirror = opaque;
	struct mpl_kvm *kvm = mirror->kvm;

	if (mirror->which == MPL_KVM_PIO)
		return 0;
	if (kvm->dirty.ring_entries)
		return sync_rings(kvm, range);
	return mpl_interval_each(&mirror->slots.tree, range->start, range->last,
				 sync_slot, kvm);
}

int mpl_kvm_dirty_ring_map(struct mpl_kvm *kvm, int vcpu_fd,
			   struct mpl_kvm_dirty_ring *ring)
{
	void *host = NULL;
	int err;

	*ring = (struct mpl_kvm_dirty_ring){ 0 };
	mpl_list_init(&ring->link);
	if (!kvm->dirty.ring_entries)
		return 0;
	ring->bytes = kvm->dirty.ring_entries * sizeof(struct kvm_dirty_gfn);
	err = kvm->config.sys->map(kvm->config.sys_opaque, vcpu_fd,
				   KVM_DIRTY_LOG_PAGE_OFFSET * PAGE,
				   ring->bytes, &host);
	if (err)
		return err;
	ring->gfns = host;
	pthread_mutex_lock(&kvm->dirty.mutex);
	mpl_list_append(&kvm->dirty.rings, &ring->link);
	pthread_mutex_unlock(&kvm->dirty.mutex);
	return 0;
}

void mpl_kvm_dirty_ring_unmap(struct mpl_kvm *kvm,
			      struct mpl_kvm_dirty_ring *ring)
{
	if (!ring->gfns)
		return;
	pthread_mutex_lock(&kvm->dirty.mutex);
	(void)reap_locked(kvm);
	mpl_list_remove(&ring->link);
	pthread_mutex_unlock(&kvm->dirty.mutex);
	kvm->config.sys->unmap(kvm->config.sys_opaque, ring->gfns, ring->bytes);
	ring->gfns = NULL;
}
