/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/iommus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct world world;
uint8_t memory[PAGES * PAGE] __attribute__((aligned(PAGE)));
uint8_t shadow[PAGES * PAGE];

static mpl_result_t translate(const struct pte *table, uint64_t iova,
			      enum mpl_intent intent, struct mpl_attrs attrs,
			      struct mpl_iommu_page *page)
{
	const struct pte *pte = &table[iova / PAGE % PAGES];

	(void)intent;
	world.asked++;
	world.attrs = attrs;
	if (world.during)
		world.during(&world);
	if (world.pause) {
		assert_int_equal(mpl_access_suspend(world.pause), 0);
		assert_int_equal(mpl_access_resume(world.pause), 0);
	}
	if (!pte->space)
		return pte->result;
	page->as = &world.bed->as[pte->space];
	page->address = pte->address | (iova & pte->mask & 0xabc);
	page->mask = pte->mask;
	page->permissions = pte->permissions;
	return MPL_OK;
}

static mpl_result_t translate_first(void *opaque, uint64_t iova,
				    enum mpl_intent intent,
				    struct mpl_attrs attrs,
				    struct mpl_iommu_page *page)
{
	assert_ptr_equal(opaque, &world);
	return translate(world.table[0], iova, intent, attrs, page);
}

static mpl_result_t translate_second(void *opaque, uint64_t iova,
				     enum mpl_intent intent,
				     struct mpl_attrs attrs,
				     struct mpl_iommu_page *page)
{
	assert_ptr_equal(opaque, &world);
	return translate(world.table[1], iova, intent, attrs, page);
}

static const struct mpl_iommu_ops first_ops = {
	.translate = translate_first,
	.concurrency = MPL_LOCK_FREE,
	.ignores = MPL_IOMMU_IGNORES_VCPU,
};
static const struct mpl_iommu_ops second_ops = {
	.translate = translate_second,
	.concurrency = MPL_LOCK_FREE,
};

static void put_iommu(struct bed *bed, unsigned int i,
		      const struct mpl_iommu_ops *ops, unsigned int space,
		      uint64_t start, uint64_t span)
{
	struct mpl_device *device = bed_device(bed, NULL, NULL);

	assert_int_equal(mpl_iommu_new(&bed->dp, ops, &world,
				       &world.iommu[i]), 0);
	device->iommu = world.iommu[i];
	bed_put(bed, space, &(struct mpl_section){
		.start = start, .span = span, .device = device,
		.flags = MPL_SECTION_IOMMU });
	bed_commit(bed);
}

int iommus_setup(void **state)
{
	const uint64_t ram = (PAGES - IO_PAGES) * PAGE;
	struct bed *bed;

	bed_setup(state);
	bed = *state;
	memset(&world, 0, sizeof(world));
	world.bed = bed;
	mpl_bounce_init(&world.bus);
	world.bus.pub = bed->as[BUS];
	for (unsigned int i = 0; i < PAGES; i++)
		world.table[0][i].result = world.table[1][i].result =
			MPL_DECODE_ERROR;
	for (size_t i = 0; i < sizeof(memory); i++)
		memory[i] = (uint8_t)(i * 31 + (i >> 12) * 7 + 1);
	memcpy(shadow, memory, sizeof(memory));
	put_iommu(bed, 0, &first_ops, BUS, 0, UINT64_MAX);
	put_iommu(bed, 1, &second_ops, MIDDLE, MIDDLE_START,
		  PAGES * PAGE - 1);
	bed_memory(bed, MEMORY, 0, ram - 1, memory, BED_RAM);
	bed_io(bed, MEMORY, ram, sizeof(memory) - 1,
	       bed_device(bed, &bed_bytes_ops, memory + ram));
	return 0;
}

int iommus_teardown(void **state)
{
	struct bed *bed = *state;

	assert_int_equal(mpl_map_bounced(&world.bus.pub), 0);
	mpl_bounce_destroy(&world.bus);
	bed_free(bed);
	mpl_iommu_free(world.iommu[0]);
	mpl_iommu_free(world.iommu[1]);
	return 0;
}

void set_page(unsigned int level, unsigned int page, unsigned int space,
	      uint64_t address, uint32_t permissions)
{
	world.table[level][page] = (struct pte){
		.space = space,
		.address = address,
		.mask = PAGE - 1,
		.permissions = permissions,
	};
	mpl_iommu_forget(world.iommu[level], page * PAGE,
			 page * PAGE + PAGE - 1);
}
