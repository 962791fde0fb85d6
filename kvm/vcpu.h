/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MEMPLANE_KVM_VCPU_H
#define MEMPLANE_KVM_VCPU_H

#include <linux/kvm.h>

#include <memplane/vcpu.h>

#include "kvm/dirty.h"
#include "kvm/kvm.h"
#include "kvm/park.h"

/* Its thread's, but for what the seat's comments say. */
struct mpl_vcpu {
	struct mpl_kvm *kvm;
	int fd;
	unsigned int index;
	struct kvm_run *run;
	size_t run_size;
	struct mpl_reader *reader;
	struct mpl_seat seat;
	struct mpl_kvm_dirty_ring dirty; /* if the VM has them */
	struct mpl_vcpu_stats stats;
};

/* Counters are written by the vCPU's thread and read by any. */
static inline void mpl_vcpu_count(uint64_t *counter, uint64_t more)
{
	__atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED);
}

/* The space of an exit; NULL: there is none. */
static inline struct mpl_address_space *
mpl_kvm_space(const struct mpl_kvm *kvm, unsigned int which)
{
	return __atomic_load_n(&kvm->mirrors[which].as, __ATOMIC_RELAXED);
}

/* What run->exit_reason asks for; the reader is offline.  0, MPL_EXIT_OTHER, or
 * an error of a dirty ring's. */
int mpl_vcpu_exit(struct mpl_vcpu *vcpu);

#endif
