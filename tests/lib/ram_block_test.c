/* SPDX-License-Identifier: BSD-3-Clause */
/* Host memory behind regions: ours, the caller's, none; sizes and limits. */
#include <memplane.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
	return mpl_plane_new((struct mpl_plane **)state, NULL);
}

static int teardown(void **state)
{
	return mpl_plane_free(*state);
}

static void test_own_memory(void **state)
{
	struct mpl_region *ram;
	unsigned char *host;

	assert_int_equal(mpl_region_new_ram(*state, "ram", 0x12345, NULL, &ram),
			 0);
	host = mpl_region_host(ram);
	assert_non_null(host);
	assert_int_equal((uintptr_t)host % 4096, 0);
	assert_int_equal(mpl_region_page_size(ram), 4096);
	assert_int_equal(host[0] | host[0x12344], 0);
	memset(host, 0x5a, 0x12345);
	mpl_region_unref(ram);
}

static void test_callers_memory(void **state)
{
	static char memory[0x2000];
	struct mpl_ram_config config = { .host = memory };
	struct mpl_region *region;

	assert_int_equal(mpl_region_new_rom(*state, "rom", sizeof(memory),
					    &config, &region),
			 0);
	assert_ptr_equal(mpl_region_host(region), memory);
	mpl_region_unref(region);
	/* It is still the caller's. */
	memory[0] = memory[sizeof(memory) - 1] = 1;
}

static void test_no_memory(void **state)
{
	struct mpl_ram_config config = { .unbacked = true };
	struct mpl_region *ram, *empty;

	assert_int_equal(
		mpl_region_new_ram(*state, "ram", UINT64_MAX, &config, &ram),
		0);
	assert_null(mpl_region_host(ram));
	assert_int_equal(mpl_region_page_size(ram), 0);
	mpl_region_unref(ram);
	assert_int_equal(mpl_region_new_ram(*state, "empty", 0, NULL, &empty),
			 0);
	assert_null(mpl_region_host(empty));
	mpl_region_unref(empty);
}

static void test_limits(void **state)
{
	struct mpl_ram_config less = { .max_size = 0x1000 };
	struct mpl_ram_config more = { .max_size = 0x4000 };
	struct mpl_region *ram;
	struct mpl_txn *tx;

	assert_int_equal(
		mpl_region_new_ram(*state, "ram", UINT64_MAX, NULL, &ram),
		-EINVAL);
	assert_int_equal(mpl_region_new_ram(*state, "ram", 0x2000, &less, &ram),
			 -EINVAL);
	/* More than any process can map. */
	assert_int_equal(mpl_region_new_ram(*state, "ram", UINT64_C(1) << 62,
					    NULL, &ram),
			 -ENOMEM);
	assert_int_equal(mpl_region_new_ram(*state, "ram", 0x2000, &more, &ram),
			 0);
	tx = mpl_begin(*state);
	mpl_region_resize(tx, ram, 0x4000);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(mpl_region_size(ram), 0x4000);
	memset(mpl_region_host(ram), 1, 0x4000);
	tx = mpl_begin(*state);
	mpl_region_resize(tx, ram, 0x4001);
	assert_int_equal(mpl_txn_error(tx), -ENOSPC);
	assert_int_equal(mpl_commit(tx), -ENOSPC);
	assert_int_equal(mpl_region_size(ram), 0x4000);
	mpl_region_unref(ram);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_own_memory),
		TEST(test_callers_memory),
		TEST(test_no_memory),
		TEST(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
