/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A memory topology as plain structs: the naive half of every differential
 * test.  Regions and address spaces are indexes, so that a whole model is
 * saved and restored by assignment, which is all that transactions need here.
 *
 * Mutations return 0 or the -errno that the library owes for them.
 */
#ifndef TESTS_SUPPORT_MODEL_H
#define TESTS_SUPPORT_MODEL_H

#include <memplane.h>

#define MODEL_REGIONS 640
#define MODEL_EVENTS  8
#define MODEL_ZONES   4
#define MODEL_NONE    (-1)

struct model_zone {
	uint64_t offset;
	uint64_t size;
};

struct model_region {
	char name[20];
	enum mpl_region_kind kind;
	uint64_t size;     /* UINT64_MAX: 2^64 */
	uint64_t max_size; /* of memory: what it cannot outgrow */
	bool enabled;
	bool readonly;
	bool nonvolatile;
	bool rom_mode;
	bool unmergeable;

	int parent;
	uint64_t offset;
	int priority;
	int first_child; /* the one that wins comes first */
	int next;        /* sibling */

	int target; /* alias */
	uint64_t alias_offset;

	unsigned int log[MPL_LOG_CLIENTS];
	bool takes_part[MPL_LOG_CLIENTS];

	struct mpl_ioeventfd events[MODEL_EVENTS]; /* ascending */
	int n_events;
	struct model_zone zones[MODEL_ZONES];
	int n_zones;
};

struct model {
	struct model_region regions[MODEL_REGIONS];
	int n_regions;
	bool log_global[MPL_LOG_CLIENTS];
};

/* Addresses and their sums: signed, and wider than 64 bits. */
typedef __int128 wide_t;
wide_t wide_size(uint64_t size);

void model_init(struct model *model);

int model_new_region(struct model *model, enum mpl_region_kind kind,
		     const char *name, uint64_t size);
int model_new_alias(struct model *model, const char *name, int target,
		    uint64_t offset, uint64_t size);

bool model_has_memory(const struct model *model, int id);
/*
 * How many regions the longest chain from here down has; a leaf: 1.  There
 * must be no cycle.
 */
int model_depth(const struct model *model, int id);
/* Can `to` be reached from `from` through children (and aliases)? */
bool model_contains(const struct model *model, int from, int to);
bool model_reaches(const struct model *model, int from, int to);

/*
 * How many times regions are visited to show all of `root`; MODEL_ENDLESS if
 * an address of it shows itself, or there are more than can be waited for.
 *
 * A cycle through an alias is none if the alias shows another part of what it
 * is in: recorded machines do that.  So addresses decide.
 */
#define MODEL_ENDLESS 20000
size_t model_visits(const struct model *model, int root);

int model_add(struct model *model, int parent, uint64_t offset, int child,
	      int priority);
int model_remove(struct model *model, int child);
int model_move(struct model *model, int id, uint64_t offset);
int model_set_priority(struct model *model, int id, int priority);
int model_resize(struct model *model, int id, uint64_t size);
int model_log_start(struct model *model, int id, enum mpl_log_client client);
int model_log_stop(struct model *model, int id, enum mpl_log_client client);
int model_ioeventfd_add(struct model *model, int id,
			const struct mpl_ioeventfd *ev);
int model_ioeventfd_del(struct model *model, int id,
			const struct mpl_ioeventfd *ev);
int model_coalescing_add(struct model *model, int id, uint64_t offset,
			 uint64_t size);

#endif
