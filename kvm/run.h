/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs: memory as slots see it, and the arithmetic of lists of it.  Lists are
 * ascending and disjoint, but for what mpl_kvm_runs_join() gets.
 */
#ifndef MEMPLANE_KVM_RUN_H
#define MEMPLANE_KVM_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mpl_flat_range;
struct mpl_kvm;
struct mpl_kvm_mirror;
struct mpl_region;

/* Memory, page by page at the same distance from its guest address. */
struct mpl_kvm_run {
	uint64_t start; /* of a page */
	uint64_t last;  /* of a page's; never 2^64 - 1 */
	struct mpl_region *region;
	uint64_t offset; /* in the region, of `start` */
	uintptr_t host;  /* of `start` */
	bool readonly;
	bool log; /* its writes are logged by somebody */
};

struct mpl_kvm_runs {
	struct mpl_kvm_run *items;
	size_t count;
	size_t capacity;
};

/* Memory that guests may reach without an exit? */
bool mpl_kvm_can_be_slot(const struct mpl_flat_range *flat);
/* The whole pages of a range that can be a slot's.  False: there are none. */
bool mpl_kvm_run_of(const struct mpl_kvm_mirror *mirror,
		    const struct mpl_flat_range *flat, struct mpl_kvm_run *out);

/* The same memory at the same addresses, but for the log? */
bool mpl_kvm_runs_agree(const struct mpl_kvm_run *a,
			const struct mpl_kvm_run *b);
/* Could both be one slot, `high` behind `low`? */
bool mpl_kvm_run_follows(const struct mpl_kvm_run *low,
			 const struct mpl_kvm_run *high);
/* By address, for qsort(). */
int mpl_kvm_run_compare(const void *a, const void *b);
/* The part [start, last]. */
struct mpl_kvm_run mpl_kvm_run_cut(const struct mpl_kvm_run *run,
				   uint64_t start, uint64_t last);
/* KVM maps huge pages only where both addresses are at the same place in one.
 */
bool mpl_kvm_run_loses_huge_pages(const struct mpl_kvm_run *run);

/*
 * The end of the first slot of a run: all of it, or as much as a slot may
 * have, at the end of a huge page.
 */
uint64_t mpl_kvm_run_first_last(const struct mpl_kvm *kvm,
				const struct mpl_kvm_run *run);
/* How many slots runs need. */
size_t mpl_kvm_run_slots(const struct mpl_kvm *kvm, struct mpl_kvm_run run);
size_t mpl_kvm_runs_slots(const struct mpl_kvm *kvm,
			  const struct mpl_kvm_runs *runs);

/* Errors of both: -ENOMEM. */
int mpl_kvm_runs_push(struct mpl_kvm_runs *runs, const struct mpl_kvm_run *run);
/* Append what `from` has that `other` has not as the same memory. */
int mpl_kvm_runs_subtract(const struct mpl_kvm_runs *from,
			  const struct mpl_kvm_runs *other,
			  struct mpl_kvm_runs *out);
/* Sort, and make one of those that follow each other. */
void mpl_kvm_runs_join(struct mpl_kvm_runs *runs);

#endif
