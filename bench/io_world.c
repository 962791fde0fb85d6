/* SPDX-License-Identifier: BSD-3-Clause */
#include "io_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "world.h"

static struct io_world *the_world;

static int attach(struct io_world *world, struct mpl_txn *tx,
		  struct mpl_region *root, uint64_t at,
		  const struct mpl_io_ops *ops)
{
	struct mpl_region *region;
	int err = mpl_region_new_io(world->plane, "device", IO_PAGE, ops, NULL,
				    &region);

	if (err)
		return err;
	mpl_region_add(tx, root, at, region, 0);
	mpl_region_unref(region);
	return 0;
}

static int attach_all(struct io_world *world, struct mpl_txn *tx,
		      struct mpl_region *root)
{
	static struct mpl_io_ops serialised;
	struct mpl_ram_config config = { .host = world->ram };
	struct mpl_region *ram;
	int err = mpl_region_new_ram(world->plane, "ram", IO_RAM_BYTES,
				     &config, &ram);

	if (err)
		return err;
	mpl_region_add(tx, root, 0, ram, 0);
	mpl_region_unref(ram);
	for (unsigned int i = 0; !err && i < IO_DEVICES; i++)
		err = attach(world, tx, root, io_device(i), &world_io_ops);
	serialised = world_io_ops;
	serialised.concurrency = MPL_SERIALISED;
	return err ? err :
		     attach(world, tx, root, IO_SERIALISED, &serialised);
}

static int make_space(struct io_world *world)
{
	struct mpl_region *root;
	struct mpl_txn *tx;
	int err = mpl_region_new_container(world->plane, "system", UINT64_MAX,
					   &root);

	if (err)
		return err;
	tx = mpl_begin(world->plane);
	err = attach_all(world, tx, root);
	if (err)
		mpl_abort(tx);
	else
		err = mpl_commit(tx);
	if (!err)
		err = mpl_address_space_new(world->plane, "memory", root,
					    &world->as);
	mpl_region_unref(root);
	return err;
}

static mpl_result_t translate(void *opaque, uint64_t iova,
			      enum mpl_intent intent, struct mpl_attrs attrs,
			      struct mpl_iommu_page *page)
{
	const struct io_world *world = opaque;

	(void)intent, (void)attrs;
	page->as = world->as;
	page->address = iova;
	page->mask = IO_PAGE - 1;
	page->permissions = MPL_FOR_BOTH;
	return MPL_OK;
}

static int make_iommu(struct io_world *world)
{
	static const struct mpl_iommu_ops ops = {
		.translate = translate,
		.concurrency = MPL_LOCK_FREE,
	};
	struct mpl_region *iommu;
	int err = mpl_region_new_iommu(world->plane, "iommu", UINT64_MAX, &ops,
				       world, &iommu);

	if (err)
		return err;
	err = mpl_address_space_new(world->plane, "translated", iommu,
				    &world->translated);
	mpl_region_unref(iommu);
	return err;
}

static int make_bus(struct io_world *world)
{
	size_t bytes = (IO_DEVICES + 1) * sizeof(*world->sections);
	struct peer_map map = { .count = IO_DEVICES };
	void *bus;
	int err;

	if (posix_memalign((void **)&world->sections, 64, bytes)) {
		world->sections = NULL;
		return -ENOMEM;
	}
	memset(world->sections, 0, bytes);
	world->sections[0].span = UINT64_MAX;
	for (unsigned int i = 0; i < IO_DEVICES; i++) {
		world->sections[i + 1].start = io_device(i);
		world->sections[i + 1].span = IO_PAGE - 1;
	}
	map.sections = world->sections;
	err = peer_rbtree.build(&map, &bus);
	if (!err)
		world->bus = bus;
	return err;
}

static int fill(struct io_world *world)
{
	void *ram = mmap(NULL, IO_RAM_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int err;

	if (ram == MAP_FAILED)
		return -errno;
	world->ram = ram;
	err = mpl_plane_new(&world->plane, NULL);
	if (!err)
		err = make_space(world);
	if (!err)
		err = make_iommu(world);
	return err ? err : make_bus(world);
}

int io_world_get(struct io_world **out)
{
	int err;

	if (!the_world) {
		the_world = calloc(1, sizeof(*the_world));
		if (!the_world)
			return -ENOMEM;
		err = fill(the_world);
		if (err) {
			fprintf(stderr, "a world of devices: %s\n",
				strerror(-err));
			io_world_free();
			return err;
		}
	}
	*out = the_world;
	return 0;
}

void io_world_free(void)
{
	if (!the_world)
		return;
	mpl_plane_free(the_world->plane);
	if (the_world->bus)
		peer_rbtree.free(the_world->bus);
	if (the_world->ram)
		munmap(the_world->ram, IO_RAM_BYTES);
	free(the_world->sections);
	free(the_world);
	the_world = NULL;
}
