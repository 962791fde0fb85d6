/* SPDX-License-Identifier: BSD-3-Clause */
/* Parking, pausing and kicking vCPUs that really are in the guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kvm/kvm.h"
#include "tests/kvm/real/vm.h"

#define COUNTERS 0x2000u /* 4 bytes for each vCPU, on lines of their own */

struct runner {
	struct vm *vm;
	unsigned int index;
	uint64_t ip;
	pthread_t thread;
	struct mpl_vcpu *vcpu; /* when it is made */
	uint32_t ending; /* 1: it shall end, 2: and was kicked */
	uint32_t interrupted;
	int last; /* of mpl_vcpu_run(), when it ended by itself */
};

static void *runner_main(void *arg)
{
	struct runner *runner = arg;
	struct vm_vcpu vcpu;
	int result = 0;

	vm_vcpu_new(runner->vm, runner->index, &vcpu);
	vm_real_mode(&vcpu, runner->ip, 0);
	__atomic_store_n(&runner->vcpu, vcpu.vcpu, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&runner->ending, __ATOMIC_ACQUIRE)) {
		result = mpl_vcpu_run(vcpu.vcpu);
		if (result == -EINTR)
			__atomic_add_fetch(&runner->interrupted, 1,
					   __ATOMIC_RELAXED);
		else if (result)
			break;
	}
	runner->last = result;
	while (__atomic_load_n(&runner->ending, __ATOMIC_ACQUIRE) < 2)
		usleep(100);
	vm_vcpu_free(&vcpu);
	return NULL;
}

static void start(struct runner *runner, struct vm *vm, unsigned int index,
		  uint64_t ip)
{
	*runner = (struct runner){ .vm = vm, .index = index, .ip = ip };
	assert_int_equal(pthread_create(&runner->thread, NULL, runner_main,
					runner),
			 0);
	while (!__atomic_load_n(&runner->vcpu, __ATOMIC_ACQUIRE))
		usleep(100);
}

static void stop(struct runner *runner)
{
	__atomic_store_n(&runner->ending, 1, __ATOMIC_RELEASE);
	mpl_vcpu_kick(runner->vcpu);
	__atomic_store_n(&runner->ending, 2, __ATOMIC_RELEASE);
	pthread_join(runner->thread, NULL);
}

static uint32_t counter(const struct vm *vm, unsigned int index)
{
	return __atomic_load_n((uint32_t *)(vm->host + COUNTERS + 64 * index),
			       __ATOMIC_RELAXED);
}

/* Until it counts on; the test's time-out is the limit. */
static void wait_for_progress(const struct vm *vm, unsigned int index)
{
	uint32_t from = counter(vm, index);

	while (counter(vm, index) == from)
		usleep(200);
}

VM_GUEST(16, guest_count0, "1: incl 0x2000\n jmp 1b\n");
VM_GUEST(16, guest_count1, "1: incl 0x2040\n jmp 1b\n");

static int setup(void **state)
{
	struct vm *vm = vm_new(NULL, NULL);

	VM_LOAD(vm, VM_CODE, guest_count0);
	VM_LOAD(vm, VM_CODE + 0x100, guest_count1);
	*state = vm;
	return 0;
}

static int teardown(void **state)
{
	vm_free(*state);
	return 0;
}

static void pause_stops_spinning_guests(void **state)
{
	struct vm *vm = *state;
	struct runner runners[2];

	start(&runners[0], vm, 0, VM_CODE);
	start(&runners[1], vm, 1, VM_CODE + 0x100);
	for (unsigned int round = 0; round < 20; round++) {
		uint32_t at[2];

		wait_for_progress(vm, 0);
		wait_for_progress(vm, 1);
		assert_int_equal(mpl_vcpus_pause(vm->kvm), 0);
		at[0] = counter(vm, 0);
		at[1] = counter(vm, 1);
		usleep(3000);
		assert_int_equal(counter(vm, 0), at[0]);
		assert_int_equal(counter(vm, 1), at[1]);
		mpl_vcpus_resume(vm->kvm);
	}
	wait_for_progress(vm, 0);
	wait_for_progress(vm, 1);
	stop(&runners[0]);
	stop(&runners[1]);
	assert_true(runners[0].interrupted >= 1);
	assert_int_equal(runners[0].last, -EINTR);
	assert_int_equal(vm->lines, 0);
}

/* A guest that exits all the time: the race of entry and park, many times. */
VM_GUEST(16, guest_exits0, "1: incl 0x2000\n outb %al, $0x80\n jmp 1b\n");
VM_GUEST(16, guest_exits1, "1: incl 0x2040\n outb %al, $0x81\n jmp 1b\n");

static void parks_race_with_exits(void **state)
{
	struct vm *vm = *state;
	struct runner runners[2];

	VM_LOAD(vm, VM_CODE, guest_exits0);
	VM_LOAD(vm, VM_CODE + 0x100, guest_exits1);
	start(&runners[0], vm, 0, VM_CODE);
	start(&runners[1], vm, 1, VM_CODE + 0x100);
	wait_for_progress(vm, 0);
	for (unsigned int round = 0; round < 300; round++) {
		uint32_t at[2];

		assert_int_equal(mpl_kvm_park(vm->kvm), 0);
		at[0] = counter(vm, 0);
		at[1] = counter(vm, 1);
		sched_yield();
		assert_int_equal(counter(vm, 0), at[0]);
		assert_int_equal(counter(vm, 1), at[1]);
		mpl_kvm_unpark(vm->kvm);
		if (round % 10 == 0) {
			wait_for_progress(vm, 0);
			wait_for_progress(vm, 1);
		}
	}
	stop(&runners[0]);
	stop(&runners[1]);
	assert_int_equal(vm->lines, 0);
}

/* A kick gets a spinning guest out, and one that waits at the gate. */
static void kicks(void **state)
{
	struct vm *vm = *state;
	struct runner runner;
	uint32_t before;

	start(&runner, vm, 0, VM_CODE);
	for (unsigned int round = 0; round < 50; round++) {
		before = __atomic_load_n(&runner.interrupted,
					 __ATOMIC_RELAXED);
		mpl_vcpu_kick(runner.vcpu);
		while (__atomic_load_n(&runner.interrupted,
				       __ATOMIC_RELAXED) == before)
			usleep(50);
	}
	assert_int_equal(mpl_vcpus_pause(vm->kvm), 0);
	stop(&runner);
	assert_int_equal(runner.last, -EINTR);
	mpl_vcpus_resume(vm->kvm);
}

VM_GUEST(16, guest_sleep, "1: hlt\n jmp 1b\n");

/* A vCPU that sleeps in HLT, in the kernel, comes out at once, too. */
static void pause_wakes_halted_vcpus(void **state)
{
	struct vm *vm = vm_new(NULL, NULL);
	struct runner runner;

	(void)state;
	vm_irqchip(vm);
	VM_LOAD(vm, VM_CODE, guest_sleep);
	start(&runner, vm, 0, VM_CODE);
	usleep(5000);
	for (unsigned int round = 0; round < 5; round++) {
		assert_int_equal(mpl_vcpus_pause(vm->kvm), 0);
		mpl_vcpus_resume(vm->kvm);
		usleep(1000);
	}
	stop(&runner);
	assert_int_equal(runner.last, -EINTR);
	assert_int_equal(vm->lines, 0);
	vm_free(vm);
}

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool in_callback;
	bool go_on;
} door = { .mutex = PTHREAD_MUTEX_INITIALIZER,
	   .changed = PTHREAD_COND_INITIALIZER };

static void block_in_callback(struct vm_device *device,
			      const struct vm_access *access)
{
	(void)device;
	(void)access;
	pthread_mutex_lock(&door.mutex);
	door.in_callback = true;
	pthread_cond_broadcast(&door.changed);
	while (!door.go_on)
		pthread_cond_wait(&door.changed, &door.mutex);
	pthread_mutex_unlock(&door.mutex);
}

/* One vCPU blocks in a callback: pausing the other does not wait for it. */
static void pause_does_not_wait_for_callbacks(void **state)
{
	struct vm *vm = *state;
	struct runner runners[2];
	uint32_t at;

	door.in_callback = door.go_on = false;
	vm->port.inside = block_in_callback;
	VM_LOAD(vm, VM_CODE, guest_exits0);
	start(&runners[0], vm, 0, VM_CODE);
	start(&runners[1], vm, 1, VM_CODE + 0x100);
	pthread_mutex_lock(&door.mutex);
	while (!door.in_callback)
		pthread_cond_wait(&door.changed, &door.mutex);
	pthread_mutex_unlock(&door.mutex);
	wait_for_progress(vm, 1);
	assert_int_equal(mpl_vcpus_pause(vm->kvm), 0);
	at = counter(vm, 1);
	usleep(2000);
	assert_int_equal(counter(vm, 1), at);
	mpl_vcpus_resume(vm->kvm);
	wait_for_progress(vm, 1);
	pthread_mutex_lock(&door.mutex);
	door.go_on = true;
	pthread_cond_broadcast(&door.changed);
	pthread_mutex_unlock(&door.mutex);
	wait_for_progress(vm, 0);
	stop(&runners[0]);
	stop(&runners[1]);
}

int main(void)
{
#define PARK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		PARK_TEST(pause_stops_spinning_guests),
		PARK_TEST(parks_race_with_exits),
		PARK_TEST(kicks),
		PARK_TEST(pause_wakes_halted_vcpus),
		PARK_TEST(pause_does_not_wait_for_callbacks),
	};
	const char *missing = vm_missing();

	if (missing) {
		puts(missing);
		return 77;
	}
	return cmocka_run_group_tests_name("kvm parking", tests, NULL, NULL);
}
