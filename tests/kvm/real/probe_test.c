/* SPDX-License-Identifier: BSD-3-Clause */
/* Is this /dev/kvm one that the tests beside this one can be run on? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_SIZE   0x10000
#define CODE_GPA   0x1000
#define DEVICE_GPA 0x20000 /* beyond the RAM */

struct machine {
	int kvm;
	int vm;
	int vcpu;
	uint8_t *ram;
	struct kvm_run *run;
	size_t run_size;
};

static int setup(void **state)
{
	static struct machine m;
	struct kvm_userspace_memory_region slot = { .memory_size = RAM_SIZE };
	int size;

	m.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m.kvm < 0)
		return -1;
	m.vm = ioctl(m.kvm, KVM_CREATE_VM, 0);
	m.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size = ioctl(m.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (m.vm < 0 || m.ram == MAP_FAILED || size < (int)sizeof(*m.run))
		return -1;
	m.run_size = (size_t)size;
	slot.userspace_addr = (uintptr_t)m.ram;
	if (ioctl(m.vm, KVM_SET_USER_MEMORY_REGION, &slot))
		return -1;
	m.vcpu = ioctl(m.vm, KVM_CREATE_VCPU, 0);
	if (m.vcpu < 0)
		return -1;
	m.run = mmap(NULL, m.run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		     m.vcpu, 0);
	*state = &m;
	return m.run == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	struct machine *m = *state;

	if (!m)
		return 0;
	munmap(m->run, m->run_size);
	close(m->vcpu);
	close(m->vm);
	close(m->kvm);
	munmap(m->ram, RAM_SIZE);
	return 0;
}

/* The library asks the VM; what is here is what it cannot do without. */
static void capabilities(void **state)
{
	static const struct {
		int number;
		const char *name;
	} wanted[] = {
		{ KVM_CAP_NR_MEMSLOTS, "NR_MEMSLOTS" },
		{ KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT" },
		{ KVM_CAP_IOEVENTFD, "IOEVENTFD" },
		{ KVM_CAP_SYNC_MMU, "SYNC_MMU" },
		{ KVM_CAP_READONLY_MEM, "READONLY_MEM" },
	};
	static const struct {
		int number;
		const char *name;
	} told[] = {
		{ KVM_CAP_MULTI_ADDRESS_SPACE, "MULTI_ADDRESS_SPACE" },
		{ KVM_CAP_X86_SMM, "X86_SMM" },
		{ KVM_CAP_COALESCED_MMIO, "COALESCED_MMIO" },
		{ KVM_CAP_COALESCED_PIO, "COALESCED_PIO" },
		{ KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "MANUAL_DIRTY_LOG" },
		{ KVM_CAP_DIRTY_LOG_RING_ACQ_REL, "DIRTY_LOG_RING" },
	};
	struct machine *m = *state;

	assert_int_equal(ioctl(m->kvm, KVM_GET_API_VERSION, 0), 12);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		int value = ioctl(m->vm, KVM_CHECK_EXTENSION, wanted[i].number);

		print_message("%s %d\n", wanted[i].name, value);
		assert_true(value > 0);
	}
	for (size_t i = 0; i < sizeof(told) / sizeof(*told); i++)
		print_message("%s %d\n", told[i].name,
			      ioctl(m->vm, KVM_CHECK_EXTENSION,
				    told[i].number));
}

/* In real mode: a word goes into RAM, then to where there is no RAM. */
static void a_store_beyond_ram_exits(void **state)
{
	static const uint8_t code[] = {
		0xc7, 0x06, 0x00, 0x20, 0x34, 0x12, /* movw $0x1234, 0x2000 */
		0xb8, 0x00, 0x20,		    /* mov $0x2000, %ax */
		0x8e, 0xd8,			    /* mov %ax, %ds */
		0xc7, 0x06, 0x00, 0x00, 0x78, 0x56, /* movw $0x5678, 0 */
		0xf4,				    /* hlt */
	};
	struct machine *m = *state;
	struct kvm_regs regs = { .rip = CODE_GPA, .rflags = 2 };
	struct kvm_sregs sregs;
	uint16_t value;

	memcpy(m->ram + CODE_GPA, code, sizeof(code));
	assert_int_equal(ioctl(m->vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	assert_int_equal(ioctl(m->vcpu, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(ioctl(m->vcpu, KVM_SET_REGS, &regs), 0);

	assert_int_equal(ioctl(m->vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_MMIO);
	assert_int_equal(m->run->mmio.phys_addr, DEVICE_GPA);
	assert_int_equal(m->run->mmio.len, 2);
	assert_true(m->run->mmio.is_write);
	memcpy(&value, m->run->mmio.data, sizeof(value));
	assert_int_equal(value, 0x5678);
	memcpy(&value, m->ram + 0x2000, sizeof(value));
	assert_int_equal(value, 0x1234);

	assert_int_equal(ioctl(m->vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_HLT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capabilities),
		cmocka_unit_test(a_store_beyond_ram_exits),
	};

	return cmocka_run_group_tests_name("kvm probe", tests, setup, teardown);
}
