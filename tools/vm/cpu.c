/* SPDX-License-Identifier: BSD-3-Clause */
/* A processor: what KVM is told about it, and its thread. */
#include "tools/vm/vm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CPUID_ENTRIES 256

/* All that KVM supports; but which processor it is, is for us to say. */
static void set_cpuid(struct vm *vm, struct cpu *cpu)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) +
				  CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	int deadline = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION,
			     KVM_CAP_TSC_DEADLINE_TIMER);

	if (!cpuid)
		check(-ENOMEM, "CPUID");
	cpuid->nent = CPUID_ENTRIES;
	if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid))
		check(-errno, "KVM_GET_SUPPORTED_CPUID");
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		switch (entry->function) {
		case 1: /* local APIC's number; timer; runs under a hypervisor */
			entry->ebx &= 0x00ffffff;
			entry->ebx |= cpu->index << 24;
			if (deadline > 0)
				entry->ecx |= 1u << 24;
			entry->ecx |= 1u << 31;
			break;
		case 0xb: /* the same in the topology leaves */
		case 0x1f:
			entry->edx = cpu->index;
			break;
		}
	}
	if (ioctl(cpu->fd, KVM_SET_CPUID2, cpuid))
		check(-errno, "KVM_SET_CPUID2");
	free(cpuid);
}

void cpu_new(struct vm *vm, unsigned int index)
{
	struct cpu *cpu = &vm->cpus[index];

	cpu->vm = vm;
	cpu->index = index;
	cpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, index);
	if (cpu->fd < 0)
		fail("KVM makes no processor %u: %s", index, strerror(errno));
	set_cpuid(vm, cpu);
}

/* An exit that is not the map's: with chips in the kernel they are all bad. */
static void other_exit(struct cpu *cpu)
{
	const struct kvm_run *run = mpl_vcpu_kvm_run(cpu->vcpu);
	struct kvm_regs regs = { 0 };

	ioctl(cpu->fd, KVM_GET_REGS, &regs);
	fprintf(stderr, "mpl-vm: processor %u at %#llx: ", cpu->index,
		(unsigned long long)regs.rip);
	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		fputs("triple fault\r\n", stderr);
		vm_end(cpu->vm, VM_RESET);
		return;
	case KVM_EXIT_INTERNAL_ERROR:
		fprintf(stderr, "KVM's internal error %u\r\n",
			run->internal.suberror);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		fprintf(stderr, "KVM cannot enter the guest: %#llx\r\n",
			(unsigned long long)
				run->fail_entry.hardware_entry_failure_reason);
		break;
	default:
		fprintf(stderr, "unexpected exit %u\r\n", run->exit_reason);
	}
	vm_end(cpu->vm, VM_BROKEN);
}

/*
 * mpl_vcpu_run() does what there is to do for memory and ports.  The other
 * processors wait in it until the first one starts them (KVM_RUN then returns
 * -EAGAIN once).
 */
static void *run(void *arg)
{
	struct cpu *cpu = arg;
	int err;

	check(mpl_vcpu_new(cpu->vm->kvm, cpu->fd, cpu->index, &cpu->vcpu),
	      "cannot make a processor");
	pthread_barrier_wait(&cpu->vm->started);
	while (vm_state(cpu->vm) == VM_RUNS) {
		err = mpl_vcpu_run(cpu->vcpu);
		if (err == MPL_EXIT_OTHER) {
			other_exit(cpu);
		} else if (err && err != -EINTR && err != -EAGAIN) {
			fprintf(stderr, "mpl-vm: processor %u: %s\r\n",
				cpu->index, strerror(-err));
			vm_end(cpu->vm, VM_BROKEN);
		}
	}
	return NULL;
}

void cpu_start(struct cpu *cpu)
{
	check(-pthread_create(&cpu->thread, NULL, run, cpu), "no thread");
}

void cpu_stop(struct cpu *cpu)
{
	pthread_join(cpu->thread, NULL);
	check(mpl_vcpu_free(cpu->vcpu), "a processor does not end");
	close(cpu->fd);
}
