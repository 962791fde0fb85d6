/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioeventfds in the kernel: which ones are there.  The map's events are
 * differences, so that one doorbell more is one ioctl more, however many there
 * are.
 *
 * What KVM cannot have, or will not, is left to the library's own doorbells:
 * the guest's write exits, and the access rings.  That is
 *
 *   - any length, where KVM lacks KVM_CAP_IOEVENTFD_ANY_LENGTH;
 *   - one that collides with another at the same address (KVM knows each write
 *     to mean one eventfd; of two that match, one with fewer conditions is the
 *     library's choice);
 *   - what runs past the last address, or ports beyond 16 bits.
 */
#ifndef MEMPLANE_KVM_IOEVENTFD_H
#define MEMPLANE_KVM_IOEVENTFD_H

#include <stddef.h>
#include <stdint.h>

struct mpl_kvm;
struct mpl_kvm_doorbell;

/* Control side.  A hash table with chains, by all that KVM is told. */
struct mpl_kvm_doorbells {
	struct mpl_kvm_doorbell **chains;
	size_t size;			/* a power of two, or 0 */
	size_t count;			/* in the kernel now */
	struct mpl_kvm_doorbell *spare; /* so that taking back never allocates */
	uint64_t refused;
};

void mpl_kvm_doorbells_destroy(struct mpl_kvm *kvm);

#endif
