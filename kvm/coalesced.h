/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Coalesced zones: writes there do not exit; KVM queues them in a ring that all
 * vCPUs of the VM share.
 *
 *     first            last
 *       v               v
 *     | write | write | .......  |   KVM adds at last, we take at first
 *
 * Each exit takes them out before it does anything else, so that what a vCPU
 * did in order is seen in order: also what another one did before, if the guest
 * ordered the two.  One consumer at a time; `first` moves when a write has been
 * delivered, so that who finds the ring empty knows that all are.
 *
 * When the ring is full KVM exits as if there were no zone.
 */
#ifndef MEMPLANE_KVM_COALESCED_H
#define MEMPLANE_KVM_COALESCED_H

#include <linux/kvm.h>
#include <pthread.h>

#include <memplane/types.h>

struct mpl_kvm;

#define MPL_KVM_PAGE 4096u
/* KVM_COALESCED_MMIO_MAX, for pages of that size. */
#define MPL_KVM_RING_ENTRIES                                  \
	((MPL_KVM_PAGE - sizeof(struct kvm_coalesced_mmio_ring)) / \
	 sizeof(struct kvm_coalesced_mmio))

struct mpl_kvm_ring {
	struct kvm_coalesced_mmio_ring *page; /* NULL until there is a vCPU */
	pthread_mutex_t mutex; /* of the consumer */
	/* Control side: what is registered, and how many were refused. */
	struct {
		struct kvm_coalesced_mmio_zone *items;
		size_t count;
		size_t capacity;
	} zones;
	uint64_t refused;
};

/* Errors: -ENOMEM. */
int mpl_kvm_ring_init(struct mpl_kvm *kvm);
/* No vCPU may be left. */
void mpl_kvm_ring_destroy(struct mpl_kvm *kvm);

/*
 * Map the ring, by way of the first vCPU; it stays until the end.
 * Errors: what mapping returned.
 */
int mpl_kvm_ring_map(struct mpl_kvm *kvm, int vcpu_fd);

/* Is there anything to deliver, or being delivered? */
static inline bool mpl_kvm_ring_pending(const struct mpl_kvm_ring *ring)
{
	/* [B64] acquire; pairs with [B64] in mpl_kvm_ring_map() */
	const struct kvm_coalesced_mmio_ring *page =
		__atomic_load_n(&ring->page, __ATOMIC_ACQUIRE);

	/* [B63] acquire: who finds the ring empty sees what the last write
	 * that was taken out did; pairs with [B63] in mpl_kvm_ring_drain() */
	return page && __atomic_load_n(&page->first, __ATOMIC_ACQUIRE) !=
			       __atomic_load_n(&page->last, __ATOMIC_RELAXED);
}

/* Take the zones of one bus back; what cannot be is logged.  Control side. */
void mpl_kvm_zones_reset(struct mpl_kvm *kvm, bool pio);

/*
 * Deliver what was queued before this call; how many.  `reader` belongs to
 * the calling thread and is offline, also on return; NULL: a spare one.
 */
uint64_t mpl_kvm_ring_drain(struct mpl_kvm *kvm, struct mpl_reader *reader,
			    struct mpl_attrs attrs);

#endif
