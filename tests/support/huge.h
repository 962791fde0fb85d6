/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Huge pages for tests: taken from the system, and given back.  Programs that
 * want some wait for each other, across builds too.
 */
#ifndef MEMPLANE_TESTS_HUGE_H
#define MEMPLANE_TESTS_HUGE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Wait until no other test has any, then make `count` more of them free.
 * False, with nothing changed: they cannot be had (no root, no such size, no
 * memory), and a line on stdout says why.
 */
bool huge_take(uint64_t size, uint64_t count);
/* Give back what was taken last. */
void huge_give(void);

/* Free pages that are promised to nobody. */
uint64_t huge_free(uint64_t size);

#endif
