/* SPDX-License-Identifier: BSD-3-Clause */
#include "kvm/ioeventfd.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/events.h"
#include "kvm/kvm.h"
#include "lib/plane.h"
#include "lib/region.h"

struct mpl_kvm_doorbell {
	struct kvm_ioeventfd call; /* that assigned it */
	struct mpl_kvm_doorbell *next;
};

#define CHAINS_FIRST 64
#define PORTS	     UINT64_C(0x10000)

/* The number that KVM compares: what the guest writes, little-endian. */
static uint64_t datamatch(const struct mpl_flat_ioeventfd *ev)
{
	if (!ev->region->device.big_endian)
		return ev->data;
	/* More than its size can hold: it never rings, swapped or not. */
	if (ev->size < 8 && ev->data >> 8 * ev->size)
		return ev->data;
	return __builtin_bswap64(ev->data) >> (64 - 8 * ev->size);
}

/* As KVM takes it; false: it takes no such ioeventfd. */
static bool call_of(const struct mpl_kvm_mirror *mirror,
		    const struct mpl_flat_ioeventfd *ev,
		    struct kvm_ioeventfd *call)
{
	const struct mpl_kvm_caps *caps = &mirror->kvm->caps;
	bool pio = mirror->which == MPL_KVM_PIO;

	if (mirror->which == MPL_KVM_SMM || !caps->ioeventfd || !ev->whole ||
	    (!ev->size && !caps->ioeventfd_any_length) ||
	    ev->gpa > UINT64_MAX - ev->size || (pio && ev->gpa >= PORTS))
		return false;
	memset(call, 0, sizeof(*call));
	call->addr = ev->gpa;
	call->len = ev->size;
	call->fd = ev->fd;
	if (ev->match) {
		call->datamatch = datamatch(ev);
		call->flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
	}
	if (pio)
		call->flags |= KVM_IOEVENTFD_FLAG_PIO;
	return true;
}

static int tell(const struct mpl_kvm *kvm, const struct kvm_ioeventfd *call,
		uint32_t flags)
{
	struct kvm_ioeventfd told = *call;

	told.flags |= flags;
	return mpl_kvm_ioctl(kvm, kvm->vm_fd, KVM_IOEVENTFD, (uintptr_t)&told);
}

/* Multiplied and mixed as in splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
static size_t hash(const struct kvm_ioeventfd *call)
{
	uint64_t x = call->addr ^ call->datamatch << 17 ^
		     (uint64_t)call->fd << 40 ^ (uint64_t)call->len << 33 ^
		     (uint64_t)call->flags << 36;

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (size_t)(x ^ x >> 31);
}

static bool same(const struct kvm_ioeventfd *a, const struct kvm_ioeventfd *b)
{
	return a->addr == b->addr && a->datamatch == b->datamatch &&
	       a->len == b->len && a->fd == b->fd && a->flags == b->flags;
}

/* Where a doorbell hangs, or would; NULL: there is no table yet. */
static struct mpl_kvm_doorbell **find(struct mpl_kvm_doorbells *table,
				      const struct kvm_ioeventfd *call)
{
	struct mpl_kvm_doorbell **at;

	if (!table->size)
		return NULL;
	at = &table->chains[hash(call) & (table->size - 1)];
	while (*at && !same(&(*at)->call, call))
		at = &(*at)->next;
	return at;
}

/* Without memory the chains get longer, unless there are none at all. */
static int grow(struct mpl_kvm_doorbells *table)
{
	size_t size = table->size ? 2 * table->size : CHAINS_FIRST;
	struct mpl_kvm_doorbell **chains;

	if (table->count < table->size)
		return 0;
	chains = calloc(size, sizeof(*chains));
	if (!chains)
		return table->size ? 0 : -ENOMEM;
	for (size_t i = 0; i < table->size; i++) {
		struct mpl_kvm_doorbell *item = table->chains[i];

		while (item) {
			struct mpl_kvm_doorbell *next = item->next;
			size_t to = hash(&item->call) & (size - 1);

			item->next = chains[to];
			chains[to] = item;
			item = next;
		}
	}
	free(table->chains);
	table->chains = chains;
	table->size = size;
	return 0;
}

static int take_spare(struct mpl_kvm_doorbells *table,
		      struct mpl_kvm_doorbell **out)
{
	int err = grow(table);

	if (err)
		return err;
	*out = table->spare;
	if (*out)
		table->spare = (*out)->next;
	else
		*out = malloc(sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

static void give_spare(struct mpl_kvm_doorbells *table,
		       struct mpl_kvm_doorbell *item)
{
	item->next = table->spare;
	table->spare = item;
}

static int refuse(struct mpl_kvm *kvm, const struct mpl_flat_ioeventfd *ev,
		  int err)
{
	if (!kvm->doorbells.refused++)
		mpl_log(&kvm->plane->data.log, MPL_LOG_WARNING,
			"KVM has no ioeventfd at 0x%llx, %u bytes (error %d): writes there exit and ring by the library; further ones are not logged",
			(unsigned long long)ev->gpa, ev->size, -err);
	return 0;
}

int mpl_kvm_ioeventfd_add(void *opaque, const struct mpl_flat_ioeventfd *ev)
{
	const struct mpl_kvm_mirror *mirror = opaque;
	struct mpl_kvm_doorbells *table = &mirror->kvm->doorbells;
	struct mpl_kvm_doorbell *item, **at;
	struct kvm_ioeventfd call;
	int err;

	if (!call_of(mirror, ev, &call))
		return mirror->which == MPL_KVM_SMM || !ev->whole ?
			       0 :
			       refuse(mirror->kvm, ev, -ENOTSUP);
	err = take_spare(table, &item);
	if (err)
		return err;
	err = tell(mirror->kvm, &call, 0);
	if (err) {
		give_spare(table, item);
		return err == -EEXIST || err == -EINVAL || err == -ENOSPC ?
			       refuse(mirror->kvm, ev, err) :
			       err;
	}
	at = find(table, &call);
	item->call = call;
	item->next = *at;
	*at = item;
	table->count++;
	return 0;
}

int mpl_kvm_ioeventfd_del(void *opaque, const struct mpl_flat_ioeventfd *ev)
{
	const struct mpl_kvm_mirror *mirror = opaque;
	struct mpl_kvm_doorbells *table = &mirror->kvm->doorbells;
	struct mpl_kvm_doorbell *item, **at;
	struct kvm_ioeventfd call;
	int err;

	if (!call_of(mirror, ev, &call))
		return 0;
	at = find(table, &call);
	/* KVM had refused it. */
	if (!at || !*at)
		return 0;
	err = tell(mirror->kvm, &call, KVM_IOEVENTFD_FLAG_DEASSIGN);
	if (err)
		return err;
	item = *at;
	*at = item->next;
	give_spare(table, item);
	table->count--;
	return 0;
}

/* Take one chain's doorbells of one bus back; what fails is logged. */
static void drop_chain(struct mpl_kvm *kvm, struct mpl_kvm_doorbell **at,
		       uint32_t bus)
{
	while (*at) {
		struct mpl_kvm_doorbell *item = *at;
		int err;

		if ((item->call.flags & KVM_IOEVENTFD_FLAG_PIO) != bus) {
			at = &item->next;
			continue;
		}
		err = tell(kvm, &item->call, KVM_IOEVENTFD_FLAG_DEASSIGN);
		if (err)
			mpl_log(&kvm->plane->data.log, MPL_LOG_ERROR,
				"the ioeventfd at 0x%llx stays in KVM: it cannot be taken back (error %d)",
				(unsigned long long)item->call.addr, -err);
		*at = item->next;
		give_spare(&kvm->doorbells, item);
		kvm->doorbells.count--;
	}
}

int mpl_kvm_events_reset(void *opaque)
{
	const struct mpl_kvm_mirror *mirror = opaque;
	struct mpl_kvm_doorbells *table = &mirror->kvm->doorbells;
	bool pio = mirror->which == MPL_KVM_PIO;

	if (mirror->which == MPL_KVM_SMM)
		return 0;
	for (size_t i = 0; i < table->size; i++)
		drop_chain(mirror->kvm, &table->chains[i],
			   pio ? KVM_IOEVENTFD_FLAG_PIO : 0);
	mpl_kvm_zones_reset(mirror->kvm, pio);
	return 0;
}

void mpl_kvm_doorbells_destroy(struct mpl_kvm *kvm)
{
	struct mpl_kvm_doorbells *table = &kvm->doorbells;

	for (size_t i = 0; i < table->size; i++)
		while (table->chains[i]) {
			struct mpl_kvm_doorbell *item = table->chains[i];

			table->chains[i] = item->next;
			give_spare(table, item);
		}
	while (table->spare) {
		struct mpl_kvm_doorbell *item = table->spare;

		table->spare = item->next;
		free(item);
	}
	free(table->chains);
	*table = (struct mpl_kvm_doorbells){ 0 };
}
