/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM without a kernel: a table of system calls that keeps slots, dirty logs
 * and rings, ioeventfds and coalesced zones by the kernel's own rules, counts
 * the calls and fails those it is told to.
 *
 * What the rules are: Documentation/virt/kvm/api.rst, and what a real kernel
 * answered.
 */
#ifndef TESTS_SUPPORT_FAKE_KVM_H
#define TESTS_SUPPORT_FAKE_KVM_H

#include <memplane.h>

#include "lib/base/interval.h"

#include <linux/kvm.h>

#define FAKE_SPACES  2
#define FAKE_VCPUS   4
#define FAKE_VM_FD   9000
#define FAKE_VCPU_FD 9100 /* and the next ones */
#define FAKE_FAULTS  4

struct fake_slot {
	struct mpl_interval node; /* guest addresses */
	uint32_t id;
	bool live;
	uint32_t flags;
	uint64_t hva;
	uint64_t pages;
	uint64_t *dirty; /* with KVM_MEM_LOG_DIRTY_PAGES, not in ring mode */
};

struct fake_ioeventfd {
	struct kvm_ioeventfd call; /* as assigned, DEASSIGN not set */
};

struct fake_zone {
	struct kvm_coalesced_mmio_zone zone;
};

struct fake_ring {
	struct kvm_dirty_gfn *gfns;
	uint32_t put;  /* by the "guest" */
	uint32_t from; /* first that was not reset */
};

enum fake_call {
	FAKE_SET_MEMORY,
	FAKE_GET_LOG,
	FAKE_CLEAR_LOG,
	FAKE_RESET_RINGS,
	FAKE_IOEVENTFD,
	FAKE_COALESCED,
	FAKE_ENABLE_CAP,
	FAKE_PARK,
	FAKE_OTHER,
	FAKE_CALLS,
};

struct fake_kvm {
	struct mpl_kvm_sys_ops sys;   /* for mpl_kvm_config, with this as */
	struct mpl_kvm_gate_ops gate; /* both opaques */

	/* What KVM_CHECK_EXTENSION says; set before attaching. */
	unsigned int nr_slots;
	unsigned int nr_spaces;
	bool readonly;
	bool region2;
	unsigned int manual;
	unsigned int ring_bytes;
	bool no_ioeventfd_any_length;

	bool used_region2; /* the newer call was made */
	unsigned int manual_on; /* bits that KVM_ENABLE_CAP set */
	uint32_t ring_entries;  /* 0: bitmaps */

	struct fake_slot *slots[FAKE_SPACES]; /* by id, nr_slots each */
	struct mpl_interval_tree tree[FAKE_SPACES];
	size_t count[FAKE_SPACES];
	struct fake_ioeventfd *ioeventfds;
	size_t n_ioeventfds, cap_ioeventfds;
	struct fake_zone *zones;
	size_t n_zones, cap_zones;
	struct fake_ring rings[FAKE_VCPUS];
	struct kvm_run *runs[FAKE_VCPUS]; /* mapped: two pages */
	struct kvm_coalesced_mmio_ring *coalesced; /* mapped */
	unsigned int maps_failing; /* fail so many calls of map, -ENOMEM */

	bool parked;
	uint64_t calls[FAKE_CALLS]; /* also those that failed */

	/*
	 * Calls that change something, counted since fake_arm(); the ones
	 * that these numbers name (the first is 1) fail.
	 */
	unsigned int changes;
	unsigned int faults[FAKE_FAULTS];
	int fault_errno;
	unsigned int failed;

	/* Runs after each call that changed slots, and at each unpark, with
	 * the VM as a vCPU would find it. */
	void (*watch)(void *arg, struct fake_kvm *fake);
	void *watch_arg;
	/* KVM_RUN: fills the exit in, and returns what the ioctl shall. */
	int (*guest)(void *arg, unsigned int vcpu, struct kvm_run *run);
	void *guest_arg;
	/* Runs before each call and (as request 0) each park; e.g. a guest
	 * that writes meanwhile. */
	void (*before)(void *arg, struct fake_kvm *fake, unsigned long request);
	void *before_arg;
};

struct fake_kvm *fake_new(void);
/* Fails the test if anything is left in it. */
void fake_free(struct fake_kvm *fake);
/* The same, whatever is left. */
void fake_discard(struct fake_kvm *fake);

/* A configuration that uses the fake and its gate. */
struct mpl_kvm_config fake_config(struct fake_kvm *fake);

/* Count from now; fail the given calls (0: none) with -EIO. */
void fake_arm(struct fake_kvm *fake, unsigned int first, unsigned int second);

/* The slot that covers a guest address, or NULL. */
struct fake_slot *fake_slot_at(const struct fake_kvm *fake, unsigned int space,
			       uint64_t gpa);
/* Slots in ascending order. */
void fake_slots_each(const struct fake_kvm *fake, unsigned int space,
		     void (*fn)(void *arg, const struct fake_slot *slot),
		     void *arg);

/*
 * A guest writes a byte: into memory, and into the log if the slot has one.
 * False: an exit (no slot, or a read-only one).
 */
bool fake_guest_write(struct fake_kvm *fake, unsigned int vcpu,
		      unsigned int space, uint64_t gpa, uint8_t value);

#endif
