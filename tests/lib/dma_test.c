/* SPDX-License-Identifier: BSD-3-Clause */
/* Mappings in a topology: what they keep, what waits for them, bus masters. */
#include <memplane/dma.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/rig.h"

enum { PAGE = 4096, SIZE = 16 * PAGE };

static const struct mpl_attrs none;

/* A bus master that sees the rig's memory through an alias. */
struct master {
	struct rig *rig;
	struct mpl_region *ram, *root, *alias, *iommu;
	struct mpl_address_space *as;
	struct mpl_reader *reader;
	uint64_t page; /* where the iommu's pages go */
	int released;
	int step;
	int done;
};

static void count_release(void *opaque)
{
	rig_count(opaque);
}

static mpl_result_t translate(void *opaque, uint64_t iova,
			      enum mpl_intent intent, struct mpl_attrs attrs,
			      struct mpl_iommu_page *page)
{
	struct master *master = opaque;

	(void)iova, (void)intent, (void)attrs;
	page->as = master->rig->as;
	page->address = __atomic_load_n(&master->page, __ATOMIC_RELAXED) *
			PAGE;
	page->mask = PAGE - 1;
	page->permissions = MPL_FOR_BOTH;
	return MPL_OK;
}

static const struct mpl_iommu_ops iommu_ops = { .translate = translate };

static struct master *master_new(struct rig *rig)
{
	struct master *master = calloc(1, sizeof(*master));
	struct mpl_txn *tx;

	assert_non_null(master);
	master->rig = rig;
	assert_int_equal(mpl_region_new_ram(rig->plane, "ram", SIZE, NULL,
					    &master->ram), 0);
	mpl_region_on_release(master->ram, count_release, &master->released);
	assert_int_equal(mpl_region_new_container(rig->plane, "bus",
						  UINT64_MAX, &master->root),
			 0);
	assert_int_equal(mpl_region_new_alias(rig->plane, "master", rig->root,
					      0, UINT64_MAX, &master->alias),
			 0);
	assert_int_equal(mpl_region_new_iommu(rig->plane, "iommu", SIZE,
					      &iommu_ops, master,
					      &master->iommu), 0);
	tx = mpl_begin(rig->plane);
	mpl_region_add(tx, rig->root, 0, master->ram, 0);
	mpl_region_add(tx, rig->root, 0x100000, master->iommu, 0);
	mpl_region_add(tx, master->root, 0, master->alias, 0);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(mpl_address_space_new(rig->plane, "bus", master->root,
					       &master->as), 0);
	assert_int_equal(mpl_reader_register(rig->plane, &master->reader), 0);
	mpl_reader_online(master->reader);
	return master;
}

static void master_free(struct master *master)
{
	struct mpl_txn *tx = mpl_begin(master->rig->plane);

	mpl_region_remove(tx, master->iommu);
	assert_int_equal(mpl_commit(tx), 0);
	mpl_reader_unregister(master->reader);
	assert_int_equal(mpl_address_space_free(master->as), 0);
	mpl_region_unref(master->iommu);
	mpl_region_unref(master->alias);
	mpl_region_unref(master->root);
	rig_free_plane(master->rig);
	assert_int_equal(master->released, 1);
	free(master);
}

static int map(struct master *master, uint64_t gpa, enum mpl_intent intent,
	       struct mpl_mapping *mapping)
{
	size_t len = 64;
	int err = mpl_map(master->reader, master->as, gpa, none, intent, &len,
			  mapping);

	if (!err)
		assert_int_equal(len, 64);
	return err;
}

/* The memory of a removed region stays until its last mapping has ended. */
static void test_past_removal(void **state)
{
	struct master *master = master_new(*state);
	struct mpl_mapping one, two;

	assert_int_equal(map(master, PAGE, MPL_FOR_WRITE, &one), 0);
	assert_int_equal(map(master, PAGE, MPL_FOR_WRITE, &two), 0);
	assert_int_equal(rig_remove(master->rig, master->ram), 0);
	assert_int_equal(map(master, PAGE, MPL_FOR_WRITE, &one), -EFAULT);
	mpl_region_unref(master->ram);
	for (int i = 0; i < 20; i++) {
		mpl_reader_quiescent(master->reader);
		mpl_reclaim(master->rig->plane);
		rig_linger();
		assert_int_equal(rig_get(&master->released), 0);
		memset(one.host, i, one.len);
		if (i == 10)
			assert_int_equal(mpl_unmap(master->reader, &two, 64),
					 0);
	}
	/* Its reader is gone before it ends: any thread, without one. */
	assert_int_equal(mpl_unmap(NULL, &one, 64), 0);
	mpl_reader_quiescent(master->reader);
	assert_true(rig_wait_reclaiming(master->rig, &master->released, 1));
	master_free(master);
}

static void *drain(void *arg)
{
	struct master *master = arg;

	assert_int_equal(mpl_region_drain(master->ram), 0);
	rig_count(&master->done);
	return NULL;
}

static void test_drain_waits(void **state)
{
	struct master *master = master_new(*state);
	struct mpl_mapping mapping;
	pthread_t thread;

	assert_int_equal(map(master, PAGE, MPL_FOR_READ, &mapping), 0);
	assert_int_equal(rig_remove(master->rig, master->ram), 0);
	mpl_reader_offline(master->reader);
	thread = rig_start(drain, master);
	rig_linger();
	assert_int_equal(rig_get(&master->done), 0);
	assert_int_equal(mpl_unmap(NULL, &mapping, 0), 0);
	assert_true(rig_wait(&master->done, 1));
	rig_join(thread);
	mpl_region_unref(master->ram);
	master_free(master);
}

/* Bus mastering off: nothing new; what is mapped stays mapped. */
static void test_bus_master(void **state)
{
	struct master *master = master_new(*state);
	struct mpl_mapping mapping, other;
	uint8_t byte = 7;

	assert_int_equal(map(master, PAGE, MPL_FOR_WRITE, &mapping), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(rig_enable(master->rig, master->alias, false),
				 0);
		assert_int_equal(map(master, PAGE, MPL_FOR_WRITE, &other),
				 -EFAULT);
		assert_int_equal(map(master, 0x100000, MPL_FOR_WRITE, &other),
				 -EFAULT);
		assert_int_equal(mpl_write(master->reader, master->as, PAGE,
					   none, &byte, 1), MPL_DECODE_ERROR);
		memset(mapping.host, 1, mapping.len);
		assert_int_equal(rig_enable(master->rig, master->alias, true),
				 0);
		assert_int_equal(map(master, PAGE, MPL_FOR_WRITE, &other), 0);
		assert_ptr_equal(other.host, mapping.host);
		assert_int_equal(mpl_unmap(master->reader, &other, 0), 0);
	}
	assert_int_equal(mpl_unmap(master->reader, &mapping, 64), 0);
	mpl_region_unref(master->ram);
	master_free(master);
}

/* Bytes that were written are in the log at unmap, not before. */
static void test_dirty(void **state)
{
	struct master *master = master_new(*state);
	struct mpl_mapping mapping;
	struct mpl_txn *tx = mpl_begin(master->rig->plane);
	uint64_t pages;
	size_t len = 4 * PAGE;

	mpl_log_start(tx, master->ram, MPL_LOG_DISPLAY);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(mpl_map(master->reader, master->as, PAGE + 8, none,
				 MPL_FOR_WRITE, &len, &mapping), 0);
	assert_int_equal(len, 4 * PAGE);
	mpl_reader_quiescent(master->reader);
	assert_int_equal(mpl_dirty_count(master->ram, MPL_LOG_DISPLAY, &pages),
			 0);
	assert_int_equal(pages, 0);
	assert_int_equal(mpl_unmap(master->reader, &mapping, 2 * PAGE), 0);
	assert_int_equal(mpl_dirty_count(master->ram, MPL_LOG_DISPLAY, &pages),
			 0);
	assert_int_equal(pages, 3); /* 1008 .. 3007 */
	tx = mpl_begin(master->rig->plane);
	mpl_log_stop(tx, master->ram, MPL_LOG_DISPLAY);
	assert_int_equal(mpl_commit(tx), 0);
	mpl_region_unref(master->ram);
	master_free(master);
}

/* A broken page is an error; a mapping before it ends there. */
static void test_poison(void **state)
{
	struct master *master = master_new(*state);
	struct mpl_mapping mapping;
	size_t len = 4 * PAGE;

	assert_int_equal(mpl_ram_poison(master->ram, 2 * PAGE, PAGE), 0);
	assert_int_equal(map(master, 2 * PAGE, MPL_FOR_READ, &mapping),
			 -EACCES);
	assert_int_equal(map(master, 2 * PAGE, MPL_FOR_WRITE, &mapping),
			 -EACCES);
	assert_int_equal(mpl_map(master->reader, master->as, PAGE, none,
				 MPL_FOR_WRITE, &len, &mapping), 0);
	assert_int_equal(len, PAGE);
	assert_int_equal(mpl_unmap(master->reader, &mapping, len), 0);
	assert_int_equal(map(master, 3 * PAGE, MPL_FOR_READ, &mapping), 0);
	assert_int_equal(mpl_unmap(master->reader, &mapping, 0), 0);
	assert_int_equal(mpl_map_bounced(master->as), 0);
	mpl_region_unref(master->ram);
	master_free(master);
}

/* Planes and spaces do not go while something is mapped. */
static void test_busy(void **state)
{
	struct master *master = master_new(*state);
	struct rig *rig = master->rig;
	struct rig_device *device = rig_device(rig, "io", PAGE, NULL);
	struct mpl_mapping memory, buffer;

	assert_int_equal(rig_add(rig, device->region, 0x200000), 0);
	assert_int_equal(map(master, PAGE, MPL_FOR_WRITE, &memory), 0);
	assert_int_equal(map(master, 0x200000, MPL_FOR_WRITE, &buffer), 0);
	mpl_reader_offline(master->reader);
	assert_int_equal(mpl_address_space_free(master->as), -EBUSY);
	mpl_reader_online(master->reader);
	assert_int_equal(mpl_unmap(master->reader, &buffer, 0), 0);
	mpl_reader_unregister(master->reader);
	assert_int_equal(mpl_plane_free(rig->plane), -EBUSY);
	assert_int_equal(mpl_unmap(NULL, &memory, 0), 0);
	assert_int_equal(mpl_reader_register(rig->plane, &master->reader), 0);
	mpl_region_unref(device->region);
	mpl_region_unref(master->ram);
	master_free(master);
}

/* Invalidating and waiting: for mappings as well as for readers. */
static void *invalidate(void *arg)
{
	struct master *master = arg;

	__atomic_store_n(&master->page, 3, __ATOMIC_RELAXED);
	assert_int_equal(mpl_iommu_invalidate_sync(master->iommu, 0, PAGE), 0);
	rig_count(&master->done);
	return NULL;
}

static void count_done(void *arg)
{
	rig_count(arg);
}

static void test_invalidate(void **state)
{
	struct master *master = master_new(*state);
	struct mpl_mapping before, after;
	uint8_t *host = mpl_region_host(master->ram);
	pthread_t thread;
	int done = 0;

	master->page = 2;
	assert_int_equal(map(master, 0x100000, MPL_FOR_WRITE, &before), 0);
	assert_ptr_equal(before.host, host + 2 * PAGE);
	mpl_reader_offline(master->reader);
	thread = rig_start(invalidate, master);
	rig_linger();
	assert_int_equal(rig_get(&master->done), 0);
	/* The other thread may not have come to invalidate yet. */
	for (;;) {
		mpl_reader_online(master->reader);
		assert_int_equal(map(master, 0x100000, MPL_FOR_WRITE, &after),
				 0);
		mpl_reader_offline(master->reader);
		if (after.host != before.host)
			break;
		assert_int_equal(mpl_unmap(NULL, &after, 64), 0);
		rig_linger();
	}
	assert_ptr_equal(after.host, host + 3 * PAGE);
	assert_int_equal(rig_get(&master->done), 0);
	assert_int_equal(mpl_iommu_invalidate_async(master->iommu, 0, 1,
						    count_done, &done), 0);
	assert_int_equal(mpl_unmap(NULL, &before, 64), 0);
	assert_true(rig_wait(&master->done, 1));
	rig_join(thread);
	mpl_reclaim(master->rig->plane);
	rig_linger();
	assert_int_equal(rig_get(&done), 0); /* the other one is mapped */
	assert_int_equal(mpl_unmap(NULL, &after, 64), 0);
	assert_true(rig_wait_reclaiming(master->rig, &done, 1));
	mpl_reader_online(master->reader);
	mpl_region_unref(master->ram);
	master_free(master);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_BOTH(test_past_removal),
		RIG_BOTH(test_drain_waits),
		RIG_BOTH(test_bus_master),
		RIG_BOTH(test_dirty),
		RIG_BOTH(test_poison),
		RIG_BOTH(test_busy),
		RIG_BOTH(test_invalidate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
