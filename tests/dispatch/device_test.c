/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/device.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct mpl_device *new_device(void)
{
	struct mpl_device *device =
		aligned_alloc(_Alignof(struct mpl_device), sizeof(*device));

	assert_non_null(device);
	memset(device, 0xa5, sizeof(*device)); /* init fills in everything */
	return device;
}

static void test_no_callbacks(void **state)
{
	struct mpl_device *device = new_device();
	int opaque;

	(void)state;
	assert_int_equal(mpl_device_init(device, NULL, &opaque), 0);
	assert_null(device->ops);
	assert_ptr_equal(device->opaque, &opaque);
	assert_int_equal(device->refs, 1);
	assert_null(device->owner);
	assert_true(mpl_device_unpinned(device));
	free(device);
}

static void test_defaults(void **state)
{
	const struct mpl_io_ops ops = { .read = NULL };
	struct mpl_device *device = new_device();

	(void)state;
	assert_int_equal(mpl_device_init(device, &ops, NULL), 0);
	assert_ptr_equal(device->ops, &ops);
	assert_int_equal(device->valid.min, 1);
	assert_int_equal(device->valid.max, 8); /* no bound */
	assert_false(device->valid.unaligned);
	assert_int_equal(device->impl.min, 1);
	assert_int_equal(device->impl.max, 4);
	assert_false(device->impl.unaligned);
	assert_true(device->serialised);
	assert_false(device->reentrant);
	assert_int_equal(device->big_endian,
			 __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
	free(device);
}

/* A minimum beyond the default maximum lifts that. */
static void test_default_maximum(void **state)
{
	const struct mpl_io_ops ops = { .impl = { .min = 8 },
					.valid = { .min = 8 } };
	struct mpl_device *device = new_device();

	(void)state;
	assert_int_equal(mpl_device_init(device, &ops, NULL), 0);
	assert_int_equal(device->impl.min, 8);
	assert_int_equal(device->impl.max, 8);
	assert_int_equal(device->valid.max, 8);
	free(device);
}

static void test_choices(void **state)
{
	const struct mpl_io_ops ops = {
		.valid = { 2, 4, true },
		.impl = { 1, 2, true },
		.endian = MPL_BIG_ENDIAN,
		.concurrency = MPL_LOCK_FREE,
		.reentrant = true,
	};
	struct mpl_io_ops other = ops;
	struct mpl_device *device = new_device();

	(void)state;
	assert_int_equal(mpl_device_init(device, &ops, NULL), 0);
	assert_int_equal(device->valid.min, 2);
	assert_int_equal(device->valid.max, 4);
	assert_true(device->valid.unaligned);
	assert_int_equal(device->impl.min, 1);
	assert_int_equal(device->impl.max, 2);
	assert_true(device->impl.unaligned);
	assert_true(device->big_endian);
	assert_false(device->serialised);
	assert_true(device->reentrant);
	other.endian = MPL_LITTLE_ENDIAN;
	other.concurrency = MPL_CALLER_LOCK;
	assert_int_equal(mpl_device_init(device, &other, NULL), 0);
	assert_false(device->big_endian);
	assert_false(device->serialised);
	free(device);
}

/* Every pair of sizes: powers of two to 8, the minimum not above. */
static void test_sizes(void **state)
{
	struct mpl_device *device = new_device();

	(void)state;
	for (unsigned int min = 0; min < 20; min++)
		for (unsigned int max = 0; max < 20; max++) {
			struct mpl_io_ops valid = { 0 }, impl = { 0 };
			bool sizes = (!min || min == 1 || min == 2 ||
				      min == 4 || min == 8) &&
				     (!max || max == 1 || max == 2 ||
				      max == 4 || max == 8);
			int expected = sizes && (!max || min <= max) ?
					       0 : -EINVAL;

			valid.valid.min = (uint8_t)min;
			valid.valid.max = (uint8_t)max;
			impl.impl = valid.valid;
			assert_int_equal(mpl_device_init(device, &valid, NULL),
					 expected);
			assert_int_equal(mpl_device_init(device, &impl, NULL),
					 expected);
		}
	free(device);
}

static unsigned int gone;

static void note_gone(struct mpl_device *device)
{
	(void)device;
	gone++;
}

static void test_references(void **state)
{
	struct mpl_device *device = new_device();

	(void)state;
	gone = 0;
	assert_int_equal(mpl_device_init(device, NULL, NULL), 0);
	device->unreferenced = note_gone;
	mpl_device_ref(device);
	mpl_device_pin(device);
	assert_false(mpl_device_unpinned(device));
	mpl_device_unref(device);
	mpl_device_unref(device);
	assert_int_equal(gone, 0); /* the pin holds it */
	mpl_device_pin(device);
	mpl_device_unpin(device);
	assert_false(mpl_device_unpinned(device));
	assert_int_equal(gone, 0);
	mpl_device_unpin(device);
	assert_int_equal(gone, 1);
	free(device);
}

enum { TURNS = 20000 };

static void *use(void *arg)
{
	struct mpl_device *device = arg;

	for (int i = 0; i < TURNS; i++) {
		mpl_device_ref(device);
		mpl_device_pin(device);
		mpl_device_unref(device);
		mpl_device_unpin(device);
	}
	mpl_device_unref(device);
	return NULL;
}

/* References come and go on any thread: the last one goes once. */
static void test_threads(void **state)
{
	struct mpl_device *device = new_device();
	pthread_t thread;

	(void)state;
	gone = 0;
	assert_int_equal(mpl_device_init(device, NULL, NULL), 0);
	device->unreferenced = note_gone;
	mpl_device_ref(device);
	assert_int_equal(pthread_create(&thread, NULL, use, device), 0);
	use(device);
	pthread_join(thread, NULL);
	assert_int_equal(gone, 1);
	assert_true(mpl_device_unpinned(device));
	free(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_callbacks),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_default_maximum),
		cmocka_unit_test(test_choices),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
