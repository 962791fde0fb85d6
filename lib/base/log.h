/* SPDX-License-Identifier: BSD-3-Clause */
/* Log lines go to the embedder's callback, or nowhere. */
#ifndef MEMPLANE_BASE_LOG_H
#define MEMPLANE_BASE_LOG_H

#include <memplane/plane.h>

struct mpl_log {
	void (*fn)(void *opaque, enum mpl_log_level level, const char *line);
	void *opaque;
};

void mpl_log(const struct mpl_log *log, enum mpl_log_level level,
	     const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
