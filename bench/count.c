/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hot paths for callgrind (bench/count): each item runs once to warm up
 * and once between client requests that start and stop the counting.  Outside
 * of valgrind the requests do nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <valgrind/callgrind.h>

#include "bench.h"
#include "io_world.h"
#include "world.h"

#define UNITS 4096
#define TOGGLES 64

bool bench_quick;

struct subject {
	struct world *world;
	struct io_world *io;
	struct mpl_reader *reader;
};

struct item {
	const char *name;
	void (*run)(const struct subject *subject, uint64_t units);
	uint64_t units;
	size_t regions; /* 0: the world of devices */
	enum world_shape shape;
};

static const struct mpl_attrs attrs;

static void nothing(const struct subject *subject, uint64_t units)
{
	for (uint64_t i = 0; i < units; i++)
		peer_use(subject);
}

static void hot(const struct subject *subject, uint64_t units)
{
	uint64_t gpa = subject->world->uniform[0];

	for (uint64_t i = 0; i < units; i++) {
		bench_opaque(gpa);
		peer_use(mpl_lookup(subject->reader, subject->world->as, gpa));
	}
}

static void uniform(const struct subject *subject, uint64_t units)
{
	for (uint64_t i = 0; i < units; i++)
		peer_use(mpl_lookup(subject->reader, subject->world->as,
				    subject->world->uniform[i]));
}

static void walk(const struct subject *subject, uint64_t units)
{
	for (uint64_t i = 0; i < units; i++)
		peer_use(mpl_lookup_uncached(subject->reader,
					     subject->world->as,
					     subject->world->uniform[i]));
}

static void quiescent(const struct subject *subject, uint64_t units)
{
	for (uint64_t i = 0; i < units; i++)
		mpl_reader_quiescent(subject->reader);
}

static void offline_online(const struct subject *subject, uint64_t units)
{
	for (uint64_t i = 0; i < units; i++) {
		mpl_reader_offline(subject->reader);
		mpl_reader_online(subject->reader);
	}
}

static void io_read(const struct subject *subject, uint64_t units)
{
	uint32_t value;

	for (uint64_t i = 0; i < units; i++)
		bench_use(mpl_read(subject->reader, subject->io->as,
				   io_device(7), attrs, &value, 4));
}

static void io_load(const struct subject *subject, uint64_t units)
{
	uint64_t value;

	for (uint64_t i = 0; i < units; i++)
		bench_use(mpl_load(subject->reader, subject->io->as,
				   io_device(7), attrs, 4, MPL_LITTLE_ENDIAN,
				   &value));
}

static void ram_load(const struct subject *subject, uint64_t units)
{
	uint64_t value;

	for (uint64_t i = 0; i < units; i++)
		bench_use(mpl_load(subject->reader, subject->io->as, 64, attrs,
				   4, MPL_LITTLE_ENDIAN, &value));
}

static void ram_store(const struct subject *subject, uint64_t units)
{
	for (uint64_t i = 0; i < units; i++)
		bench_use(mpl_store(subject->reader, subject->io->as, 64,
				    attrs, 4, MPL_LITTLE_ENDIAN, i));
}

static void ram_read(const struct subject *subject, uint64_t units)
{
	uint8_t buffer[64];

	for (uint64_t i = 0; i < units; i++) {
		bench_use(mpl_read(subject->reader, subject->io->as, 64, attrs,
				   buffer, sizeof(buffer)));
		peer_use(buffer);
	}
}

static void ram_write(const struct subject *subject, uint64_t units)
{
	static const uint8_t buffer[64];

	for (uint64_t i = 0; i < units; i++)
		bench_use(mpl_write(subject->reader, subject->io->as, 64,
				    attrs, buffer, sizeof(buffer)));
}

static void ram_store_release(const struct subject *subject, uint64_t units)
{
	for (uint64_t i = 0; i < units; i++)
		bench_use(mpl_store_release(subject->reader, subject->io->as,
					    64, 4, i));
}

static void ram_exchange(const struct subject *subject, uint64_t units)
{
	uint64_t expected = 0;
	bool swapped;

	for (uint64_t i = 0; i < units; i++)
		bench_use(mpl_compare_exchange(subject->reader,
					       subject->io->as, 128, 4,
					       &expected, i, &swapped));
}

static void ram_burst(const struct subject *subject, uint64_t units)
{
	uint64_t gpa[32];
	void *host[32];

	for (int i = 0; i < 32; i++)
		gpa[i] = 4096 * (uint64_t)i;
	for (uint64_t i = 0; i < units; i += 32) {
		bench_use(mpl_translate_burst(subject->reader,
					      subject->io->as, gpa, 32, 1526,
					      MPL_FOR_WRITE, host));
		peer_use(host);
	}
}

static void ram_translate(const struct subject *subject, uint64_t units)
{
	size_t contiguous;
	void *host;

	for (uint64_t i = 0; i < units; i++) {
		bench_use(mpl_translate(subject->reader, subject->io->as, 64,
					1526, MPL_FOR_READ, &host,
					&contiguous));
		peer_use(host);
	}
}

/* Buffers anywhere in RAM of many ranges. */
static void ring_translate(const struct subject *subject, uint64_t units)
{
	size_t contiguous;
	void *host;

	for (uint64_t i = 0; i < units; i++) {
		bench_use(mpl_translate(subject->reader, subject->world->as,
					subject->world->uniform[i], 1526,
					MPL_FOR_READ, &host, &contiguous));
		peer_use(host);
	}
}

static void map_unmap(const struct subject *subject, uint64_t units)
{
	struct mpl_mapping mapping;

	for (uint64_t i = 0; i < units; i++) {
		size_t len = 1526;

		bench_use(mpl_map(subject->reader, subject->io->as, 64, attrs,
				  MPL_FOR_WRITE, &len, &mapping));
		peer_use(mapping.host);
		bench_use(mpl_unmap(subject->reader, &mapping, len));
	}
}

static void iommu_load(const struct subject *subject, uint64_t units)
{
	uint64_t value;

	for (uint64_t i = 0; i < units; i++)
		bench_use(mpl_load(subject->reader, subject->io->translated, 64,
				   attrs, 4, MPL_LITTLE_ENDIAN, &value));
}

static void iommu_translate(const struct subject *subject, uint64_t units)
{
	size_t contiguous;
	void *host;

	for (uint64_t i = 0; i < units; i++) {
		bench_use(mpl_translate(subject->reader, subject->io->translated, 64,
					1526, MPL_FOR_READ, &host,
					&contiguous));
		peer_use(host);
	}
}

static void toggle(const struct subject *subject, uint64_t units)
{
	const struct world *world = subject->world;
	uint64_t random = 1;

	for (uint64_t i = 0; i < units; i++) {
		struct mpl_region *region =
			world->regions[bench_random(&random) % world->count];

		for (int on = 0; on < 2; on++) {
			struct mpl_txn *tx = mpl_begin(world->plane);

			mpl_region_set_enabled(tx, region, on);
			if (mpl_commit(tx))
				exit(1);
		}
		mpl_reader_quiescent(subject->reader);
	}
}

static const struct item items[] = {
	{ "loop", nothing, UNITS, 0, SHAPE_PAGES },
	{ "ring/translate/256", ring_translate, UNITS, 256, SHAPE_RAM },
	{ "lookup/hot/64", hot, UNITS, 64, SHAPE_PAGES },
	{ "lookup/hot/65536", hot, UNITS, 65536, SHAPE_PAGES },
	{ "lookup/uniform/64", uniform, UNITS, 64, SHAPE_PAGES },
	{ "lookup/uniform/65536", uniform, UNITS, 65536, SHAPE_PAGES },
	{ "lookup/walk/64", walk, UNITS, 64, SHAPE_PAGES },
	{ "lookup/walk/65536", walk, UNITS, 65536, SHAPE_PAGES },
	{ "reader/quiescent", quiescent, UNITS, 0, SHAPE_PAGES },
	{ "reader/offline_online", offline_online, UNITS, 0, SHAPE_PAGES },
	{ "access/io_read", io_read, UNITS, 0, SHAPE_PAGES },
	{ "access/io_load", io_load, UNITS, 0, SHAPE_PAGES },
	{ "access/ram_load", ram_load, UNITS, 0, SHAPE_PAGES },
	{ "access/ram_store", ram_store, UNITS, 0, SHAPE_PAGES },
	{ "access/ram_read_64", ram_read, UNITS, 0, SHAPE_PAGES },
	{ "access/ram_write_64", ram_write, UNITS, 0, SHAPE_PAGES },
	{ "access/ram_store_release", ram_store_release, UNITS, 0, SHAPE_PAGES },
	{ "access/ram_exchange", ram_exchange, UNITS, 0, SHAPE_PAGES },
	{ "access/translate", ram_translate, UNITS, 0, SHAPE_PAGES },
	{ "access/burst_write", ram_burst, UNITS, 0, SHAPE_PAGES },
	{ "dma/map_unmap", map_unmap, UNITS, 0, SHAPE_PAGES },
	{ "dma/iommu_load", iommu_load, UNITS, 0, SHAPE_PAGES },
	{ "dma/iommu_translate", iommu_translate, UNITS, 0, SHAPE_PAGES },
	{ "commit/toggle_twice/64", toggle, TOGGLES, 64, SHAPE_PAGES },
	{ "commit/toggle_twice/1024", toggle, TOGGLES, 1024, SHAPE_PAGES },
	{ "commit/toggle_twice/16384", toggle, TOGGLES, 16384, SHAPE_PAGES },
	{ "commit/toggle_twice/65536", toggle, TOGGLES, 65536, SHAPE_PAGES },
};

static int count_item(const struct item *item)
{
	struct subject subject = { 0 };
	struct mpl_plane *plane;
	char label[64];
	int err;

	/* Valgrind has not the address space for one world more. */
	if (item->shape == SHAPE_RAM)
		err = world_create(item->shape, item->regions, NULL,
				   &subject.world);
	else if (item->regions)
		err = world_get(item->shape, item->regions, &subject.world);
	else
		err = io_world_get(&subject.io);
	if (err)
		return err;
	plane = item->regions ? subject.world->plane : subject.io->plane;
	subject.reader = world_enter(plane);
	if (!subject.reader)
		return -1;
	item->run(&subject, item->units);
	CALLGRIND_START_INSTRUMENTATION;
	CALLGRIND_ZERO_STATS;
	item->run(&subject, item->units);
	CALLGRIND_STOP_INSTRUMENTATION;
	snprintf(label, sizeof(label), "%s=%llu", item->name,
		 (unsigned long long)item->units);
	CALLGRIND_DUMP_STATS_AT(label);
	world_leave(subject.reader);
	if (item->shape == SHAPE_RAM)
		world_destroy(subject.world);
	return 0;
}

int main(void)
{
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(items) / sizeof(*items); i++) {
		err = count_item(&items[i]);
		if (err)
			fprintf(stderr, "%s: %s\n", items[i].name,
				strerror(-err));
	}
	io_world_free();
	world_free_all();
	return err ? 1 : 0;
}
