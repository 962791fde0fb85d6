/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/kvm/real/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

const char *vm_missing(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm >= 0)
		close(vm);
	if (kvm >= 0)
		close(kvm);
	return kvm < 0 ? "/dev/kvm cannot be opened" :
	       vm < 0  ? "/dev/kvm makes no virtual machine" :
			 NULL;
}

static void nothing(int signal)
{
	(void)signal;
}

static void note(struct vm_device *device, const struct vm_access *access)
{
	unsigned int at =
		__atomic_fetch_add(&device->count, 1, __ATOMIC_RELAXED);

	if (at < VM_ACCESSES)
		device->accesses[at] = *access;
	if (device->inside)
		device->inside(device, access);
}

static mpl_result_t device_read(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t *value)
{
	struct vm_device *device = opaque;

	note(device, &(struct vm_access){ .offset = offset,
					  .size = size,
					  .attrs = attrs });
	*value = device->answer;
	return MPL_OK;
}

static mpl_result_t device_write(void *opaque, uint64_t offset,
				 unsigned int size, struct mpl_attrs attrs,
				 uint64_t value)
{
	note(opaque, &(struct vm_access){ .is_write = true,
					  .offset = offset,
					  .size = size,
					  .value = value,
					  .attrs = attrs });
	return MPL_OK;
}

static const struct mpl_io_ops device_ops = {
	.read = device_read,
	.write = device_write,
	.impl = { .max = 8 },
	.endian = MPL_LITTLE_ENDIAN,
	.concurrency = MPL_SERIALISED,
};

static void note_line(void *opaque, enum mpl_log_level level, const char *line)
{
	struct vm *vm = opaque;

	(void)level;
	vm->lines++;
	strncpy(vm->log, line, sizeof(vm->log) - 1);
}

void vm_device_new(struct vm *vm, const char *name, uint64_t size,
		   struct vm_device *out)
{
	out->vm = vm;
	assert_int_equal(mpl_region_new_io(vm->plane, name, size, &device_ops,
					   out, &out->region),
			 0);
}

static void new_regions(struct vm *vm)
{
	struct mpl_txn *tx;

	assert_int_equal(mpl_region_new_container(vm->plane, "system",
						  UINT64_MAX, &vm->system),
			 0);
	assert_int_equal(mpl_region_new_container(vm->plane, "io", 0x10000,
						  &vm->io),
			 0);
	assert_int_equal(mpl_region_new_ram(vm->plane, "ram", VM_RAM, NULL,
					    &vm->ram),
			 0);
	assert_int_equal(mpl_region_new_ram(vm->plane, "crumb", VM_CRUMB_SIZE,
					    NULL, &vm->crumb),
			 0);
	vm_device_new(vm, "device", VM_DEVICE_SIZE, &vm->device);
	vm_device_new(vm, "port", 16, &vm->port);
	vm->host = mpl_region_host(vm->ram);
	tx = mpl_begin(vm->plane);
	mpl_region_add(tx, vm->system, 0, vm->ram, 0);
	mpl_region_add(tx, vm->system, VM_DEVICE, vm->device.region, 1);
	mpl_region_add(tx, vm->system, VM_CRUMB, vm->crumb, 1);
	mpl_region_add(tx, vm->io, VM_PORTS, vm->port.region, 0);
	vm_commit(tx);
}

void vm_commit(struct mpl_txn *tx)
{
	assert_int_equal(mpl_commit(tx), 0);
}

/* 4 GiB in pages of 2 MiB: one table of 512 entries for each GiB. */
static void make_tables(struct vm *vm)
{
	uint64_t *top = (uint64_t *)(vm->host + VM_TABLES);
	uint64_t *gibs = top + 512;

	top[0] = (VM_TABLES + 0x1000) | 3;
	for (uint64_t i = 0; i < 4; i++) {
		uint64_t *pages = gibs + 512 + 512 * i;

		gibs[i] = (VM_TABLES + 0x2000 + 0x1000 * i) | 3;
		for (uint64_t j = 0; j < 512; j++)
			pages[j] = (i << 30) | j << 21 | 0x83;
	}
}

struct vm *vm_new(const struct mpl_plane_config *plane,
		  const struct mpl_kvm_config *config)
{
	struct mpl_plane_config own = plane ? *plane :
					      (struct mpl_plane_config){ 0 };
	struct sigaction action = { .sa_handler = nothing };
	struct vm *vm = calloc(1, sizeof(*vm));

	assert_non_null(vm);
	sigaction(SIGUSR1, &action, NULL);
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	assert_true(vm->kvm_fd >= 0);
	vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	assert_true(vm->fd >= 0);
	own.log = note_line;
	own.log_opaque = vm;
	assert_int_equal(mpl_plane_new(&vm->plane, &own), 0);
	new_regions(vm);
	make_tables(vm);
	assert_int_equal(mpl_address_space_new(vm->plane, "memory", vm->system,
					       &vm->memory),
			 0);
	assert_int_equal(mpl_address_space_new(vm->plane, "I/O", vm->io,
					       &vm->ports),
			 0);
	assert_int_equal(mpl_kvm_attach(vm->memory, vm->fd, config, &vm->kvm),
			 0);
	assert_int_equal(mpl_kvm_attach_space(vm->kvm, vm->ports, MPL_KVM_PIO),
			 0);
	return vm;
}

void vm_irqchip(struct vm *vm)
{
	assert_int_equal(ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0), 0);
}

void vm_free(struct vm *vm)
{
	struct mpl_region *regions[] = {
		vm->system, vm->io,		vm->ram,
		vm->crumb,  vm->device.region, vm->port.region,
	};

	assert_int_equal(mpl_kvm_error(vm->kvm), 0);
	assert_int_equal(mpl_kvm_detach(vm->kvm), 0);
	for (size_t i = 0; i < sizeof(regions) / sizeof(*regions); i++)
		mpl_region_unref(regions[i]);
	assert_int_equal(mpl_plane_free(vm->plane), 0);
	close(vm->fd);
	close(vm->kvm_fd);
	free(vm);
}

void vm_vcpu_new(struct vm *vm, unsigned int index, struct vm_vcpu *out)
{
	out->vm = vm;
	out->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
	assert_true(out->fd >= 0);
	assert_int_equal(mpl_vcpu_new(vm->kvm, out->fd, index, &out->vcpu), 0);
	out->run = mpl_vcpu_kvm_run(out->vcpu);
}

void vm_vcpu_free(struct vm_vcpu *vcpu)
{
	assert_int_equal(mpl_vcpu_free(vcpu->vcpu), 0);
	close(vcpu->fd);
}

void vm_real_mode(struct vm_vcpu *vcpu, uint64_t ip, uint16_t ds)
{
	struct kvm_regs regs = { .rip = ip, .rflags = 2, .rsp = VM_STACK };
	struct kvm_sregs sregs;

	assert_int_equal(ioctl(vcpu->fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.ss = sregs.ds;
	sregs.ds.selector = ds;
	sregs.ds.base = (uint64_t)ds << 4;
	sregs.es.selector = ds;
	sregs.es.base = (uint64_t)ds << 4;
	assert_int_equal(ioctl(vcpu->fd, KVM_SET_SREGS, &sregs), 0);
	vm_set_regs(vcpu, &regs);
}

void vm_long_mode(struct vm_vcpu *vcpu, uint64_t ip)
{
	struct kvm_regs regs = { .rip = ip, .rflags = 2, .rsp = VM_STACK };
	struct kvm_segment code = {
		.limit = 0xffffffff,
		.selector = 8,
		.type = 11,
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1,
	};
	struct kvm_segment data = code;
	struct kvm_sregs sregs;

	data.type = 3;
	data.selector = 16;
	data.l = 0;
	data.db = 1;
	assert_int_equal(ioctl(vcpu->fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr3 = VM_TABLES;
	sregs.cr4 |= 1u << 5 | 1u << 9 | 1u << 10; /* PAE, SSE */
	sregs.cr0 = 0x80000011 | 1u << 1;	   /* PG, ET, MP, PE */
	sregs.efer |= 1u << 8 | 1u << 10;	   /* LME, LMA */
	assert_int_equal(ioctl(vcpu->fd, KVM_SET_SREGS, &sregs), 0);
	vm_set_regs(vcpu, &regs);
}

struct kvm_regs vm_regs(struct vm_vcpu *vcpu)
{
	struct kvm_regs regs;

	assert_int_equal(ioctl(vcpu->fd, KVM_GET_REGS, &regs), 0);
	return regs;
}

void vm_set_regs(struct vm_vcpu *vcpu, const struct kvm_regs *regs)
{
	assert_int_equal(ioctl(vcpu->fd, KVM_SET_REGS, regs), 0);
}

uint32_t vm_run(struct vm_vcpu *vcpu)
{
	int result;

	do
		result = mpl_vcpu_run(vcpu->vcpu);
	while (!result || result == -EINTR);
	assert_int_equal(result, MPL_EXIT_OTHER);
	return vcpu->run->exit_reason;
}

void vm_load(struct vm *vm, uint64_t at, const void *code, size_t len)
{
	assert_true(at + len < VM_DEVICE);
	memcpy(vm->host + at, code, len);
}
