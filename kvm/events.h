/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioeventfds and coalesced zones in the kernel.  These are listener callbacks
 * (lib/memplane/listener.h); `opaque` is a struct mpl_kvm_mirror.  A mirror of
 * MPL_KVM_SMM has none: the kernel's tables know no address spaces.
 */
#ifndef MEMPLANE_KVM_EVENTS_H
#define MEMPLANE_KVM_EVENTS_H

#include <memplane/listener.h>

int mpl_kvm_ioeventfd_add(void *opaque, const struct mpl_flat_ioeventfd *ev);
int mpl_kvm_ioeventfd_del(void *opaque, const struct mpl_flat_ioeventfd *ev);
int mpl_kvm_coalesced_add(void *opaque, const struct mpl_flat_range *range,
			  uint64_t start, uint64_t last);
int mpl_kvm_coalesced_del(void *opaque, const struct mpl_flat_range *range,
			  uint64_t start, uint64_t last);

/*
 * For a listener's `reset`: take back all that a mirror has in the kernel.  What
 * cannot be is logged, and forgotten.
 */
int mpl_kvm_events_reset(void *opaque);

#endif
