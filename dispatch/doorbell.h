/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbells: the ioeventfds of a region, as an immutable sorted table that
 * sections point at.  A change makes a new table, which shares all but a few
 * nodes with the old one; that lives until no section has it.
 *
 * A table is a tree of sorted arrays (doorbell_tree.h), and where the plane
 * asks for it and can have it an index by hash beside it (doorbell_hash.h).
 */
#ifndef MEMPLANE_DISPATCH_DOORBELL_H
#define MEMPLANE_DISPATCH_DOORBELL_H

#include <memplane/txn.h>

#include "lib/base/list.h"

struct mpl_bell_node;
struct mpl_data_plane;
struct mpl_doorbell_hash;

/* A duplicated eventfd, shared by the tables that contain it. */
struct mpl_eventfd {
	uint32_t refs;
	int fd;
	int caller_fd;
	bool blocking; /* its file description, which the caller shares */
};

struct mpl_doorbell {
	uint64_t offset;
	uint64_t data;
	unsigned int size; /* 0: any */
	bool match;
	struct mpl_eventfd *event;
};

/* What a doorbell asks of a write: five sizes, with a value or without. */
#define MPL_DOORBELL_CLASSES 10

/* Items are in order of offset, size, match, data, number of the eventfd. */
struct mpl_doorbells {
	uint32_t refs;
	uint32_t count;
	uint32_t classes; /* a bit for each of which there are some */
	uint32_t in_class[MPL_DOORBELL_CLASSES];
	struct mpl_bell_node *root;

	struct mpl_doorbell_hash *hash; /* NULL: none */
	uint64_t version;	  /* of the hash that is this table's */
	struct mpl_link link;	  /* tables that the hash serves */
	uint32_t hash_wanted;	  /* try for one from this count on */
};

typedef int mpl_doorbell_fn(void *arg, const struct mpl_doorbell *item);

/* Duplicates `fd`.  Errors: -ENOMEM, or dup's (-EBADF, -EMFILE). */
int mpl_eventfd_new(int fd, struct mpl_eventfd **out);
void mpl_eventfd_unref(struct mpl_eventfd *event);

/*
 * A table like `from` (may be NULL) with one item more or less.  A table
 * holds a reference on each of its events.  An empty table is NULL.
 * Errors: -ENOMEM, -EEXIST, -ENOENT.
 */
int mpl_doorbells_with(struct mpl_data_plane *dp,
		       const struct mpl_doorbells *from,
		       const struct mpl_doorbell *item,
		       struct mpl_doorbells **out);
int mpl_doorbells_without(struct mpl_data_plane *dp,
			  const struct mpl_doorbells *from,
			  const struct mpl_ioeventfd *item,
			  struct mpl_doorbells **out);

struct mpl_doorbells *mpl_doorbells_ref(struct mpl_doorbells *table);
/* The last one is dropped on the control side. */
void mpl_doorbells_unref(struct mpl_doorbells *table);

/* Items in order; ends when `fn` returns something else than 0. */
int mpl_doorbells_each(const struct mpl_doorbells *table, mpl_doorbell_fn *fn,
		       void *arg);
/* Those of `a` that `b` has not; what they share costs nothing. */
int mpl_doorbells_missing(const struct mpl_doorbells *a,
			  const struct mpl_doorbells *b, mpl_doorbell_fn *fn,
			  void *arg);

/*
 * The doorbell that a write rings, or NULL.  Of several the first in order:
 * any size before a certain one, any value before a certain one.  Data plane.
 */
const struct mpl_doorbell *mpl_doorbell_find(const struct mpl_doorbells *table,
					     uint64_t offset,
					     unsigned int size,
					     uint64_t value);

/* Signal it.  Never blocks. */
void mpl_doorbell_ring(const struct mpl_doorbell *doorbell);

#endif
