/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A trace in memory, for replaying it again and again: its mutations, what
 * each address space shows after each publication, and addresses worth
 * looking up.  Immutable once loaded, so any thread may read it.
 */
#ifndef REPLAY_SCRIPT_H
#define REPLAY_SCRIPT_H

#include "expect.h"
#include "memaccess.h"
#include "memtrace.h"

#define SCRIPT_TARGETS_MAX  4096
#define SCRIPT_PUBLICATIONS 3000 /* by default */
/* Recorded ranges that are kept, 40 bytes each; then loading stops. */
#define SCRIPT_RANGES_MAX (4u << 20)

struct script_step {
	struct record record; /* REC_END: a publication */
	uint32_t line;
};

/* What address spaces show; the same object while nothing changes. */
struct script_state {
	uint32_t count;
	const struct expect_view *of_space[];
};

/* An address, in an address space. */
struct script_target {
	uint64_t address;
	uint32_t space;
};

struct script {
	struct script_step *steps;
	size_t steps_count, steps_cap;
	struct script_state **states; /* by publication, from 1 */
	size_t states_cap, publications;
	struct script_state **own; /* each state once, to be freed */
	size_t own_count, own_cap;
	struct expect_view **views; /* each view once */
	size_t views_count, views_cap;
	size_t ranges;
	uint64_t recorded_ns;
	struct script_target *targets;
	size_t targets_count, targets_cap;
};

/*
 * Load at most `limit` publications.  Targets are taken from the accesses, if
 * there are any, else from the ranges that show at the end.  0 or -1.
 */
int script_load(struct script *script, const char *path, uint32_t limit,
		const struct accesses *accesses, struct failure *failure);
void script_free(struct script *script);

#endif
