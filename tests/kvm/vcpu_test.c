/* SPDX-License-Identifier: BSD-3-Clause */
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
	/* -EDEADLK if its reader were online. */
	assert_int_equal(mpl_synchronize(w->m->plane), 0);
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

/*
 * Three vCPUs: one commits from its callback, for which all must be parked; one
 * is in the guest and spins; one holds another device's lock until it is over.
 */
struct trio {
	struct machine *m;
	struct mpl_region *over;
	uint32_t ready, rounds, over_it, kicked;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool held;
};

#define TRIO_ROUNDS 50

/* As in the kernel: immediate_exit, then a signal ends it. */
static int spin_until_signal(struct kvm_run *run)
{
	sigset_t none, signals;
	int err;

	sigemptyset(&none);
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	err = __atomic_load_n(&run->immediate_exit, __ATOMIC_RELAXED) ||
			      ppoll(NULL, 0, NULL, &none) < 0 ?
		      -EINTR :
		      0;
	pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
	return err;
}

static int trio_guest(void *arg, unsigned int vcpu, struct kvm_run *run)
{
	(void)arg;
	if (vcpu == 1)
		return spin_until_signal(run);
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = vcpu ? MACHINE_BIG : MACHINE_DEVICE;
	run->mmio.is_write = 1;
	run->mmio.len = 4;
	return 0;
}

static void trio_inside(struct machine *m, void *arg)
{
	struct trio *trio = arg;
	struct mpl_reader_stats stats;
	struct mpl_txn *tx;

	mpl_reader_stats(mpl_access_reader(m->plane), &stats);
	if (!strcmp(stats.name, "vcpu-0")) {
		tx = mpl_begin(m->plane);
		mpl_region_set_enabled(tx, trio->over, ++trio->rounds & 1);
		mpl_region_move(tx, m->port.region,
				MACHINE_PORTS + trio->rounds);
		machine_commit(tx);
		return;
	}
	pthread_mutex_lock(&trio->mutex);
	trio->held = true;
	pthread_cond_broadcast(&trio->changed);
	while (!trio->over_it)
		pthread_cond_wait(&trio->changed, &trio->mutex);
	pthread_mutex_unlock(&trio->mutex);
}

struct trio_vcpu {
	struct trio *trio;
	unsigned int index;
	struct mpl_vcpu *vcpu;
};

/* One at a time: the fake maps and unmaps without a lock. */
static void trio_new(struct trio_vcpu *own)
{
	pthread_mutex_lock(&own->trio->mutex);
	assert_int_equal(mpl_vcpu_new(own->trio->m->kvm,
				      FAKE_VCPU_FD + (int)own->index,
				      own->index, &own->vcpu),
			 0);
	pthread_mutex_unlock(&own->trio->mutex);
}

static void trio_free(struct trio_vcpu *own)
{
	pthread_mutex_lock(&own->trio->mutex);
	assert_int_equal(mpl_vcpu_free(own->vcpu), 0);
	pthread_mutex_unlock(&own->trio->mutex);
}

static void *trio_main(void *arg)
{
	struct trio_vcpu *own = arg;
	struct trio *trio = own->trio;

	trio_new(own);
	__atomic_add_fetch(&trio->ready, 1, __ATOMIC_ACQ_REL);
	if (own->index == 2)
		assert_int_equal(mpl_vcpu_run(own->vcpu), 0);
	while (own->index == 1 &&
	       !__atomic_load_n(&trio->over_it, __ATOMIC_ACQUIRE))
		assert_int_equal(mpl_vcpu_run(own->vcpu), -EINTR);
	/* Nobody kicks it any more. */
	while (own->index == 1 &&
	       !__atomic_load_n(&trio->kicked, __ATOMIC_ACQUIRE))
		usleep(100);
	trio_free(own);
	return NULL;
}

static void trio_plays(bool control_thread)
{
	struct trio trio = { .m = machine_new(control_thread, false),
			     .mutex = PTHREAD_MUTEX_INITIALIZER,
			     .changed = PTHREAD_COND_INITIALIZER };
	struct sigaction action = { .sa_handler = nothing };
	struct trio_vcpu vcpus[3] = { { &trio, 0, NULL },
				      { &trio, 1, NULL },
				      { &trio, 2, NULL } };
	struct mpl_kvm_stats before, after;
	pthread_t threads[3];
	struct mpl_txn *tx;

	sigaction(SIGUSR1, &action, NULL);
	trio.m->fake->guest = trio_guest;
	trio.m->inside = trio_inside;
	trio.m->inside_arg = &trio;
	assert_int_equal(mpl_region_new_ram(trio.m->plane, "over", 0x1000,
					    NULL, &trio.over),
			 0);
	tx = mpl_begin(trio.m->plane);
	mpl_region_set_enabled(tx, trio.over, false);
	mpl_region_add(tx, trio.m->system, 0x4000, trio.over, 1);
	machine_commit(tx);
	for (int i = 1; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, trio_main,
						&vcpus[i]),
				 0);
	pthread_mutex_lock(&trio.mutex);
	while (!trio.held)
		pthread_cond_wait(&trio.changed, &trio.mutex);
	pthread_mutex_unlock(&trio.mutex);
	while (__atomic_load_n(&trio.ready, __ATOMIC_ACQUIRE) < 2)
		usleep(100);
	trio_new(&vcpus[0]);
	mpl_kvm_stats(trio.m->kvm, &before);
	for (int i = 0; i < TRIO_ROUNDS; i++)
		assert_int_equal(mpl_vcpu_run(vcpus[0].vcpu), 0);
	mpl_kvm_stats(trio.m->kvm, &after);
	assert_int_equal(trio.rounds, TRIO_ROUNDS);
	assert_int_equal(after.parks - before.parks, TRIO_ROUNDS);
	trio_free(&vcpus[0]);
	pthread_mutex_lock(&trio.mutex);
	__atomic_store_n(&trio.over_it, 1, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&trio.changed);
	pthread_mutex_unlock(&trio.mutex);
	mpl_vcpu_kick(vcpus[1].vcpu);
	__atomic_store_n(&trio.kicked, 1, __ATOMIC_RELEASE);
	for (int i = 1; i < 3; i++)
		pthread_join(threads[i], NULL);
	mpl_region_unref(trio.over);
	machine_free(trio.m);
}

static void commits_from_callbacks(void **state)
{
	(void)state;
	trio_plays(false);
	trio_plays(true);
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
		cmocka_unit_test(commits_from_callbacks),
	};

	return cmocka_run_group_tests_name("kvm vcpu", tests, NULL, NULL);
}
