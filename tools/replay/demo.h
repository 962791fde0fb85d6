/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The demo: readers look the recorded addresses up as fast as they can while
 * the topology is replayed in a loop.
 */
#ifndef REPLAY_DEMO_H
#define REPLAY_DEMO_H

#include "args.h"
#include "failure.h"

/* The exit status; -1 with failure set. */
int demo_run(const struct args *args, struct failure *failure);

#endif
