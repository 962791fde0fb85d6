/* SPDX-License-Identifier: BSD-3-Clause */
/* The device bus of rbtree.c, for benchmarks of whole accesses. */
#ifndef BENCH_PEERS_RBTREE_H
#define BENCH_PEERS_RBTREE_H

#include <pthread.h>

#include <bsd/sys/tree.h>

#include "peers.h"

struct rb_range {
	RB_ENTRY(rb_range) links;
	uint64_t start;
	uint64_t last;
	const struct mpl_section *section;
	unsigned int references;
};

RB_HEAD(rb_ranges, rb_range);

struct rb_bus {
	pthread_mutex_t mutex;
	struct rb_ranges ranges;
	const struct mpl_section *sections;
	struct rb_range *storage;
};

/* The range with a reference taken, or NULL; rb_bus_put() drops it. */
struct rb_range *rb_bus_get(struct rb_bus *bus, uint64_t gpa);
void rb_bus_put(struct rb_range *range);

#endif
