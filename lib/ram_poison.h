/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Poisoned pages of a region: a set that is replaced as a whole by a commit.
 * A view shows them as ranges of their own, whose sections have no host
 * memory, so that no access needs to ask.
 */
#ifndef MEMPLANE_LIB_RAM_POISON_H
#define MEMPLANE_LIB_RAM_POISON_H

#include <stdbool.h>

#include "lib/base/spans.h"

struct mpl_poison {
	uint32_t refs; /* under the control lock */
	struct mpl_spans spans;
};

/* A set like `from` (NULL: empty) with more, or less; *out has one reference,
 * and is NULL if it is empty.  Errors: -ENOMEM; -ENOENT: there is nothing less.
 */
int mpl_poison_change(const struct mpl_poison *from, bool more, uint64_t start,
		      uint64_t last, struct mpl_poison **out);
void mpl_poison_unref(struct mpl_poison *poison);

/* Is `at` poisoned, and up to where is that the same (at most *last)? */
bool mpl_poison_at(const struct mpl_poison *poison, uint64_t at,
		   uint64_t *last);

#endif
