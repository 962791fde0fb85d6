/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate: vCPUs are kept out of KVM_RUN while slots are replaced.  Parked
 * means not in KVM_RUN and unable to enter it.
 */
#ifndef MEMPLANE_KVM_PARK_H
#define MEMPLANE_KVM_PARK_H

#include <stdint.h>

struct mpl_kvm;

struct mpl_kvm_gate {
	unsigned int parked; /* how many times more than unparked */
	uint64_t since_ns;   /* the first of them */
};

/*
 * On return no vCPU is in KVM_RUN, and none enters it until as many
 * mpl_kvm_unpark().  Control side.  Errors: the embedder's gate's.
 */
int mpl_kvm_park(struct mpl_kvm *kvm);
void mpl_kvm_unpark(struct mpl_kvm *kvm);

#endif
