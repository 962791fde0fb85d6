/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RAM blocks: what it takes to have all pages of one, and what the size of its
 * pages is worth.
 *
 *	ram/prealloc/PAGES/HOW/MIB	a block, from nothing to all there
 *	ram/loads/PAGES/MIB		8-byte loads at random; counters: over
 *the first part of the block, and each waiting for the one before
 *
 * PAGES are 4k, thp (4 KiB, the kernel may join them) and 2m (hugetlb).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <memplane.h>

#include "bench.h"
#include "tests/support/huge.h"

#define BATCH 4096
#define LOADS (1 << 22)
#define HUGE  (2 * MPL_MIB)

enum pages { PAGES_4K, PAGES_THP, PAGES_2M };
static const char *const pages_name[] = { "4k", "thp", "2m" };

enum how { HOW_MEMSET, HOW_POPULATE, HOW_THREADS_1, HOW_THREADS_2 };
static const char *const how_name[] = { "memset", "map_populate", "threads_1",
					"threads_2" };

struct block {
	enum pages pages;
	enum how how;
	uint64_t wanted; /* bytes */
	uint64_t size;   /* had: less if there are too few huge pages */
	struct mpl_plane *plane;
	struct mpl_region *region;
};

static uint64_t available_mib(void)
{
	unsigned long long kib = 0;
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib / 1024;
}

/* The largest block, MiB: 8 GiB, if that leaves a third of what is available.
 */
static uint64_t largest(void)
{
	uint64_t mib = bench_quick ? 64 : 8192;

	while (mib > 64 && mib > available_mib() * 2 / 3)
		mib /= 2;
	return mib;
}

/* As many huge pages as there are to be had: `wanted`, or a half, ... */
static int take_pages(struct block *block)
{
	block->size = block->wanted;
	if (block->pages != PAGES_2M)
		return 0;
	while (block->size >= 16 * MPL_MIB) {
		if (huge_take(HUGE, block->size / HUGE))
			return 0;
		block->size /= 2;
	}
	return 0;
}

static int setup_prealloc(void *arg)
{
	struct block *block = arg;
	int err = take_pages(block);

	return err ? err : mpl_plane_new(&block->plane, NULL);
}

/*
 * In a virtual machine the host takes back what has been free for some seconds,
 * and touching that costs the host more than the guest: have and free as much
 * right before, unless somebody just did.
 */
static uint64_t freed_at;

static void free_region(struct block *block)
{
	mpl_region_unref(block->region);
	block->region = NULL;
	freed_at = bench_ns();
}

static void teardown(void *arg)
{
	struct block *block = arg;

	free_region(block);
	mpl_plane_free(block->plane);
	block->plane = NULL;
	huge_give();
}

static bool usable(struct gb_state *state, const struct block *block)
{
	char text[64];

	if (block->size < 16 * MPL_MIB) {
		gb_skip(state, "no huge pages to be had (root?)");
		return false;
	}
	if (block->size != block->wanted) {
		snprintf(text, sizeof(text), "only %llu MiB of huge pages",
			 (unsigned long long)(block->size / MPL_MIB));
		gb_label(state, text);
	}
	return true;
}

static int new_region(struct block *block, unsigned int threads)
{
	struct mpl_ram_config config = {
		.flags = block->pages == PAGES_4K ? MPL_RAM_NO_THP : 0,
		.page_sizes = { block->pages == PAGES_2M ? HUGE : 0 },
		.prealloc.threads = threads,
	};

	return mpl_region_new_ram(block->plane, "bench", block->size, &config,
				  &block->region);
}

static int warm_up(struct block *block)
{
	int err;

	if (bench_ns() - freed_at < 500000000)
		return 0;
	err = new_region(block, 2);
	free_region(block);
	return err;
}

/* The peer: one call of the kernel's. */
static int map_populate(const struct block *block, void **host)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;

	if (block->pages == PAGES_2M)
		flags |= MAP_HUGETLB;
	*host = mmap(NULL, block->size, PROT_READ | PROT_WRITE, flags, -1, 0);
	return *host == MAP_FAILED ? -errno : 0;
}

static void run_prealloc(struct gb_state *state, void *arg)
{
	struct block *block = arg;
	int err;

	if (!usable(state, block))
		return;
	err = warm_up(block);
	while (gb_next(state, 1)) {
		void *host = NULL;

		switch (block->how) {
		case HOW_MEMSET:
			err = new_region(block, 0);
			if (!err)
				memset(mpl_region_host(block->region), 0,
				       block->size);
			break;
		case HOW_POPULATE:
			err = map_populate(block, &host);
			break;
		default:
			err = new_region(block,
					 block->how == HOW_THREADS_1 ? 1 : 2);
			break;
		}
		gb_pause(state);
		if (host && !err)
			munmap(host, block->size);
		free_region(block);
		gb_resume(state);
	}
	if (err)
		gb_fail(state, strerror(-err));
	gb_counter(state, "GiB", (double)block->size / MPL_GIB);
}

static int setup_loads(void *arg)
{
	struct block *block = arg;
	int err = setup_prealloc(block);

	if (err || block->size < 16 * MPL_MIB)
		return err;
	/* Preallocated for writing: no page is the one of zeros for all. */
	err = new_region(block, 2);
	if (err)
		teardown(block);
	return err;
}

/* Knuth's generator; its upper bits are good. */
static inline uint64_t next(uint64_t *at)
{
	*at = *at * UINT64_C(6364136223846793005) +
	      UINT64_C(1442695040888963407);
	return *at >> 20;
}

static uint64_t load(const uint64_t *host, uint64_t bytes, unsigned int count,
		     uint64_t *at)
{
	uint64_t mask = bytes / 8 - 1, sum = 0;

	for (unsigned int i = 0; i < count; i++)
		sum += host[next(at) & mask];
	return sum;
}

/* A zero is read, which nobody but us knows. */
static uint64_t load_chained(const uint64_t *host, uint64_t bytes,
			     unsigned int count, uint64_t *at)
{
	uint64_t mask = bytes / 8 - 1;

	for (unsigned int i = 0; i < count; i++)
		*at += host[next(at) & mask];
	return *at;
}

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Nanoseconds of one, over the first `bytes`, as a counter. */
static void count_loads(struct gb_state *state, const char *name,
			uint64_t (*fn)(const uint64_t *host, uint64_t bytes,
				       unsigned int count, uint64_t *at),
			const uint64_t *host, uint64_t bytes)
{
	unsigned int count = bench_quick ? BATCH : LOADS;
	uint64_t at = 1, start = cpu_ns();

	bench_use(fn(host, bytes, count, &at));
	gb_counter(state, name, (double)(cpu_ns() - start) / count);
}

static void run_loads(struct gb_state *state, void *arg)
{
	const struct block *block = arg;
	const uint64_t *host;
	uint64_t at = 1;

	if (!usable(state, block))
		return;
	gb_counter(state, "GiB", (double)block->size / MPL_GIB);
	host = mpl_region_host(block->region);
	/* The first touch of a page fills tables of the host's, too. */
	bench_use(load(host, block->size, bench_quick ? BATCH : LOADS, &at));
	while (gb_next(state, BATCH))
		bench_use(load(host, block->size, BATCH, &at));
	count_loads(state, "chained_ns", load_chained, host, block->size);
	/* The same block serves as smaller ones. */
	for (uint64_t mib = 32; mib <= block->size / MPL_MIB; mib *= 4) {
		char name[32];

		snprintf(name, sizeof(name), "ns_%llu",
			 (unsigned long long)mib);
		count_loads(state, name, load, host, mib * MPL_MIB);
	}
}

/* Blocks live as long as the program: google benchmark keeps pointers. */
static struct block blocks[16];
static unsigned int block_count;

static struct block *new_block(enum pages pages, enum how how, uint64_t mib)
{
	struct block *block = &blocks[block_count++];

	*block = (struct block){
		.pages = pages,
		.how = how,
		.wanted = mib * MPL_MIB,
	};
	return block;
}

static int register_prealloc(enum pages pages, uint64_t mib)
{
	int64_t size = (int64_t)mib;
	int err = 0;

	for (enum how how = HOW_MEMSET; !err && how <= HOW_THREADS_2; how++) {
		char name[64];
		struct gb_bench bench = {
			.name = name,
			.args = &size,
			.nargs = 1,
			.iterations = 1,
			.wall = true,
			.setup = setup_prealloc,
			.run = run_prealloc,
			.teardown = teardown,
		};

		/* That call takes no advice about pages. */
		if (pages == PAGES_THP && how == HOW_POPULATE)
			continue;
		snprintf(name, sizeof(name), "ram/prealloc/%s/%s",
			 pages_name[pages], how_name[how]);
		bench.arg = new_block(pages, how, mib);
		err = gb_register(&bench);
	}
	return err;
}

static int register_loads(enum pages pages, uint64_t mib)
{
	int64_t size = (int64_t)mib;
	char name[64];
	const struct gb_bench bench = {
		.name = name,
		.args = &size,
		.nargs = 1,
		.iterations = bench_quick ? BATCH : LOADS,
		.setup = setup_loads,
		.run = run_loads,
		.teardown = teardown,
		.arg = new_block(pages, HOW_THREADS_2, mib),
	};

	snprintf(name, sizeof(name), "ram/loads/%s", pages_name[pages]);
	return gb_register(&bench);
}

int register_ram(void)
{
	uint64_t mib = largest();
	int err = 0;

	for (enum pages pages = PAGES_4K; !err && pages <= PAGES_2M; pages++) {
		err = register_prealloc(pages, mib);
		if (!err)
			err = register_loads(pages, mib);
	}
	return err;
}
