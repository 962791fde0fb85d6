/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is wrong with the input, and where: the first failure sticks.  The
 * line is kept up to date by whoever reads lines (lines.h), so that those who
 * find something wrong need only say what.
 */
#ifndef REPLAY_FAILURE_H
#define REPLAY_FAILURE_H

#include <stdbool.h>
#include <stdint.h>

struct failure {
	const char *file;
	uint64_t line;
	bool set;
	char text[240];
};

/* Both return -1, so that a caller can return what they return. */
int failure_set(struct failure *failure, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* "what: reason" for an error of the library's, or of the system's. */
int failure_errno(struct failure *failure, const char *what, int err);
int failure_system(struct failure *failure, const char *what, int err);

#endif
