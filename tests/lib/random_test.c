/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Differential test: random machines, random transactions; after each commit
 * views, ioeventfds, look-ups, sharing and two listeners' mirrors are what
 * the naive oracle says.  In between transactions fail, because they are bad
 * or because a listener refuses, and change nothing.
 *
 * MPL_SEED begins elsewhere, MPL_ROUNDS is the number of transactions.  A
 * failure names the seed of its machine: with that seed it comes at once.
 */
#include "tests/support/random.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define REGIONS          48
#define ROUNDS_A_MACHINE 60

/* Sanitised programs are slow; each test program should stay below 10 s. */
#if defined(__SANITIZE_THREAD__)
#define SLOWDOWN 5
#elif defined(__SANITIZE_ADDRESS__)
#define SLOWDOWN 2
#else
#define SLOWDOWN 1
#endif

static void machine(uint64_t seed, int rounds, const int *fds,
		    const struct mpl_plane_config *config)
{
	struct random r = { .word = seed, .regions = REGIONS };

	for (int i = 0; i < RANDOM_FDS; i++)
		r.fds[i] = fds[i];
	random_build(&r, config);
	snprintf(r.t->note, sizeof(r.t->note), "MPL_SEED=%llu",
		 (unsigned long long)seed);
	random_check(&r, true);
	for (int round = 0; round < rounds; round++) {
		snprintf(r.t->note, sizeof(r.t->note), "MPL_SEED=%llu, round %d",
			 (unsigned long long)seed, round);
		if (!random_round(&r, round % 8 == 0 ||
					      round == ROUNDS_A_MACHINE - 1))
			break;
	}
	random_end(&r);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : otherwise;
}

static void run(const struct mpl_plane_config *config, uint64_t rounds)
{
	uint64_t seed = from_environment("MPL_SEED", 1);
	int fds[RANDOM_FDS];

	rounds = from_environment("MPL_ROUNDS", rounds / SLOWDOWN);
	for (int i = 0; i < RANDOM_FDS; i++) {
		fds[i] = eventfd(0, EFD_NONBLOCK);
		assert_true(fds[i] >= 0);
	}
	while (rounds) {
		uint64_t now =
			rounds < ROUNDS_A_MACHINE ? rounds : ROUNDS_A_MACHINE;

		machine(seed++, (int)now, fds, config);
		rounds -= now;
	}
	for (int i = 0; i < RANDOM_FDS; i++)
		assert_int_equal(close(fds[i]), 0);
}

static void test_incremental(void **state)
{
	(void)state;
	run(&(struct mpl_plane_config){ .verify = true }, 2500);
	run(&(struct mpl_plane_config){ .verify = true, .plain_nodes = 1 },
	    2500);
}

static void test_full_rebuild(void **state)
{
	(void)state;
	run(&(struct mpl_plane_config){ .full_rebuild = true }, 2000);
}

static void test_control_thread(void **state)
{
	(void)state;
	run(&(struct mpl_plane_config){ .verify = true,
					.control_thread = true },
	    1000);
}

static void test_trace_rules(void **state)
{
	(void)state;
	run(&(struct mpl_plane_config){ .verify = true, .trace_rules = true },
	    1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_incremental),
		cmocka_unit_test(test_full_rebuild),
		cmocka_unit_test(test_control_thread),
		cmocka_unit_test(test_trace_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
