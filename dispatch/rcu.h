/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Grace periods, by rte_rcu_qsbr.  This header hides DPDK's from all others.
 *
 * Threads:  control side  mpl_rcu_start, mpl_rcu_done, mpl_rcu_holds: under one
 *                         lock, see mpl_synchronize()
 *           any           mpl_rcu_register, mpl_rcu_unregister
 *           the reader    mpl_rcu_online, mpl_rcu_offline, mpl_rcu_quiescent
 *
 * Nothing here needs rte_eal_init().
 */
#ifndef MEMPLANE_DISPATCH_RCU_H
#define MEMPLANE_DISPATCH_RCU_H

#include <stdbool.h>
#include <stdint.h>

struct mpl_rcu;

/* `threads`: ids are 0 .. threads - 1.  Errors: -ENOMEM, -EINVAL. */
int mpl_rcu_new(unsigned int threads, struct mpl_rcu **out);
void mpl_rcu_free(struct mpl_rcu *rcu);

/* An id starts offline. */
int mpl_rcu_register(struct mpl_rcu *rcu, unsigned int id);
void mpl_rcu_unregister(struct mpl_rcu *rcu, unsigned int id);

void mpl_rcu_online(struct mpl_rcu *rcu, unsigned int id);
void mpl_rcu_offline(struct mpl_rcu *rcu, unsigned int id);
void mpl_rcu_quiescent(struct mpl_rcu *rcu, unsigned int id);

/* Begin a grace period for what was unpublished before this call. */
uint64_t mpl_rcu_start(struct mpl_rcu *rcu);

/* Has every reader that could see it been quiescent since?  Never waits. */
bool mpl_rcu_done(struct mpl_rcu *rcu, uint64_t token);

/* Does this one reader still hold the grace period back? */
bool mpl_rcu_holds(struct mpl_rcu *rcu, unsigned int id, uint64_t token);

#endif
