/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two vCPUs run while the map changes under them: memory inside RAM is
 * exchanged for other memory (as a PC's PAM registers do), a device appears
 * over RAM and goes, a BAR moves.  The guests look at all of it, and say so if
 * anything is not what it may be.
 *
 * MPL_CHURN_SECONDS: how long (default 30).
 *
 * Each vCPU's counter must advance in every 100 ms.  On a busy machine that
 * would say nothing of vCPUs: a period in which the watching thread overslept,
 * or the vCPU's thread had not a quarter of the time on a processor, is not
 * counted but reported.  An emulated machine does not know when it was not
 * running itself: there only every 300 ms must show an advance, and the single
 * periods that did not are reported.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/kvm/real/vm.h"

#define VCPUS 2
#define PAM UINT64_C(0xe0000) /* a page of RAM, or of other RAM */
#define HOLE UINT64_C(0xe8000) /* a page of RAM, or a device */
#define BAR UINT64_C(0xc0000000)
#define BAR_STEP UINT64_C(0x10000)
#define MAILBOX 0x3000 /* where the BAR is */
#define OWN 0x200000   /* a page for each vCPU; its counter is first */
#define UNDER 0x11111111
#define OVER 0x22222222
#define RAM_THERE 0x33333333
#define DEVICE_THERE 0x44444444
#define BAR_ID 0x55555555

/*
 * R15: the vCPU's own page; RBP: 4 times its index.  At each check EDI is its
 * number, for the port that tells of a failure.
 */
VM_GUEST(64, guest_churn,
	 "1: incl (%r15)\n"
	 "mov (%r15), %ecx\n"
	 /* 1: own memory */
	 "mov $1, %edi\n"
	 "mov %ecx, 0x10(%r15)\n"
	 "cmp 0x10(%r15), %ecx\n"
	 "jne 9f\n"
	 /* 2, 3: the pages beside the one that is exchanged */
	 "inc %edi\n"
	 "mov %ecx, 0xdfff0(%rbp)\n"
	 "cmp 0xdfff0(%rbp), %ecx\n"
	 "jne 9f\n"
	 "inc %edi\n"
	 "mov %ecx, 0xe1000(%rbp)\n"
	 "cmp 0xe1000(%rbp), %ecx\n"
	 "jne 9f\n"
	 /* 4: the page that is exchanged: one memory or the other */
	 "inc %edi\n"
	 "mov 0xe0000, %eax\n"
	 "cmp $0x11111111, %eax\n"
	 "je 2f\n"
	 "cmp $0x22222222, %eax\n"
	 "jne 9f\n"
	 /* 5: what was written there is there, or an older one of the other */
	 "2: inc %edi\n"
	 "mov %ecx, 0xe0100(%rbp)\n"
	 "mov 0xe0100(%rbp), %eax\n"
	 "cmp %ecx, %eax\n"
	 "ja 9f\n"
	 /* 6: now and then: RAM or a device */
	 "inc %edi\n"
	 "test $63, %ecx\n"
	 "jnz 3f\n"
	 "mov 0xe8000, %eax\n"
	 "cmp $0x33333333, %eax\n"
	 "je 3f\n"
	 "cmp $0x44444444, %eax\n"
	 "jne 9f\n"
	 /* 7: the BAR, or nothing where it has just been */
	 "3: inc %edi\n"
	 "test $255, %ecx\n"
	 "jnz 1b\n"
	 "mov 0x3000, %rbx\n"
	 "mov (%rbx), %eax\n"
	 "cmp $0x55555555, %eax\n"
	 "je 1b\n"
	 "cmp $-1, %eax\n"
	 "je 1b\n"
	 "9: mov %eax, %esi\n"
	 "mov %edi, %eax\n"
	 "out %al, $0x8f\n"
	 "hlt\n");

struct runner {
	struct vm *vm;
	unsigned int index;
	pthread_t thread;
	struct mpl_vcpu *vcpu;
	uint32_t ready, ending; /* 1: it shall end, 2: and was kicked */
	int last;
	struct kvm_regs regs;
	struct mpl_vcpu_stats stats;
};

struct world {
	struct vm *vm;
	struct mpl_region *over, *hole, *bar;
	struct runner runners[VCPUS];
	/* What was done. */
	unsigned int exchanges, holes, moves;
	bool is_over, is_hole;
	uint32_t ending;
	unsigned int periods, excused, idle, stalls;
};

static mpl_result_t answer(void *opaque, uint64_t offset, unsigned int size,
			   struct mpl_attrs attrs, uint64_t *value)
{
	(void)offset;
	(void)size;
	(void)attrs;
	*value = (uintptr_t)opaque;
	return MPL_OK;
}

static mpl_result_t drop(void *opaque, uint64_t offset, unsigned int size,
			 struct mpl_attrs attrs, uint64_t value)
{
	(void)opaque;
	(void)offset;
	(void)size;
	(void)attrs;
	(void)value;
	return MPL_OK;
}

static const struct mpl_io_ops answer_ops = {
	.read = answer,
	.write = drop,
	.endian = MPL_LITTLE_ENDIAN,
};

static void *runner_main(void *arg)
{
	struct runner *runner = arg;
	struct kvm_regs regs;
	struct vm_vcpu vcpu;
	int result = 0;

	vm_vcpu_new(runner->vm, runner->index, &vcpu);
	vm_long_mode(&vcpu, VM_CODE);
	regs = vm_regs(&vcpu);
	regs.r15 = OWN + 0x1000 * runner->index;
	regs.rbp = 4 * runner->index;
	vm_set_regs(&vcpu, &regs);
	runner->vcpu = vcpu.vcpu;
	__atomic_store_n(&runner->ready, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&runner->ending, __ATOMIC_ACQUIRE)) {
		result = mpl_vcpu_run(vcpu.vcpu);
		if (result && result != -EINTR)
			break;
		result = 0;
	}
	runner->last = result;
	runner->regs = vm_regs(&vcpu);
	mpl_vcpu_stats(vcpu.vcpu, &runner->stats);
	while (__atomic_load_n(&runner->ending, __ATOMIC_ACQUIRE) < 2)
		usleep(100);
	vm_vcpu_free(&vcpu);
	return NULL;
}

static uint32_t counter(const struct world *w, unsigned int index)
{
	return __atomic_load_n(
		(uint32_t *)(w->vm->host + OWN + 0x1000 * index),
		__ATOMIC_RELAXED);
}

static double now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static bool is_emulated(void)
{
	FILE *file = fopen("/proc/cpuinfo", "r");
	bool found = false;
	char line[256];

	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, "QEMU TCG");
	if (file)
		fclose(file);
	return found;
}

static void *watch_main(void *arg)
{
	struct world *w = arg;
	unsigned int limit = is_emulated() ? 3 : 1, idle[VCPUS] = { 0 };
	clockid_t clocks[VCPUS];

	for (unsigned int i = 0; i < VCPUS; i++)
		pthread_getcpuclockid(w->runners[i].thread, &clocks[i]);
	while (!__atomic_load_n(&w->ending, __ATOMIC_ACQUIRE)) {
		double begin = now(CLOCK_MONOTONIC), ran[VCPUS], took;
		uint32_t at[VCPUS];

		for (unsigned int i = 0; i < VCPUS; i++) {
			at[i] = counter(w, i);
			ran[i] = now(clocks[i]);
		}
		usleep(100000);
		took = now(CLOCK_MONOTONIC) - begin;
		for (unsigned int i = 0; i < VCPUS; i++) {
			w->periods++;
			if (counter(w, i) != at[i]) {
				idle[i] = 0;
			} else if (took > 0.15 ||
				   now(clocks[i]) - ran[i] < 0.025) {
				w->excused++;
			} else {
				w->idle++;
				w->stalls += ++idle[i] >= limit;
			}
		}
	}
	return NULL;
}

static void exchange(struct world *w)
{
	struct mpl_txn *tx = mpl_begin(w->vm->plane);

	w->is_over = !w->is_over;
	mpl_region_set_enabled(tx, w->over, w->is_over);
	vm_commit(tx);
	w->exchanges++;
}

static void open_or_close(struct world *w)
{
	struct mpl_txn *tx = mpl_begin(w->vm->plane);

	w->is_hole = !w->is_hole;
	mpl_region_set_enabled(tx, w->hole, w->is_hole);
	vm_commit(tx);
	w->holes++;
}

static void move(struct world *w)
{
	uint64_t to = BAR + BAR_STEP * (w->moves++ % 7);
	struct mpl_txn *tx = mpl_begin(w->vm->plane);

	mpl_region_move(tx, w->bar, to);
	vm_commit(tx);
	__atomic_store_n((uint64_t *)(w->vm->host + MAILBOX), to,
			 __ATOMIC_RELEASE);
}

static void put32(struct world *w, uint64_t gpa, uint32_t value)
{
	memcpy(w->vm->host + gpa, &value, 4);
}

static void build(struct world *w)
{
	struct mpl_plane *plane;
	struct mpl_txn *tx;
	uint32_t over = OVER;
	uint64_t bar = BAR;

	w->vm = vm_new(&(struct mpl_plane_config){ .control_thread = true },
		       NULL);
	plane = w->vm->plane;
	put32(w, PAM, UNDER);
	put32(w, HOLE, RAM_THERE);
	memcpy(w->vm->host + MAILBOX, &bar, 8);
	assert_int_equal(mpl_region_new_ram(plane, "over", 0x1000, NULL,
					    &w->over),
			 0);
	memcpy(mpl_region_host(w->over), &over, 4);
	assert_int_equal(mpl_region_new_io(plane, "hole", 0x1000, &answer_ops,
					   (void *)DEVICE_THERE, &w->hole),
			 0);
	assert_int_equal(mpl_region_new_io(plane, "bar", 0x1000, &answer_ops,
					   (void *)BAR_ID, &w->bar),
			 0);
	tx = mpl_begin(plane);
	mpl_region_set_enabled(tx, w->over, false);
	mpl_region_set_enabled(tx, w->hole, false);
	mpl_region_add(tx, w->vm->system, PAM, w->over, 2);
	mpl_region_add(tx, w->vm->system, HOLE, w->hole, 2);
	mpl_region_add(tx, w->vm->system, BAR, w->bar, 0);
	vm_commit(tx);
	VM_LOAD(w->vm, VM_CODE, guest_churn);
	/* From here on the slots' boundaries are there. */
	for (int i = 0; i < 2; i++) {
		exchange(w);
		open_or_close(w);
	}
	w->exchanges = w->holes = 0;
}

static void report(const struct world *w, const struct mpl_kvm_stats *stats,
		   double seconds)
{
	print_message("%.1f s: %u exchanges, %u holes, %u moves\n", seconds,
		      w->exchanges, w->holes, w->moves);
	print_message("parked %.1f us each, %.1f ms at most\n",
		      (double)stats->park_ns * 1e-3 / (double)stats->parks,
		      (double)stats->park_ns_max * 1e-6);
	print_message("%u periods of 100 ms, %u without an advance, %u not counted\n",
		      w->periods, w->idle, w->excused);
	for (unsigned int i = 0; i < VCPUS; i++) {
		const struct mpl_vcpu_stats *own = &w->runners[i].stats;

		print_message("vCPU %u: %u turns, %u exits, %u for memory, %u times interrupted\n",
			      i, counter(w, i), (unsigned int)own->exits,
			      (unsigned int)own->memory,
			      (unsigned int)own->interrupted);
	}
}

static void check(struct world *w, const struct mpl_kvm_stats *before,
		  const struct mpl_kvm_stats *after)
{
	for (unsigned int i = 0; i < VCPUS; i++) {
		const struct runner *runner = &w->runners[i];

		/* A failed check of the guest's is a port, and HLT. */
		if (runner->last)
			print_error("vCPU %u: result %d, check %u found %x\n",
				    i, runner->last,
				    (unsigned int)runner->regs.rdi,
				    (unsigned int)runner->regs.rsi);
		assert_int_equal(runner->last, 0);
		assert_int_equal(runner->stats.other, 0);
		assert_int_equal(runner->stats.exits,
				 runner->stats.mmio_reads +
					 runner->stats.mmio_writes);
	}
	assert_int_equal(w->vm->port.count, 0);
	/* One memory for the other: a slot goes, one comes, vCPUs are parked.
	 * A device over RAM: one goes or comes, nobody is.  A BAR: nothing. */
	assert_int_equal(after->parks - before->parks, w->exchanges);
	assert_int_equal(after->slots_added + after->slots_deleted -
				 before->slots_added - before->slots_deleted,
			 2 * w->exchanges + w->holes);
	assert_int_equal(after->slots_flagged, before->slots_flagged);
	assert_int_equal(w->stalls, 0);
	assert_int_equal(w->vm->lines, 0);
}

static void guests_run_while_the_map_changes(void **state)
{
	static struct world w;
	const char *text = getenv("MPL_CHURN_SECONDS");
	double seconds = text ? atof(text) : 30;
	struct mpl_kvm_stats before, after;
	uint64_t seed = 1;
	pthread_t watcher;
	double begin;

	(void)state;
	build(&w);
	for (unsigned int i = 0; i < VCPUS; i++) {
		struct runner *runner = &w.runners[i];

		*runner = (struct runner){ .vm = w.vm, .index = i };
		assert_int_equal(pthread_create(&runner->thread, NULL,
						runner_main, runner),
				 0);
		while (!__atomic_load_n(&runner->ready, __ATOMIC_ACQUIRE))
			usleep(100);
	}
	assert_int_equal(pthread_create(&watcher, NULL, watch_main, &w), 0);
	mpl_kvm_stats(w.vm->kvm, &before);
	begin = now(CLOCK_MONOTONIC);
	while (now(CLOCK_MONOTONIC) - begin < seconds) {
		seed = seed * UINT64_C(6364136223846793005) + 1;
		if (seed >> 62 == 0)
			move(&w);
		else if (seed >> 62 == 1)
			open_or_close(&w);
		else
			exchange(&w);
		usleep((seed >> 40) % 2000);
	}
	seconds = now(CLOCK_MONOTONIC) - begin;
	mpl_kvm_stats(w.vm->kvm, &after);
	__atomic_store_n(&w.ending, 1, __ATOMIC_RELEASE);
	pthread_join(watcher, NULL);
	for (unsigned int i = 0; i < VCPUS; i++) {
		__atomic_store_n(&w.runners[i].ending, 1, __ATOMIC_RELEASE);
		mpl_vcpu_kick(w.runners[i].vcpu);
		__atomic_store_n(&w.runners[i].ending, 2, __ATOMIC_RELEASE);
		pthread_join(w.runners[i].thread, NULL);
	}
	report(&w, &after, seconds);
	check(&w, &before, &after);
	mpl_region_unref(w.over);
	mpl_region_unref(w.hole);
	mpl_region_unref(w.bar);
	vm_free(w.vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_run_while_the_map_changes),
	};
	const char *missing = vm_missing();

	if (missing) {
		puts(missing);
		return 77;
	}
	return cmocka_run_group_tests_name("kvm churn", tests, NULL, NULL);
}
