/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * KVM: a listener that keeps a virtual machine's memory slots, ioeventfds and
 * coalesced zones equal to the map, and the vCPU's exit handling.
 *
 * The words slot, ioeventfd, coalesced MMIO and dirty log are those of the
 * Linux KVM API documentation (Documentation/virt/kvm/api.rst).
 *
 *     address space "memory" --- mpl_kvm_attach() -------- slots of as_id 0
 *     address space "smram"  --- mpl_kvm_attach_space() -- slots of as_id 1
 *     address space "I/O"    --- mpl_kvm_attach_space() -- PIO: no slots
 *
 * Slots cannot be replaced atomically.  Where a commit splits or replaces RAM
 * that the guest sees, or takes away some that is logged, the vCPUs are
 * *parked*: none is in KVM_RUN and none can enter it until the new slots stand.
 * A vCPU in user space is parked already; it runs on, and waits only when it
 * wants back into the guest.
 */
#ifndef MEMPLANE_KVM_H
#define MEMPLANE_KVM_H

#include "space.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kvm_run; /* <linux/kvm.h> */
struct mpl_kvm;
struct mpl_vcpu;

/* System calls, so that tests can count and fail them.  All return -errno. */
struct mpl_kvm_sys_ops {
	/* `arg` is a number, or a pointer that the request knows. */
	int (*ioctl)(void *opaque, int fd, unsigned long request,
		     uintptr_t arg);
	int (*map)(void *opaque, int fd, uint64_t offset, size_t len,
		   void **out);
	void (*unmap)(void *opaque, void *host, size_t len);
};

/*
 * For embedders whose vCPU threads are their own.  park: on return no vCPU is
 * in KVM_RUN and none enters it until unpark.  Called on the control side;
 * must not wait for a vCPU that is in user space, whatever it does there.
 */
struct mpl_kvm_gate_ops {
	int (*park)(void *opaque);
	void (*unpark)(void *opaque);
};

enum mpl_kvm_dirty_mode {
	MPL_KVM_DIRTY_BEST,    /* manual where KVM has it, else bitmap */
	MPL_KVM_DIRTY_BITMAP,  /* KVM_GET_DIRTY_LOG clears */
	MPL_KVM_DIRTY_MANUAL,  /* KVM_CLEAR_DIRTY_LOG, in chunks */
	MPL_KVM_DIRTY_ALL_SET, /* manual, and all pages dirty at first */
	MPL_KVM_DIRTY_RING,    /* a ring per vCPU, and a reaper */
};

struct mpl_kvm_config {
	unsigned int slots_max;  /* of each KVM address space; 0: the VM's */
	uint64_t slot_bytes_max; /* greatest slot; 0: KVM's limit */
	enum mpl_kvm_dirty_mode dirty_mode;
	unsigned int dirty_ring_entries; /* per vCPU; 0: 4096 */
	/* Kicks vCPUs out of KVM_RUN (mpl_vcpu); 0: SIGUSR1.  Its handler is
	 * the embedder's; it may be empty, but must be installed. */
	int park_signal;
	const struct mpl_kvm_gate_ops *gate; /* NULL: mpl_vcpu's own */
	void *gate_opaque;
	const struct mpl_kvm_sys_ops *sys; /* NULL: the real ones */
	void *sys_opaque;
};

enum mpl_kvm_space {
	MPL_KVM_SMM = 1, /* KVM address space 1 */
	MPL_KVM_PIO = 2, /* ports: ioeventfds and coalesced PIO, no slots */
};

/*
 * Make the slots, ioeventfds and coalesced zones of `vm_fd` those of `as`, and
 * keep them so: a listener is registered.  `config` may be NULL for the
 * defaults and is copied (what it points at is not).  The descriptor stays
 * the caller's, must outlive the attachment, and must have no slots.  With
 * MPL_KVM_DIRTY_RING attach before the first vCPU is made.
 *
 * Context as mpl_commit().
 *
 * Errors: -EINVAL (a limit out of range), -ENOTSUP (the VM does not have what
 * the configuration asks for), -ENOMEM, or what an ioctl returned.
 */
int mpl_kvm_attach(struct mpl_address_space *as, int vm_fd,
		   const struct mpl_kvm_config *config, struct mpl_kvm **out);

/*
 * Another address space of the same plane and VM.  ioeventfds and coalesced
 * zones of MPL_KVM_SMM are not given to the kernel: it has one table for both
 * of its address spaces, and that is filled from the first.
 *
 * Errors: as mpl_kvm_attach(); -EINVAL (of another plane), -EEXIST (there is
 * one already, or another thread is attaching one), -ENOTSUP (the VM has one
 * KVM address space only).
 */
int mpl_kvm_attach_space(struct mpl_kvm *kvm, struct mpl_address_space *as,
			 enum mpl_kvm_space which);

/*
 * Take everything back: slots, ioeventfds, zones; and free `kvm`.  Only then
 * its address spaces can be freed (-EBUSY).  When no vCPU is in KVM_RUN, and no
 * other thread uses `kvm`.  NULL is fine.  Context as mpl_commit().
 *
 * Errors: -EBUSY while an mpl_vcpu exists, -EDEADLK: nothing happened.
 */
int mpl_kvm_detach(struct mpl_kvm *kvm);

/*
 * 0, or -ENOTRECOVERABLE if the slots or ioeventfds of one of the address
 * spaces may differ from its map, because taking a failed commit back failed
 * as well.  Context as mpl_listener_error().
 */
int mpl_kvm_error(const struct mpl_kvm *kvm);

/*
 * Mend that: delete all slots, ioeventfds and zones, and make them anew.
 * Context and errors as mpl_listener_resync().
 */
int mpl_kvm_resync(struct mpl_kvm *kvm);

/*
 * Take what is in the vCPUs' dirty rings into the regions' logs, and let KVM
 * use the rings again.  For a reaper thread, and at KVM_EXIT_DIRTY_RING_FULL;
 * mpl_dirty_sync() does it too.  Any thread.
 *
 * Errors: -ENOTSUP without rings, or what KVM_RESET_DIRTY_RINGS returned.
 */
int mpl_kvm_dirty_reap(struct mpl_kvm *kvm);

struct mpl_kvm_stats {
	uint64_t slots;         /* now */
	uint64_t slots_added;   /* ioctls: a slot came, */
	uint64_t slots_deleted; /* went, */
	uint64_t slots_flagged; /* or began or ended to log */
	uint64_t parks;         /* times that all vCPUs were stopped */
	uint64_t park_ns;       /* and how long altogether */
	uint64_t park_ns_max;   /* the longest one */
	uint64_t compactions;   /* slots ran short: neighbours were joined */
	uint64_t unmapped;	/* ranges of memory without a slot, now: less
				 * than a page, host and guest addresses that
				 * differ within a page, or read-only where KVM
				 * has no such slots */
	uint64_t incongruent;	/* ranges of memory on huge pages, now, that KVM
				 * maps with small ones: their guest and host
				 * addresses differ within a page of the
				 * region's (mpl_region_page_size()) */
	uint64_t log_fetches;   /* KVM_GET_DIRTY_LOG */
	uint64_t log_clears;    /* KVM_CLEAR_DIRTY_LOG */
	uint64_t ring_entries;  /* taken out of dirty rings */
};
/* Context as mpl_plane_stats(). */
void mpl_kvm_stats(struct mpl_kvm *kvm, struct mpl_kvm_stats *out);

#ifdef __cplusplus
}
#endif

#endif
