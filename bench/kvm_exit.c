/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What does the library add to an exit?  A guest that writes a device's
 * register, or a port, and does nothing else.
 *
 *	kvm_exit/mmio_bare, pio_bare	KVM_RUN and the device's callback, by the
 *					exit's address alone: the least that a
 *					monitor can do
 *	kvm_exit/mmio, pio		mpl_vcpu_run(): gate, reader offline and
 *					online, look-up, access, statistics
 *	kvm_exit/nokvm_bare, nokvm	the same (MMIO) with a KVM_RUN that
 *					returns at once: only what is added
 *
 * Judged by the thread's CPU time, which the kernel's share of an exit is part
 * of.  Skipped without /dev/kvm, but for the last two.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memplane.h>

#include "bench.h"

#define BATCH 64
#define NOKVM_BATCH 1024
#define DEVICE UINT64_C(0xd0000)
#define PORT 0x80
#define RAM_BYTES 0x10000u
#define CODE 0x1000

enum exit_kind { MMIO, PIO, NOKVM, KINDS };
static const char *const names[KINDS] = { "mmio", "pio", "nokvm" };

static struct task {
	enum exit_kind kind;
	bool bare;
} tasks[KINDS * 2];

/* In real mode, DS = d000. */
static const uint8_t mmio_code[] = { 0xa3, 0x00, 0x00, 0xeb, 0xfb };
static const uint8_t pio_code[] = { 0xe6, PORT, 0xeb, 0xfc };

static struct machine {
	int kvm_fd, vm_fd, vcpu_fd;
	size_t run_size;
	struct kvm_run *run;
	void *ram;
	uint64_t writes; /* that the device saw */

	/* With the library. */
	struct mpl_plane *plane;
	struct mpl_region *root, *memory, *device, *ports, *port;
	struct mpl_address_space *as, *io;
	struct mpl_kvm *kvm;
	struct mpl_vcpu *vcpu;
} machine;

static mpl_result_t device_write(void *opaque, uint64_t offset,
				 unsigned int size, struct mpl_attrs attrs,
				 uint64_t value)
{
	struct machine *m = opaque;

	(void)offset;
	(void)size;
	(void)attrs;
	(void)value;
	m->writes++;
	return MPL_OK;
}

static const struct mpl_io_ops ops = {
	.write = device_write,
	.endian = MPL_LITTLE_ENDIAN,
	.concurrency = MPL_LOCK_FREE,
};

/* KVM without a kernel: the guest has just written the register again. */
static uint8_t nokvm_page[2 * 4096] __attribute__((aligned(4096)));

static int nokvm_ioctl(void *opaque, int fd, unsigned long request,
		       uintptr_t arg)
{
	struct kvm_run *run = (struct kvm_run *)nokvm_page;

	(void)opaque;
	(void)fd;
	if (request == KVM_CHECK_EXTENSION)
		return arg == KVM_CAP_IMMEDIATE_EXIT;
	if (request == KVM_RUN) {
		run->exit_reason = KVM_EXIT_MMIO;
		run->mmio.phys_addr = DEVICE;
		run->mmio.is_write = 1;
		run->mmio.len = 2;
	}
	return 0;
}

static int nokvm_map(void *opaque, int fd, uint64_t offset, size_t len,
		     void **out)
{
	(void)opaque;
	(void)fd;
	(void)offset;
	(void)len;
	*out = nokvm_page;
	return 0;
}

static void nokvm_unmap(void *opaque, void *host, size_t len)
{
	(void)opaque;
	(void)host;
	(void)len;
}

static const struct mpl_kvm_sys_ops nokvm = { nokvm_ioctl, nokvm_map,
					      nokvm_unmap };

static int new_vm(struct machine *m)
{
	m->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm_fd < 0)
		return -ENODEV;
	m->vm_fd = ioctl(m->kvm_fd, KVM_CREATE_VM, 0);
	m->run_size = (size_t)ioctl(m->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	return m->vm_fd < 0 ? -ENODEV : 0;
}

static int new_vcpu(struct machine *m, enum exit_kind kind)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_sregs sregs;

	memcpy((uint8_t *)m->ram + CODE, kind == PIO ? pio_code : mmio_code,
	       kind == PIO ? sizeof(pio_code) : sizeof(mmio_code));
	m->vcpu_fd = ioctl(m->vm_fd, KVM_CREATE_VCPU, 0);
	if (m->vcpu_fd < 0 || ioctl(m->vcpu_fd, KVM_GET_SREGS, &sregs))
		return -EIO;
	sregs.cs.base = sregs.cs.selector = 0;
	sregs.ds.selector = DEVICE >> 4;
	sregs.ds.base = DEVICE;
	if (ioctl(m->vcpu_fd, KVM_SET_SREGS, &sregs) ||
	    ioctl(m->vcpu_fd, KVM_SET_REGS, &regs))
		return -EIO;
	return 0;
}

static int bare_new(struct machine *m, enum exit_kind kind)
{
	struct kvm_userspace_memory_region slot = {
		.memory_size = RAM_BYTES,
	};
	int err;

	if (kind == NOKVM) {
		m->run = (struct kvm_run *)nokvm_page;
		return 0;
	}
	err = new_vm(m);
	if (err)
		return err;
	m->ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->ram == MAP_FAILED)
		return -ENOMEM;
	slot.userspace_addr = (uintptr_t)m->ram;
	if (ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot))
		return -EIO;
	err = new_vcpu(m, kind);
	if (err)
		return err;
	m->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      m->vcpu_fd, 0);
	return m->run == MAP_FAILED ? -ENOMEM : 0;
}

static int new_map(struct machine *m)
{
	struct mpl_txn *tx;
	int err = mpl_plane_new(&m->plane, NULL);

	if (!err)
		err = mpl_region_new_container(m->plane, "root", UINT64_MAX,
					       &m->root);
	if (!err)
		err = mpl_region_new_container(m->plane, "ports", 0x10000,
					       &m->ports);
	if (!err)
		err = mpl_region_new_ram(m->plane, "ram", RAM_BYTES, NULL,
					 &m->memory);
	if (!err)
		err = mpl_region_new_io(m->plane, "device", 0x1000, &ops, m,
					&m->device);
	if (!err)
		err = mpl_region_new_io(m->plane, "port", 1, &ops, m, &m->port);
	if (err)
		return err;
	m->ram = mpl_region_host(m->memory);
	tx = mpl_begin(m->plane);
	mpl_region_add(tx, m->root, 0, m->memory, 0);
	mpl_region_add(tx, m->root, DEVICE, m->device, 0);
	mpl_region_add(tx, m->ports, PORT, m->port, 0);
	err = mpl_commit(tx);
	if (!err)
		err = mpl_address_space_new(m->plane, "memory", m->root,
					    &m->as);
	if (!err)
		err = mpl_address_space_new(m->plane, "I/O", m->ports, &m->io);
	return err;
}

static int library_new(struct machine *m, enum exit_kind kind)
{
	struct mpl_kvm_config config = {
		.sys = kind == NOKVM ? &nokvm : NULL,
	};
	int err = kind == NOKVM ? 0 : new_vm(m);

	if (!err)
		err = new_map(m);
	if (!err)
		err = mpl_kvm_attach(m->as, m->vm_fd, &config, &m->kvm);
	if (!err)
		err = mpl_kvm_attach_space(m->kvm, m->io, MPL_KVM_PIO);
	if (!err && kind != NOKVM)
		err = new_vcpu(m, kind);
	if (!err)
		err = mpl_vcpu_new(m->kvm, m->vcpu_fd, 0, &m->vcpu);
	return err;
}

/* Also of a machine that was made in part. */
static void machine_end(struct machine *m)
{
	struct mpl_region *regions[] = { m->root, m->memory, m->device,
					 m->ports, m->port };

	mpl_vcpu_free(m->vcpu);
	mpl_kvm_detach(m->kvm);
	for (size_t i = 0; i < sizeof(regions) / sizeof(*regions); i++)
		mpl_region_unref(regions[i]);
	if (m->plane)
		mpl_plane_free(m->plane);
	else if (m->ram && m->ram != MAP_FAILED)
		munmap(m->ram, RAM_BYTES);
	if (m->run && m->run != MAP_FAILED &&
	    (uint8_t *)m->run != nokvm_page)
		munmap(m->run, m->run_size);
	if (m->vcpu_fd > 0)
		close(m->vcpu_fd);
	if (m->vm_fd > 0)
		close(m->vm_fd);
	if (m->kvm_fd > 0)
		close(m->kvm_fd);
}

/* The callback is called as the library calls it, and nothing else is done. */
static int bare_turn(struct machine *m, enum exit_kind kind)
{
	uint64_t value = 0;
	int err = kind == NOKVM ? nokvm_ioctl(NULL, 0, KVM_RUN, 0) :
				  ioctl(m->vcpu_fd, KVM_RUN, 0);

	if (err)
		return err;
	switch (m->run->exit_reason) {
	case KVM_EXIT_MMIO:
		if (m->run->mmio.phys_addr - DEVICE >= 0x1000)
			return -EFAULT;
		memcpy(&value, m->run->mmio.data, m->run->mmio.len);
		ops.write(m, m->run->mmio.phys_addr - DEVICE,
			  m->run->mmio.len, (struct mpl_attrs){ 0 }, value);
		return 0;
	case KVM_EXIT_IO:
		if (m->run->io.port != PORT)
			return -EFAULT;
		memcpy(&value, (uint8_t *)m->run + m->run->io.data_offset,
		       m->run->io.size);
		ops.write(m, 0, m->run->io.size, (struct mpl_attrs){ 0 },
			  value);
		return 0;
	default:
		return -EIO;
	}
}

static void run(struct gb_state *state, void *arg)
{
	const struct task *task = arg;
	unsigned int batch = task->kind == NOKVM ? NOKVM_BATCH : BATCH;
	struct machine *m = &machine;
	int err;

	*m = (struct machine){ 0 };
	err = task->bare ? bare_new(m, task->kind) :
			   library_new(m, task->kind);
	if (err == -ENODEV)
		gb_skip(state, "there is no /dev/kvm");
	else if (err)
		gb_fail(state, "the machine cannot be made");
	while (!err && gb_next(state, batch))
		for (unsigned int i = 0; i < batch && !err; i++)
			err = task->bare ? bare_turn(m, task->kind) :
					   mpl_vcpu_run(m->vcpu);
	if (err && err != -ENODEV)
		gb_fail(state, "an exit that was not expected");
	else if (!err && m->writes != gb_units(state))
		gb_fail(state, "the device saw another number of writes");
	machine_end(m);
}

int register_kvm_exit(void)
{
	int err = 0;

	for (unsigned int i = 0; i < KINDS * 2 && !err; i++) {
		struct task *task = &tasks[i];
		char name[64];

		*task = (struct task){ .kind = i / 2, .bare = i % 2 };
		snprintf(name, sizeof(name), "kvm_exit/%s%s",
			 names[task->kind], task->bare ? "_bare" : "");
		err = gb_register(&(struct gb_bench){
			.name = name,
			.run = run,
			.arg = task,
		});
	}
	return err;
}
