/* SPDX-License-Identifier: BSD-3-Clause */
/* What a plane said in its log. */
#ifndef MEMPLANE_TESTS_SAID_H
#define MEMPLANE_TESTS_SAID_H

#include <memplane.h>

/* A plane whose log lines are kept for said(). */
int said_plane_new(struct mpl_plane **plane);
/* Did a line since the last said_forget() have this in it? */
bool said(const char *text);
void said_forget(void);

#endif
