/* SPDX-License-Identifier: BSD-3-Clause */
/* Records about regions; between machine.c and machine_region.c. */
#ifndef REPLAY_MACHINE_REGION_H
#define REPLAY_MACHINE_REGION_H

#include "machine.h"

/* The transaction that is pending, begun if need be. */
struct mpl_txn *machine_txn(struct machine *machine);

/* A region that exists and was not destroyed, or NULL (failure is set). */
struct machine_region *machine_region(struct machine *machine, uint32_t id);

/* Make a region, change one, or destroy one.  0 or -1. */
int machine_region_new(struct machine *machine,
		       const struct trace_region *record);
int machine_apply_region(struct machine *machine, const struct record *record);

#endif
