/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/memory.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define HOST_IS_BIG (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

static const uint64_t pattern = UINT64_C(0x8877665544332211);

static uint64_t mask(unsigned int size)
{
	return size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;
}

static void test_is_word(void **state)
{
	(void)state;
	for (size_t size = 0; size < 20; size++)
		assert_int_equal(mpl_is_word(size),
				 size == 1 || size == 2 || size == 4 ||
					 size == 8);
	assert_false(mpl_is_word(SIZE_MAX));
	assert_false(mpl_is_word((size_t)1 << 32));
}

static void test_is_aligned(void **state)
{
	(void)state;
	for (uintptr_t at = 0; at < 32; at++)
		for (size_t size = 1; size <= 8; size *= 2)
			assert_int_equal(mpl_is_aligned((void *)at, size),
					 at % size == 0);
}

/* Every size at every alignment; the bytes around it stay. */
static void test_words(void **state)
{
	(void)state;
	for (unsigned int size = 1; size <= 8; size *= 2)
		for (size_t at = 0; at < 16; at++) {
			uint8_t memory[32] __attribute__((aligned(16)));

			memset(memory, 0xee, sizeof(memory));
			mpl_memory_store(memory + at, size, pattern);
			assert_true(mpl_memory_load(memory + at, size) ==
				    (pattern & mask(size)));
			for (size_t i = 0; i < sizeof(memory); i++) {
				size_t byte = i - at;

				if (byte >= size) {
					assert_int_equal(memory[i], 0xee);
					continue;
				}
				if (HOST_IS_BIG)
					byte = size - 1 - byte;
				assert_int_equal(memory[i],
						 pattern >> 8 * byte & 0xff);
			}
		}
}

static void test_copy(void **state)
{
	uint8_t from[64] __attribute__((aligned(16)));
	uint8_t to[64] __attribute__((aligned(16)));

	(void)state;
	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 7 + 1);
	for (size_t len = 0; len < 24; len++)
		for (size_t a = 0; a < 9; a++)
			for (size_t b = 0; b < 9; b++) {
				memset(to, 0, sizeof(to));
				mpl_memory_copy(to + a + 8, from + b, len);
				for (size_t i = 0; i < sizeof(to); i++)
					assert_int_equal(to[i],
						i - a - 8 < len ?
						from[b + i - a - 8] : 0);
			}
}

static void test_byte_order(void **state)
{
	(void)state;
	for (unsigned int size = 1; size <= 8; size *= 2) {
		uint64_t word = pattern & mask(size), swapped = 0;

		for (unsigned int i = 0; i < size; i++)
			swapped |= (word >> 8 * i & 0xff)
				   << 8 * (size - 1 - i);
		assert_true(mpl_to_endian(word, size, HOST_IS_BIG) == word);
		assert_true(mpl_to_endian(word, size, !HOST_IS_BIG) ==
			    swapped);
		assert_true(mpl_to_endian(swapped, size, !HOST_IS_BIG) ==
			    word);
	}
	assert_int_equal(mpl_is_big_endian(MPL_NATIVE_ENDIAN), HOST_IS_BIG);
	assert_true(mpl_is_big_endian(MPL_BIG_ENDIAN));
	assert_false(mpl_is_big_endian(MPL_LITTLE_ENDIAN));
}

/* Aligned words never tear, in any size. */
struct shared {
	uint64_t word;
	unsigned int size;
	bool done;
};

static void *store_alternately(void *arg)
{
	struct shared *shared = arg;

	for (int i = 0; i < 100000; i++)
		mpl_memory_store(&shared->word, shared->size,
				 i % 2 ? UINT64_MAX : 0);
	__atomic_store_n(&shared->done, true, __ATOMIC_RELAXED);
	return NULL;
}

static void test_never_torn(void **state)
{
	(void)state;
	for (unsigned int size = 2; size <= 8; size *= 2) {
		struct shared shared = { .size = size };
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL,
						store_alternately, &shared),
				 0);
		while (!__atomic_load_n(&shared.done, __ATOMIC_RELAXED)) {
			uint64_t word = mpl_memory_load(&shared.word, size);

			assert_true(word == 0 || word == mask(size));
		}
		pthread_join(thread, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_is_word),
		cmocka_unit_test(test_is_aligned),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_byte_order),
		cmocka_unit_test(test_never_torn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
