/* SPDX-License-Identifier: BSD-3-Clause */
/* Mappings: memory, bounce buffers, through iommus, and what is refused. */
#include <memplane/dma.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "dispatch/bounce.h"
#include "dispatch/mapped.h"
#include "tests/support/iommus.h"

static const struct mpl_attrs none;
static uint8_t host[0x4000] __attribute__((aligned(4096)));
static uint8_t registers[0x40];
static struct mpl_bounce space;

/*
 * 1000..1fff memory, 2000..2fff ROM, 3000..303f registers, 3040..3fff mapped
 * device memory, 4000..4fff memory that is logged; 5000.. nothing.
 */
static int setup(void **state)
{
	struct bed *bed;

	bed_setup(state);
	bed = *state;
	for (size_t i = 0; i < sizeof(host); i++)
		host[i] = (uint8_t)(i * 7 + 3);
	for (size_t i = 0; i < sizeof(registers); i++)
		registers[i] = (uint8_t)(0x80 + i);
	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	bed_memory(bed, 0, 0x2000, 0x2fff, host + 0x1000, BED_ROM);
	bed_io(bed, 0, 0x3000, 0x303f,
	       bed_device(bed, &bed_bytes_ops, registers));
	bed_memory(bed, 0, 0x3040, 0x3fff, host + 0x2040,
		   BED_RAM | MPL_SECTION_EXACT);
	bed_memory(bed, 0, 0x4000, 0x4fff, host + 0x3000,
		   MPL_SECTION_READ | MPL_SECTION_LOGGED);
	mpl_bounce_init(&space);
	space.pub = bed->as[0];
	return 0;
}

/* Count mappings of the bed's memory: the first one is made, and ended. */
static void count_mappings(struct bed *bed, const struct mpl_address_space *as,
			   uint64_t gpa)
{
	struct mpl_mapping mapping;
	size_t len = 1;

	mpl_count_number(&bed->dp, bed->plain);
	assert_int_not_equal(bed->plain->number, 0);
	assert_int_equal(mpl_map(bed->reader, as, gpa, none, MPL_FOR_READ, &len,
				 &mapping), 0);
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 0), 0);
}

/* The same world, where the short way is open. */
static int setup_counted(void **state)
{
	setup(state);
	count_mappings(*state, &space.pub, 0x1000);
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(mpl_map_bounced(&space.pub), 0);
	mpl_bounce_destroy(&space);
	return bed_teardown(state);
}

static int map(struct bed *bed, uint64_t gpa, enum mpl_intent intent,
	       size_t *len, struct mpl_mapping *mapping)
{
	return mpl_map(bed->reader, &space.pub, gpa, none, intent, len,
		       mapping);
}

static void test_memory(void **state)
{
	struct bed *bed = *state;
	struct mpl_device *device =
		mpl_lookup(bed->reader, &space.pub, 0x1000)->device;
	uint32_t refs = device->refs;
	struct mpl_mapping mapping[3];
	size_t len = 64;

	assert_int_equal(map(bed, 0x1010, MPL_FOR_BOTH, &len, &mapping[0]), 0);
	assert_ptr_equal(mapping[0].host, host + 0x10);
	assert_int_equal(len, 64);
	assert_int_equal(mapping[0].len, 64);
	/* As far as it goes. */
	len = 0x2000;
	assert_int_equal(map(bed, 0x1ff0, MPL_FOR_WRITE, &len, &mapping[1]),
			 0);
	assert_int_equal(len, 16);
	len = SIZE_MAX - 0x2fff;
	assert_int_equal(map(bed, 0x2ff0, MPL_FOR_READ, &len, &mapping[2]), 0);
	assert_int_equal(len, 16);
	assert_ptr_equal(mapping[2].host, host + 0x1ff0);
	assert_int_equal(device->refs, refs); /* nothing shared is written */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(mpl_unmap(bed->reader, &mapping[i], 0), 0);
		assert_null(mapping[i].host);
	}
	assert_int_equal(mpl_map_bounced(&space.pub), 0);
}

static void test_refused(void **state)
{
	struct bed *bed = *state;
	struct mpl_mapping mapping = { .host = &mapping };
	size_t len = 0;

	assert_int_equal(map(bed, 0x1000, MPL_FOR_READ, &len, &mapping),
			 -EINVAL);
	len = 16;
	assert_int_equal(map(bed, UINT64_MAX - 14, MPL_FOR_READ, &len,
			     &mapping), -EINVAL);
	assert_int_equal(map(bed, 0x1000, (enum mpl_intent)0, &len, &mapping),
			 -EINVAL);
	assert_int_equal(map(bed, 0x3000, (enum mpl_intent)
			     MPL_SECTION_CALLBACKS, &len, &mapping), -EINVAL);
	assert_int_equal(map(bed, 0x1000, (enum mpl_intent)7, &len, &mapping),
			 -EINVAL);
	assert_int_equal(map(bed, 0x5000, MPL_FOR_READ, &len, &mapping),
			 -EFAULT);
	assert_int_equal(map(bed, 0x2000, MPL_FOR_WRITE, &len, &mapping),
			 -EACCES);
	assert_int_equal(map(bed, 0x2000, MPL_FOR_BOTH, &len, &mapping),
			 -EACCES);
	mpl_reader_offline(bed->reader);
	assert_int_equal(map(bed, 0x1000, MPL_FOR_READ, &len, &mapping),
			 -EINVAL);
	mpl_reader_online(bed->reader);
	assert_int_equal(len, 16);
	assert_ptr_equal(mapping.host, &mapping);
	assert_true(mpl_mapped_none(&bed->dp, bed->plain));
}

static void test_unmap_refused(void **state)
{
	struct bed *bed = *state;
	struct mpl_mapping mapping;
	size_t len = 16;

	assert_int_equal(map(bed, 0x1000, MPL_FOR_WRITE, &len, &mapping), 0);
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 17), -EINVAL);
	assert_int_equal(bed->lines, 0);
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 16), 0);
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 16), -EINVAL);
	assert_int_equal(bed->lines, 1);
	assert_non_null(strstr(bed->log, "unmap each mapping once"));
	assert_int_equal(mpl_unmap(NULL, &mapping, 0), -EINVAL);
	assert_int_equal(bed->lines, 1);
	assert_int_equal(map(bed, 0x1000, MPL_FOR_READ, &len, &mapping), 0);
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 1), -EINVAL);
	mpl_reader_offline(bed->reader);
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 0), -EINVAL);
	mpl_reader_online(bed->reader);
	assert_false(mpl_mapped_none(&bed->dp, bed->plain));
	assert_int_equal(mpl_unmap(NULL, &mapping, 0), 0);
	assert_true(mpl_mapped_none(&bed->dp, bed->plain));
	/* A buffer needs somebody who writes it back. */
	assert_int_equal(map(bed, 0x3000, MPL_FOR_WRITE, &len, &mapping), 0);
	assert_int_equal(mpl_unmap(NULL, &mapping, 0), -EINVAL);
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 0), 0);
}

static struct mpl_mapping another_threads;

static void *in_another_thread(void *arg)
{
	struct bed *bed = arg;
	struct mpl_mapping mapping;
	size_t len = 16;

	assert_int_equal(map(bed, 0x1000, MPL_FOR_READ, &len, &mapping),
			 -EPERM);
	assert_int_equal(mpl_unmap(bed->reader, &another_threads, 0), -EPERM);
	return NULL;
}

static void test_thread(void **state)
{
	struct bed *bed = *state;
	pthread_t thread;
	size_t len = 16;

	assert_int_equal(map(bed, 0x1000, MPL_FOR_READ, &len,
			     &another_threads), 0);
	assert_int_equal(pthread_create(&thread, NULL, in_another_thread, bed),
			 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(mpl_unmap(bed->reader, &another_threads, 0), 0);
}

/* Registers and mapped device memory bounce, one behind the other together. */
static void test_bounce(void **state)
{
	struct bed *bed = *state;
	struct mpl_mapping mapping;
	size_t len = 0x60;

	assert_int_equal(map(bed, 0x3020, MPL_FOR_BOTH, &len, &mapping), 0);
	assert_int_equal(len, 0x60);
	assert_int_equal(mpl_map_bounced(&space.pub), 0x60);
	assert_memory_equal(mapping.host, registers + 0x20, 0x20);
	assert_memory_equal((uint8_t *)mapping.host + 0x20, host + 0x2040,
			    0x40);
	memset(mapping.host, 0x55, 0x60);
	assert_int_equal(registers[0x20], 0xa0);
	/* Of it 0x28 bytes are written back. */
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 0x28), 0);
	for (int i = 0x20; i < 0x40; i++)
		assert_int_equal(registers[i], 0x55);
	for (int i = 0; i < 8; i++)
		assert_int_equal(host[0x2040 + i], 0x55);
	assert_int_equal(host[0x2048], (uint8_t)(0x2048 * 7 + 3));
	assert_int_equal(mpl_map_bounced(&space.pub), 0);
	/* Up to memory that needs none. */
	len = 0x2000;
	assert_int_equal(map(bed, 0x3010, MPL_FOR_WRITE, &len, &mapping), 0);
	assert_int_equal(len, 0xff0);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(((uint8_t *)mapping.host)[i], 0);
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 0), 0);
	assert_int_equal(registers[0x10], 0x90);
}

static void test_bounce_limit(void **state)
{
	struct bed *bed = *state;
	struct mpl_mapping one, two;
	size_t len = 0x40;
	const struct mpl_attrs memory_only = { .memory_only = 1 };

	mpl_map_set_limit(&space.pub, 0x50);
	assert_int_equal(map(bed, 0x3000, MPL_FOR_READ, &len, &one), 0);
	assert_int_equal(map(bed, 0x3000, MPL_FOR_READ, &len, &two), -EAGAIN);
	len = 0x10;
	assert_int_equal(map(bed, 0x3000, MPL_FOR_READ, &len, &two), 0);
	assert_int_equal(mpl_unmap(bed->reader, &one, 0), 0);
	assert_int_equal(mpl_unmap(bed->reader, &two, 0), 0);
	len = 0x1000;
	assert_int_equal(map(bed, 0x3000, MPL_FOR_READ, &len, &one), 0);
	assert_int_equal(len, 0x50);
	assert_int_equal(mpl_unmap(bed->reader, &one, 0), 0);
	mpl_map_set_limit(&space.pub, 0);
	len = 1;
	assert_int_equal(map(bed, 0x3000, MPL_FOR_READ, &len, &one), -EAGAIN);
	/* Memory does without. */
	assert_int_equal(map(bed, 0x1000, MPL_FOR_READ, &len, &one), 0);
	assert_int_equal(mpl_unmap(bed->reader, &one, 0), 0);
	assert_int_equal(mpl_map(bed->reader, &space.pub, 0x3000, memory_only,
				 MPL_FOR_WRITE, &len, &one), -EACCES);
}

/* What goes away before it is written back. */
static void test_write_back_fails(void **state)
{
	struct bed *bed = *state;
	struct mpl_mapping mapping;
	size_t len = 16;

	assert_int_equal(map(bed, 0x3000, MPL_FOR_WRITE, &len, &mapping), 0);
	bed_take(bed, 0, 0x3000);
	bed_commit(bed);
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 16), -EFAULT);
	assert_null(mapping.host);
	assert_int_equal(mpl_map_bounced(&space.pub), 0);
}

/* Logged memory is mapped as it is; the log is of its region. */
static void test_logged(void **state)
{
	struct bed *bed = *state;
	struct mpl_mapping mapping;
	size_t len = 16;

	assert_int_equal(map(bed, 0x4ff8, MPL_FOR_WRITE, &len, &mapping), 0);
	assert_ptr_equal(mapping.host, host + 0x3ff8);
	assert_int_equal(len, 8);
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 8), 0);
}

static void test_sg(void **state)
{
	struct bed *bed = *state;
	struct mpl_mapping mapping[8];
	struct iovec iov[8];
	unsigned int count;
	size_t done;

	assert_int_equal(mpl_map_sg(bed->reader, &space.pub, 0x2ff0, none,
				    MPL_FOR_READ, 0x3000, mapping, iov, 8,
				    &count, &done), 0);
	assert_int_equal(count, 3);
	assert_int_equal(done, 0x2010);
	assert_ptr_equal(iov[0].iov_base, host + 0x1ff0);
	assert_int_equal(iov[0].iov_len, 16);
	assert_int_equal(iov[1].iov_len, 0x1000);
	assert_memory_equal(iov[1].iov_base, registers, 0x40);
	assert_ptr_equal(iov[2].iov_base, host + 0x3000);
	assert_int_equal(mpl_unmap_sg(bed->reader, mapping, count, 0), 0);

	assert_int_equal(mpl_map_sg(bed->reader, &space.pub, 0x3038, none,
				    MPL_FOR_WRITE, 0x1000, mapping, NULL, 8,
				    &count, &done), 0);
	assert_int_equal(count, 2);
	memset(mapping[0].host, 0x11, mapping[0].len);
	memset(mapping[1].host, 0x22, mapping[1].len);
	assert_int_equal(mpl_unmap_sg(bed->reader, mapping, count, 12), 0);
	assert_int_equal(registers[0x37], 0xb7);
	assert_int_equal(registers[0x38], 0x11);
	assert_int_equal(host[0x2043], 0x11);
	assert_int_equal(host[0x2044], (uint8_t)(0x2044 * 7 + 3));

	/* One place; the first byte; nothing to do. */
	assert_int_equal(mpl_map_sg(bed->reader, &space.pub, 0x2ff0, none,
				    MPL_FOR_READ, 0x3000, mapping, iov, 1,
				    &count, &done), 0);
	assert_int_equal(done, 16);
	assert_int_equal(mpl_unmap_sg(bed->reader, mapping, count, 0), 0);
	assert_int_equal(mpl_map_sg(bed->reader, &space.pub, 0x5000, none,
				    MPL_FOR_READ, 16, mapping, iov, 8, &count,
				    &done), -EFAULT);
	assert_int_equal(count, 0);
	assert_int_equal(mpl_map_sg(bed->reader, &space.pub, UINT64_MAX, none,
				    MPL_FOR_READ, 2, mapping, iov, 8, &count,
				    &done), -EINVAL);
	assert_int_equal(mpl_map_sg(bed->reader, &space.pub, 0x1000, none,
				    MPL_FOR_READ, 0, mapping, iov, 8, &count,
				    &done), -EINVAL);
}

/* Behind an iommu: over its pages, and invalidations wait for it. */
static void test_iommu(void **state)
{
	struct bed *bed = *state;
	struct mpl_iommu_range range = { 0, PAGE - 1 };
	struct mpl_mapping mapping;
	const struct mpl_address_space *bus = &world.bus.pub;
	size_t len = 3 * PAGE;
	uint64_t number;

	count_mappings(bed, &bed->as[MEMORY], 0);
	set_page(0, 0, MEMORY, 4 * PAGE, MPL_FOR_BOTH);
	set_page(0, 1, MEMORY, 5 * PAGE, MPL_FOR_BOTH);
	set_page(0, 2, MEMORY, 5 * PAGE, MPL_FOR_BOTH);
	set_page(0, 3, MEMORY, 5 * PAGE, MPL_FOR_READ);
	set_page(0, 4, MEMORY, (PAGES - 1) * PAGE, MPL_FOR_BOTH);
	assert_int_equal(mpl_map(bed->reader, bus, 16, none,
				 MPL_FOR_WRITE, &len, &mapping), 0);
	assert_int_equal(len, 2 * PAGE - 16);
	assert_ptr_equal(mapping.host, memory + 4 * PAGE + 16);
	number = mpl_iommu_forget(world.iommu[0], 0, PAGE - 1);
	assert_true(mpl_iommu_is_mapped(world.iommu[0], range, number));
	assert_int_equal(mpl_unmap(bed->reader, &mapping, len), 0);
	assert_false(mpl_iommu_is_mapped(world.iommu[0], range, number));
	/* Refused, and nothing there; bounced. */
	assert_int_equal(mpl_map(bed->reader, bus, 3 * PAGE, none,
				 MPL_FOR_WRITE, &len, &mapping), -EACCES);
	assert_int_equal(mpl_map(bed->reader, bus, 9 * PAGE, none,
				 MPL_FOR_WRITE, &len, &mapping), -EFAULT);
	world.table[0][9].result = MPL_DEVICE_ERROR;
	assert_int_equal(mpl_map(bed->reader, bus, 9 * PAGE, none,
				 MPL_FOR_WRITE, &len, &mapping), -EIO);
	len = 2 * PAGE;
	assert_int_equal(mpl_map(bed->reader, bus, 4 * PAGE, none,
				 MPL_FOR_BOTH, &len, &mapping), 0);
	assert_int_equal(len, PAGE);
	assert_int_equal(mpl_map_bounced(&world.bus.pub), PAGE);
	assert_memory_equal(mapping.host, memory + (PAGES - 1) * PAGE, PAGE);
	*(uint8_t *)mapping.host = 0xcc;
	assert_int_equal(mpl_unmap(bed->reader, &mapping, 1), 0);
	assert_int_equal(memory[(PAGES - 1) * PAGE], 0xcc);
	assert_int_equal(mpl_map_bounced(&world.bus.pub), 0);
}

#define TEST(f)                                                     \
	cmocka_unit_test_setup_teardown(f, setup, teardown),        \
	{ #f ", counted", f, setup_counted, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_memory),
		TEST(test_refused),
		TEST(test_unmap_refused),
		TEST(test_thread),
		TEST(test_bounce),
		TEST(test_bounce_limit),
		TEST(test_write_back_fails),
		TEST(test_logged),
		TEST(test_sg),
		IOMMU_TEST(test_iommu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
