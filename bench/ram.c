/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RAM blocks: what it takes to have all pages of one, and what the size of its
 * pages is worth.
 *
 *	ram/prealloc/PAGES/HOW/MIB	a block, from nothing to all there
 *
 * The largest block that two threads made also serves for 8-byte loads at
 * random, with the counters
 *
 *	ns_MIB		one, over the first MIB MiB
 *	chained_ns	one over all of it that waits for the one before
 *
 * With 4 KiB pages the ways are compared on a quarter of that: they take as long
 * there as the others do on all of it.
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

#define LOADS (bench_quick ? 1 << 12 : 1 << 22)
#define CHAINED (LOADS / 4)
#define HUGE  (2 * MPL_MIB)

enum pages { PAGES_4K, PAGES_THP, PAGES_2M };
static const char *const pages_name[] = { "4k", "thp", "2m" };

enum how { HOW_MEMSET, HOW_POPULATE, HOW_THREADS_1, HOW_THREADS_2 };
static const char *const how_name[] = { "memset", "map_populate", "threads_1",
					"threads_2" };

struct block {
	enum pages pages;
	enum how how;
	bool loads;
	bool warm; /* nobody left its memory free */
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

/*
 * In a virtual machine the host takes back what has been free for a second,
 * and touching that costs the host more than the guest.  So memory is not left
 * free between runs: the pool of huge pages has it.  Where that can't be (no
 * root), as much is had and freed right before, unless somebody just did.
 */
static uint64_t most; /* bytes of the largest block */
static bool keeps;    /* the pool can have as much */
static uint64_t held; /* bytes that it has */
static uint64_t freed_at;

static void hold(uint64_t bytes)
{
	if (held)
		huge_give();
	held = bytes && huge_take(HUGE, bytes / HUGE) ? bytes : 0;
}

static void hold_first(void)
{
	static bool tried;
	void *host;

	if (tried)
		return;
	tried = true;
	hold(most);
	keeps = held;
	if (!keeps)
		return;
	host = mmap(NULL, most, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE,
		    -1, 0);
	if (host != MAP_FAILED)
		munmap(host, most);
}

/* Leave free what it needs.  Huge pages: as many as are to be had. */
static void take_pages(struct block *block)
{
	block->size = block->wanted;
	if (block->pages != PAGES_2M) {
		hold(held ? most - block->size : 0);
		return;
	}
	while (held != block->size && block->size >= 16 * MPL_MIB) {
		hold(block->size);
		if (!held)
			block->size /= 2;
	}
}

static int setup_prealloc(void *arg)
{
	struct block *block = arg;

	hold_first();
	block->warm = held == most;
	take_pages(block);
	return mpl_plane_new(&block->plane, NULL);
}

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
	if (!keeps || held != most)
		hold(keeps ? most : 0);
}

void ram_free_all(void)
{
	hold(0);
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

static int new_region(struct block *block, enum pages pages,
		      unsigned int threads)
{
	struct mpl_ram_config config = {
		.flags = pages == PAGES_4K ? MPL_RAM_NO_THP : 0,
		.page_sizes = { pages == PAGES_2M ? HUGE : 0 },
		.prealloc.threads = threads,
	};

	return mpl_region_new_ram(block->plane, "bench", block->size, &config,
				  &block->region);
}

static int warm_up(struct block *block)
{
	/* 2 MiB pages have memory of their own; else large ones are quicker. */
	enum pages pages = block->pages == PAGES_2M ? PAGES_2M : PAGES_THP;
	int err;

	if (block->warm || bench_ns() - freed_at < 500000000)
		return 0;
	err = new_region(block, pages, 2);
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
			unsigned int count, const uint64_t *host,
			uint64_t bytes)
{
	uint64_t at = 1, start = cpu_ns();

	bench_use(fn(host, bytes, count, &at));
	gb_counter(state, name, (double)(cpu_ns() - start) / count);
}

/* The same block serves as smaller ones. */
static void measure_loads(struct gb_state *state, const struct block *block)
{
	const uint64_t *host = mpl_region_host(block->region);
	uint64_t all = block->size / MPL_MIB, mib = 8, at = 1;

	/* The first touch of a page fills tables of the host's, too. */
	bench_use(load(host, block->size, LOADS, &at));
	while (mib < all) {
		char name[32];

		mib = mib * 4 < all ? mib * 4 : all;
		snprintf(name, sizeof(name), "ns_%llu",
			 (unsigned long long)mib);
		count_loads(state, name, load, LOADS, host, mib * MPL_MIB);
	}
	count_loads(state, "chained_ns", load_chained, CHAINED, host,
		    block->size);
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
			err = new_region(block, block->pages, 0);
			if (!err)
				memset(mpl_region_host(block->region), 0,
				       block->size);
			break;
		case HOW_POPULATE:
			err = map_populate(block, &host);
			break;
		default:
			err = new_region(block, block->pages,
					 block->how == HOW_THREADS_1 ? 1 : 2);
			break;
		}
		gb_pause(state);
		if (host && !err)
			munmap(host, block->size);
		if (block->loads && !err)
			measure_loads(state, block);
		free_region(block);
		gb_resume(state);
	}
	if (err)
		gb_fail(state, strerror(-err));
	gb_counter(state, "GiB", (double)block->size / MPL_GIB);
}

/* Blocks live as long as the program: google benchmark keeps pointers. */
static struct block blocks[16];
static unsigned int block_count;

static int register_block(const struct block *block)
{
	struct block *kept = &blocks[block_count++];
	int64_t mib = (int64_t)(block->wanted / MPL_MIB);
	char name[64];
	const struct gb_bench bench = {
		.name = name,
		.args = &mib,
		.nargs = 1,
		.iterations = 1,
		.wall = true,
		.setup = setup_prealloc,
		.run = run_prealloc,
		.teardown = teardown,
		.arg = kept,
	};

	*kept = *block;
	snprintf(name, sizeof(name), "ram/prealloc/%s/%s",
		 pages_name[block->pages], how_name[block->how]);
	return gb_register(&bench);
}

int register_ram(void)
{
	int err = 0;

	most = largest() * MPL_MIB;
	for (enum pages pages = PAGES_4K; pages <= PAGES_2M; pages++) {
		struct block block = {
			.pages = pages,
			.wanted = pages == PAGES_4K ? most / 4 : most,
		};

		for (; !err && block.how <= HOW_THREADS_2; block.how++) {
			/* That call takes no advice about pages. */
			if (pages == PAGES_THP && block.how == HOW_POPULATE)
				continue;
			block.loads = block.how == HOW_THREADS_2 &&
				      block.wanted == most;
			err = register_block(&block);
		}
	}
	if (!err)
		err = register_block(&(struct block){
			.pages = PAGES_4K,
			.how = HOW_THREADS_2,
			.loads = true,
			.wanted = most,
		});
	return err;
}
