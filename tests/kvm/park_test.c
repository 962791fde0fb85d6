/* SPDX-License-Identifier: BSD-3-Clause */
/* The gate, when it is the embedder's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "kvm/kvm.h"

struct calls {
	int parks, unparks, err;
};

static int park(void *opaque)
{
	struct calls *calls = opaque;

	calls->parks++;
	return calls->err;
}

static void unpark(void *opaque)
{
	((struct calls *)opaque)->unparks++;
}

static const struct mpl_kvm_gate_ops gate = { park, unpark };

static void nested_parks_are_one(void **state)
{
	struct calls calls = { 0 };
	struct mpl_kvm kvm = { .config = { .gate = &gate,
					   .gate_opaque = &calls } };

	(void)state;
	assert_int_equal(mpl_kvm_park(&kvm), 0);
	assert_int_equal(mpl_kvm_park(&kvm), 0);
	assert_int_equal(calls.parks, 1);
	mpl_kvm_unpark(&kvm);
	assert_int_equal(calls.unparks, 0);
	mpl_kvm_unpark(&kvm);
	assert_int_equal(calls.unparks, 1);
	assert_int_equal(kvm.stats.parks, 1);
	assert_true(kvm.stats.park_ns >= kvm.stats.park_ns_max);
}

static void a_gate_may_refuse(void **state)
{
	struct calls calls = { .err = -EBUSY };
	struct mpl_kvm kvm = { .config = { .gate = &gate,
					   .gate_opaque = &calls } };

	(void)state;
	assert_int_equal(mpl_kvm_park(&kvm), -EBUSY);
	assert_int_equal(kvm.stats.parks, 0);
	calls.err = 0;
	assert_int_equal(mpl_kvm_park(&kvm), 0);
	mpl_kvm_unpark(&kvm);
	assert_int_equal(calls.unparks, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nested_parks_are_one),
		cmocka_unit_test(a_gate_may_refuse),
	};

	return cmocka_run_group_tests_name("kvm park", tests, NULL, NULL);
}
