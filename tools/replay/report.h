/* SPDX-License-Identifier: BSD-3-Clause */
/* What a run found, as text or as one JSON object. */
#ifndef REPLAY_REPORT_H
#define REPLAY_REPORT_H

#include <stdio.h>

#include "verify.h"

/* Of many times, in nanoseconds. */
struct spread {
	uint64_t p50, p99, max, total;
};

/* Sorts `ns`. */
struct spread spread_of(uint64_t *ns, size_t count);

/* The peak of resident memory, in bytes. */
uint64_t peak_memory(void);

void report_verify_json(FILE *out, struct verify_result *result);
void report_verify(FILE *out, struct verify_result *result, bool verbose);

#endif
