/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random machines on a real VM.  Each system call goes to the kernel and to
 * the fake, and both must say the same: so that the fake's rules are the
 * kernel's, and what the other tests say of its slots holds for these.  Then a
 * vCPU reads and writes each page and finds what the map says: memory, or an
 * exit.
 */
#include "tests/support/kvm_random.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/sys.h"

#define PAGE     UINT64_C(4096)
#define CODE_GPA UINT64_C(0x400000)

static struct machine {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	size_t run_bytes;
	struct mpl_kvm_sys_ops both;
	struct fake_kvm *fake;
	enum mpl_kvm_dirty_mode mode;
	unsigned int calls;
	unsigned int logged; /* writes that were found in a log */
} m;

/* The fake's answer is the kernel's. */
static int both_ioctl(void *opaque, int fd, unsigned long request,
		      uintptr_t arg)
{
	int real, fake;

	(void)opaque;
	assert_int_equal(fd, FAKE_VM_FD);
	if (request == KVM_CHECK_EXTENSION)
		return mpl_kvm_sys_real.ioctl(NULL, m.vm, request, arg);
	/* A log that is fetched is the kernel's in the end. */
	fake = m.fake->sys.ioctl(m.fake, fd, request, arg);
	real = mpl_kvm_sys_real.ioctl(NULL, m.vm, request, arg);
	if (real != fake)
		fail_msg("request %#lx: the kernel says %d, the fake %d",
			 request, real, fake);
	m.calls++;
	return real;
}

static int check(int cap)
{
	int value = ioctl(m.vm, KVM_CHECK_EXTENSION, cap);

	return value > 0 ? value : 0;
}

static void as_the_kernel(struct kvm_world *w)
{
	struct fake_kvm *fake = w->fake;

	m.fake = fake;
	if ((unsigned int)check(KVM_CAP_NR_MEMSLOTS) < fake->nr_slots)
		fake->nr_slots = (unsigned int)check(KVM_CAP_NR_MEMSLOTS);
	w->config.slots_max = fake->nr_slots;
	fake->nr_spaces = check(KVM_CAP_MULTI_ADDRESS_SPACE) > 1 ? 2 : 1;
	fake->readonly = check(KVM_CAP_READONLY_MEM);
	fake->region2 = check(231);
	fake->manual = (unsigned int)check(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
	m.both = (struct mpl_kvm_sys_ops){ .ioctl = both_ioctl,
					   .map = fake->sys.map,
					   .unmap = fake->sys.unmap };
	w->config.dirty_mode = fake->manual == 3 ? m.mode : MPL_KVM_DIRTY_BEST;
	w->config.sys = &m.both;
	w->config.sys_opaque = fake;
}

static int setup(void **state)
{
	int size;

	(void)state;
	m.vm = ioctl(m.kvm, KVM_CREATE_VM, 0);
	m.vcpu = ioctl(m.vm, KVM_CREATE_VCPU, 0);
	size = ioctl(m.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (m.vm < 0 || m.vcpu < 0 || size <= 0)
		return -1;
	m.run_bytes = (size_t)size;
	m.run = mmap(NULL, m.run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		     m.vcpu, 0);
	return m.run == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(m.run, m.run_bytes);
	close(m.vcpu);
	close(m.vm);
	return 0;
}

/* In real mode, with the data segment at `gpa`; it halts. */
static void run_at(uint64_t gpa, uint64_t entry, uint8_t al)
{
	struct kvm_regs regs = { .rip = entry, .rflags = 2, .rax = al };
	struct kvm_sregs sregs;

	assert_int_equal(ioctl(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = CODE_GPA;
	sregs.cs.selector = CODE_GPA >> 4 & 0xffff;
	sregs.ds.base = gpa;
	sregs.ds.selector = gpa >> 4 & 0xffff;
	assert_int_equal(ioctl(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(ioctl(m.vcpu, KVM_SET_REGS, &regs), 0);
	assert_int_equal(ioctl(m.vcpu, KVM_RUN, 0), 0);
}

static void halt(void)
{
	assert_int_equal(ioctl(m.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
}

static const struct memory *memory_at(const struct memories *view, uint64_t gpa)
{
	for (size_t i = 0; i < view->count; i++)
		if (view->items[i].start <= gpa && gpa <= view->items[i].last)
			return &view->items[i];
	return NULL;
}

/* The page that a guest has written is in the log, once. */
static void check_log(struct kvm_world *w, const struct memory *memory,
		      const volatile uint8_t *host)
{
	struct mpl_region *region = (struct mpl_region *)memory->region;
	uint64_t offset = (uint64_t)(host - (uint8_t *)mpl_region_host(region));
	struct mpl_dirty_set *set;

	assert_int_equal(mpl_dirty_set_new(1024, &set), 0);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(mpl_dirty_sync(w->t->plane), 0);
		for (int i = 0; i < MPL_LOG_CLIENTS; i++)
			assert_int_equal(mpl_dirty_snapshot_clear(
						 region, (enum mpl_log_client)i,
						 offset & ~(PAGE - 1), PAGE,
						 set),
					 0);
		assert_int_equal(mpl_dirty_set_count(set), !round);
		mpl_dirty_set_clear(set);
	}
	mpl_dirty_set_free(set);
	m.logged++;
}

static void probe(struct kvm_world *w, const struct memories *view,
		  uint64_t gpa)
{
	const struct memory *memory = memory_at(view, gpa);
	volatile uint8_t *host =
		memory ? (uint8_t *)(uintptr_t)(gpa + memory->delta) : NULL;
	struct kvm_regs regs;

	if (host)
		*host = (uint8_t)(gpa >> 12 ^ 0x5a);
	run_at(gpa, 0, 0);
	if (host) {
		assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
		assert_int_equal(ioctl(m.vcpu, KVM_GET_REGS, &regs), 0);
		assert_int_equal(regs.rax & 0xff, *host);
	} else {
		assert_int_equal(m.run->exit_reason, KVM_EXIT_MMIO);
		assert_int_equal(m.run->mmio.phys_addr, gpa);
		halt();
	}
	run_at(gpa, 16, 0x77);
	if (host && !memory->readonly) {
		assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
		assert_int_equal(*host, 0x77);
		if (memory->log)
			check_log(w, memory, host);
	} else {
		assert_int_equal(m.run->exit_reason, KVM_EXIT_MMIO);
		assert_true(m.run->mmio.is_write);
		halt();
	}
}

/* As a vCPU finds it; 8 pages, each time others. */
static void check_by_guest(struct kvm_world *w, unsigned int turn)
{
	struct memories view = { 0 };

	memories_of_view(w->t->space[w->space[0]].as, w->fake->readonly, &view);
	for (uint64_t i = 0; i < 8; i++)
		probe(w, &view, (turn * 8 + i) * 37 % 256 * PAGE);
	memories_free(&view);
}

static void start_code(struct kvm_world *w)
{
	static const uint8_t read[] = { 0xa0, 0, 0, 0xf4 }; /* mov (0),%al */
	static const uint8_t write[] = { 0xa2, 0, 0, 0xf4 };
	int code = topo_ram(w->t, "code", PAGE);
	uint8_t *host;

	topo_begin(w->t);
	topo_add(w->t, w->root, CODE_GPA, code, 0);
	topo_commit_ok(w->t);
	host = mpl_region_host(w->t->region[code]);
	memcpy(host, read, sizeof(read));
	memcpy(host + 16, write, sizeof(write));
}

static void random_machines(void **state)
{
	static const enum mpl_kvm_dirty_mode modes[] = {
		MPL_KVM_DIRTY_MANUAL,
		MPL_KVM_DIRTY_BITMAP,
		MPL_KVM_DIRTY_ALL_SET,
	};
	enum { SEEDS = 3, COMMITS = 60 };

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct kvm_world *w;
		struct kvm_random r;

		if (seed > 1)
			assert_int_equal(setup(NULL), 0);
		m.mode = modes[seed - 1];
		w = world_new(as_the_kernel);
		start_code(w);
		if (m.fake->nr_spaces > 1 && seed & 1)
			kvm_random_attach_smm(w);
		kvm_random_start(&r, w, seed * 6700417);
		for (unsigned int i = 0; i < COMMITS; i++) {
			snprintf(w->t->note, sizeof(w->t->note),
				 "seed %d, commit %u", (int)seed, i);
			topo_begin(w->t);
			kvm_random_mutate(&r);
			world_commit(w, -1, -1);
			assert_int_equal(mpl_dirty_sync(w->t->plane), 0);
			check_by_guest(w, i);
		}
		world_free(w);
		if (seed < SEEDS)
			(void)teardown(NULL);
	}
	print_message("%u calls, each as the fake has it; %u writes logged\n",
		      m.calls, m.logged);
	assert_true(m.logged > 0);
}

static int set(uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size,
	       uint8_t *host)
{
	const struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	return both_ioctl(NULL, FAKE_VM_FD, KVM_SET_USER_MEMORY_REGION,
			  (uintptr_t)&region);
}

/* What the kernel refuses, the fake does, with the same error. */
static void rules(void **state)
{
	struct kvm_world *w = world_new(as_the_kernel);
	uint8_t *host = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const uint32_t log = KVM_MEM_LOG_DIRTY_PAGES;
	const uint32_t readonly = KVM_MEM_READONLY;

	(void)state;
	assert_ptr_not_equal(host, MAP_FAILED);
	w->fake->watch = NULL;
	assert_int_equal(set(5, 0, 0, 0, host), -EINVAL);
	assert_int_equal(set(5, 0, 0, 4 * PAGE, host), 0);
	assert_int_equal(set(5, 0, 0, 4 * PAGE, host), 0);
	assert_int_equal(set(5, 0, 0, 5 * PAGE, host), -EINVAL);
	assert_int_equal(set(5, 0, 0, 4 * PAGE, host + PAGE), -EINVAL);
	assert_int_equal(set(5, readonly, 0, 4 * PAGE, host), -EINVAL);
	assert_int_equal(set(6, 0, PAGE, PAGE, host), -EEXIST);
	assert_int_equal(set(6, 0, 4 * PAGE, PAGE, host), 0);
	assert_int_equal(set(5, 0, PAGE, 4 * PAGE, host), -EEXIST);
	assert_int_equal(set(5, 0, 8 * PAGE, 4 * PAGE, host), 0);
	assert_int_equal(set(5, log, 8 * PAGE, 4 * PAGE, host), 0);
	assert_int_equal(set(5, 0, 8 * PAGE, 4 * PAGE, host), 0);
	assert_int_equal(set(7, 0, 32 * PAGE + 1, PAGE, host), -EINVAL);
	assert_int_equal(set(7, 0, 32 * PAGE, PAGE, host + 1), -EINVAL);
	assert_int_equal(set(7, 0, 32 * PAGE, PAGE + 1, host), -EINVAL);
	assert_int_equal(set(7, 1u << 30, 32 * PAGE, PAGE, host), -EINVAL);
	assert_int_equal(set(7, 0, -PAGE, 2 * PAGE, host), -EINVAL);
	assert_int_equal(set(7, 0, -PAGE, PAGE, host), -EINVAL);
	assert_int_equal(set(5 << 16, 0, 64 * PAGE, PAGE, host), -EINVAL);
	assert_int_equal(set(0xffff, 0, 64 * PAGE, PAGE, host), -EINVAL);
	assert_int_equal(set(5, 0, 0, 0, host), 0);
	assert_int_equal(set(6, 0, 0, 0, host), 0);
	assert_int_equal(set(6, 0, 0, 0, host), -EINVAL);
	munmap(host, 16 * PAGE);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rules, setup, teardown),
		cmocka_unit_test_setup_teardown(random_machines, setup,
						teardown),
	};

	m.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m.kvm < 0) {
		printf("no /dev/kvm: %s\n", strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests_name("kvm real slots", tests, NULL, NULL);
}
