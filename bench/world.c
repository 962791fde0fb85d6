/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "access_calls.h"
#include "bench.h"
#include "world.h"

/* Where the first region lies; leaves a gap below. */
#define FIRST_UNIT 0x100
/* Gaps are below this many units. */
#define GAP_UNITS 64
#define RAM_GAP (2 * MPL_MIB)

const struct mpl_io_ops world_io_ops = {
	.read = bench_empty_read,
	.write = bench_empty_write,
	.valid = { .min = 1, .max = 8, .unaligned = true },
	.impl = { .min = 1, .max = 8, .unaligned = true },
	.concurrency = MPL_LOCK_FREE,
};

struct mpl_reader *world_enter(struct mpl_plane *plane)
{
	struct mpl_reader *reader;

	if (mpl_reader_register(plane, &reader))
		return NULL;
	if (mpl_reader_online(reader)) {
		mpl_reader_unregister(reader);
		return NULL;
	}
	return reader;
}

void world_leave(struct mpl_reader *reader)
{
	if (!reader)
		return;
	mpl_reader_offline(reader);
	mpl_reader_unregister(reader);
}

static int make_io(struct world *world, struct mpl_txn *tx, unsigned int unit)
{
	uint64_t seed = world->count;
	uint64_t at = FIRST_UNIT;

	for (size_t i = 0; i < world->count; i++) {
		uint64_t units = UINT64_C(1) << (bench_random(&seed) & 3);
		int err = mpl_region_new_io(world->plane, NULL, units << unit,
					    &world_io_ops, NULL,
					    &world->regions[i]);

		if (err)
			return err;
		at += bench_random(&seed) % GAP_UNITS;
		mpl_region_add(tx, world->root, at << unit, world->regions[i],
			       0);
		at += units;
	}
	return 0;
}

static int make_ram(struct world *world, struct mpl_txn *tx)
{
	uint64_t size = RAM_TOTAL / world->count;

	for (size_t i = 0; i < world->count; i++) {
		struct mpl_ram_config config = { .host = world->ram + i * size };
		int err = mpl_region_new_ram(world->plane, NULL, size, &config,
					     &world->regions[i]);

		if (err)
			return err;
		mpl_region_add(tx, world->root, i * (size + RAM_GAP),
			       world->regions[i], 0);
	}
	return 0;
}

static int make_regions(struct world *world, enum world_shape shape)
{
	struct mpl_txn *tx = mpl_begin(world->plane);
	int err;

	if (shape == SHAPE_RAM)
		err = make_ram(world, tx);
	else
		err = make_io(world, tx, shape == SHAPE_PAGES ? 12 : 3);
	if (err) {
		mpl_abort(tx);
		return err;
	}
	return mpl_commit(tx);
}

static int count_range(void *arg, const struct mpl_flat_range *range)
{
	(void)range;
	++*(size_t *)arg;
	return 0;
}

static int copy_range(void *arg, const struct mpl_flat_range *range)
{
	struct world *world = arg;
	size_t id = ++world->sections_count;
	struct mpl_section *section = &world->sections[id];
	uint8_t *host = mpl_region_host(range->region);

	section->start = range->start;
	section->span = range->last - range->start;
	section->host = host ? host + range->offset : NULL;
	section->offset = range->offset;
	section->flags = host ? MPL_SECTION_READ | MPL_SECTION_WRITE : 0;
	section->id = (uint32_t)id;
	return 0;
}

/* The flat view as an array, and the addresses. */
static int copy_view(struct world *world)
{
	size_t count = 0;
	size_t bytes;
	int err = mpl_address_space_walk(world->as, count_range, &count);

	if (err)
		return err;
	bytes = (count + 1) * sizeof(*world->sections);
	if (posix_memalign((void **)&world->sections, 64, bytes)) {
		world->sections = NULL;
		return -ENOMEM;
	}
	memset(world->sections, 0, bytes);
	world->sections[0].span = UINT64_MAX;
	world->sections[0].flags = MPL_SECTION_UNASSIGNED;
	return mpl_address_space_walk(world->as, copy_range, world);
}

static int make_addresses(struct world *world)
{
	const struct mpl_section *first = world->sections + 1;
	uint64_t seed = ~world->count;

	world->uniform = calloc(WORLD_ADDRESSES, sizeof(uint64_t));
	world->round_robin = calloc(WORLD_ADDRESSES, sizeof(uint64_t));
	if (!world->uniform || !world->round_robin)
		return -ENOMEM;
	for (size_t i = 0; i < WORLD_ADDRESSES; i++) {
		const struct mpl_section *section =
			&first[bench_random(&seed) % world->sections_count];
		uint64_t byte = bench_random(&seed) % (section->span + 1);

		world->uniform[i] = section->start + (byte & ~UINT64_C(3));
		world->round_robin[i] = first[i % world->sections_count].start;
	}
	return 0;
}

/* The library as a peer, so that the peers' check serves it as well. */
struct self {
	struct mpl_reader *reader;
	const struct world *world;
};

static const struct mpl_section *self_lookup(void *arg, uint64_t gpa)
{
	struct self *self = arg;
	const struct mpl_section *got, *uncached;

	uncached = mpl_lookup_uncached(self->reader, self->world->as, gpa);
	got = mpl_lookup(self->reader, self->world->as, gpa);
	if (got != uncached)
		return NULL;
	if (mpl_section_is_unassigned(got))
		return self->world->sections;
	/* As the section with the same bounds in the array. */
	for (size_t i = 1; i <= self->world->sections_count; i++) {
		if (self->world->sections[i].start == got->start &&
		    self->world->sections[i].span == got->span)
			return &self->world->sections[i];
	}
	return NULL;
}

static int check(struct world *world)
{
	static const struct peer self_peer = {
		.name = "memplane",
		.lookup = self_lookup,
	};
	struct peer_map map = { world->sections, world->sections_count };
	struct self self = { world_enter(world->plane), world };
	int err;

	if (!self.reader)
		return -ENOMEM;
	if (world->sections_count != world->count) {
		fprintf(stderr, "%zu ranges instead of %zu\n",
			world->sections_count, world->count);
		err = -EILSEQ;
	} else {
		err = peer_check(&self_peer, &self, &map, world->uniform, 500);
	}
	world_leave(self.reader);
	return err;
}

static int fill_world(struct world *world, enum world_shape shape)
{
	int err;

	if (shape == SHAPE_RAM) {
		void *ram = mmap(NULL, RAM_TOTAL, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (ram == MAP_FAILED)
			return -errno;
		world->ram = ram;
	}
	world->regions = calloc(world->count, sizeof(*world->regions));
	if (!world->regions)
		return -ENOMEM;
	err = mpl_region_new_container(world->plane, "system", UINT64_MAX,
				       &world->root);
	if (!err)
		err = make_regions(world, shape);
	if (!err)
		err = mpl_address_space_new(world->plane, "memory",
					    world->root, &world->as);
	if (!err)
		err = copy_view(world);
	if (!err)
		err = make_addresses(world);
	return err ? err : check(world);
}

int world_create(enum world_shape shape, size_t count,
		 const struct mpl_plane_config *config, struct world **out)
{
	struct world *world = calloc(1, sizeof(*world));
	int err;

	if (!world)
		return -ENOMEM;
	world->count = count;
	err = mpl_plane_new(&world->plane, config);
	if (!err)
		err = fill_world(world, shape);
	if (err) {
		fprintf(stderr, "a world of %zu: %s\n", count, strerror(-err));
		world_destroy(world);
		return err;
	}
	*out = world;
	return 0;
}

void world_destroy(struct world *world)
{
	for (size_t i = 0; world->regions && i < world->count; i++)
		mpl_region_unref(world->regions[i]);
	mpl_region_unref(world->root);
	mpl_plane_free(world->plane);
	if (world->ram)
		munmap(world->ram, RAM_TOTAL);
	free(world->regions);
	free(world->sections);
	free(world->uniform);
	free(world->round_robin);
	free(world);
}

/* By shape and the logarithm of the count. */
static struct world *worlds[SHAPES][32];

int world_get(enum world_shape shape, size_t count, struct world **out)
{
	unsigned int slot = 63 - (unsigned int)__builtin_clzl(count);
	struct world **world = &worlds[shape][slot];
	int err = 0;

	if (!*world)
		err = world_create(shape, count, NULL, world);
	*out = *world;
	return err;
}

void world_free_all(void)
{
	for (unsigned int shape = 0; shape < SHAPES; shape++) {
		for (unsigned int slot = 0; slot < 32; slot++) {
			if (worlds[shape][slot])
				world_destroy(worlds[shape][slot]);
			worlds[shape][slot] = NULL;
		}
	}
}
