/* SPDX-License-Identifier: BSD-3-Clause */
/* Iommu regions in a topology: invalidations, and waiting for them. */
#include <memplane/iommu.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/plane.h"
#include "tests/support/rig.h"

enum { PAGE = 4096 };

/* An iommu at 0 of a bus; all its pages lead to `page` of the rig's memory. */
struct bench {
	struct rig *rig;
	struct mpl_region *ram, *iommu;
	struct mpl_address_space *bus;
	struct mpl_reader *reader;
	uint64_t page;
	int asked;
	int done;
	int step; /* of two threads */
	/* Inside the callback. */
	void (*during)(struct bench *bench);
};

static mpl_result_t translate(void *opaque, uint64_t iova,
			      enum mpl_intent intent, struct mpl_attrs attrs,
			      struct mpl_iommu_page *page)
{
	struct bench *bench = opaque;

	(void)iova, (void)intent, (void)attrs;
	rig_count(&bench->asked);
	if (bench->during)
		bench->during(bench);
	page->as = bench->rig->as;
	page->address = bench->page * PAGE;
	page->mask = PAGE - 1;
	page->permissions = MPL_FOR_BOTH;
	return MPL_OK;
}

static const struct mpl_iommu_ops ops = { .translate = translate };

static struct bench *bench_new(struct rig *rig)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	assert_non_null(bench);
	bench->rig = rig;
	assert_int_equal(mpl_region_new_ram(rig->plane, "ram", 16 * PAGE, NULL,
					    &bench->ram), 0);
	assert_int_equal(mpl_region_new_iommu(rig->plane, "iommu", 64 * PAGE,
					      &ops, bench, &bench->iommu), 0);
	assert_int_equal(rig_add(rig, bench->ram, 0), 0);
	assert_int_equal(mpl_address_space_new(rig->plane, "bus", bench->iommu,
					       &bench->bus), 0);
	for (int i = 0; i < 16; i++)
		memset((char *)mpl_region_host(bench->ram) + i * PAGE, i, PAGE);
	assert_int_equal(mpl_reader_register(rig->plane, &bench->reader), 0);
	mpl_reader_online(bench->reader);
	return bench;
}

static void bench_free(struct bench *bench)
{
	mpl_reader_unregister(bench->reader);
	assert_int_equal(mpl_address_space_free(bench->bus), 0);
	mpl_region_unref(bench->iommu);
	mpl_region_unref(bench->ram);
	free(bench);
}

static uint8_t first_byte(struct bench *bench)
{
	const struct mpl_attrs none = { 0 };
	uint8_t byte = 0xee;

	assert_int_equal(mpl_read(bench->reader, bench->bus, 0, none, &byte,
				  1), MPL_OK);
	return byte;
}

static void test_bad_arguments(void **state)
{
	struct bench *bench = bench_new(*state);
	struct mpl_region *iommu = bench->iommu;

	assert_int_equal(mpl_iommu_invalidate(bench->ram, 0, 1), -EINVAL);
	assert_int_equal(mpl_iommu_invalidate(NULL, 0, 1), -EINVAL);
	assert_int_equal(mpl_iommu_invalidate(iommu, 0, 0), -EINVAL);
	assert_int_equal(mpl_iommu_invalidate(iommu, UINT64_MAX, 2), -EINVAL);
	assert_int_equal(mpl_iommu_invalidate(iommu, 3, UINT64_MAX - 1),
			 -EINVAL);
	assert_int_equal(mpl_iommu_invalidate(iommu, 2, UINT64_MAX - 1), 0);
	assert_int_equal(mpl_iommu_invalidate(iommu, UINT64_MAX, 1), 0);
	assert_int_equal(mpl_iommu_invalidate(iommu, 0, UINT64_MAX), 0);
	assert_int_equal(mpl_iommu_invalidate(iommu, 5, UINT64_MAX), 0);
	assert_int_equal(mpl_iommu_invalidate_sync(bench->ram, 0, 1),
			 -EINVAL);
	assert_int_equal(mpl_iommu_invalidate_async(iommu, 0, 1, NULL, NULL),
			 -EINVAL);
	/* The reader of this thread would be waited for. */
	bench->page = 3;
	assert_int_equal(first_byte(bench), 3);
	bench->page = 4;
	assert_int_equal(mpl_iommu_invalidate_sync(iommu, 0, 1), -EDEADLK);
	assert_int_equal(first_byte(bench), 3); /* nothing happened */
	assert_int_equal(mpl_iommu_page_sizes(iommu), ~UINT64_C(0xfff));
	assert_int_equal(mpl_iommu_page_sizes(bench->ram), 0);
	bench_free(bench);
}

/* Without callbacks there is nothing behind it. */
static void test_nothing(void **state)
{
	const struct mpl_attrs none = { 0 };
	struct rig *rig = *state;
	struct bench *bench = bench_new(rig);
	struct mpl_region *iommu;
	uint8_t byte;

	assert_int_equal(mpl_region_new_iommu(rig->plane, "none", PAGE, NULL,
					      NULL, &iommu), 0);
	assert_int_equal(rig_add(rig, iommu, 0x100000), 0);
	assert_int_equal(mpl_read(bench->reader, rig->as, 0x100000, none,
				  &byte, 1), MPL_DECODE_ERROR);
	assert_int_equal(byte, 0xff);
	assert_int_equal(mpl_write(bench->reader, rig->as, 0x100000, none,
				   &byte, 1), MPL_DECODE_ERROR);
	assert_int_equal(mpl_iommu_invalidate(iommu, 0, PAGE), 0);
	mpl_region_unref(iommu);
	bench_free(bench);
}

/* Commit, invalidate and make accesses from inside the callback. */
static void do_everything(struct bench *bench)
{
	const struct mpl_attrs none = { 0 };
	struct mpl_reader *reader = mpl_access_reader(bench->rig->plane);
	uint8_t byte;

	bench->during = NULL;
	assert_ptr_equal(reader, bench->reader);
	assert_int_equal(mpl_read(reader, bench->rig->as, PAGE, none, &byte,
				  1), MPL_OK);
	assert_int_equal(byte, 1);
	assert_int_equal(mpl_iommu_invalidate(bench->iommu, 0, UINT64_MAX), 0);
	assert_int_equal(mpl_iommu_invalidate_sync(bench->iommu, 0, 1),
			 -EDEADLK);
	assert_int_equal(rig_move(bench->rig, bench->ram, 0x200000), 0);
	assert_int_equal(rig_move(bench->rig, bench->ram, 0), 0);
}

static void test_from_the_callback(void **state)
{
	struct bench *bench = bench_new(*state);

	bench->page = 5;
	bench->during = do_everything;
	assert_int_equal(first_byte(bench), 5);
	assert_int_equal(bench->asked, 1);
	assert_int_equal(first_byte(bench), 5);
	assert_int_equal(bench->asked, 2); /* that one was invalidated */
	bench_free(bench);
}

/* The region moves: offsets stay, cached pages with them. */
static void test_moved(void **state)
{
	const struct mpl_attrs none = { 0 };
	struct rig *rig = *state;
	struct bench *bench = bench_new(rig);
	uint8_t byte;

	bench->page = 6;
	assert_int_equal(rig_add(rig, bench->iommu, 0x400000), 0);
	for (uint64_t at = 0x400000; at < 0x600000; at += 0x100000) {
		assert_int_equal(rig_move(rig, bench->iommu, at), 0);
		assert_int_equal(mpl_read(bench->reader, rig->as, at + 9, none,
					  &byte, 1), MPL_OK);
		assert_int_equal(byte, 6);
	}
	assert_int_equal(bench->asked, 1);
	/* The memory behind moves: no invalidation needed. */
	assert_int_equal(rig_move(rig, bench->ram, 6 * PAGE), 0);
	assert_int_equal(first_byte(bench), 0);
	assert_int_equal(bench->asked, 1);
	bench_free(bench);
}

/* A pointer is good until its reader is quiescent: sync waits for that. */
static void *hold_a_pointer(void *arg)
{
	struct bench *bench = arg;
	struct mpl_reader *reader;
	uint8_t *host;
	size_t n;

	assert_int_equal(mpl_reader_register(bench->rig->plane, &reader), 0);
	mpl_reader_online(reader);
	assert_int_equal(mpl_translate(reader, bench->bus, 0, 8, MPL_FOR_WRITE,
				       (void **)&host, &n), MPL_OK);
	rig_count(&bench->step);
	rig_linger();
	assert_int_equal(rig_get(&bench->done), 0);
	*host = 77;
	mpl_reader_quiescent(reader);
	assert_true(rig_wait(&bench->done, 1));
	assert_int_equal(mpl_translate(reader, bench->bus, 0, 8, MPL_FOR_WRITE,
				       (void **)&host, &n), MPL_OK);
	assert_ptr_equal(host, (char *)mpl_region_host(bench->ram) + 9 * PAGE);
	mpl_reader_unregister(reader);
	return NULL;
}

static void test_sync_waits(void **state)
{
	struct bench *bench = bench_new(*state);
	pthread_t thread;

	bench->page = 8;
	mpl_reader_offline(bench->reader);
	thread = rig_start(hold_a_pointer, bench);
	assert_true(rig_wait(&bench->step, 1));
	bench->page = 9;
	assert_int_equal(mpl_iommu_invalidate_sync(bench->iommu, 0, PAGE), 0);
	assert_int_equal(*((uint8_t *)mpl_region_host(bench->ram) + 8 * PAGE),
			 77);
	rig_count(&bench->done);
	rig_join(thread);
	bench_free(bench);
}

static void count_done(void *arg)
{
	rig_count(arg);
}

static void test_async(void **state)
{
	struct rig *rig = *state;
	struct bench *bench = bench_new(rig);

	bench->page = 2;
	assert_int_equal(first_byte(bench), 2);
	bench->page = 3;
	assert_int_equal(mpl_iommu_invalidate_async(bench->iommu, 0, PAGE,
						    count_done, &bench->done),
			 0);
	assert_int_equal(first_byte(bench), 3);
	rig_linger();
	mpl_reclaim(rig->plane);
	assert_int_equal(rig_get(&bench->done), 0); /* the reader is online */
	mpl_reader_quiescent(bench->reader);
	assert_true(rig_wait_reclaiming(rig, &bench->done, 1));
	bench_free(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_BOTH(test_bad_arguments),
		RIG_BOTH(test_nothing),
		RIG_BOTH(test_from_the_callback),
		RIG_BOTH(test_moved),
		RIG_BOTH(test_sync_waits),
		RIG_BOTH(test_async),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
