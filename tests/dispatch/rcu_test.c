/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/rcu.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define IDS 5

static int setup(void **state)
{
	return mpl_rcu_new(IDS, (struct mpl_rcu **)state);
}

static int teardown(void **state)
{
	mpl_rcu_free(*state);
	return 0;
}

static void test_nobody(void **state)
{
	struct mpl_rcu *rcu = *state;

	assert_true(mpl_rcu_done(rcu, mpl_rcu_start(rcu)));
	mpl_rcu_free(NULL);
}

/* Registered is not online. */
static void test_offline(void **state)
{
	struct mpl_rcu *rcu = *state;
	uint64_t token;

	for (unsigned int id = 0; id < IDS; id++)
		assert_int_equal(mpl_rcu_register(rcu, id), 0);
	token = mpl_rcu_start(rcu);
	assert_true(mpl_rcu_done(rcu, token));
	for (unsigned int id = 0; id < IDS; id++) {
		assert_false(mpl_rcu_holds(rcu, id, token));
		mpl_rcu_unregister(rcu, id);
	}
}

/* Each one alone holds it, until quiescent or offline. */
static void test_online(void **state)
{
	struct mpl_rcu *rcu = *state;

	for (unsigned int id = 0; id < IDS; id++) {
		assert_int_equal(mpl_rcu_register(rcu, id), 0);
		for (int offline = 0; offline < 2; offline++) {
			uint64_t token;

			mpl_rcu_online(rcu, id);
			token = mpl_rcu_start(rcu);
			for (int i = 0; i < 3; i++)
				assert_false(mpl_rcu_done(rcu, token));
			for (unsigned int other = 0; other < IDS; other++)
				assert_int_equal(
					mpl_rcu_holds(rcu, other, token),
					other == id);
			if (offline)
				mpl_rcu_offline(rcu, id);
			else
				mpl_rcu_quiescent(rcu, id);
			assert_true(mpl_rcu_done(rcu, token));
			assert_false(mpl_rcu_holds(rcu, id, token));
		}
		mpl_rcu_unregister(rcu, id);
	}
}

static void test_all_of_them(void **state)
{
	struct mpl_rcu *rcu = *state;
	uint64_t token;

	for (unsigned int id = 0; id < IDS; id++) {
		assert_int_equal(mpl_rcu_register(rcu, id), 0);
		mpl_rcu_online(rcu, id);
	}
	token = mpl_rcu_start(rcu);
	for (unsigned int id = 0; id < IDS; id++) {
		assert_false(mpl_rcu_done(rcu, token));
		mpl_rcu_quiescent(rcu, id);
	}
	assert_true(mpl_rcu_done(rcu, token));
	for (unsigned int id = 0; id < IDS; id++) {
		mpl_rcu_offline(rcu, id);
		mpl_rcu_unregister(rcu, id);
	}
}

/* Who came later isn't waited for; a quiescent state counts for all before. */
static void test_tokens(void **state)
{
	struct mpl_rcu *rcu = *state;
	uint64_t first, second;

	assert_int_equal(mpl_rcu_register(rcu, 0), 0);
	first = mpl_rcu_start(rcu);
	mpl_rcu_online(rcu, 0);
	assert_true(mpl_rcu_done(rcu, first));
	first = mpl_rcu_start(rcu);
	mpl_rcu_quiescent(rcu, 0);
	second = mpl_rcu_start(rcu);
	assert_true(second > first);
	assert_true(mpl_rcu_done(rcu, first));
	assert_false(mpl_rcu_done(rcu, second));
	assert_false(mpl_rcu_holds(rcu, 0, first));
	assert_true(mpl_rcu_holds(rcu, 0, second));
	mpl_rcu_quiescent(rcu, 0);
	assert_true(mpl_rcu_done(rcu, second));
	assert_true(mpl_rcu_done(rcu, first));
	mpl_rcu_offline(rcu, 0);
	mpl_rcu_unregister(rcu, 0);
}

static void test_ids_again(void **state)
{
	struct mpl_rcu *rcu = *state;

	for (int i = 0; i < 10; i++) {
		uint64_t token;

		assert_int_equal(mpl_rcu_register(rcu, 3), 0);
		token = mpl_rcu_start(rcu);
		assert_true(mpl_rcu_done(rcu, token));
		mpl_rcu_online(rcu, 3);
		token = mpl_rcu_start(rcu);
		assert_false(mpl_rcu_done(rcu, token));
		mpl_rcu_offline(rcu, 3);
		mpl_rcu_unregister(rcu, 3);
		assert_true(mpl_rcu_done(rcu, token));
	}
}

/* Ids across a word of DPDK's bitmap. */
static void test_many_ids(void **state)
{
	enum { MANY = 200 };
	struct mpl_rcu *rcu;
	uint64_t token;

	(void)state;
	assert_int_equal(mpl_rcu_new(MANY, &rcu), 0);
	for (unsigned int id = 0; id < MANY; id++) {
		assert_int_equal(mpl_rcu_register(rcu, id), 0);
		mpl_rcu_online(rcu, id);
	}
	token = mpl_rcu_start(rcu);
	for (unsigned int id = 0; id < MANY; id++) {
		assert_false(mpl_rcu_done(rcu, token));
		mpl_rcu_offline(rcu, id);
		mpl_rcu_unregister(rcu, id);
	}
	assert_true(mpl_rcu_done(rcu, token));
	mpl_rcu_free(rcu);
}

/*
 * The orderings [B2] and [B3]: readers that keep coming online must never see
 * a value which was taken away before the grace period that is over.
 */
enum { READERS = 2, ROUNDS = 4000, DEAD = 0x5eed };

struct world {
	struct mpl_rcu *rcu;
	int *published;
	bool done;
	unsigned int wrong;
};

struct visitor {
	struct world *world;
	unsigned int id;
};

static void *visit(void *arg)
{
	struct visitor *visitor = arg;
	struct world *world = visitor->world;
	bool quiescent = false;

	mpl_rcu_online(world->rcu, visitor->id);
	while (!__atomic_load_n(&world->done, __ATOMIC_RELAXED)) {
		const int *value = __atomic_load_n(&world->published,
						   __ATOMIC_ACQUIRE);

		for (int i = 0; i < 3; i++)
			if (*(const volatile int *)value == DEAD)
				__atomic_store_n(&world->wrong, 1,
						 __ATOMIC_RELAXED);
		quiescent = !quiescent;
		if (quiescent) {
			mpl_rcu_quiescent(world->rcu, visitor->id);
		} else {
			mpl_rcu_offline(world->rcu, visitor->id);
			mpl_rcu_online(world->rcu, visitor->id);
		}
	}
	mpl_rcu_offline(world->rcu, visitor->id);
	return NULL;
}

static void test_never_too_early(void **state)
{
	struct world world = { .rcu = *state, .published = malloc(4) };
	struct visitor visitors[READERS];
	pthread_t threads[READERS];

	assert_non_null(world.published);
	*world.published = 1;
	for (unsigned int i = 0; i < READERS; i++) {
		visitors[i] = (struct visitor){ &world, i };
		assert_int_equal(mpl_rcu_register(world.rcu, i), 0);
		assert_int_equal(pthread_create(&threads[i], NULL, visit,
						&visitors[i]), 0);
	}
	for (int i = 0; i < ROUNDS; i++) {
		const struct timespec nap = { .tv_nsec = 1000 };
		int *old = world.published, *new = malloc(sizeof(*new));
		uint64_t token;

		assert_non_null(new);
		*new = 1;
		__atomic_store_n(&world.published, new, __ATOMIC_RELEASE);
		token = mpl_rcu_start(world.rcu);
		while (!mpl_rcu_done(world.rcu, token))
			nanosleep(&nap, NULL);
		*old = DEAD;
		free(old);
	}
	__atomic_store_n(&world.done, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < READERS; i++) {
		pthread_join(threads[i], NULL);
		mpl_rcu_unregister(world.rcu, i);
	}
	free(world.published);
	assert_int_equal(world.wrong, 0);
}

#define RCU_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RCU_TEST(test_nobody),
		RCU_TEST(test_offline),
		RCU_TEST(test_online),
		RCU_TEST(test_all_of_them),
		RCU_TEST(test_tokens),
		RCU_TEST(test_ids_again),
		cmocka_unit_test(test_many_ids),
		RCU_TEST(test_never_too_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
