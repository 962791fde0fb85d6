/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory given back, by kind of block; and what listeners hear. */
#define _GNU_SOURCE
#include <memplane.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/huge.h"
#include "tests/support/said.h"

#define HUGE (2 * MPL_MIB)

enum { PAGES = 16 };

static int setup(void **state)
{
	return said_plane_new((struct mpl_plane **)state);
}

static int teardown(void **state)
{
	int err = mpl_plane_free(*state);

	huge_give();
	return err;
}

/* Is each byte of the page `value`? */
static bool is(const uint8_t *host, uint64_t page, uint8_t value)
{
	for (uint64_t i = 0; i < page; i++)
		if (host[i] != value)
			return false;
	return true;
}

/* Discard the middle of three pages: it is gone, from the file as well. */
static void check_gone(struct mpl_region *ram)
{
	uint64_t page = mpl_region_page_size(ram);
	uint8_t *host = mpl_region_host(ram);
	struct mpl_ram_info info;
	struct stat before, after;

	memset(host, 9, 3 * page);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	if (info.fd >= 0)
		assert_int_equal(fstat(info.fd, &before), 0);
	assert_int_equal(mpl_ram_discard(ram, page, page), 0);
	if (info.fd >= 0) {
		assert_int_equal(fstat(info.fd, &after), 0);
		assert_true(after.st_blocks < before.st_blocks);
		assert_int_equal(after.st_size, before.st_size);
	}
	assert_int_equal(mpl_ram_populate(ram, page, page), 0);
	assert_true(is(host, page, 9));
	assert_true(is(host + page, page, 0));
	assert_true(is(host + 2 * page, page, 9));
	assert_int_equal(mpl_ram_discard(ram, page + 1, page), -EINVAL);
	assert_int_equal(mpl_ram_discard(ram, page, page - 1), -EINVAL);
	assert_int_equal(mpl_ram_discard(ram, page, 0), -EINVAL);
	assert_int_equal(mpl_ram_discard(ram, page, 3 * page), -EINVAL);
	assert_int_equal(mpl_ram_discard(ram, page, -page), -EINVAL);
	assert_true(said("not of whole pages"));
}

static void test_backings(void **state)
{
	static const struct mpl_ram_config configs[] = {
		{ .backing = MPL_RAM_ANONYMOUS },
		{ .backing = MPL_RAM_MEMFD },
		{ .backing = MPL_RAM_PATH, .path = "/dev/shm" },
		{ .backing = MPL_RAM_PATH, .path = "/tmp" },
	};

	for (unsigned int i = 0; i < 4; i++) {
		struct mpl_region *ram;

		assert_int_equal(mpl_region_new_ram(*state, "ram", 3 * 4096,
						    &configs[i], &ram),
				 0);
		check_gone(ram);
		mpl_region_unref(ram);
	}
}

static void test_huge_pages(void **state)
{
	struct mpl_ram_config config = { .page_sizes = { HUGE } };
	struct mpl_region *ram, *greedy;
	uint64_t free_pages;

	if (!huge_take(HUGE, 3))
		skip();
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", 3 * HUGE, &config, &ram), 0);
	check_gone(ram);
	/* A page that somebody else took meanwhile: an error, no signal. */
	free_pages = huge_free(HUGE);
	assert_int_equal(mpl_ram_discard(ram, 0, HUGE), 0);
	assert_int_equal(huge_free(HUGE), free_pages + 1);
	assert_int_equal(mpl_region_new_ram(*state, "greedy",
					    (free_pages + 1) * HUGE, &config,
					    &greedy),
			 0);
	assert_int_equal(mpl_ram_populate(ram, 0, HUGE), -ENOMEM);
	assert_true(said("huge pages ran out"));
	mpl_region_unref(greedy);
	assert_int_equal(mpl_ram_populate(ram, 0, HUGE), 0);
	mpl_region_unref(ram);
}

static void test_not_ours(void **state)
{
	static char memory[8192] __attribute__((aligned(4096)));
	struct mpl_ram_config config = { .host = memory };
	struct mpl_region *ram, *io;

	assert_int_equal(mpl_region_new_ram(*state, "ram", 8192, &config, &ram),
			 0);
	memory[0] = 1;
	assert_int_equal(mpl_ram_discard(ram, 0, 4096), -ENOTSUP);
	assert_int_equal(memory[0], 1);
	mpl_region_unref(ram);
	assert_int_equal(mpl_region_new_container(*state, "io", 1, &io), 0);
	assert_int_equal(mpl_ram_discard(io, 0, 4096), -EINVAL);
	mpl_region_unref(io);
}

/* A listener that keeps a page each of what it was told. */
struct ear {
	struct mpl_region *region;
	bool used[2 * PAGES]; /* twice as many can be added */
	unsigned int calls;
	unsigned int refuse_at; /* the call; 0: none */
	int reenter;            /* what a discard from inside said */
};

static int on_populated(void *opaque, struct mpl_region *region,
			uint64_t offset, uint64_t len)
{
	struct ear *ear = opaque;

	assert_int_equal(len % 4096 | offset % 4096, 0);
	assert_true(len > 0);
	if (++ear->calls == ear->refuse_at)
		return -EDOM;
	ear->region = region;
	for (uint64_t i = offset / 4096; i < (offset + len) / 4096; i++) {
		assert_false(ear->used[i]);
		ear->used[i] = true;
	}
	ear->reenter = mpl_ram_discard(region, 0, 4096);
	return 0;
}

static void on_discarded(void *opaque, struct mpl_region *region,
			 uint64_t offset, uint64_t len)
{
	struct ear *ear = opaque;
	const uint8_t *host = mpl_region_host(region);

	for (uint64_t i = offset / 4096; i < (offset + len) / 4096; i++) {
		assert_true(ear->used[i]);
		ear->used[i] = false;
		/* It is told before the memory goes. */
		assert_true(is(host + i * 4096, 4096, 0) ||
			    is(host + i * 4096, 4096, 9));
	}
}

static const struct mpl_ram_listener_ops ears = {
	.populated = on_populated,
	.discarded = on_discarded,
};

static void assert_hears(const struct ear *ear, const bool *model)
{
	assert_memory_equal(ear->used, model, PAGES * sizeof(bool));
}

static void test_listeners(void **state)
{
	struct mpl_ram_listener *first, *second = NULL;
	struct ear ear[2] = { { .region = NULL } };
	bool model[PAGES];
	struct mpl_region *ram;

	memset(model, true, sizeof(model));
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", PAGES * 4096, NULL, &ram), 0);
	assert_int_equal(mpl_ram_listener_register(ram, &ears, &ear[0], &first),
			 0);
	assert_ptr_equal(ear[0].region, ram);
	assert_int_equal(ear[0].reenter, -EDEADLK);
	assert_hears(&ear[0], model);
	srand(5);
	for (unsigned int round = 0; round < 2000; round++) {
		uint64_t from = (uint64_t)rand() % PAGES;
		uint64_t count = (uint64_t)rand() % (PAGES - from) + 1;
		bool use = rand() % 2;

		assert_int_equal(
			use ? mpl_ram_populate(ram, from * 4096, count * 4096) :
			      mpl_ram_discard(ram, from * 4096, count * 4096),
			0);
		memset(model + from, use, count);
		assert_hears(&ear[0], model);
		if (second)
			assert_hears(&ear[1], model);
		if (rand() % 8)
			continue;
		if (!second) {
			memset(&ear[1], 0, sizeof(ear[1]));
			assert_int_equal(mpl_ram_listener_register(
						 ram, &ears, &ear[1], &second),
					 0);
		} else {
			bool none[PAGES] = { false };

			assert_int_equal(mpl_ram_listener_unregister(second),
					 0);
			assert_hears(&ear[1], none);
			second = NULL;
		}
	}
	if (second)
		assert_int_equal(mpl_ram_listener_unregister(second), 0);
	assert_int_equal(mpl_ram_listener_unregister(first), 0);
	mpl_region_unref(ram);
}

static void test_refusing(void **state)
{
	struct ear ear[2] = { { .region = NULL }, { .region = NULL } };
	struct mpl_ram_listener *listener[2], *none = NULL;
	struct mpl_ram_listener_ops deaf = { .discarded = on_discarded };
	bool model[PAGES];
	struct mpl_region *ram;

	memset(model, true, sizeof(model));
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", PAGES * 4096, NULL, &ram), 0);
	assert_int_equal(mpl_ram_listener_register(ram, &deaf, NULL, &none),
			 -EINVAL);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(mpl_ram_listener_register(ram, &ears, &ear[i],
							   &listener[i]),
				 0);
	assert_int_equal(mpl_ram_discard(ram, 2 * 4096, 4 * 4096), 0);
	memset(model + 2, false, 4);
	/* The second refuses: the first hears that it is not so. */
	ear[1].refuse_at = ear[1].calls + 1;
	assert_int_equal(mpl_ram_populate(ram, 0, PAGES * 4096), -EDOM);
	assert_hears(&ear[0], model);
	assert_hears(&ear[1], model);
	assert_int_equal(mpl_ram_populate(ram, 0, PAGES * 4096), 0);
	memset(model, true, sizeof(model));
	assert_hears(&ear[0], model);
	assert_hears(&ear[1], model);
	assert_int_equal(mpl_ram_listener_unregister(listener[0]), 0);
	/* Refusing the second part of the replay takes the first back. */
	assert_int_equal(mpl_ram_discard(ram, 2 * 4096, 4 * 4096), 0);
	memset(&ear[0], 0, sizeof(ear[0]));
	ear[0].refuse_at = 2;
	assert_int_equal(
		mpl_ram_listener_register(ram, &ears, &ear[0], &listener[0]),
		-EDOM);
	memset(model, false, sizeof(model));
	assert_hears(&ear[0], model);
	assert_int_equal(mpl_ram_listener_unregister(listener[1]), 0);
	mpl_region_unref(ram);
}

/* Registrations that are left go with the plane. */
static void test_left_over(void **state)
{
	static struct ear ear;
	struct mpl_ram_listener *listener;
	struct mpl_region *ram;

	assert_int_equal(mpl_region_new_ram(*state, "ram", 4096, NULL, &ram),
			 0);
	assert_int_equal(mpl_ram_listener_register(ram, &ears, &ear, &listener),
			 0);
	mpl_region_unref(ram);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_backings), TEST(test_huge_pages),
		TEST(test_not_ours), TEST(test_listeners),
		TEST(test_refusing), TEST(test_left_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
