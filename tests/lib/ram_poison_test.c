/* SPDX-License-Identifier: BSD-3-Clause */
/* Broken pages: what accesses, views and windows make of them. */
#define _GNU_SOURCE
#include <memplane.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/support/said.h"

enum { PAGES = 16, PAGE = 4096 };

struct machine {
	struct mpl_plane *plane;
	struct mpl_region *ram;
	struct mpl_address_space *as;
	struct mpl_reader *reader;
	uint8_t *host;
};

static int setup(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));
	struct mpl_plane_config config = { .verify = true };

	*state = m;
	if (mpl_plane_new(&m->plane, &config) ||
	    mpl_region_new_ram(m->plane, "ram", PAGES * PAGE, NULL, &m->ram) ||
	    mpl_address_space_new(m->plane, "memory", m->ram, &m->as) ||
	    mpl_reader_register(m->plane, &m->reader))
		return -1;
	m->host = mpl_region_host(m->ram);
	memset(m->host, 9, PAGES * PAGE);
	mpl_reader_online(m->reader);
	return 0;
}

static int teardown(void **state)
{
	struct machine *m = *state;
	int err;

	mpl_reader_unregister(m->reader);
	err = mpl_plane_free(m->plane);
	free(m);
	return err;
}

/* Pages whose range in the flat view is poisoned, and the ranges. */
struct seen {
	bool poisoned[PAGES];
	unsigned int ranges;
};

static int see(void *arg, const struct mpl_flat_range *range)
{
	struct seen *seen = arg;

	seen->ranges++;
	for (uint64_t i = range->offset / PAGE;
	     i <= (range->offset + range->last - range->start) / PAGE; i++)
		seen->poisoned[i] = range->poisoned;
	return 0;
}

static void assert_like(struct machine *m, const bool *model)
{
	struct seen seen = { .ranges = 0 };
	unsigned int ranges = 1;

	mpl_reader_quiescent(m->reader);
	assert_int_equal(mpl_address_space_walk(m->as, see, &seen), 0);
	assert_memory_equal(seen.poisoned, model, sizeof(seen.poisoned));
	for (unsigned int i = 1; i < PAGES; i++)
		ranges += model[i] != model[i - 1];
	assert_int_equal(seen.ranges, ranges);
	for (unsigned int i = 0; i < PAGES; i++) {
		mpl_result_t wanted = model[i] ? MPL_ACCESS_ERROR : MPL_OK;
		struct mpl_attrs attrs = { 0 };
		uint64_t value;
		uint8_t byte = 5;
		size_t rest;
		void *host;

		assert_int_equal(mpl_read(m->reader, m->as, i * PAGE + 7, attrs,
					  &byte, 1),
				 wanted);
		assert_int_equal(byte, model[i] ? 0xff : 9);
		assert_int_equal(mpl_load(m->reader, m->as, i * PAGE, attrs, 8,
					  MPL_LITTLE_ENDIAN, &value),
				 wanted);
		assert_int_equal(mpl_store(m->reader, m->as, i * PAGE, attrs, 4,
					   MPL_LITTLE_ENDIAN, 0x09090909),
				 wanted);
		assert_int_equal(mpl_translate(m->reader, m->as, i * PAGE, 1,
					       MPL_FOR_READ, &host, &rest),
				 wanted);
	}
}

/* So that a touch is a fault of this test. */
static void protect(struct machine *m, const bool *model)
{
	for (unsigned int i = 0; i < PAGES; i++)
		assert_int_equal(
			mprotect(m->host + i * PAGE, PAGE,
				 model[i] ? PROT_NONE : PROT_READ | PROT_WRITE),
			0);
}

static void test_random(void **state)
{
	struct machine *m = *state;
	bool model[PAGES] = { false };

	srand(2);
	for (unsigned int round = 0; round < 300; round++) {
		unsigned int from = (unsigned int)rand() % PAGES;
		unsigned int count =
			(unsigned int)rand() % (PAGES - from) % 4 + 1;
		bool poison = rand() % 2, any = false;
		unsigned int i;
		int err;

		for (i = from; i < from + count; i++)
			any |= model[i];
		if (poison)
			/* Any byte of a page is the whole page. */
			err = mpl_ram_poison(m->ram, from * PAGE + 17,
					     (count - 1) * PAGE + 1);
		else
			err = mpl_ram_unpoison(m->ram, from * PAGE,
					       count * PAGE);
		assert_int_equal(err, poison || any ? 0 : -ENOENT);
		if (!poison && any)
			for (i = from; i < from + count; i++)
				if (model[i]) {
					mprotect(m->host + i * PAGE, PAGE,
						 PROT_READ | PROT_WRITE);
					/* Fresh pages. */
					assert_int_equal(m->host[i * PAGE], 0);
					memset(m->host + i * PAGE, 9, PAGE);
				}
		memset(model + from, poison, count);
		protect(m, model);
		assert_like(m, model);
	}
	memset(model, false, sizeof(model));
	protect(m, model);
}

/* One access over good and broken pages: all of the good is done. */
static void test_access_across(void **state)
{
	struct machine *m = *state;
	uint8_t buf[3 * PAGE];
	struct mpl_window window;

	assert_int_equal(mpl_ram_poison(m->ram, 5 * PAGE, PAGE), 0);
	mprotect(m->host + 5 * PAGE, PAGE, PROT_NONE);
	mpl_reader_quiescent(m->reader);
	assert_int_equal(mpl_read(m->reader, m->as, 4 * PAGE,
				  (struct mpl_attrs){ 0 }, buf, sizeof(buf)),
			 MPL_ACCESS_ERROR);
	for (unsigned int i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], i / PAGE == 1 ? 0xff : 9);
	memset(buf, 8, sizeof(buf));
	assert_int_equal(mpl_write(m->reader, m->as, 4 * PAGE,
				   (struct mpl_attrs){ 0 }, buf, sizeof(buf)),
			 MPL_ACCESS_ERROR);
	assert_int_equal(m->host[5 * PAGE - 1], 8);
	assert_int_equal(m->host[6 * PAGE], 8);
	assert_int_equal(mpl_window_open(m->reader, m->as, 5 * PAGE, 1,
					 MPL_FOR_READ, &window),
			 -EACCES);
	assert_int_equal(mpl_window_open(m->reader, m->as, 4 * PAGE, 2 * PAGE,
					 MPL_FOR_READ, &window),
			 -ERANGE);
	mprotect(m->host + 5 * PAGE, PAGE, PROT_READ | PROT_WRITE);
}

/* A failing commit leaves no trace. */
static int refuse(void *opaque, const struct mpl_flat_range *range)
{
	return *(bool *)opaque && range->poisoned ? -EDOM : 0;
}

static void test_unwound(void **state)
{
	static const struct mpl_listener_ops ops = { .range_add = refuse };
	struct mpl_listener *listener;
	struct machine *m = *state;
	bool model[PAGES] = { false };
	bool refuses = true;

	assert_int_equal(
		mpl_listener_register(m->as, &ops, &refuses, &listener), 0);
	assert_int_equal(mpl_ram_poison(m->ram, 0, PAGE), -EDOM);
	assert_like(m, model);
	assert_int_equal(mpl_ram_unpoison(m->ram, 0, PAGE), -ENOENT);
	refuses = false;
	assert_int_equal(mpl_ram_poison(m->ram, 0, PAGE), 0);
	model[0] = true;
	assert_like(m, model);
	assert_int_equal(mpl_listener_unregister(listener), 0);
}

static void test_refusals(void **state)
{
	struct machine *m = *state;
	struct mpl_region *io;

	assert_int_equal(mpl_ram_poison(m->ram, 0, 0), -EINVAL);
	assert_int_equal(mpl_ram_poison(m->ram, PAGES * PAGE, 1), -EINVAL);
	assert_int_equal(mpl_ram_poison(m->ram, 1, PAGES * PAGE), -EINVAL);
	assert_int_equal(mpl_ram_poison(m->ram, 1, UINT64_MAX), -EINVAL);
	assert_int_equal(mpl_ram_unpoison(m->ram, 0, PAGE), -ENOENT);
	assert_int_equal(m->host[0], 9);
	assert_int_equal(mpl_region_new_container(m->plane, "io", 8, &io), 0);
	assert_int_equal(mpl_ram_poison(io, 0, 1), -EINVAL);
	mpl_region_unref(io);
}

static mpl_result_t one(void *opaque, uint64_t offset, unsigned int size,
			struct mpl_attrs attrs, uint64_t *value)
{
	(void)opaque;
	(void)offset;
	(void)size;
	(void)attrs;
	*value = 1;
	return MPL_OK;
}

/* A ROM device shows its memory in one mode only. */
static void test_rom_device(void **state)
{
	static const struct mpl_io_ops ops = { .read = one };
	struct mpl_attrs attrs = { 0 };
	struct machine *m = *state;
	struct mpl_address_space *as;
	struct mpl_region *flash;
	uint8_t byte;

	assert_int_equal(mpl_region_new_rom_device(m->plane, "flash", PAGE,
						   NULL, &ops, NULL, &flash),
			 0);
	assert_int_equal(mpl_address_space_new(m->plane, "flash", flash, &as),
			 0);
	assert_int_equal(mpl_ram_poison(flash, 0, PAGE), 0);
	assert_int_equal(mpl_read(m->reader, as, 0, attrs, &byte, 1),
			 MPL_ACCESS_ERROR);
	struct mpl_txn *tx = mpl_begin(m->plane);

	mpl_region_set_rom_mode(tx, flash, false);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(mpl_read(m->reader, as, 0, attrs, &byte, 1), MPL_OK);
	assert_int_equal(byte, 1);
	mpl_address_space_free(as);
	mpl_region_unref(flash);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_random),     TEST(test_access_across),
		TEST(test_unwound),    TEST(test_refusals),
		TEST(test_rom_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
