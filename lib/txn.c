/* SPDX-License-Identifier: BSD-3-Clause */
/* Recording mutations: arguments are checked, nothing is touched. */
#include "lib/txn.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/vector.h"
#include "lib/plane.h"

/* What mpl_begin() gives when there is no memory: it can only fail. */
static const struct mpl_txn out_of_memory = { .err = -ENOMEM };

struct mpl_txn *mpl_begin(struct mpl_plane *plane)
{
	struct mpl_txn *tx = calloc(1, sizeof(*tx));

	if (!tx)
		return (struct mpl_txn *)&out_of_memory;
	tx->plane = plane;
	return tx;
}

int mpl_txn_error(const struct mpl_txn *tx)
{
	return tx->err;
}

void mpl_txn_free(struct mpl_txn *tx)
{
	if (tx == &out_of_memory)
		return;
	for (size_t i = 0; i < tx->ops.count; i++) {
		struct mpl_op *op = &tx->ops.items[i];

		mpl_region_unref(op->region);
		mpl_region_unref(op->parent);
		if (op->event)
			mpl_eventfd_unref(op->event);
	}
	free(tx->ops.items);
	free(tx);
}

void mpl_abort(struct mpl_txn *tx)
{
	if (tx)
		mpl_txn_free(tx);
}

static void fail(struct mpl_txn *tx, int err)
{
	/* The constant one has its error. */
	if (!tx->err)
		tx->err = err;
}

/* Add `op`, with references on its regions; false: the transaction failed. */
static bool record(struct mpl_txn *tx, const struct mpl_op *op)
{
	if (tx->err)
		return false;
	if ((op->region && op->region->plane != tx->plane) ||
	    (op->parent && op->parent->plane != tx->plane)) {
		fail(tx, -EINVAL);
		return false;
	}
	if (MPL_RESERVE(&tx->ops, 1)) {
		fail(tx, -ENOMEM);
		return false;
	}
	if (op->region)
		mpl_region_ref(op->region);
	if (op->parent)
		mpl_region_ref(op->parent);
	tx->ops.items[tx->ops.count++] = *op;
	return true;
}

/* Record `op` if `valid`, which says that the arguments make sense. */
static void record_if(struct mpl_txn *tx, bool valid, const struct mpl_op *op)
{
	if (valid)
		record(tx, op);
	else
		fail(tx, -EINVAL);
}

void mpl_region_add(struct mpl_txn *tx, struct mpl_region *parent,
		    uint64_t offset, struct mpl_region *child, int priority)
{
	record_if(tx, parent && child && parent->kind != MPL_ALIAS,
		  &(struct mpl_op){
			  .kind = MPL_OP_ADD,
			  .region = child,
			  .parent = parent,
			  .value = offset,
			  .number = priority,
		  });
}

void mpl_region_remove(struct mpl_txn *tx, struct mpl_region *child)
{
	record_if(tx, child != NULL,
		  &(struct mpl_op){ .kind = MPL_OP_REMOVE, .region = child });
}

/* Mutations that set one flag of a region. */
static void set_flag(struct mpl_txn *tx, enum mpl_op_kind kind,
		     struct mpl_region *region, bool flag)
{
	record_if(tx, region != NULL,
		  &(struct mpl_op){
			  .kind = kind,
			  .region = region,
			  .flag = flag,
		  });
}

/* Mutations that set one number of a region. */
static void set_value(struct mpl_txn *tx, enum mpl_op_kind kind,
		      struct mpl_region *region, bool valid, uint64_t value)
{
	record_if(tx, region && valid,
		  &(struct mpl_op){
			  .kind = kind,
			  .region = region,
			  .value = value,
		  });
}

void mpl_region_set_enabled(struct mpl_txn *tx, struct mpl_region *region,
			    bool enabled)
{
	set_flag(tx, MPL_OP_ENABLED, region, enabled);
}

void mpl_region_set_readonly(struct mpl_txn *tx, struct mpl_region *region,
			     bool readonly)
{
	set_flag(tx, MPL_OP_READONLY, region, readonly);
}

void mpl_region_set_nonvolatile(struct mpl_txn *tx, struct mpl_region *region,
				bool nonvolatile)
{
	set_flag(tx, MPL_OP_NONVOLATILE, region, nonvolatile);
}

void mpl_region_set_rom_mode(struct mpl_txn *tx, struct mpl_region *region,
			     bool rom_mode)
{
	bool valid = region && region->kind == MPL_ROM_DEVICE;

	set_flag(tx, MPL_OP_ROM_MODE, valid ? region : NULL, rom_mode);
}

void mpl_region_move(struct mpl_txn *tx, struct mpl_region *region,
		     uint64_t offset)
{
	set_value(tx, MPL_OP_MOVE, region, true, offset);
}

void mpl_region_resize(struct mpl_txn *tx, struct mpl_region *region,
		       uint64_t size)
{
	if (region && mpl_region_has_memory(region) && size > region->max_size)
		fail(tx, -ENOSPC);
	else
		set_value(tx, MPL_OP_SIZE, region, true, size);
}

void mpl_region_set_alias_offset(struct mpl_txn *tx, struct mpl_region *alias,
				 uint64_t offset)
{
	set_value(tx, MPL_OP_ALIAS_OFFSET, alias,
		  alias && alias->kind == MPL_ALIAS, offset);
}

void mpl_region_set_priority(struct mpl_txn *tx, struct mpl_region *region,
			     int priority)
{
	record_if(tx, region != NULL,
		  &(struct mpl_op){
			  .kind = MPL_OP_PRIORITY,
			  .region = region,
			  .number = priority,
		  });
}

/* Mutations of dirty logging; `region` is NULL for the plane's. */
static void set_log(struct mpl_txn *tx, enum mpl_op_kind kind,
		    struct mpl_region *region, enum mpl_log_client client,
		    bool flag)
{
	record_if(tx,
		  (unsigned int)client < MPL_LOG_CLIENTS &&
			  (region || kind == MPL_OP_LOG_GLOBAL),
		  &(struct mpl_op){
			  .kind = kind,
			  .region = region,
			  .number = client,
			  .flag = flag,
		  });
}

void mpl_log_start(struct mpl_txn *tx, struct mpl_region *region,
		   enum mpl_log_client client)
{
	set_log(tx, MPL_OP_LOG, region, client, true);
}

void mpl_log_stop(struct mpl_txn *tx, struct mpl_region *region,
		  enum mpl_log_client client)
{
	set_log(tx, MPL_OP_LOG, region, client, false);
}

void mpl_log_global(struct mpl_txn *tx, enum mpl_log_client client, bool on)
{
	set_log(tx, MPL_OP_LOG_GLOBAL, NULL, client, on);
}

void mpl_log_take_part(struct mpl_txn *tx, struct mpl_region *region,
		       enum mpl_log_client client, bool takes_part)
{
	set_log(tx, MPL_OP_LOG_TAKE_PART, region, client, takes_part);
}

static bool has_writes(const struct mpl_region *region)
{
	return region && (region->kind == MPL_IO ||
			  region->kind == MPL_ROM_DEVICE);
}

static bool is_doorbell(const struct mpl_ioeventfd *ioeventfd)
{
	unsigned int size = ioeventfd->size;

	if (size == 0)
		return !ioeventfd->match;
	return size == 1 || size == 2 || size == 4 || size == 8;
}

void mpl_ioeventfd_add(struct mpl_txn *tx, struct mpl_region *region,
		       const struct mpl_ioeventfd *ioeventfd)
{
	struct mpl_op op = {
		.kind = MPL_OP_IOEVENTFD_ADD,
		.region = region,
		.ioeventfd = *ioeventfd,
	};
	int err;

	if (tx->err)
		return;
	if (!has_writes(region) || !is_doorbell(ioeventfd)) {
		fail(tx, -EINVAL);
		return;
	}
	err = mpl_eventfd_new(ioeventfd->fd, &op.event);
	if (err)
		fail(tx, err);
	else if (!record(tx, &op))
		mpl_eventfd_unref(op.event);
}

void mpl_ioeventfd_del(struct mpl_txn *tx, struct mpl_region *region,
		       const struct mpl_ioeventfd *ioeventfd)
{
	record_if(tx, has_writes(region),
		  &(struct mpl_op){
			  .kind = MPL_OP_IOEVENTFD_DEL,
			  .region = region,
			  .ioeventfd = *ioeventfd,
		  });
}

void mpl_coalescing_add(struct mpl_txn *tx, struct mpl_region *region,
			uint64_t offset, uint64_t size)
{
	uint64_t last = size == UINT64_MAX ? UINT64_MAX : offset + size - 1;

	record_if(tx, region && size && last >= offset,
		  &(struct mpl_op){
			  .kind = MPL_OP_COALESCE,
			  .region = region,
			  .value = offset,
			  .last = last,
		  });
}

void mpl_coalescing_clear(struct mpl_txn *tx, struct mpl_region *region)
{
	record_if(tx, region != NULL,
		  &(struct mpl_op){
			  .kind = MPL_OP_COALESCE_CLEAR,
			  .region = region,
		  });
}

void mpl_txn_poison(struct mpl_txn *tx, struct mpl_region *region,
		    bool poisoned, uint64_t start, uint64_t last)
{
	record(tx, &(struct mpl_op){
			   .kind = MPL_OP_POISON,
			   .region = region,
			   .flag = poisoned,
			   .value = start,
			   .last = last,
		   });
}

bool mpl_txn_only_removes(const struct mpl_txn *tx)
{
	for (size_t i = 0; i < tx->ops.count; i++) {
		const struct mpl_op *op = &tx->ops.items[i];

		switch (op->kind) {
		case MPL_OP_REMOVE:
		case MPL_OP_IOEVENTFD_DEL:
		case MPL_OP_COALESCE_CLEAR:
			break;
		case MPL_OP_ENABLED:
		case MPL_OP_LOG:
		case MPL_OP_LOG_GLOBAL:
			if (op->flag)
				return false;
			break;
		default:
			return false;
		}
	}
	return true;
}
