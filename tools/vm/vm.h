/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mpl-vm: a small virtual machine monitor made of memplane, to be read as an
 * example.  docs/vm.md goes through it, in this order:
 *
 *     main.c      options
 *     machine.c   plane, RAM, buses, KVM: puts the parts below together
 *     boot.c      a Linux kernel into RAM, and the first processor's registers
 *     acpi.c      what the kernel gets to know of the machine
 *     cpu.c       a processor's thread
 *     uart.c      the serial port
 *     console.c   the terminal at its other end; the main loop
 *     legacy.c    clock chip, reset line, power switch
 *     rng.c       virtio-mmio random number generator, with a polling thread
 *     churn.c     changes the topology while the guest runs
 *     report.c    what it says about itself
 *
 * A failure while the machine is put together ends the program with a
 * sentence: fail().  Later ones end the machine: vm_end().
 */
#ifndef MPL_VM_H
#define MPL_VM_H

#include <memplane.h>

#include <pthread.h>
#include <stdio.h>

#define CPUS_MAX 8

/*
 * Where things are.
 *
 *     0          0xa0000    0xc0000   0xf0000    1 MiB        3 GiB
 *     +----------+----------+---------+----------+--- ... ----+-----------
 *     | RAM      | nothing  | RAM     | RAM:     | RAM        | devices
 *     |          | (VGA)    | (churn) | tables   |            |
 *     +----------+----------+---------+----------+--- ... ----+-----------
 *
 *     0xd0000000   0xe0000000  0xfec00000  0xfee00000     4 GiB
 *     -------------+-----------+-----------+-----------+--+----- ... -----+
 *     rng          | the BAR   | I/O APIC  | local     |  | RAM          |
 *                  | (churn)   | (KVM's)   | APIC      |  | from 3 GiB on |
 *     -------------+-----------+-----------+-----------+--+----- ... -----+
 */
#define VGA_GPA	      0xa0000
#define VGA_SIZE      0x20000
#define PAM_GPA	      0xc0000
#define PAM_SIZE      0x30000
#define TABLES_GPA    0xf0000
#define TABLES_SIZE   0x10000
#define LOW_RAM_MAX   (3 * MPL_GIB)
#define HIGH_RAM_GPA  (4 * MPL_GIB)
#define RNG_GPA	      0xd0000000
#define RNG_SIZE      0x1000
#define BAR_GPA	      0xe0000000
#define IDENTITY_GPA  0xfffbc000 /* a page that KVM wants on some processors */
#define TSS_GPA	      0xfffbd000 /* three more */
#define IOAPIC_GPA    0xfec00000
#define LOCAL_APIC_GPA 0xfee00000

/* Ports and interrupts. */
#define UART_PORT 0x3f8
#define UART_IRQ  4
#define CMOS_PORT 0x70
#define KBD_PORT  0x64
#define PM_PORT	  0x600
#define PM_IRQ	  9
#define RNG_IRQ	  16 /* beyond the old ones: edge, and not shared */

struct options {
	const char *kernel;
	const char *initrd; /* NULL: none */
	const char *append;
	const char *rng; /* NULL: random bytes */
	uint64_t mem;
	unsigned int cpus;
	unsigned int churn; /* commits a second */
	bool stats;
};

enum vm_end { VM_RUNS, VM_POWERED_OFF, VM_QUIT, VM_RESET, VM_BROKEN };

struct vm;

struct cpu {
	struct vm *vm;
	unsigned int index;
	int fd;
	struct mpl_vcpu *vcpu;
	pthread_t thread;
};

struct vm {
	struct options options;

	struct mpl_plane *plane;
	struct mpl_region *system; /* root of memory */
	struct mpl_region *ports;  /* root of I/O */
	struct mpl_region *ram;
	struct mpl_region *vga;
	struct mpl_address_space *memory;
	struct mpl_address_space *io;
	uint64_t low_ram; /* bytes of RAM that are below the devices */

	int kvm_fd;
	int vm_fd;
	struct mpl_kvm *kvm;
	struct cpu cpus[CPUS_MAX];
	pthread_barrier_t started;

	struct uart *uart;
	struct legacy *legacy;
	struct rng *rng;
	struct churn *churn; /* NULL: none */

	int end; /* enum vm_end; vm_end() and vm_state() */
	int end_fd; /* an eventfd: it has ended */
};

/* main.c */
void fail(const char *format, ...)
	__attribute__((noreturn, format(printf, 1, 2)));
/* `err` is 0, or the -errno with which `what` failed. */
void check(int err, const char *what);

/* machine.c */
void vm_new(struct vm *vm, const struct options *options);
void vm_start(struct vm *vm);
void vm_free(struct vm *vm);
/* Any thread, also a vCPU in a device's callback.  The first one counts. */
void vm_end(struct vm *vm, enum vm_end how);
enum vm_end vm_state(const struct vm *vm);
/* An eventfd that raises an interrupt when it is written. */
int vm_irqfd(struct vm *vm, unsigned int irq);
void signal_fd(int fd);
/* `len` bytes of the RAM below 3 GiB, before the machine runs. */
uint8_t *vm_ram_at(struct vm *vm, uint64_t gpa, uint64_t len);
/* A region that reads as ones and takes writes: a hole in RAM. */
void vm_hole_new(struct vm *vm, const char *name, uint64_t size,
		 struct mpl_region **out);

/* boot.c */
uint64_t boot_load(struct vm *vm); /* returns where to start */
void boot_registers(int vcpu_fd, uint64_t entry);

/* acpi.c; returns the address of its root. */
uint64_t acpi_write(struct vm *vm);

/* cpu.c */
void cpu_new(struct vm *vm, unsigned int index);
void cpu_start(struct cpu *cpu);
void cpu_stop(struct cpu *cpu);

/* uart.c.  Devices add their regions to a transaction. */
void uart_new(struct vm *vm, struct mpl_txn *tx);
void uart_free(struct uart *uart);
/* The console's side: how many bytes fit, bytes in, bytes out, and the
 * eventfd that tells that there are some. */
size_t uart_room(struct uart *uart);
void uart_receive(struct uart *uart, const uint8_t *bytes, size_t count);
size_t uart_transmitted(struct uart *uart, uint8_t *bytes, size_t max);
int uart_fd(const struct uart *uart);

/* console.c */
void console_run(struct vm *vm);

/* legacy.c */
void legacy_new(struct vm *vm, struct mpl_txn *tx);
void legacy_free(struct legacy *legacy);

/* rng.c */
void rng_new(struct vm *vm, struct mpl_txn *tx);
void rng_start(struct rng *rng);
void rng_stop(struct rng *rng);
void rng_free(struct rng *rng);
void rng_report(struct rng *rng, FILE *out);

/* churn.c */
void churn_new(struct vm *vm, struct mpl_txn *tx);
void churn_start(struct churn *churn);
void churn_stop(struct churn *churn);
void churn_free(struct churn *churn);
void churn_report(const struct churn *churn, FILE *out);

/* report.c */
void report_memory(const struct vm *vm);
void report(struct vm *vm);
void report_silence(const struct vm *vm);

#endif
