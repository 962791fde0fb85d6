/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/section.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/eventfd.h>

#include <cmocka.h>

#include "tests/support/bed.h"

static void test_unassigned(void **state)
{
	struct bed *bed = *state;
	const struct mpl_section *none = mpl_section_at(&bed->dp, 0);

	assert_true(mpl_section_is_unassigned(none));
	assert_true(mpl_section_covers(none, 0));
	assert_true(mpl_section_covers(none, UINT64_MAX));
	assert_int_equal(none->id, 0);
	assert_null(none->host);
	assert_null(none->device);
	assert_null(none->doorbells);
	assert_null(mpl_section_region(none));
	assert_false(none->flags & (MPL_SECTION_READ | MPL_SECTION_WRITE));
}

static void test_contents(void **state)
{
	struct bed *bed = *state;
	struct mpl_device *device = bed_device(bed, NULL, NULL);
	static uint8_t host[16];
	const struct mpl_section from = {
		.start = 0xfffffffffffff000,
		.span = 0xfff,
		.host = host,
		.offset = 0x123456789abc,
		.device = device,
		.flags = MPL_SECTION_READ | MPL_SECTION_NONVOLATILE,
		.id = 4711, /* not kept */
	};
	const struct mpl_section *section;
	uint32_t index;

	assert_int_equal(mpl_section_new(&bed->dp, &from, &index), 0);
	section = mpl_section_at(&bed->dp, index);
	assert_int_equal((uintptr_t)section % 64, 0);
	assert_int_equal(section->id, index);
	assert_true(section->start == from.start);
	assert_true(mpl_section_last(section) == UINT64_MAX);
	assert_true(mpl_section_offset(section, UINT64_MAX) ==
		    from.offset + 0xfff);
	assert_ptr_equal(section->host, host);
	assert_ptr_equal(section->device, device);
	assert_int_equal(section->flags, from.flags);
	assert_false(mpl_section_is_unassigned(section));
	mpl_section_free(&bed->dp, index);
}

/* A section keeps its device alive and counts as a way to reach it. */
static void test_holds_its_device(void **state)
{
	struct bed *bed = *state;
	struct mpl_device *device = bed_device(bed, NULL, NULL);
	const struct mpl_section from = { .device = device };
	uint32_t index[2];

	assert_true(mpl_device_unpinned(device));
	assert_int_equal(mpl_section_new(&bed->dp, &from, &index[0]), 0);
	assert_int_equal(mpl_section_new(&bed->dp, &from, &index[1]), 0);
	assert_int_equal(device->refs, 3);
	assert_false(mpl_device_unpinned(device));
	mpl_section_free(&bed->dp, index[0]);
	assert_false(mpl_device_unpinned(device));
	assert_int_equal(device->refs, 2);
	mpl_section_free(&bed->dp, index[1]);
	assert_true(mpl_device_unpinned(device));
	assert_int_equal(device->refs, 1);
}

static void test_holds_its_doorbells(void **state)
{
	struct bed *bed = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	struct mpl_doorbell item = { .offset = 8 };
	struct mpl_doorbells *table;
	struct mpl_section from = { .device = bed->plain };
	uint32_t index;
	uint64_t value;

	assert_true(fd >= 0);
	assert_int_equal(mpl_eventfd_new(fd, &item.event), 0);
	assert_int_equal(mpl_doorbells_with(&bed->dp, NULL, &item, &table), 0);
	mpl_eventfd_unref(item.event);
	from.doorbells = table;
	assert_int_equal(mpl_section_new(&bed->dp, &from, &index), 0);
	mpl_doorbells_unref(table);
	/* Only the section has it now: it still rings. */
	mpl_doorbell_ring(mpl_doorbell_find(
		mpl_section_at(&bed->dp, index)->doorbells, 8, 4, 0));
	assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
	mpl_section_free(&bed->dp, index);
	close(fd);
}

/* The last reference may be the section's. */
static void count_last(struct mpl_device *device)
{
	++*(int *)device->opaque;
}

static void test_last_reference(void **state)
{
	struct bed *bed = *state;
	struct mpl_device device;
	struct mpl_section from = { .device = &device };
	uint32_t index;
	int gone = 0;

	assert_int_equal(mpl_device_init(&device, NULL, &gone), 0);
	device.unreferenced = count_last;
	assert_int_equal(mpl_section_new(&bed->dp, &from, &index), 0);
	mpl_device_unref(&device);
	assert_int_equal(gone, 0);
	mpl_section_free(&bed->dp, index);
	assert_int_equal(gone, 1);
}

static void test_full(void **state)
{
	struct bed *bed = *state;
	const struct mpl_section from = { .device = bed->plain };
	uint32_t index[3], more;
	uint32_t refs = bed->plain->refs;
	struct mpl_reader_state *reader;

	assert_int_equal(mpl_reader_unregister(bed->reader), 0);
	mpl_arena_destroy(&bed->dp.sections);
	assert_int_equal(mpl_arena_init(&bed->dp.sections,
					sizeof(struct mpl_section), 4), 0);
	mpl_section_init_unassigned(&bed->dp);
	for (int i = 0; i < 3; i++)
		assert_int_equal(mpl_section_new(&bed->dp, &from, &index[i]),
				 0);
	assert_int_equal(mpl_section_new(&bed->dp, &from, &more), -ENOSPC);
	/* Nothing was taken. */
	assert_int_equal(bed->plain->refs, refs + 3);
	for (int i = 0; i < 3; i++)
		mpl_section_free(&bed->dp, index[i]);
	assert_int_equal(bed->plain->refs, refs);
	assert_int_equal(bed->dp.sections.live, 0);
	assert_int_equal(mpl_reader_add(&bed->dp, false, &reader), 0);
	bed->reader = &reader->pub;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_unassigned),
		BED_TEST(test_contents),
		BED_TEST(test_holds_its_device),
		BED_TEST(test_holds_its_doorbells),
		BED_TEST(test_last_reference),
		BED_TEST(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
