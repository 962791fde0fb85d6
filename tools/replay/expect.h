/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the trace says should come out: the flat view and the ioeventfd list
 * of every address space, as of the last publication.
 *
 * A view is defined once, partly by what an older one has at its head and
 * tail, and used by any number of address spaces; it is forgotten with the
 * publication in which the last of them turns to another.
 */
#ifndef REPLAY_EXPECT_H
#define REPLAY_EXPECT_H

#include <stdbool.h>
#include <stddef.h>

#include "failure.h"
#include "memtrace.h"

struct expect_view {
	uint32_t id;
	uint32_t users;    /* address spaces */
	uint32_t keepers;  /* others that hold it (the demo) */
	bool listed;       /* in expect.idle */
	bool verified;     /* compared at least once */
	uint32_t seq;      /* publication in which it was compared last */
	uint32_t compared; /* address space that it was compared with then */
	size_t count;
	struct trace_range ranges[];
};

/* An ioeventfd list; equal ones of one publication are one object. */
struct expect_doorbells {
	uint32_t users;
	size_t count;
	struct trace_ioeventfd items[];
};

struct expect_space {
	bool alive;
	struct expect_view *view;           /* NULL: not told yet */
	struct expect_doorbells *doorbells; /* NULL: none */
};

#define EXPECT_RECENT 8

struct expect {
	struct failure *failure;
	struct expect_view **views; /* by id */
	size_t views_cap, views_count;
	struct expect_space *spaces; /* by id */
	size_t spaces_cap, spaces_count;

	bool open; /* between `publish` and `end` */
	struct trace_publish publish;
	uint32_t seq;              /* of the last publication */
	uint32_t new_views;        /* `view` records in this publication */
	struct trace_view filling; /* still wants ranges_left; id 0: none */
	uint32_t ranges_left;
	struct trace_range *ranges; /* so far */
	size_t ranges_count, ranges_cap;
	uint32_t list_space; /* still wants list_left ioeventfds; 0: none */
	uint32_t list_left;
	struct trace_ioeventfd *list;
	size_t list_count, list_cap;
	struct expect_doorbells *recent[EXPECT_RECENT];
	unsigned int recents;

	struct expect_view **idle; /* perhaps used by nobody any more */
	size_t idle_count, idle_cap;
	uint64_t ranges_live; /* in all views, for the bound on memory */
};

void expect_init(struct expect *expect, struct failure *failure);
void expect_fini(struct expect *expect);

int expect_space_new(struct expect *expect, uint32_t id);
void expect_space_end(struct expect *expect, uint32_t id);

/* `publish`, then each record up to and including `end`.  0 or -1. */
int expect_begin(struct expect *expect, const struct trace_publish *publish);
int expect_block(struct expect *expect, const struct record *record);

/* After `end` and whatever compares: forget what nobody uses. */
void expect_done(struct expect *expect);

/* Hold a view beyond that, and let go of it. */
void expect_keep(struct expect_view *view);
void expect_unkeep(struct expect_view *view);

#endif
