/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A recorded machine, rebuilt: trace records become calls of the library.
 *
 * All mutations between two publications are collected in one transaction.
 * The ids of the trace index tables here; what an id means is checked before
 * the library hears of it, so that an error names the line that is wrong.
 *
 * Control side only: one thread.
 */
#ifndef REPLAY_MACHINE_H
#define REPLAY_MACHINE_H

#include <time.h>

#include <memplane.h>

#include "doorbells.h"
#include "failure.h"
#include "memtrace.h"

struct machine_region {
	struct mpl_region *region; /* NULL: gone */
	uint32_t parent;           /* 0: not attached */
	uint32_t children;
	int32_t log; /* starts minus stops */
	uint8_t kind;
	bool enabled;
	bool destroyed;  /* waits for its children to go */
	bool swapped;    /* not in the target's byte order */
	bool unassigned; /* the producer's "nothing there" */
};

struct machine_space {
	struct mpl_address_space *as; /* NULL: gone */
	char name[32];
};

struct machine {
	struct mpl_plane_config config;
	struct mpl_plane *plane;
	struct failure *failure;
	bool big_endian; /* the target */

	struct mpl_txn *pending; /* NULL: nothing recorded since the last */
	bool changed;            /* by something that can show in a view */
	bool lists_changed;      /* by an ioeventfd */
	uint32_t depth;          /* of begin */
	bool code_log, global_dirty;
	/*
	 * If set: where host memory of regions is said to be, so that it can be
	 * told apart; nobody may touch it.  0: there is none.
	 */
	uint64_t next_host;

	struct machine_region *regions; /* by id; 0 is unused */
	size_t regions_count, regions_cap;
	struct machine_space *spaces; /* by id; 0 is unused */
	size_t spaces_count, spaces_cap;
	struct trace_space announced; /* by as_init; id 0: none */
	char announced_name[32];
	struct doorbells doorbells;

	uint64_t *commit_ns; /* of every commit */
	size_t commits, commits_cap;
	clockid_t clock; /* that commits are measured with */
};

/* 0 or -1 (failure is set). */
int machine_init(struct machine *machine, const struct mpl_plane_config *config,
		 struct failure *failure);
/* Readers are unregistered. */
void machine_fini(struct machine *machine);

/* Carry out any record that is not part of a publication. */
int machine_apply(struct machine *machine, const struct record *record);

/* Commit what is pending, if anything. */
int machine_commit(struct machine *machine);

/* Make the address space that as_init announced. */
int machine_space_new(struct machine *machine);

/*
 * Back to an empty machine in the same plane: no address spaces, nothing
 * attached, every region let go.
 */
int machine_clear(struct machine *machine);

/* The space of an id, or NULL. */
struct machine_space *machine_space(const struct machine *machine, uint32_t id);

/* The trace's id of a region; any thread that holds a reference to it. */
uint32_t machine_region_id(const struct mpl_region *region);

/* Where `data` of an ioeventfd changes its byte order, both ways. */
uint64_t machine_swap_data(const struct machine *machine, uint32_t region,
			   uint64_t data, unsigned int size);

#endif
