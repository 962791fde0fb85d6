/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/base/log.h"

#include <stdarg.h>
#include <stdio.h>

void mpl_log(const struct mpl_log *log, enum mpl_log_level level,
	     const char *format, ...)
{
	char line[256];
	va_list args;

	if (!log->fn)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	log->fn(log->opaque, level, line);
}
