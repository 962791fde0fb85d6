/* SPDX-License-Identifier: BSD-3-Clause */
/* Making regions. */
#include "machine_region.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vec.h"

static mpl_result_t device_read(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t *value)
{
	(void)opaque;
	(void)offset;
	(void)size;
	(void)attrs;
	*value = 0;
	return MPL_OK;
}

static mpl_result_t device_write(void *opaque, uint64_t offset,
				 unsigned int size, struct mpl_attrs attrs,
				 uint64_t value)
{
	(void)opaque;
	(void)offset;
	(void)size;
	(void)attrs;
	(void)value;
	return MPL_OK;
}

static bool is_big(const struct machine *machine, enum trace_endian endian)
{
	return endian == TRACE_BIG ||
	       (endian == TRACE_NATIVE && machine->big_endian);
}

/* The region's own copy, for the sizes differ; freed by its release. */
static struct mpl_io_ops *new_ops(const struct machine *machine,
				  const struct trace_region *record)
{
	struct mpl_io_ops *ops = calloc(1, sizeof(*ops));

	if (!ops)
		return NULL;
	ops->read = record->has_read ? device_read : NULL;
	ops->write = record->has_write ? device_write : NULL;
	ops->valid = record->valid;
	ops->impl = record->impl;
	ops->endian = is_big(machine, record->endian) ? MPL_BIG_ENDIAN :
							MPL_LITTLE_ENDIAN;
	ops->concurrency = MPL_LOCK_FREE;
	return ops;
}

static bool has_ops(enum mpl_region_kind kind)
{
	return kind == MPL_IO || kind == MPL_ROM_DEVICE;
}

/* What memory may grow to at least, and the most that gets host addresses. */
#define HOST_ROOM (64 * MPL_MIB)
#define HOST_MAX  (UINT64_C(1) << 44)

static bool has_memory(enum mpl_region_kind kind)
{
	return kind == MPL_RAM || kind == MPL_ROM || kind == MPL_ROM_DEVICE ||
	       kind == MPL_RAM_DEVICE;
}

/* The sizes of recorded memory may be any, and may grow: none of it is mapped. */
static struct mpl_ram_config memory_of(struct machine *machine,
				       const struct trace_region *record)
{
	struct mpl_ram_config memory = {
		.unbacked = true,
		.max_size = UINT64_MAX,
	};
	uint64_t room = (record->size | (HOST_ROOM - 1)) + 1;

	if (!machine->next_host || !has_memory(record->kind) ||
	    record->size > HOST_MAX)
		return memory;
	memory.unbacked = false;
	memory.max_size = room;
	memory.host = (void *)(uintptr_t)machine->next_host;
	machine->next_host += room;
	return memory;
}

static int construct(struct machine *machine, const char *name,
		     const struct trace_region *record,
		     struct mpl_region *target, struct mpl_io_ops *ops,
		     struct mpl_region **out)
{
	const struct mpl_ram_config memory = memory_of(machine, record);
	struct mpl_plane *plane = machine->plane;

	switch (record->kind) {
	case MPL_CONTAINER:
		return mpl_region_new_container(plane, name, record->size, out);
	case MPL_IO:
		return mpl_region_new_io(plane, name, record->size, ops, ops,
					 out);
	case MPL_RAM:
		return mpl_region_new_ram(plane, name, record->size, &memory,
					  out);
	case MPL_ROM:
		return mpl_region_new_rom(plane, name, record->size, &memory,
					  out);
	case MPL_ROM_DEVICE:
		return mpl_region_new_rom_device(plane, name, record->size,
						 &memory, ops, ops, out);
	case MPL_RAM_DEVICE:
		return mpl_region_new_ram_device(plane, name, record->size,
						 &memory, out);
	case MPL_ALIAS:
		return mpl_region_new_alias(plane, name, target, record->offset,
					    record->size, out);
	case MPL_IOMMU:
		return mpl_region_new_iommu(plane, name, record->size, NULL,
					    NULL, out);
	}
	return -EINVAL;
}

/* Region, or failure; owns `ops` in any case. */
static struct mpl_region *make(struct machine *machine, const char *name,
			       const struct trace_region *record,
			       struct mpl_region *target)
{
	struct mpl_io_ops *ops = NULL;
	struct mpl_region *region = NULL;
	int err;

	if (has_ops(record->kind)) {
		ops = new_ops(machine, record);
		if (!ops) {
			failure_errno(machine->failure, "region", -ENOMEM);
			return NULL;
		}
	}
	err = construct(machine, name, record, target, ops, &region);
	if (err) {
		free(ops);
		failure_errno(machine->failure, "cannot make the region", err);
		return NULL;
	}
	if (ops)
		mpl_region_on_release(region, free, ops);
	return region;
}

/* What a region is from the start, but the constructors don't say. */
static void settle(struct machine *machine, const struct trace_region *record,
		   struct mpl_region *region)
{
	bool readonly = record->kind == MPL_ROM;

	if (record->readonly != readonly)
		mpl_region_set_readonly(machine_txn(machine), region,
					record->readonly);
	if (record->nonvolatile)
		mpl_region_set_nonvolatile(machine_txn(machine), region, true);
	/* Memory migrates once `migratable` says so, iommus always do. */
	if (has_memory(record->kind))
		mpl_log_take_part(machine_txn(machine), region,
				  MPL_LOG_MIGRATION, false);
	if (record->kind == MPL_IOMMU)
		mpl_log_take_part(machine_txn(machine), region,
				  MPL_LOG_MIGRATION, true);
}

/* The library's name is "ID NAME": it is the way back from region to id. */
static int make_name(struct machine *machine, char *to, size_t max,
		     const struct trace_region *record)
{
	int n = snprintf(to, max, "%u ", record->id);

	return memtrace_unescape(record->name, to + n, max - n,
				 machine->failure);
}

int machine_region_new(struct machine *machine,
		       const struct trace_region *record)
{
	struct mpl_region *target = NULL, *region;
	struct machine_region *entry;
	char name[64];

	if (record->id != machine->regions_count + 1)
		return failure_set(machine->failure,
				   "region %u follows number %zu", record->id,
				   machine->regions_count);
	if (record->kind == MPL_ALIAS) {
		entry = machine_region(machine, record->target);
		if (!entry)
			return -1;
		target = entry->region;
	}
	if (vec_reserve(&machine->regions, &machine->regions_cap,
			(size_t)record->id + 1, sizeof(*entry)))
		return failure_errno(machine->failure, "regions", -ENOMEM);
	if (make_name(machine, name, sizeof(name), record))
		return -1;
	region = make(machine, name, record, target);
	if (!region)
		return -1;
	machine->regions_count = record->id;
	machine->regions[record->id] = (struct machine_region){
		.region = region,
		.kind = record->kind,
		.enabled = true,
		.swapped =
			is_big(machine, record->endian) != machine->big_endian,
		.unassigned = record->kind == MPL_IO &&
			      record->size == UINT64_MAX &&
			      word_is(record->name, "-"),
	};
	settle(machine, record, region);
	return 0;
}

uint32_t machine_region_id(const struct mpl_region *region)
{
	const char *p = mpl_region_name(region);
	uint32_t id = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		id = id * 10 + (*p - '0');
	return id;
}
