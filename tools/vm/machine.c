/* SPDX-License-Identifier: BSD-3-Clause */
/* The machine: its memory map, and KVM. */
#define _GNU_SOURCE
#include "tools/vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

void signal_fd(int fd)
{
	const uint64_t one = 1;

	/* Fails only if it would overflow: then it is signalled already. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

void vm_end(struct vm *vm, enum vm_end how)
{
	int runs = VM_RUNS;

	__atomic_compare_exchange_n(&vm->end, &runs, (int)how, false,
				    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	signal_fd(vm->end_fd);
}

enum vm_end vm_state(const struct vm *vm)
{
	return (enum vm_end)__atomic_load_n(&vm->end, __ATOMIC_RELAXED);
}

/* For example why there are no huge pages. */
static void log_line(void *opaque, enum mpl_log_level level, const char *line)
{
	(void)opaque;
	if (level != MPL_LOG_INFO)
		fprintf(stderr, "mpl-vm: %s\r\n", line);
}

/* --- holes: what a PC has where there is neither RAM nor a device */

static mpl_result_t hole_read(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t *value)
{
	(void)opaque;
	(void)offset;
	(void)size;
	(void)attrs;
	*value = UINT64_MAX;
	return MPL_OK;
}

static mpl_result_t hole_write(void *opaque, uint64_t offset, unsigned int size,
			       struct mpl_attrs attrs, uint64_t value)
{
	(void)opaque;
	(void)offset;
	(void)size;
	(void)attrs;
	(void)value;
	return MPL_OK;
}

void vm_hole_new(struct vm *vm, const char *name, uint64_t size,
		 struct mpl_region **out)
{
	static const struct mpl_io_ops ops = {
		.read = hole_read,
		.write = hole_write,
		.impl = { .min = 1, .max = 8, .unaligned = true },
		.concurrency = MPL_LOCK_FREE,
	};

	check(mpl_region_new_io(vm->plane, name, size, &ops, NULL, out), name);
}

/* --- memory */

/*
 * One block of RAM.  What does not fit below the devices is seen above 4 GiB,
 * through an alias; both parts stay one piece of host memory.
 */
static void add_ram(struct vm *vm, struct mpl_txn *tx)
{
	/* Huge pages if the machine has some to spare, else ordinary ones. */
	const struct mpl_ram_config config = {
		.page_sizes = { 2 * MPL_MIB, 4 * MPL_KIB },
	};
	uint64_t mem = vm->options.mem;
	struct mpl_region *low, *high;

	check(mpl_region_new_ram(vm->plane, "ram", mem, &config, &vm->ram),
	      "RAM");
	vm->low_ram = mem < LOW_RAM_MAX ? mem : LOW_RAM_MAX;
	check(mpl_region_new_alias(vm->plane, "ram below 3 GiB", vm->ram, 0,
				   vm->low_ram, &low),
	      "RAM");
	mpl_region_add(tx, vm->system, 0, low, 0);
	/* The map has its own reference from here on. */
	mpl_region_unref(low);
	if (mem > vm->low_ram) {
		check(mpl_region_new_alias(vm->plane, "ram above 4 GiB",
					   vm->ram, vm->low_ram,
					   mem - vm->low_ram, &high),
		      "RAM");
		mpl_region_add(tx, vm->system, HIGH_RAM_GPA, high, 0);
		mpl_region_unref(high);
	}
	/* Over the RAM: its priority is greater. */
	vm_hole_new(vm, "vga", VGA_SIZE, &vm->vga);
	mpl_region_add(tx, vm->system, VGA_GPA, vm->vga, 1);
}

uint8_t *vm_ram_at(struct vm *vm, uint64_t gpa, uint64_t len)
{
	if (gpa > vm->low_ram || len > vm->low_ram - gpa)
		fail("the kernel does not fit into %llu MiB of memory: "
		     "give it more with --mem",
		     (unsigned long long)(vm->options.mem / MPL_MIB));
	return (uint8_t *)mpl_region_host(vm->ram) + gpa;
}

/* The whole map becomes visible in one commit. */
static void new_map(struct vm *vm)
{
	const struct mpl_plane_config config = {
		.control_thread = true,
		.log = log_line,
	};
	struct mpl_txn *tx;

	check(mpl_plane_new(&vm->plane, &config), "plane");
	check(mpl_region_new_container(vm->plane, "system", UINT64_MAX,
				       &vm->system),
	      "system");
	check(mpl_region_new_container(vm->plane, "ports", 0x10000, &vm->ports),
	      "ports");
	check(mpl_address_space_new(vm->plane, "memory", vm->system,
				    &vm->memory),
	      "memory");
	check(mpl_address_space_new(vm->plane, "I/O", vm->ports, &vm->io),
	      "I/O");

	tx = mpl_begin(vm->plane);
	add_ram(vm, tx);
	uart_new(vm, tx);
	legacy_new(vm, tx);
	rng_new(vm, tx);
	if (vm->options.churn)
		churn_new(vm, tx);
	check(mpl_commit(tx), "cannot make the memory map");
}

/* --- KVM */

static void open_kvm(struct vm *vm)
{
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0 && errno == EACCES)
		fail("no permission to use /dev/kvm: become a member of its "
		     "group");
	if (vm->kvm_fd < 0)
		fail("this machine has no /dev/kvm (%s): "
		     "`tools/kvm-guest -i %s` runs it in an emulated "
		     "machine that has one",
		     strerror(errno), program_invocation_name);
	if (ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		fail("/dev/kvm has another version of the interface");
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		fail("KVM makes no virtual machine: %s", strerror(errno));
}

/*
 * Each input of the I/O APIC has one source, and the timer's is the third, as
 * acpi.c tells the guest.  By default the third has two, and KVM does not learn
 * that the guest is done with a tick, so that there is no next one.
 */
static void route_interrupts(struct vm *vm)
{
	const uint32_t pic_inputs = 16;
	struct kvm_irq_routing *routing =
		calloc(1, sizeof(*routing) +
				  (pic_inputs + KVM_IOAPIC_NUM_PINS) *
					  sizeof(routing->entries[0]));
	struct kvm_irq_routing_entry *entry;

	if (!routing)
		check(-ENOMEM, "interrupts");
	entry = routing->entries;
	for (uint32_t gsi = 0; gsi < pic_inputs; gsi++) {
		if (gsi == 2) /* how one PIC reaches the other */
			continue;
		*entry++ = (struct kvm_irq_routing_entry){
			.gsi = gsi,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = { .irqchip = gsi < 8 ?
							  KVM_IRQCHIP_PIC_MASTER :
							  KVM_IRQCHIP_PIC_SLAVE,
				       .pin = gsi % 8 },
		};
	}
	for (uint32_t gsi = 0; gsi < KVM_IOAPIC_NUM_PINS; gsi++) {
		if (gsi == 2)
			continue;
		*entry++ = (struct kvm_irq_routing_entry){
			.gsi = gsi,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = { .irqchip = KVM_IRQCHIP_IOAPIC,
				       .pin = gsi ? gsi : 2 },
		};
	}
	routing->nr = (uint32_t)(entry - routing->entries);
	if (ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, routing))
		fail("KVM does not route interrupts: %s", strerror(errno));
	free(routing);
}

/* Interrupt controllers and timer, which the kernel emulates. */
static void new_chips(struct vm *vm)
{
	const struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	const uint64_t identity = IDENTITY_GPA;

	if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TSS_GPA) ||
	    ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity))
		fail("KVM does not take its pages: %s", strerror(errno));
	if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) ||
	    ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit))
		fail("KVM has no interrupt controller or timer: %s",
		     strerror(errno));
	route_interrupts(vm);
}

int vm_irqfd(struct vm *vm, unsigned int irq)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = irq };

	if (fd < 0 || ioctl(vm->vm_fd, KVM_IRQFD, &irqfd))
		fail("KVM takes no eventfd for interrupt %u: %s", irq,
		     strerror(errno));
	return fd;
}

/* Interrupts KVM_RUN, by which it has done its duty. */
static void on_signal(int number)
{
	(void)number;
}

void vm_new(struct vm *vm, const struct options *options)
{
	const struct sigaction action = { .sa_handler = on_signal };
	uint64_t entry;

	memset(vm, 0, sizeof(*vm));
	vm->options = *options;
	vm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->end_fd < 0)
		fail("no eventfd: %s", strerror(errno));
	open_kvm(vm);
	new_chips(vm);
	new_map(vm);
	report_memory(vm);

	/* From here on KVM's slots and ioeventfds follow the map. */
	sigaction(SIGUSR1, &action, NULL);
	check(mpl_kvm_attach(vm->memory, vm->vm_fd, NULL, &vm->kvm),
	      "KVM does not take the memory map");
	check(mpl_kvm_attach_space(vm->kvm, vm->io, MPL_KVM_PIO),
	      "KVM does not take the ports");

	entry = boot_load(vm);
	for (unsigned int i = 0; i < options->cpus; i++)
		cpu_new(vm, i);
	boot_registers(vm->cpus[0].fd, entry);
}

void vm_start(struct vm *vm)
{
	/* With this thread: then every vCPU exists, and can be kicked. */
	pthread_barrier_init(&vm->started, NULL, vm->options.cpus + 1);
	rng_start(vm->rng);
	for (unsigned int i = 0; i < vm->options.cpus; i++)
		cpu_start(&vm->cpus[i]);
	pthread_barrier_wait(&vm->started);
	if (vm->churn)
		churn_start(vm->churn);
}

void vm_free(struct vm *vm)
{
	if (vm->churn)
		churn_stop(vm->churn);
	rng_stop(vm->rng);
	for (unsigned int i = 0; i < vm->options.cpus; i++)
		mpl_vcpu_kick(vm->cpus[i].vcpu);
	for (unsigned int i = 0; i < vm->options.cpus; i++)
		cpu_stop(&vm->cpus[i]);
	if (vm->options.stats || vm->churn)
		report(vm);

	check(mpl_kvm_detach(vm->kvm), "cannot detach from KVM");
	check(mpl_address_space_free(vm->io), "I/O");
	check(mpl_address_space_free(vm->memory), "memory");
	uart_free(vm->uart);
	legacy_free(vm->legacy);
	rng_free(vm->rng);
	if (vm->churn)
		churn_free(vm->churn);
	mpl_region_unref(vm->vga);
	mpl_region_unref(vm->ram);
	mpl_region_unref(vm->ports);
	mpl_region_unref(vm->system);
	check(mpl_plane_free(vm->plane), "the plane is still in use");
	pthread_barrier_destroy(&vm->started);
	close(vm->vm_fd);
	close(vm->kvm_fd);
	close(vm->end_fd);
}
