/* SPDX-License-Identifier: BSD-3-Clause */
/* Accesses by threads without a reader of their own. */
#include <memplane.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define THREADS 24 /* more than there are spares */

struct world {
	struct mpl_plane *plane;
	struct mpl_region *root;
	struct mpl_address_space *as;
	uint32_t calls;
	mpl_result_t inner; /* what a callback's own access gave */
	uint64_t inner_value;
	struct mpl_reader *seen; /* the callback's reader */
};

static const struct mpl_attrs plain;

/* Reads RAM through the plane, from inside a callback. */
static mpl_result_t read_more(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t *value)
{
	struct world *world = opaque;

	(void)attrs, (void)size;
	__atomic_add_fetch(&world->calls, 1, __ATOMIC_RELAXED);
	world->seen = mpl_access_reader(world->plane);
	/* Offset 8: back to this device, which must be refused. */
	world->inner_value = 0;
	world->inner = mpl_plane_read(world->plane, world->as,
				      offset == 8 ? 0x10000 : 0x10, plain,
				      &world->inner_value, 4);
	*value = 7;
	return MPL_OK;
}

static const struct mpl_io_ops ops = { .read = read_more };

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	struct mpl_region *ram, *io;
	struct mpl_txn *tx;

	assert_non_null(world);
	assert_int_equal(mpl_plane_new(&world->plane, NULL), 0);
	assert_int_equal(mpl_region_new_container(world->plane, "root",
						  UINT64_MAX, &world->root),
			 0);
	assert_int_equal(
		mpl_region_new_ram(world->plane, "ram", 0x10000, NULL, &ram),
		0);
	assert_int_equal(
		mpl_region_new_io(world->plane, "io", 0x1000, &ops, world, &io),
		0);
	assert_int_equal(mpl_address_space_new(world->plane, "memory",
					       world->root, &world->as),
			 0);
	tx = mpl_begin(world->plane);
	mpl_region_add(tx, world->root, 0, ram, 0);
	mpl_region_add(tx, world->root, 0x10000, io, 0);
	assert_int_equal(mpl_commit(tx), 0);
	mpl_region_unref(ram);
	mpl_region_unref(io);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	mpl_region_unref(world->root);
	assert_int_equal(mpl_plane_free(world->plane), 0);
	free(world);
	return 0;
}

static void test_read_and_write(void **state)
{
	struct world *world = *state;
	uint32_t value = 0x11223344, got = 0;

	assert_int_equal(mpl_plane_write(world->plane, world->as, 0x10, plain,
					 &value, 4),
			 MPL_OK);
	assert_int_equal(
		mpl_plane_read(world->plane, world->as, 0x10, plain, &got, 4),
		MPL_OK);
	assert_int_equal(got, value);
	assert_int_equal(mpl_plane_read(world->plane, world->as, 0x20000, plain,
					&got, 4),
			 MPL_DECODE_ERROR);
}

static void test_inside_a_callback(void **state)
{
	struct world *world = *state;
	struct mpl_reader *reader;
	uint32_t value = 0xabcd, got = 0;

	assert_null(mpl_access_reader(world->plane));
	assert_int_equal(mpl_plane_write(world->plane, world->as, 0x10, plain,
					 &value, 4),
			 MPL_OK);
	assert_int_equal(mpl_reader_register(world->plane, &reader), 0);
	assert_int_equal(mpl_reader_online(reader), 0);
	assert_int_equal(mpl_read(reader, world->as, 0x10000, plain, &got, 4),
			 MPL_OK);
	assert_int_equal(got, 7);
	assert_ptr_equal(world->seen, reader);
	assert_int_equal(world->inner, MPL_OK);
	assert_int_equal(world->inner_value, 0xabcd);
	assert_int_equal(mpl_read(reader, world->as, 0x10008, plain, &got, 4),
			 MPL_OK);
	assert_int_equal(world->inner, MPL_ACCESS_ERROR);
	assert_int_equal(mpl_reader_unregister(reader), 0);
	/* And the same without any reader. */
	assert_int_equal(mpl_plane_read(world->plane, world->as, 0x10008, plain,
					&got, 4),
			 MPL_OK);
	assert_int_equal(world->inner, MPL_ACCESS_ERROR);
}

static void *hammer(void *arg)
{
	struct world *world = arg;
	uintptr_t wrong = 0;

	for (uint64_t i = 0; i < 300; i++) {
		uint64_t gpa = 0x1000 + (uintptr_t)&i % 0x8000;
		uint64_t got = 0;

		gpa &= ~UINT64_C(7);
		wrong += mpl_plane_write(world->plane, world->as, gpa, plain,
					 &i, 8) != MPL_OK;
		wrong += mpl_plane_read(world->plane, world->as, gpa, plain,
					&got, 8) != MPL_OK;
		wrong += got >= 300;
	}
	return (void *)wrong;
}

/* More threads than spares: they wait for each other, and all get on. */
static void test_many_threads(void **state)
{
	pthread_t threads[THREADS];
	void *wrong;

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, hammer, *state), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
}

/* Idle spares hold nothing back. */
static void test_spares_are_offline(void **state)
{
	struct world *world = *state;
	uint32_t got;

	mpl_plane_read(world->plane, world->as, 0, plain, &got, 4);
	for (int i = 0; i < 4; i++) {
		struct mpl_txn *tx = mpl_begin(world->plane);

		mpl_region_set_readonly(tx, world->root, i % 2);
		assert_int_equal(mpl_commit(tx), 0);
	}
	assert_int_equal(mpl_reclaim(world->plane), 0);
	assert_int_equal(mpl_synchronize(world->plane), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_read_and_write),
		TEST(test_inside_a_callback),
		TEST(test_many_threads),
		TEST(test_spares_are_offline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
