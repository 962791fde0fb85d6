/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest writes a device's register, and in the callback that vCPU commits: a
 * BAR moves, and memory inside RAM is exchanged, for which all vCPUs have to
 * be parked.  Meanwhile a second one spins in the guest, and a third sits in
 * the callback of another device, whose lock it holds until all is over.
 *
 * The guest that asked for it sees each change at its next instruction.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/kvm/real/vm.h"

#define ROUNDS 50
#define PAM UINT64_C(0xe0000)
#define BAR UINT64_C(0xc0000000)
#define COUNTER 0x2000u

/*
 * EBX: the round.  The register at d0000 takes it; then the BAR is at
 * c0000000 + 10000 * round, no longer 10000 below, and the page at e0000 has
 * the round's parity.
 */
VM_GUEST(64, guest_commit,
	 "mov $1, %ebx\n"
	 "1: mov %ebx, 0xd0000\n"
	 "mov $0xc0000000, %edi\n"
	 "mov %ebx, %eax\n"
	 "shl $16, %eax\n"
	 "add %eax, %edi\n"
	 "mov $1, %esi\n"
	 "mov (%rdi), %eax\n"
	 "cmp %ebx, %eax\n"
	 "jne 9f\n"
	 "inc %esi\n"
	 "mov -0x10000(%rdi), %eax\n"
	 "cmp $-1, %eax\n"
	 "jne 9f\n"
	 "inc %esi\n"
	 "mov 0xe0000, %eax\n"
	 "mov %ebx, %ecx\n"
	 "and $1, %ecx\n"
	 "cmp %ecx, %eax\n"
	 "jne 9f\n"
	 "inc %ebx\n"
	 "cmp $51, %ebx\n"
	 "jne 1b\n"
	 "xor %esi, %esi\n"
	 "9: hlt\n");
VM_GUEST(64, guest_spin, "1: incl 0x2000\n jmp 1b\n");
VM_GUEST(64, guest_hold, "out %al, $0x80\n hlt\n");

struct world {
	struct vm *vm;
	struct mpl_region *over, *bar;
	uint32_t round;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool held;   /* the third vCPU is in its callback */
	bool over_it; /* and may leave */
	struct mpl_vcpu *spinner;
	uint32_t ending; /* 1: the spinner shall end, 2: and was kicked */
};

static struct world w;

static mpl_result_t bar_read(void *opaque, uint64_t offset, unsigned int size,
			     struct mpl_attrs attrs, uint64_t *value)
{
	(void)opaque;
	(void)offset;
	(void)size;
	(void)attrs;
	*value = w.round;
	return MPL_OK;
}

static const struct mpl_io_ops bar_ops = {
	.read = bar_read,
	.endian = MPL_LITTLE_ENDIAN,
};

static void commit_inside(struct vm_device *device,
			  const struct vm_access *access)
{
	struct mpl_txn *tx = mpl_begin(device->vm->plane);

	w.round = (uint32_t)access->value;
	mpl_region_move(tx, w.bar, BAR + 0x10000 * access->value);
	mpl_region_set_enabled(tx, w.over, w.round & 1);
	vm_commit(tx);
}

static void hold_lock(struct vm_device *device, const struct vm_access *access)
{
	(void)device;
	(void)access;
	pthread_mutex_lock(&w.mutex);
	w.held = true;
	pthread_cond_broadcast(&w.changed);
	while (!w.over_it)
		pthread_cond_wait(&w.changed, &w.mutex);
	pthread_mutex_unlock(&w.mutex);
}

static void *spin_main(void *arg)
{
	struct vm_vcpu vcpu;

	(void)arg;
	vm_vcpu_new(w.vm, 1, &vcpu);
	vm_long_mode(&vcpu, VM_CODE + 0x400);
	__atomic_store_n(&w.spinner, vcpu.vcpu, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&w.ending, __ATOMIC_ACQUIRE))
		assert_int_equal(mpl_vcpu_run(vcpu.vcpu), -EINTR);
	while (__atomic_load_n(&w.ending, __ATOMIC_ACQUIRE) < 2)
		usleep(100);
	vm_vcpu_free(&vcpu);
	return NULL;
}

static void *hold_main(void *arg)
{
	struct vm_vcpu vcpu;

	(void)arg;
	vm_vcpu_new(w.vm, 2, &vcpu);
	vm_long_mode(&vcpu, VM_CODE + 0x500);
	assert_int_equal(vm_run(&vcpu), KVM_EXIT_HLT);
	vm_vcpu_free(&vcpu);
	return NULL;
}

static void build(bool control_thread)
{
	uint32_t one = 1;
	struct mpl_txn *tx;

	w = (struct world){ .mutex = PTHREAD_MUTEX_INITIALIZER,
			    .changed = PTHREAD_COND_INITIALIZER };
	/* The third vCPU is online for as long as all this takes. */
	w.vm = vm_new(&(struct mpl_plane_config){
			      .control_thread = control_thread,
			      .stall_ms = 600000,
		      },
		      NULL);
	w.vm->device.inside = commit_inside;
	w.vm->port.inside = hold_lock;
	assert_int_equal(mpl_region_new_ram(w.vm->plane, "over", 0x1000, NULL,
					    &w.over),
			 0);
	memcpy(mpl_region_host(w.over), &one, 4);
	assert_int_equal(mpl_region_new_io(w.vm->plane, "bar", 0x1000,
					   &bar_ops, NULL, &w.bar),
			 0);
	tx = mpl_begin(w.vm->plane);
	mpl_region_set_enabled(tx, w.over, false);
	mpl_region_add(tx, w.vm->system, PAM, w.over, 2);
	mpl_region_add(tx, w.vm->system, BAR, w.bar, 0);
	vm_commit(tx);
	VM_LOAD(w.vm, VM_CODE, guest_commit);
	VM_LOAD(w.vm, VM_CODE + 0x400, guest_spin);
	VM_LOAD(w.vm, VM_CODE + 0x500, guest_hold);
}

static void a_vcpu_commits(bool control_thread)
{
	pthread_t spin, hold;
	struct mpl_kvm_stats before, after;
	struct vm_vcpu vcpu;
	struct kvm_regs regs;

	build(control_thread);
	assert_int_equal(pthread_create(&spin, NULL, spin_main, NULL), 0);
	assert_int_equal(pthread_create(&hold, NULL, hold_main, NULL), 0);
	pthread_mutex_lock(&w.mutex);
	while (!w.held)
		pthread_cond_wait(&w.changed, &w.mutex);
	pthread_mutex_unlock(&w.mutex);
	while (!__atomic_load_n((uint32_t *)(w.vm->host + COUNTER),
				__ATOMIC_RELAXED))
		usleep(100);
	mpl_kvm_stats(w.vm->kvm, &before);
	vm_vcpu_new(w.vm, 0, &vcpu);
	vm_long_mode(&vcpu, VM_CODE);
	assert_int_equal(vm_run(&vcpu), KVM_EXIT_HLT);
	regs = vm_regs(&vcpu);
	if (regs.rsi)
		print_error("round %u: check %u found %x\n",
			    (unsigned int)regs.rbx, (unsigned int)regs.rsi,
			    (unsigned int)regs.rax);
	assert_int_equal(regs.rsi, 0);
	assert_int_equal(w.round, ROUNDS);
	mpl_kvm_stats(w.vm->kvm, &after);
	assert_int_equal(after.parks - before.parks, ROUNDS);
	vm_vcpu_free(&vcpu);

	pthread_mutex_lock(&w.mutex);
	assert_false(w.over_it);
	w.over_it = true;
	pthread_cond_broadcast(&w.changed);
	pthread_mutex_unlock(&w.mutex);
	pthread_join(hold, NULL);
	__atomic_store_n(&w.ending, 1, __ATOMIC_RELEASE);
	mpl_vcpu_kick(w.spinner);
	__atomic_store_n(&w.ending, 2, __ATOMIC_RELEASE);
	pthread_join(spin, NULL);
	assert_int_equal(w.vm->lines, 0);
	mpl_region_unref(w.over);
	mpl_region_unref(w.bar);
	vm_free(w.vm);
}

static void inline_commits(void **state)
{
	(void)state;
	a_vcpu_commits(false);
}

static void with_a_control_thread(void **state)
{
	(void)state;
	a_vcpu_commits(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inline_commits),
		cmocka_unit_test(with_a_control_thread),
	};
	const char *missing = vm_missing();

	if (missing) {
		puts(missing);
		return 77;
	}
	return cmocka_run_group_tests_name("kvm commits by vCPUs", tests, NULL,
					   NULL);
}
