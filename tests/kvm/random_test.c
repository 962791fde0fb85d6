/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random machines: after each commit slots and flat view agree, no call was
 * one too many, vCPUs were parked if and only if they had to be, and at no
 * moment could a guest miss memory that is there before and after.  Then the
 * same with calls that fail at random.
 */
#include "tests/support/kvm_random.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SEEDS   12
#define COMMITS 150

static void few_slots(struct kvm_world *w)
{
	w->config.slots_max = 22;
}

static void nothing_is_missing_and_nothing_in_vain(void **state)
{
	uint64_t calls = 0, flags = 0, plain = 0, clairvoyant = 0;
	uint64_t parks = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct kvm_world *w = world_new(NULL);
		struct kvm_random r;

		if (seed & 1)
			kvm_random_attach_smm(w);
		kvm_random_start(&r, w, seed * 7919);
		for (int i = 0; i < COMMITS; i++) {
			snprintf(w->t->note, sizeof(w->t->note),
				 "seed %d, commit %d", (int)seed, i);
			topo_begin(w->t);
			kvm_random_mutate(&r);
			world_commit(w, -1, -1);
			assert_true(w->sum_calls >= w->sum_clairvoyant);
		}
		flags += w->sum_flags;
		calls += w->sum_calls;
		plain += w->sum_plain;
		clairvoyant += w->sum_clairvoyant;
		parks += w->sum_parks;
		world_free(w);
	}
	print_message("%d commits: %d calls (%d to flag), %d the plain way, %d "
		      "at least whatever the slots; %d parks\n",
		      SEEDS * COMMITS, (int)calls, (int)flags, (int)plain,
		      (int)clairvoyant, (int)parks);
	assert_true(parks > 0);
}

static void few_slots_are_enough_or_refused(void **state)
{
	struct mpl_kvm_stats stats = { 0 };
	unsigned int refused = 0;
	uint64_t compactions = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct kvm_world *w = world_new(few_slots);
		struct kvm_random r;

		kvm_random_start(&r, w, seed * 104729);
		for (int i = 0; i < COMMITS; i++) {
			struct kvm_random before = r;
			int err;

			world_note(w);
			topo_begin(w->t);
			kvm_random_mutate(&r);
			err = topo_commit_any(w->t);
			assert_true(!err || err == -ENOSPC);
			world_check(w);
			assert_int_equal(mpl_kvm_error(w->kvm), 0);
			if (!err)
				continue;
			refused++;
			/* Nothing changed, but the numbers go on. */
			before.state = r.state;
			r = before;
		}
		mpl_kvm_stats(w->kvm, &stats);
		compactions += stats.compactions;
		assert_true(stats.slots <= 22);
		world_free(w);
	}
	print_message("%u refused, %d compactions\n", refused,
		      (int)compactions);
	assert_true(compactions > 0);
}

static void calls_fail_at_random(void **state)
{
	unsigned int failed = 0, degraded = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct kvm_world *w = world_new(NULL);
		struct kvm_random r;

		kvm_random_attach_smm(w);
		kvm_random_start(&r, w, seed * 15485863);
		w->fake->watch = NULL;
		for (int i = 0; i < COMMITS; i++) {
			struct kvm_random before = r;
			unsigned int first =
				(unsigned int)kvm_random_below(&r, 12);
			char why[160];
			int err;

			world_note(w);
			topo_begin(w->t);
			kvm_random_mutate(&r);
			fake_arm(w->fake, first,
				 first + (unsigned int)kvm_random_below(&r, 6));
			err = topo_commit_any(w->t);
			fake_arm(w->fake, 0, 0);
			failed += err != 0;
			assert_true(!err || err == -EIO);
			if (mpl_kvm_error(w->kvm)) {
				degraded++;
				assert_int_equal(mpl_kvm_resync(w->kvm), 0);
			}
			if (!world_agrees(w, why))
				fail_msg("seed %d, commit %d: %s", (int)seed, i,
					 why);
			assert_false(w->fake->parked);
			if (err) {
				before.state = r.state;
				r = before;
			}
		}
		world_free(w);
	}
	print_message("%u failed, %u degraded\n", failed, degraded);
	assert_true(failed > 0 && degraded > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_missing_and_nothing_in_vain),
		cmocka_unit_test(few_slots_are_enough_or_refused),
		cmocka_unit_test(calls_fail_at_random),
	};

	return cmocka_run_group_tests_name("kvm random", tests, NULL, NULL);
}
