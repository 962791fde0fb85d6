/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/lock.h"

static bool try_lock(struct mpl_device *device, struct mpl_reader_state *reader)
{
	struct mpl_reader_state *nobody = NULL;

	/*
	 * [B5] acquire; pairs with [B5] in unlock(): what the last owner's
	 * callback wrote to the device is visible to this one's.
	 */
	return __atomic_compare_exchange_n(&device->owner, &nobody, reader,
					   false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
}

static void unlock(struct mpl_waits *waits, struct mpl_device *device)
{
	/*
	 * [B5] release; pairs with [B5] in try_lock().
	 * [B6] full order of this store and the load of `waiters`; pairs with
	 * [B6] in wait_for_lock().  Hazard: a waiter counts itself and sees
	 * the owner, while the owner sees no waiter and wakes nobody.
	 */
	__atomic_store_n(&device->owner, NULL, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&device->waiters, __ATOMIC_SEQ_CST))
		return;
	pthread_mutex_lock(&waits->mutex);
	pthread_cond_broadcast(&waits->released);
	pthread_mutex_unlock(&waits->mutex);
}

/*
 * Would waiting close a circle?  Under waits->mutex: readers that wait stay
 * waiting, and so keep what they own; an owner that does not wait ends the
 * chain.  Owners that change meanwhile were not waiting.  They are not freed
 * either: each device on the chain has a waiter counted before its owner is
 * looked at [B6], so that the owner must take the mutex to let go of it.
 */
static bool closes_cycle(const struct mpl_reader_state *reader,
			 const struct mpl_device *device)
{
	while (device) {
		const struct mpl_reader_state *owner =
			__atomic_load_n(&device->owner, __ATOMIC_SEQ_CST);

		if (owner == reader)
			return true;
		device = owner ? owner->waits_for : NULL;
	}
	return false;
}

/*
 * The owner may take long (it may have suspended its access): the waiter is
 * offline meanwhile, and its devices are pinned.
 */
static bool wait_for_lock(struct mpl_device *device,
			  struct mpl_reader_state *reader,
			  struct mpl_frame *frame)
{
	struct mpl_waits *waits = &reader->dp->waits;
	bool got;

	frame->held = true;
	mpl_device_pin(device);
	mpl_reader_hold(reader);
	pthread_mutex_lock(&waits->mutex);
	/* [B6] counted before the lock is tried; pairs with [B6] in unlock() */
	__atomic_add_fetch(&device->waiters, 1, __ATOMIC_SEQ_CST);
	reader->waits_for = device;
	while (!(got = try_lock(device, reader))) {
		if (closes_cycle(reader, device))
			break;
		pthread_cond_wait(&waits->released, &waits->mutex);
	}
	reader->waits_for = NULL;
	__atomic_sub_fetch(&device->waiters, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&waits->mutex);
	mpl_reader_resume(reader);
	if (!got)
		mpl_device_unpin(device);
	return got;
}

static mpl_result_t refuse(struct mpl_reader_state *reader, uint64_t *counter)
{
	mpl_tally(counter);
	mpl_tally(&reader->stats.access_errors);
	return MPL_ACCESS_ERROR;
}

mpl_result_t mpl_device_enter_slow(struct mpl_reader_state *reader,
				   struct mpl_device *device,
				   struct mpl_frame *frame)
{
	bool owned = false;

	for (struct mpl_frame *outer = frame->outer; outer;
	     outer = outer->outer) {
		if (outer->device != device)
			continue;
		if (!device->reentrant)
			return refuse(reader, &reader->stats.reentries);
		owned = true;
	}
	if (device->serialised && !owned) {
		if (!try_lock(device, reader) &&
		    !wait_for_lock(device, reader, frame))
			return refuse(reader, &reader->stats.lock_cycles);
		frame->locked = true;
	}
	reader->frame = frame;
	return MPL_OK;
}

void mpl_device_leave_slow(struct mpl_reader_state *reader,
			   struct mpl_frame *frame)
{
	/* Last of all the reference: it may be what keeps the device. */
	if (frame->locked)
		unlock(&reader->dp->waits, frame->device);
	if (frame->held)
		mpl_device_unpin(frame->device);
}

mpl_result_t mpl_device_leave_held(struct mpl_reader_state *reader,
				   mpl_result_t result)
{
	struct mpl_device *device = reader->direct.device;

	reader->direct = (struct mpl_frame){ 0 };
	mpl_device_unpin(device);
	return result;
}
