/* SPDX-License-Identifier: BSD-3-Clause */
/* The `region` record, whose key=value fields need more words. */
#ifndef REPLAY_MEMTRACE_REGION_H
#define REPLAY_MEMTRACE_REGION_H

#include "memtrace.h"

void memtrace_parse_region(struct cursor *cursor, struct record *record);

/* Number of the field, from 1, in which a cursor stopped. */
int memtrace_field(const char *line, const char *at);

#endif
