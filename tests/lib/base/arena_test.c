/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/base/arena.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <signal.h>

#include <cmocka.h>

static void test_item_zero(void **state)
{
	struct mpl_arena arena;
	static const char zeros[256];
	uint32_t index;

	(void)state;
	assert_int_equal(mpl_arena_init(&arena, sizeof(zeros), 1000), 0);
	assert_memory_equal(mpl_arena_at(&arena, 0), zeros, sizeof(zeros));
	for (int i = 0; i < 999; i++) {
		assert_int_equal(mpl_arena_alloc(&arena, &index), 0);
		assert_int_not_equal(index, 0);
		memset(mpl_arena_at(&arena, index), 0xa5, sizeof(zeros));
	}
	assert_memory_equal(mpl_arena_at(&arena, 0), zeros, sizeof(zeros));
	mpl_arena_destroy(&arena);
}

static void test_full(void **state)
{
	enum { MAX = 5 }; /* items 1 to 4 */
	struct mpl_arena arena;
	uint32_t index[MAX], more = 77;

	(void)state;
	assert_int_equal(mpl_arena_init(&arena, 4, MAX), 0);
	for (int i = 1; i < MAX; i++) {
		assert_int_equal(mpl_arena_alloc(&arena, &index[i]), 0);
		assert_in_range(index[i], 1, MAX - 1);
		for (int j = 1; j < i; j++)
			assert_int_not_equal(index[i], index[j]);
	}
	assert_int_equal(arena.live, MAX - 1);
	assert_int_equal(mpl_arena_alloc(&arena, &more), -ENOSPC);
	assert_int_equal(arena.live, MAX - 1);

	/* One freed is one to be had, and no more. */
	mpl_arena_free(&arena, index[2]);
	assert_int_equal(arena.live, MAX - 2);
	assert_int_equal(mpl_arena_alloc(&arena, &more), 0);
	assert_int_equal(more, index[2]);
	assert_int_equal(mpl_arena_alloc(&arena, &more), -ENOSPC);
	mpl_arena_destroy(&arena);
}

static void test_item_zero_when_full(void **state)
{
	struct mpl_arena arena;
	uint32_t index;

	(void)state;
	/* The least that there can be: one item beside item 0. */
	assert_int_equal(mpl_arena_init(&arena, 8, 2), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(mpl_arena_alloc(&arena, &index), 0);
		assert_int_equal(index, 1);
		assert_int_equal(mpl_arena_alloc(&arena, &index), -ENOSPC);
		mpl_arena_free(&arena, 1);
	}
	assert_int_equal(arena.live, 0);
	mpl_arena_destroy(&arena);
}

static void fill(const struct mpl_arena *arena, uint32_t index)
{
	uint32_t *item = mpl_arena_at(arena, index);

	for (size_t i = 0; i < arena->item_size / 4; i++)
		item[i] = index * 2654435761u + (uint32_t)i;
}

static bool is_filled(const struct mpl_arena *arena, uint32_t index)
{
	const uint32_t *item = mpl_arena_at(arena, index);

	for (size_t i = 0; i < arena->item_size / 4; i++)
		if (item[i] != index * 2654435761u + (uint32_t)i)
			return false;
	return true;
}

/* Past the small steps and several large ones: nothing moves, all is there. */
static void test_growth(void **state)
{
	enum { ITEMS = 40000 }; /* 10 MiB */
	struct mpl_arena arena;
	uint32_t index;
	char *base;

	(void)state;
	assert_int_equal(mpl_arena_init(&arena, 256, 1u << 26), 0);
	base = arena.base;
	assert_int_equal((uintptr_t)base % 64, 0);
	for (uint32_t i = 1; i <= ITEMS; i++) {
		assert_int_equal(mpl_arena_alloc(&arena, &index), 0);
		fill(&arena, index);
	}
	assert_ptr_equal(arena.base, base);
	assert_int_equal(arena.live, ITEMS);
	for (uint32_t i = 1; i <= ITEMS; i++)
		assert_true(is_filled(&arena, i));
	mpl_arena_destroy(&arena);
}

/* Sizes that divide neither a page nor a step. */
static void test_odd_sizes(void **state)
{
	static const size_t sizes[] = { 4, 12, 20, 100, 4092, 4100, 100000 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct mpl_arena arena;
		uint32_t index, max = 100;

		assert_int_equal(mpl_arena_init(&arena, sizes[i], max), 0);
		for (uint32_t j = 1; j < max; j++) {
			assert_int_equal(mpl_arena_alloc(&arena, &index), 0);
			fill(&arena, index);
		}
		assert_int_equal(mpl_arena_alloc(&arena, &index), -ENOSPC);
		for (uint32_t j = 1; j < max; j++)
			assert_true(is_filled(&arena, j));
		mpl_arena_destroy(&arena);
	}
}

/* Any order of alloc and free: no index is handed out twice. */
/* Does writing to `at` end a process? */
static bool write_faults(void *at)
{
	pid_t child = fork();
	int status;

	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)at = 1;
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) || WEXITSTATUS(status);
}

static void test_twice(void **state)
{
	struct mpl_arena arena;
	uint32_t index;

	(void)state;
	assert_int_equal(mpl_arena_init_twice(&arena, 64, 1 << 20), 0);
	assert_ptr_not_equal(arena.view, arena.base);
	for (int i = 0; i < 100000; i++) {
		char *item;

		assert_int_equal(mpl_arena_alloc(&arena, &index), 0);
		item = mpl_arena_at(&arena, index);
		memset(item, i & 0xff, 64);
		assert_memory_equal(arena.view + (size_t)index * 64, item, 64);
	}
	assert_true(write_faults((char *)arena.view + (size_t)index * 64));
	assert_false(write_faults(mpl_arena_at(&arena, index)));
	mpl_arena_destroy(&arena);
}

static void test_churn(void **state)
{
	enum { MAX = 257 };
	struct mpl_arena arena;
	bool used[MAX] = { false };
	uint32_t live = 0;

	(void)state;
	srandom(1);
	assert_int_equal(mpl_arena_init(&arena, 16, MAX), 0);
	for (int step = 0; step < 20000; step++) {
		uint32_t index = 1 + (uint32_t)random() % (MAX - 1);

		if (random() % 2 && used[index]) {
			assert_true(is_filled(&arena, index));
			mpl_arena_free(&arena, index);
			used[index] = false;
			live--;
		} else {
			int err = mpl_arena_alloc(&arena, &index);

			assert_int_equal(err, live == MAX - 1 ? -ENOSPC : 0);
			if (err)
				continue;
			assert_in_range(index, 1, MAX - 1);
			assert_false(used[index]);
			used[index] = true;
			fill(&arena, index);
			live++;
		}
		assert_int_equal(arena.live, live);
	}
	for (uint32_t i = 1; i < MAX; i++)
		if (used[i])
			assert_true(is_filled(&arena, i));
	mpl_arena_destroy(&arena);
}

static void test_no_address_space(void **state)
{
	struct mpl_arena arena;

	(void)state;
	/* 8 EiB: more than a process has. */
	assert_int_equal(mpl_arena_init(&arena, (size_t)1 << 31, UINT32_MAX),
			 -ENOMEM);
	/* Destroying what did not come about does nothing. */
	mpl_arena_destroy(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_item_zero),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_item_zero_when_full),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_odd_sizes),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_churn),
		cmocka_unit_test(test_no_address_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
