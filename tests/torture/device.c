/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices in slots.  A slot is changed by whoever makes it BUSY: a mutator, or
 * the device itself from inside its callback.
 */
#include "tests/torture/torture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALIVE  UINT64_C(0x600dc0de600dc0de)
#define POISON 0xdb

enum { PAGE = 0x1000, PAGES = 16, GRAVES = 2048 };

struct device {
	uint64_t magic;
	struct world *world;
	struct slot *slot;
	struct mpl_region *region;
	int inside;
	uint64_t removed_at; /* when its removal was live; 0: is not */
};

/* Released devices: poisoned, and kept for a while to be found out. */
static struct device *graves[GRAVES];
static unsigned int grave;

static void bury(struct device *device)
{
	unsigned int i = __atomic_fetch_add(&grave, 1, __ATOMIC_RELAXED);

	memset(device, POISON, sizeof(*device));
	free(__atomic_exchange_n(&graves[i % GRAVES], device,
				 __ATOMIC_ACQ_REL));
}

static void device_release(void *opaque)
{
	struct device *device = opaque;
	struct world *world = device->world;

	if (device->magic != ALIVE)
		fail("a device was released twice");
	if (__atomic_load_n(&device->inside, __ATOMIC_SEQ_CST))
		fail("a device was released during an access");
	if (!__atomic_load_n(&device->removed_at, __ATOMIC_SEQ_CST) &&
	    !__atomic_load_n(&world->stop, __ATOMIC_SEQ_CST))
		fail("a device was released before it was removed");
	bury(device);
	ADD(world, released, 1);
}

static void enter(struct device *device)
{
	uint64_t removed_at;

	if (__atomic_load_n(&device->magic, __ATOMIC_RELAXED) != ALIVE)
		fail("an access reached a device that is released");
	removed_at = __atomic_load_n(&device->removed_at, __ATOMIC_SEQ_CST);
	if (removed_at && removed_at < self.access_start)
		fail("an access that began %llu ns after a removal was live reached the device",
		     (unsigned long long)(self.access_start - removed_at));
	__atomic_add_fetch(&device->inside, 1, __ATOMIC_SEQ_CST);
	ADD(device->world, callbacks, 1);
}

static void leave(struct device *device)
{
	if (__atomic_load_n(&device->magic, __ATOMIC_RELAXED) != ALIVE)
		fail("a device was released under its callback");
	__atomic_sub_fetch(&device->inside, 1, __ATOMIC_SEQ_CST);
}

static bool take_slot(struct slot *slot, int state)
{
	return __atomic_compare_exchange_n(&slot->state, &state, BUSY, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void give_slot(struct slot *slot, int state)
{
	__atomic_store_n(&slot->state, state, __ATOMIC_RELEASE);
}

static uint64_t some_place(const struct slot *slot)
{
	return slot->base + random_below(PAGES) * PAGE;
}

static void place_is(struct slot *slot, uint64_t at)
{
	__atomic_store_n(&slot->at, at, __ATOMIC_RELAXED);
}

/* The commit that removed it is live. */
static void is_removed(struct slot *slot)
{
	struct device *device = slot->device;

	__atomic_store_n(&device->removed_at, now_ns(), __ATOMIC_SEQ_CST);
	slot->device = NULL;
	mpl_region_unref(device->region);
	give_slot(slot, EMPTY);
}

static void move_in_slot(struct world *world, struct slot *slot)
{
	struct mpl_txn *tx = mpl_begin(world->plane);
	uint64_t at = some_place(slot);

	mpl_region_move(tx, slot->device->region, at);
	if (world_outcome(world, mpl_commit(tx), "moving a device"))
		place_is(slot, at);
	give_slot(slot, ATTACHED);
}

static int remove_from_slot(struct world *world, struct slot *slot)
{
	struct mpl_txn *tx = mpl_begin(world->plane);
	int err;

	mpl_region_remove(tx, slot->device->region);
	err = mpl_commit(tx);
	if (err == -EAGAIN)
		fail("a removal was refused for lack of memory");
	world_outcome(world, err, "removing a device");
	return err;
}

/* Is this device still the one in its slot?  Then the slot is ours. */
static bool take_own_slot(struct device *device)
{
	struct slot *slot = device->slot;

	if (!take_slot(slot, ATTACHED))
		return false;
	if (slot->device == device)
		return true;
	give_slot(slot, ATTACHED);
	return false;
}

static void move_self(struct device *device)
{
	if (!take_own_slot(device))
		return;
	move_in_slot(device->world, device->slot);
	ADD(device->world, self_moves, 1);
}

static void remove_self(struct device *device)
{
	struct slot *slot = device->slot;

	if (!take_own_slot(device))
		return;
	if (remove_from_slot(device->world, slot)) {
		give_slot(slot, ATTACHED);
		return;
	}
	is_removed(slot);
	ADD(device->world, self_removals, 1);
}

struct request {
	struct world *world;
	struct slot *slot;
	struct device *device;
	uint64_t at;
	int dones;
};

static struct request *request_new(struct world *world, struct slot *slot)
{
	struct request *request = calloc(1, sizeof(*request));

	if (!request)
		fail("no memory for a request");
	request->world = world;
	request->slot = slot;
	ADD(world, asyncs, 1);
	return request;
}

/* Exactly one `done` per request: the end compares their numbers. */
static void request_done(struct request *request)
{
	if (request->dones++)
		fail("a `done` callback was called twice");
	ADD(request->world, dones, 1);
	free(request);
}

static void submit(struct request *request, struct mpl_txn *tx,
		   void (*done)(void *arg, int err))
{
	int err = mpl_commit_async(tx, done, request);

	if (err == -EAGAIN) { /* the queue is full: no `done` */
		request->at = 0;
		done(request, err);
	} else if (err) {
		fail("mpl_commit_async: error %d", -err);
	}
}

static void reprioritise_done(void *arg, int err)
{
	struct request *request = arg;

	world_outcome(request->world, err, "a device's own async");
	request_done(request);
}

/* The transaction keeps the region alive, whatever happens meanwhile. */
static void async_from_callback(struct device *device)
{
	struct mpl_txn *tx = mpl_begin(device->world->plane);

	mpl_region_set_priority(tx, device->region, (int)random_below(5));
	submit(request_new(device->world, NULL), tx, reprioritise_done);
}

/* Block as a callback should: nothing else is held back meanwhile. */
static void suspend(struct device *device, bool commit)
{
	struct world *world = device->world;
	struct mpl_reader *reader = mpl_access_reader(world->plane);

	if (!reader || (self.reader && reader != self.reader))
		fail("mpl_access_reader");
	if (mpl_access_suspend(reader))
		fail("mpl_access_suspend");
	nap_us((unsigned int)random_below(300));
	if (commit)
		world_outcome(world, mpl_commit(mpl_begin(world->plane)),
			      "a commit in a suspended callback");
	if (mpl_access_resume(reader))
		fail("mpl_access_resume");
	ADD(world, suspends, 1);
}

/* An access of a callback's own: to another device, or to itself. */
static void pass_on(struct device *device, struct mpl_attrs attrs, bool plane)
{
	struct world *world = device->world;

	if (attrs.vcpu < 3)
		device_poke_as(world, world->space[random_below(2)],
			       plane || !self.reader);
}

static mpl_result_t device_write(void *opaque, uint64_t offset,
				 unsigned int size, struct mpl_attrs attrs,
				 uint64_t value)
{
	struct device *device = opaque;

	(void)offset, (void)size, (void)attrs;
	enter(device);
	switch (value % 64) {
	case 0:
	case 1:
		move_self(device);
		break;
	case 2:
		remove_self(device);
		break;
	case 3:
		async_from_callback(device);
		break;
	case 4:
	case 5:
		suspend(device, value & 64);
		break;
	case 6:
		pass_on(device, attrs, value & 64);
		break;
	default:
		break;
	}
	leave(device);
	return MPL_OK;
}

static mpl_result_t device_read(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t *value)
{
	struct device *device = opaque;

	(void)size, (void)attrs;
	enter(device);
	*value = offset;
	leave(device);
	return MPL_OK;
}

static const struct mpl_io_ops device_ops[] = {
	{ .read = device_read,
	  .write = device_write,
	  .concurrency = MPL_LOCK_FREE },
	{ .read = device_read,
	  .write = device_write,
	  .concurrency = MPL_SERIALISED },
	{ .read = device_read,
	  .write = device_write,
	  .concurrency = MPL_SERIALISED,
	  .reentrant = true },
};

void device_slots_init(struct world *world)
{
	for (uint64_t i = 0; i < SLOTS; i++)
		world->slots[i] = (struct slot){
			.state = EMPTY,
			.base = (UINT64_C(32) << 32) + i * PAGES * PAGE,
			.at = (UINT64_C(32) << 32) + i * PAGES * PAGE,
		};
}

static struct device *device_new(struct world *world, struct slot *slot)
{
	struct device *device = calloc(1, sizeof(*device));

	if (!device)
		fail("no memory for a device");
	device->magic = ALIVE;
	device->world = world;
	device->slot = slot;
	if (mpl_region_new_io(world->plane, "device", PAGE,
			      &device_ops[random_below(3)], device,
			      &device->region))
		fail("mpl_region_new_io");
	mpl_region_on_release(device->region, device_release, device);
	ADD(world, made, 1);
	return device;
}

/* It never was attached, or the attempt was undone. */
static void give_up(struct device *device)
{
	__atomic_store_n(&device->removed_at, now_ns(), __ATOMIC_SEQ_CST);
	mpl_region_unref(device->region);
}

static void add_done(void *arg, int err)
{
	struct request *request = arg;
	struct slot *slot = request->slot;

	if (world_outcome(request->world, err, "adding a device, async")) {
		place_is(slot, request->at);
		give_slot(slot, ATTACHED);
	} else {
		slot->device = NULL;
		give_up(request->device);
		give_slot(slot, EMPTY);
	}
	request_done(request);
}

static void add_device(struct world *world, struct slot *slot)
{
	struct device *device = slot->device = device_new(world, slot);
	struct mpl_txn *tx = mpl_begin(world->plane);
	uint64_t at = some_place(slot);
	struct request *request;

	mpl_region_add(tx, world->system, at, device->region, 0);
	if (random_below(3) == 0) {
		request = request_new(world, slot);
		request->device = device;
		request->at = at;
		submit(request, tx, add_done);
		return;
	}
	if (world_outcome(world, mpl_commit(tx), "adding a device")) {
		place_is(slot, at);
		give_slot(slot, ATTACHED);
		return;
	}
	slot->device = NULL;
	give_up(device);
	give_slot(slot, EMPTY);
}

static void remove_done(void *arg, int err)
{
	struct request *request = arg;

	if (err == -EAGAIN && request->at)
		fail("an asynchronous removal was refused for lack of memory");
	if (world_outcome(request->world, err, "removing a device, async"))
		is_removed(request->slot);
	else
		give_slot(request->slot, ATTACHED);
	request_done(request);
}

static void remove_async(struct world *world, struct slot *slot)
{
	struct request *request = request_new(world, slot);
	struct mpl_txn *tx = mpl_begin(world->plane);

	request->at = 1; /* anything but 0: see submit() */
	mpl_region_remove(tx, slot->device->region);
	submit(request, tx, remove_done);
}

static void remove_and_drain(struct world *world, struct slot *slot)
{
	struct device *device = slot->device;
	int err;

	if (remove_from_slot(world, slot)) {
		give_slot(slot, ATTACHED);
		return;
	}
	__atomic_store_n(&device->removed_at, now_ns(), __ATOMIC_SEQ_CST);
	err = mpl_region_drain(device->region);
	if (err)
		fail("mpl_region_drain: error %d", -err);
	if (__atomic_load_n(&device->inside, __ATOMIC_SEQ_CST))
		fail("an access is in flight after mpl_region_drain()");
	is_removed(slot);
	ADD(world, drains, 1);
}

void device_mutate(struct world *world)
{
	struct slot *slot = &world->slots[random_below(SLOTS)];

	if (take_slot(slot, EMPTY)) {
		add_device(world, slot);
		return;
	}
	if (!take_slot(slot, ATTACHED))
		return; /* somebody is at it */
	switch (random_below(6)) {
	case 0:
		remove_and_drain(world, slot);
		break;
	case 1:
		remove_async(world, slot);
		break;
	case 2:
	case 3:
		if (remove_from_slot(world, slot))
			give_slot(slot, ATTACHED);
		else
			is_removed(slot);
		break;
	default:
		move_in_slot(world, slot);
	}
}

void device_poke_as(struct world *world, const struct mpl_address_space *as,
		    bool by_plane)
{
	const struct slot *slot = &world->slots[random_below(SLOTS)];
	uint64_t at = __atomic_load_n(&slot->at, __ATOMIC_RELAXED);
	uint64_t value = random_next();
	static _Thread_local uint16_t depth;
	struct mpl_attrs attrs = { .vcpu = depth };
	bool outermost = depth == 0;
	mpl_result_t result;

	depth++;
	if (outermost)
		self.access_start = now_ns();
	if (by_plane)
		result = mpl_plane_write(world->plane, as, at, attrs, &value,
					 4);
	else if (value & 0x10000)
		result = mpl_load(self.reader, as, at, attrs, 4,
				  MPL_NATIVE_ENDIAN, &value);
	else
		result = mpl_store(self.reader, as, at, attrs, 4,
				   MPL_NATIVE_ENDIAN, value);
	depth--;
	/* Access errors: a device that comes back to itself, or a cycle. */
	if (result & ~(unsigned int)(MPL_DECODE_ERROR | MPL_ACCESS_ERROR) ||
	    (outermost && result & MPL_ACCESS_ERROR))
		fail("an access to a device gave %u", result);
	ADD(world, accesses, 1);
}

void device_poke(struct world *world)
{
	device_poke_as(world, world->space[random_below(2)], false);
}

void device_remove_all(struct world *world)
{
	for (unsigned int i = 0; i < SLOTS; i++) {
		struct slot *slot = &world->slots[i];

		if (take_slot(slot, EMPTY))
			continue;
		if (!take_slot(slot, ATTACHED))
			fail("slot %u is still busy", i);
		if (remove_from_slot(world, slot))
			fail("the last removals are refused");
		is_removed(slot);
	}
}

void device_end(void)
{
	for (unsigned int i = 0; i < GRAVES; i++)
		free(graves[i]);
	memset(graves, 0, sizeof(graves));
}
