/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What guests wrote: out of KVM's bitmaps or rings, into the logs of regions.
 */
#ifndef MEMPLANE_KVM_DIRTY_H
#define MEMPLANE_KVM_DIRTY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/list.h"

struct kvm_dirty_gfn;
struct mpl_flat_range;
struct mpl_kvm;
struct mpl_kvm_slot;

/* One vCPU's dirty ring. */
struct mpl_kvm_dirty_ring {
	struct mpl_link link; /* in dirty.rings */
	struct kvm_dirty_gfn *gfns;
	size_t bytes;
	uint32_t next; /* entry to be taken, modulo the ring's size */
};

struct mpl_kvm_dirty {
	bool manual;           /* the log is cleared by KVM_CLEAR_DIRTY_LOG */
	uint32_t ring_entries; /* of each vCPU; 0: bitmaps */
	/* Guards rings, and the table of slots against its readers. */
	pthread_mutex_t mutex;
	struct mpl_link rings;
	uint64_t ring_taken; /* entries */
	/* Of the slot that is looked at: control side. */
	struct {
		uint64_t *items;
		size_t count;
		size_t capacity;
	} bitmap;
	/* Ranges are fetched in ascending order; rings all with the first. */
	bool ring_synced;
	uint64_t ring_synced_at;
};

/* Switch the configured mode on.  Errors: -ENOTSUP, -EINVAL, the kernel's. */
int mpl_kvm_dirty_setup(struct mpl_kvm *kvm);
void mpl_kvm_dirty_destroy(struct mpl_kvm *kvm);

/* Room for the log of a slot.  Errors: -ENOMEM. */
int mpl_kvm_dirty_reserve(struct mpl_kvm *kvm, uint64_t bytes);

/*
 * Fetch a slot's log; there must be room.  `clear`: the slot goes on logging.
 * In ring mode everything in the rings is taken.
 */
int mpl_kvm_dirty_fetch(struct mpl_kvm *kvm, const struct mpl_kvm_slot *slot,
			bool clear);

/* The listener's log_sync; `opaque` is a struct mpl_kvm_mirror. */
int mpl_kvm_dirty_sync(void *opaque, const struct mpl_flat_range *range);

/*
 * Map the ring of a vCPU, if the VM has rings (else ring->gfns is NULL), and
 * take it into the reaper's list; and the opposite, which takes what is in it.
 */
int mpl_kvm_dirty_ring_map(struct mpl_kvm *kvm, int vcpu_fd,
			   struct mpl_kvm_dirty_ring *ring);
void mpl_kvm_dirty_ring_unmap(struct mpl_kvm *kvm,
			      struct mpl_kvm_dirty_ring *ring);

#endif
