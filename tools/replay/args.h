/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef REPLAY_ARGS_H
#define REPLAY_ARGS_H

#include <stdbool.h>
#include <stdint.h>

struct args {
	const char *trace;
	const char *access;       /* NULL: none */
	const char *listener_log; /* NULL: none */
	bool verify;
	bool compare_events;
	bool json;
	bool verbose;
	bool strict;
	bool inline_commits;
	bool full_rebuild;
	bool check;
	uint32_t limit;       /* publications; 0: all */
	unsigned int readers; /* 0: cores minus one */
	double seconds;
};

/* 0: go on; 1: all is said (--help); -1: wrong, and said so on stderr. */
int args_parse(struct args *args, int argc, char **argv);

#endif
