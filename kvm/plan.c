/* SPDX-License-Identifier: BSD-3-Clause */
#include "kvm/plan.h"

#include <errno.h>
#include <memplane/space.h>
#include <stdlib.h>

#include "kvm/kvm.h"
#include "lib/base/vector.h"
#include "lib/plane.h"

static int add_to(struct mpl_kvm_slot_list *list, struct mpl_kvm_slot *slot)
{
	if (MPL_RESERVE(list, 1))
		return -ENOMEM;
	list->items[list->count++] = slot;
	return 0;
}

static int doom(void *arg, struct mpl_interval *node)
{
	struct mpl_kvm_slot *slot = mpl_kvm_slot_of(node);
	struct mpl_kvm *kvm = arg;
	int err;

	if (slot->doomed)
		return 0;
	err = add_to(&kvm->plan.dels, slot);
	if (!err && slot->run.log)
		err = mpl_kvm_dirty_reserve(kvm, slot->run.last -
							 slot->run.start + 1);
	if (!err)
		slot->doomed = true;
	return err;
}

struct relog {
	struct mpl_kvm *kvm;
	bool log;
};

static int relog(void *arg, struct mpl_interval *node)
{
	struct mpl_kvm_slot *slot = mpl_kvm_slot_of(node);
	const struct relog *to = arg;
	int err;

	if (slot->relog || slot->run.log == to->log)
		return 0;
	err = add_to(&to->kvm->plan.flags, slot);
	/* To be fetched now, or if this is taken back. */
	if (!err)
		err = mpl_kvm_dirty_reserve(
			to->kvm, slot->run.last - slot->run.start + 1);
	slot->relog = !err;
	slot->new_log = to->log;
	return err;
}

/* Where memory stays, and begins or ends to be logged. */
static int plan_flags(struct mpl_kvm_mirror *mirror)
{
	const struct mpl_kvm_plan *plan = &mirror->kvm->plan;
	size_t at = 0;
	int err = 0;

	for (size_t i = 0; i < plan->after.count && !err; i++) {
		const struct mpl_kvm_run *now = &plan->after.items[i];

		while (at < plan->before.count &&
		       plan->before.items[at].last < now->start)
			at++;
		for (size_t j = at; j < plan->before.count && !err; j++) {
			const struct mpl_kvm_run *old = &plan->before.items[j];

			if (old->start > now->last)
				break;
			if (!mpl_kvm_runs_agree(old, now) ||
			    old->log == now->log)
				continue;
			err = mpl_interval_each(
				&mirror->slots.tree,
				old->start > now->start ? old->start :
							  now->start,
				old->last < now->last ? old->last : now->last,
				relog,
				&(struct relog){ mirror->kvm, now->log });
		}
	}
	return err;
}

/* What is left of a doomed slot comes again. */
static int push_rest(struct mpl_kvm_plan *plan, const struct mpl_kvm_slot *slot)
{
	struct mpl_kvm_run run = slot->run;
	const struct mpl_kvm_runs whole = { .items = &run, .count = 1 };
	struct mpl_kvm_runs gone = plan->gone;
	size_t low = 0, high = gone.count;

	if (slot->relog)
		run.log = slot->new_log;
	while (low < high) {
		size_t mid = (low + high) / 2;

		if (plan->gone.items[mid].last < run.start)
			low = mid + 1;
		else
			high = mid;
	}
	/* Those that lie in it, and perhaps one more. */
	gone.items += low;
	for (gone.count = 0; low + gone.count < plan->gone.count &&
			     gone.items[gone.count].start <= run.last;)
		gone.count++;
	return mpl_kvm_runs_subtract(&whole, &gone, &plan->come);
}

/* A slot that stays, or (without one) memory that gets one. */
struct part {
	struct mpl_kvm_run run; /* first: for mpl_kvm_run_compare() */
	struct mpl_kvm_slot *slot;
};

struct parts {
	struct part *items;
	size_t count;
	size_t capacity;
};

static int push_part(void *arg, struct mpl_interval *node)
{
	struct mpl_kvm_slot *slot = mpl_kvm_slot_of(node);
	struct parts *parts = arg;
	struct part *part;

	if (slot->doomed)
		return 0;
	if (MPL_RESERVE(parts, 1))
		return -ENOMEM;
	part = &parts->items[parts->count++];
	*part = (struct part){ .run = slot->run, .slot = slot };
	if (slot->relog)
		part->run.log = slot->new_log;
	return 0;
}

/* Parts [from, to) show one piece of memory: make as few slots of it as can be.
 */
static int join_parts(struct mpl_kvm *kvm, const struct parts *parts,
		      size_t from, size_t to)
{
	struct mpl_kvm_run whole = parts->items[from].run;
	int err = 0;

	whole.last = parts->items[to - 1].run.last;
	if (mpl_kvm_run_slots(kvm, whole) >= to - from)
		return 0;
	for (size_t i = from; i < to && !err; i++) {
		const struct part *part = &parts->items[i];

		if (!part->slot)
			continue;
		err = doom(kvm, &part->slot->node);
		if (!err)
			err = mpl_kvm_runs_push(&kvm->plan.come, &part->run);
	}
	return err;
}

/* Slots run short: drop the boundaries that nothing needs now. */
static int compact(struct mpl_kvm_mirror *mirror)
{
	struct mpl_kvm *kvm = mirror->kvm;
	struct parts parts = { 0 };
	int err = mpl_interval_each(&mirror->slots.tree, 0, UINT64_MAX,
				    push_part, &parts);

	for (size_t i = 0; i < kvm->plan.come.count && !err; i++) {
		err = MPL_RESERVE(&parts, 1);
		if (!err)
			parts.items[parts.count++] = (struct part){
				.run = kvm->plan.come.items[i],
			};
	}
	if (parts.count > 1)
		qsort(parts.items, parts.count, sizeof(parts.items[0]),
		      mpl_kvm_run_compare);
	for (size_t from = 0, to; from < parts.count && !err; from = to) {
		for (to = from + 1;
		     to < parts.count &&
		     mpl_kvm_run_follows(&parts.items[to - 1].run,
					 &parts.items[to].run);)
			to++;
		err = join_parts(kvm, &parts, from, to);
	}
	free(parts.items);
	mpl_kvm_runs_join(&kvm->plan.come);
	kvm->stats.compactions++;
	return err;
}

static int compare_slots(const void *a, const void *b)
{
	const struct mpl_kvm_slot *const *left = a, *const *right = b;

	return mpl_kvm_run_compare(&(*left)->run, &(*right)->run);
}

/* One mirror's part of the plan: where it begins in each list. */
struct turn {
	struct mpl_kvm_mirror *mirror;
	size_t dels;
	size_t adds;
	size_t flags;
	/* How many ranges more have memory and no slot, or lose huge pages. */
	long unmapped;
	long incongruent;
};

/* Is memory missing for a moment that is there before and after? */
static bool needs_park(const struct mpl_kvm_plan *plan, const struct turn *turn)
{
	size_t at = turn->adds;

	for (size_t i = turn->dels; i < plan->dels.count; i++) {
		const struct mpl_kvm_run *old = &plan->dels.items[i]->run;

		/* What is written until it is gone would be lost. */
		if (old->log)
			return true;
		while (at < plan->adds.count &&
		       plan->adds.items[at]->run.last < old->start)
			at++;
		if (at < plan->adds.count &&
		    plan->adds.items[at]->run.start <= old->last)
			return true;
	}
	return false;
}

static int make_slot(const struct turn *turn, const struct mpl_kvm_run *run)
{
	struct mpl_kvm *kvm = turn->mirror->kvm;
	struct mpl_kvm_plan *plan = &kvm->plan;
	size_t nth = plan->adds.count - turn->adds;
	struct mpl_kvm_slot *slot = calloc(1, sizeof(*slot));
	int err = slot ? add_to(&plan->adds, slot) : -ENOMEM;

	if (err) {
		free(slot);
		return err;
	}
	slot->mirror = turn->mirror;
	slot->run = *run;
	/* The ids of those that go, as far as they do. */
	slot->id = nth < plan->dels.count - turn->dels ?
			   plan->dels.items[turn->dels + nth]->id :
			   mpl_kvm_id_take(&turn->mirror->slots);
	return run->log ?
		       mpl_kvm_dirty_reserve(kvm, run->last - run->start + 1) :
		       0;
}

static int make_slots(const struct turn *turn)
{
	struct mpl_kvm *kvm = turn->mirror->kvm;
	const struct mpl_kvm_runs *come = &kvm->plan.come;
	size_t count = mpl_kvm_runs_slots(kvm, come);
	size_t ids = kvm->plan.dels.count - turn->dels;
	int err = count > ids ? mpl_kvm_ids_reserve(turn->mirror, count - ids) :
				0;

	for (size_t i = 0; i < come->count && !err; i++) {
		struct mpl_kvm_run rest = come->items[i];
		bool more = true;

		while (more && !err) {
			uint64_t last = mpl_kvm_run_first_last(kvm, &rest);
			struct mpl_kvm_run run =
				mpl_kvm_run_cut(&rest, rest.start, last);

			err = make_slot(turn, &run);
			more = last != rest.last;
			if (more)
				rest = mpl_kvm_run_cut(&rest, last + 1,
						       rest.last);
		}
	}
	return err;
}

static int drop_range(struct turn *turn, const struct mpl_kvm_run *run)
{
	turn->incongruent -= mpl_kvm_run_loses_huge_pages(run);
	return mpl_kvm_runs_push(&turn->mirror->kvm->plan.before, run);
}

static int note_range(struct turn *turn, const struct mpl_kvm_run *run)
{
	turn->incongruent += mpl_kvm_run_loses_huge_pages(run);
	return mpl_kvm_runs_push(&turn->mirror->kvm->plan.after, run);
}

static int collect(void *arg, const struct mpl_flat_range *before,
		   const struct mpl_flat_range *after)
{
	struct turn *turn = arg;
	struct mpl_kvm_run run;
	int err = 0;

	if (before && mpl_kvm_run_of(turn->mirror, before, &run))
		err = drop_range(turn, &run);
	else if (before && mpl_kvm_can_be_slot(before))
		turn->unmapped--;
	if (!err && after && mpl_kvm_run_of(turn->mirror, after, &run))
		err = note_range(turn, &run);
	else if (!err && after && mpl_kvm_can_be_slot(after))
		turn->unmapped++;
	return err;
}

/* From the slots that there are, with as few calls as can be. */
static int plan_differences(const struct turn *turn)
{
	struct mpl_kvm *kvm = turn->mirror->kvm;
	struct mpl_kvm_plan *plan = &kvm->plan;
	int err =
		mpl_kvm_runs_subtract(&plan->before, &plan->after, &plan->gone);

	if (!err)
		err = plan_flags(turn->mirror);
	for (size_t i = 0; i < plan->gone.count && !err; i++)
		err = mpl_interval_each(&turn->mirror->slots.tree,
					plan->gone.items[i].start,
					plan->gone.items[i].last, doom, kvm);
	if (!err)
		err = mpl_kvm_runs_subtract(&plan->after, &plan->before,
					    &plan->come);
	for (size_t i = turn->dels; i < plan->dels.count && !err; i++)
		err = push_rest(plan, plan->dels.items[i]);
	return err;
}

/* Nothing is relied on: all slots go, and all memory comes. */
static int plan_rebuild(const struct turn *turn)
{
	struct mpl_kvm *kvm = turn->mirror->kvm;
	int err = mpl_interval_each(&turn->mirror->slots.tree, 0, UINT64_MAX,
				    doom, kvm);

	for (size_t i = 0; i < kvm->plan.after.count && !err; i++)
		err = mpl_kvm_runs_push(&kvm->plan.come,
					&kvm->plan.after.items[i]);
	return err;
}

static bool fits(const struct turn *turn, size_t *slots)
{
	const struct mpl_kvm *kvm = turn->mirror->kvm;

	*slots = turn->mirror->slots.count -
		 (kvm->plan.dels.count - turn->dels) +
		 mpl_kvm_runs_slots(kvm, &kvm->plan.come);
	return *slots <= kvm->config.slots_max;
}

static int make_room(const struct turn *turn)
{
	struct mpl_kvm *kvm = turn->mirror->kvm;
	size_t slots;
	int err;

	if (fits(turn, &slots))
		return 0;
	err = compact(turn->mirror);
	if (err || fits(turn, &slots))
		return err;
	mpl_log(&kvm->plane->data.log, MPL_LOG_ERROR,
		"kvm: address space \"%s\" would need %zu memory slots, and "
		"there are %u: show guests fewer pieces of memory, or raise "
		"mpl_kvm_config.slots_max if it is less than the VM's limit",
		mpl_address_space_name(turn->mirror->as), slots,
		kvm->config.slots_max);
	return -ENOSPC;
}

/* Slots that go anyway need not be flagged. */
static void drop_flags(const struct turn *turn)
{
	struct mpl_kvm_slot_list *flags = &turn->mirror->kvm->plan.flags;
	size_t kept = turn->flags;

	for (size_t i = turn->flags; i < flags->count; i++)
		if (!flags->items[i]->doomed)
			flags->items[kept++] = flags->items[i];
	flags->count = kept;
}

/* Take this mirror's part out again. */
static void forget(const struct turn *turn)
{
	struct mpl_kvm_plan *plan = &turn->mirror->kvm->plan;

	while (plan->adds.count > turn->adds) {
		struct mpl_kvm_slot *slot =
			plan->adds.items[--plan->adds.count];

		mpl_kvm_id_give(&turn->mirror->slots, slot->id);
		mpl_kvm_slot_free(slot);
	}
	while (plan->dels.count > turn->dels) {
		struct mpl_kvm_slot *slot =
			plan->dels.items[--plan->dels.count];

		slot->doomed = slot->relog = false;
	}
	while (plan->flags.count > turn->flags)
		plan->flags.items[--plan->flags.count]->relog = false;
}

int mpl_kvm_plan_add(struct mpl_kvm_mirror *mirror,
		     const struct mpl_listener_plan *changes)
{
	struct mpl_kvm_plan *plan = &mirror->kvm->plan;
	struct mpl_kvm_slots *slots = &mirror->slots;
	struct turn turn = {
		.mirror = mirror,
		.dels = plan->dels.count,
		.adds = plan->adds.count,
		.flags = plan->flags.count,
	};
	int err;

	plan->before.count = plan->after.count = 0;
	plan->gone.count = plan->come.count = 0;
	err = mpl_listener_plan_each(changes, collect, &turn);
	if (!err)
		err = slots->rebuild ? plan_rebuild(&turn) :
				       plan_differences(&turn);
	mpl_kvm_runs_join(&plan->come);
	if (!err)
		err = make_room(&turn);
	drop_flags(&turn);
	if (plan->dels.count - turn.dels > 1)
		qsort(plan->dels.items + turn.dels,
		      plan->dels.count - turn.dels, sizeof(plan->dels.items[0]),
		      compare_slots);
	if (!err)
		err = make_slots(&turn);
	if (err) {
		forget(&turn);
		return err;
	}
	plan->park |= needs_park(plan, &turn);
	slots->unmapped_more =
		turn.unmapped - (slots->rebuild ? (long)slots->unmapped : 0);
	slots->incongruent_more =
		turn.incongruent -
		(slots->rebuild ? (long)slots->incongruent : 0);
	return 0;
}

static void settle_slot(struct mpl_kvm_slot *slot)
{
	slot->doomed = slot->relog = false;
	if (slot->live)
		return;
	mpl_kvm_id_give(&slot->mirror->slots, slot->id);
	mpl_kvm_slot_free(slot);
}

void mpl_kvm_plan_settle(struct mpl_kvm *kvm)
{
	struct mpl_kvm_plan *plan = &kvm->plan;

	for (size_t i = 0; i < plan->flags.count; i++)
		plan->flags.items[i]->relog = false;
	for (size_t i = 0; i < plan->adds.count; i++)
		settle_slot(plan->adds.items[i]);
	for (size_t i = 0; i < plan->dels.count; i++)
		settle_slot(plan->dels.items[i]);
	plan->dels.count = plan->adds.count = plan->flags.count = 0;
	plan->park = plan->taken = plan->put = false;
	plan->takes = plan->puts = plan->begun = 0;
	for (int i = 0; i < MPL_KVM_MIRRORS; i++) {
		kvm->mirrors[i].slots.unmapped_more = 0;
		kvm->mirrors[i].slots.incongruent_more = 0;
	}
}

void mpl_kvm_plan_destroy(struct mpl_kvm *kvm)
{
	struct mpl_kvm_plan *plan = &kvm->plan;

	mpl_kvm_plan_settle(kvm);
	free(plan->dels.items);
	free(plan->adds.items);
	free(plan->flags.items);
	free(plan->before.items);
	free(plan->after.items);
	free(plan->gone.items);
	free(plan->come.items);
}
