/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Applying mutations to the tree.  Each notes how to take it back before it
 * changes anything, and marks what can look different: before the change
 * where something may vanish, after it where something may appear.
 */
#include <errno.h>

#include "lib/address_space.h"
#include "lib/base/vector.h"
#include "lib/commit.h"
#include "lib/dirty.h"
#include "lib/plane.h"
#include "lib/ram_block.h"
#include "lib/ram_poison.h"
#include "lib/tree.h"

/* A mutation of `region` may have changed where address spaces find roots. */
static void check_roots(struct mpl_commit *commit, const struct mpl_op *op)
{
	struct mpl_region *region = op->region;
	struct mpl_link *link;

	mpl_root_check(commit, region);
	mpl_root_check(commit, region->parent);
	if (op->kind != MPL_OP_SIZE)
		return;
	/* Whether an alias is stepped through depends on the target's size. */
	MPL_LIST_EACH(link, &region->aliases)
		mpl_root_check(commit,
			       MPL_OF(link, struct mpl_region, alias_link));
}

static struct mpl_undo *note(struct mpl_commit *commit,
			     const struct mpl_op *op)
{
	struct mpl_undo *undo = &commit->undos.items[commit->undos.count++];

	*undo = (struct mpl_undo){
		.kind = op->kind,
		.region = op->region,
		.number = op->number,
	};
	return undo;
}

/* An edge as it is now. */
static void note_edge(struct mpl_commit *commit, const struct mpl_op *op)
{
	struct mpl_region *region = op->region;
	struct mpl_undo *undo = note(commit, op);

	undo->parent = region->parent;
	undo->value = region->offset;
	undo->number = region->priority;
	undo->order = region->order;
}

/* Where there are folds, does one of them show itself in the new child? */
static int check_fold(struct mpl_commit *commit, struct mpl_region *child)
{
	int err;

	if (!commit->plane->folds)
		return 0;
	err = mpl_render_window(&commit->render, child, 0, 0, UINT64_MAX);
	commit->render.pieces.count = 0;
	return err;
}

static int apply_add(struct mpl_commit *commit, const struct mpl_op *op)
{
	struct mpl_region *child = op->region;
	int err;

	if (child->parent)
		return -EBUSY;
	err = mpl_tree_may_add(op->parent, child);
	/* By trace rules a detached root moves when it gets its offset. */
	if (!err)
		err = mpl_mark_all(commit, child);
	if (err)
		return err;
	note_edge(commit, op);
	child->offset = op->value;
	child->priority = op->number;
	child->order = ++commit->plane->order;
	mpl_region_ref(child); /* the parent's */
	mpl_tree_attach(op->parent, child);
	err = check_fold(commit, child);
	return err ? err : mpl_mark_all(commit, child);
}

static int apply_remove(struct mpl_commit *commit, const struct mpl_op *op)
{
	struct mpl_region *child = op->region;
	struct mpl_region *parent = child->parent;
	int err;

	if (!parent)
		return -ENOENT;
	err = mpl_mark_all(commit, child);
	if (err)
		return err;
	note_edge(commit, op);
	mpl_tree_detach(child);
	mpl_root_check(commit, parent);
	/* The parent's reference stays until the commit has succeeded. */
	return 0;
}

/* Move, or another priority: out and in again, as the last added. */
static int apply_place(struct mpl_commit *commit, const struct mpl_op *op)
{
	struct mpl_region *region = op->region;
	struct mpl_region *parent = region->parent;
	int err = mpl_mark_all(commit, region);

	if (err)
		return err;
	note_edge(commit, op);
	if (parent)
		mpl_tree_detach(region);
	if (op->kind == MPL_OP_MOVE)
		region->offset = op->value;
	else
		region->priority = op->number;
	if (parent) {
		region->order = ++commit->plane->order;
		mpl_tree_attach(parent, region);
	}
	return mpl_mark_all(commit, region);
}

static int apply_enabled(struct mpl_commit *commit, const struct mpl_op *op)
{
	struct mpl_region *region = op->region;
	int err;

	if (region->enabled == op->flag)
		return 0;
	/* A disabled region marks nothing: one of the two calls does. */
	err = mpl_mark_all(commit, region);
	if (err)
		return err;
	note(commit, op)->flag = region->enabled;
	mpl_tree_set_enabled(region, op->flag);
	return mpl_mark_all(commit, region);
}

static int apply_size(struct mpl_commit *commit, const struct mpl_op *op)
{
	struct mpl_region *region = op->region;
	int err;

	if (region->size == op->value)
		return 0;
	/* What the new size needs; it stays if the commit fails. */
	err = mpl_ram_block_grow(region, op->value);
	if (!err)
		err = mpl_mark_all(commit, region);
	if (err)
		return err;
	note(commit, op)->value = region->size;
	/* Nobody who copies the region has seen what it grows by. */
	if (op->value > region->size)
		(void)mpl_dirty_mark(region, region->size,
				     op->value - region->size);
	mpl_tree_set_size(region, op->value);
	return mpl_mark_all(commit, region);
}

static int apply_alias_offset(struct mpl_commit *commit,
			      const struct mpl_op *op)
{
	struct mpl_region *region = op->region;

	if (region->alias_offset == op->value)
		return 0;
	note(commit, op)->value = region->alias_offset;
	region->alias_offset = op->value;
	return mpl_mark_all(commit, region);
}

static bool *flag_of(struct mpl_region *region, enum mpl_op_kind kind)
{
	switch (kind) {
	case MPL_OP_READONLY:
		return &region->readonly;
	case MPL_OP_NONVOLATILE:
		return &region->nonvolatile;
	default:
		return &region->rom_mode;
	}
}

static int apply_flag(struct mpl_commit *commit, const struct mpl_op *op)
{
	bool *flag = flag_of(op->region, op->kind);

	if (*flag == op->flag)
		return 0;
	note(commit, op)->flag = *flag;
	*flag = op->flag;
	return mpl_mark_all(commit, op->region);
}

/* The region's dirty mask was `before`. */
static int follow_mask(struct mpl_commit *commit, struct mpl_region *region,
		       uint8_t before)
{
	int err;

	if (mpl_region_dirty_mask(region) == before)
		return 0;
	err = mpl_dirty_begin(region);
	return err ? err : mpl_mark_all(commit, region);
}

static int apply_log(struct mpl_commit *commit, const struct mpl_op *op)
{
	unsigned int *starts = &op->region->log_starts[op->number];
	uint8_t before = mpl_region_dirty_mask(op->region);

	if (!op->flag && !*starts)
		return -EINVAL;
	note(commit, op)->flag = op->flag;
	*starts += op->flag ? 1 : -1u;
	return follow_mask(commit, op->region, before);
}

static int apply_take_part(struct mpl_commit *commit, const struct mpl_op *op)
{
	struct mpl_region *region = op->region;
	uint8_t before = mpl_region_dirty_mask(region);

	note(commit, op)->value = region->log_takes_part;
	region->log_takes_part &= (uint8_t)~(1u << op->number);
	region->log_takes_part |= (uint8_t)(op->flag << op->number);
	return follow_mask(commit, region, before);
}

static int apply_log_global(struct mpl_commit *commit, const struct mpl_op *op)
{
	struct mpl_plane *plane = commit->plane;
	uint8_t before = plane->log_global;
	uint8_t after = before & (uint8_t)~(1u << op->number);
	int err;

	note(commit, op)->value = before;
	after |= (uint8_t)(op->flag << op->number);
	if (after == before)
		return 0;
	err = mpl_dirty_begin_global(plane, after);
	return err ? err : mpl_mark_everything(commit);
}

/*
 * Another table in the place of the region's; takes `table` over.  A
 * transaction is undone as a whole: so only the table that it found is noted,
 * with a mark of what shows the region.  What shows it later is marked by the
 * mutation that does that.
 */
static int replace_doorbells(struct mpl_commit *commit,
			     const struct mpl_op *op,
			     struct mpl_doorbells *table)
{
	struct mpl_region *region = op->region;

	if (region->doorbells_noted == commit->plane->applied) {
		mpl_doorbells_unref(region->doorbells);
		region->doorbells = table;
		return 0;
	}
	region->doorbells_noted = commit->plane->applied;
	note(commit, op)->old = region->doorbells;
	region->doorbells = table;
	return mpl_mark_all(commit, region);
}

static int apply_ioeventfd_add(struct mpl_commit *commit,
			       const struct mpl_op *op)
{
	const struct mpl_doorbell item = {
		.offset = op->ioeventfd.offset,
		.data = op->ioeventfd.data,
		.size = op->ioeventfd.size,
		.match = op->ioeventfd.match,
		.event = op->event,
	};
	struct mpl_doorbells *table;
	int err = mpl_doorbells_with(&commit->plane->data,
				     op->region->doorbells, &item, &table);

	if (err)
		return err;
	return replace_doorbells(commit, op, table);
}

static int apply_ioeventfd_del(struct mpl_commit *commit,
			       const struct mpl_op *op)
{
	struct mpl_doorbells *table;
	int err = mpl_doorbells_without(&commit->plane->data,
					op->region->doorbells, &op->ioeventfd,
					&table);

	return err ? err : replace_doorbells(commit, op, table);
}

static int apply_coalesce(struct mpl_commit *commit, const struct mpl_op *op)
{
	struct mpl_region *region = op->region;
	struct mpl_coalesced *zones = NULL;
	int err = 0;

	if (op->kind == MPL_OP_COALESCE)
		err = mpl_coalesced_with(region->coalesced, op->value,
					 op->last, &zones);
	if (err)
		return err;
	note(commit, op)->old = region->coalesced;
	region->coalesced = zones;
	return mpl_mark_all(commit, region);
}

static int apply_poison(struct mpl_commit *commit, const struct mpl_op *op)
{
	struct mpl_region *region = op->region;
	struct mpl_poison *poison;
	int err = mpl_poison_change(region->poison, op->flag, op->value,
				    op->last, &poison);

	if (err)
		return err;
	note(commit, op)->old = region->poison;
	region->poison = poison;
	return mpl_mark(commit, region, op->value, op->last);
}

static int apply_op(struct mpl_commit *commit, const struct mpl_op *op)
{
	switch (op->kind) {
	case MPL_OP_ADD:
		return apply_add(commit, op);
	case MPL_OP_REMOVE:
		return apply_remove(commit, op);
	case MPL_OP_MOVE:
	case MPL_OP_PRIORITY:
		return apply_place(commit, op);
	case MPL_OP_ENABLED:
		return apply_enabled(commit, op);
	case MPL_OP_SIZE:
		return apply_size(commit, op);
	case MPL_OP_ALIAS_OFFSET:
		return apply_alias_offset(commit, op);
	case MPL_OP_READONLY:
	case MPL_OP_NONVOLATILE:
	case MPL_OP_ROM_MODE:
		return apply_flag(commit, op);
	case MPL_OP_LOG:
		return apply_log(commit, op);
	case MPL_OP_LOG_GLOBAL:
		return apply_log_global(commit, op);
	case MPL_OP_LOG_TAKE_PART:
		return apply_take_part(commit, op);
	case MPL_OP_IOEVENTFD_ADD:
		return apply_ioeventfd_add(commit, op);
	case MPL_OP_IOEVENTFD_DEL:
		return apply_ioeventfd_del(commit, op);
	case MPL_OP_POISON:
		return apply_poison(commit, op);
	default:
		return apply_coalesce(commit, op);
	}
}

/* Back to the edge that `undo` describes. */
static void undo_edge(const struct mpl_undo *undo)
{
	struct mpl_region *region = undo->region;

	if (region->parent)
		mpl_tree_detach(region);
	region->offset = undo->value;
	region->priority = undo->number;
	region->order = undo->order;
	if (undo->parent)
		mpl_tree_attach(undo->parent, region);
	if (undo->kind == MPL_OP_ADD)
		mpl_region_unref(region); /* the transaction has one more */
}

static void undo_one(struct mpl_commit *commit, const struct mpl_undo *undo)
{
	struct mpl_region *region = undo->region;

	switch (undo->kind) {
	case MPL_OP_ADD:
	case MPL_OP_REMOVE:
	case MPL_OP_MOVE:
	case MPL_OP_PRIORITY:
		undo_edge(undo);
		break;
	case MPL_OP_ENABLED:
		mpl_tree_set_enabled(region, undo->flag);
		break;
	case MPL_OP_SIZE:
		mpl_tree_set_size(region, undo->value);
		break;
	case MPL_OP_ALIAS_OFFSET:
		region->alias_offset = undo->value;
		break;
	case MPL_OP_READONLY:
	case MPL_OP_NONVOLATILE:
	case MPL_OP_ROM_MODE:
		*flag_of(region, undo->kind) = undo->flag;
		break;
	case MPL_OP_LOG:
		region->log_starts[undo->number] -= undo->flag ? 1 : -1u;
		break;
	case MPL_OP_LOG_GLOBAL:
		mpl_dirty_undo_global(commit->plane, (uint8_t)undo->value);
		break;
	case MPL_OP_LOG_TAKE_PART:
		region->log_takes_part = (uint8_t)undo->value;
		break;
	case MPL_OP_IOEVENTFD_ADD:
	case MPL_OP_IOEVENTFD_DEL:
		mpl_doorbells_unref(region->doorbells);
		region->doorbells = undo->old;
		break;
	case MPL_OP_COALESCE:
	case MPL_OP_COALESCE_CLEAR:
		mpl_coalesced_unref(region->coalesced);
		region->coalesced = undo->old;
		break;
	case MPL_OP_POISON:
		mpl_poison_unref(region->poison);
		region->poison = undo->old;
		break;
	}
}

void mpl_undo_to(struct mpl_commit *commit, size_t count)
{
	while (commit->undos.count > count)
		undo_one(commit,
			 &commit->undos.items[--commit->undos.count]);
}

void mpl_undo_settle(struct mpl_commit *commit)
{
	for (size_t i = 0; i < commit->undos.count; i++) {
		struct mpl_undo *undo = &commit->undos.items[i];

		if (undo->kind == MPL_OP_REMOVE)
			mpl_region_unref(undo->region); /* the parent's */
		else if (undo->kind == MPL_OP_IOEVENTFD_ADD ||
			 undo->kind == MPL_OP_IOEVENTFD_DEL)
			mpl_doorbells_unref(undo->old);
		else if (undo->kind == MPL_OP_COALESCE ||
			 undo->kind == MPL_OP_COALESCE_CLEAR)
			mpl_coalesced_unref(undo->old);
		else if (undo->kind == MPL_OP_LOG ||
			 undo->kind == MPL_OP_LOG_TAKE_PART)
			mpl_dirty_settle(undo->region);
		else if (undo->kind == MPL_OP_LOG_GLOBAL)
			mpl_dirty_settle_global(commit->plane);
		else if (undo->kind == MPL_OP_POISON)
			mpl_poison_unref(undo->old);
	}
	commit->undos.count = 0;
}

int mpl_txn_apply(struct mpl_commit *commit, const struct mpl_txn *tx)
{
	size_t before = commit->undos.count;
	int err = tx->err;

	commit->plane->applied++;
	/* Each mutation notes one step at most. */
	if (!err && MPL_RESERVE(&commit->undos, tx->ops.count))
		err = -ENOMEM;
	for (size_t i = 0; i < tx->ops.count && !err; i++) {
		const struct mpl_op *op = &tx->ops.items[i];

		err = apply_op(commit, op);
		if (!err && op->region)
			check_roots(commit, op);
	}
	if (err)
		mpl_undo_to(commit, before);
	return err;
}
