/* SPDX-License-Identifier: BSD-3-Clause */
/* System management interrupts of a real guest, and what its handler sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/kvm/real/smm.h"

static void expect(const struct vm_device *device, unsigned int at, bool secure,
		   bool is_write, uint64_t offset, unsigned int size,
		   uint64_t value)
{
	const struct vm_access *access = &device->accesses[at];

	assert_true(at < device->count);
	assert_int_equal(access->is_write, is_write);
	assert_int_equal(access->offset, offset);
	assert_int_equal(access->size, size);
	assert_int_equal(access->value, value);
	assert_int_equal(access->attrs.vcpu, smm_index());
	assert_int_equal(access->attrs.secure, secure);
}

/* ES is the device, DS is where the other mode has its own RAM. */
VM_GUEST(16, guest_asks,
	 "movw $0x3000, %ax\n"
	 "movw %ax, %ds\n"
	 "movl %es:0x10, %ebx\n"
	 "movl 0x100, %ecx\n"
	 "movl $0x12345678, %edi\n"
	 "outb %al, $0x80\n"
	 "movl %es:0x14, %edx\n"
	 "movl 0x100, %esi\n"
	 "movl 0x104, %ebp\n"
	 "movl $0x600d600d, 0x10c\n"
	 "movl %edi, %es:0x18\n"
	 "outb %al, $0x8f\n"
	 "hlt\n");
VM_GUEST(16, handler_all,
	 "movl $0x30100, %edi\n"
	 "movl (%edi), %eax\n"
	 "movl %eax, 4(%edi)\n"
	 "movl $0xd0000, %esi\n"
	 "movl 0x20(%esi), %ebx\n"
	 "movl %ebx, 8(%edi)\n"
	 "movl $0xb0b0b0b0, 0x24(%esi)\n"
	 "movl $0x4000000, %ecx\n"
	 "movl %ebx, 0x10(%ecx)\n"
	 "movl $0x3000, %edx\n" /* RAM of both */
	 "movl $0x5a5a5a5a, (%edx)\n"
	 "movb $0x77, %al\n"
	 "outb %al, $0x81\n"
	 "inw $0x82, %ax\n"
	 "movw %ax, 0x10(%edi)\n"
	 "movl $0xdead, %ebp\n"
	 "rsm\n");

static bool all_bytes(const uint8_t *at, size_t len, uint8_t byte)
{
	for (size_t i = 0; i < len; i++)
		if (at[i] != byte)
			return false;
	return true;
}

static void check_memory(void)
{
	uint8_t *own = smm.vm->host + SMM_BASE;
	uint32_t value;

	assert_int_equal(smm_word(smm.smram, 0x100), 0x5e5e5e5e);
	assert_int_equal(smm_word(smm.smram, 0x104), 0x5e5e5e5e);
	assert_int_equal(smm_word(smm.smram, 0x108), 0xb4b3b2b1);
	assert_int_equal(smm_word(smm.smram, 0x10c), 0x5e5e5e5e);
	assert_int_equal(smm_word(smm.smram, 0x110) & 0xffff, 0xc2c1);
	assert_int_equal(smm_word(smm.high, 0x10), 0xb4b3b2b1);
	/* KVM itself has saved the registers there, and there only. */
	assert_false(
		all_bytes((uint8_t *)mpl_region_host(smm.smram) + SMM_STATE,
			  SMM_RAM - SMM_STATE, SMM_BYTES));
	memcpy(&value, own + 0x10c, 4);
	assert_int_equal(value, 0x600d600d);
	memset(own + 0x10c, SMM_OWN_BYTES, 4);
	assert_true(all_bytes(own, SMM_RAM, SMM_OWN_BYTES));
	memcpy(&value, smm.vm->host + 0x3000, 4);
	assert_int_equal(value, 0x5a5a5a5a);
}

static void an_interrupt(bool irqchip)
{
	struct mpl_vcpu_stats stats;
	struct kvm_regs regs;

	smm_build(NULL, MPL_KVM_DIRTY_BEST, irqchip);
	VM_LOAD(smm.vm, VM_CODE, guest_asks);
	SMM_LOAD(handler_all);
	smm.vm->device.answer = 0xa4a3a2a1;
	smm.device.answer = 0xb4b3b2b1;
	smm.vm->port.answer = 0xc4c3c2c1;
	regs = smm_run();

	assert_int_equal(regs.rbx, 0xa4a3a2a1);
	assert_int_equal(regs.rcx, 0x0e0e0e0e);
	assert_int_equal(regs.rdx, 0xa4a3a2a1);
	assert_int_equal(regs.rsi, 0x0e0e0e0e);
	assert_int_equal(regs.rbp, 0x0e0e0e0e);
	assert_int_equal(smm.vm->device.count, 3);
	expect(&smm.vm->device, 0, false, false, 0x10, 4, 0);
	expect(&smm.vm->device, 1, false, false, 0x14, 4, 0);
	expect(&smm.vm->device, 2, false, true, 0x18, 4, 0x12345678);
	assert_int_equal(smm.device.count, 2);
	expect(&smm.device, 0, true, false, 0x20, 4, 0);
	expect(&smm.device, 1, true, true, 0x24, 4, 0xb0b0b0b0);
	assert_int_equal(smm.vm->port.count, 4);
	expect(&smm.vm->port, 0, false, true, 0, 1, 0);
	expect(&smm.vm->port, 1, true, true, 1, 1, 0x77);
	expect(&smm.vm->port, 2, true, false, 2, 2, 0);
	expect(&smm.vm->port, 3, false, true, 15, 1, 0);
	check_memory();
	mpl_vcpu_stats(smm.vcpu.vcpu, &stats);
	assert_int_equal(stats.memory, 0); /* no RAM was found by an exit */
	assert_int_equal(stats.other, 0);
	assert_int_equal(smm.vm->lines, 0);
	vm_vcpu_free(&smm.vcpu);
	smm_free();
}

static void without_interrupt_controller(void **state)
{
	(void)state;
	an_interrupt(false);
}

static void with_interrupt_controller(void **state)
{
	(void)state;
	an_interrupt(true);
}

/* Two pages of its own RAM, and one of both spaces' that only it writes. */
VM_GUEST(16, handler_dirties,
	 "movl $0x32000, %edi\n"
	 "movl $1, (%edi)\n"
	 "movl $1, 0x3000(%edi)\n"
	 "movl $0x500000, %edi\n"
	 "movl $1, (%edi)\n"
	 "rsm\n");

struct log {
	struct mpl_region *region;
	uint64_t written[4]; /* 0: none */
	uint64_t read[4];    /* KVM may map a page to be written at once */
};

static bool is_among(const uint64_t pages[4], uint64_t page)
{
	for (unsigned int i = 0; i < 4; i++)
		if (pages[i] == page)
			return page != 0;
	return false;
}

static struct mpl_dirty_set *take(struct mpl_region *region)
{
	uint64_t size = mpl_region_size(region);
	struct mpl_dirty_set *set;

	assert_int_equal(mpl_dirty_sync(smm.vm->plane), 0);
	assert_int_equal(mpl_dirty_set_new(size / MPL_DIRTY_PAGE, &set), 0);
	assert_int_equal(mpl_dirty_snapshot_clear(region, MPL_LOG_MIGRATION, 0,
						  size, set),
			 0);
	return set;
}

static void expect_pages(const struct log *log)
{
	struct mpl_dirty_set *set = take(log->region);
	uint64_t from = 0, page, len;
	unsigned int written = 0;

	for (; mpl_dirty_set_next(set, from, &page, &len); from = page + len)
		for (uint64_t i = page; i < page + len; i++) {
			if (is_among(log->written, i))
				written++;
			else
				assert_true(is_among(log->read, i));
		}
	for (unsigned int i = 0; i < 4 && log->written[i]; i++)
		written--;
	assert_int_equal(written, 0);
	mpl_dirty_set_free(set);
}

/* What SMM writes, and KVM for it, is logged; what nobody touched is not. */
static void log_of(enum mpl_kvm_dirty_mode mode)
{
	struct log logs[] = {
		{ .written = { 2, 5, SMM_STATE / MPL_DIRTY_PAGE },
		  .read = { SMM_HANDLER / MPL_DIRTY_PAGE } },
		{ .written = { 0x500 },
		  .read = { VM_CODE / MPL_DIRTY_PAGE,
			    SMM_WINDOW / MPL_DIRTY_PAGE,
			    SMM_SHARED / MPL_DIRTY_PAGE } },
	};

	smm_build(NULL, mode, false);
	logs[0].region = smm.smram;
	logs[1].region = smm.vm->ram;
	VM_LOAD(smm.vm, VM_CODE, smm_guest);
	SMM_LOAD(handler_dirties);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(mpl_dirty_start(smm.vm->plane, logs[i].region,
						 MPL_LOG_MIGRATION),
				 0);
		mpl_dirty_set_free(take(logs[i].region));
	}
	(void)smm_run();
	for (unsigned int i = 0; i < 2; i++) {
		expect_pages(&logs[i]);
		assert_int_equal(mpl_dirty_stop(smm.vm->plane, logs[i].region,
						MPL_LOG_MIGRATION),
				 0);
	}
	vm_vcpu_free(&smm.vcpu);
	smm_free();
}

static void dirty_logs(void **state)
{
	(void)state;
	log_of(MPL_KVM_DIRTY_BITMAP);
	log_of(MPL_KVM_DIRTY_MANUAL);
	log_of(MPL_KVM_DIRTY_ALL_SET);
	log_of(MPL_KVM_DIRTY_RING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_interrupt_controller),
		cmocka_unit_test(with_interrupt_controller),
		cmocka_unit_test(dirty_logs),
	};
	const char *missing = smm_missing();

	if (missing) {
		puts(missing);
		return 77;
	}
	return cmocka_run_group_tests_name("kvm system management mode", tests,
					   NULL, NULL);
}
