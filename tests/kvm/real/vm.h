/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small machine on a real /dev/kvm, for guests of a few bytes:
 *
 *     0000000 .. 1ffffff  RAM
 *     00d0000 .. 00d1fff  device, over it: two pages
 *     00d8000 .. 00d80ff  RAM that no slot can hold: less than a page
 *     0080 .. 008f        device (ports)
 *
 * Guests are written as assembly beside the tests and copied to an address.
 */
#ifndef TESTS_KVM_REAL_VM_H
#define TESTS_KVM_REAL_VM_H

#include <memplane.h>

#include <linux/kvm.h>

#define VM_RAM (32 * MPL_MIB)
#define VM_DEVICE UINT64_C(0xd0000)
#define VM_DEVICE_SIZE 0x2000u
#define VM_CRUMB UINT64_C(0xd8000)
#define VM_CRUMB_SIZE 0x100u
#define VM_PORTS UINT64_C(0x80)
#define VM_CODE 0x1000u	  /* where guests begin */
#define VM_STACK 0x8000u  /* below which their stack is */
#define VM_TABLES 0x10000u /* page tables for long mode */
#define VM_ACCESSES 8192

struct vm;

struct vm_access {
	bool is_write;
	uint64_t offset;
	unsigned int size;
	uint64_t value;
	struct mpl_attrs attrs;
};

struct vm_device {
	struct vm *vm;
	struct mpl_region *region;
	struct vm_access accesses[VM_ACCESSES];
	unsigned int count; /* all; the first VM_ACCESSES are kept */
	/* What reads give, and runs in each callback; may be NULL. */
	uint64_t answer;
	void (*inside)(struct vm_device *device,
		       const struct vm_access *access);
};

struct vm {
	int kvm_fd;
	int fd;
	struct mpl_plane *plane;
	struct mpl_region *system, *io, *ram, *crumb;
	struct mpl_address_space *memory, *ports;
	struct mpl_kvm *kvm;
	struct vm_device device, port;
	uint8_t *host; /* of the RAM */
	unsigned int lines; /* of log */
	char log[512];	    /* the last one */
};

struct vm_vcpu {
	struct vm *vm;
	int fd;
	struct mpl_vcpu *vcpu;
	struct kvm_run *run;
};

/* Why there is no KVM to test with, or NULL. */
const char *vm_missing(void);

/* Fail the test on any error.  `config` may be NULL. */
struct vm *vm_new(const struct mpl_plane_config *plane,
		  const struct mpl_kvm_config *config);
/* With the in-kernel interrupt controller: HLT stays in the kernel. */
void vm_irqchip(struct vm *vm);
void vm_free(struct vm *vm);
/* Another device that notes its accesses; the region is the caller's. */
void vm_device_new(struct vm *vm, const char *name, uint64_t size,
		   struct vm_device *out);
void vm_commit(struct mpl_txn *tx);

/* In the vCPU's own thread. */
void vm_vcpu_new(struct vm *vm, unsigned int index, struct vm_vcpu *out);
void vm_vcpu_free(struct vm_vcpu *vcpu);

/* Begin at an address: 16 bits, flat to 64 KiB, DS = ES = `ds`; or 64 bits,
 * with the first 4 GiB mapped as they are. */
void vm_real_mode(struct vm_vcpu *vcpu, uint64_t ip, uint16_t ds);
void vm_long_mode(struct vm_vcpu *vcpu, uint64_t ip);
struct kvm_regs vm_regs(struct vm_vcpu *vcpu);
void vm_set_regs(struct vm_vcpu *vcpu, const struct kvm_regs *regs);

/* Run until an exit that is the caller's; its reason.  -EINTR is retried. */
uint32_t vm_run(struct vm_vcpu *vcpu);

/* Put the guest between the symbols `name` and `name`_end at an address. */
#define VM_LOAD(vm, at, name)                                        \
	do {                                                         \
		extern const uint8_t name[], name##_end[];           \
		vm_load((vm), (at), name, (size_t)(name##_end - name)); \
	} while (0)
void vm_load(struct vm *vm, uint64_t at, const void *code, size_t len);

/* A guest as assembly, 16 or 64 bits. */
#define VM_GUEST(bits, name, text)                      \
	__asm__(".pushsection .rodata\n"                \
		".globl " #name ", " #name "_end\n"     \
		".code" #bits "\n" #name ":\n" text     \
		"\n" #name "_end:\n"                    \
		".code64\n"                             \
		".popsection\n")

#endif
