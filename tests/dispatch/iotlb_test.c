/* SPDX-License-Identifier: BSD-3-Clause */
/* What a kept translation answers alone, and what it leaves to the long way. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch/iotlb.h"
#include "tests/support/iommus.h"

static const struct mpl_attrs none;

static void *hit_in(unsigned int space, uint64_t gpa, uint64_t len,
		    enum mpl_intent intent, struct mpl_attrs attrs)
{
	struct mpl_reader *reader = world.bed->reader;
	const struct mpl_section *section =
		mpl_lookup(reader, &world.bed->as[space], gpa);

	assert_true(section->flags & MPL_SECTION_IOMMU);
	return mpl_iotlb_all(mpl_reader_state(reader), section, gpa, len,
			      intent, attrs);
}

static void *hit(uint64_t gpa, uint64_t len)
{
	return hit_in(BUS, gpa, len, MPL_FOR_READ, none);
}

/* Access, so that the translation is kept. */
static void keep(uint64_t gpa)
{
	uint64_t value;

	assert_int_equal(mpl_load(world.bed->reader, &world.bed->as[BUS], gpa,
				  none, 1, MPL_NATIVE_ENDIAN, &value),
			 MPL_OK);
}

static void test_page(void **state)
{
	const struct mpl_attrs vcpu = { .vcpu = 3 };
	const struct mpl_attrs other = { .requester_id = 1 };

	(void)state;
	set_page(0, 2, MEMORY, 5 * PAGE, MPL_FOR_READ);
	assert_null(hit(2 * PAGE, 1)); /* nothing is kept at all */
	keep(2 * PAGE);
	assert_ptr_equal(hit(2 * PAGE, 1), memory + 5 * PAGE);
	assert_ptr_equal(hit(2 * PAGE + 9, 8), memory + 5 * PAGE + 9);
	assert_ptr_equal(hit(2 * PAGE, PAGE), memory + 5 * PAGE);
	assert_ptr_equal(hit_in(BUS, 2 * PAGE, 1, MPL_FOR_READ, vcpu),
			 memory + 5 * PAGE); /* this iommu ignores it */
	assert_null(hit(2 * PAGE, PAGE + 1));
	assert_null(hit(2 * PAGE + 1, PAGE));
	assert_null(hit(2 * PAGE, UINT64_MAX));
	assert_null(hit(3 * PAGE, 1));
	assert_null(hit_in(BUS, 2 * PAGE, 1, MPL_FOR_READ, other));
	assert_null(hit_in(BUS, 2 * PAGE, 1, MPL_FOR_WRITE, none));
	assert_null(hit_in(BUS, 2 * PAGE, 1, MPL_FOR_BOTH, none));
	/* The same page of another iommu. */
	assert_null(hit_in(MIDDLE, MIDDLE_START + 2 * PAGE, 1, MPL_FOR_READ,
			   none));
	assert_int_equal(world.asked, 1);
	/* One of another iommu that has come to lie there. */
	mpl_iotlb_slot(mpl_reader_state(world.bed->reader)->iotlb,
		       world.iommu[0]->id, 2 * PAGE, PAGE - 1)->id++;
	assert_null(hit(2 * PAGE, 1));
}

#define HUGE_PAGE (UINT64_C(1) << 21)

/* A page that is kept by the larger unit. */
static void set_huge_page(void)
{
	for (unsigned int i = 0; i < PAGES; i++) {
		set_page(0, i, MEMORY, 0, MPL_FOR_BOTH);
		world.table[0][i].mask = HUGE_PAGE - 1;
	}
}

static void test_huge(void **state)
{
	(void)state;
	set_huge_page();
	keep(0);
	assert_ptr_equal(hit(7 * PAGE + 5, 8), memory + 7 * PAGE + 5);
	assert_null(hit(HUGE_PAGE, 8));
	assert_null(hit(HUGE_PAGE - 8, 9));
	keep(3 * PAGE);
	assert_int_equal(world.asked, 1);
}

static void test_change(void **state)
{
	static uint8_t instead[PAGE] __attribute__((aligned(PAGE)));

	(void)state;
	set_page(0, 0, MEMORY, 0, MPL_FOR_BOTH);
	keep(0);
	/* Another page's invalidation is for the long way to look at. */
	mpl_iommu_forget(world.iommu[0], 3 * PAGE, 4 * PAGE);
	assert_null(hit(0, 8));
	keep(0);
	assert_int_equal(world.asked, 1);
	assert_ptr_equal(hit(0, 8), memory);
	/* A commit: other memory there. */
	bed_take(world.bed, MEMORY, 0);
	bed_memory(world.bed, MEMORY, 0, PAGE - 1, instead, BED_RAM);
	assert_null(hit(0, 8));
	keep(0);
	assert_int_equal(world.asked, 1);
	assert_ptr_equal(hit(0, 8), instead);
	/* The space of a page that was invalidated may be gone. */
	mpl_iotlb_slot(mpl_reader_state(world.bed->reader)->iotlb,
		       world.iommu[0]->id, 0, PAGE - 1)->as = (void *)1;
	mpl_iommu_forget(world.iommu[0], 0, PAGE - 1);
	assert_null(hit(0, 8));
}

/* A page over memory and a device; an iommu that ends within a page. */
static void test_ends(void **state)
{
	const uint64_t io = (PAGES - IO_PAGES) * PAGE;

	(void)state;
	set_huge_page();
	keep(io - 2 * PAGE);
	assert_ptr_equal(hit(io - 8, 8), memory + io - 8);
	assert_null(hit(io - 8, 9));
	assert_null(hit(io, 8));

	bed_put(world.bed, MIDDLE + 1, &(struct mpl_section){
		.start = 0, .span = 0x7ff, .offset = io - 2 * PAGE,
		.device = mpl_lookup(world.bed->reader, &world.bed->as[BUS], 0)
				  ->device,
		.flags = MPL_SECTION_IOMMU });
	bed_commit(world.bed);
	assert_ptr_equal(hit_in(MIDDLE + 1, 0x7f8, 8, MPL_FOR_READ, none),
			 memory + io - 2 * PAGE + 0x7f8);
	assert_null(hit_in(MIDDLE + 1, 0x7f8, 9, MPL_FOR_READ, none));
}

/* Memory that minds: read-only, logged, or in words of its own. */
static void test_kinds(void **state)
{
	static const struct {
		uint32_t flags;
		bool read, write;
	} kinds[] = {
		{ BED_RAM, true, true },
		{ BED_ROM, true, false },
		{ MPL_SECTION_READ | MPL_SECTION_LOGGED, true, false },
		{ BED_RAM | MPL_SECTION_EXACT, false, false },
	};

	(void)state;
	set_page(0, 0, MEMORY, 0, MPL_FOR_BOTH);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		bed_take(world.bed, MEMORY, 0);
		bed_memory(world.bed, MEMORY, 0, PAGE - 1, memory,
			   kinds[i].flags);
		keep(0);
		assert_int_equal(hit(0, 8) != NULL, kinds[i].read);
		assert_int_equal(hit_in(BUS, 0, 8, MPL_FOR_WRITE, none) != NULL,
				 kinds[i].write);
	}
}

/* Every call that asks for the page alone, and whose attributes it takes. */
static void test_callers(void **state)
{
	const struct mpl_attrs other = { .requester_id = 1 };
	struct mpl_reader *reader = world.bed->reader;
	const struct mpl_address_space *bus = &world.bed->as[BUS];
	uint64_t value, gpa[] = { 8, PAGE - 8, PAGE - 4 };
	void *host[3];
	size_t n;

	(void)state;
	set_page(0, 0, MEMORY, 3 * PAGE, MPL_FOR_BOTH);
	keep(0);
	keep(0); /* of the last section now */
	assert_int_equal(mpl_store(reader, bus, 16, none, 4, MPL_LITTLE_ENDIAN,
				   0x12345678), MPL_OK);
	assert_memory_equal(memory + 3 * PAGE + 16, "\x78\x56\x34\x12", 4);
	assert_int_equal(mpl_load(reader, bus, 16, none, 2, MPL_BIG_ENDIAN,
				  &value), MPL_OK);
	assert_int_equal(value, 0x7856);
	assert_int_equal(mpl_load(reader, bus, 16, none, 3, MPL_BIG_ENDIAN,
				  &value), MPL_ACCESS_ERROR);
	assert_int_equal(mpl_translate(reader, bus, 5, 100, MPL_FOR_BOTH,
				       host, &n), MPL_OK);
	assert_ptr_equal(host[0], memory + 3 * PAGE + 5);
	assert_int_equal(n, 100);
	assert_int_equal(mpl_translate(reader, bus, 5, 0, MPL_FOR_BOTH, host,
				       &n), MPL_OK);
	assert_int_equal(n, 0);
	assert_int_equal(world.asked, 1);
	/* The third goes on in a page that is not there. */
	assert_int_equal(mpl_translate_burst(reader, bus, gpa, 3, 8,
					     MPL_FOR_READ, host), 2);
	assert_ptr_equal(host[0], memory + 3 * PAGE + 8);
	assert_ptr_equal(host[1], memory + 3 * PAGE + PAGE - 8);
	assert_null(host[2]);
	assert_int_equal(world.asked, 2);
	/* Pointers have the reader's attributes. */
	mpl_reader_set_attrs(reader, other);
	assert_int_equal(mpl_translate(reader, bus, 5, 8, MPL_FOR_READ, host,
				       &n), MPL_OK);
	assert_int_equal(world.asked, 3);
	assert_int_equal(world.attrs.requester_id, 1);
	assert_int_equal(mpl_translate_burst(reader, bus, gpa, 1, 8,
					     MPL_FOR_READ, host), 1);
	assert_int_equal(world.asked, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IOMMU_TEST(test_page),
		IOMMU_TEST(test_huge),
		IOMMU_TEST(test_change),
		IOMMU_TEST(test_ends),
		IOMMU_TEST(test_kinds),
		IOMMU_TEST(test_callers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
