/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What DMA costs: mappings, and translation by an iommu.
 *
 *	dma/map			map and unmap 4 KiB of one of 16 blocks
 *	dma/map_same		... all threads the same block
 *	dma/map_mutex		map_same on a tree under a mutex, its ranges
 *				reference counted
 *	dma/load		8 bytes of memory, at random pages of 256
 *	dma/iommu_hit		... through an iommu, cached
 *	dma/iommu_miss		... through an iommu, 4096 pages: hardly ever
 *				cached; the callback looks into an array
 *	dma/iommu_mutex		... through a tree of 256 pages under a mutex
 *	dma/sg_64k		64 KiB of 16 scattered pages as iovecs
 *	dma/map_sg_64k		... mapped and unmapped
 *	dma/sg_64k_mutex	... 16 times get and put on that tree
 *
 * Their counter p50_ns is a unit of work in a thread's median batch.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "bench.h"
#include "peers/rbtree.h"
#include "pin.h"
#include "samples.h"
#include "world.h"

#define BATCH 256
#define BLOCKS 16
#define BLOCK (4 * MPL_MIB)
#define PAGE UINT64_C(4096)
#define PAGES 4096 /* iovas */
#define CACHED 64  /* of them for hits: an IOTLB has places for 256 */
#define SG_PAGES 16
#define ADDRESSES 4096

static const struct mpl_attrs attrs;

static struct dma_world {
	struct mpl_plane *plane;
	struct mpl_address_space *memory;
	struct mpl_address_space *bus; /* an iommu over everything */
	struct mpl_region *iommu;
	uint8_t *ram;
	uint32_t table[PAGES]; /* iova page -> page of memory */
	struct mpl_section *sections;
	struct rb_bus *blocks; /* as the memory's view */
	struct rb_bus *pages;  /* as the iommu's first pages */
	uint64_t random[ADDRESSES];
} *the_world;

static mpl_result_t translate(void *opaque, uint64_t iova,
			      enum mpl_intent intent, struct mpl_attrs who,
			      struct mpl_iommu_page *page)
{
	const struct dma_world *world = opaque;

	(void)intent, (void)who;
	page->as = world->memory;
	page->address = world->table[iova / PAGE % PAGES] * PAGE;
	page->mask = PAGE - 1;
	page->permissions = MPL_FOR_BOTH;
	return MPL_OK;
}

static const struct mpl_iommu_ops iommu_ops = {
	.translate = translate,
	.concurrency = MPL_LOCK_FREE,
};

static int make_spaces(struct dma_world *world)
{
	struct mpl_region *root;
	struct mpl_txn *tx;
	int err = mpl_region_new_container(world->plane, "system", UINT64_MAX,
					   &root);

	if (err)
		return err;
	tx = mpl_begin(world->plane);
	for (uint64_t i = 0; i < BLOCKS && !err; i++) {
		const struct mpl_ram_config config = {
			.host = world->ram + i * BLOCK,
		};
		struct mpl_region *ram;

		err = mpl_region_new_ram(world->plane, "ram", BLOCK, &config,
					 &ram);
		if (err)
			break;
		mpl_region_add(tx, root, i * BLOCK, ram, 0);
		mpl_region_unref(ram);
	}
	if (err)
		mpl_abort(tx);
	else
		err = mpl_commit(tx);
	if (!err)
		err = mpl_address_space_new(world->plane, "memory", root,
					    &world->memory);
	mpl_region_unref(root);
	if (!err)
		err = mpl_region_new_iommu(world->plane, "iommu", UINT64_MAX,
					   &iommu_ops, world, &world->iommu);
	if (!err)
		err = mpl_address_space_new(world->plane, "bus", world->iommu,
					    &world->bus);
	return err;
}

static int make_bus(struct mpl_section *sections, size_t count, uint64_t step,
		    uint8_t *ram, const uint32_t *table, struct rb_bus **out)
{
	struct peer_map map = { .count = count, .sections = sections };
	void *bus = NULL;
	int err;

	memset(sections, 0, (count + 1) * sizeof(*sections));
	sections[0].span = UINT64_MAX;
	for (size_t i = 0; i < count; i++) {
		sections[i + 1].start = i * step;
		sections[i + 1].span = step - 1;
		sections[i + 1].host = ram + (table ? table[i] : i) * step;
	}
	err = peer_rbtree.build(&map, &bus);
	*out = bus;
	return err;
}

static int fill(struct dma_world *world)
{
	uint64_t seed = 1;
	int err;

	world->ram = mmap(NULL, BLOCKS * BLOCK, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (world->ram == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < BLOCKS * BLOCK / 8; i++)
		((uint64_t *)world->ram)[i] = i;
	for (size_t i = 0; i < PAGES; i++)
		world->table[i] = (uint32_t)(bench_random(&seed) %
					     (BLOCKS * BLOCK / PAGE));
	for (size_t i = 0; i < ADDRESSES; i++)
		world->random[i] = bench_random(&seed) & ~UINT64_C(7);
	world->sections = aligned_alloc(64, (BLOCKS + CACHED + 2) *
						    sizeof(struct mpl_section));
	if (!world->sections)
		return -ENOMEM;
	err = mpl_plane_new(&world->plane, NULL);
	if (!err)
		err = make_spaces(world);
	if (!err)
		err = make_bus(world->sections, BLOCKS, BLOCK, world->ram,
			       NULL, &world->blocks);
	if (!err)
		err = make_bus(world->sections + BLOCKS + 1, CACHED, PAGE,
			       world->ram, world->table, &world->pages);
	return err;
}

void dma_free_all(void)
{
	struct dma_world *world = the_world;

	if (!world)
		return;
	the_world = NULL;
	mpl_region_unref(world->iommu);
	mpl_plane_free(world->plane);
	if (world->blocks)
		peer_rbtree.free(world->blocks);
	if (world->pages)
		peer_rbtree.free(world->pages);
	munmap(world->ram, BLOCKS * BLOCK);
	free(world->sections);
	free(world);
}

/* One thread's view of a benchmark. */
struct job {
	const struct dma_world *world;
	struct mpl_reader *reader;
	size_t at; /* in the list of addresses */
	uint64_t wrong;
};

static uint64_t address(struct job *job, uint64_t bytes)
{
	job->at = (job->at + 1) % ADDRESSES;
	return job->world->random[job->at] % bytes;
}

static void map_in(struct job *job, uint64_t bytes)
{
	struct mpl_mapping mapping;

	for (size_t i = 0; i < BATCH; i++) {
		uint64_t gpa = address(job, bytes) & ~(PAGE - 1);
		size_t len = PAGE;

		job->wrong += mpl_map(job->reader, job->world->memory, gpa,
				      attrs, MPL_FOR_WRITE, &len,
				      &mapping) != 0;
		bench_use(mapping.host);
		job->wrong += mpl_unmap(job->reader, &mapping, len) != 0;
		if (i % QUIESCENT_EVERY == 0)
			mpl_reader_quiescent(job->reader);
	}
}

static void map(struct job *job)
{
	map_in(job, BLOCKS * BLOCK);
}

static void map_same(struct job *job)
{
	map_in(job, BLOCK);
}

/* A mapping as such a bus has it: look up, take a reference; drop it. */
static void map_mutex(struct job *job)
{
	for (size_t i = 0; i < BATCH; i++) {
		uint64_t gpa = address(job, BLOCK) & ~(PAGE - 1);
		struct rb_range *range = rb_bus_get(job->world->blocks, gpa);

		bench_use(range->section->host + (gpa - range->start));
		rb_bus_put(range);
	}
}

static void load_in(struct job *job, const struct mpl_address_space *as,
		    uint64_t pages)
{
	uint64_t value;

	for (size_t i = 0; i < BATCH; i++) {
		job->wrong += mpl_load(job->reader, as,
				       address(job, pages * PAGE), attrs, 8,
				       MPL_NATIVE_ENDIAN, &value) != MPL_OK;
		bench_use(value);
		if (i % QUIESCENT_EVERY == 0)
			mpl_reader_quiescent(job->reader);
	}
}

static void load(struct job *job)
{
	load_in(job, job->world->memory, CACHED);
}

static void iommu_hit(struct job *job)
{
	load_in(job, job->world->bus, CACHED);
}

static void iommu_miss(struct job *job)
{
	load_in(job, job->world->bus, PAGES);
}

static void iommu_mutex(struct job *job)
{
	for (size_t i = 0; i < BATCH; i++) {
		uint64_t iova = address(job, CACHED * PAGE);
		struct rb_range *range = rb_bus_get(job->world->pages, iova);

		bench_use(*(volatile uint64_t *)(range->section->host +
						 (iova - range->start)));
		rb_bus_put(range);
	}
}

static void sg(struct job *job)
{
	struct iovec iov[SG_PAGES];
	unsigned int count;
	size_t done;

	for (size_t i = 0; i < BATCH; i++) {
		uint64_t iova = address(job, (CACHED - SG_PAGES) * PAGE);

		mpl_translate_sg(job->reader, job->world->bus,
				 iova & ~(PAGE - 1), attrs, SG_PAGES * PAGE,
				 MPL_FOR_WRITE, iov, SG_PAGES, &count, &done);
		job->wrong += done != SG_PAGES * PAGE;
		mpl_reader_quiescent(job->reader);
	}
}

static void map_sg(struct job *job)
{
	struct mpl_mapping mapping[SG_PAGES];
	struct iovec iov[SG_PAGES];
	unsigned int count;
	size_t done;

	for (size_t i = 0; i < BATCH; i++) {
		uint64_t iova = address(job, (CACHED - SG_PAGES) * PAGE);

		mpl_map_sg(job->reader, job->world->bus, iova & ~(PAGE - 1),
			   attrs, MPL_FOR_WRITE, SG_PAGES * PAGE, mapping, iov,
			   SG_PAGES, &count, &done);
		job->wrong += done != SG_PAGES * PAGE;
		job->wrong += mpl_unmap_sg(job->reader, mapping, count,
					   done) != 0;
		mpl_reader_quiescent(job->reader);
	}
}

static void sg_mutex(struct job *job)
{
	struct rb_range *range[SG_PAGES];

	for (size_t i = 0; i < BATCH; i++) {
		uint64_t iova = address(job, (CACHED - SG_PAGES) * PAGE);

		for (size_t j = 0; j < SG_PAGES; j++) {
			range[j] = rb_bus_get(job->world->pages,
					      iova + j * PAGE);
			bench_use(range[j]->section->host);
		}
		for (size_t j = 0; j < SG_PAGES; j++)
			rb_bus_put(range[j]);
	}
}

static const struct task {
	const char *name;
	void (*batch)(struct job *job);
} tasks[] = {
	{ "dma/map", map },
	{ "dma/map_same", map_same },
	{ "dma/map_mutex", map_mutex },
	{ "dma/load", load },
	{ "dma/iommu_hit", iommu_hit },
	{ "dma/iommu_miss", iommu_miss },
	{ "dma/iommu_mutex", iommu_mutex },
	{ "dma/sg_64k", sg },
	{ "dma/map_sg_64k", map_sg },
	{ "dma/sg_64k_mutex", sg_mutex },
};

/* Do the iommu, the memory and the tree agree? */
static int check_world(struct dma_world *world)
{
	struct mpl_reader *reader = world_enter(world->plane);
	uint64_t seed = 2;
	int err = reader ? 0 : -ENOMEM;

	for (size_t i = 0; i < 1000 && !err; i++) {
		uint64_t iova = bench_random(&seed) % (CACHED * PAGE) & ~7ull;
		uint64_t gpa = world->table[iova / PAGE] * PAGE + iova % PAGE;
		struct rb_range *range = rb_bus_get(world->pages, iova);
		uint64_t value = 0;

		if (mpl_load(reader, world->bus, iova, attrs, 8,
			     MPL_NATIVE_ENDIAN, &value) || value != gpa / 8 ||
		    !range ||
		    range->section->host + (iova - range->start) !=
			    world->ram + gpa)
			err = -EUCLEAN;
		if (range)
			rb_bus_put(range);
	}
	if (reader)
		world_leave(reader);
	return err;
}

static int setup(void *arg)
{
	int err;

	(void)arg;
	if (the_world)
		return 0;
	the_world = calloc(1, sizeof(*the_world));
	if (!the_world)
		return -ENOMEM;
	err = fill(the_world);
	return err ? err : check_world(the_world);
}

static void run(struct gb_state *state, void *arg)
{
	struct samples *samples = calloc(1, sizeof(*samples));
	const struct task *task = arg;
	struct job job = { .world = the_world };

	job.at = gb_thread(state) * (ADDRESSES / 2);
	job.reader = world_enter(the_world->plane);
	if (!samples || !job.reader)
		gb_fail(state, "no reader or no memory");
	pin_thread(gb_thread(state));
	while (gb_next(state, BATCH)) {
		uint64_t start = bench_ns();

		task->batch(&job);
		samples_add(samples, bench_ns() - start);
	}
	if (job.wrong)
		gb_fail(state, "something could not be mapped");
	if (samples)
		gb_counter(state, "p50_ns",
			   samples_percentile(samples, 0.5) / BATCH);
	pin_release();
	world_leave(job.reader);
	free(samples);
}

int register_dma(void)
{
	int err = 0;

	for (size_t i = 0; i < sizeof(tasks) / sizeof(*tasks); i++) {
		for (unsigned int threads = 1; !err && threads <= 2;
		     threads++) {
			const struct gb_bench bench = {
				.name = tasks[i].name,
				.threads = threads,
				.wall = true,
				.setup = setup,
				.run = run,
				.arg = (void *)(uintptr_t)&tasks[i],
			};

			err = gb_register(&bench);
		}
	}
	return err;
}
