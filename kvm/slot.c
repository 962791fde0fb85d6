/* SPDX-License-Identifier: BSD-3-Clause */
#include "kvm/slot.h"

#include <errno.h>
#include <linux/kvm.h>
#include <memplane/dirty.h>
#include <memplane/region.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/kvm.h"
#include "lib/plane.h"

/* <linux/kvm.h> of older kernels does not have it. */
struct region2 {
	uint32_t slot;
	uint32_t flags;
	uint64_t guest_phys_addr;
	uint64_t memory_size;
	uint64_t userspace_addr;
	uint64_t guest_memfd_offset;
	uint32_t guest_memfd;
	uint32_t pad1;
	uint64_t pad2[14];
};
#define SET_REGION2 _IOW(KVMIO, 0x49, struct region2)

static uint32_t kvm_id(const struct mpl_kvm_slot *slot)
{
	/* An address space's number is that of KVM's. */
	return slot->mirror->which << 16 | slot->id;
}

/* `bytes` 0: delete. */
static int set_region(const struct mpl_kvm_slot *slot, uint64_t bytes, bool log)
{
	const struct mpl_kvm *kvm = slot->mirror->kvm;
	const struct mpl_kvm_run *run = &slot->run;
	struct region2 region = {
		.slot = kvm_id(slot),
		.flags = (log ? KVM_MEM_LOG_DIRTY_PAGES : 0) |
			 (run->readonly ? KVM_MEM_READONLY : 0),
		.guest_phys_addr = run->start,
		.memory_size = bytes,
		.userspace_addr = run->host,
	};

	if (!bytes)
		region.flags = 0;
	/* The newer structure begins as the older one. */
	return mpl_kvm_ioctl(kvm, kvm->vm_fd,
			     kvm->caps.region2 ? SET_REGION2 :
						 KVM_SET_USER_MEMORY_REGION,
			     (uintptr_t)&region);
}

static uint64_t bytes_of(const struct mpl_kvm_slot *slot)
{
	return slot->run.last - slot->run.start + 1;
}

static void enter(struct mpl_kvm_slot *slot)
{
	struct mpl_kvm_slots *slots = &slot->mirror->slots;

	slot->live = true;
	slot->node.start = slot->run.start;
	slot->node.last = slot->run.last;
	mpl_interval_insert(&slots->tree, &slot->node);
	slots->by_id[slot->id] = slot;
	slots->count++;
}

static void leave(struct mpl_kvm_slot *slot)
{
	struct mpl_kvm_slots *slots = &slot->mirror->slots;

	slot->live = false;
	mpl_interval_remove(&slots->tree, &slot->node);
	slots->by_id[slot->id] = NULL;
	slots->count--;
}

static int add(struct mpl_kvm_slot *slot)
{
	struct mpl_kvm *kvm = slot->mirror->kvm;
	int err = set_region(slot, bytes_of(slot), slot->run.log);

	if (err)
		return err;
	pthread_mutex_lock(&kvm->dirty.mutex);
	enter(slot);
	pthread_mutex_unlock(&kvm->dirty.mutex);
	kvm->stats.slots_added++;
	return 0;
}

/* What its log has is fetched first; vCPUs are parked if it has one. */
static int delete (struct mpl_kvm_slot *slot)
{
	struct mpl_kvm *kvm = slot->mirror->kvm;
	int err = slot->run.log ? mpl_kvm_dirty_fetch(kvm, slot, false) : 0;

	if (!err)
		err = set_region(slot, 0, false);
	if (err)
		return err;
	pthread_mutex_lock(&kvm->dirty.mutex);
	leave(slot);
	pthread_mutex_unlock(&kvm->dirty.mutex);
	kvm->stats.slots_deleted++;
	return 0;
}

static int flag(struct mpl_kvm_slot *slot, bool log)
{
	struct mpl_kvm *kvm = slot->mirror->kvm;
	int err = 0;

	if (!log)
		err = mpl_kvm_dirty_fetch(kvm, slot, false);
	if (!err)
		err = set_region(slot, bytes_of(slot), log);
	if (err)
		return err;
	slot->run.log = log;
	kvm->stats.slots_flagged++;
	return 0;
}

static void broken(struct mpl_kvm_slot *slot, int err)
{
	if (!slot->mirror->slots.broken)
		slot->mirror->slots.broken = err;
}

static void add_back(struct mpl_kvm_slot *slot)
{
	int err = add(slot);

	if (err)
		broken(slot, err);
}

static void delete_again(struct mpl_kvm_slot *slot)
{
	int err = delete (slot);

	if (err)
		broken(slot, err);
}

static void flag_back(struct mpl_kvm_slot *slot)
{
	int err = flag(slot, !slot->new_log);

	if (err)
		broken(slot, err);
	/* What was written while it did not log, nobody knows. */
	else if (slot->run.log)
		(void)mpl_dirty_mark(slot->run.region, slot->run.offset,
				     bytes_of(slot));
}

static int park(struct mpl_kvm *kvm)
{
	int err = mpl_kvm_park(kvm);

	if (!err)
		kvm->plan.parked = true;
	return err;
}

static void unpark(struct mpl_kvm *kvm)
{
	if (kvm->plan.parked)
		mpl_kvm_unpark(kvm);
	kvm->plan.parked = false;
}

int mpl_kvm_slots_take(struct mpl_kvm *kvm)
{
	const struct mpl_kvm_slot_list *dels = &kvm->plan.dels;
	int err = kvm->plan.park ? park(kvm) : 0;
	size_t done = 0;

	if (err)
		return err;
	while (done < dels->count && !err) {
		err = delete (dels->items[done]);
		done += !err;
	}
	if (!err)
		return 0;
	while (done > 0)
		add_back(dels->items[--done]);
	unpark(kvm);
	return err;
}

void mpl_kvm_slots_untake(struct mpl_kvm *kvm)
{
	const struct mpl_kvm_slot_list *dels = &kvm->plan.dels;

	for (size_t i = dels->count; i-- > 0;)
		add_back(dels->items[i]);
	unpark(kvm);
}

/* Does taking back need the vCPUs to stand still? */
static bool must_park(const struct mpl_kvm_plan *plan, size_t adds)
{
	bool needed = plan->park;

	for (size_t i = 0; i < adds && !needed; i++)
		needed = plan->adds.items[i]->run.log;
	return needed && !plan->parked;
}

static void take_back_puts(struct mpl_kvm *kvm, size_t flags, size_t adds)
{
	int err = must_park(&kvm->plan, adds) ? park(kvm) : 0;

	/* It goes on nevertheless: a guest that sees a hole for a moment is
	 * better off than one that keeps memory which the map has not. */
	for (size_t i = 0; err && i < adds; i++)
		broken(kvm->plan.adds.items[i], err);
	while (adds > 0)
		delete_again(kvm->plan.adds.items[--adds]);
	while (flags > 0)
		flag_back(kvm->plan.flags.items[--flags]);
}

int mpl_kvm_slots_put(struct mpl_kvm *kvm)
{
	const struct mpl_kvm_slot_list *flags = &kvm->plan.flags;
	const struct mpl_kvm_slot_list *adds = &kvm->plan.adds;
	size_t flagged = 0, added = 0;
	int err = 0;

	while (flagged < flags->count && !err) {
		struct mpl_kvm_slot *slot = flags->items[flagged];

		err = flag(slot, slot->new_log);
		flagged += !err;
	}
	while (added < adds->count && !err) {
		err = add(adds->items[added]);
		added += !err;
	}
	if (err)
		take_back_puts(kvm, flagged, added);
	else
		unpark(kvm);
	return err;
}

void mpl_kvm_slots_unput(struct mpl_kvm *kvm)
{
	take_back_puts(kvm, kvm->plan.flags.count, kvm->plan.adds.count);
}

static int hold(void *arg, struct mpl_interval *node)
{
	struct mpl_kvm_slot *slot = mpl_kvm_slot_of(node);

	(void)arg;
	if (!slot->held)
		mpl_region_ref(slot->run.region);
	slot->held = true;
	return 0;
}

void mpl_kvm_slots_hold(struct mpl_kvm_mirror *mirror)
{
	(void)mpl_interval_each(&mirror->slots.tree, 0, UINT64_MAX, hold, NULL);
}

void mpl_kvm_slot_free(struct mpl_kvm_slot *slot)
{
	if (slot->held)
		mpl_region_unref(slot->run.region);
	free(slot);
}

int mpl_kvm_slots_sweep(struct mpl_kvm_mirror *mirror)
{
	struct mpl_kvm_slots *slots = &mirror->slots;
	struct mpl_interval *node;
	int err = 0;

	pthread_mutex_lock(&mirror->kvm->dirty.mutex);
	while ((node = mpl_interval_first(&slots->tree, 0, UINT64_MAX))) {
		struct mpl_kvm_slot *slot = mpl_kvm_slot_of(node);
		int failure = set_region(slot, 0, false);

		if (failure)
			err = failure;
		leave(slot);
		mpl_kvm_slot_free(slot);
	}
	free(slots->by_id);
	free(slots->free);
	free(slots->used);
	*slots = (struct mpl_kvm_slots){ 0 };
	pthread_mutex_unlock(&mirror->kvm->dirty.mutex);
	return err;
}

static int grow(void **items, size_t size, uint32_t from, uint32_t to)
{
	char *grown = realloc(*items, size * to);

	if (!grown)
		return -ENOMEM;
	memset(grown + size * from, 0, size * (to - from));
	*items = grown;
	return 0;
}

static int grow_ids(struct mpl_kvm_mirror *mirror, uint32_t to)
{
	struct mpl_kvm_slots *slots = &mirror->slots;
	int err;

	/* Who reaps a dirty ring looks slots up meanwhile. */
	pthread_mutex_lock(&mirror->kvm->dirty.mutex);
	err = grow((void **)&slots->by_id, sizeof(*slots->by_id), slots->ids,
		   to);
	if (!err)
		err = grow((void **)&slots->free, sizeof(*slots->free),
			   slots->ids, to);
	if (!err)
		err = grow((void **)&slots->used, sizeof(*slots->used),
			   slots->ids, to);
	if (!err)
		slots->ids = to;
	pthread_mutex_unlock(&mirror->kvm->dirty.mutex);
	return err;
}

int mpl_kvm_ids_reserve(struct mpl_kvm_mirror *mirror, size_t more)
{
	const struct mpl_kvm *kvm = mirror->kvm;
	struct mpl_kvm_slots *slots = &mirror->slots;
	uint32_t max = kvm->config.slots_max;
	uint64_t wanted;

	if (more <= slots->n_free)
		return 0;
	wanted = slots->fresh + (more - slots->n_free);
	if (wanted > max)
		return -ENOSPC;
	if (wanted <= slots->ids)
		return 0;
	if (wanted < 2 * (uint64_t)slots->ids + 16)
		wanted = 2 * (uint64_t)slots->ids + 16;
	if (wanted > max)
		wanted = max;
	return grow_ids(mirror, (uint32_t)wanted);
}

uint32_t mpl_kvm_id_take(struct mpl_kvm_slots *slots)
{
	uint32_t id =
		slots->n_free ? slots->free[--slots->n_free] : slots->fresh++;

	slots->used[id] = true;
	return id;
}

void mpl_kvm_id_give(struct mpl_kvm_slots *slots, uint32_t id)
{
	/* Two slots of a commit may have had it, one after the other. */
	if (slots->by_id[id] || !slots->used[id])
		return;
	slots->used[id] = false;
	slots->free[slots->n_free++] = id;
}
