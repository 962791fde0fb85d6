/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest in system management mode, which has an address space of its own:
 *
 *                         "memory"          "smm"
 *     0020000 .. 0020fff  ram, or own       under, or over
 *     0021000 .. 0021fff  ram, or shared    ram, or shared
 *     0030000 .. 003ffff  ram               smram, the handler at 38000
 *     00d0000 .. 00d1fff  device            another device
 *     4000000 .. 4000fff  nothing           high
 *
 * All else is the same in both; own, over and shared are disabled at first. The
 * guest asks for the interrupt by a write to port 80, as chipsets have it: it
 * comes right after that instruction.
 */
#ifndef TESTS_KVM_REAL_SMM_H
#define TESTS_KVM_REAL_SMM_H

#include "tests/kvm/real/vm.h"

#define SMM_WINDOW    UINT64_C(0x20000)
#define SMM_SHARED    UINT64_C(0x21000)
#define SMM_BASE      UINT64_C(0x30000) /* where processors have it at first */
#define SMM_RAM       0x10000u
#define SMM_HANDLER   0x8000u /* in it; by the architecture */
#define SMM_STATE     0xfe00u /* in it: registers are saved from here on */
#define SMM_HIGH      UINT64_C(0x4000000)
#define SMM_OWN_BYTES 0x0e /* in the other mode's RAM at SMM_BASE */
#define SMM_BYTES     0x5e /* in SMM's */
#define SMM_SPACES    2u   /* KVM's: as_id 0 and 1 */
#define SMM_SLOTS     64u  /* ids are small */

/* Slots that came and went, in each KVM address space. */
struct smm_calls {
	unsigned int added[SMM_SPACES], deleted[SMM_SPACES];
};

struct smm {
	struct vm *vm;
	struct mpl_region *root, *all, *smram, *high, *under, *over, *own,
		*shared;
	struct vm_device device;
	struct mpl_address_space *as;
	struct smm_calls calls;
	bool is_live[SMM_SPACES][SMM_SLOTS];
	struct vm_vcpu vcpu;
	bool irqchip;
	bool over_it; /* port 8f was written */
};

/* The one machine. */
extern struct smm smm;

/* Why there is no system management mode to test with, or NULL. */
const char *smm_missing(void);

/* Fail the test on any error.  `plane` may be NULL; with `irqchip` the
 * interrupt controller is the kernel's. */
void smm_build(const struct mpl_plane_config *plane,
	       enum mpl_kvm_dirty_mode mode, bool irqchip);
/* All slots that came must have gone, in both spaces. */
void smm_free(void);
void smm_toggle(struct mpl_region *region, bool on);

/* 4 bytes of a region's memory. */
uint32_t smm_word(const struct mpl_region *region, uint64_t offset);

/* The vCPU's number. */
unsigned int smm_index(void);

/* Until the guest at VM_CODE writes port 8f, with DS = ES = the device's; its
 * registers.  The vCPU is the caller's to free. */
struct kvm_regs smm_run(void);

/* A guest for VM_LOAD(): asks once, then EBX is the window's word and ECX that
 * of SMM_SHARED. */
extern const uint8_t smm_guest[], smm_guest_end[];

/* Put a handler's guest to where the processor begins. */
#define SMM_LOAD(name)                                                         \
	do {                                                                   \
		extern const uint8_t name[], name##_end[];                     \
		smm_load(name, (size_t)(name##_end - name));                   \
	} while (0)
void smm_load(const uint8_t *handler, size_t len);

#endif
