/* SPDX-License-Identifier: BSD-3-Clause */
/* Changing regions: one record, one mutation. */
#include "machine_region.h"

#include <errno.h>

struct machine_region *machine_region(struct machine *machine, uint32_t id)
{
	struct machine_region *entry;

	if (!id || id > machine->regions_count) {
		failure_set(machine->failure, "there is no region %u", id);
		return NULL;
	}
	entry = &machine->regions[id];
	if (!entry->region || entry->destroyed) {
		failure_set(machine->failure, "region %u was destroyed", id);
		return NULL;
	}
	return entry;
}

static int add(struct machine *machine, const struct trace_add *record)
{
	struct machine_region *parent = machine_region(machine, record->parent);
	struct machine_region *child = machine_region(machine, record->child);

	if (!parent || !child)
		return -1;
	if (child->parent)
		return failure_set(machine->failure,
				   "region %u is attached to %u already",
				   record->child, child->parent);
	if (parent->kind == MPL_ALIAS)
		return failure_set(machine->failure,
				   "region %u is an alias: no children",
				   record->parent);
	mpl_region_add(machine_txn(machine), parent->region, record->offset,
		       child->region, record->priority);
	child->parent = record->parent;
	parent->children++;
	return 0;
}

static void let_go(struct machine_region *entry)
{
	mpl_region_unref(entry->region);
	entry->region = NULL;
}

static int del(struct machine *machine, const struct trace_add *record)
{
	struct machine_region *parent, *child;

	child = machine_region(machine, record->child);
	if (!child)
		return -1;
	if (!record->parent || child->parent != record->parent)
		return failure_set(machine->failure,
				   "region %u is not a child of %u",
				   record->child, record->parent);
	parent = &machine->regions[record->parent];
	mpl_region_remove(machine_txn(machine), child->region);
	child->parent = 0;
	parent->children--;
	if (parent->destroyed && !parent->children)
		let_go(parent);
	return 0;
}

/*
 * The producer detaches the children of a dead region afterwards, and shows
 * nothing through it meanwhile.
 */
static int destroy(struct machine *machine, uint32_t id)
{
	struct machine_region *entry = machine_region(machine, id);

	if (!entry)
		return -1;
	if (entry->parent)
		return failure_set(machine->failure,
				   "region %u is still attached to %u", id,
				   entry->parent);
	if (entry->enabled)
		mpl_region_set_enabled(machine_txn(machine), entry->region,
				       false);
	entry->enabled = false;
	entry->destroyed = true;
	if (!entry->children)
		let_go(entry);
	return 0;
}

static void set_log(struct machine *machine, struct machine_region *entry,
		    bool on)
{
	/* Stops may come first; only what is above zero counts. */
	if (on && entry->log++ >= 0)
		mpl_log_start(machine_txn(machine), entry->region,
			      MPL_LOG_DISPLAY);
	if (!on && entry->log-- > 0)
		mpl_log_stop(machine_txn(machine), entry->region,
			     MPL_LOG_DISPLAY);
}

static int set(struct machine *machine, enum record_type type,
	       const struct trace_set *record)
{
	struct machine_region *entry;
	struct mpl_region *region;
	struct mpl_txn *tx;

	/* Somebody's region that was never made: nobody can see it. */
	if (!record->id && type == REC_SET_ENABLED)
		return 0;
	entry = machine_region(machine, record->id);
	if (!entry)
		return -1;
	region = entry->region;
	tx = machine_txn(machine);
	switch (type) {
	case REC_SET_ADDRESS:
		mpl_region_move(tx, region, record->value);
		break;
	case REC_SET_ENABLED:
		mpl_region_set_enabled(tx, region, record->value);
		entry->enabled = record->value;
		break;
	case REC_SET_SIZE:
		mpl_region_resize(tx, region, record->size);
		break;
	case REC_SET_READONLY:
		mpl_region_set_readonly(tx, region, record->value);
		break;
	case REC_SET_NONVOLATILE:
		mpl_region_set_nonvolatile(tx, region, record->value);
		break;
	case REC_SET_ROMD:
		mpl_region_set_rom_mode(tx, region, record->value);
		break;
	case REC_SET_ALIAS_OFFSET:
		mpl_region_set_alias_offset(tx, region, record->value);
		break;
	case REC_SET_LOG:
		set_log(machine, entry, record->value);
		break;
	case REC_MIGRATABLE:
		mpl_log_take_part(tx, region, MPL_LOG_MIGRATION, record->value);
		break;
	case REC_ADD_COALESCING:
		mpl_coalescing_add(tx, region, record->value, record->size);
		break;
	case REC_CLEAR_COALESCING:
		mpl_coalescing_clear(tx, region);
		break;
	default:
		break;
	}
	return 0;
}

/*
 * The trace has `data` as its producer stored it, in the target's byte
 * order; the library wants the region's.
 */
uint64_t machine_swap_data(const struct machine *machine, uint32_t region,
			   uint64_t data, unsigned int size)
{
	if (!region || region > machine->regions_count ||
	    !machine->regions[region].swapped)
		return data;
	switch (size) {
	case 2:
		return __builtin_bswap16(data);
	case 4:
		return __builtin_bswap32(data);
	case 8:
		return __builtin_bswap64(data);
	default:
		return data;
	}
}

static int ioeventfd(struct machine *machine, enum record_type type,
		     const struct trace_ioeventfd *record)
{
	struct machine_region *entry = machine_region(machine, record->region);
	struct mpl_ioeventfd what = {
		.offset = record->address,
		.data = machine_swap_data(machine, record->region, record->data,
					  record->size),
		.size = record->size,
		.match = record->match,
	};

	if (!entry)
		return -1;
	/* Ids are counted up, one a line at most. */
	if (!record->fd || record->fd > machine->failure->line)
		return failure_set(machine->failure,
				   "event fd %u is out of range", record->fd);
	if (type == REC_ADD_IOEVENTFD)
		what.fd = doorbell_get(&machine->doorbells, record->fd);
	else
		what.fd = doorbell_put(&machine->doorbells, record->fd);
	if (what.fd < 0)
		return failure_errno(machine->failure, "event fd", what.fd);
	if (type == REC_ADD_IOEVENTFD)
		mpl_ioeventfd_add(machine_txn(machine), entry->region, &what);
	else
		mpl_ioeventfd_del(machine_txn(machine), entry->region, &what);
	return 0;
}

int machine_apply_region(struct machine *machine, const struct record *record)
{
	switch (record->type) {
	case REC_REGION:
		return machine_region_new(machine, &record->region);
	case REC_DESTROY:
		return destroy(machine, record->set.id);
	case REC_ADD:
		return add(machine, &record->add);
	case REC_DEL:
		return del(machine, &record->add);
	case REC_ADD_IOEVENTFD:
	case REC_DEL_IOEVENTFD:
		return ioeventfd(machine, record->type, &record->ioeventfd);
	default:
		return set(machine, record->type, &record->set);
	}
}
