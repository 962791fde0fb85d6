/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The listener: one for each address space that is attached.  They share the
 * plan of their VM, and tell it how far the commit is.
 */
#include "kvm/events.h"
#include "kvm/kvm.h"
#include "lib/listener.h"

static bool has_slots(const struct mpl_kvm_mirror *mirror)
{
	return mirror->which != MPL_KVM_PIO;
}

static int begin(void *opaque)
{
	struct mpl_kvm_mirror *mirror = opaque;
	struct mpl_kvm_plan *plan = &mirror->kvm->plan;

	/* The last commit's is kept until now: another listener may have
	 * unwound it after our own `commit`. */
	if (plan->closed)
		mpl_kvm_plan_settle(mirror->kvm);
	plan->closed = false;
	plan->begun++;
	mirror->kvm->dirty.ring_synced = false;
	return 0;
}

static int prepare(void *opaque, const struct mpl_listener_plan *changes)
{
	struct mpl_kvm_mirror *mirror = opaque;

	return has_slots(mirror) ? mpl_kvm_plan_add(mirror, changes) : 0;
}

static void count_ranges(struct mpl_kvm *kvm, long sign)
{
	for (int i = 0; i < MPL_KVM_MIRRORS; i++) {
		struct mpl_kvm_slots *slots = &kvm->mirrors[i].slots;

		slots->unmapped += (size_t)(sign * slots->unmapped_more);
		slots->incongruent += (size_t)(sign * slots->incongruent_more);
	}
}

static void undo_put(struct mpl_kvm *kvm)
{
	if (!kvm->plan.put)
		return;
	kvm->plan.put = false;
	count_ranges(kvm, -1);
	mpl_kvm_slots_unput(kvm);
}

/* A mirror that was degraded meanwhile is not asked to undo its `put`. */
static void undo_take(struct mpl_kvm *kvm)
{
	undo_put(kvm);
	if (!kvm->plan.taken)
		return;
	kvm->plan.taken = false;
	mpl_kvm_slots_untake(kvm);
}

/* The last of the mirrors takes for all of them, and the first one puts. */
static int take(void *opaque, bool undo)
{
	struct mpl_kvm_mirror *mirror = opaque;
	struct mpl_kvm_plan *plan = &mirror->kvm->plan;
	int err = 0;

	if (undo) {
		undo_take(mirror->kvm);
		plan->takes--;
		return 0;
	}
	if (plan->takes + 1 == plan->begun)
		err = mpl_kvm_slots_take(mirror->kvm);
	if (err)
		return err;
	plan->taken = ++plan->takes == plan->begun;
	return 0;
}

static int put(void *opaque, bool undo)
{
	struct mpl_kvm_mirror *mirror = opaque;
	struct mpl_kvm_plan *plan = &mirror->kvm->plan;
	int err = 0;

	if (undo) {
		if (!--plan->puts)
			undo_put(mirror->kvm);
		return 0;
	}
	if (!plan->put)
		err = mpl_kvm_slots_put(mirror->kvm);
	if (err)
		return err;
	if (!plan->put)
		count_ranges(mirror->kvm, 1);
	plan->put = true;
	plan->puts++;
	return 0;
}

static int commit(void *opaque)
{
	struct mpl_kvm_mirror *mirror = opaque;

	mirror->kvm->plan.closed = true;
	mirror->slots.rebuild = false;
	return 0;
}

/* The map may go on without it. */
static void set_aside(struct mpl_kvm_mirror *mirror)
{
	mirror->slots.broken = 0;
	mpl_kvm_slots_hold(mirror);
}

/* The last of us to be told undoes what degraded ones were not asked to. */
static void finish_undo(struct mpl_kvm *kvm)
{
	undo_take(kvm);
	mpl_kvm_plan_settle(kvm);
	kvm->plan.closed = true;
}

static int abort_commit(void *opaque)
{
	struct mpl_kvm_mirror *mirror = opaque;
	struct mpl_kvm *kvm = mirror->kvm;
	int err;

	if (!--kvm->plan.begun)
		finish_undo(kvm);
	err = mirror->slots.broken;
	if (err || (mirror->listener && mirror->listener->degraded))
		set_aside(mirror);
	/* Others that broke only now have had their turn. */
	for (int i = 0; i < MPL_KVM_MIRRORS && !kvm->plan.begun; i++) {
		struct mpl_kvm_mirror *other = &kvm->mirrors[i];

		if (other->slots.broken && other->listener) {
			other->listener->degraded = true;
			set_aside(other);
		}
	}
	return err;
}

static int reset(void *opaque)
{
	struct mpl_kvm_mirror *mirror = opaque;

	mirror->slots.rebuild = true;
	/* If it fails, the map goes on without this mirror. */
	mpl_kvm_slots_hold(mirror);
	return mpl_kvm_events_reset(mirror);
}

/*
 * Lowest priority: last to let go of memory before the new map is published,
 * first to take it up after.  So vCPUs are parked for the shortest time.
 */
const struct mpl_listener_ops mpl_kvm_mirror_ops = {
	.name = "kvm",
	.priority = INT32_MIN,
	.ioeventfd_add = mpl_kvm_ioeventfd_add,
	.ioeventfd_del = mpl_kvm_ioeventfd_del,
	.coalesced_add = mpl_kvm_coalesced_add,
	.coalesced_del = mpl_kvm_coalesced_del,
	.begin = begin,
	.prepare = prepare,
	.take = take,
	.put = put,
	.commit = commit,
	.abort = abort_commit,
	.reset = reset,
	.log_sync = mpl_kvm_dirty_sync,
};
