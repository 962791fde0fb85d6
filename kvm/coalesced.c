/* SPDX-License-Identifier: BSD-3-Clause */
#include "kvm/coalesced.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <memplane/access.h>
#include <memplane/reader.h>
#include <memplane/vcpu.h>

#include "kvm/events.h"
#include "kvm/kvm.h"
#include "kvm/vcpu.h"
#include "lib/base/vector.h"
#include "lib/plane.h"

int mpl_kvm_ring_init(struct mpl_kvm *kvm)
{
	kvm->ring = (struct mpl_kvm_ring){ 0 };
	return pthread_mutex_init(&kvm->ring.mutex, NULL) ? -ENOMEM : 0;
}

void mpl_kvm_ring_destroy(struct mpl_kvm *kvm)
{
	const struct mpl_kvm_config *config = &kvm->config;

	if (kvm->ring.page)
		config->sys->unmap(config->sys_opaque, kvm->ring.page,
				   MPL_KVM_PAGE);
	free(kvm->ring.zones.items);
	pthread_mutex_destroy(&kvm->ring.mutex);
}

int mpl_kvm_ring_map(struct mpl_kvm *kvm, int vcpu_fd)
{
	const struct mpl_kvm_config *config = &kvm->config;
	uint64_t offset = (uint64_t)kvm->caps.coalesced_mmio * MPL_KVM_PAGE;
	void *page;
	int err = 0;

	if (!offset)
		return 0;
	pthread_mutex_lock(&kvm->ring.mutex);
	if (!kvm->ring.page) {
		err = config->sys->map(config->sys_opaque, vcpu_fd, offset,
				       MPL_KVM_PAGE, &page);
		/*
		 * [B64] release; pairs with [B64] in mpl_kvm_ring_pending():
		 * another vCPU that sees the ring may use it.
		 */
		if (!err)
			__atomic_store_n(&kvm->ring.page, page,
					 __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&kvm->ring.mutex);
	return err;
}

static void deliver(struct mpl_kvm *kvm, struct mpl_reader *reader,
		    struct mpl_attrs attrs,
		    const struct kvm_coalesced_mmio *entry)
{
	struct mpl_address_space *as =
		mpl_kvm_space(kvm, entry->pio ? MPL_KVM_PIO : MPL_KVM_MEMORY);
	uint32_t len = entry->len <= sizeof(entry->data) ? entry->len :
							   sizeof(entry->data);

	if (!as)
		return;
	if (reader)
		(void)mpl_write(reader, as, entry->phys_addr, attrs,
				entry->data, len);
	else
		(void)mpl_plane_write(kvm->plane, as, entry->phys_addr, attrs,
				      entry->data, len);
}

uint64_t mpl_kvm_ring_drain(struct mpl_kvm *kvm, struct mpl_reader *reader,
			    struct mpl_attrs attrs)
{
	struct kvm_coalesced_mmio_ring *page;
	uint32_t first, last;
	uint64_t count = 0;

	/* Offline: the one who is at it may take long. */
	pthread_mutex_lock(&kvm->ring.mutex);
	page = kvm->ring.page;
	first = page ? page->first : 0;
	/* [B63] acquire: the entries below are written; pairs with the
	 * kernel's write barrier before it moves `last` */
	last = page ? __atomic_load_n(&page->last, __ATOMIC_ACQUIRE) : 0;
	if (first != last && reader)
		mpl_reader_online(reader);
	/* Both below: else KVM and we do not agree on the ring's size. */
	for (; first != last && first < MPL_KVM_RING_ENTRIES &&
	       last < MPL_KVM_RING_ENTRIES;
	     count++) {
		/* A copy: the device may look at it for long. */
		struct kvm_coalesced_mmio entry = page->coalesced_mmio[first];

		deliver(kvm, reader, attrs, &entry);
		first = (first + 1) % MPL_KVM_RING_ENTRIES;
		/*
		 * [B63] release; pairs with [B63] in mpl_kvm_ring_pending(),
		 * and with KVM, which may overwrite the entry now.
		 */
		__atomic_store_n(&page->first, first, __ATOMIC_RELEASE);
	}
	if (reader)
		mpl_reader_offline(reader);
	pthread_mutex_unlock(&kvm->ring.mutex);
	return count;
}

int mpl_kvm_coalesced_drain(struct mpl_kvm *kvm)
{
	/* It would wait for a consumer whose device may wait for this one. */
	if (mpl_access_reader(kvm->plane))
		return -EDEADLK;
	if (mpl_kvm_ring_pending(&kvm->ring))
		mpl_kvm_ring_drain(kvm, NULL, (struct mpl_attrs){ 0 });
	return 0;
}

/* A zone as KVM takes it; false: it takes no such zone. */
static bool zone_of(const struct mpl_kvm_mirror *mirror, uint64_t start,
		    uint64_t last, struct kvm_coalesced_mmio_zone *zone)
{
	const struct mpl_kvm_caps *caps = &mirror->kvm->caps;
	bool pio = mirror->which == MPL_KVM_PIO;

	if (mirror->which == MPL_KVM_SMM || !caps->coalesced_mmio ||
	    (pio && !caps->coalesced_pio) || last - start >= UINT32_MAX)
		return false;
	*zone = (struct kvm_coalesced_mmio_zone){
		.addr = start,
		.size = (uint32_t)(last - start + 1),
		.pio = pio,
	};
	return true;
}

static int tell(const struct mpl_kvm *kvm, unsigned long request,
		const struct kvm_coalesced_mmio_zone *zone)
{
	return mpl_kvm_ioctl(kvm, kvm->vm_fd, request, (uintptr_t)zone);
}

int mpl_kvm_coalesced_add(void *opaque, const struct mpl_flat_range *range,
			  uint64_t start, uint64_t last)
{
	const struct mpl_kvm_mirror *mirror = opaque;
	struct mpl_kvm *kvm = mirror->kvm;
	struct kvm_coalesced_mmio_zone zone;
	int err;

	(void)range;
	if (!zone_of(mirror, start, last, &zone))
		return 0;
	if (MPL_RESERVE(&kvm->ring.zones, 1))
		return -ENOMEM;
	err = tell(kvm, KVM_REGISTER_COALESCED_MMIO, &zone);
	if (!err)
		kvm->ring.zones.items[kvm->ring.zones.count++] = zone;
	if (err != -ENOSPC && err != -EINVAL)
		return err;
	if (!kvm->ring.refused++)
		mpl_log(&kvm->plane->data.log, MPL_LOG_WARNING,
			"KVM refuses the coalesced zone at 0x%llx (error %d): writes there exit; further ones are not logged",
			(unsigned long long)start, -err);
	return 0;
}

/* Where a zone is noted; count: KVM had refused it. */
static size_t find(const struct mpl_kvm_ring *ring,
		   const struct kvm_coalesced_mmio_zone *zone)
{
	size_t at = 0;

	while (at < ring->zones.count &&
	       memcmp(&ring->zones.items[at], zone, sizeof(*zone)))
		at++;
	return at;
}

int mpl_kvm_coalesced_del(void *opaque, const struct mpl_flat_range *range,
			  uint64_t start, uint64_t last)
{
	const struct mpl_kvm_mirror *mirror = opaque;
	struct mpl_kvm_ring *ring = &mirror->kvm->ring;
	struct kvm_coalesced_mmio_zone zone;
	size_t at;
	int err;

	(void)range;
	if (!zone_of(mirror, start, last, &zone))
		return 0;
	at = find(ring, &zone);
	if (at == ring->zones.count)
		return 0;
	/*
	 * KVM forgets every zone that contains this one, and says 0 if there
	 * is none: zones that overlap stop to coalesce together.
	 */
	err = tell(mirror->kvm, KVM_UNREGISTER_COALESCED_MMIO, &zone);
	if (!err)
		ring->zones.items[at] = ring->zones.items[--ring->zones.count];
	return err;
}

void mpl_kvm_zones_reset(struct mpl_kvm *kvm, bool pio)
{
	struct mpl_kvm_ring *ring = &kvm->ring;

	for (size_t i = ring->zones.count; i-- > 0;) {
		struct kvm_coalesced_mmio_zone zone = ring->zones.items[i];
		int err;

		if (zone.pio != pio)
			continue;
		err = tell(kvm, KVM_UNREGISTER_COALESCED_MMIO, &zone);
		if (err)
			mpl_log(&kvm->plane->data.log, MPL_LOG_ERROR,
				"the coalesced zone at 0x%llx stays in KVM: it cannot be taken back (error %d)",
				(unsigned long long)zone.addr, -err);
		ring->zones.items[i] = ring->zones.items[--ring->zones.count];
	}
}
