/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usage: dma [--seconds N] [--seed N] [--inline]
 *
 * DMA through two iommus while another thread changes their tables, takes
 * pages back and commits.
 *
 *     bus: iova 0..  -> iommu A -> memory              pages 0..15
 *                               -> iommu B -> memory   pages 16..31
 *
 * Each iova page belongs to one of two DMA threads, each page of memory to one
 * table entry at most.  What an entry loses is *given back* once the
 * invalidation says so, and is then painted; before it is used again the paint
 * must be as it was.  So a write that comes late is found; and as threads touch
 * each other's pages only by way of the invalidation, the thread sanitizer
 * finds an order that is missing.
 *
 * Beside that, memory is plugged and unplugged while it is mapped: it is freed
 * in `release`, where the address sanitizer sees who still uses it.
 */
#include <memplane.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	PAGE = 4096,
	DIRECT = 16, /* iova pages that lead to memory */
	IOVAS = 32,
	PAGES = 96, /* of memory */
	DIMM = 0x1000000, /* where a module is plugged in */
	DIMM_SIZE = 8 * PAGE,
	THREADS = 2,
	HELD = 4, /* mappings that a thread keeps for a while */
};

/* A table's entry: the page of memory, plus 1; 0 is a fault. */
struct entry {
	uint32_t page;
};

struct counters {
	uint64_t writes, pointers, maps, sgs, faults, bursts;
	uint64_t given_back, asyncs, swaps, unplugged, commits;
};

static struct {
	unsigned int seconds;
	uint64_t seed;
	bool threaded;
	struct mpl_plane *plane;
	struct mpl_region *system, *ram, *bus_root, *iommu[2], *middle;
	struct mpl_region *master;
	struct mpl_address_space *memory, *bus, *between;
	uint8_t *host;
	struct entry table[2][IOVAS];
	uint8_t paint[PAGES];	   /* 0: in use */
	int over;
	int done; /* asynchronous invalidations */
	int released;
	struct counters count[THREADS + 1];
} it;

static void __attribute__((format(printf, 1, 2), noreturn))
fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "dma: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

static void check(int err, const char *what)
{
	if (err)
		fail("%s: %s", what, strerror(-err));
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * UINT64_C(0x2545f4914f6cdd1d);
}

static mpl_result_t look(const struct entry *entry,
			 const struct mpl_address_space *as,
			 struct mpl_iommu_page *page)
{
	/* The device model's own order, for what is behind the entry. */
	uint32_t at = __atomic_load_n(&entry->page, __ATOMIC_ACQUIRE);

	if (!at)
		return MPL_ACCESS_ERROR;
	page->as = as;
	page->address = (uint64_t)(at - 1) * PAGE;
	page->mask = PAGE - 1;
	page->permissions = MPL_FOR_BOTH;
	return MPL_OK;
}

static mpl_result_t translate_a(void *opaque, uint64_t iova,
				enum mpl_intent intent, struct mpl_attrs attrs,
				struct mpl_iommu_page *page)
{
	uint64_t at = iova / PAGE;

	(void)opaque, (void)intent, (void)attrs;
	if (at >= IOVAS)
		return MPL_DECODE_ERROR;
	return look(&it.table[0][at], at < DIRECT ? it.memory : it.between,
		    page);
}

static mpl_result_t translate_b(void *opaque, uint64_t iova,
				enum mpl_intent intent, struct mpl_attrs attrs,
				struct mpl_iommu_page *page)
{
	uint64_t at = iova / PAGE;

	(void)opaque, (void)intent, (void)attrs;
	return at < IOVAS ? look(&it.table[1][at], it.memory, page) :
			    MPL_DECODE_ERROR;
}

/* One under the library's lock, so that readers wait inside of accesses. */
static const struct mpl_iommu_ops ops_a = {
	.translate = translate_a,
	.concurrency = MPL_LOCK_FREE,
};
static const struct mpl_iommu_ops ops_b = { .translate = translate_b };

static uint32_t new_page(uint64_t *seed)
{
	for (;;) {
		uint32_t page = (uint32_t)(next(seed) % PAGES);

		if (!it.paint[page])
			continue;
		for (unsigned int i = 0; i < PAGE; i++)
			if (it.host[page * PAGE + i] != it.paint[page])
				fail("page %u was written at 0x%x after it had been given back",
				     page, i);
		it.paint[page] = 0;
		return page;
	}
}

static void give_back(uint32_t page, uint64_t *seed)
{
	it.paint[page] = (uint8_t)(next(seed) | 1);
	memset(it.host + page * PAGE, it.paint[page], PAGE);
}

static void count_done(void *arg)
{
	(void)arg;
	__atomic_add_fetch(&it.done, 1, __ATOMIC_RELEASE);
}

/* Invalidate a page and wait, one way or the other. */
static void invalidate(unsigned int level, uint32_t at, uint64_t *seed)
{
	struct counters *count = &it.count[THREADS];
	int before = __atomic_load_n(&it.done, __ATOMIC_ACQUIRE);

	if (next(seed) % 2) {
		check(mpl_iommu_invalidate_sync(it.iommu[level],
						(uint64_t)at * PAGE, PAGE),
		      "mpl_iommu_invalidate_sync");
		return;
	}
	check(mpl_iommu_invalidate_async(it.iommu[level], (uint64_t)at * PAGE,
					 PAGE, count_done, NULL),
	      "mpl_iommu_invalidate_async");
	while (__atomic_load_n(&it.done, __ATOMIC_ACQUIRE) == before)
		mpl_reclaim(it.plane);
	count->asyncs++;
}

static void set(struct entry *entry, uint32_t page)
{
	__atomic_store_n(&entry->page, page, __ATOMIC_RELEASE);
}

/* Another page for an entry that leads to memory, or none for a while. */
static void remap(uint64_t *seed)
{
	unsigned int level = next(seed) % 2;
	uint32_t at = (uint32_t)(next(seed) % (level ? IOVAS : DIRECT));
	struct entry *entry = &it.table[level][at];
	uint32_t old = entry->page;

	set(entry, old && next(seed) % 4 == 0 ? 0 : new_page(seed) + 1);
	invalidate(level, at, seed);
	if (!old)
		return;
	give_back(old - 1, seed);
	it.count[THREADS].given_back++;
}

/*
 * Two entries of A change their pages of B, both of the same thread's: until
 * they are invalidated both may lead to the same.
 */
static void swap(uint64_t *seed)
{
	uint32_t a = DIRECT + (uint32_t)(next(seed) % (IOVAS - DIRECT));
	uint32_t b = DIRECT + (uint32_t)(next(seed) % (IOVAS - DIRECT));
	uint32_t of_a, of_b;

	if (a % THREADS != b % THREADS)
		return;
	of_a = it.table[0][a].page;
	of_b = it.table[0][b].page;
	set(&it.table[0][a], of_b);
	set(&it.table[0][b], of_a);
	check(mpl_iommu_invalidate(it.iommu[0], (uint64_t)a * PAGE, PAGE),
	      "mpl_iommu_invalidate");
	check(mpl_iommu_invalidate(it.iommu[0], (uint64_t)b * PAGE, PAGE),
	      "mpl_iommu_invalidate");
	it.count[THREADS].swaps++;
}

static void free_dimm(void *opaque)
{
	memset(opaque, 0xdd, DIMM_SIZE);
	free(opaque);
	__atomic_add_fetch(&it.released, 1, __ATOMIC_RELAXED);
}

static void commit(struct mpl_txn *tx)
{
	int err = mpl_commit(tx);

	/* A DMA thread may hold much back for a moment. */
	if (err && err != -EAGAIN)
		fail("mpl_commit: %s", strerror(-err));
	it.count[THREADS].commits++;
}

/* Plug a module in, let it be used, and take it out again. */
static void plug(uint64_t *seed)
{
	void *memory = aligned_alloc(PAGE, DIMM_SIZE);
	struct mpl_region *dimm;
	struct mpl_txn *tx = mpl_begin(it.plane);

	if (!memory)
		fail("out of memory");
	check(mpl_region_new_ram(it.plane, "dimm", DIMM_SIZE,
				 &(struct mpl_ram_config){ .host = memory },
				 &dimm), "mpl_region_new_ram");
	mpl_region_on_release(dimm, free_dimm, memory);
	mpl_region_add(tx, it.system, DIMM, dimm, 0);
	commit(tx);
	for (uint64_t i = next(seed) % 8; i; i--)
		remap(seed);
	tx = mpl_begin(it.plane);
	mpl_region_remove(tx, dimm);
	if (mpl_commit(tx))
		fail("the module stays in");
	mpl_region_unref(dimm);
	it.count[THREADS].unplugged++;
}

/* Bus mastering off and on; logs on and off; the iommu elsewhere and back. */
static void change(uint64_t *seed)
{
	struct mpl_txn *tx = mpl_begin(it.plane);

	for (int i = 0; i < 2; i++) {
		switch (next(seed) % 3) {
		case 0:
			mpl_region_set_enabled(tx, it.master, i);
			break;
		case 1:
			mpl_log_global(tx, MPL_LOG_MIGRATION, !i);
			break;
		default:
			/* Even pages stay even: each thread's its own. */
			mpl_region_move(tx, it.middle, i ? 0 : 2 * PAGE);
			break;
		}
		commit(tx);
		tx = mpl_begin(it.plane);
	}
	/* As it was, whatever of the above came. */
	mpl_region_set_enabled(tx, it.master, true);
	mpl_log_global(tx, MPL_LOG_MIGRATION, false);
	mpl_region_move(tx, it.middle, 0);
	commit(tx);
}

/* A DMA thread. */
struct dma {
	unsigned int index;
	uint64_t seed;
	struct mpl_reader *reader;
	struct mpl_mapping held[HELD];
	unsigned int age[HELD];
};

/* An address in a page of the thread's own, or in its half of the module. */
static uint64_t address(struct dma *dma, size_t *len)
{
	uint64_t at = next(&dma->seed) % PAGE;

	*len = next(&dma->seed) % (PAGE - at) + 1;
	if (next(&dma->seed) % 8 == 0)
		return 2 * DIMM + dma->index * (DIMM_SIZE / THREADS) + at;
	return (next(&dma->seed) % (IOVAS / THREADS) * THREADS + dma->index) *
		       PAGE + at;
}

static void unmap(struct dma *dma, unsigned int i)
{
	struct mpl_mapping *mapping = &dma->held[i];
	size_t len = mapping->len;

	memset(mapping->host, (int)next(&dma->seed), len);
	check(mpl_unmap(next(&dma->seed) % 2 ? dma->reader : NULL, mapping,
			len), "mpl_unmap");
}

static void map(struct dma *dma, uint64_t iova, size_t len)
{
	const struct mpl_attrs none = { 0 };
	struct counters *count = &it.count[dma->index];
	unsigned int i = next(&dma->seed) % HELD;
	int err;

	if (dma->held[i].host)
		return;
	err = mpl_map(dma->reader, it.bus, iova, none, MPL_FOR_WRITE, &len,
		      &dma->held[i]);
	if (err) {
		count->faults++;
		return;
	}
	memset(dma->held[i].host, (int)next(&dma->seed), len);
	/* Nobody waits for those of the module but its memory. */
	dma->age[i] = next(&dma->seed) % (iova >= DIMM ? 2048 : 16);
	count->maps++;
}

static void point(struct dma *dma, uint64_t iova, size_t len)
{
	struct counters *count = &it.count[dma->index];
	size_t contiguous;
	void *host;

	if (mpl_translate(dma->reader, it.bus, iova, len, MPL_FOR_WRITE, &host,
			  &contiguous)) {
		count->faults++;
		return;
	}
	/* Late, but before the next quiescent state. */
	sched_yield();
	memset(host, (int)next(&dma->seed), contiguous);
	count->pointers++;
}

static void burst(struct dma *dma)
{
	uint64_t iova[8];
	void *host[8];
	size_t ignored;

	for (unsigned int i = 0; i < 8; i++)
		iova[i] = address(dma, &ignored) & ~UINT64_C(15);
	mpl_translate_burst(dma->reader, it.bus, iova, 8, 16, MPL_FOR_WRITE,
			    host);
	sched_yield();
	for (unsigned int i = 0; i < 8; i++) {
		if (!host[i])
			continue;
		memset(host[i], (int)next(&dma->seed), 16);
		it.count[dma->index].bursts++;
	}
}

static void scatter(struct dma *dma, uint64_t iova, size_t len)
{
	const struct mpl_attrs none = { 0 };
	struct mpl_mapping mapping[4];
	unsigned int count;
	size_t done;

	if (mpl_map_sg(dma->reader, it.bus, iova, none, MPL_FOR_WRITE, len,
		       mapping, NULL, 4, &count, &done))
		return;
	for (unsigned int i = 0; i < count; i++)
		memset(mapping[i].host, (int)next(&dma->seed), mapping[i].len);
	check(mpl_unmap_sg(dma->reader, mapping, count, done), "mpl_unmap_sg");
	it.count[dma->index].sgs++;
}

static void once(struct dma *dma)
{
	const struct mpl_attrs none = { 0 };
	struct counters *count = &it.count[dma->index];
	static const uint8_t zeros[PAGE];
	size_t len;
	uint64_t iova = address(dma, &len);
	uint8_t got[PAGE];

	switch (next(&dma->seed) % 7) {
	case 0:
	case 1:
		if (mpl_write(dma->reader, it.bus, iova, none, zeros, len))
			count->faults++;
		count->writes++;
		break;
	case 2:
		if (mpl_read(dma->reader, it.bus, iova, none, got, len))
			count->faults++;
		break;
	case 3:
		point(dma, iova, len);
		break;
	case 4:
		map(dma, iova, len);
		break;
	case 5:
		scatter(dma, iova, len);
		break;
	default:
		burst(dma);
		break;
	}
}

static void *dma_thread(void *arg)
{
	struct dma *dma = arg;

	check(mpl_reader_register(it.plane, &dma->reader),
	      "mpl_reader_register");
	mpl_reader_online(dma->reader);
	while (!__atomic_load_n(&it.over, __ATOMIC_RELAXED)) {
		for (unsigned int i = 0; i < 8; i++)
			once(dma);
		/* Those that are kept outlive quiescent states. */
		mpl_reader_quiescent(dma->reader);
		for (unsigned int i = 0; i < HELD; i++)
			if (dma->held[i].host && !dma->age[i]--)
				unmap(dma, i);
	}
	for (unsigned int i = 0; i < HELD; i++)
		if (dma->held[i].host)
			unmap(dma, i);
	mpl_reader_unregister(dma->reader);
	return NULL;
}

static void build(void)
{
	const struct mpl_plane_config config = {
		.control_thread = it.threaded,
	};
	struct mpl_region *dimm;
	struct mpl_txn *tx;

	check(mpl_plane_new(&it.plane, &config), "mpl_plane_new");
	check(mpl_region_new_container(it.plane, "system", UINT64_MAX,
				       &it.system), "container");
	check(mpl_region_new_container(it.plane, "bus", UINT64_MAX,
				       &it.bus_root), "container");
	check(mpl_region_new_container(it.plane, "between", UINT64_MAX,
				       &it.middle), "container");
	check(mpl_region_new_ram(it.plane, "ram", PAGES * PAGE, NULL, &it.ram),
	      "ram");
	check(mpl_region_new_iommu(it.plane, "a", IOVAS * PAGE, &ops_a, NULL,
				   &it.iommu[0]), "iommu");
	check(mpl_region_new_iommu(it.plane, "b", IOVAS * PAGE, &ops_b, NULL,
				   &it.iommu[1]), "iommu");
	check(mpl_region_new_alias(it.plane, "master", it.iommu[0], 0,
				   IOVAS * PAGE, &it.master), "alias");
	check(mpl_region_new_alias(it.plane, "dimm", it.system, DIMM,
				   DIMM_SIZE, &dimm), "alias");
	tx = mpl_begin(it.plane);
	mpl_region_add(tx, it.system, 0, it.ram, 0);
	mpl_region_add(tx, it.bus_root, 0, it.master, 0);
	mpl_region_add(tx, it.bus_root, 2 * DIMM, dimm, 0);
	check(mpl_commit(tx), "mpl_commit");
	mpl_region_unref(dimm);
	check(mpl_region_new_container(it.plane, "chain", UINT64_MAX, &dimm),
	      "container");
	tx = mpl_begin(it.plane);
	mpl_region_add(tx, it.middle, 0, it.iommu[1], 0);
	mpl_region_add(tx, dimm, 0, it.middle, 0);
	check(mpl_commit(tx), "mpl_commit");
	check(mpl_address_space_new(it.plane, "memory", it.system, &it.memory),
	      "space");
	check(mpl_address_space_new(it.plane, "bus", it.bus_root, &it.bus),
	      "space");
	check(mpl_address_space_new(it.plane, "between", dimm, &it.between),
	      "space");
	mpl_region_unref(dimm);
	it.host = mpl_region_host(it.ram);
}

static void fill_tables(uint64_t *seed)
{
	for (uint32_t page = 0; page < PAGES; page++)
		give_back(page, seed);
	for (uint32_t at = 0; at < IOVAS; at++) {
		set(&it.table[1][at], new_page(seed) + 1);
		/* Of the same thread's. */
		set(&it.table[0][at],
		    at < DIRECT ? new_page(seed) + 1 : at + 1);
	}
}

static void take_down(uint64_t *seed)
{
	mpl_synchronize(it.plane);
	for (unsigned int level = 0; level < 2; level++)
		for (uint32_t at = 0; at < (level ? IOVAS : DIRECT); at++) {
			uint32_t old = it.table[level][at].page;

			if (old)
				give_back(old - 1, seed);
		}
	for (uint32_t i = 0; i < PAGES; i++)
		new_page(seed);
	for (unsigned int i = 0; i < 2; i++)
		mpl_region_unref(it.iommu[i]);
	mpl_region_unref(it.master);
	mpl_region_unref(it.middle);
	mpl_region_unref(it.bus_root);
	mpl_region_unref(it.ram);
	mpl_region_unref(it.system);
	check(mpl_plane_free(it.plane), "mpl_plane_free");
	if ((uint64_t)it.released != it.count[THREADS].unplugged)
		fail("%" PRIu64 " modules unplugged, %d released",
		     it.count[THREADS].unplugged, it.released);
}

static void report(void)
{
	struct counters sum = it.count[THREADS];
	const uint64_t *never = NULL;

	for (unsigned int i = 0; i < THREADS; i++)
		for (size_t j = 0; j < sizeof(sum) / sizeof(uint64_t); j++)
			((uint64_t *)&sum)[j] +=
				((const uint64_t *)&it.count[i])[j];
	printf("dma: seed %" PRIu64 ", %u s, %s: %" PRIu64 " writes, %" PRIu64
	       " pointers, %" PRIu64 " maps, %" PRIu64 " sg, %" PRIu64
	       " of bursts, %" PRIu64 " faults; %" PRIu64
	       " pages given back, %" PRIu64 " asyncs, %" PRIu64
	       " swaps, %" PRIu64 " unplugged, %" PRIu64 " commits\n",
	       it.seed, it.seconds, it.threaded ? "control thread" : "inline",
	       sum.writes, sum.pointers, sum.maps, sum.sgs, sum.bursts,
	       sum.faults, sum.given_back, sum.asyncs, sum.swaps,
	       sum.unplugged, sum.commits);
	for (size_t j = 0; j < sizeof(sum) / sizeof(uint64_t); j++)
		if (!((const uint64_t *)&sum)[j])
			never = (const uint64_t *)&sum + j;
	if (it.seconds >= 5 && never)
		fail("something never happened");
}

static void parse(int argc, char **argv)
{
	it.seconds = 8;
	it.seed = 1;
	it.threaded = true;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--inline"))
			it.threaded = false;
		else if (!strcmp(argv[i], "--seconds") && i + 1 < argc)
			it.seconds = (unsigned int)atoi(argv[++i]);
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			it.seed = strtoull(argv[++i], NULL, 0);
		else
			fail("usage: dma [--seconds N] [--seed N] [--inline]");
	}
}

int main(int argc, char **argv)
{
	struct dma dma[THREADS] = { 0 };
	pthread_t thread[THREADS];
	uint64_t seed;
	time_t end;

	parse(argc, argv);
	seed = it.seed * 2 + 1;
	build();
	fill_tables(&seed);
	for (unsigned int i = 0; i < THREADS; i++) {
		dma[i].index = i;
		dma[i].seed = seed + 1000 * (i + 1);
		if (pthread_create(&thread[i], NULL, dma_thread, &dma[i]))
			fail("no thread");
	}
	end = time(NULL) + it.seconds;
	while (time(NULL) < end) {
		remap(&seed);
		swap(&seed);
		if (next(&seed) % 8 == 0)
			plug(&seed);
		if (next(&seed) % 8 == 0)
			change(&seed);
	}
	__atomic_store_n(&it.over, 1, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	take_down(&seed);
	report();
	return 0;
}
