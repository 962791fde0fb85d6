/* SPDX-License-Identifier: BSD-3-Clause */
/* Translations: caching, invalidation, attributes, chains, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/iommus.h"

static mpl_result_t load(uint64_t iova, struct mpl_attrs attrs,
			 uint64_t *value)
{
	return mpl_load(world.bed->reader, &world.bed->as[BUS], iova, attrs, 1,
			MPL_NATIVE_ENDIAN, value);
}

/* A second access does not ask, until its page is invalidated. */
static void test_cache(void **state)
{
	const struct mpl_attrs attrs = { .requester_id = 1 };
	uint64_t value;

	(void)state;
	set_page(0, 0, MEMORY, 3 * PAGE, MPL_FOR_BOTH);
	set_page(0, 1, MEMORY, 4 * PAGE, MPL_FOR_BOTH);
	assert_int_equal(load(5, attrs, &value), MPL_OK);
	assert_int_equal(value, memory[3 * PAGE + 5]);
	assert_int_equal(load(6, attrs, &value), MPL_OK);
	assert_int_equal(world.asked, 1);
	/* Others' pages: this one stays, over fewer than the log holds. */
	for (unsigned int i = 0; i < MPL_IOMMU_LOG - 1; i++)
		mpl_iommu_forget(world.iommu[0], PAGE, UINT64_MAX);
	assert_int_equal(load(7, attrs, &value), MPL_OK);
	assert_int_equal(world.asked, 1);
	for (unsigned int i = 0; i < MPL_IOMMU_LOG; i++)
		mpl_iommu_forget(world.iommu[0], PAGE, UINT64_MAX);
	assert_int_equal(load(7, attrs, &value), MPL_OK);
	assert_int_equal(world.asked, 2);
	/* Its own, by one byte. */
	world.table[0][0].address = 5 * PAGE;
	assert_int_equal(load(7, attrs, &value), MPL_OK);
	assert_int_equal(value, memory[3 * PAGE + 7]);
	mpl_iommu_forget(world.iommu[0], PAGE - 1, PAGE - 1);
	assert_int_equal(load(7, attrs, &value), MPL_OK);
	assert_int_equal(value, memory[5 * PAGE + 7]);
	assert_int_equal(world.asked, 3);
	mpl_reader_drop_caches(world.bed->reader);
	assert_int_equal(load(7, attrs, &value), MPL_OK);
	assert_int_equal(world.asked, 4);
}

static void test_attributes(void **state)
{
	const struct mpl_attrs one = { .requester_id = 1 };
	const struct mpl_attrs two = { .requester_id = 2 };
	const struct mpl_attrs vcpu = { .requester_id = 1, .vcpu = 9 };
	const struct mpl_attrs user = { .requester_id = 1, .user = 1 };
	const struct mpl_attrs secure = { .requester_id = 1, .secure = 1 };
	uint64_t value;
	void *host;
	size_t n;

	(void)state;
	set_page(0, 0, MEMORY, 0, MPL_FOR_BOTH);
	assert_int_equal(load(0, one, &value), MPL_OK);
	assert_int_equal(world.asked, 1);
	assert_int_equal(world.attrs.requester_id, 1);
	assert_int_equal(load(0, two, &value), MPL_OK);
	assert_int_equal(world.asked, 2);
	assert_int_equal(world.attrs.requester_id, 2);
	assert_int_equal(load(0, vcpu, &value), MPL_OK);
	assert_int_equal(world.asked, 3); /* another's page had the slot */
	assert_int_equal(load(0, one, &value), MPL_OK);
	assert_int_equal(world.asked, 3); /* the vcpu does not matter */
	assert_int_equal(load(0, user, &value), MPL_OK);
	assert_int_equal(world.asked, 4);
	assert_true(world.attrs.user);
	assert_int_equal(load(0, secure, &value), MPL_OK);
	assert_int_equal(world.asked, 5);
	assert_true(world.attrs.secure);
	/* Calls without attributes have the reader's. */
	mpl_reader_set_attrs(world.bed->reader, two);
	assert_int_equal(mpl_translate(world.bed->reader,
				       &world.bed->as[BUS], 0, 1, MPL_FOR_READ,
				       &host, &n), MPL_OK);
	assert_int_equal(world.attrs.requester_id, 2);
}

/* A permission that the cached page lacks is asked for again. */
static void test_permissions(void **state)
{
	const struct mpl_attrs none = { 0 };
	uint64_t value, errors;
	struct mpl_reader_stats stats;

	(void)state;
	set_page(0, 0, MEMORY, 0, MPL_FOR_READ);
	assert_int_equal(load(0, none, &value), MPL_OK);
	assert_int_equal(mpl_write(world.bed->reader, &world.bed->as[BUS], 0,
				   none, &value, 1), MPL_ACCESS_ERROR);
	mpl_reader_stats(world.bed->reader, &stats);
	errors = stats.access_errors;
	assert_int_equal(errors, 1);
	/* More is allowed now: no invalidation is needed for that. */
	world.table[0][0].permissions = MPL_FOR_BOTH;
	assert_int_equal(mpl_write(world.bed->reader, &world.bed->as[BUS], 0,
				   none, &value, 1), MPL_OK);
	/* Bytes of a page before are written, those of the next are not. */
	set_page(0, 1, MEMORY, PAGE, MPL_FOR_READ);
	assert_int_equal(mpl_write(world.bed->reader, &world.bed->as[BUS],
				   PAGE - 4, none, "ABCDEFGH", 8),
			 MPL_ACCESS_ERROR);
	assert_memory_equal(memory + PAGE - 4, "ABCD", 4);
	assert_int_equal(memory[PAGE], shadow[PAGE]);
}

/* An iommu that leads to itself, or through too many, ends. */
static void test_chain(void **state)
{
	const struct mpl_attrs none = { 0 };
	struct mpl_window window;
	uint64_t value;
	void *host;
	size_t n;

	(void)state;
	/* Each page leads to the next: 7 more is the longest way. */
	for (unsigned int i = 0; i < MPL_IOMMU_CHAIN; i++)
		set_page(0, i, BUS, (i + 1) * PAGE, MPL_FOR_BOTH);
	world.table[0][0].space = BUS;
	set_page(0, MPL_IOMMU_CHAIN, MEMORY, 2 * PAGE, MPL_FOR_BOTH);
	for (unsigned int i = 0; i < MPL_IOMMU_CHAIN; i++)
		world.table[0][i].space = MIDDLE + 1;
	bed_put(world.bed, MIDDLE + 1, &(struct mpl_section){
		.start = 0, .span = UINT64_MAX,
		.device = mpl_lookup(world.bed->reader, &world.bed->as[BUS], 0)
				  ->device,
		.flags = MPL_SECTION_IOMMU });
	bed_commit(world.bed);
	assert_int_equal(load(PAGE + 3, none, &value), MPL_OK);
	assert_int_equal(value, memory[2 * PAGE + 3]);
	assert_int_equal(load(3, none, &value), MPL_ACCESS_ERROR);
	assert_int_equal(mpl_window_open(world.bed->reader,
					 &world.bed->as[BUS], PAGE, 16,
					 MPL_FOR_READ, &window), 0);
	assert_false(mpl_window_is_stale(world.bed->reader, &window));
	/* The last of its eight. */
	mpl_iommu_forget(world.iommu[0], MPL_IOMMU_CHAIN * PAGE + 15,
			 MPL_IOMMU_CHAIN * PAGE + 15);
	assert_true(mpl_window_is_stale(world.bed->reader, &window));
	mpl_window_close(&window);
	/* In a circle. */
	set_page(0, 9, MIDDLE + 1, 9 * PAGE, MPL_FOR_BOTH);
	assert_int_equal(load(9 * PAGE, none, &value), MPL_ACCESS_ERROR);
	assert_int_equal(mpl_translate(world.bed->reader,
				       &world.bed->as[BUS], 9 * PAGE, 1,
				       MPL_FOR_READ, &host, &n),
			 MPL_ACCESS_ERROR);
	assert_null(host);
}

/* What a callback returns that makes no sense is an error and a line. */
static void test_nonsense(void **state)
{
	const struct mpl_attrs none = { 0 };
	uint64_t value;

	(void)state;
	set_page(0, 0, MEMORY, 0, MPL_FOR_BOTH);
	world.table[0][0].mask = 0xffe;
	assert_int_equal(load(0, none, &value), MPL_ACCESS_ERROR);
	assert_int_equal(world.bed->lines, 1);
	assert_non_null(strstr(world.bed->log, "not 2^n - 1"));
}

/* A page that is as large as the space. */
static void test_identity(void **state)
{
	const struct mpl_attrs none = { 0 };
	uint64_t value;
	size_t n;
	void *host;

	(void)state;
	for (unsigned int i = 0; i < PAGES; i++) {
		set_page(0, i, MEMORY, 0, MPL_FOR_BOTH);
		world.table[0][i].mask = UINT64_MAX;
	}
	assert_int_equal(load(PAGE + 1, none, &value), MPL_OK);
	assert_int_equal(value, memory[PAGE + 1]);
	assert_int_equal(load(8 * PAGE + 1, none, &value), MPL_OK);
	assert_int_equal(value, memory[8 * PAGE + 1]);
	assert_int_equal(load(UINT64_MAX, none, &value), MPL_DECODE_ERROR);
	assert_int_equal(mpl_translate(world.bed->reader,
				       &world.bed->as[BUS], 1, SIZE_MAX,
				       MPL_FOR_READ, &host, &n), MPL_OK);
	assert_int_equal(n, (PAGES - IO_PAGES) * PAGE - 1);
	assert_int_equal(world.asked, 2); /* two regions of 2 MiB */
}

static void invalidate_all(struct world *w)
{
	mpl_iommu_forget(w->iommu[0], 0, UINT64_MAX);
}

/* An invalidation during the callback: its page is good for that once. */
static void test_invalidated_meanwhile(void **state)
{
	const struct mpl_attrs none = { 0 };
	uint64_t value;

	(void)state;
	set_page(0, 0, MEMORY, 0, MPL_FOR_BOTH);
	world.during = invalidate_all;
	assert_int_equal(load(1, none, &value), MPL_OK);
	world.during = NULL;
	assert_int_equal(load(1, none, &value), MPL_OK);
	assert_int_equal(world.asked, 2);
	assert_int_equal(load(1, none, &value), MPL_OK);
	assert_int_equal(world.asked, 2);
}

/* While the second iommu's callback waits the first one's page goes. */
static void remap(struct world *w)
{
	if (w->asked == 2)
		set_page(0, 0, MIDDLE, MIDDLE_START + PAGE, MPL_FOR_BOTH);
}

static void test_changed_while_waiting(void **state)
{
	const struct mpl_attrs none = { 0 };
	uint64_t value;

	(void)state;
	set_page(0, 0, MIDDLE, MIDDLE_START, MPL_FOR_BOTH);
	set_page(1, 0, MEMORY, 0, MPL_FOR_BOTH);
	set_page(1, 1, MEMORY, 5 * PAGE, MPL_FOR_BOTH);
	world.pause = world.bed->reader;
	world.during = remap;
	assert_int_equal(load(7, none, &value), MPL_OK);
	assert_int_equal(value, memory[5 * PAGE + 7]);
	/* The first, the second; and both again. */
	assert_int_equal(world.asked, 4);
}

/* The first iommu's section goes, and another one comes, meanwhile. */
static void recommit(struct world *w)
{
	if (w->asked != 2)
		return;
	bed_take(w->bed, BUS, 0);
	bed_memory(w->bed, BUS, 0, PAGE - 1, memory + 9 * PAGE, BED_RAM);
}

static void test_removed_while_waiting(void **state)
{
	const struct mpl_attrs none = { 0 };
	uint64_t value;

	(void)state;
	set_page(0, 0, MIDDLE, MIDDLE_START, MPL_FOR_BOTH);
	set_page(1, 0, MEMORY, 0, MPL_FOR_BOTH);
	world.pause = world.bed->reader;
	world.during = recommit;
	assert_int_equal(load(7, none, &value), MPL_OK);
	assert_int_equal(value, memory[9 * PAGE + 7]);
}

static void come_back(struct world *w)
{
	const struct mpl_attrs none = { 0 };
	uint64_t value;

	w->during = NULL;
	assert_int_equal(load(1, none, &value), MPL_ACCESS_ERROR);
}

/* A callback whose accesses come back to it, uncached, is refused. */
static void test_reentry(void **state)
{
	const struct mpl_attrs none = { 0 };
	struct mpl_reader_stats stats;
	uint64_t value;

	(void)state;
	set_page(0, 0, MEMORY, 0, MPL_FOR_BOTH);
	world.during = come_back;
	assert_int_equal(load(1, none, &value), MPL_OK);
	mpl_reader_stats(world.bed->reader, &stats);
	assert_int_equal(stats.reentries, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IOMMU_TEST(test_cache),
		IOMMU_TEST(test_attributes),
		IOMMU_TEST(test_permissions),
		IOMMU_TEST(test_chain),
		IOMMU_TEST(test_nonsense),
		IOMMU_TEST(test_identity),
		IOMMU_TEST(test_invalidated_meanwhile),
		IOMMU_TEST(test_changed_while_waiting),
		IOMMU_TEST(test_removed_while_waiting),
		IOMMU_TEST(test_reentry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
