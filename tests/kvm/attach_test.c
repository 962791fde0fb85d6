/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/fake_kvm.h"
#include "tests/support/topo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "kvm/kvm.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(capabilities_come_from_the_vm),
		TOPO_TEST(spaces_are_attached_once),
	};

	return topo_run(tests);
}
