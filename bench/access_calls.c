/* SPDX-License-Identifier: BSD-3-Clause */
#include "access_calls.h"

mpl_result_t bench_empty_read(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t *value)
{
	(void)opaque, (void)offset, (void)size, (void)attrs;
	*value = 0;
	return MPL_OK;
}

mpl_result_t bench_empty_write(void *opaque, uint64_t offset,
			       unsigned int size, struct mpl_attrs attrs,
			       uint64_t value)
{
	(void)opaque, (void)offset, (void)size, (void)attrs, (void)value;
	return MPL_OK;
}
