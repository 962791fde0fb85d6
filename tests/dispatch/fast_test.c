/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses that are just a callback, beside the same ones the long way: three
 * devices that differ only in what they let the library skip must see the
 * same callbacks, and the guest the same bytes.
 *
 *     0x1000   lock-free: entered directly
 *     0x2000   serialised: with its lock, else the same
 *     0x3000   has an accepts(): nothing is skipped
 */
#include "dispatch/fast.h"

#include <memplane/access.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch/retire.h"
#include "tests/support/bed.h"

enum { DEVICES = 3, CALLS = 32 };

struct call {
	uint64_t offset;
	uint64_t value;
	unsigned int size;
	unsigned int is_write;
	uint64_t requester; /* no padding: compared as a whole */
};

struct device {
	struct mpl_device *device;
	struct mpl_io_ops ops;
	struct call calls[CALLS];
	unsigned int count;
	void (*then)(void);
};

static struct device devices[DEVICES];
static struct bed *the_bed;

static const struct mpl_attrs plain = { .requester_id = 77 };

static uint64_t address(unsigned int i)
{
	return 0x1000 * (1 + (uint64_t)i);
}

static void note(struct device *device, const struct call *call)
{
	assert_true(device->count < CALLS);
	device->calls[device->count++] = *call;
	if (device->then)
		device->then();
}

static mpl_result_t read_it(void *opaque, uint64_t offset, unsigned int size,
			    struct mpl_attrs attrs, uint64_t *value)
{
	assert_int_equal(*value, 0);
	/* More than was asked for: that must not come through. */
	*value = UINT64_C(0xf7e6d5c4b3a29180) + offset;
	note(opaque, &(struct call){ offset, *value, size, false,
				     attrs.requester_id });
	return offset % 16 == 8 ? MPL_DEVICE_ERROR : MPL_OK;
}

static mpl_result_t write_it(void *opaque, uint64_t offset, unsigned int size,
			     struct mpl_attrs attrs, uint64_t value)
{
	note(opaque, &(struct call){ offset, value, size, true,
				     attrs.requester_id });
	return offset % 16 == 4 ? MPL_DEVICE_ERROR : MPL_OK;
}

static bool accept_all(void *opaque, uint64_t offset, unsigned int size,
		       bool is_write, struct mpl_attrs attrs)
{
	(void)opaque, (void)offset, (void)size, (void)is_write, (void)attrs;
	return true;
}

static void make_devices(struct bed *bed, struct mpl_access_sizes valid,
			 struct mpl_access_sizes impl, enum mpl_endian endian)
{
	const struct mpl_io_ops ops = {
		.read = read_it,
		.write = write_it,
		.valid = valid,
		.impl = impl,
		.endian = endian,
	};

	the_bed = bed;
	for (unsigned int i = 0; i < DEVICES; i++) {
		struct device *device = &devices[i];

		*device = (struct device){ .ops = ops };
		if (i == 0)
			device->ops.concurrency = MPL_LOCK_FREE;
		if (i == 2)
			device->ops.accepts = accept_all;
		device->device = bed_device(bed, &device->ops, device);
		mpl_count_number(&bed->dp, device->device);
		if (bed_find(bed, 0, address(i)))
			bed_take(bed, 0, address(i));
		/* The end of a section that is no multiple of anything. */
		bed_put(bed, 0, &(struct mpl_section){
			.start = address(i), .span = 0x3a, .offset = 0x21,
			.flags = MPL_SECTION_CALLBACKS,
			.device = device->device });
	}
	bed_commit(bed);
	bed_settle(bed);
}

static void release_numbers(struct bed *bed)
{
	for (unsigned int i = 0; i < DEVICES; i++)
		mpl_count_release(&bed->dp, devices[i].device);
}

struct outcome {
	mpl_result_t result;
	uint8_t bytes[24];
	uint64_t value;
};

/* kind 0: read, 1: write, 2, 3: load, 4, 5: store, in both byte orders. */
static struct outcome access_it(struct bed *bed, uint64_t gpa, unsigned int len,
				unsigned int kind, struct mpl_attrs attrs)
{
	enum mpl_endian endian = kind & 1 ? MPL_BIG_ENDIAN :
					    MPL_LITTLE_ENDIAN;
	struct outcome out = { .value = UINT64_C(0x1122334455667788) };

	for (unsigned int i = 0; i < sizeof(out.bytes); i++)
		out.bytes[i] = (uint8_t)(0xa0 + i);
	/* The buffer is not aligned. */
	if (kind == 0)
		out.result = mpl_read(bed->reader, &bed->as[0], gpa, attrs,
				      out.bytes + 1, len);
	else if (kind == 1)
		out.result = mpl_write(bed->reader, &bed->as[0], gpa, attrs,
				       out.bytes + 1, len);
	else if (kind < 4)
		out.result = mpl_load(bed->reader, &bed->as[0], gpa, attrs,
				      len, endian, &out.value);
	else
		out.result = mpl_store(bed->reader, &bed->as[0], gpa, attrs,
				       len, endian, out.value);
	return out;
}

static void compare(struct bed *bed, unsigned int at, unsigned int len,
		    unsigned int kind, struct mpl_attrs attrs)
{
	struct outcome out[DEVICES];

	for (unsigned int i = 0; i < DEVICES; i++) {
		/* The second time the section is the reader's last. */
		for (int turn = 0; turn < 3; turn++) {
			devices[i].count = 0;
			memset(devices[i].calls, 0, sizeof(devices[i].calls));
			out[i] = access_it(bed, address(i) + at, len, kind,
					   attrs);
			assert_null(mpl_reader_state(bed->reader)->frame);
		}
		assert_int_equal(out[i].result, out[0].result);
		assert_memory_equal(out[i].bytes, out[0].bytes,
				    sizeof(out[i].bytes));
		assert_int_equal(out[i].value, out[0].value);
		assert_int_equal(devices[i].count, devices[0].count);
		assert_memory_equal(devices[i].calls, devices[0].calls,
				    sizeof(devices[i].calls));
	}
}

static void compare_all(struct bed *bed)
{
	const struct mpl_attrs only = { .memory_only = 1 };

	for (unsigned int kind = 0; kind < 6; kind++)
		for (unsigned int len = 0; len <= 17; len++) {
			for (unsigned int at = 0; at < 9; at++)
				compare(bed, at, len, kind, plain);
			/* Over the section's end. */
			for (unsigned int at = 0x32; at < 0x3d; at++)
				compare(bed, at, len, kind, plain);
			compare(bed, 3, len, kind, only);
		}
	for (unsigned int i = 1; i < DEVICES; i++)
		assert_int_equal(
			mpl_count_sum(&bed->dp, devices[i].device),
			mpl_count_sum(&bed->dp, devices[0].device));
}

static void test_same_as_the_long_way(void **state)
{
	static const struct mpl_access_sizes sizes[] = {
		{ 0, 0, false }, { 0, 0, true },  { 4, 4, false },
		{ 2, 8, false }, { 2, 8, true },  { 1, 1, false },
	};
	const unsigned int count = sizeof(sizes) / sizeof(*sizes);

	for (unsigned int i = 0; i < count * count * 2; i++) {
		make_devices(*state, sizes[i / 2 % count],
			     sizes[i / 2 / count],
			     i % 2 ? MPL_BIG_ENDIAN : MPL_LITTLE_ENDIAN);
		compare_all(*state);
		release_numbers(*state);
	}
}

/* What mpl_device_takes() says, against the words in region.h. */
static void test_takes(void **state)
{
	const struct mpl_access_sizes any = { 1, 8, true };
	const struct mpl_access_sizes aligned = { 2, 4, false };

	make_devices(*state, any, any, MPL_NATIVE_ENDIAN);
	for (uint64_t len = 1; len < 300; len++)
		for (uint64_t offset = 0; offset < 300; offset++) {
			bool word = mpl_is_word(len);

			for (unsigned int i = 0; i < DEVICES; i++) {
				const struct mpl_device *device =
					devices[i].device;

				assert_int_equal(
					mpl_device_takes(device->not_simple,
							 offset, len),
					word && i < 2);
				assert_int_equal(
					mpl_device_takes(device->not_direct,
							 offset, len),
					word && i < 1);
			}
		}
	release_numbers(*state);
	make_devices(*state, any, aligned, MPL_BIG_ENDIAN);
	for (uint64_t len = 1; len < 20; len++)
		for (uint64_t offset = 0; offset < 300; offset++) {
			const struct mpl_device *device = devices[0].device;

			assert_int_equal(mpl_device_takes(device->not_simple,
							  offset, len),
					 (len == 2 || len == 4) &&
						 offset % len == 0);
			assert_false(mpl_device_takes(device->not_direct,
						      offset, len));
		}
	release_numbers(*state);
}

static unsigned int entered;

/* In a direct callback: the guards know of it, and so does who asks. */
static void look_around(void)
{
	struct mpl_reader_state *reader = mpl_reader_state(the_bed->reader);
	const struct mpl_attrs none = { 0 };
	uint32_t value;

	if (entered++)
		return;
	assert_ptr_equal(reader->frame, &reader->direct);
	assert_ptr_equal(reader->direct.device, devices[0].device);
	assert_int_equal(mpl_reader_quiescent(&reader->pub), -EDEADLK);
	assert_int_equal(mpl_reader_thread_state(&the_bed->dp),
			 MPL_THREAD_ACCESS);
	/* Itself: refused.  Another one: nested, and left again. */
	assert_int_equal(mpl_read(&reader->pub, &the_bed->as[0], address(0),
				  none, &value, 4),
			 MPL_ACCESS_ERROR);
	assert_int_equal(mpl_read(&reader->pub, &the_bed->as[0], address(1),
				  none, &value, 1),
			 MPL_OK);
	assert_ptr_equal(reader->frame, &reader->direct);
}

static void test_inside(void **state)
{
	const struct mpl_access_sizes any = { 1, 8, true };
	struct bed *bed = *state;

	make_devices(bed, any, any, MPL_LITTLE_ENDIAN);
	compare(bed, 0, 4, 0, plain);
	entered = 0;
	devices[0].then = look_around;
	for (unsigned int kind = 0; kind < 6; kind += 2) {
		for (int turn = 0; turn < 3; turn++)
			access_it(bed, address(0), 4, kind, plain);
		entered = 0;
		devices[0].count = devices[1].count = 0;
		access_it(bed, address(0), 4, kind, plain);
		assert_int_equal(entered, 1);
		assert_int_equal(devices[1].count, 1);
		assert_null(mpl_reader_state(bed->reader)->frame);
	}
	release_numbers(bed);
}

/* The device goes while its direct callback sleeps: it stays until that ends. */
static void sleep_and_vanish(void)
{
	struct bed *bed = the_bed;

	if (entered++)
		return;
	assert_int_equal(mpl_access_suspend(bed->reader), 0);
	bed_take(bed, 0, address(0));
	bed_commit(bed);
	while (mpl_retire_poll(&bed->dp))
		;
	assert_false(mpl_device_unpinned(devices[0].device));
	assert_int_equal(mpl_access_resume(bed->reader), 0);
}

static void test_suspended(void **state)
{
	const struct mpl_access_sizes any = { 1, 8, true };
	static const struct mpl_frame idle;
	struct bed *bed = *state;
	struct mpl_reader_state *reader = mpl_reader_state(bed->reader);
	struct outcome out;

	for (unsigned int kind = 0; kind < 6; kind++) {
		make_devices(bed, any, any, MPL_LITTLE_ENDIAN);
		for (int turn = 0; turn < 3; turn++)
			access_it(bed, address(0), 4, kind, plain);
		entered = 0;
		devices[0].then = sleep_and_vanish;
		out = access_it(bed, address(0), 4, kind, plain);
		assert_int_equal(entered, 1);
		assert_int_equal(out.result, MPL_OK);
		assert_true(mpl_device_unpinned(devices[0].device));
		assert_int_equal(devices[0].device->refs, 1);
		assert_null(reader->frame);
		assert_memory_equal(&reader->direct, &idle, sizeof(idle));
		/* Nothing is there any more. */
		out = access_it(bed, address(0), 4, kind, plain);
		assert_int_equal(out.result, MPL_DECODE_ERROR);
		assert_int_equal(entered, 1);
		release_numbers(bed);
	}
}

/* Memory in all sizes and alignments, to the section's last byte. */
static void test_words_of_memory(void **state)
{
	static uint8_t memory[80] __attribute__((aligned(16)));
	struct bed *bed = *state;
	uint64_t value;

	for (unsigned int i = 0; i < sizeof(memory); i++)
		memory[i] = (uint8_t)(17 * i + 1);
	bed_memory(bed, 0, 0x9000, 0x9000 + sizeof(memory) - 1, memory,
		   BED_RAM);
	bed_commit(bed);
	for (unsigned int i = 0; i < 3 * sizeof(memory) * 4 * 2; i++) {
		unsigned int at = i / 24, size = 1u << i / 6 % 4;
		enum mpl_endian endian = i / 3 % 2 ? MPL_BIG_ENDIAN :
						     MPL_LITTLE_ENDIAN;
		bool inside = at + size <= sizeof(memory);
		uint64_t want = 0;

		for (unsigned int b = 0; inside && b < size; b++)
			want |= (uint64_t)memory[at + b]
				<< 8 * (i / 3 % 2 ? size - 1 - b : b);
		value = 99;
		assert_int_equal(mpl_load(bed->reader, &bed->as[0],
					  0x9000 + at, plain, size, endian,
					  &value),
				 inside ? MPL_OK : MPL_DECODE_ERROR);
		if (!inside)
			continue;
		assert_int_equal(value, want);
		/* What is beyond the word's size is not stored. */
		assert_int_equal(mpl_store(bed->reader, &bed->as[0],
					   0x9000 + at, plain, size, endian,
					   ~want),
				 MPL_OK);
		for (unsigned int b = 0; b < sizeof(memory); b++) {
			uint8_t was = (uint8_t)(17 * b + 1);
			bool hit = b >= at && b < at + size;

			assert_int_equal(memory[b],
					 hit ? (uint8_t)~was : was);
			memory[b] = was;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_same_as_the_long_way),
		BED_TEST(test_takes),
		BED_TEST(test_inside),
		BED_TEST(test_suspended),
		BED_TEST(test_words_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
