/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MEMPLANE_LIB_RAM_POPULATE_H
#define MEMPLANE_LIB_RAM_POPULATE_H

#include <stdint.h>

#define MPL_RAM_THREADS_MAX 256

/*
 * Make whole pages writable at once, contents kept.  Errors: -ENOMEM (also
 * where a touch would be a SIGBUS), -EIO.
 */
int mpl_populate(void *host, uint64_t len, uint64_t page);
/* How it is done where the kernel has no MADV_POPULATE_WRITE: one page.
 * -EFAULT where a touch would be a signal. */
int mpl_touch_page(void *host);

#endif
