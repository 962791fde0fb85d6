/* SPDX-License-Identifier: BSD-3-Clause */
/* Bounce buffers: how many bytes of them an address space has. */
#ifndef MEMPLANE_DISPATCH_BOUNCE_H
#define MEMPLANE_DISPATCH_BOUNCE_H

#include <pthread.h>

#include <memplane/dma.h>

#include "lib/base/list.h"

/* An address space, with its account.  The control plane embeds it. */
struct mpl_bounce {
	struct mpl_address_space pub; /* first */
	pthread_mutex_t mutex;
	uint64_t limit;
	uint64_t used;
	struct mpl_link waiters;
};

static inline struct mpl_bounce *
mpl_bounce_of(const struct mpl_address_space *as)
{
	return (struct mpl_bounce *)as;
}

void mpl_bounce_init(struct mpl_bounce *bounce);
/* Those who wait are forgotten. */
void mpl_bounce_destroy(struct mpl_bounce *bounce);

/* A buffer of *len bytes, or of the limit.  Errors: -EAGAIN, -ENOMEM. */
int mpl_bounce_take(struct mpl_bounce *bounce, uint64_t *len, void **buffer);
/* May call those who wait. */
void mpl_bounce_give(struct mpl_bounce *bounce, void *buffer, uint64_t len);

#endif
