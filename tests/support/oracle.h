/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The naive oracle: what is at one address of a model, by walking its tree.
 *
 * It knows no ranges, no clipping and no views: an address is inside a region
 * or it is not, and every ancestor was asked before.  Arithmetic is signed and
 * wider than 64 bits, so nothing wraps.  The view is built on top by asking
 * for every address at which the answer could change.
 */
#ifndef TESTS_SUPPORT_ORACLE_H
#define TESTS_SUPPORT_ORACLE_H

#include "model.h"

struct oracle_hit {
	int region;
	uint64_t offset;
	bool readonly;
	bool nonvolatile;
	bool rom_mode;
	uint8_t dirty_mask;
	uint64_t path; /* which way it was reached, for unmergeable regions */
};

struct oracle_range {
	uint64_t start;
	uint64_t last;
	struct oracle_hit hit; /* of `start` */
};

/* All arrays that oracle calls hand out are the caller's to free(). */

/*
 * The region that decides what `root` shows (DESIGN 3.9), or MODEL_NONE for
 * the empty view; with `trace_rules` that of recorded traces.
 */
int oracle_effective_root(const struct model *model, int root,
			  bool trace_rules);

bool oracle_find(const struct model *model, int root, bool trace_rules,
		 uint64_t gpa, struct oracle_hit *out);

/*
 * Every address at which a region or a window that can be seen from `root`
 * begins or ends, ascending, 0 included.
 */
size_t oracle_edges(const struct model *model, int root, bool trace_rules,
		    uint64_t **out);

size_t oracle_view(const struct model *model, int root, bool trace_rules,
		   struct oracle_range **out);

/* The ioeventfds that `root` shows, in the order of its ranges. */
struct oracle_event {
	int region;
	uint64_t gpa;
	struct mpl_ioeventfd ev;
};
size_t oracle_ioeventfds(const struct model *model, int root, bool trace_rules,
			 struct oracle_event **out);

/* Coalesced zones, clipped to the ranges that show them. */
struct oracle_zone {
	uint64_t start;
	uint64_t last;
};
size_t oracle_zones(const struct model *model, int root, bool trace_rules,
		    struct oracle_zone **out);

#endif
