/* SPDX-License-Identifier: BSD-3-Clause */
#include "failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <memplane/types.h>

int failure_set(struct failure *failure, const char *format, ...)
{
	va_list args;

	if (failure->set)
		return -1;
	failure->set = true;
	va_start(args, format);
	vsnprintf(failure->text, sizeof(failure->text), format, args);
	va_end(args);
	return -1;
}

/* The library's errors in the words of somebody who looks at a trace. */
static const char *meaning(int err)
{
	switch (err) {
	case -ELOOP:
		return "a region would contain or show itself";
	case -E2BIG:
		return "nested too deep, or more ranges than can be indexed";
	case -ENOENT:
		return "no such child or ioeventfd";
	case -EEXIST:
		return "it is there already";
	case -EUCLEAN:
		return "the published map differs from a full render";
	default:
		return strerror(-err);
	}
}

int failure_system(struct failure *failure, const char *what, int err)
{
	return failure_set(failure, "%s: %s", what, strerror(-err));
}

int failure_errno(struct failure *failure, const char *what, int err)
{
	if (err == -E2BIG)
		return failure_set(failure, "%s: %s (at most %d levels)", what,
				   meaning(err), MPL_DEPTH_MAX);
	return failure_set(failure, "%s: %s", what, meaning(err));
}
