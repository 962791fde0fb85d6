/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is attached to one virtual machine.
 *
 * Three parts share struct mpl_kvm, and each writes its own only:
 *
 *   mirrors   slots and dirty logs             plan.c slot.c dirty.c
 *   events    ioeventfds and coalesced zones   ioeventfd.c coalesced.c
 *   gate      vCPUs, and how they are stopped  park.c vcpu.c exit.c
 *
 * Mirrors and events are written on the control side, under the plane's
 * control lock.
 */
#ifndef MEMPLANE_KVM_KVM_H
#define MEMPLANE_KVM_KVM_H

#include <memplane/kvm.h>
#include <memplane/listener.h>

#include "kvm/coalesced.h"
#include "kvm/dirty.h"
#include "kvm/ioeventfd.h"
#include "kvm/park.h"
#include "kvm/plan.h"
#include "kvm/slot.h"

struct mpl_plane;

enum {
	MPL_KVM_MEMORY = 0, /* beside MPL_KVM_SMM and MPL_KVM_PIO */
	MPL_KVM_MIRRORS = 3,
};

/* What the VM can do: KVM_CHECK_EXTENSION of the VM's descriptor. */
struct mpl_kvm_caps {
	unsigned int slots;  /* of each KVM address space */
	unsigned int spaces; /* KVM address spaces */
	bool readonly;
	bool region2;        /* KVM_SET_USER_MEMORY_REGION2 */
	unsigned int manual; /* bits of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 */
	unsigned int ring;   /* greatest dirty ring in bytes; 0: none */
	bool ring_acq_rel;
	bool ioeventfd;
	bool ioeventfd_any_length;
	unsigned int coalesced_mmio; /* page offset of the ring; 0: none */
	bool coalesced_pio;
};

/* An address space, as the kernel shall see it: a listener's opaque. */
struct mpl_kvm_mirror {
	struct mpl_kvm *kvm;
	struct mpl_address_space *as; /* NULL: not attached, nor about to be */
	struct mpl_listener *listener;
	unsigned int which; /* MPL_KVM_MEMORY, _SMM or _PIO */
	struct mpl_kvm_slots slots;
};

extern const struct mpl_listener_ops mpl_kvm_mirror_ops;

struct mpl_kvm {
	/* Constant. */
	struct mpl_plane *plane;
	int vm_fd;
	struct mpl_kvm_config config; /* sys and gate filled in */
	struct mpl_kvm_caps caps;

	/* mirrors */
	struct mpl_kvm_mirror mirrors[MPL_KVM_MIRRORS];
	struct mpl_kvm_plan plan;
	struct mpl_kvm_dirty dirty;
	struct mpl_kvm_stats stats;

	/* events */
	struct mpl_kvm_doorbells doorbells;
	struct mpl_kvm_ring ring;

	/* gate */
	struct mpl_kvm_gate gate;
};

static inline int mpl_kvm_ioctl(const struct mpl_kvm *kvm, int fd,
				unsigned long request, uintptr_t arg)
{
	return kvm->config.sys->ioctl(kvm->config.sys_opaque, fd, request, arg);
}

/* 0 or what the VM says; an error counts as 0. */
unsigned int mpl_kvm_check(const struct mpl_kvm *kvm, unsigned int extension);

#endif
