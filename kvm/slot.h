/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The slots that the kernel has, of one of its address spaces.
 *
 * The table is the kernel's state, always: a slot is in it from the moment at
 * which the kernel took it to the one at which the kernel let it go, and a
 * call that failed changed neither.  Slots are disjoint, each shows one region
 * without a gap, and together they are the whole pages of memory of the flat
 * view.  Where one of them ends and the next begins is history, though: a
 * boundary that a commit needed stays (plan.h).
 *
 *     flat view   |======== ram ========|   io   |==== ram ====|  rom  |
 *     slots       |==0==|=3=|=====1=====|        |======2======|---4---|
 *                       ^   ^ here a window was open once
 *
 * Written on the control side.  `mutex` is for those who look a slot up by its
 * number elsewhere: the reaper of dirty rings.
 */
#ifndef MEMPLANE_KVM_SLOT_H
#define MEMPLANE_KVM_SLOT_H

#include <stdbool.h>

#include "kvm/run.h"
#include "lib/base/interval.h"

struct mpl_kvm;
struct mpl_kvm_mirror;

struct mpl_kvm_slot {
	struct mpl_interval node; /* first */
	struct mpl_kvm_mirror *mirror;
	struct mpl_kvm_run run; /* log: what the kernel does now */
	uint32_t id;
	bool live; /* in the kernel and in the table */
	bool held; /* has a reference on the region */

	/* Of the commit that is running. */
	bool doomed; /* to be deleted */
	bool relog;  /* run.log is to become `new_log` */
	bool new_log;
};

struct mpl_kvm_slots {
	struct mpl_interval_tree tree;
	size_t count;
	/* By id; each array has room for `ids` of them. */
	struct mpl_kvm_slot **by_id; /* NULL: the kernel has none */
	uint32_t *free;              /* taken once, and free again */
	bool *used;
	uint32_t ids;
	uint32_t fresh; /* the least id that was never used */
	uint32_t n_free;
	bool rebuild;       /* at the next commit: all go, and all come again */
	int broken;         /* an error while taking something back */
	size_t unmapped;    /* ranges of memory without a slot */
	long unmapped_more; /* after this commit */
	size_t incongruent; /* ranges that lose huge pages */
	long incongruent_more;
};

static inline struct mpl_kvm_slot *mpl_kvm_slot_of(struct mpl_interval *node)
{
	return (struct mpl_kvm_slot *)node;
}

/* Room for `more` ids beyond those in use.  Errors: -ENOMEM, -ENOSPC. */
int mpl_kvm_ids_reserve(struct mpl_kvm_mirror *mirror, size_t more);
/* There must be room. */
uint32_t mpl_kvm_id_take(struct mpl_kvm_slots *slots);
void mpl_kvm_id_give(struct mpl_kvm_slots *slots, uint32_t id);

/*
 * The steps of a plan: slots go before the new map is published, and come
 * after.  An error leaves slots as they were before the call, or notes in
 * slots->broken that it could not.  The undoing does as much as it can.
 */
int mpl_kvm_slots_take(struct mpl_kvm *kvm);
int mpl_kvm_slots_put(struct mpl_kvm *kvm);
void mpl_kvm_slots_untake(struct mpl_kvm *kvm);
void mpl_kvm_slots_unput(struct mpl_kvm *kvm);

/*
 * The map may go on without this mirror: keep the memory of all slots alive
 * until they are deleted.
 */
void mpl_kvm_slots_hold(struct mpl_kvm_mirror *mirror);

/* Delete every slot that is left, and free the table.  The last error. */
int mpl_kvm_slots_sweep(struct mpl_kvm_mirror *mirror);

void mpl_kvm_slot_free(struct mpl_kvm_slot *slot);

#endif
