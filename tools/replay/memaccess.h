/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A memaccess file: the accesses that a guest made while the memtrace was
 * recorded.  A line names the publication that it came after, but lines are
 * written when an access ends: they are kept in memory, 32 bytes each, and
 * handed out by publication.
 */
#ifndef REPLAY_MEMACCESS_H
#define REPLAY_MEMACCESS_H

#include <stddef.h>
#include <stdint.h>

#include "failure.h"

struct access {
	uint64_t address;
	uint64_t offset;
	uint32_t generation;
	uint32_t space; /* 0: unknown */
	uint32_t region;
	uint32_t line;
};

struct accesses {
	const char *path;
	struct access *items; /* by generation, then by line */
	size_t count, cap;
	size_t next; /* for accesses_of() */
};

/* Read the whole file, plain or zstd.  0 or -1. */
int accesses_load(struct accesses *accesses, const char *path,
		  struct failure *failure);
void accesses_free(struct accesses *accesses);

/*
 * The accesses made after publication `generation` and before the next one;
 * to be called with generations in ascending order.  Returns how many.
 */
size_t accesses_of(struct accesses *accesses, uint32_t generation,
		   const struct access **first);

#endif
