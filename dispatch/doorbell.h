/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbells: the ioeventfds of a region, as an immutable sorted table that
 * sections point at.  A change makes a new table; the old one lives until no
 * section has it.
 */
#ifndef MEMPLANE_DISPATCH_DOORBELL_H
#define MEMPLANE_DISPATCH_DOORBELL_H

#include <memplane/txn.h>

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

struct mpl_doorbells {
	uint32_t refs;
	uint32_t count;
	struct mpl_doorbell items[]; /* by offset, size, match, data, fd */
};

/* Duplicates `fd`.  Errors: -ENOMEM, or dup's (-EBADF, -EMFILE). */
int mpl_eventfd_new(int fd, struct mpl_eventfd **out);
void mpl_eventfd_unref(struct mpl_eventfd *event);

/*
 * A copy of `from` (may be NULL) with one item more or less.  A table holds a
 * reference on each of its events.  An empty table is NULL.
 * Errors: -ENOMEM, -EEXIST, -ENOENT.
 */
int mpl_doorbells_with(const struct mpl_doorbells *from,
		       const struct mpl_doorbell *item,
		       struct mpl_doorbells **out);
int mpl_doorbells_without(const struct mpl_doorbells *from,
			  const struct mpl_ioeventfd *item,
			  struct mpl_doorbells **out);

struct mpl_doorbells *mpl_doorbells_ref(struct mpl_doorbells *table);
void mpl_doorbells_unref(struct mpl_doorbells *table);

/* The doorbell that a write rings, or NULL.  Data plane. */
const struct mpl_doorbell *mpl_doorbell_find(const struct mpl_doorbells *table,
					     uint64_t offset,
					     unsigned int size,
					     uint64_t value);

/* Signal it.  Never blocks. */
void mpl_doorbell_ring(const struct mpl_doorbell *doorbell);

#endif
