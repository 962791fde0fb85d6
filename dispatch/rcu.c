/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The three orderings that reclamation stands on; docs/concurrency.md draws
 * them, docs/model/ checks them.
 *
 *   control side                         reader
 *   publish new snapshot      [B1]       online: counter := token
 *   full fence                [B2] <-->  full fence                  [B2]
 *   token := token + 1                   load snapshot               [B1]
 *   ...                                  read nodes and sections
 *   load counter, acquire     [B3] <-->  store counter, release      [B3]
 *   free what was unpublished            (quiescent or offline)
 */
#include "dispatch/rcu.h"

#include <errno.h>
#include <stdlib.h>

#include <rte_rcu_qsbr.h>

struct mpl_rcu {
	struct rte_rcu_qsbr *qsbr;
	uint64_t left; /* readers that unregistered */
};

int mpl_rcu_new(unsigned int threads, struct mpl_rcu **out)
{
	struct mpl_rcu *rcu;
	size_t size = rte_rcu_qsbr_get_memsize(threads);

	if (size == (size_t)1) /* how DPDK says "bad argument" */
		return -EINVAL;
	rcu = calloc(1, sizeof(*rcu));
	if (!rcu)
		return -ENOMEM;
	rcu->qsbr = aligned_alloc(RTE_CACHE_LINE_SIZE,
				  RTE_ALIGN(size, RTE_CACHE_LINE_SIZE));
	if (!rcu->qsbr) {
		free(rcu);
		return -ENOMEM;
	}
	if (rte_rcu_qsbr_init(rcu->qsbr, threads)) {
		mpl_rcu_free(rcu);
		return -EINVAL;
	}
	*out = rcu;
	return 0;
}

void mpl_rcu_free(struct mpl_rcu *rcu)
{
	if (!rcu)
		return;
	free(rcu->qsbr);
	free(rcu);
}

int mpl_rcu_register(struct mpl_rcu *rcu, unsigned int id)
{
	return rte_rcu_qsbr_thread_register(rcu->qsbr, id) ? -EINVAL : 0;
}

void mpl_rcu_unregister(struct mpl_rcu *rcu, unsigned int id)
{
	/*
	 * [B3] release; pairs with [B3] in mpl_rcu_done(): a reader that has
	 * left is not asked any more.  DPDK orders this, too, but in its
	 * shared object, where the thread sanitizer does not look.
	 */
	__atomic_add_fetch(&rcu->left, 1, __ATOMIC_RELEASE);
	(void)rte_rcu_qsbr_thread_unregister(rcu->qsbr, id);
}

void mpl_rcu_online(struct mpl_rcu *rcu, unsigned int id)
{
	/*
	 * [B2] full fence, inside; pairs with [B2] in mpl_rcu_start().
	 * Hazard: the reader's first look-up moves before its counter is
	 * visible, the control side sees it offline and frees what it reads.
	 */
	rte_rcu_qsbr_thread_online(rcu->qsbr, id);
}

void mpl_rcu_offline(struct mpl_rcu *rcu, unsigned int id)
{
	/* [B3] release, inside; pairs with [B3] in mpl_rcu_done(). */
	rte_rcu_qsbr_thread_offline(rcu->qsbr, id);
}

void mpl_rcu_quiescent(struct mpl_rcu *rcu, unsigned int id)
{
	/*
	 * [B3] release, inside; pairs with [B3] in mpl_rcu_done().  Hazard:
	 * reads of nodes move below the report, into memory that is free.
	 */
	rte_rcu_qsbr_quiescent(rcu->qsbr, id);
}

uint64_t mpl_rcu_start(struct mpl_rcu *rcu)
{
	/*
	 * [B2] full fence; pairs with [B2] in mpl_rcu_online().  Hazard: the
	 * counters are read before the new snapshot is visible; a reader that
	 * comes online between sees the old snapshot and is not waited for.
	 * rte_rcu_qsbr_start() itself is only a release.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return rte_rcu_qsbr_start(rcu->qsbr);
}

bool mpl_rcu_done(struct mpl_rcu *rcu, uint64_t token)
{
	/* [B3] acquire, inside; pairs with [B3] in mpl_rcu_quiescent(). */
	bool done = rte_rcu_qsbr_check(rcu->qsbr, token, false) == 1;

	/* [B3] acquire; pairs with [B3] in mpl_rcu_unregister() */
	(void)__atomic_load_n(&rcu->left, __ATOMIC_ACQUIRE);
	return done;
}

bool mpl_rcu_holds(struct mpl_rcu *rcu, unsigned int id, uint64_t token)
{
	uint64_t seen = __atomic_load_n(&rcu->qsbr->qsbr_cnt[id].cnt,
					__ATOMIC_RELAXED);

	return seen != 0 && seen < token;
}
