/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/fake_kvm.h"
#include "tests/support/step.h"
#include "tests/support/topo.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "kvm/kvm.h"
#include "lib/plane.h"

static void capabilities_come_from_the_vm(void **state)
{
	struct topo *t = *state;
	struct fake_kvm *fake = fake_new();
	struct mpl_kvm_config config = fake_config(fake);
	int root = topo_container(t, "root", 0x100000);
	int space = topo_space(t, root);
	struct mpl_kvm *kvm;

	fake->nr_slots = 77;
	fake->readonly = false;
	assert_int_equal(
		mpl_kvm_attach(t->space[space].as, FAKE_VM_FD, &config, &kvm),
		0);
	assert_int_equal(kvm->caps.slots, 77);
	assert_int_equal(kvm->caps.spaces, 2);
	assert_false(kvm->caps.readonly);
	assert_true(kvm->caps.ring_acq_rel);
	assert_int_equal(kvm->caps.manual, 3);
	assert_int_equal(mpl_kvm_error(kvm), 0);
	assert_int_equal(mpl_kvm_detach(kvm), 0);
	fake_free(fake);
}

static void spaces_are_attached_once(void **state)
{
	struct topo *t = *state;
	struct fake_kvm *fake = fake_new();
	struct mpl_kvm_config config = fake_config(fake);
	struct topo *other = topo_new();
	int root = topo_container(t, "root", 0x100000);
	int ports = topo_container(t, "ports", 0x10000);
	int memory = topo_space(t, root), io = topo_space(t, ports);
	int foreign = topo_space(other, topo_container(other, "x", 0x1000));
	struct mpl_kvm *kvm;

	fake->nr_spaces = 1;
	assert_int_equal(
		mpl_kvm_attach(t->space[memory].as, FAKE_VM_FD, &config, &kvm),
		0);
	assert_int_equal(
		mpl_kvm_attach_space(kvm, t->space[memory].as, MPL_KVM_SMM),
		-ENOTSUP);
	assert_int_equal(mpl_kvm_attach_space(kvm, t->space[io].as, 0),
			 -EINVAL);
	assert_int_equal(mpl_kvm_attach_space(kvm, other->space[foreign].as,
					      MPL_KVM_PIO),
			 -EINVAL);
	assert_int_equal(
		mpl_kvm_attach_space(kvm, t->space[io].as, MPL_KVM_PIO), 0);
	assert_int_equal(
		mpl_kvm_attach_space(kvm, t->space[io].as, MPL_KVM_PIO),
		-EEXIST);
	assert_int_equal(mpl_kvm_detach(kvm), 0);
	assert_int_equal(mpl_kvm_detach(NULL), 0);
	topo_free(other);
	fake_free(fake);
}

/* Asks for its errors in every call while spaces are attached. */
struct asker {
	struct fake_kvm *fake;
	struct mpl_kvm *kvm; /* NULL: none yet */
	unsigned int asked, failed;
};

static int ask_in_ioctl(void *opaque, int fd, unsigned long request,
			uintptr_t arg)
{
	struct asker *asker = opaque;

	if (asker->kvm) {
		asker->asked++;
		asker->failed += mpl_kvm_error(asker->kvm) != 0;
	}
	return asker->fake->sys.ioctl(asker->fake, fd, request, arg);
}

static void errors_are_asked_for_while_a_space_is_attached(void **state)
{
	struct topo *t = *state;
	struct fake_kvm *fake = fake_new();
	struct mpl_kvm_config config = fake_config(fake);
	struct asker asker = { .fake = fake };
	struct mpl_kvm_sys_ops sys = fake->sys;
	int root = topo_container(t, "root", 0x100000);
	int memory = topo_space(t, root), smram = topo_space(t, root);

	sys.ioctl = ask_in_ioctl;
	config.sys = &sys;
	config.sys_opaque = &asker;
	sys.map = NULL; /* there is no vCPU and no ring */
	sys.unmap = NULL;
	topo_begin(t);
	topo_add(t, root, 0, topo_ram(t, "ram", 0x10000), 0);
	topo_commit_ok(t);
	assert_int_equal(mpl_kvm_attach(t->space[memory].as, FAKE_VM_FD,
					&config, &asker.kvm),
			 0);
	assert_int_equal(mpl_kvm_attach_space(asker.kvm, t->space[smram].as,
					      MPL_KVM_SMM),
			 0);
	assert_int_not_equal(asker.asked, 0);
	assert_int_equal(asker.failed, 0);
	assert_int_equal(mpl_kvm_error(asker.kvm), 0);
	assert_int_equal(mpl_kvm_detach(asker.kvm), 0);
	fake_free(fake);
}

struct attacher {
	struct mpl_kvm *kvm;
	struct mpl_address_space *as;
	bool end;
};

static void *attach_in_vain(void *arg)
{
	struct attacher *attacher = arg;

	while (!__atomic_load_n(&attacher->end, __ATOMIC_RELAXED))
		assert_int_equal(mpl_kvm_attach_space(attacher->kvm,
						      attacher->as,
						      MPL_KVM_SMM),
				 -ENOSPC);
	return NULL;
}

/* For tsan and asan: what is undone is this space's part, not the commit's. */
static void attaching_fails_beside_commits(void **state)
{
	struct topo *t = *state;
	struct fake_kvm *fake = fake_new();
	struct mpl_kvm_config config = fake_config(fake);
	int root = topo_container(t, "root", 0x100000);
	int smm = topo_container(t, "smm", 0x100000);
	int ram = topo_ram(t, "ram", 0x4000);
	int space = topo_space(t, root), other = topo_space(t, smm);
	struct attacher attacher = { .as = t->space[other].as };
	pthread_t thread;

	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	for (int i = 0; i < 4; i++)
		topo_add(t, smm, 0x8000u * (unsigned int)i,
			 topo_ram(t, "piece", 0x4000), 0);
	topo_commit_ok(t);
	config.slots_max = 3;
	assert_int_equal(mpl_kvm_attach(t->space[space].as, FAKE_VM_FD, &config,
					&attacher.kvm),
			 0);
	assert_int_equal(
		pthread_create(&thread, NULL, attach_in_vain, &attacher), 0);
	for (int i = 0; i < 300; i++) {
		topo_begin(t);
		topo_set_enabled(t, ram, i & 1);
		assert_int_equal(topo_commit_any(t), 0);
	}
	__atomic_store_n(&attacher.end, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(fake->count[0], 1);
	assert_int_equal(fake->count[1], 0);
	assert_int_equal(mpl_kvm_detach(attacher.kvm), 0);
	fake_free(fake);
}

/* Two threads attach the same. */
struct rivals {
	struct mpl_kvm *kvm;
	struct mpl_address_space *as;
	int first, second;
	bool go;
};

static void attach_first(void *arg)
{
	struct rivals *rivals = arg;

	rivals->first =
		mpl_kvm_attach_space(rivals->kvm, rivals->as, MPL_KVM_PIO);
}

static void attach_second(void *arg)
{
	struct rivals *rivals = arg;

	rivals->second =
		mpl_kvm_attach_space(rivals->kvm, rivals->as, MPL_KVM_PIO);
}

static bool nothing_is_locked(void *arg)
{
	const struct rivals *rivals = arg;
	pthread_mutex_t *mutex = &rivals->kvm->plane->control;

	return !pthread_mutex_trylock(mutex) && !pthread_mutex_unlock(mutex);
}

static void one_of_two_attaches(void **state)
{
	struct topo *t = *state;
	struct fake_kvm *fake;
	struct mpl_kvm_config config;
	int space = topo_space(t, topo_container(t, "root", 0x100000));
	struct rivals rivals = { .as = t->space[space].as };
	struct step step = { attach_first, nothing_is_locked, attach_second,
			     &rivals };
	unsigned int n = 0;
	bool stepped;

	if (!step_can())
		skip();
	fake = fake_new();
	config = fake_config(fake);
	do {
		assert_int_equal(mpl_kvm_attach(rivals.as, FAKE_VM_FD, &config,
						&rivals.kvm),
				 0);
		rivals.second = -EEXIST;
		stepped = step_run(&step, n++);
		assert_int_equal(rivals.first, stepped ? -EEXIST : 0);
		assert_int_equal(rivals.second, stepped ? 0 : -EEXIST);
		assert_int_equal(mpl_kvm_detach(rivals.kvm), 0);
	} while (stepped);
	assert_in_range(n, 30, 10000);
	fake_free(fake);
}

static void *attach_afterwards(void *arg)
{
	struct rivals *rivals = arg;

	while (!__atomic_load_n(&rivals->go, __ATOMIC_RELAXED))
		sched_yield();
	attach_second(rivals);
	return NULL;
}

/* For tsan: no order but the library's is between the two. */
static void who_comes_second_is_refused(void **state)
{
	struct topo *t = *state;
	struct fake_kvm *fake = fake_new();
	struct mpl_kvm_config config = fake_config(fake);
	int space = topo_space(t, topo_container(t, "root", 0x100000));
	struct rivals rivals = { .as = t->space[space].as };
	pthread_t thread;

	assert_int_equal(
		mpl_kvm_attach(rivals.as, FAKE_VM_FD, &config, &rivals.kvm), 0);
	assert_int_equal(
		pthread_create(&thread, NULL, attach_afterwards, &rivals), 0);
	attach_first(&rivals);
	__atomic_store_n(&rivals.go, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(rivals.first, 0);
	assert_int_equal(rivals.second, -EEXIST);
	assert_int_equal(mpl_kvm_detach(rivals.kvm), 0);
	fake_free(fake);
}

static int attach_in_prepare(void *opaque, const struct mpl_listener_plan *plan)
{
	struct rivals *rivals = opaque;

	(void)plan;
	if (rivals->go)
		attach_first(rivals);
	return 0;
}

/* Refused, and what the commit has planned for the VM is done. */
static void a_listener_attaches_nothing(void **state)
{
	static const struct mpl_listener_ops ops = {
		.prepare = attach_in_prepare,
	};
	struct topo *t = *state;
	struct fake_kvm *fake = fake_new();
	struct mpl_kvm_config config = fake_config(fake);
	int root = topo_container(t, "root", 0x100000);
	int ram = topo_ram(t, "ram", 0x4000);
	int space = topo_space(t, root);
	struct rivals rivals = { .as = t->space[space].as };
	struct mpl_listener *listener;

	assert_int_equal(
		mpl_kvm_attach(rivals.as, FAKE_VM_FD, &config, &rivals.kvm), 0);
	assert_int_equal(
		mpl_listener_register(rivals.as, &ops, &rivals, &listener), 0);
	rivals.go = true;
	topo_begin(t);
	topo_add(t, root, 0, ram, 0);
	topo_commit_ok(t);
	assert_int_equal(rivals.first, -EDEADLK);
	assert_int_equal(fake->count[0], 1);
	rivals.go = false;
	attach_first(&rivals);
	assert_int_equal(rivals.first, 0);
	assert_int_equal(mpl_listener_unregister(listener), 0);
	assert_int_equal(mpl_kvm_detach(rivals.kvm), 0);
	fake_free(fake);
}

static void spaces_that_are_attached_stay(void **state)
{
	(void)state;
	struct fake_kvm *fake = fake_new();
	struct mpl_kvm_config config = fake_config(fake);
	struct mpl_address_space *memory, *ports;
	struct mpl_plane *plane;
	struct mpl_region *ram;
	struct mpl_kvm *kvm;

	assert_int_equal(mpl_plane_new(&plane, &topo_config), 0);
	assert_int_equal(mpl_region_new_ram(plane, "ram", 0x4000, NULL, &ram),
			 0);
	assert_int_equal(mpl_address_space_new(plane, "memory", ram, &memory),
			 0);
	assert_int_equal(mpl_address_space_new(plane, "ports", ram, &ports), 0);
	assert_int_equal(mpl_kvm_attach(memory, FAKE_VM_FD, &config, &kvm), 0);
	assert_int_equal(mpl_kvm_attach_space(kvm, memory, MPL_KVM_SMM), 0);
	assert_int_equal(mpl_kvm_attach_space(kvm, ports, MPL_KVM_PIO), 0);
	assert_int_equal(mpl_address_space_free(memory), -EBUSY);
	assert_int_equal(mpl_address_space_free(ports), -EBUSY);
	assert_int_equal(mpl_plane_free(plane), -EBUSY);
	assert_int_equal(fake->count[0], 1);
	assert_int_equal(mpl_kvm_detach(kvm), 0);
	/* Nor does one stay that could not be attached. */
	fake_arm(fake, 1, 0);
	assert_int_equal(mpl_kvm_attach(memory, FAKE_VM_FD, &config, &kvm),
			 -EIO);
	assert_int_equal(mpl_address_space_free(memory), 0);
	assert_int_equal(mpl_address_space_free(ports), 0);
	mpl_region_unref(ram);
	assert_int_equal(mpl_plane_free(plane), 0);
	assert_int_equal(fake->count[0], 0);
	fake_free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(capabilities_come_from_the_vm),
		TOPO_TEST(spaces_are_attached_once),
		TOPO_TEST(errors_are_asked_for_while_a_space_is_attached),
		TOPO_TEST(attaching_fails_beside_commits),
		TOPO_TEST(who_comes_second_is_refused),
		TOPO_TEST(a_listener_attaches_nothing),
		TOPO_TEST(spaces_that_are_attached_stay),
	};
	const struct CMUnitTest stepped[] = {
		TOPO_TEST(one_of_two_attaches),
	};
	int failures = topo_run(tests);

	/* Without a control thread, whose locking would be none of the call's. */
	topo_config = (struct mpl_plane_config){ .verify = true };
	if (STEP_TESTED)
		failures += cmocka_run_group_tests(stepped, NULL, NULL);
	return failures;
}
