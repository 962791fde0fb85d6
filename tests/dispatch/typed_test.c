/* SPDX-License-Identifier: BSD-3-Clause */
/* Words: typed accesses, their atomicity, and queue indexes. */
#include <memplane/access.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/bed.h"

static const struct mpl_attrs none;
static uint8_t host[0x10000] __attribute__((aligned(4096)));

static void fill_host(void)
{
	for (size_t i = 0; i < sizeof(host); i++)
		host[i] = (uint8_t)(i * 31 + (i >> 8) + 1);
}

static int setup(void **state)
{
	fill_host();
	return bed_setup(state);
}

static uint64_t model_load(const uint8_t *at, unsigned int size, bool big)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < size; i++)
		value |= (uint64_t)at[i] << 8 * (big ? size - 1 - i : i);
	return value;
}

static void test_typed(void **state)
{
	struct bed *bed = *state;

	bed_memory(bed, 0, 0x1000, 0x100f, host, BED_RAM);
	bed_memory(bed, 0, 0x1010, 0x101f, host + 0x10, BED_RAM);
	for (unsigned int i = 0; i < 3 * 4 * 24; i++) {
		enum mpl_endian endian = (enum mpl_endian)(i % 3);
		unsigned int size = 1u << (i / 3 % 4);
		uint64_t at = i / 12, value, write = 0;
		bool big = endian == MPL_BIG_ENDIAN ||
			   (endian == MPL_NATIVE_ENDIAN &&
			    __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);

		assert_int_equal(mpl_load(bed->reader, &bed->as[0],
					  0x1000 + at, none, size, endian,
					  &value), MPL_OK);
		assert_true(value == model_load(host + at, size, big));
		write = UINT64_C(0xfedcba9876543210) + i;
		assert_int_equal(mpl_store(bed->reader, &bed->as[0],
					   0x1000 + at, none, size, endian,
					   write), MPL_OK);
		if (size < 8)
			write &= (UINT64_C(1) << 8 * size) - 1;
		assert_true(model_load(host + at, size, big) == write);
	}
}

static void test_typed_errors(void **state)
{
	static const unsigned int bad[] = { 0, 3, 5, 6, 7, 9, 16, 1u << 31 };
	struct bed *bed = *state;
	uint64_t value;

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(mpl_load(bed->reader, &bed->as[0], 0x1000,
					  none, bad[i], MPL_BIG_ENDIAN,
					  &value), MPL_ACCESS_ERROR);
		assert_int_equal(mpl_store(bed->reader, &bed->as[0], 0x1000,
					   none, bad[i], MPL_BIG_ENDIAN, 1),
				 MPL_ACCESS_ERROR);
	}
	/* Nothing there: the pattern, in any byte order. */
	assert_int_equal(mpl_load(bed->reader, &bed->as[0], 0x8000, none, 4,
				  MPL_BIG_ENDIAN, &value), MPL_DECODE_ERROR);
	assert_int_equal(value, 0xffffffff);
	assert_int_equal(mpl_load(bed->reader, &bed->as[0], 0x1ffe, none, 4,
				  MPL_LITTLE_ENDIAN, &value),
			 MPL_DECODE_ERROR);
	assert_int_equal(value, 0xffff0000 | model_load(host + 0xffe, 2,
							false));
}

/*
 * Single-copy atomicity: one thread stores words of equal bytes, the other
 * never sees two halves.
 */
struct tearing {
	struct bed *bed;
	unsigned int size;
	bool whole; /* by mpl_write() instead of mpl_store() */
	bool done;
};

static void *store_words(void *arg)
{
	struct tearing *tearing = arg;
	struct bed *bed = tearing->bed;
	struct mpl_reader_state *reader;

	if (mpl_reader_add(&bed->dp, false, &reader))
		return arg;
	mpl_reader_online(&reader->pub);
	for (int i = 0; i < 40000; i++) {
		uint64_t word = i % 2 ? UINT64_MAX : 0;

		if (tearing->whole)
			mpl_write(&reader->pub, &bed->as[0], 0x1008, none,
				  &word, tearing->size);
		else
			mpl_store(&reader->pub, &bed->as[0], 0x1008, none,
				  tearing->size, MPL_BIG_ENDIAN, word);
	}
	__atomic_store_n(&tearing->done, true, __ATOMIC_RELAXED);
	mpl_reader_unregister(&reader->pub);
	return NULL;
}

static void test_never_torn(void **state)
{
	struct bed *bed = *state;

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	for (unsigned int i = 0; i < 6; i++) {
		struct tearing tearing = {
			.bed = bed, .size = 2u << i % 3, .whole = i >= 3 };
		uint64_t mask = tearing.size == 8 ? UINT64_MAX :
				(UINT64_C(1) << 8 * tearing.size) - 1;
		pthread_t thread;
		void *failed;
		unsigned int torn = 0;

		memset(host, 0, 64);
		assert_int_equal(pthread_create(&thread, NULL, store_words,
						&tearing), 0);
		while (!__atomic_load_n(&tearing.done, __ATOMIC_RELAXED)) {
			uint64_t word = 0;

			if (tearing.whole)
				mpl_read(bed->reader, &bed->as[0], 0x1008,
					 none, &word, tearing.size);
			else
				mpl_load(bed->reader, &bed->as[0], 0x1008,
					 none, tearing.size,
					 MPL_LITTLE_ENDIAN, &word);
			torn += word != 0 && word != mask;
		}
		pthread_join(thread, &failed);
		assert_null(failed);
		assert_int_equal(torn, 0);
	}
}

static void test_queue_words(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader *rd = bed->reader;
	const struct mpl_address_space *as = &bed->as[0];

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	for (unsigned int size = 2; size <= 8; size *= 2) {
		uint64_t mask = size == 8 ? UINT64_MAX :
				(UINT64_C(1) << 8 * size) - 1;
		uint64_t value, word = UINT64_C(0x1122334455667788) & mask;
		bool swapped, big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
		uint8_t after = host[0x20 + size];

		assert_int_equal(mpl_store_release(rd, as, 0x1020, size, word),
				 MPL_OK);
		assert_true(model_load(host + 0x20, size, big) == word);
		assert_int_equal(host[0x20 + size], after);
		assert_int_equal(mpl_load_acquire(rd, as, 0x1020, size,
						  &value), MPL_OK);
		assert_true(value == word);

		value = word;
		assert_int_equal(mpl_compare_exchange(rd, as, 0x1020, size,
						      &value, word + 1,
						      &swapped), MPL_OK);
		assert_true(swapped);
		assert_true(value == word);
		assert_int_equal(mpl_compare_exchange(rd, as, 0x1020, size,
						      &value, 0, &swapped),
				 MPL_OK);
		assert_false(swapped);
		assert_true(value == word + 1);
		assert_true(model_load(host + 0x20, size, big) == word + 1);
		assert_int_equal(host[0x20 + size], after);
	}
}

/* All three refuse; *swapped is false and nothing is written. */
static void words_refused(struct bed *bed, uint64_t gpa, unsigned int size,
			  mpl_result_t result, mpl_result_t load)
{
	struct mpl_reader *rd = bed->reader;
	const struct mpl_address_space *as = &bed->as[0];
	uint64_t value = 7;
	bool swapped = true;

	assert_int_equal(mpl_store_release(rd, as, gpa, size, 0), result);
	assert_int_equal(mpl_compare_exchange(rd, as, gpa, size, &value, 0,
					      &swapped), result);
	assert_false(swapped);
	assert_int_equal(value, 7);
	assert_int_equal(mpl_load_acquire(rd, as, gpa, size, &value), load);
}

static void test_queue_word_errors(void **state)
{
	static const unsigned int bad[] = { 0, 1, 3, 5, 6, 7, 16 };
	struct bed *bed = *state;
	struct mpl_reader_stats stats;
	uint8_t device[16] = { 0 }, before[0x1000];

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	bed_io(bed, 0, 0x3000, 0x300f, bed_device(bed, &bed_bytes_ops, device));
	memcpy(before, host, sizeof(before));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		words_refused(bed, 0x1000, bad[i], MPL_ACCESS_ERROR,
			      MPL_ACCESS_ERROR);
	for (unsigned int size = 2; size <= 8; size *= 2) {
		for (uint64_t at = 1; at < size; at++)
			words_refused(bed, 0x1000 + at, size, MPL_ACCESS_ERROR,
				      MPL_ACCESS_ERROR);
		words_refused(bed, 0x3000, size, MPL_ACCESS_ERROR,
			      MPL_ACCESS_ERROR);
		words_refused(bed, 0x8000, size, MPL_DECODE_ERROR,
			      MPL_DECODE_ERROR);
	}
	assert_memory_equal(host, before, sizeof(before));
	mpl_reader_stats(bed->reader, &stats);
	assert_int_equal(stats.decode_errors, 3 * 3);
	assert_int_equal(stats.access_errors, (7 + 1 + 3 + 7 + 3) * 3);
}

/* A word that only starts in memory; a word of ROM. */
static void test_queue_word_edges(void **state)
{
	struct bed *bed = *state;
	uint64_t value = 0;
	bool swapped;

	bed_memory(bed, 0, 0x1000, 0x1003, host, BED_RAM);
	bed_memory(bed, 0, 0x1004, 0x1fff, host + 4, BED_RAM);
	bed_memory(bed, 0, 0x2000, 0x2fff, host + 0x2000, BED_ROM);
	words_refused(bed, 0x1000, 8, MPL_ACCESS_ERROR, MPL_ACCESS_ERROR);
	assert_int_equal(mpl_store_release(bed->reader, &bed->as[0], 0x2000, 4,
					   0), MPL_ACCESS_ERROR);
	assert_int_equal(mpl_compare_exchange(bed->reader, &bed->as[0], 0x2000,
					      4, &value, 0, &swapped),
			 MPL_ACCESS_ERROR);
}

/* Message passing: what was stored before the release is seen after it. */
enum { MESSAGES = 20000 };

static void *send_messages(void *arg)
{
	struct bed *bed = arg;
	struct mpl_reader_state *reader;

	if (mpl_reader_add(&bed->dp, false, &reader))
		return arg;
	mpl_reader_online(&reader->pub);
	for (uint64_t i = 1; i <= MESSAGES; i++) {
		mpl_store(&reader->pub, &bed->as[0], 0x1100, none, 8,
			  MPL_NATIVE_ENDIAN, i * 3);
		mpl_store_release(&reader->pub, &bed->as[0], 0x1040, 4, i);
	}
	mpl_reader_unregister(&reader->pub);
	return NULL;
}

static void test_message_passing(void **state)
{
	struct bed *bed = *state;
	uint64_t index = 0, data, late = 0;
	pthread_t thread;
	void *failed;

	memset(host, 0, 0x200);
	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	assert_int_equal(pthread_create(&thread, NULL, send_messages, bed), 0);
	while (index < MESSAGES) {
		mpl_load_acquire(bed->reader, &bed->as[0], 0x1040, 4, &index);
		mpl_load(bed->reader, &bed->as[0], 0x1100, none, 8,
			 MPL_NATIVE_ENDIAN, &data);
		late += data < index * 3;
	}
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(late, 0);
}

/* Two threads count by compare-exchange: no increment is lost. */
enum { INCREMENTS = 20000 };

static void count_up(struct bed *bed, struct mpl_reader *reader)
{
	for (int i = 0; i < INCREMENTS; i++) {
		uint64_t value = 0;
		bool swapped = false;

		while (!swapped)
			mpl_compare_exchange(reader, &bed->as[0], 0x1080, 4,
					     &value, value + 1, &swapped);
	}
}

static void *count_up_too(void *arg)
{
	struct bed *bed = arg;
	struct mpl_reader_state *reader;

	if (mpl_reader_add(&bed->dp, false, &reader))
		return arg;
	mpl_reader_online(&reader->pub);
	count_up(bed, &reader->pub);
	mpl_reader_unregister(&reader->pub);
	return NULL;
}

static void test_compare_exchange_counts(void **state)
{
	struct bed *bed = *state;
	pthread_t thread;
	uint64_t value;
	void *failed;

	memset(host, 0, 0x200);
	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	assert_int_equal(pthread_create(&thread, NULL, count_up_too, bed), 0);
	count_up(bed, bed->reader);
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(mpl_load_acquire(bed->reader, &bed->as[0], 0x1080, 4,
					  &value), MPL_OK);
	assert_int_equal(value, 2 * INCREMENTS);
}

#define HOST_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup, bed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOST_TEST(test_typed),
		HOST_TEST(test_typed_errors),
		HOST_TEST(test_never_torn),
		HOST_TEST(test_queue_words),
		HOST_TEST(test_queue_word_errors),
		HOST_TEST(test_queue_word_edges),
		HOST_TEST(test_message_passing),
		HOST_TEST(test_compare_exchange_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
