/* SPDX-License-Identifier: BSD-3-Clause */
/* Accesses over sections: memory, holes, devices, and what lies between. */
#include <memplane/access.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "dispatch/publish.h"
#include "dispatch/fast.h"
#include "dispatch/io.h"
#include "dispatch/iommu.h"
#include "tests/support/bed.h"

/*
 * A map may change at any time.  Here access.c is built with a look at each
 * place where it asks for the snapshot: after its look-up said that nothing is
 * there.
 */
static void (*before_snapshot)(void *arg);
static void *before_snapshot_arg;

static void ask_snapshot(void)
{
	if (before_snapshot)
		before_snapshot(before_snapshot_arg);
}

#define mpl_reader_snapshot(reader) \
	(ask_snapshot(), mpl_reader_snapshot(reader))
#include "dispatch/access.c"
#undef mpl_reader_snapshot

#define FILL 0xff

static const struct mpl_attrs none;
static uint8_t host[0x10000] __attribute__((aligned(4096)));

static void fill_host(void)
{
	for (size_t i = 0; i < sizeof(host); i++)
		host[i] = (uint8_t)(i * 31 + (i >> 8) + 1);
}

static mpl_result_t get(struct bed *bed, uint64_t gpa, void *buf, size_t len)
{
	return mpl_read(bed->reader, &bed->as[0], gpa, none, buf, len);
}

static mpl_result_t put(struct bed *bed, uint64_t gpa, const void *buf,
			size_t len)
{
	return mpl_write(bed->reader, &bed->as[0], gpa, none, buf, len);
}

static int setup(void **state)
{
	fill_host();
	before_snapshot = NULL;
	alarm(120); /* a loop over each byte of a hole ends the program */
	return bed_setup(state);
}

static int teardown(void **state)
{
	alarm(0);
	return bed_teardown(state);
}

static void test_ram(void **state)
{
	struct bed *bed = *state;
	uint8_t buf[80], before[80];

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	for (size_t at = 0; at < 17; at++)
		for (size_t len = 0; len < 64; len++) {
			memset(buf, 0x77, sizeof(buf));
			assert_int_equal(get(bed, 0x1000 + at, buf, len),
					 MPL_OK);
			assert_memory_equal(buf, host + at, len);
			assert_int_equal(buf[len], 0x77);

			memcpy(before, host, sizeof(before));
			for (size_t i = 0; i < len; i++)
				buf[i] = (uint8_t)(~before[at + i]);
			assert_int_equal(put(bed, 0x1000 + at, buf, len),
					 MPL_OK);
			assert_memory_equal(host + at, buf, len);
			assert_memory_equal(host, before, at);
			assert_memory_equal(host + at + len, before + at + len,
					    sizeof(before) - at - len);
		}
}

static void test_large(void **state)
{
	struct bed *bed = *state;
	uint8_t *buf = malloc(sizeof(host));

	assert_non_null(buf);
	bed_memory(bed, 0, 0, sizeof(host) - 1, host, BED_RAM);
	assert_int_equal(get(bed, 1, buf, sizeof(host) - 3), MPL_OK);
	assert_memory_equal(buf, host + 1, sizeof(host) - 3);
	memset(buf, 0x3c, sizeof(host));
	assert_int_equal(put(bed, 3, buf, sizeof(host) - 7), MPL_OK);
	assert_memory_equal(host + 3, buf, sizeof(host) - 7);
	free(buf);
}

static void test_zero_length(void **state)
{
	struct bed *bed = *state;
	uint8_t buf[2] = { 1, 2 };

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_ROM);
	for (uint64_t gpa = 0; gpa < 0x3000; gpa += 0x800) {
		assert_int_equal(get(bed, gpa, buf, 0), MPL_OK);
		assert_int_equal(put(bed, gpa, buf, 0), MPL_OK);
	}
	assert_int_equal(get(bed, UINT64_MAX, buf, 0), MPL_OK);
	assert_int_equal(buf[0], 1);
}

static void test_unassigned(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_stats stats;
	uint8_t buf[24];

	for (unsigned int fill = 0; fill < 256; fill += 85) {
		bed->dp.unassigned_byte = (uint8_t)fill;
		memset(buf, 0x77, sizeof(buf));
		assert_int_equal(get(bed, 0x1234, buf, 20), MPL_DECODE_ERROR);
		for (int i = 0; i < 24; i++)
			assert_int_equal(buf[i], i < 20 ? fill : 0x77);
		assert_int_equal(put(bed, 0x1234, buf, 20), MPL_DECODE_ERROR);
	}
	mpl_reader_stats(bed->reader, &stats);
	assert_int_equal(stats.reads, 4);
	assert_int_equal(stats.writes, 4);
	assert_int_equal(stats.decode_errors, 8);
	assert_int_equal(stats.access_errors, 0);
}

static void test_rom(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_stats stats;
	uint8_t buf[16], before[64];

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_ROM);
	memcpy(before, host, sizeof(before));
	assert_int_equal(get(bed, 0x1003, buf, 16), MPL_OK);
	assert_memory_equal(buf, host + 3, 16);
	memset(buf, 0, sizeof(buf));
	for (size_t len = 1; len <= 16; len++)
		assert_int_equal(put(bed, 0x1003, buf, len),
				 MPL_ACCESS_ERROR);
	assert_memory_equal(host, before, sizeof(before));
	mpl_reader_stats(bed->reader, &stats);
	assert_int_equal(stats.access_errors, 16);
	assert_int_equal(stats.decode_errors, 0);
}

/* Memory without a host address: it is there, but nobody can access it. */
static void test_unbacked(void **state)
{
	struct bed *bed = *state;
	uint32_t word = 0;
	void *at;
	size_t n;

	bed_memory(bed, 0, 0x1000, 0x1fff, NULL, 0);
	assert_int_equal(get(bed, 0x1000, &word, 4), MPL_ACCESS_ERROR);
	assert_int_equal(word, 0xffffffff);
	assert_int_equal(put(bed, 0x1000, &word, 4), MPL_ACCESS_ERROR);
	assert_int_equal(mpl_translate(bed->reader, &bed->as[0], 0x1000, 4,
				       MPL_FOR_READ, &at, &n),
			 MPL_ACCESS_ERROR);
}

/* Memory mode: reads are memory, writes callbacks; else both callbacks. */
static void test_rom_device(void **state)
{
	struct bed *bed = *state;
	uint8_t device[0x1000], buf[8];
	struct mpl_section section = {
		.start = 0x1000,
		.span = 0xfff,
		.host = host,
		.flags = MPL_SECTION_READ,
		.device = bed_device(bed, &bed_bytes_ops, device),
	};

	memset(device, 0xd0, sizeof(device));
	bed_put(bed, 0, &section);
	bed_commit(bed);
	assert_int_equal(get(bed, 0x1010, buf, 8), MPL_OK);
	assert_memory_equal(buf, host + 0x10, 8);
	memset(buf, 0xaa, 8);
	assert_int_equal(put(bed, 0x1010, buf, 8), MPL_OK);
	assert_memory_equal(device + 0x10, buf, 8);
	assert_memory_not_equal(host + 0x10, buf, 8);

	bed_take(bed, 0, 0x1000);
	section.flags = 0;
	bed_put(bed, 0, &section);
	bed_commit(bed);
	assert_int_equal(get(bed, 0x100c, buf, 8), MPL_OK);
	assert_memory_equal(buf, device + 0xc, 8);
	assert_int_equal(buf[0], 0xd0);
	assert_int_equal(buf[4], 0xaa);
}

/* Mapped device memory: contents are right for each size and alignment. */
static void test_ram_device(void **state)
{
	struct bed *bed = *state;
	uint8_t buf[64] __attribute__((aligned(8)));

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM | MPL_SECTION_EXACT);
	for (size_t at = 0; at < 9; at++)
		for (size_t to = 0; to < 9; to++)
			for (size_t len = 1; len < 40; len++) {
				memset(buf, 0, sizeof(buf));
				assert_int_equal(get(bed, 0x1000 + at,
						     buf + to, len), MPL_OK);
				assert_memory_equal(buf + to, host + at, len);
				assert_int_equal(buf[to + len], 0);
				for (size_t i = 0; i < len; i++)
					buf[to + i] ^= 0x55;
				assert_int_equal(put(bed, 0x1000 + at,
						     buf + to, len), MPL_OK);
				assert_memory_equal(buf + to, host + at, len);
			}
}

/* RAM, a hole, io, a hole, RAM: piece by piece, results combined. */
static void test_over_sections(void **state)
{
	struct bed *bed = *state;
	uint8_t device[0x100], buf[0x500], expected[0x500];

	memset(device, 0xd7, sizeof(device));
	bed_memory(bed, 0, 0x1000, 0x10ff, host, BED_RAM);
	bed_io(bed, 0, 0x1200, 0x12ff, bed_device(bed, &bed_bytes_ops, device));
	bed_memory(bed, 0, 0x1400, 0x14ff, host + 0x400, BED_RAM);
	memset(expected, FILL, sizeof(expected));
	memcpy(expected, host, 0x100);
	memcpy(expected + 0x200, device, 0x100);
	memcpy(expected + 0x400, host + 0x400, 0x100);
	assert_int_equal(get(bed, 0x1000, buf, sizeof(buf)),
			 MPL_DECODE_ERROR);
	assert_memory_equal(buf, expected, sizeof(buf));

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 11 + 5);
	assert_int_equal(put(bed, 0x1000, buf, sizeof(buf)),
			 MPL_DECODE_ERROR);
	assert_memory_equal(host, buf, 0x100);
	assert_memory_equal(device, buf + 0x200, 0x100);
	assert_memory_equal(host + 0x400, buf + 0x400, 0x100);

	/* A ROM among them adds its own error, and nothing else suffers. */
	bed_memory(bed, 0, 0x1100, 0x11ff, host + 0x8000, BED_ROM);
	assert_int_equal(put(bed, 0x10f0, buf, 0x300),
			 MPL_DECODE_ERROR | MPL_ACCESS_ERROR);
	assert_memory_equal(host + 0xf0, buf, 0x10);
	assert_memory_equal(device, buf + 0x110, 0x100);
	assert_memory_not_equal(host + 0x8000, buf + 0x10, 0x100);
}

/* Random maps and accesses against one that knows single bytes only. */
enum { WORLD = 0x400 };
enum kind { HOLE, RAM, ROM, IO, KINDS };

struct world {
	enum kind kind[WORLD];
	uint8_t byte[WORLD]; /* what a read yields, for IO and memory */
	uint8_t device[WORLD];
};

static void random_world(struct bed *bed, struct world *world, uint64_t *seed)
{
	uint64_t at = 0;

	while (at < WORLD) {
		enum kind kind = (enum kind)(bed_random(seed) % KINDS);
		uint64_t len = 1 + bed_random(seed) % (bed_random(seed) % 3 ?
						       20 : 200);
		struct mpl_section section = { .start = 0x10000 + at };

		if (len > WORLD - at)
			len = WORLD - at;
		section.span = len - 1;
		if (kind == RAM || kind == ROM) {
			section.host = host + at;
			section.flags = kind == RAM ? BED_RAM : BED_ROM;
		} else if (kind == IO) {
			section.device = bed_device(bed, &bed_bytes_ops,
						    world->device);
			section.offset = at;
		}
		if (kind != HOLE)
			bed_put(bed, 0, &section);
		for (; len--; at++) {
			world->kind[at] = kind;
			world->byte[at] = kind == HOLE ? FILL :
					  kind == IO ? world->device[at] :
						       host[at];
		}
	}
	bed_commit(bed);
}

static void random_access(struct bed *bed, struct world *world, uint64_t *seed)
{
	uint64_t at = bed_random(seed) % WORLD;
	uint64_t len = bed_random(seed) % (bed_random(seed) % 2 ? 10 : WORLD);
	bool write = bed_random(seed) % 2;
	mpl_result_t expected = MPL_OK, result;
	uint8_t buf[WORLD];

	if (len > WORLD - at)
		len = WORLD - at;
	for (uint64_t i = 0; i < len; i++) {
		enum kind kind = world->kind[at + i];

		buf[i] = (uint8_t)bed_random(seed);
		if (kind == HOLE)
			expected |= MPL_DECODE_ERROR;
		else if (kind == ROM && write)
			expected |= MPL_ACCESS_ERROR;
		else if (write)
			world->byte[at + i] = buf[i];
	}
	result = write ? put(bed, 0x10000 + at, buf, len) :
			 get(bed, 0x10000 + at, buf, len);
	assert_int_equal(result, expected);
	if (!write)
		assert_memory_equal(buf, world->byte + at, len);
	for (uint64_t i = 0; i < WORLD; i++)
		if (world->kind[i] != HOLE)
			assert_int_equal(world->kind[i] == IO ?
					 world->device[i] : host[i],
					 world->byte[i]);
}

static void test_random(void **state)
{
	struct bed *bed = *state;
	struct world *world = malloc(sizeof(*world));
	uint64_t seed = 4;

	assert_non_null(world);
	for (int round = 0; round < 60; round++) {
		fill_host();
		for (size_t i = 0; i < WORLD; i++)
			world->device[i] = (uint8_t)bed_random(&seed);
		random_world(bed, world, &seed);
		for (int i = 0; i < 120; i++)
			random_access(bed, world, &seed);
		while (bed->sections[0].count)
			bed_take(bed, 0, mpl_section_at(&bed->dp,
				bed->sections[0].items[0])->start);
		bed_commit(bed);
		bed_settle(bed);
	}
	free(world);
}

/* A hole costs what is around it, not what it measures. */
static void test_huge_hole(void **state)
{
	struct bed *bed = *state;
	const size_t len = (size_t)1 << 34;
	uint64_t start = UINT64_C(0x123456789000), misses;
	/* Nothing of it may be touched where nothing is mapped. */
	uint8_t *buf = mmap(NULL, len, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			    0);

	assert_ptr_not_equal(buf, MAP_FAILED);
	assert_int_equal(mprotect(buf + len - 0x1000, 0x1000,
				  PROT_READ | PROT_WRITE), 0);
	misses = bed->reader->misses;
	assert_int_equal(put(bed, start, buf, len), MPL_DECODE_ERROR);
	assert_in_range(bed->reader->misses - misses, 1, 4);

	/* RAM at the far end, and single bytes that are not in the way. */
	memset(buf + len - 8, 0x3d, 8);
	bed_memory(bed, 0, start + len - 8, start + len + 0xff, host, BED_RAM);
	bed_memory(bed, 0, start - 1, start - 1, host + 0x2000, BED_RAM);
	bed_memory(bed, 0, 5, 5, host + 0x3000, BED_RAM);
	misses = bed->reader->misses;
	assert_int_equal(put(bed, start, buf, len), MPL_DECODE_ERROR);
	assert_memory_equal(host, buf + len - 8, 8);
	assert_in_range(bed->reader->misses - misses, 1, 400);
	munmap(buf, len);
}

static void test_huge_hole_read(void **state)
{
	struct bed *bed = *state;
	const size_t len = 32 << 20;
	uint8_t *buf = malloc(len);
	uint64_t misses;

	assert_non_null(buf);
	bed_memory(bed, 0, 0x1000, 0x1001, host, BED_RAM);
	bed_memory(bed, 0, 0x1000 + len - 2, 0x1000 + len - 1, host + 2,
		   BED_RAM);
	misses = bed->reader->misses;
	assert_int_equal(get(bed, 0x1000, buf, len), MPL_DECODE_ERROR);
	assert_in_range(bed->reader->misses - misses, 1, 400);
	assert_memory_equal(buf, host, 2);
	assert_memory_equal(buf + len - 2, host + 2, 2);
	assert_int_equal(buf[2], FILL);
	assert_memory_equal(buf + 2, buf + 3, len - 5);
	free(buf);
}

/* What lies past the last address is a decode error, and wraps nowhere. */
static void test_top(void **state)
{
	struct bed *bed = *state;
	uint8_t buf[24], before[16];
	uint64_t value;

	bed_memory(bed, 0, UINT64_MAX - 7, UINT64_MAX, host, BED_RAM);
	bed_memory(bed, 0, 0, 15, host + 64, BED_RAM);
	memcpy(before, host + 64, 16);
	memset(buf, 0x77, sizeof(buf));
	assert_int_equal(get(bed, UINT64_MAX - 3, buf, 20), MPL_DECODE_ERROR);
	assert_memory_equal(buf, host + 4, 4);
	for (int i = 4; i < 24; i++)
		assert_int_equal(buf[i], i < 20 ? FILL : 0x77);
	memset(buf, 0x11, sizeof(buf));
	assert_int_equal(put(bed, UINT64_MAX - 3, buf, 20), MPL_DECODE_ERROR);
	assert_memory_equal(host + 4, buf, 4);
	assert_memory_equal(host + 64, before, 16);
	/* Up to the last byte is nothing special. */
	assert_int_equal(get(bed, UINT64_MAX - 7, buf, 8), MPL_OK);
	assert_memory_equal(buf, host, 8);
	assert_int_equal(get(bed, UINT64_MAX, buf, 1), MPL_OK);
	assert_int_equal(mpl_load(bed->reader, &bed->as[0], UINT64_MAX - 3,
				  none, 8, MPL_LITTLE_ENDIAN, &value),
			 MPL_DECODE_ERROR);
	assert_true(value == UINT64_C(0xffffffff11111111));
}

/* All 2^64 bytes are one section. */
static void test_everything(void **state)
{
	struct bed *bed = *state;
	uint8_t device[16], buf[8];
	uint64_t offset = UINT64_MAX - 15;

	/* Its offset 0 is at the last 16 bytes. */
	bed_put(bed, 0, &(struct mpl_section){
		.start = offset, .span = 15,
		.device = bed_device(bed, &bed_bytes_ops, device) });
	bed_put(bed, 0, &(struct mpl_section){
		.start = 0, .span = offset - 1, .flags = 0 });
	bed_commit(bed);
	memset(buf, 0x42, 8);
	assert_int_equal(put(bed, UINT64_MAX - 7, buf, 8), MPL_OK);
	assert_memory_equal(device + 8, buf, 8);
	assert_int_equal(put(bed, offset - 4, buf, 8), MPL_ACCESS_ERROR);
	assert_memory_equal(device, buf, 4);
	assert_int_equal(get(bed, 0, buf, 8), MPL_ACCESS_ERROR);
}

/* memory_only asks no device, and memory as always. */
static void test_memory_only(void **state)
{
	struct bed *bed = *state;
	const struct mpl_attrs attrs = { .memory_only = 1 };
	uint8_t device[16] = { 0 }, buf[8];

	bed_memory(bed, 0, 0x1000, 0x1003, host, BED_RAM);
	bed_io(bed, 0, 0x1004, 0x1013, bed_device(bed, &bed_bytes_ops, device));
	assert_int_equal(mpl_read(bed->reader, &bed->as[0], 0x1000, attrs, buf,
				  8), MPL_ACCESS_ERROR);
	assert_memory_equal(buf, host, 4);
	memset(buf, 0x66, 8);
	assert_int_equal(mpl_write(bed->reader, &bed->as[0], 0x1000, attrs,
				   buf, 8), MPL_ACCESS_ERROR);
	assert_memory_equal(host, buf, 4);
	assert_int_equal(device[0], 0);
	assert_int_equal(mpl_read(bed->reader, &bed->as[0], 0x2000, attrs, buf,
				  8), MPL_DECODE_ERROR);
}

/*
 * An access from 0xff8, with RAM from 0x1000 on and a hole below, that is
 * filled at the last moment.
 */
struct filling {
	struct bed *bed;
	unsigned int times;
};

static void fill_hole(void *arg)
{
	struct filling *filling = arg;

	if (!filling->times++)
		bed_memory(filling->bed, 0, 0, 0xfff, host, BED_RAM);
}

/* The access has what only one of the two maps has: all memory. */
static void test_hole_is_filled(void **state)
{
	struct bed *bed = *state;
	const uint64_t errors = mpl_reader_state(bed->reader)
					->stats.decode_errors;

	bed_memory(bed, 0, 0x1000, 0x1fff, host + 0x1000, BED_RAM);
	for (size_t len = 1; len <= 16; len++) {
		for (int write = 0; write < 2; write++) {
			struct filling filling = { .bed = bed };
			uint8_t buf[16];

			fill_host();
			memset(buf, 0x77, sizeof(buf));
			before_snapshot = fill_hole;
			before_snapshot_arg = &filling;
			assert_int_equal((write ? put(bed, 0xff8, buf, len) :
						  get(bed, 0xff8, buf, len)),
					 MPL_OK);
			before_snapshot = NULL;
			assert_int_equal(filling.times, 1);
			assert_memory_equal(buf, host + 0xff8, len);
			bed_take(bed, 0, 0);
			bed_commit(bed);
			bed_settle(bed);
		}
	}
	assert_true(mpl_reader_state(bed->reader)->stats.decode_errors ==
		    errors);
}

/*
 * Two maps that are published in turn: RAM from 0x1000 with a hole below, and
 * RAM from 0.  An access from 0xff8 must find RAM from 0x1000 on, whichever
 * map each piece of it meets.
 */
struct flipper {
	struct bed *bed;
	struct mpl_snapshot *maps[2];
	bool done;
};

static void *flip(void *arg)
{
	struct flipper *flipper = arg;

	for (unsigned int i = 0;
	     !__atomic_load_n(&flipper->done, __ATOMIC_RELAXED); i++)
		mpl_publish(&flipper->bed->dp, flipper->maps[i % 2]);
	return NULL;
}

static void test_hole_is_of_one_snapshot(void **state)
{
	struct bed *bed = *state;
	struct flipper flipper = { .bed = bed };
	struct mpl_snapshot *first;
	unsigned int wrong = 0;
	pthread_t thread;
	uint64_t end;

	bed_memory(bed, 0, 0x1000, 0x1fff, host + 0x1000, BED_RAM);
	bed_memory(bed, 1, 0, 0x1fff, host, BED_RAM);
	first = (struct mpl_snapshot *)bed->dp.published;
	for (uint64_t i = 0; i < 2; i++) {
		struct mpl_snapshot *map = mpl_snapshot_new(
			&bed->dp, first->generation + i, 0);

		assert_non_null(map);
		map->root[map->view_of[0]] = map->root[map->view_of[i]];
		flipper.maps[i] = map;
	}
	assert_int_equal(pthread_create(&thread, NULL, flip, &flipper), 0);
	end = mpl_now_ns() + 1000000000;
	while (!wrong && mpl_now_ns() < end) {
		uint8_t buf[16];

		get(bed, 0xff8, buf, sizeof(buf));
		wrong += memcmp(buf + 8, host + 0x1000, 8) != 0;
		mpl_reader_drop_caches(bed->reader);
	}
	__atomic_store_n(&flipper.done, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	mpl_publish(&bed->dp, first);
	mpl_snapshot_drop(flipper.maps[0]);
	mpl_snapshot_drop(flipper.maps[1]);
	assert_int_equal(wrong, 0);
}

#define ACCESS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ACCESS_TEST(test_ram),
		ACCESS_TEST(test_large),
		ACCESS_TEST(test_zero_length),
		ACCESS_TEST(test_unassigned),
		ACCESS_TEST(test_rom),
		ACCESS_TEST(test_unbacked),
		ACCESS_TEST(test_rom_device),
		ACCESS_TEST(test_ram_device),
		ACCESS_TEST(test_over_sections),
		ACCESS_TEST(test_random),
		ACCESS_TEST(test_huge_hole),
		ACCESS_TEST(test_huge_hole_read),
		ACCESS_TEST(test_top),
		ACCESS_TEST(test_everything),
		ACCESS_TEST(test_memory_only),
		ACCESS_TEST(test_hole_is_filled),
		ACCESS_TEST(test_hole_is_of_one_snapshot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
