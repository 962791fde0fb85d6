/* SPDX-License-Identifier: BSD-3-Clause */
/* The demo's table. */
#ifndef REPLAY_DEMO_REPORT_H
#define REPLAY_DEMO_REPORT_H

#include <stdio.h>

#include "args.h"
#include "demo_reader.h"

#define DEMO_RETIRED_MAX (256 * MPL_MIB)

/* What the control side counted. */
struct demo_totals {
	uint64_t ns;
	uint64_t loops, publications;
	struct latency commit; /* nanoseconds */
	struct mpl_plane_stats stats;
};

/* Returns the exit status: 1 if a reader found a mismatch. */
int demo_report(FILE *out, const struct args *args, const struct script *script,
		const struct demo_totals *totals,
		const struct demo_reader *readers, unsigned int count);

#endif
