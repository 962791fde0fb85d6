/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each program of this folder has: the entry that libFuzzer calls, which
 * table.c calls as well, for inputs that are known.  An input is never refused;
 * whatever is wrong ends the process.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Once, before the first input, by both. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define FUZZ_CHECK(condition)                                               \
	do {                                                                \
		if (!(condition)) {                                         \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__,    \
				__LINE__, #condition);                      \
			abort();                                            \
		}                                                           \
	} while (0)

#endif
