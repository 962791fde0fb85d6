/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A topology with a fake VM attached, where each commit is checked: slots are
 * the map's memory, calls and parks are those that had to be, and at no moment
 * at which a guest could run was memory missing that was there before and
 * after.
 */
#ifndef TESTS_SUPPORT_KVM_WORLD_H
#define TESTS_SUPPORT_KVM_WORLD_H

#include "tests/support/kvm_check.h"
#include "tests/support/topo.h"

#define WORLD_SNAPSHOTS 4096

struct kvm_world {
	struct topo *t;
	struct fake_kvm *fake;
	struct mpl_kvm_config config;
	struct mpl_kvm *kvm;
	int root;
	int space[FAKE_SPACES]; /* of the topo; -1: not attached */
	char log[512];          /* the last line */

	/* Before the commit. */
	struct memories view[FAKE_SPACES];
	struct memories slots[FAKE_SPACES];
	struct mpl_kvm_stats stats;
	uint64_t calls;

	/*
	 * What a commit that fails would have led to: its memory may be missing
	 * for a moment if the old map alone has it.
	 */
	const struct memories *target;

	/* The slots, each time that a guest could see them changed. */
	struct memories snapshots[WORLD_SNAPSHOTS];
	unsigned int snapshot_space[WORLD_SNAPSHOTS];
	size_t n_snapshots;

	/* Sums over all commits, for who wants them. */
	uint64_t sum_flags, sum_plain_flags; /* of the next two */
	uint64_t sum_calls, sum_plain, sum_bound, sum_clairvoyant, sum_parks;
};

/* `how` sets the fake and the configuration up; NULL: as they are. */
struct kvm_world *world_new(void (*how)(struct kvm_world *w));
/* Detaches; fails the test if something is left in the VM. */
void world_free(struct kvm_world *w);

/* A second KVM address space that shows `root`. */
void world_attach_smm(struct kvm_world *w, int root);

/* Note how things stand; called by those below, and before topo_commit_any().
 */
void world_note(struct kvm_world *w);
/*
 * Commit, demand success and so many slot calls and parks (any number: -1);
 * check everything.
 */
void world_commit(struct kvm_world *w, int calls, int parks);
/* The same where more calls are needed than from the slots that there were. */
void world_commit_unbound(struct kvm_world *w);
/* Slots and map agree, and did at each moment since world_note(). */
void world_check(struct kvm_world *w);
/* The same, as an answer. */
bool world_agrees(struct kvm_world *w, char why[160]);

/* cmocka fixtures: *state is a world, or first a function for world_new(). */
int world_setup(void **state);
int world_teardown(void **state);

#endif
