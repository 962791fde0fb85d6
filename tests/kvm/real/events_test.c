/* SPDX-License-Identifier: BSD-3-Clause */
/* ioeventfds and coalesced writes of real guests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/kvm/real/vm.h"

#define BIG UINT64_C(0x40000000)

struct world {
	struct vm *vm;
	struct vm_vcpu vcpu;
	struct vm_device big; /* big-endian */
};

static mpl_result_t big_write(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t value)
{
	struct vm_device *device = opaque;

	device->accesses[device->count++] = (struct vm_access){
		.is_write = true,
		.offset = offset,
		.size = size,
		.value = value,
		.attrs = attrs,
	};
	return MPL_OK;
}

static const struct mpl_io_ops big_ops = {
	.write = big_write,
	.endian = MPL_BIG_ENDIAN,
};

static int setup(void **state)
{
	static struct world w;
	struct mpl_txn *tx;

	memset(&w, 0, sizeof(w));
	w.vm = vm_new(NULL, NULL);
	assert_int_equal(mpl_region_new_io(w.vm->plane, "big", 0x1000,
					   &big_ops, &w.big, &w.big.region),
			 0);
	tx = mpl_begin(w.vm->plane);
	mpl_region_add(tx, w.vm->system, BIG, w.big.region, 0);
	vm_commit(tx);
	vm_vcpu_new(w.vm, 0, &w.vcpu);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	vm_vcpu_free(&w->vcpu);
	mpl_region_unref(w->big.region);
	vm_free(w->vm);
	return 0;
}

static uint64_t rung(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static int bell(struct mpl_txn *tx, struct mpl_region *region, uint64_t offset,
		unsigned int size, bool match, uint64_t data)
{
	int fd = eventfd(0, EFD_NONBLOCK);

	assert_true(fd >= 0);
	mpl_ioeventfd_add(tx, region,
			  &(struct mpl_ioeventfd){
				  .offset = offset,
				  .data = data,
				  .size = size,
				  .match = match,
				  .fd = fd,
			  });
	return fd;
}

static uint64_t exits(struct world *w)
{
	struct mpl_vcpu_stats stats;

	mpl_vcpu_stats(w->vcpu.vcpu, &stats);
	return stats.exits;
}

#define VALUE UINT64_C(0x8877665544332211)

/* Each address: 8, 4, 2 and 1 bytes of VALUE, and a read of 4. */
VM_GUEST(64, guest_bells,
	 "movabs $0x8877665544332211, %rax\n"
	 "mov $0xd0000, %rdi\n"
	 "mov $10, %ecx\n"
	 "1: mov %rax, (%rdi)\n"
	 "mov %eax, (%rdi)\n"
	 "mov %ax, (%rdi)\n"
	 "mov %al, (%rdi)\n"
	 "mov (%rdi), %ebx\n"
	 "add $16, %rdi\n"
	 "dec %ecx\n"
	 "jnz 1b\n"
	 "hlt\n");

/*
 * Lengths 0, 1, 2, 4, 8, without and with a value, and one with another value:
 * which of the writes of four sizes ring, and that just the others exit.
 */
static void mmio_bells(void **state)
{
	static const struct {
		unsigned int size;
		bool match;
		uint64_t data;
		unsigned int rings;
	} kinds[10] = {
		{ 0, false, 0, 4 },	    { 1, false, 0, 1 },
		{ 2, false, 0, 1 },	    { 4, false, 0, 1 },
		{ 8, false, 0, 1 },	    { 1, true, 0x11, 1 },
		{ 2, true, 0x2211, 1 },	    { 4, true, 0x44332211, 1 },
		{ 8, true, VALUE, 1 },	    { 4, true, 0x44332212, 0 },
	};
	struct world *w = *state;
	struct mpl_txn *tx = mpl_begin(w->vm->plane);
	unsigned int total = 0;
	int fds[10];

	for (unsigned int i = 0; i < 10; i++)
		fds[i] = bell(tx, w->vm->device.region, 16 * i, kinds[i].size,
			      kinds[i].match, kinds[i].data);
	vm_commit(tx);
	VM_LOAD(w->vm, VM_CODE, guest_bells);
	vm_long_mode(&w->vcpu, VM_CODE);
	assert_int_equal(vm_run(&w->vcpu), KVM_EXIT_HLT);
	for (unsigned int i = 0; i < 10; i++) {
		assert_int_equal(rung(fds[i]), kinds[i].rings);
		total += kinds[i].rings;
		close(fds[i]);
	}
	/* Four writes and a read each; HLT. */
	assert_int_equal(w->vm->device.count, 10 * 5 - total);
	assert_int_equal(exits(w), 10 * 5 - total + 1);
	assert_int_equal(w->vm->lines, 0);
}

VM_GUEST(16, guest_port_bells,
	 "movl $0x44332211, %eax\n"
	 "outb %al, $0x80\n"
	 "outw %ax, $0x80\n" /* another length */
	 "outw %ax, $0x82\n"
	 "outl %eax, $0x84\n"
	 "outb %al, $0x88\n" /* any length */
	 "outl %eax, $0x88\n"
	 "outw %ax, $0x8a\n" /* the value */
	 "incw %ax\n"
	 "outw %ax, $0x8a\n" /* another one */
	 "inb $0x80, %al\n"
	 "hlt\n");

static void pio_bells(void **state)
{
	struct world *w = *state;
	struct mpl_region *port = w->vm->port.region;
	struct mpl_txn *tx = mpl_begin(w->vm->plane);
	int fds[5];

	fds[0] = bell(tx, port, 0, 1, false, 0);
	fds[1] = bell(tx, port, 2, 2, false, 0);
	fds[2] = bell(tx, port, 4, 4, false, 0);
	fds[3] = bell(tx, port, 8, 0, false, 0);
	fds[4] = bell(tx, port, 10, 2, true, 0x2211);
	vm_commit(tx);
	VM_LOAD(w->vm, VM_CODE, guest_port_bells);
	vm_real_mode(&w->vcpu, VM_CODE, 0);
	assert_int_equal(vm_run(&w->vcpu), KVM_EXIT_HLT);
	for (unsigned int i = 0; i < 5; i++) {
		assert_int_equal(rung(fds[i]), i == 3 ? 2 : 1);
		close(fds[i]);
	}
	assert_int_equal(w->vm->port.count, 3);
	assert_int_equal(exits(w), 4);
}

VM_GUEST(64, guest_big,
	 "mov $0x40000000, %rdi\n"
	 "movl $0x44332211, (%rdi)\n"
	 "movl $0x11223344, (%rdi)\n"
	 "movw $0x2211, 8(%rdi)\n"
	 "hlt\n");

/* The device sees 0x11223344 where the guest stores 0x44332211. */
static void big_endian_values(void **state)
{
	struct world *w = *state;
	struct mpl_txn *tx = mpl_begin(w->vm->plane);
	int four = bell(tx, w->big.region, 0, 4, true, 0x11223344);
	int two = bell(tx, w->big.region, 8, 2, true, 0x1122);

	vm_commit(tx);
	VM_LOAD(w->vm, VM_CODE, guest_big);
	vm_long_mode(&w->vcpu, VM_CODE);
	assert_int_equal(vm_run(&w->vcpu), KVM_EXIT_HLT);
	assert_int_equal(rung(four), 1);
	assert_int_equal(rung(two), 1);
	assert_int_equal(w->big.count, 1);
	assert_int_equal(w->big.accesses[0].value, 0x44332211);
	close(four);
	close(two);
}

/* Moved, hidden, shown again: KVM's table follows. */
static void bells_follow_the_map(void **state)
{
	struct world *w = *state;
	struct mpl_txn *tx = mpl_begin(w->vm->plane);
	int fd = bell(tx, w->big.region, 0, 4, false, 0);
	static const uint64_t bases[] = { 0x50000000, BIG, 0x60000000, BIG };

	vm_commit(tx);
	VM_LOAD(w->vm, VM_CODE, guest_big);
	for (unsigned int i = 0; i < 4; i++) {
		bool here = bases[i] == BIG;

		tx = mpl_begin(w->vm->plane);
		mpl_region_move(tx, w->big.region, bases[i]);
		vm_commit(tx);
		vm_long_mode(&w->vcpu, VM_CODE);
		assert_int_equal(vm_run(&w->vcpu), KVM_EXIT_HLT);
		assert_int_equal(rung(fd), here ? 2 : 0);
	}
	tx = mpl_begin(w->vm->plane);
	mpl_region_set_enabled(tx, w->big.region, false);
	vm_commit(tx);
	vm_long_mode(&w->vcpu, VM_CODE);
	assert_int_equal(vm_run(&w->vcpu), KVM_EXIT_HLT);
	assert_int_equal(rung(fd), 0);
	close(fd);
}

/* Two for the same write: KVM refuses one; it rings nevertheless if the write
 * is not the other's. */
static void colliding_bells(void **state)
{
	struct world *w = *state;
	struct mpl_txn *tx = mpl_begin(w->vm->plane);
	int any = bell(tx, w->big.region, 0, 4, false, 0);
	int more = bell(tx, w->big.region, 8, 2, true, 0x1122);
	int same = bell(tx, w->big.region, 8, 2, true, 0x1122);

	vm_commit(tx);
	assert_int_equal(w->vm->lines, 1);
	VM_LOAD(w->vm, VM_CODE, guest_big);
	vm_long_mode(&w->vcpu, VM_CODE);
	assert_int_equal(vm_run(&w->vcpu), KVM_EXIT_HLT);
	assert_int_equal(rung(any), 2);
	assert_int_equal(rung(more) + rung(same), 1);
	assert_int_equal(exits(w), 1);
	/* The one that KVM has goes: the other one rings by an exit. */
	tx = mpl_begin(w->vm->plane);
	mpl_ioeventfd_del(tx, w->big.region,
			  &(struct mpl_ioeventfd){ .offset = 8,
						   .data = 0x1122,
						   .size = 2,
						   .match = true,
						   .fd = more });
	vm_commit(tx);
	vm_long_mode(&w->vcpu, VM_CODE);
	assert_int_equal(vm_run(&w->vcpu), KVM_EXIT_HLT);
	assert_int_equal(rung(same), 1);
	assert_int_equal(exits(w), 3);
	assert_int_equal(w->big.count, 0);
	close(any);
	close(more);
	close(same);
}

VM_GUEST(64, guest_coalesced,
	 "mov $0xd0000, %rdi\n"
	 "mov $1, %eax\n"
	 "1: mov %eax, 0x100(%rdi)\n"
	 "inc %eax\n"
	 "cmp $21, %eax\n"
	 "jne 1b\n"
	 "movw $0x1234, 0x180(%rdi)\n"
	 "outb %al, $0x8c\n"
	 "movl $99, (%rdi)\n" /* no zone: an exit */
	 "hlt\n");

static void add_zones(struct world *w)
{
	struct mpl_txn *tx = mpl_begin(w->vm->plane);

	mpl_coalescing_add(tx, w->vm->device.region, 0x100, 0x100);
	mpl_coalescing_add(tx, w->vm->port.region, 12, 4);
	vm_commit(tx);
}

static void coalesced_writes_keep_their_order(void **state)
{
	struct world *w = *state;
	struct vm_device *device = &w->vm->device;
	struct mpl_vcpu_stats stats;

	add_zones(w);
	VM_LOAD(w->vm, VM_CODE, guest_coalesced);
	vm_long_mode(&w->vcpu, VM_CODE);
	assert_int_equal(mpl_vcpu_run(w->vcpu.vcpu), 0);
	/* One exit, before which all that was queued was delivered. */
	assert_int_equal(exits(w), 1);
	assert_int_equal(device->count, 22);
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(device->accesses[i].offset, 0x100);
		assert_int_equal(device->accesses[i].value, i + 1);
	}
	assert_int_equal(device->accesses[20].value, 0x1234);
	assert_int_equal(device->accesses[20].size, 2);
	assert_int_equal(device->accesses[21].value, 99);
	assert_int_equal(w->vm->port.count, 1);
	assert_int_equal(w->vm->port.accesses[0].value, 21);
	mpl_vcpu_stats(w->vcpu.vcpu, &stats);
	assert_int_equal(stats.coalesced, 22);
	assert_int_equal(vm_run(&w->vcpu), KVM_EXIT_HLT);
}

VM_GUEST(64, guest_flood,
	 "mov $0xd0000, %rdi\n"
	 "xor %eax, %eax\n"
	 "1: mov %eax, 0x100(%rdi)\n"
	 "inc %eax\n"
	 "cmp $5000, %eax\n"
	 "jne 1b\n"
	 "hlt\n");

static void expect_flood(const struct vm_device *device)
{
	assert_int_equal(device->count, 5000);
	for (unsigned int i = 0; i < 5000; i++)
		assert_int_equal(device->accesses[i].value, i);
}

/* A full ring is an ordinary exit: nothing is lost, nothing overtakes. */
static void a_full_ring_exits(void **state)
{
	struct world *w = *state;

	add_zones(w);
	VM_LOAD(w->vm, VM_CODE, guest_flood);
	vm_long_mode(&w->vcpu, VM_CODE);
	assert_int_equal(vm_run(&w->vcpu), KVM_EXIT_HLT);
	expect_flood(&w->vm->device);
	print_message("%u exits for 5000 writes\n", (unsigned int)exits(w));
	assert_true(exits(w) > 1);
	assert_true(exits(w) < 500);
}

static void *drain_main(void *arg)
{
	struct world *w = arg;

	while (__atomic_load_n(&w->vm->device.count, __ATOMIC_RELAXED) < 5000)
		assert_int_equal(mpl_kvm_coalesced_drain(w->vm->kvm), 0);
	return NULL;
}

/* The same while a timer thread drains as well: one consumer at a time. */
static void two_consumers(void **state)
{
	struct world *w = *state;
	pthread_t thread;

	add_zones(w);
	VM_LOAD(w->vm, VM_CODE, guest_flood);
	vm_long_mode(&w->vcpu, VM_CODE);
	assert_int_equal(pthread_create(&thread, NULL, drain_main, w), 0);
	assert_int_equal(vm_run(&w->vcpu), KVM_EXIT_HLT);
	pthread_join(thread, NULL);
	expect_flood(&w->vm->device);
}

/* Zones that went are no longer queued. */
static void zones_follow_the_map(void **state)
{
	struct world *w = *state;
	struct mpl_txn *tx;

	add_zones(w);
	tx = mpl_begin(w->vm->plane);
	mpl_coalescing_clear(tx, w->vm->device.region);
	vm_commit(tx);
	VM_LOAD(w->vm, VM_CODE, guest_coalesced);
	vm_long_mode(&w->vcpu, VM_CODE);
	assert_int_equal(vm_run(&w->vcpu), KVM_EXIT_HLT);
	assert_int_equal(w->vm->device.count, 22);
	/* 22 for the device, and HLT; the port's is queued still. */
	assert_int_equal(exits(w), 23);
}

int main(void)
{
#define EVENT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		EVENT_TEST(mmio_bells),
		EVENT_TEST(pio_bells),
		EVENT_TEST(big_endian_values),
		EVENT_TEST(bells_follow_the_map),
		EVENT_TEST(colliding_bells),
		EVENT_TEST(coalesced_writes_keep_their_order),
		EVENT_TEST(a_full_ring_exits),
		EVENT_TEST(two_consumers),
		EVENT_TEST(zones_follow_the_map),
	};
	const char *missing = vm_missing();

	if (missing) {
		puts(missing);
		return 77;
	}
	return cmocka_run_group_tests_name("kvm events", tests, NULL, NULL);
}
