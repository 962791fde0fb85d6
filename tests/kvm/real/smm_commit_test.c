/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commits that change what system management mode sees, what the other mode
 * sees, or both: by the vCPU that is in it, and beside one that enters and
 * leaves it all the time.
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
#include <unistd.h>

#include "tests/kvm/real/smm.h"

/*
 * Four times the handler reads the window and the page of both, and writes its
 * device, in whose callback its vCPU commits.
 */
VM_GUEST(16, handler_commits,
	 "movl $0xd0000, %esi\n"
	 "movl $0x20000, %edi\n"
	 "movl $0x30100, %ebp\n"
	 "movl $4, %ecx\n"
	 "1: movl (%edi), %eax\n"
	 "movl %eax, (%ebp)\n"
	 "movl 0x1000(%edi), %eax\n"
	 "movl %eax, 4(%ebp)\n"
	 "addl $8, %ebp\n"
	 "movl %ecx, (%esi)\n"
	 "decl %ecx\n"
	 "jnz 1b\n"
	 "rsm\n");

static void commit_inside(struct vm_device *device,
			  const struct vm_access *access)
{
	(void)device;
	switch (access->value) {
	case 4:
		smm_toggle(smm.over, true);
		break;
	case 3:
		smm_toggle(smm.own, true);
		break;
	case 2:
		smm_toggle(smm.shared, true);
		break;
	default:
		smm_toggle(smm.over, false);
		break;
	}
}

static void a_vcpu_commits_inside(void **state)
{
	static const uint32_t expected[] = {
		0x11111111, 0x66666666, /* as it was */
		0x22222222, 0x66666666, /* its own page is another one */
		0x22222222, 0x66666666, /* the others' is, behind it */
		0x22222222, 0x44444444, /* both see another one */
	};
	struct kvm_regs regs;

	(void)state;
	smm_build(NULL, MPL_KVM_DIRTY_BEST, false);
	VM_LOAD(smm.vm, VM_CODE, smm_guest);
	SMM_LOAD(handler_commits);
	smm.device.inside = commit_inside;
	regs = smm_run();
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(smm_word(smm.smram, 0x100 + 4 * i),
				 expected[i]);
	assert_int_equal(regs.rbx, 0x33333333);
	assert_int_equal(regs.rcx, 0x44444444);
	assert_int_equal(smm.vm->lines, 0);
	vm_vcpu_free(&smm.vcpu);
	smm_free();
}

/*
 * Both modes read the window and the page of both without end, and tell their
 * device: offset 0 is the window, 4 the page of both.
 */
VM_GUEST(16, guest_watches,
	 "movw $0x2000, %ax\n"
	 "movw %ax, %ds\n"
	 "1: movl 0, %ebx\n"
	 "movl %ebx, %es:0\n"
	 "movl 0x1000, %ebx\n"
	 "movl %ebx, %es:4\n"
	 "outb %al, $0x80\n"
	 "jmp 1b\n");
VM_GUEST(16, handler_watches,
	 "movl $0xd0000, %esi\n"
	 "movl $0x20000, %edi\n"
	 "movl (%edi), %eax\n"
	 "movl %eax, (%esi)\n"
	 "movl 0x1000(%edi), %eax\n"
	 "movl %eax, 4(%esi)\n"
	 "rsm\n");

/* Of the guest that runs while others commit: the last value of each kind, how
 * many there were, and how many were nonsense. */
static struct {
	uint32_t seen[4], counts[4], strange;
	uint32_t started, ending;
} w;

/* What is at each place, without and with the region over it. */
static const uint32_t places[4][2] = {
	{ 0x55555555, 0x33333333 }, /* the window */
	{ 0x66666666, 0x44444444 }, /* the page of both */
	{ 0x11111111, 0x22222222 }, /* the window in SMM */
	{ 0x66666666, 0x44444444 },
};

static void watch(struct vm_device *device, const struct vm_access *access)
{
	unsigned int is_smm = device == &smm.device;
	unsigned int i = 2 * is_smm + (access->offset == 4);
	uint32_t value = (uint32_t)access->value;

	if (access->attrs.secure != is_smm ||
	    (value != places[i][0] && value != places[i][1]))
		__atomic_add_fetch(&w.strange, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&w.seen[i], value, __ATOMIC_RELAXED);
	__atomic_add_fetch(&w.counts[i], 1, __ATOMIC_RELEASE);
}

static void *watch_main(void *arg)
{
	int result = 0;

	(void)arg;
	vm_vcpu_new(smm.vm, smm_index(), &smm.vcpu);
	vm_real_mode(&smm.vcpu, VM_CODE, VM_DEVICE >> 4);
	__atomic_store_n(&w.started, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&w.ending, __ATOMIC_ACQUIRE)) {
		result = mpl_vcpu_run(smm.vcpu.vcpu);
		if (result && result != -EINTR) {
			print_error("exit %u\n", smm.vcpu.run->exit_reason);
			exit(1);
		}
	}
	vm_vcpu_free(&smm.vcpu);
	return NULL;
}

/* What was on its way may be old; the second from now is not. */
static void expect_seen(unsigned int place, bool on)
{
	uint32_t from = __atomic_load_n(&w.counts[place], __ATOMIC_ACQUIRE);

	while (__atomic_load_n(&w.counts[place], __ATOMIC_ACQUIRE) - from < 2)
		usleep(100);
	assert_int_equal(__atomic_load_n(&w.seen[place], __ATOMIC_RELAXED),
			 places[place][on]);
}

struct change {
	struct mpl_region **region;
	unsigned int calls[SMM_SPACES]; /* deletions, and additions, in each */
};

static const struct change changes[] = {
	{ &smm.over, { 0, 1 } },
	{ &smm.own, { 1, 0 } },
	{ &smm.shared, { 1, 1 } },
};

#define CHANGES (sizeof(changes) / sizeof(*changes))

static void check_change(unsigned int at, bool on[CHANGES], bool count)
{
	const struct change *change = &changes[at];
	struct smm_calls before = smm.calls;
	struct mpl_kvm_stats then, now;

	mpl_kvm_stats(smm.vm->kvm, &then);
	on[at] = !on[at];
	smm_toggle(*change->region, on[at]);
	mpl_kvm_stats(smm.vm->kvm, &now);
	assert_int_equal(now.parks - then.parks, 1);
	for (unsigned int i = 0; i < SMM_SPACES; i++) {
		unsigned int added = smm.calls.added[i] - before.added[i];
		unsigned int deleted = smm.calls.deleted[i] - before.deleted[i];

		/* The first time slots are split. */
		assert_int_equal(!added, !change->calls[i]);
		assert_int_equal(!deleted, !change->calls[i]);
		if (count) {
			assert_int_equal(added, change->calls[i]);
			assert_int_equal(deleted, change->calls[i]);
		}
	}
	expect_seen(0, on[1]);
	expect_seen(1, on[2]);
	expect_seen(2, on[0]);
	expect_seen(3, on[2]);
}

static void others_commit(bool control_thread)
{
	const struct mpl_plane_config config = {
		.control_thread = control_thread,
	};
	bool on[CHANGES] = { false };
	pthread_t thread;

	memset(&w, 0, sizeof(w));
	smm_build(&config, MPL_KVM_DIRTY_BEST, false);
	VM_LOAD(smm.vm, VM_CODE, guest_watches);
	SMM_LOAD(handler_watches);
	smm.vm->device.inside = watch;
	smm.device.inside = watch;
	assert_int_equal(pthread_create(&thread, NULL, watch_main, NULL), 0);
	while (!__atomic_load_n(&w.started, __ATOMIC_ACQUIRE))
		usleep(100);
	for (unsigned int i = 0; i < 30; i++)
		check_change(i % CHANGES, on, i >= CHANGES);
	__atomic_store_n(&w.ending, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	assert_int_equal(w.strange, 0);
	assert_int_equal(smm.vm->lines, 0);
	smm_free();
}

static void commits_beside_it(void **state)
{
	(void)state;
	others_commit(false);
}

static void commits_of_a_control_thread(void **state)
{
	(void)state;
	others_commit(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vcpu_commits_inside),
		cmocka_unit_test(commits_beside_it),
		cmocka_unit_test(commits_of_a_control_thread),
	};
	const char *missing = smm_missing();

	if (missing) {
		puts(missing);
		return 77;
	}
	return cmocka_run_group_tests_name(
		"kvm commits and system management mode", tests, NULL, NULL);
}
