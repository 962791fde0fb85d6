/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/region.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/count.h"
#include "dispatch/iommu.h"
#include "lib/control.h"
#include "lib/dirty.h"
#include "lib/plane.h"
#include "lib/ram_block.h"
#include "lib/ram_poison.h"
#include "lib/tree.h"

_Static_assert(offsetof(struct mpl_region, device) == 0,
	       "mpl_section_region() and mpl_region_of() cast");

/* The last reference went: somebody who holds the control lock buries it. */
static void unreferenced(struct mpl_device *device)
{
	struct mpl_region *region = mpl_region_of(device);
	struct mpl_plane *plane = region->plane;

	pthread_mutex_lock(&plane->regions_mutex);
	mpl_list_remove(&region->link);
	mpl_list_append(&plane->dead, &region->link);
	__atomic_store_n(&plane->has_dead, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&plane->regions_mutex);
	mpl_control_wake(plane);
}

static int region_new(struct mpl_plane *plane, enum mpl_region_kind kind,
		      const char *name, uint64_t size,
		      const struct mpl_io_ops *ops, void *opaque,
		      struct mpl_region **out)
{
	struct mpl_region *region = aligned_alloc(64, sizeof(*region));
	int err;

	if (!region)
		return -ENOMEM;
	memset(region, 0, sizeof(*region));
	err = mpl_device_init(&region->device, ops, opaque);
	region->name = strdup(name ? name : "");
	if (!region->name && !err)
		err = -ENOMEM;
	if (err) {
		free(region->name);
		free(region);
		return err;
	}
	region->device.unreferenced = unreferenced;
	mpl_count_number(&plane->data, &region->device);
	region->plane = plane;
	region->kind = kind;
	region->size = size;
	region->enabled = true;
	region->rom_mode = true;
	region->readonly = kind == MPL_ROM;
	mpl_list_init(&region->sibling);
	mpl_list_init(&region->children);
	mpl_list_init(&region->alias_link);
	mpl_list_init(&region->aliases);
	mpl_list_init(&region->deps);
	pthread_mutex_lock(&plane->regions_mutex);
	mpl_list_append(&plane->regions, &region->link);
	plane->region_count++;
	pthread_mutex_unlock(&plane->regions_mutex);
	*out = region;
	return 0;
}

int mpl_region_new_container(struct mpl_plane *plane, const char *name,
			     uint64_t size, struct mpl_region **out)
{
	return region_new(plane, MPL_CONTAINER, name, size, NULL, NULL, out);
}

int mpl_region_new_io(struct mpl_plane *plane, const char *name, uint64_t size,
		      const struct mpl_io_ops *ops, void *opaque,
		      struct mpl_region **out)
{
	return region_new(plane, MPL_IO, name, size, ops, opaque, out);
}

int mpl_region_new_iommu(struct mpl_plane *plane, const char *name,
			 uint64_t size, const struct mpl_iommu_ops *ops,
			 void *opaque, struct mpl_region **out)
{
	struct mpl_region *region;
	struct mpl_iommu *iommu;
	int err = mpl_iommu_new(&plane->data, ops, opaque, &iommu);

	if (err)
		return err;
	err = region_new(plane, MPL_IOMMU, name, size, NULL, opaque, &region);
	if (err) {
		mpl_iommu_free(iommu);
		return err;
	}
	region->device.iommu = iommu;
	region->device.serialised = iommu->ops->concurrency == MPL_SERIALISED;
	*out = region;
	return 0;
}

/* The kinds that have memory. */
static int new_with_memory(struct mpl_plane *plane, enum mpl_region_kind kind,
			   const char *name, uint64_t size,
			   const struct mpl_ram_config *config,
			   const struct mpl_io_ops *ops, void *opaque,
			   struct mpl_region **out)
{
	struct mpl_region *region;
	int err = region_new(plane, kind, name, size, ops, opaque, &region);

	if (err)
		return err;
	err = mpl_ram_block_attach(region, config);
	if (!err)
		err = mpl_dirty_attach(region);
	if (err) {
		mpl_region_unref(region);
		return err;
	}
	*out = region;
	return 0;
}

int mpl_region_new_ram(struct mpl_plane *plane, const char *name,
		       uint64_t size, const struct mpl_ram_config *config,
		       struct mpl_region **out)
{
	return new_with_memory(plane, MPL_RAM, name, size, config, NULL, NULL,
			       out);
}

int mpl_region_new_rom(struct mpl_plane *plane, const char *name,
		       uint64_t size, const struct mpl_ram_config *config,
		       struct mpl_region **out)
{
	return new_with_memory(plane, MPL_ROM, name, size, config, NULL, NULL,
			       out);
}

int mpl_region_new_rom_device(struct mpl_plane *plane, const char *name,
			      uint64_t size,
			      const struct mpl_ram_config *config,
			      const struct mpl_io_ops *ops, void *opaque,
			      struct mpl_region **out)
{
	return new_with_memory(plane, MPL_ROM_DEVICE, name, size, config, ops,
			       opaque, out);
}

int mpl_region_new_ram_device(struct mpl_plane *plane, const char *name,
			      uint64_t size,
			      const struct mpl_ram_config *config,
			      struct mpl_region **out)
{
	return new_with_memory(plane, MPL_RAM_DEVICE, name, size, config, NULL,
			       NULL, out);
}

int mpl_region_new_alias(struct mpl_plane *plane, const char *name,
			 struct mpl_region *target, uint64_t offset,
			 uint64_t size, struct mpl_region **out)
{
	struct mpl_region *alias;
	bool locked;
	int err;

	if (!target || target->plane != plane)
		return -EINVAL;
	err = region_new(plane, MPL_ALIAS, name, size, NULL, NULL, &alias);
	if (err)
		return err;
	alias->alias_offset = offset;
	locked = mpl_control_lock(plane);
	err = mpl_tree_may_add(alias, target);
	if (!err) {
		mpl_region_ref(target);
		alias->target = target;
		mpl_list_append(&target->aliases, &alias->alias_link);
	}
	mpl_control_unlock(plane, locked);
	if (err) {
		mpl_region_unref(alias);
		return err;
	}
	*out = alias;
	return 0;
}

void mpl_region_on_release(struct mpl_region *region,
			   void (*release)(void *opaque), void *opaque)
{
	region->release = release;
	region->release_opaque = opaque;
}

void mpl_region_set_unmergeable(struct mpl_region *region, bool unmergeable)
{
	region->unmergeable = unmergeable;
}

void mpl_region_ref(struct mpl_region *region)
{
	mpl_device_ref(&region->device);
}

void mpl_region_unref(struct mpl_region *region)
{
	struct mpl_plane *plane;

	if (!region)
		return;
	plane = region->plane;
	mpl_device_unref(&region->device);
	/* Without a control thread nobody else might come by. */
	if (!plane->threaded &&
	    __atomic_load_n(&plane->has_dead, __ATOMIC_RELAXED))
		mpl_reclaim(plane);
}

void mpl_region_isolate(struct mpl_region *region)
{
	while (!mpl_list_empty(&region->children)) {
		struct mpl_region *child = MPL_OF(region->children.next,
						  struct mpl_region, sibling);

		mpl_tree_detach(child);
		mpl_region_unref(child);
	}
	if (region->target) {
		struct mpl_region *target = region->target;

		mpl_list_remove(&region->alias_link);
		region->target = NULL;
		mpl_region_unref(target);
	}
}

void mpl_region_destroy(struct mpl_region *region)
{
	struct mpl_plane *plane = region->plane;

	mpl_region_isolate(region);
	mpl_count_release(&plane->data, &region->device);
	mpl_doorbells_unref(region->doorbells);
	mpl_coalesced_unref(region->coalesced);
	/* In `release` the caller's memory may be given to another region. */
	mpl_ram_block_hide(region);
	if (region->release)
		region->release(region->release_opaque);
	mpl_ram_block_detach(region);
	mpl_dirty_destroy(&region->device.dirty);
	mpl_poison_unref(region->poison);
	mpl_iommu_free(region->device.iommu);
	pthread_mutex_lock(&plane->regions_mutex);
	plane->region_count--;
	pthread_mutex_unlock(&plane->regions_mutex);
	free(region->name);
	free(region);
}

uint8_t mpl_region_dirty_mask(const struct mpl_region *region)
{
	uint8_t mask = region->plane->log_global & region->log_takes_part;

	for (unsigned int i = 0; i < MPL_LOG_CLIENTS; i++)
		if (region->log_starts[i])
			mask |= (uint8_t)(1u << i);
	return mask;
}

const char *mpl_region_name(const struct mpl_region *region)
{
	return region->name;
}

enum mpl_region_kind mpl_region_kind(const struct mpl_region *region)
{
	return region->kind;
}

void *mpl_region_host(const struct mpl_region *region)
{
	return region->host;
}

uint64_t mpl_region_page_size(const struct mpl_region *region)
{
	return region->page_size;
}

void *mpl_region_opaque(const struct mpl_region *region)
{
	return region->device.opaque;
}

uint64_t mpl_region_size(const struct mpl_region *region)
{
	bool locked = mpl_control_lock(region->plane);
	uint64_t size = region->size;

	mpl_control_unlock(region->plane, locked);
	return size;
}
