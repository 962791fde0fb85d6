/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <memplane.h>

#include "kvm/kvm.h"
#include "tests/support/fake_machine.h"

struct world {
	struct machine *m;
	struct mpl_vcpu *vcpu;
	unsigned int runs;
	unsigned int pending; /* exits that the instruction still has */
	int err;
	uint8_t immediate_exit; /* as the last KVM_RUN saw it */
};

static int guest(void *arg, unsigned int vcpu, struct kvm_run *run)
{
	struct world *w = arg;

	(void)vcpu;
	w->runs++;
	w->immediate_exit = run->immediate_exit;
	if (w->err)
		return w->err;
	/* As the kernel: what is pending first, then immediate_exit. */
	if (!w->pending && run->immediate_exit)
		return -EINTR;
	if (w->pending)
		w->pending--;
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = MACHINE_DEVICE;
	run->mmio.is_write = 1;
	run->mmio.len = 4;
	return 0;
}

static void nothing(int signal)
{
	(void)signal;
}

static int setup(void **state)
{
	static struct world w;
	struct sigaction action = { .sa_handler = nothing };

	sigaction(SIGUSR1, &action, NULL);
	w = (struct world){ .m = machine_new(false, false) };
	w.m->fake->guest = guest;
	w.m->fake->guest_arg = &w;
	assert_int_equal(mpl_vcpu_new(w.m->kvm, FAKE_VCPU_FD, 0, &w.vcpu), 0);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	assert_int_equal(mpl_vcpu_free(w->vcpu), 0);
	machine_free(w->m);
	return 0;
}

static struct mpl_vcpu_stats stats(struct world *w)
{
	struct mpl_vcpu_stats out;

	mpl_vcpu_stats(w->vcpu, &out);
	return out;
}

static void a_kick_interrupts_once(void **state)
{
	struct world *w = *state;

	mpl_vcpu_kick(w->vcpu);
	assert_int_equal(mpl_vcpu_run(w->vcpu), -EINTR);
	assert_int_equal(w->runs, 0);
	assert_int_equal(mpl_vcpu_run(w->vcpu), 0);
	assert_int_equal(w->runs, 1);
	assert_int_equal(w->immediate_exit, 0);
}

static void errors_of_kvm_run_are_returned(void **state)
{
	struct world *w = *state;

	w->err = -EINTR;
	assert_int_equal(mpl_vcpu_run(w->vcpu), -EINTR);
	w->err = -EFAULT;
	assert_int_equal(mpl_vcpu_run(w->vcpu), -EFAULT);
	assert_int_equal(stats(w).interrupted, 1);
	assert_int_equal(stats(w).exits, 0);
}

static void finish_completes_the_instruction(void **state)
{
	struct world *w = *state;

	assert_int_equal(mpl_vcpu_run(w->vcpu), 0);
	/* An access across a page: one more exit, and then it is complete. */
	w->pending = 1;
	assert_int_equal(mpl_vcpu_finish(w->vcpu), 0);
	assert_int_equal(w->m->count, 2);
	assert_int_equal(w->runs, 3);
	assert_int_equal(w->immediate_exit, 1);
	/* Kicked before: the instruction is not complete. */
	mpl_vcpu_kick(w->vcpu);
	assert_int_equal(mpl_vcpu_finish(w->vcpu), -EINTR);
	assert_int_equal(w->runs, 3);
}

static void pauses_count_with_parks(void **state)
{
	struct world *w = *state;
	struct mpl_kvm *kvm = w->m->kvm;

	assert_int_equal(mpl_vcpus_pause(kvm), 0);
	assert_int_equal(mpl_kvm_park(kvm), 0);
	mpl_vcpus_resume(kvm);
	/* Closed still; the kick gets it out of the gate. */
	mpl_vcpu_kick(w->vcpu);
	assert_int_equal(mpl_vcpu_run(w->vcpu), -EINTR);
	assert_int_equal(w->runs, 0);
	mpl_kvm_unpark(kvm);
	assert_int_equal(mpl_vcpu_run(w->vcpu), 0);
}

static void *pause_a_while(void *arg)
{
	struct world *w = arg;

	usleep(20000);
	assert_int_equal(__atomic_load_n(&w->runs, __ATOMIC_RELAXED), 0);
	mpl_vcpus_resume(w->m->kvm);
	return NULL;
}

static void run_waits_for_resume(void **state)
{
	struct world *w = *state;
	pthread_t thread;

	assert_int_equal(mpl_vcpus_pause(w->m->kvm), 0);
	assert_int_equal(pthread_create(&thread, NULL, pause_a_while, w), 0);
	/* Left online: taken offline before the wait. */
	assert_int_equal(mpl_reader_online(mpl_vcpu_reader(w->vcpu)), 0);
	assert_int_equal(mpl_vcpu_run(w->vcpu), 0);
	pthread_join(thread, NULL);
	assert_int_equal(stats(w).waits, 1);
	assert_int_equal(mpl_synchronize(w->m->plane), 0);
}

/* In the callback it is out of the guest: pausing does not wait for it. */
static void pause_inside(struct machine *m, void *arg)
{
	struct world *w = arg;

	assert_int_equal(mpl_vcpus_pause(m->kvm), 0);
	assert_int_equal(mpl_kvm_park(m->kvm), 0);
	mpl_kvm_unpark(m->kvm);
	mpl_vcpus_resume(m->kvm);
	w->pending++;
}

static void a_vcpu_may_pause_from_its_callback(void **state)
{
	struct world *w = *state;

	w->m->inside = pause_inside;
	w->m->inside_arg = w;
	assert_int_equal(mpl_vcpu_run(w->vcpu), 0);
	assert_int_equal(w->pending, 1);
}

static void detach_needs_them_gone(void **state)
{
	struct world *w = *state;

	assert_int_equal(mpl_kvm_detach(w->m->kvm), -EBUSY);
	assert_int_equal(mpl_vcpu_free(NULL), 0);
}

/* Everything that can fail, does; nothing is left (teardown looks). */
static void errors_of_new(void **state)
{
	struct world *w = *state;
	struct mpl_vcpu *vcpu, *more[FAKE_VCPUS];
	struct mpl_reader *readers[64];
	unsigned int n = 0;

	assert_int_equal(mpl_vcpu_new(w->m->kvm, FAKE_VCPU_FD + 1, 0x10000,
				      &vcpu),
			 -EINVAL);
	assert_int_equal(mpl_vcpu_new(w->m->kvm, -1, 1, &vcpu), -EBADF);
	w->m->fake->maps_failing = 1;
	assert_int_equal(mpl_vcpu_new(w->m->kvm, FAKE_VCPU_FD + 1, 1, &vcpu),
			 -ENOMEM);
	for (int i = 1; i < FAKE_VCPUS; i++)
		assert_int_equal(mpl_vcpu_new(w->m->kvm, FAKE_VCPU_FD + i,
					      (unsigned int)i, &more[i]),
				 0);
	for (int i = 1; i < FAKE_VCPUS; i++)
		assert_int_equal(mpl_vcpu_free(more[i]), 0);
	while (n < 64 && !mpl_reader_register(w->m->plane, &readers[n]))
		n++;
	assert_int_equal(mpl_vcpu_new(w->m->kvm, FAKE_VCPU_FD + 1, 1, &vcpu),
			 -ENOSPC);
	while (n)
		assert_int_equal(mpl_reader_unregister(readers[--n]), 0);
}

static void readers_have_names(void **state)
{
	struct world *w = *state;
	struct mpl_reader_stats out;

	mpl_reader_stats(mpl_vcpu_reader(w->vcpu), &out);
	assert_string_equal(out.name, "vcpu-0");
}

int main(void)
{
#define VCPU_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		VCPU_TEST(a_kick_interrupts_once),
		VCPU_TEST(errors_of_kvm_run_are_returned),
		VCPU_TEST(finish_completes_the_instruction),
		VCPU_TEST(pauses_count_with_parks),
		VCPU_TEST(run_waits_for_resume),
		VCPU_TEST(a_vcpu_may_pause_from_its_callback),
		VCPU_TEST(detach_needs_them_gone),
		VCPU_TEST(errors_of_new),
		VCPU_TEST(readers_have_names),
	};

	return cmocka_run_group_tests_name("kvm vcpu", tests, NULL, NULL);
}
