/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions: recorded mutations, and how each is applied and undone. */
#ifndef MEMPLANE_LIB_TXN_H
#define MEMPLANE_LIB_TXN_H

#include <memplane/txn.h>

#include "lib/region.h"

struct mpl_commit;

enum mpl_op_kind {
	MPL_OP_ADD,
	MPL_OP_REMOVE,
	MPL_OP_MOVE,
	MPL_OP_PRIORITY,
	MPL_OP_ENABLED,
	MPL_OP_SIZE,
	MPL_OP_ALIAS_OFFSET,
	MPL_OP_READONLY,
	MPL_OP_NONVOLATILE,
	MPL_OP_ROM_MODE,
	MPL_OP_LOG,	     /* flag: start or stop; number: client */
	MPL_OP_LOG_GLOBAL,   /* without a region */
	MPL_OP_LOG_TAKE_PART,
	MPL_OP_IOEVENTFD_ADD,
	MPL_OP_IOEVENTFD_DEL,
	MPL_OP_COALESCE,
	MPL_OP_COALESCE_CLEAR,
	MPL_OP_POISON, /* flag: more, or less; value, last */
};

struct mpl_op {
	enum mpl_op_kind kind;
	bool flag;
	int number; /* a priority, or a client */
	struct mpl_region *region;
	struct mpl_region *parent;
	uint64_t value; /* an offset or a size */
	uint64_t last;	/* of a coalesced zone, or of poison */
	struct mpl_ioeventfd ioeventfd;
	struct mpl_eventfd *event; /* the duplicate to add */
};

struct mpl_txn {
	struct mpl_plane *plane;
	int err; /* the first one */
	struct {
		struct mpl_op *items;
		size_t count;
		size_t capacity;
	} ops;
};

/* What takes one step of a mutation back. */
struct mpl_undo {
	enum mpl_op_kind kind;
	bool flag;
	int number;
	struct mpl_region *region; /* held by the transaction */
	struct mpl_region *parent;
	uint64_t value;
	uint64_t order;
	void *old; /* doorbells, coalesced zones, poison: a reference */
};

struct mpl_undos {
	struct mpl_undo *items;
	size_t count;
	size_t capacity;
};

/*
 * Carry all mutations of a transaction out on the tree, marking what they
 * change.  On an error those of this transaction are undone.
 */
int mpl_txn_apply(struct mpl_commit *commit, const struct mpl_txn *tx);

/* Take back everything beyond the first `count` steps, in reverse. */
void mpl_undo_to(struct mpl_commit *commit, size_t count);
/* The commit succeeded: drop what was kept for undoing. */
void mpl_undo_settle(struct mpl_commit *commit);

/* Pages [start, last] of a region are broken, or no longer. */
void mpl_txn_poison(struct mpl_txn *tx, struct mpl_region *region,
		    bool poisoned, uint64_t start, uint64_t last);

/* Does it take things away only?  Such commits are never refused. */
bool mpl_txn_only_removes(const struct mpl_txn *tx);

void mpl_txn_free(struct mpl_txn *tx);

#endif
