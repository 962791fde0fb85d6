/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate, with threads that sit in a make-believe KVM_RUN: as in the kernel,
 * a signal that comes before it is gone, one that comes in it ends it.
 */
#define _GNU_SOURCE /* ppoll */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kvm/park.h"

static void nothing(int signal)
{
	(void)signal;
}

static struct {
	unsigned int lines;
	char last[256];
} logged;

static void note_line(void *opaque, enum mpl_log_level level, const char *line)
{
	(void)opaque;
	(void)level;
	logged.lines++;
	strncpy(logged.last, line, sizeof(logged.last) - 1);
}

static const struct mpl_log log_here = { .fn = note_line };

struct vcpu {
	struct mpl_kvm_gate *gate;
	struct mpl_seat seat;
	pthread_t thread;
	unsigned int index;
	uint8_t immediate_exit;
	uint64_t runs;	   /* KVM_RUN, any thread reads it */
	uint32_t ending;
	uint32_t joined;
	uint32_t interrupted; /* enter said -EINTR */
	uint64_t seen;	   /* of `slots`, in the guest */
};

/* What is replaced while the vCPUs are parked: plain, for tsan to watch. */
static uint64_t slots, slots_again;

/* As the kernel does it: immediate_exit first, then any signal ends it. */
static int fake_kvm_run(struct vcpu *vcpu, int timeout_us)
{
	struct timespec timeout = { .tv_nsec = timeout_us * 1000L };
	sigset_t none, signals;
	int err = 0;

	sigemptyset(&none);
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	/* In the guest: whoever replaces slots now is caught. */
	assert_int_equal(slots, slots_again);
	vcpu->seen = slots;
	if (__atomic_load_n(&vcpu->immediate_exit, __ATOMIC_RELAXED))
		err = -EINTR;
	else if (ppoll(NULL, 0, timeout_us ? &timeout : NULL, &none) < 0)
		err = -EINTR;
	assert_int_equal(slots, slots_again);
	pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
	__atomic_add_fetch(&vcpu->runs, 1, __ATOMIC_RELAXED);
	return err;
}

static void *vcpu_main(void *arg)
{
	struct vcpu *vcpu = arg;
	unsigned int turn = 0;

	mpl_gate_join(vcpu->gate, &vcpu->seat, vcpu->index,
		      &vcpu->immediate_exit);
	__atomic_store_n(&vcpu->joined, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&vcpu->ending, __ATOMIC_SEQ_CST)) {
		bool waited;

		if (mpl_gate_enter(&vcpu->seat, &waited)) {
			__atomic_add_fetch(&vcpu->interrupted, 1,
					   __ATOMIC_SEQ_CST);
			continue;
		}
		/* Mostly very short, so that all moments are met. */
		fake_kvm_run(vcpu, turn++ % 64 ? 1 : 300);
		mpl_gate_leave(&vcpu->seat);
	}
	mpl_gate_quit(&vcpu->seat);
	return NULL;
}

static void start(struct vcpu *vcpu, struct mpl_kvm_gate *gate, unsigned int index)
{
	vcpu->gate = gate;
	vcpu->index = index;
	assert_int_equal(pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu),
			 0);
	while (!__atomic_load_n(&vcpu->joined, __ATOMIC_SEQ_CST))
		usleep(100);
}

static void stop(struct vcpu *vcpu)
{
	__atomic_store_n(&vcpu->ending, 1, __ATOMIC_SEQ_CST);
	mpl_gate_kick(&vcpu->seat);
	pthread_join(vcpu->thread, NULL);
}

static uint64_t runs(const struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->runs, __ATOMIC_RELAXED);
}

static uint32_t state_of(const struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->seat.state, __ATOMIC_SEQ_CST);
}

static void gate_init(struct mpl_kvm_gate *gate)
{
	struct sigaction action = { .sa_handler = nothing };

	memset(&logged, 0, sizeof(logged));
	sigaction(SIGUSR1, &action, NULL);
	assert_int_equal(mpl_gate_init(gate, 0, NULL, NULL, &log_here), 0);
}

static void parks_nest(void **state)
{
	struct vcpu vcpu = { 0 };
	struct mpl_kvm_gate gate;
	uint64_t before;

	(void)state;
	gate_init(&gate);
	start(&vcpu, &gate, 0);
	assert_int_equal(mpl_gate_park(&gate), 0);
	assert_int_not_equal(state_of(&vcpu), MPL_SEAT_IN);
	assert_int_equal(mpl_gate_park(&gate), 0);
	mpl_gate_unpark(&gate);
	before = runs(&vcpu);
	usleep(20000);
	assert_int_equal(runs(&vcpu), before);
	assert_int_equal(state_of(&vcpu), MPL_SEAT_WAITING);
	mpl_gate_unpark(&gate);
	while (runs(&vcpu) < before + 10)
		usleep(100);
	assert_int_equal(gate.parks, 1);
	stop(&vcpu);
	mpl_gate_destroy(&gate);
}

/* A vCPU in user space is parked, whatever it waits for. */
static void park_does_not_wait_for_user_space(void **state)
{
	struct mpl_kvm_gate gate;
	struct mpl_seat seat;
	uint8_t immediate_exit = 0;

	(void)state;
	gate_init(&gate);
	mpl_gate_join(&gate, &seat, 0, &immediate_exit);
	/* It is this very thread: it could not come anywhere. */
	assert_int_equal(mpl_gate_park(&gate), 0);
	assert_int_equal(immediate_exit, 1);
	assert_int_equal(gate.kicks, 0);
	mpl_gate_unpark(&gate);
	mpl_gate_quit(&seat);
	mpl_gate_destroy(&gate);
}

static void kick_interrupts_once(void **state)
{
	struct mpl_kvm_gate gate;
	struct mpl_seat seat;
	uint8_t immediate_exit = 0;
	bool waited;

	(void)state;
	gate_init(&gate);
	mpl_gate_join(&gate, &seat, 0, &immediate_exit);
	mpl_gate_kick(&seat);
	mpl_gate_kick(&seat);
	assert_int_equal(mpl_gate_enter(&seat, &waited), -EINTR);
	assert_false(waited);
	assert_int_equal(mpl_gate_enter(&seat, &waited), 0);
	assert_int_equal(immediate_exit, 0);
	/* In the guest: immediate_exit stays for KVM_RUN to see. */
	mpl_gate_kick(&seat);
	assert_int_equal(immediate_exit, 1);
	mpl_gate_leave(&seat);
	assert_true(mpl_gate_take_kick(&seat));
	assert_false(mpl_gate_take_kick(&seat));
	assert_int_equal(mpl_gate_enter(&seat, &waited), 0);
	mpl_gate_leave(&seat);
	/* Kicked while the gate is closed: does not wait for it. */
	assert_int_equal(mpl_gate_park(&gate), 0);
	mpl_gate_kick(&seat);
	assert_int_equal(mpl_gate_enter(&seat, &waited), -EINTR);
	mpl_gate_unpark(&gate);
	mpl_gate_quit(&seat);
	mpl_gate_destroy(&gate);
}

static void kick_reaches_who_waits(void **state)
{
	struct vcpu vcpu = { 0 };
	struct mpl_kvm_gate gate;

	(void)state;
	gate_init(&gate);
	assert_int_equal(mpl_gate_park(&gate), 0);
	start(&vcpu, &gate, 3);
	while (state_of(&vcpu) != MPL_SEAT_WAITING)
		usleep(100);
	mpl_gate_kick(&vcpu.seat);
	while (!__atomic_load_n(&vcpu.interrupted, __ATOMIC_SEQ_CST))
		usleep(100);
	assert_int_equal(runs(&vcpu), 0);
	mpl_gate_unpark(&gate);
	while (!runs(&vcpu))
		usleep(100);
	stop(&vcpu);
	mpl_gate_destroy(&gate);
}

/* vCPUs may come and go while the gate is closed. */
static void join_and_quit_while_closed(void **state)
{
	struct vcpu vcpu = { 0 };
	struct mpl_kvm_gate gate;

	(void)state;
	gate_init(&gate);
	assert_int_equal(mpl_gate_park(&gate), 0);
	start(&vcpu, &gate, 0);
	usleep(5000);
	assert_int_equal(runs(&vcpu), 0);
	stop(&vcpu);
	assert_true(mpl_list_empty(&gate.seats));
	mpl_gate_unpark(&gate);
	mpl_gate_destroy(&gate);
}

static void *park_main(void *gate)
{
	return mpl_gate_park(gate) ? gate : NULL;
}

static void slow_vcpus_are_named(void **state)
{
	struct vcpu vcpu = { 0 };
	struct mpl_kvm_gate gate;
	pthread_t parker;
	bool waited;

	(void)state;
	gate_init(&gate);
	gate.slow_ns = 20000000;
	mpl_gate_join(&gate, &vcpu.seat, 7, &vcpu.immediate_exit);
	/* In the guest, and deaf to signals; and out of it after a while. */
	assert_int_equal(mpl_gate_enter(&vcpu.seat, &waited), 0);
	assert_int_equal(pthread_create(&parker, NULL, park_main, &gate), 0);
	while (!__atomic_load_n(&gate.slow, __ATOMIC_RELAXED))
		usleep(1000);
	mpl_gate_leave(&vcpu.seat);
	pthread_join(parker, NULL);
	assert_true(logged.lines >= 1);
	assert_non_null(strstr(logged.last, "vCPU 7 "));
	/* It was kicked again and again. */
	assert_true(gate.kicks > 1);
	assert_true(gate.wait_ns >= gate.slow_ns);
	mpl_gate_unpark(&gate);
	mpl_gate_quit(&vcpu.seat);
	mpl_gate_destroy(&gate);
}

static void a_missing_handler_is_told(void **state)
{
	void (*const handlers[])(int) = { SIG_DFL, SIG_IGN, nothing };
	struct mpl_kvm_gate gate;
	struct mpl_seat seat;
	uint8_t immediate_exit;

	(void)state;
	gate_init(&gate);
	for (unsigned int i = 0; i < 3; i++) {
		signal(SIGUSR1, handlers[i]);
		mpl_gate_join(&gate, &seat, 3, &immediate_exit);
		mpl_gate_quit(&seat);
		assert_int_equal(logged.lines, i < 2 ? i + 1 : 2);
	}
	assert_non_null(strstr(logged.last, "vCPU 3: signal "));
	mpl_gate_destroy(&gate);
}

static struct {
	int parks, unparks, err;
} hooks;

static int hook_park(void *opaque)
{
	assert_ptr_equal(opaque, &hooks);
	hooks.parks++;
	return hooks.err;
}

static void hook_unpark(void *opaque)
{
	assert_ptr_equal(opaque, &hooks);
	hooks.unparks++;
}

static void embedders_gate(void **state)
{
	static const struct mpl_kvm_gate_ops ops = {
		.park = hook_park,
		.unpark = hook_unpark,
	};
	struct mpl_kvm_gate gate;

	(void)state;
	memset(&hooks, 0, sizeof(hooks));
	assert_int_equal(mpl_gate_init(&gate, 0, &ops, &hooks, &log_here), 0);
	assert_int_equal(mpl_gate_park(&gate), 0);
	assert_int_equal(mpl_gate_park(&gate), 0);
	mpl_gate_unpark(&gate);
	assert_int_equal(hooks.parks, 1);
	assert_int_equal(hooks.unparks, 0);
	mpl_gate_unpark(&gate);
	assert_int_equal(hooks.unparks, 1);
	hooks.err = -EIO;
	assert_int_equal(mpl_gate_park(&gate), -EIO);
	assert_int_equal(gate.depth, 0);
	assert_int_equal(hooks.unparks, 1);
	mpl_gate_destroy(&gate);
	assert_int_equal(mpl_gate_init(&gate, 1000, NULL, NULL, NULL),
			 -EINVAL);
}

#define VCPUS 3
#define ROUNDS 2000

/* Replaces what vCPUs look at, while they are parked. */
static void *parker_main(void *arg)
{
	static pthread_mutex_t one_commit = PTHREAD_MUTEX_INITIALIZER;
	struct mpl_kvm_gate *gate = arg;

	for (int i = 0; i < ROUNDS; i++) {
		if (mpl_gate_park(gate))
			return gate;
		pthread_mutex_lock(&one_commit);
		slots++;
		if (i % 64 == 0)
			usleep(100);
		slots_again++;
		pthread_mutex_unlock(&one_commit);
		mpl_gate_unpark(gate);
		if (i % 16 == 0)
			usleep(50);
	}
	return NULL;
}

static void *kicker_main(void *arg)
{
	struct vcpu *vcpus = arg;

	for (int i = 0; i < ROUNDS; i++)
		mpl_gate_kick(&vcpus[i % VCPUS].seat);
	return NULL;
}

static void nothing_is_replaced_under_a_guest(void **state)
{
	struct vcpu vcpus[VCPUS] = { 0 };
	pthread_t parkers[2], kicker;
	struct mpl_kvm_gate gate;
	uint64_t before;

	(void)state;
	gate_init(&gate);
	before = slots;
	for (unsigned int i = 0; i < VCPUS; i++)
		start(&vcpus[i], &gate, i);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&parkers[i], NULL, parker_main,
						&gate),
				 0);
	assert_int_equal(pthread_create(&kicker, NULL, kicker_main, vcpus), 0);
	for (int i = 0; i < 2; i++) {
		void *failed;

		pthread_join(parkers[i], &failed);
		assert_null(failed);
	}
	pthread_join(kicker, NULL);
	assert_int_equal(slots, before + 2 * ROUNDS);
	for (unsigned int i = 0; i < VCPUS; i++) {
		stop(&vcpus[i]);
		assert_true(runs(&vcpus[i]) > 0);
		assert_true(vcpus[i].interrupted > 0);
	}
	assert_int_equal(gate.depth, 0);
	assert_int_equal(logged.lines, 0);
	mpl_gate_destroy(&gate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parks_nest),
		cmocka_unit_test(park_does_not_wait_for_user_space),
		cmocka_unit_test(kick_interrupts_once),
		cmocka_unit_test(kick_reaches_who_waits),
		cmocka_unit_test(join_and_quit_while_closed),
		cmocka_unit_test(slow_vcpus_are_named),
		cmocka_unit_test(a_missing_handler_is_told),
		cmocka_unit_test(embedders_gate),
		cmocka_unit_test(nothing_is_replaced_under_a_guest),
	};

	return cmocka_run_group_tests_name("kvm park", tests, NULL, NULL);
}
