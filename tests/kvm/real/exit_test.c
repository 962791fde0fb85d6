/* SPDX-License-Identifier: BSD-3-Clause */
/* Exits of real guests, and what devices see of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/kvm/real/vm.h"

static int setup(void **state)
{
	*state = vm_new(NULL, NULL);
	return 0;
}

static int teardown(void **state)
{
	vm_free(*state);
	return 0;
}

static void expect(const struct vm_device *device, unsigned int at,
		   bool is_write, uint64_t offset, unsigned int size,
		   uint64_t value)
{
	const struct vm_access *access = &device->accesses[at];

	assert_true(at < device->count);
	assert_int_equal(access->is_write, is_write);
	assert_int_equal(access->offset, offset);
	assert_int_equal(access->size, size);
	assert_int_equal(access->value, value);
	assert_int_equal(access->attrs.vcpu, 3);
	assert_false(access->attrs.secure);
}

VM_GUEST(16, guest_mmio,
	 "movb $0x11, 0x10\n"
	 "movw $0x2222, 0x20\n"
	 "movl $0x33333333, 0x30\n"
	 "movb 0x40, %al\n"
	 "movw 0x50, %bx\n"
	 "movl 0x60, %ecx\n"
	 "hlt\n");

static void mmio_of_16_bits(void **state)
{
	struct vm *vm = *state;
	struct vm_vcpu vcpu;
	struct mpl_vcpu_stats stats;
	struct kvm_regs regs;

	vm->device.answer = 0xa4a3a2a1;
	VM_LOAD(vm, VM_CODE, guest_mmio);
	vm_vcpu_new(vm, 3, &vcpu);
	vm_real_mode(&vcpu, VM_CODE, VM_DEVICE >> 4);
	assert_int_equal(vm_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vm->device.count, 6);
	expect(&vm->device, 0, true, 0x10, 1, 0x11);
	expect(&vm->device, 1, true, 0x20, 2, 0x2222);
	expect(&vm->device, 2, true, 0x30, 4, 0x33333333);
	expect(&vm->device, 3, false, 0x40, 1, 0);
	expect(&vm->device, 4, false, 0x50, 2, 0);
	expect(&vm->device, 5, false, 0x60, 4, 0);
	regs = vm_regs(&vcpu);
	assert_int_equal(regs.rax & 0xff, 0xa1);
	assert_int_equal(regs.rbx & 0xffff, 0xa2a1);
	assert_int_equal(regs.rcx & 0xffffffff, 0xa4a3a2a1);
	mpl_vcpu_stats(vcpu.vcpu, &stats);
	assert_int_equal(stats.mmio_writes, 3);
	assert_int_equal(stats.mmio_reads, 3);
	assert_int_equal(stats.reasons[KVM_EXIT_MMIO], 6);
	assert_int_equal(stats.reasons[KVM_EXIT_HLT], 1);
	assert_int_equal(stats.exits, 7);
	assert_int_equal(mpl_region_accesses(vm->device.region), 6);
	vm_vcpu_free(&vcpu);
}

VM_GUEST(64, guest_mmio64,
	 "movabs $0x8877665544332211, %rax\n"
	 "mov $0xd0000, %rdi\n"
	 "mov %rax, 0x18(%rdi)\n"
	 "mov 0x20(%rdi), %rbx\n"
	 "mov %rax, 0xffc(%rdi)\n" /* across the device's pages */
	 "mov 0xffc(%rdi), %rcx\n"
	 "mov %rax, -4(%rdi)\n" /* from RAM into the device */
	 "mov -4(%rdi), %rdx\n"
	 "hlt\n");

/* 8 bytes; across a page; and half in RAM, which is no access of ours. */
static void mmio_of_64_bits(void **state)
{
	struct vm *vm = *state;
	struct vm_vcpu vcpu;
	struct kvm_regs regs;
	uint32_t half;

	vm->device.answer = UINT64_C(0xb8b7b6b5b4b3b2b1);
	VM_LOAD(vm, VM_CODE, guest_mmio64);
	vm_vcpu_new(vm, 3, &vcpu);
	vm_long_mode(&vcpu, VM_CODE);
	assert_int_equal(vm_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vm->device.count, 8);
	expect(&vm->device, 0, true, 0x18, 8, UINT64_C(0x8877665544332211));
	expect(&vm->device, 1, false, 0x20, 8, 0);
	expect(&vm->device, 2, true, 0xffc, 4, 0x44332211);
	expect(&vm->device, 3, true, 0x1000, 4, 0x88776655);
	expect(&vm->device, 4, false, 0xffc, 4, 0);
	expect(&vm->device, 5, false, 0x1000, 4, 0);
	expect(&vm->device, 6, true, 0, 4, 0x88776655);
	expect(&vm->device, 7, false, 0, 4, 0);
	memcpy(&half, vm->host + VM_DEVICE - 4, 4);
	assert_int_equal(half, 0x44332211);
	regs = vm_regs(&vcpu);
	assert_int_equal(regs.rbx, UINT64_C(0xb8b7b6b5b4b3b2b1));
	assert_int_equal(regs.rcx, UINT64_C(0xb4b3b2b1b4b3b2b1));
	assert_int_equal(regs.rdx, UINT64_C(0xb4b3b2b144332211));
	vm_vcpu_free(&vcpu);
}

VM_GUEST(16, guest_pio,
	 "movb $0x11, %al\n"
	 "outb %al, $0x80\n"
	 "movw $0x2222, %ax\n"
	 "outw %ax, $0x82\n"
	 "movl $0x33333333, %eax\n"
	 "outl %eax, $0x84\n"
	 "inb $0x81, %al\n"
	 "movb %al, %bl\n"
	 "inw $0x86, %ax\n"
	 "movw %ax, %cx\n"
	 "inl $0x88, %eax\n"
	 "hlt\n");

static void pio(void **state)
{
	struct vm *vm = *state;
	struct vm_vcpu vcpu;
	struct kvm_regs regs;

	vm->port.answer = 0xc4c3c2c1;
	VM_LOAD(vm, VM_CODE, guest_pio);
	vm_vcpu_new(vm, 3, &vcpu);
	vm_real_mode(&vcpu, VM_CODE, 0);
	assert_int_equal(vm_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vm->port.count, 6);
	expect(&vm->port, 0, true, 0, 1, 0x11);
	expect(&vm->port, 1, true, 2, 2, 0x2222);
	expect(&vm->port, 2, true, 4, 4, 0x33333333);
	expect(&vm->port, 3, false, 1, 1, 0);
	expect(&vm->port, 4, false, 6, 2, 0);
	expect(&vm->port, 5, false, 8, 4, 0);
	regs = vm_regs(&vcpu);
	assert_int_equal(regs.rbx & 0xff, 0xc1);
	assert_int_equal(regs.rcx & 0xffff, 0xc2c1);
	assert_int_equal(regs.rax & 0xffffffff, 0xc4c3c2c1);
	vm_vcpu_free(&vcpu);
}

VM_GUEST(16, guest_strings,
	 "cld\n"
	 "movw $0x3000, %si\n"
	 "movw $100, %cx\n"
	 "movw $0x80, %dx\n"
	 "rep outsb\n"
	 "movw $0x4000, %di\n"
	 "movw $200, %cx\n"
	 "movw $0x82, %dx\n"
	 "rep insb\n"
	 "movw $0x5000, %di\n"
	 "movw $64, %cx\n"
	 "rep insw\n"
	 "movw $0xd000, %ax\n"
	 "movw %ax, %es\n"
	 "xorw %di, %di\n"
	 "movw $16, %cx\n"
	 "movb $0x5a, %al\n"
	 "rep stosb\n"
	 "hlt\n");

static void count_up(struct vm_device *device, const struct vm_access *access)
{
	(void)access;
	device->answer++;
}

/* However KVM cuts or batches them: each element, once, in order. */
static void strings(void **state)
{
	struct vm *vm = *state;
	struct mpl_vcpu_stats stats;
	struct vm_vcpu vcpu;

	for (unsigned int i = 0; i < 100; i++)
		vm->host[0x3000 + i] = (uint8_t)(i * 7);
	vm->port.inside = count_up;
	VM_LOAD(vm, VM_CODE, guest_strings);
	vm_vcpu_new(vm, 3, &vcpu);
	vm_real_mode(&vcpu, VM_CODE, 0);
	assert_int_equal(vm_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vm->port.count, 100 + 200 + 64);
	for (unsigned int i = 0; i < 100; i++)
		expect(&vm->port, i, true, 0, 1, (uint8_t)(i * 7));
	for (unsigned int i = 0; i < 200; i++) {
		expect(&vm->port, 100 + i, false, 2, 1, 0);
		assert_int_equal(vm->host[0x4000 + i], (uint8_t)(101 + i));
	}
	for (unsigned int i = 0; i < 64; i++)
		assert_int_equal(((uint16_t *)(vm->host + 0x5000))[i],
				 301 + i);
	assert_int_equal(vm->device.count, 16);
	for (unsigned int i = 0; i < 16; i++)
		expect(&vm->device, i, true, i, 1, 0x5a);
	mpl_vcpu_stats(vcpu.vcpu, &stats);
	assert_int_equal(stats.pio_accesses, 100 + 200 + 64);
	print_message("%u exits for %u PIO accesses\n",
		      (unsigned int)(stats.pio_reads + stats.pio_writes),
		      (unsigned int)stats.pio_accesses);
	vm_vcpu_free(&vcpu);
}

VM_GUEST(16, guest_crumb,
	 "movw $0xbeef, 0x10\n"
	 "movw 0x10, %ax\n"
	 "movw 0x20, %bx\n"
	 "movw 0x200, %cx\n" /* in the page, beyond the crumb */
	 "hlt\n");

/* RAM without a slot: exits, carried out on that RAM, and counted. */
static void memory_without_a_slot(void **state)
{
	struct vm *vm = *state;
	uint8_t *crumb = mpl_region_host(vm->crumb);
	struct mpl_vcpu_stats stats;
	struct vm_vcpu vcpu;
	struct kvm_regs regs;
	uint16_t value;

	memcpy(crumb + 0x20, "\x34\x12", 2);
	VM_LOAD(vm, VM_CODE, guest_crumb);
	vm_vcpu_new(vm, 3, &vcpu);
	vm_real_mode(&vcpu, VM_CODE, VM_CRUMB >> 4);
	assert_int_equal(vm_run(&vcpu), KVM_EXIT_HLT);
	memcpy(&value, crumb + 0x10, 2);
	assert_int_equal(value, 0xbeef);
	regs = vm_regs(&vcpu);
	assert_int_equal(regs.rax & 0xffff, 0xbeef);
	assert_int_equal(regs.rbx & 0xffff, 0x1234);
	mpl_vcpu_stats(vcpu.vcpu, &stats);
	assert_true(stats.memory >= 3);
	assert_int_equal(vm->device.count, 0);
	vm_vcpu_free(&vcpu);
}

VM_GUEST(64, guest_nothing,
	 "mov $0x80000000, %eax\n"
	 "mov (%rax), %rbx\n"
	 "mov %rbx, (%rax)\n"
	 "inl $0x70, %eax\n"
	 "hlt\n");

/* Nothing there: all ones, and the write is dropped. */
static void unassigned_addresses(void **state)
{
	struct vm *vm = *state;
	struct mpl_reader_stats reader;
	struct vm_vcpu vcpu;
	struct kvm_regs regs;

	VM_LOAD(vm, VM_CODE, guest_nothing);
	vm_vcpu_new(vm, 3, &vcpu);
	vm_long_mode(&vcpu, VM_CODE);
	assert_int_equal(vm_run(&vcpu), KVM_EXIT_HLT);
	regs = vm_regs(&vcpu);
	assert_int_equal(regs.rbx, UINT64_MAX);
	assert_int_equal(regs.rax, 0xffffffff);
	mpl_reader_stats(mpl_vcpu_reader(vcpu.vcpu), &reader);
	assert_int_equal(reader.decode_errors, 3);
	vm_vcpu_free(&vcpu);
}

/* The exit's instruction is complete: registers that are set now stay. */
static void finish_before_registers_are_set(void **state)
{
	struct vm *vm = *state;
	struct vm_vcpu vcpu;
	struct kvm_regs regs;

	vm->device.answer = 0x77;
	VM_LOAD(vm, VM_CODE, guest_mmio64);
	vm_vcpu_new(vm, 3, &vcpu);
	vm_long_mode(&vcpu, VM_CODE);
	/* Two exits: the second is the read into RBX. */
	assert_int_equal(mpl_vcpu_run(vcpu.vcpu), 0);
	assert_int_equal(mpl_vcpu_run(vcpu.vcpu), 0);
	assert_int_equal(vm_regs(&vcpu).rbx, 0);
	assert_int_equal(mpl_vcpu_finish(vcpu.vcpu), 0);
	regs = vm_regs(&vcpu);
	assert_int_equal(regs.rbx, 0x77);
	/* And no further: the store across the pages has not begun. */
	assert_int_equal(vm->device.count, 2);
	/* Its first half; finishing makes the second, too. */
	assert_int_equal(mpl_vcpu_run(vcpu.vcpu), 0);
	assert_int_equal(vm->device.count, 3);
	assert_int_equal(mpl_vcpu_finish(vcpu.vcpu), 0);
	assert_int_equal(vm->device.count, 4);
	regs = vm_regs(&vcpu);
	regs.rip = VM_CODE;
	regs.rbx = 0;
	vm_set_regs(&vcpu, &regs);
	assert_int_equal(vm_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vm->device.count, 4 + 8);
	vm_vcpu_free(&vcpu);
}

VM_GUEST(64, guest_dirty,
	 "mov $0x400000, %edi\n"
	 "mov $3000, %ecx\n"
	 "1: movb $1, (%rdi)\n"
	 "add $0x2000, %rdi\n" /* every other page */
	 "dec %ecx\n"
	 "jnz 1b\n"
	 "hlt\n");

/* More pages than the ring has entries: it is reaped when it is full. */
static void a_full_dirty_ring(void **state)
{
	struct mpl_kvm_config config = {
		.dirty_mode = MPL_KVM_DIRTY_RING,
		.dirty_ring_entries = 1024,
	};
	struct vm *vm = vm_new(NULL, &config);
	struct mpl_vcpu_stats stats;
	struct mpl_dirty_set *set;
	struct vm_vcpu vcpu;

	(void)state;
	/* Seen there: it exits when the ring is beyond full, entries are lost
	 * without us. */
	if (!access("/sys/module/kvm_pvm", F_OK)) {
		print_message("kvm_pvm overruns dirty rings\n");
		vm_free(vm);
		skip();
	}
	VM_LOAD(vm, VM_CODE, guest_dirty);
	vm_vcpu_new(vm, 0, &vcpu);
	vm_long_mode(&vcpu, VM_CODE);
	assert_int_equal(mpl_dirty_start(vm->plane, vm->ram,
					 MPL_LOG_MIGRATION),
			 0);
	assert_int_equal(mpl_dirty_set_new(VM_RAM / MPL_DIRTY_PAGE, &set), 0);
	assert_int_equal(mpl_dirty_snapshot_clear(vm->ram, MPL_LOG_MIGRATION, 0,
						  VM_RAM, set),
			 0);
	mpl_dirty_set_clear(set);
	assert_int_equal(vm_run(&vcpu), KVM_EXIT_HLT);
	mpl_vcpu_stats(vcpu.vcpu, &stats);
	assert_true(stats.reasons[KVM_EXIT_DIRTY_RING_FULL] >= 2);
	assert_int_equal(stats.other, 1);
	assert_int_equal(mpl_dirty_sync(vm->plane), 0);
	assert_int_equal(mpl_dirty_snapshot_clear(vm->ram, MPL_LOG_MIGRATION, 0,
						  VM_RAM, set),
			 0);
	/* Tables and stack may be dirty as well, but not in between. */
	for (uint64_t i = 0; i < 6000; i++) {
		uint64_t page = 0, count;

		(void)mpl_dirty_set_next(set, 0x400 + i, &page, &count);
		assert_int_equal(i % 2 == 0, page == 0x400 + i);
	}
	mpl_dirty_set_free(set);
	assert_int_equal(mpl_dirty_stop(vm->plane, vm->ram, MPL_LOG_MIGRATION),
			 0);
	vm_vcpu_free(&vcpu);
	vm_free(vm);
}

int main(void)
{
#define EXIT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		EXIT_TEST(mmio_of_16_bits),
		EXIT_TEST(mmio_of_64_bits),
		EXIT_TEST(pio),
		EXIT_TEST(strings),
		EXIT_TEST(memory_without_a_slot),
		EXIT_TEST(unassigned_addresses),
		cmocka_unit_test(a_full_dirty_ring),
		EXIT_TEST(finish_before_registers_are_set),
	};
	const char *missing = vm_missing();

	if (missing) {
		puts(missing);
		return 77;
	}
	return cmocka_run_group_tests_name("kvm exits", tests, NULL, NULL);
}
