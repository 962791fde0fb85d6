/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plan: which slots a commit deletes, makes and flags, decided before anything
 * happens.
 *
 * Old and new map are compared as memory, not as ranges: where both have the
 * same region at the same distance and equally writable, nothing changed,
 * wherever ranges begin and end.  A slot stays unless a part of it changed.
 * What is memory now and has no slot that stays is made anew, in as few slots
 * as it has gaps.
 *
 *     a window opens inside a slot             and closes, and opens again
 *
 *     old   |============0============|        |====0====|=3=|====1====|
 *     new   |=========|   |===========|        |====0====|   |====1====|
 *     does  -0  +0  +1   vCPUs parked          -3   or   +3, no vCPU stops
 *
 * So no commit needs fewer calls from the slots that it finds.  When slots run
 * short, neighbours that show one piece of memory are joined first.
 *
 * One plan serves all address spaces of a VM: it is carried out at the last
 * `take` and the first `put` of a commit, so that vCPUs are stopped once.
 */
#ifndef MEMPLANE_KVM_PLAN_H
#define MEMPLANE_KVM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvm/run.h"

/* KVM counts a slot's pages in 31 bits. */
#define MPL_KVM_SLOT_BYTES_MAX (((UINT64_C(1) << 31) - 1) * 4096)

struct mpl_kvm;
struct mpl_kvm_mirror;
struct mpl_kvm_slot;
struct mpl_listener_plan;

struct mpl_kvm_slot_list {
	struct mpl_kvm_slot **items;
	size_t count;
	size_t capacity;
};

struct mpl_kvm_plan {
	struct mpl_kvm_slot_list dels;
	struct mpl_kvm_slot_list adds;
	struct mpl_kvm_slot_list flags;
	bool park;   /* memory is missing for a moment, or must be logged */
	bool closed; /* the commit is over: the next `begin` starts anew */

	/* How far it is. */
	unsigned int begun; /* mirrors that take part */
	unsigned int takes;
	unsigned int puts;
	bool taken;
	bool put;
	bool parked;

	/* Of one mirror's turn. */
	struct mpl_kvm_runs before;
	struct mpl_kvm_runs after;
	struct mpl_kvm_runs gone;
	struct mpl_kvm_runs come;
};

/*
 * Add what one mirror needs.  Errors: -ENOMEM, -ENOSPC (more slots than the VM
 * can have).
 */
int mpl_kvm_plan_add(struct mpl_kvm_mirror *mirror,
		     const struct mpl_listener_plan *changes);

/* The commit is over, whatever came of it: free what is not live. */
void mpl_kvm_plan_settle(struct mpl_kvm *kvm);
void mpl_kvm_plan_destroy(struct mpl_kvm *kvm);

#endif
