/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's callback that does nothing, in a file of its own: nobody can
 * inline it or know what it returns. */
#ifndef BENCH_ACCESS_CALLS_H
#define BENCH_ACCESS_CALLS_H

#include <memplane/region.h>

typedef mpl_result_t (*bench_read_fn)(void *opaque, uint64_t offset,
				      unsigned int size,
				      struct mpl_attrs attrs, uint64_t *value);

mpl_result_t bench_empty_read(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t *value);
mpl_result_t bench_empty_write(void *opaque, uint64_t offset,
			       unsigned int size, struct mpl_attrs attrs,
			       uint64_t value);

#endif
