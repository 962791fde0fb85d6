/* SPDX-License-Identifier: BSD-3-Clause */
/* Host memory behind regions: ours, the caller's, none; sizes and limits. */
#define _GNU_SOURCE
#include <memplane.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/said.h"

static int setup(void **state)
{
	return said_plane_new((struct mpl_plane **)state);
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

static int commit_size(struct mpl_plane *plane, struct mpl_region *region,
		       uint64_t size)
{
	struct mpl_txn *tx = mpl_begin(plane);

	mpl_region_resize(tx, region, size);
	return mpl_commit(tx);
}

/* May a byte be written?  Asked of the kernel, which kills nobody. */
static bool writable(void *host)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	bool can = read(zero, host, 1) == 1;

	close(zero);
	return can;
}

static void test_guards(void **state)
{
	struct mpl_ram_config grows = { .max_size = 4 * MPL_MIB };
	struct mpl_region *ram, *small;
	char *host;

	assert_int_equal(mpl_region_new_ram(*state, "ram", 2 * MPL_MIB + 1,
					    &grows, &ram),
			 0);
	host = mpl_region_host(ram);
	/* Room for transparent huge pages. */
	assert_int_equal((uintptr_t)host % (2 * MPL_MIB), 0);
	assert_false(writable(host - 1));
	assert_true(writable(host));
	assert_true(writable(host + 2 * MPL_MIB + 4095));
	assert_false(writable(host + 2 * MPL_MIB + 4096));
	assert_false(writable(host + 4 * MPL_MIB - 1));
	assert_int_equal(commit_size(*state, ram, 4 * MPL_MIB), 0);
	assert_true(writable(host + 4 * MPL_MIB - 1));
	assert_false(writable(host + 4 * MPL_MIB));
	/* What has been accessible stays so. */
	assert_int_equal(commit_size(*state, ram, 4096), 0);
	assert_true(writable(host + 4 * MPL_MIB - 1));
	assert_ptr_equal(mpl_region_host(ram), host);
	assert_int_equal(
		mpl_region_new_ram(*state, "small", 4096, NULL, &small), 0);
	host = mpl_region_host(small);
	assert_false(writable(host - 1));
	assert_false(writable(host + 4096));
	mpl_region_unref(small);
	mpl_region_unref(ram);
}

static void test_report(void **state)
{
	struct mpl_ram_config config = { .max_size = 0x8000,
					 .page_sizes = { 4096 } };
	struct mpl_region *ram, *bare, *io;
	struct mpl_ram_info info;

	assert_int_equal(
		mpl_region_new_ram(*state, "main", 0x2001, &config, &ram), 0);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_string_equal(info.name, "main");
	assert_int_equal(info.backing, MPL_RAM_ANONYMOUS);
	assert_ptr_equal(info.host, mpl_region_host(ram));
	assert_int_equal(info.size, 0x2001);
	assert_int_equal(info.accessible, 0x3000);
	assert_int_equal(info.max_size, 0x8000);
	assert_int_equal(info.page_wished, 4096);
	assert_int_equal(info.page_size, 4096);
	assert_string_equal(info.refused, "");
	assert_int_equal(info.fd, -1);
	assert_false(info.preallocated);
	assert_int_equal(commit_size(*state, ram, 0x5000), 0);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_int_equal(info.accessible, 0x5000);
	config = (struct mpl_ram_config){ .unbacked = true };
	assert_int_equal(mpl_region_new_ram(*state, "bare", 1, &config, &bare),
			 0);
	assert_int_equal(mpl_ram_query(bare, &info), 0);
	assert_int_equal(info.backing, MPL_RAM_UNBACKED);
	assert_null(info.host);
	assert_int_equal(info.ram_address, MPL_RAM_NO_ADDRESS);
	assert_int_equal(mpl_region_new_container(*state, "io", 1, &io), 0);
	assert_int_equal(mpl_ram_query(io, &info), -EINVAL);
	mpl_region_unref(io);
	mpl_region_unref(bare);
	mpl_region_unref(ram);
}

/* Another mapping of the same memory, as another process would make it. */
static void test_memfd(void **state)
{
	struct mpl_ram_config config = { .backing = MPL_RAM_MEMFD,
					 .max_size = 0x4000 };
	struct mpl_region *ram, *fixed;
	struct mpl_ram_info info;
	char path[64], link[128] = "";
	char *host, *other;

	assert_int_equal(
		mpl_region_new_ram(*state, "shared", 0x2000, &config, &ram), 0);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_int_equal(info.backing, MPL_RAM_MEMFD);
	host = info.host;
	other = mmap(NULL, 0x2000, PROT_READ | PROT_WRITE, MAP_SHARED, info.fd,
		     (off_t)info.fd_offset);
	assert_ptr_not_equal(other, MAP_FAILED);
	host[0x1fff] = 42;
	assert_int_equal(other[0x1fff], 42);
	munmap(other, 0x2000);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", info.fd);
	assert_true(readlink(path, link, sizeof(link) - 1) > 0);
	assert_non_null(strstr(link, "mpl:shared"));
	assert_int_equal(fcntl(info.fd, F_GETFD), FD_CLOEXEC);
	/* It can grow, and only that. */
	assert_int_equal(fcntl(info.fd, F_GET_SEALS), F_SEAL_SHRINK);
	assert_int_equal(ftruncate(info.fd, 0x1000), -1);
	assert_int_equal(commit_size(*state, ram, 0x4000), 0);
	host[0x3fff] = 43;
	assert_int_equal(commit_size(*state, ram, 0x1000), 0);
	assert_int_equal(host[0x3fff], 43);
	config.max_size = 0;
	assert_int_equal(
		mpl_region_new_ram(*state, "fixed", 0x2000, &config, &fixed),
		0);
	assert_int_equal(mpl_ram_query(fixed, &info), 0);
	assert_int_equal(fcntl(info.fd, F_GET_SEALS),
			 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	mpl_region_unref(fixed);
	mpl_region_unref(ram);
}

static int temporary(char *path)
{
	strcpy(path, "/tmp/mpl-ram-test-XXXXXX");
	return mkostemp(path, O_CLOEXEC);
}

static void test_files(void **state)
{
	char path[64];
	int fd = temporary(path);
	struct mpl_ram_config config = { .backing = MPL_RAM_PATH,
					 .path = path,
					 .fd_offset = 0x1000 };
	struct mpl_region *ram;
	struct mpl_ram_info info;
	char byte = 7, *host;
	struct stat stat_;

	assert_int_equal(ftruncate(fd, 0x3000), 0);
	assert_int_equal(pwrite(fd, &byte, 1, 0x1000), 1);
	assert_int_equal(
		mpl_region_new_ram(*state, "file", 0x2000, &config, &ram), 0);
	host = mpl_region_host(ram);
	assert_int_equal(host[0], 7);
	host[0x1fff] = 8;
	assert_int_equal(pread(fd, &byte, 1, 0x2fff), 1);
	assert_int_equal(byte, 8);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_true(info.fd >= 0 && info.fd != fd);
	assert_int_equal(info.fd_offset, 0x1000);
	mpl_region_unref(ram);
	/* Copies: the file stays as it is, and nobody is handed it. */
	config.flags = MPL_RAM_PRIVATE;
	assert_int_equal(
		mpl_region_new_ram(*state, "copy", 0x2000, &config, &ram), 0);
	host = mpl_region_host(ram);
	host[0] = 9;
	assert_int_equal(pread(fd, &byte, 1, 0x1000), 1);
	assert_int_equal(byte, 7);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_int_equal(info.fd, -1);
	mpl_region_unref(ram);
	/* Too short, by a page and by a byte of a page. */
	config.flags = 0;
	assert_int_equal(
		mpl_region_new_ram(*state, "file", 0x3000, &config, &ram),
		-ERANGE);
	assert_true(said("make it longer"));
	assert_int_equal(ftruncate(fd, 0x2fff), 0);
	assert_int_equal(
		mpl_region_new_ram(*state, "file", 0x2000, &config, &ram),
		-ERANGE);
	assert_int_equal(
		mpl_region_new_ram(*state, "file", 0x1fff, &config, &ram), 0);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_int_equal(info.accessible, 0x2000);
	mpl_region_unref(ram);
	config.flags = MPL_RAM_CREATE;
	config.max_size = 0x5000;
	assert_int_equal(
		mpl_region_new_ram(*state, "file", 0x3000, &config, &ram), 0);
	assert_int_equal(fstat(fd, &stat_), 0);
	assert_int_equal(stat_.st_size, 0x4000);
	assert_int_equal(commit_size(*state, ram, 0x5000), 0);
	assert_int_equal(fstat(fd, &stat_), 0);
	assert_int_equal(stat_.st_size, 0x6000);
	mpl_region_unref(ram);
	unlink(path);
	close(fd);
}

static void test_growing_into_a_short_file(void **state)
{
	char path[64];
	int fd = temporary(path);
	struct mpl_ram_config config = { .backing = MPL_RAM_FD,
					 .fd = fd,
					 .max_size = 0x4000 };
	struct mpl_region *ram;
	struct mpl_ram_info info;

	unlink(path);
	assert_int_equal(ftruncate(fd, 0x2000), 0);
	assert_int_equal(
		mpl_region_new_ram(*state, "file", 0x1000, &config, &ram), 0);
	assert_int_equal(commit_size(*state, ram, 0x2000), 0);
	assert_int_equal(commit_size(*state, ram, 0x3000), -ERANGE);
	assert_int_equal(mpl_region_size(ram), 0x2000);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_int_equal(info.accessible, 0x2000);
	assert_int_equal(ftruncate(fd, 0x4000), 0);
	assert_int_equal(commit_size(*state, ram, 0x4000), 0);
	memset(mpl_region_host(ram), 1, 0x4000);
	mpl_region_unref(ram);
	close(fd);
}

static void test_refusals(void **state)
{
	static char memory[0x3000];
	static const struct {
		struct mpl_ram_config config;
		int err;
		const char *sentence;
	} cases[] = {
		{ { .backing = MPL_RAM_FD, .fd = -1 }, -EBADF, "`fd` -1" },
		{ { .backing = MPL_RAM_PATH }, -EINVAL, "`path` is not set" },
		{ { .backing = MPL_RAM_PATH, .path = "/nowhere/at/all" },
		  -ENOENT,
		  "/nowhere/at/all" },
		{ { .backing = MPL_RAM_PATH,
		    .path = "/tmp",
		    .page_sizes = { 2 * MPL_MIB } },
		  -EINVAL,
		  "tools/mpl-hugepages mount" },
		{ { .backing = MPL_RAM_PATH,
		    .path = "/tmp",
		    .fd_offset = 0x800 },
		  -EINVAL,
		  "no multiple of the page size" },
		{ { .backing = MPL_RAM_MEMFD, .fd_offset = UINT64_MAX - 0xfff },
		  -EINVAL,
		  "no process can map" },
		{ { .page_sizes = { 12288 } }, -EINVAL, "no size of pages" },
		{ { .page_sizes = { 16 * MPL_MIB } },
		  -ENOMEM,
		  "the kernel has none" },
		{ { .host = memory, .page_sizes = { 4096 } },
		  -EINVAL,
		  "the caller's own business" },
		{ { .host = (void *)(UINTPTR_MAX - 0xfff) },
		  -EINVAL,
		  "wraps around" },
		{ { .numa_nodes = UINT64_C(1) << 63 },
		  -EINVAL,
		  "numactl --hardware" },
		{ { .backing = MPL_RAM_MEMFD, .flags = MPL_RAM_MERGEABLE },
		  -EINVAL,
		  "MERGEABLE" },
		{ { .flags = MPL_RAM_AT_ADDRESS, .ram_address = 0x800 },
		  -EINVAL,
		  "no multiple of the page size" },
		{ { .prealloc.threads = 1000 }, -EINVAL, "" },
		{ { .backing = MPL_RAM_CALLER }, -EINVAL, "" },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mpl_region *ram = NULL;

		said_forget();
		assert_int_equal(mpl_region_new_ram(*state, "ram", 0x2000,
						    &cases[i].config, &ram),
				 cases[i].err);
		assert_null(ram);
		assert_true(said(cases[i].sentence));
	}
}

static void test_choices(void **state)
{
	struct mpl_ram_config config = {
		.flags = MPL_RAM_DONTFORK | MPL_RAM_DONTDUMP |
			 MPL_RAM_MERGEABLE | MPL_RAM_NO_THP,
		.numa_nodes = 1,
	};
	char line[256], flags[256] = "", name[64];
	unsigned long long start, end;
	bool inside = false, named = false;
	struct mpl_region *ram;
	struct mpl_ram_info info;
	FILE *smaps;

	assert_int_equal(
		mpl_region_new_ram(*state, "picky", 0x4000, &config, &ram), 0);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_int_equal(info.flags, config.flags);
	assert_int_equal(info.numa_nodes, 1);
	smaps = fopen("/proc/self/smaps", "re");
	assert_non_null(smaps);
	snprintf(name, sizeof(name), "[anon:mpl:picky]");
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%llx-%llx ", &start, &end) == 2) {
			inside = start == (uintptr_t)info.host;
			named |= inside && strstr(line, name);
		}
		if (inside && !strncmp(line, "VmFlags:", 8))
			strcpy(flags, line);
	}
	fclose(smaps);
	assert_non_null(strstr(flags, " dc")); /* not copied by fork */
	assert_non_null(strstr(flags, " dd")); /* not dumped */
	assert_non_null(strstr(flags, " mg")); /* mergeable */
	assert_non_null(strstr(flags, " nh")); /* no huge page */
	/* Best effort: kernels can be built without names. */
	if (!named)
		printf("no name in smaps\n");
	mpl_region_unref(ram);
}

static void test_ram_addresses(void **state)
{
	struct mpl_ram_config at = { .flags = MPL_RAM_AT_ADDRESS };
	struct mpl_region *ram[3], *back;
	struct mpl_ram_info info;

	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(mpl_region_new_ram(*state, "ram", 0x4000, NULL,
						    &ram[i]),
				 0);
		assert_int_equal(mpl_ram_query(ram[i], &info), 0);
		assert_int_equal(info.ram_address, i * 0x4000);
	}
	/* Unplugged and plugged in again, though it is smaller. */
	mpl_region_unref(ram[1]);
	assert_int_equal(mpl_region_new_ram(*state, "ram", 0x3000, NULL, &back),
			 0);
	assert_int_equal(mpl_ram_query(back, &info), 0);
	assert_int_equal(info.ram_address, 0x4000);
	at.ram_address = 0x6000;
	assert_int_equal(mpl_region_new_ram(*state, "at", 0x1000, &at, &ram[1]),
			 -EEXIST);
	assert_true(said("another block is in ram addresses"));
	at.ram_address = 0x7000;
	assert_int_equal(mpl_region_new_ram(*state, "at", 0x1000, &at, &ram[1]),
			 0);
	for (unsigned int i = 0; i < 3; i++)
		mpl_region_unref(ram[i]);
	mpl_region_unref(back);
}

struct successor {
	struct mpl_plane *plane;
	void *host;
	struct mpl_region *region;
	int err;
};

static void succeed(void *opaque)
{
	struct successor *next = opaque;
	struct mpl_ram_config config = { .host = next->host };

	next->err = mpl_region_new_ram(next->plane, "next", 4096, &config,
				       &next->region);
}

/* Its memory is free to be used again when `release` runs. */
static void test_memory_handed_on(void **state)
{
	static char memory[4096];
	struct mpl_ram_config config = { .host = memory };
	struct successor next = { .plane = *state, .host = memory, .err = 1 };
	struct mpl_region *ram;

	assert_int_equal(mpl_region_new_ram(*state, "ram", 4096, &config, &ram),
			 0);
	mpl_region_on_release(ram, succeed, &next);
	mpl_region_unref(ram);
	assert_int_equal(next.err, 0);
	mpl_region_unref(next.region);
}

static void test_overlapping_host_memory(void **state)
{
	static char memory[0x3000];
	struct mpl_ram_config low = { .host = memory };
	struct mpl_ram_config high = { .host = memory + 0x1fff };
	struct mpl_region *a, *b;

	assert_int_equal(mpl_region_new_ram(*state, "a", 0x2000, &low, &a), 0);
	assert_int_equal(mpl_region_new_ram(*state, "b", 0x1000, &high, &b),
			 -EEXIST);
	assert_true(said("another region has this host memory"));
	mpl_region_unref(a);
	assert_int_equal(mpl_region_new_ram(*state, "b", 0x1000, &high, &b), 0);
	mpl_region_unref(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_own_memory),
		TEST(test_callers_memory),
		TEST(test_no_memory),
		TEST(test_limits),
		TEST(test_guards),
		TEST(test_report),
		TEST(test_memfd),
		TEST(test_files),
		TEST(test_growing_into_a_short_file),
		TEST(test_refusals),
		TEST(test_choices),
		TEST(test_ram_addresses),
		TEST(test_memory_handed_on),
		TEST(test_overlapping_host_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
