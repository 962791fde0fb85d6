/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A moment of a recorded machine: the flat views at the publication during
 * which most of its accesses were made, and these accesses in their order.
 */
#ifndef BENCH_RECORDING_H
#define BENCH_RECORDING_H

#include <stddef.h>
#include <stdint.h>

#include "../tools/replay/memtrace.h"

struct recorded_access {
	uint64_t gpa;
	uint32_t space;	 /* index into recording.spaces */
	uint16_t reader; /* 0: none of the processors, else their index + 1 */
	uint16_t size;
};

struct recorded_view {
	uint32_t id;
	struct trace_range *ranges;
	size_t count;
};

struct recorded_space {
	uint32_t id;
	uint32_t view; /* index into recording.views */
	size_t accesses;
};

struct recording {
	uint32_t seq; /* of the publication */
	struct recorded_access *accesses;
	size_t count;
	/* Only what an access was made in. */
	struct recorded_space *spaces;
	size_t spaces_count;
	struct recorded_view *views;
	size_t views_count;
	unsigned int readers;

	/* By region's number. */
	uint8_t *kinds;
	size_t kinds_count;
};

/*
 * Load BASE.mt.zst and BASE.acc.zst.  0, -ENOENT if one is missing, -EILSEQ if
 * they are no recording, -ENOMEM.  Every access has been looked up in the
 * recorded view and lies in the region that the record names.
 */
int recording_load(const char *base, struct recording **out);
void recording_free(struct recording *recording);

#endif
