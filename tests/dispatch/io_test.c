/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses to a device of 64 bytes against a model that knows bytes only: all
 * valid and implemented sizes, alignments, lengths, and both byte orders.
 */
#include "dispatch/io.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <memplane/access.h>

#include <cmocka.h>

#include "tests/support/bed.h"

#define BASE UINT64_C(0x1000)
#define SIZE 64
#define FILL 0xff /* of the bed's unassigned reads */

static const struct mpl_attrs none;

/* What the callbacks saw. */
struct probe {
	struct mpl_io_ops ops;
	uint8_t memory[SIZE];
	bool touched[SIZE];
	unsigned int calls;
	unsigned int bad; /* calls that break a promise */
	uint64_t last_offset;
	struct mpl_attrs attrs;
	uint64_t refuse; /* `accepts` refuses this offset */
	unsigned int asked;
};

static bool is_big(const struct probe *probe)
{
	return probe->ops.endian == MPL_BIG_ENDIAN;
}

/* Is the call what `impl` promises?  Calls ascend. */
static void check_call(struct probe *probe, uint64_t offset, unsigned int size,
		       struct mpl_attrs attrs)
{
	const struct mpl_access_sizes *impl = &probe->ops.impl;
	unsigned int min = impl->min ? impl->min : 1;
	unsigned int max = impl->max ? impl->max : 4;

	if (size < min || size > max || (size & (size - 1)))
		probe->bad++;
	if (!impl->unaligned && offset % size)
		probe->bad++;
	if (probe->calls && offset < probe->last_offset)
		probe->bad++;
	probe->calls++;
	probe->last_offset = offset;
	probe->attrs = attrs;
	for (unsigned int i = 0; i < size; i++)
		if (offset + i < SIZE)
			probe->touched[offset + i] = true;
}

static unsigned int shift_of(const struct probe *probe, unsigned int size,
			     unsigned int i)
{
	return 8 * (is_big(probe) ? size - 1 - i : i);
}

static mpl_result_t read_probe(void *opaque, uint64_t offset,
			       unsigned int size, struct mpl_attrs attrs,
			       uint64_t *value)
{
	struct probe *probe = opaque;

	check_call(probe, offset, size, attrs);
	/* Rubbish above the value is not the library's to hand on. */
	*value = size < 8 ? UINT64_MAX << 8 * size : 0;
	for (unsigned int i = 0; i < size; i++)
		if (offset + i < SIZE)
			*value |= (uint64_t)probe->memory[offset + i]
				  << shift_of(probe, size, i);
	return MPL_OK;
}

static mpl_result_t write_probe(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t value)
{
	struct probe *probe = opaque;

	check_call(probe, offset, size, attrs);
	if (size < 8 && value >> 8 * size)
		probe->bad++;
	for (unsigned int i = 0; i < size; i++)
		if (offset + i < SIZE)
			probe->memory[offset + i] = (uint8_t)(
				value >> shift_of(probe, size, i));
	return MPL_OK;
}

static void reset(struct probe *probe)
{
	memset(probe->touched, 0, sizeof(probe->touched));
	probe->calls = 0;
	probe->bad = 0;
	for (unsigned int i = 0; i < SIZE; i++)
		probe->memory[i] = (uint8_t)(i * 3 + 1);
}

/* Bytes of the next piece at `at`, of `left`, as region.h says. */
static unsigned int model_piece(const struct mpl_access_sizes *valid,
				uint64_t at, uint64_t left)
{
	unsigned int size = valid->max ? valid->max : 8;

	while (size > left || (!valid->unaligned && at % size))
		size /= 2;
	return size;
}

/* May a call for the piece [at, at + size) touch the byte `i`? */
static bool may_touch(const struct probe *probe, uint64_t at,
		      unsigned int size, uint64_t i)
{
	const struct mpl_access_sizes *impl = &probe->ops.impl;
	unsigned int min = impl->min ? impl->min : 1;

	if (i - at < size)
		return true;
	/* Widened: to the units of impl.min that the piece lies in. */
	if (impl->unaligned)
		return size < min && i - at < min;
	return i / min >= at / min && i / min <= (at + size - 1) / min;
}

static mpl_result_t model_read(const struct probe *probe, uint64_t at,
			       uint8_t *buf, unsigned int len)
{
	mpl_result_t result = MPL_OK;
	unsigned int done = 0;

	while (done < len) {
		unsigned int size = model_piece(&probe->ops.valid, at + done,
						len - done);
		bool valid = size >= probe->ops.valid.min;

		if (!valid)
			result |= MPL_ACCESS_ERROR;
		for (unsigned int i = 0; i < size; i++, done++)
			buf[done] = valid ? probe->memory[at + done] : FILL;
	}
	return result;
}

/* Which bytes an access may write: 1 its own, 2 with zeros (widened). */
static mpl_result_t model_write(const struct probe *probe, uint64_t at,
				unsigned int len, uint8_t may[SIZE])
{
	mpl_result_t result = MPL_OK;
	unsigned int done = 0;

	memset(may, 0, SIZE);
	while (done < len) {
		unsigned int size = model_piece(&probe->ops.valid, at + done,
						len - done);

		if (size < probe->ops.valid.min) {
			result |= MPL_ACCESS_ERROR;
		} else {
			for (uint64_t i = 0; i < SIZE; i++)
				if (may_touch(probe, at + done, size, i))
					may[i] |= i - at - done < size ? 1 : 2;
		}
		done += size;
	}
	return result;
}

static void explain(const struct probe *probe, const char *what, uint64_t at,
		    unsigned int len)
{
	const struct mpl_io_ops *ops = &probe->ops;

	fail_msg("%s: [%u, %u] valid %u..%u%s impl %u..%u%s %s", what,
		 (unsigned int)at, len, ops->valid.min, ops->valid.max,
		 ops->valid.unaligned ? " unaligned" : "", ops->impl.min,
		 ops->impl.max, ops->impl.unaligned ? " unaligned" : "",
		 is_big(probe) ? "big" : "little");
}

static void try_read(struct bed *bed, struct probe *probe, uint64_t at,
		     unsigned int len)
{
	uint8_t got[32], expected[32];
	mpl_result_t result, right;

	reset(probe);
	memset(got, 0x77, sizeof(got));
	memset(expected, 0x77, sizeof(expected));
	right = model_read(probe, at, expected, len);
	result = mpl_read(bed->reader, &bed->as[0], BASE + at, none, got, len);
	if (result != right)
		explain(probe, "result of read", at, len);
	if (memcmp(got, expected, sizeof(got)))
		explain(probe, "bytes read", at, len);
	if (probe->bad)
		explain(probe, "calls to read", at, len);
}

static void try_write(struct bed *bed, struct probe *probe, uint64_t at,
		      unsigned int len)
{
	uint8_t may[SIZE], before[SIZE], buf[32];
	mpl_result_t result, right;

	reset(probe);
	memcpy(before, probe->memory, SIZE);
	for (unsigned int i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(0x80 | (i + at * 5));
	right = model_write(probe, at, len, may);
	result = mpl_write(bed->reader, &bed->as[0], BASE + at, none, buf,
			   len);
	if (result != right)
		explain(probe, "result of write", at, len);
	if (probe->bad)
		explain(probe, "calls to write", at, len);
	for (uint64_t i = 0; i < SIZE; i++) {
		uint8_t now = probe->memory[i];

		/* A later piece's widening may zero an earlier one's bytes. */
		if (may[i] & 1 && now != buf[i - at] &&
		    !(may[i] & 2 && !now))
			explain(probe, "byte not written", at, len);
		if (!(may[i] & 1) && now != before[i] && !(may[i] && !now))
			explain(probe, "neighbour overwritten", at, len);
	}
}

/* A read, too, asks for no more than impl.min makes it. */
static void try_read_touches(struct bed *bed, struct probe *probe, uint64_t at,
			     unsigned int len)
{
	uint8_t may[SIZE], buf[32];

	reset(probe);
	model_write(probe, at, len, may);
	mpl_read(bed->reader, &bed->as[0], BASE + at, none, buf, len);
	for (unsigned int i = 0; i < SIZE; i++)
		if (probe->touched[i] && !may[i])
			explain(probe, "needless neighbour read", at, len);
}

typedef void try_fn(struct bed *bed, struct probe *probe, uint64_t at,
		    unsigned int len);

static const uint8_t sizes[][2] = {
	{ 0, 0 }, { 1, 1 }, { 1, 2 }, { 1, 4 }, { 1, 8 }, { 2, 2 },
	{ 2, 4 }, { 2, 8 }, { 4, 4 }, { 4, 8 }, { 8, 8 },
};
#define PAIRS (sizeof(sizes) / sizeof(sizes[0]))

static void try_lengths(struct bed *bed, const struct mpl_io_ops *ops,
			try_fn *try)
{
	struct probe probe = { .ops = *ops };

	bed_io(bed, 0, BASE, BASE + SIZE - 1,
	       bed_device(bed, &probe.ops, &probe));
	for (uint64_t at = 16; at < 33; at++)
		for (unsigned int len = 0; len <= 17; len++)
			try(bed, &probe, at, len);
	bed_take(bed, 0, BASE);
	bed_commit(bed);
	bed_settle(bed);
}

static void try_all(struct bed *bed, try_fn *try)
{
	for (size_t i = 0; i < PAIRS * PAIRS * 8; i++) {
		const uint8_t *valid = sizes[i % PAIRS];
		const uint8_t *impl = sizes[i / PAIRS % PAIRS];
		size_t flags = i / PAIRS / PAIRS;
		const struct mpl_io_ops ops = {
			.read = read_probe,
			.write = write_probe,
			.valid = { valid[0], valid[1], flags & 1 },
			.impl = { impl[0], impl[1], flags & 2 },
			.endian = flags & 4 ? MPL_BIG_ENDIAN :
					      MPL_LITTLE_ENDIAN,
		};

		try_lengths(bed, &ops, try);
	}
}

static void test_reads(void **state)
{
	try_all(*state, try_read);
}

static void test_writes(void **state)
{
	try_all(*state, try_write);
}

static void test_reads_touch_no_neighbours(void **state)
{
	try_all(*state, try_read_touches);
}

/* Typed accesses: the number that the guest means, in every byte order. */
static void test_typed(void **state)
{
	static const enum mpl_endian endians[] = {
		MPL_LITTLE_ENDIAN, MPL_BIG_ENDIAN, MPL_NATIVE_ENDIAN };
	struct bed *bed = *state;

	for (unsigned int i = 0; i < 6; i++) {
		struct probe probe = { .ops = {
			.read = read_probe,
			.write = write_probe,
			.endian = endians[i / 3],
			.impl = { 1, 8, false },
		} };
		enum mpl_endian guest = endians[i % 3];
		bool big = guest == MPL_BIG_ENDIAN ||
			   (guest == MPL_NATIVE_ENDIAN &&
			    __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);

		bed_io(bed, 0, BASE, BASE + SIZE - 1,
		       bed_device(bed, &probe.ops, &probe));
		for (unsigned int size = 1; size <= 8; size *= 2) {
			uint64_t value = UINT64_C(0x1122334455667788), got;

			reset(&probe);
			assert_int_equal(mpl_store(bed->reader, &bed->as[0],
						   BASE + 8, none, size, guest,
						   value), MPL_OK);
			assert_int_equal(probe.calls, 1);
			for (unsigned int b = 0; b < size; b++) {
				unsigned int from = big ? size - 1 - b : b;

				assert_int_equal(probe.memory[8 + b],
						 value >> 8 * from & 0xff);
			}
			assert_int_equal(mpl_load(bed->reader, &bed->as[0],
						  BASE + 8, none, size, guest,
						  &got), MPL_OK);
			if (size < 8)
				value &= (UINT64_C(1) << 8 * size) - 1;
			assert_true(got == value);
		}
		bed_take(bed, 0, BASE);
		bed_commit(bed);
	}
}

static void test_piece(void **state)
{
	struct bed *bed = *state;
	const struct mpl_io_ops ops = { .valid = { 1, 4, false } };
	const struct mpl_io_ops any = { .valid = { 1, 4, true } };
	struct mpl_device *device = bed_device(bed, &ops, NULL);
	struct mpl_device *unaligned = bed_device(bed, &any, NULL);

	/* The example of io.h. */
	assert_int_equal(mpl_io_piece(device, 2, 8), 2);
	assert_int_equal(mpl_io_piece(device, 4, 6), 4);
	assert_int_equal(mpl_io_piece(device, 8, 2), 2);
	assert_int_equal(mpl_io_piece(unaligned, 2, 8), 4);
	assert_int_equal(mpl_io_piece(unaligned, 1, 3), 2);
	assert_int_equal(mpl_io_piece(device, 0, UINT64_MAX), 4);
	assert_int_equal(mpl_io_piece(device, 0, UINT64_C(1) << 32), 4);
	assert_int_equal(mpl_io_piece(device, UINT64_MAX, 1), 1);
}

/* The last bytes of a region of 2^64. */
static struct {
	uint64_t offset;
	unsigned int size;
	uint64_t value;
	unsigned int calls;
} top;

static mpl_result_t read_top(void *opaque, uint64_t offset, unsigned int size,
			     struct mpl_attrs attrs, uint64_t *value)
{
	(void)opaque;
	(void)attrs;
	top.calls++;
	top.offset = offset;
	top.size = size;
	*value = UINT64_C(0x8877665544332211);
	return MPL_OK;
}

static mpl_result_t write_top(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t value)
{
	(void)opaque;
	(void)attrs;
	top.calls++;
	top.offset = offset;
	top.size = size;
	top.value = value;
	return MPL_OK;
}

static void test_top(void **state)
{
	struct bed *bed = *state;
	static const struct mpl_io_ops ops = {
		.read = read_top,
		.write = write_top,
		.impl = { 8, 8, false },
		.endian = MPL_LITTLE_ENDIAN,
	};
	uint64_t value;

	bed_io(bed, 0, 0, UINT64_MAX, bed_device(bed, &ops, NULL));
	top.calls = 0;
	assert_int_equal(mpl_load(bed->reader, &bed->as[0], UINT64_MAX - 1,
				  none, 2, MPL_LITTLE_ENDIAN, &value), MPL_OK);
	assert_int_equal(top.calls, 1);
	assert_true(top.offset == UINT64_MAX - 7);
	assert_int_equal(top.size, 8);
	assert_int_equal(value, 0x8877);
	assert_int_equal(mpl_store(bed->reader, &bed->as[0], UINT64_MAX, none,
				   1, MPL_LITTLE_ENDIAN, 0xab), MPL_OK);
	assert_int_equal(top.calls, 2);
	assert_true(top.offset == UINT64_MAX - 7);
	assert_true(top.value == UINT64_C(0xab) << 56);
}

static bool refuse_one(void *opaque, uint64_t offset, unsigned int size,
		       bool is_write, struct mpl_attrs attrs)
{
	struct probe *probe = opaque;

	(void)size;
	probe->asked++;
	probe->attrs = attrs;
	return offset != probe->refuse || is_write == attrs.user;
}

/* `accepts` is asked for each piece; what it refuses, no callback sees. */
static void test_accepts(void **state)
{
	struct bed *bed = *state;
	struct probe probe = {
		.ops = {
			.read = read_probe,
			.write = write_probe,
			.accepts = refuse_one,
			.valid = { 1, 4, false },
		},
		.refuse = 4,
	};
	const struct mpl_attrs attrs = { .requester_id = 0x1234, .vcpu = 3 };
	struct mpl_reader_stats stats;
	uint8_t buf[12];

	bed_io(bed, 0, BASE, BASE + SIZE - 1,
	       bed_device(bed, &probe.ops, &probe));
	reset(&probe);
	/* refuse_one() lets reads through unless `user` is set. */
	assert_int_equal(mpl_read(bed->reader, &bed->as[0], BASE, attrs, buf,
				  12), MPL_OK);
	assert_int_equal(probe.asked, 3);
	assert_int_equal(probe.attrs.requester_id, 0x1234);
	/* A write at 4 is refused; its neighbours are carried out. */
	reset(&probe);
	memset(buf, 0xee, sizeof(buf));
	assert_int_equal(mpl_write(bed->reader, &bed->as[0], BASE, attrs, buf,
				   12), MPL_ACCESS_ERROR);
	assert_int_equal(probe.calls, 2);
	assert_false(probe.touched[4]);
	assert_true(probe.touched[0] && probe.touched[8]);
	mpl_reader_stats(bed->reader, &stats);
	assert_int_equal(stats.access_errors, 1);
	/* A refused read leaves nothing of the device in the buffer. */
	reset(&probe);
	assert_int_equal(mpl_read(bed->reader, &bed->as[0], BASE + 4,
				  (struct mpl_attrs){ .user = 1 }, buf, 4),
			 MPL_ACCESS_ERROR);
	assert_int_equal(probe.calls, 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(buf[i], FILL);
}

static void test_attrs(void **state)
{
	struct bed *bed = *state;
	struct probe probe = { .ops = { .read = read_probe,
					.write = write_probe } };
	const struct mpl_attrs attrs = {
		.requester_id = 0xdeadbeef, .vcpu = 0xffff, .secure = 1 };
	uint32_t word = 0;

	bed_io(bed, 0, BASE, BASE + SIZE - 1,
	       bed_device(bed, &probe.ops, &probe));
	for (int write = 0; write < 2; write++) {
		memset(&probe.attrs, 0, sizeof(probe.attrs));
		assert_int_equal(write ?
			mpl_write(bed->reader, &bed->as[0], BASE, attrs, &word,
				  4) :
			mpl_read(bed->reader, &bed->as[0], BASE, attrs, &word,
				 4), MPL_OK);
		assert_int_equal(probe.attrs.requester_id, 0xdeadbeef);
		assert_int_equal(probe.attrs.vcpu, 0xffff);
		assert_int_equal(probe.attrs.secure, 1);
		assert_int_equal(probe.attrs.user, 0);
	}
}

/* memory_only: no callback runs, not even `accepts`. */
static void test_memory_only(void **state)
{
	struct bed *bed = *state;
	struct probe probe = { .ops = { .read = read_probe,
					.write = write_probe,
					.accepts = refuse_one } };
	const struct mpl_attrs attrs = { .memory_only = 1 };
	uint32_t word = 0;

	bed_io(bed, 0, BASE, BASE + SIZE - 1,
	       bed_device(bed, &probe.ops, &probe));
	assert_int_equal(mpl_read(bed->reader, &bed->as[0], BASE, attrs, &word,
				  4), MPL_ACCESS_ERROR);
	assert_int_equal(word, 0xffffffff);
	assert_int_equal(mpl_write(bed->reader, &bed->as[0], BASE, attrs,
				   &word, 4), MPL_ACCESS_ERROR);
	assert_int_equal(probe.calls, 0);
	assert_int_equal(probe.asked, 0);
}

static void test_missing_callbacks(void **state)
{
	struct bed *bed = *state;
	struct probe no_read = { .ops = { .write = write_probe } };
	struct probe no_write = { .ops = { .read = read_probe } };
	uint64_t word = 5;

	bed_io(bed, 0, BASE, BASE + SIZE - 1,
	       bed_device(bed, &no_read.ops, &no_read));
	bed_io(bed, 0, 0x2000, 0x203f,
	       bed_device(bed, &no_write.ops, &no_write));
	assert_int_equal(mpl_read(bed->reader, &bed->as[0], BASE, none, &word,
				  8), MPL_ACCESS_ERROR);
	assert_true(word == UINT64_MAX);
	assert_int_equal(mpl_write(bed->reader, &bed->as[0], BASE, none, &word,
				   4), MPL_OK);
	assert_int_equal(mpl_read(bed->reader, &bed->as[0], 0x2000, none,
				  &word, 4), MPL_OK);
	assert_int_equal(mpl_write(bed->reader, &bed->as[0], 0x2000, none,
				   &word, 4), MPL_ACCESS_ERROR);
	/* No callbacks at all. */
	bed_io(bed, 0, 0x3000, 0x303f, bed->plain);
	assert_int_equal(mpl_read(bed->reader, &bed->as[0], 0x3000, none,
				  &word, 8), MPL_ACCESS_ERROR);
	assert_true(word == UINT64_MAX);
	assert_int_equal(mpl_write(bed->reader, &bed->as[0], 0x3000, none,
				   &word, 8), MPL_ACCESS_ERROR);
}

/* Each offset answers with its own result; all of them are combined. */
static mpl_result_t read_result(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t *value)
{
	const mpl_result_t *results = opaque;

	(void)size;
	(void)attrs;
	*value = 0xab;
	return results[offset];
}

static mpl_result_t write_result(void *opaque, uint64_t offset,
				 unsigned int size, struct mpl_attrs attrs,
				 uint64_t value)
{
	return read_result(opaque, offset, size, attrs, &value);
}

static void test_results_combine(void **state)
{
	struct bed *bed = *state;
	static const struct mpl_io_ops pieces = {
		.read = read_result,
		.write = write_result,
		.valid = { 1, 1, false },
	};
	static const struct mpl_io_ops parts = {
		.read = read_result,
		.write = write_result,
		.impl = { 1, 1, false },
	};
	mpl_result_t results[8] = { 0 };

	bed_io(bed, 0, BASE, BASE + 7, bed_device(bed, &pieces, results));
	bed_io(bed, 0, BASE + 8, BASE + 15, bed_device(bed, &parts, results));
	for (mpl_result_t mask = 0; mask < 8; mask++)
		for (unsigned int i = 0; i < 16; i += 8) {
			uint64_t word = 0;

			results[1] = mask & MPL_DEVICE_ERROR;
			results[4] = mask & MPL_DECODE_ERROR;
			results[7] = mask & MPL_ACCESS_ERROR;
			assert_int_equal(mpl_read(bed->reader, &bed->as[0],
						  BASE + i, none, &word, 8),
					 mask);
			if (!(mask & MPL_ACCESS_ERROR))
				assert_int_equal(word & 0xff, 0xab);
			assert_int_equal(mpl_write(bed->reader, &bed->as[0],
						   BASE + i, none, &word, 8),
					 mask);
		}
}

/* A callback that sets no value: the guest gets no stale bytes. */
static mpl_result_t say_nothing(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t *value)
{
	(void)opaque;
	(void)offset;
	(void)size;
	(void)attrs;
	(void)value;
	return MPL_OK;
}

static void test_no_value(void **state)
{
	struct bed *bed = *state;
	static const struct mpl_io_ops ops = { .read = say_nothing,
					       .impl = { .max = 8 } };
	static const struct mpl_io_ops parts = { .read = say_nothing,
						 .impl = { 1, 1, false } };
	uint64_t word;

	bed_io(bed, 0, 0, 7, bed_device(bed, &ops, NULL));
	bed_io(bed, 0, 8, 15, bed_device(bed, &parts, NULL));
	for (uint64_t gpa = 0; gpa < 16; gpa += 8) {
		word = 0x1234;
		assert_int_equal(mpl_read(bed->reader, &bed->as[0], gpa, none,
					  &word, 8), MPL_OK);
		assert_true(word == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_piece),
		BED_TEST(test_reads),
		BED_TEST(test_writes),
		BED_TEST(test_reads_touch_no_neighbours),
		BED_TEST(test_typed),
		BED_TEST(test_top),
		BED_TEST(test_accepts),
		BED_TEST(test_attrs),
		BED_TEST(test_memory_only),
		BED_TEST(test_missing_callbacks),
		BED_TEST(test_results_combine),
		BED_TEST(test_no_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
