/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MEMPLANE_LIB_LISTENER_H
#define MEMPLANE_LIB_LISTENER_H

#include <memplane/listener.h>

#include "lib/base/list.h"

struct mpl_space;

struct mpl_listener {
	const struct mpl_listener_ops *ops;
	void *opaque;
	struct mpl_space *space;
	struct mpl_link link;	    /* in plane->listeners */
	struct mpl_link space_link; /* in space->listeners */
	bool degraded;
	bool begun; /* told `begin`: an `abort` may be due */
};

/* Tell every listener of a space that all goes away, and free them. */
void mpl_listeners_end(struct mpl_space *space);

#endif
