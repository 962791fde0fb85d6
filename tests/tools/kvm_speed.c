/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is this machine's /dev/kvm good enough to boot a kernel?  Some run guests
 * that were not made for them by interpreting each instruction, and then not
 * all of them.  Exit status 0 if 50 million turns of a loop in long mode take
 * less than 3 s (a processor with virtualisation takes 25 ms); else 77, with
 * the reason on the last line.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_SIZE 0x200000
#define CODE_GPA 0x8000

static void __attribute__((noreturn)) skip(const char *why)
{
	printf("this machine's /dev/kvm cannot boot a kernel: %s\n", why);
	exit(77);
}

static void on_alarm(int number)
{
	(void)number;
}

/* Long mode: the first 2 MiB at their own addresses. */
static void write_guest(uint8_t *ram)
{
	static const uint8_t code[] = {
		0xb9, 0x80, 0xf0, 0xfa, 0x02, /* mov $50000000, %ecx */
		0xff, 0xc9,		      /* dec %ecx */
		0x75, 0xfc,		      /* jnz to the dec */
		0xe6, 0x10,		      /* out %al, $0x10 */
	};
	uint64_t *tables = (uint64_t *)(ram + 0x1000);

	tables[0] = 0x2003;	/* level 4: to the next page */
	tables[512] = 0x3003;	/* level 3: to the next page */
	tables[1024] = 0x83;	/* level 2: a large page at 0 */
	memcpy(ram + CODE_GPA, code, sizeof(code));
}

static void set_registers(int vcpu)
{
	const struct kvm_segment code = {
		.limit = UINT32_MAX, .selector = 8, .type = 0xb,
		.present = 1, .s = 1, .l = 1, .g = 1,
	};
	const struct kvm_segment data = {
		.limit = UINT32_MAX, .selector = 16, .type = 3,
		.present = 1, .s = 1, .db = 1, .g = 1,
	};
	const struct kvm_regs regs = { .rip = CODE_GPA, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		skip(strerror(errno));
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr3 = 0x1000;
	sregs.cr4 |= 1 << 5;
	sregs.cr0 |= 1u << 31 | 1;
	sregs.efer |= 1 << 8 | 1 << 10;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) ||
	    ioctl(vcpu, KVM_SET_REGS, &regs))
		skip(strerror(errno));
}

int main(void)
{
	const struct sigaction action = { .sa_handler = on_alarm };
	struct kvm_userspace_memory_region slot = { .memory_size = RAM_SIZE };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	int vcpu, size;
	struct kvm_run *run;
	uint8_t *ram;

	if (kvm < 0 || vm < 0)
		skip(strerror(errno));
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0 || size < (int)sizeof(*run))
		skip(strerror(errno));
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED,
		   vcpu, 0);
	if (ram == MAP_FAILED || run == MAP_FAILED)
		skip(strerror(errno));
	write_guest(ram);
	slot.userspace_addr = (uintptr_t)ram;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot))
		skip(strerror(errno));
	set_registers(vcpu);

	sigaction(SIGALRM, &action, NULL);
	alarm(3);
	if (ioctl(vcpu, KVM_RUN, 0))
		skip(errno == EINTR ? "it interprets each instruction"
				    : strerror(errno));
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != 0x10)
		skip("it does not run code in long mode");
	puts("this machine's /dev/kvm is good enough");
	return 0;
}
