/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Entering and leaving a device's callbacks: its own lock if it is
 * serialised, the guard against coming back to itself, and the refusal of
 * lock cycles.
 *
 * There is no lock that all devices share.  When a device's lock is free,
 * taking it is one compare-and-swap on that device's line.  Only a reader that
 * has to wait takes the plane's `waits` mutex, notes what it waits for, and
 * follows owner -> waits_for -> owner: if that leads back to itself, waiting
 * would never end and the access is refused.
 */
#ifndef MEMPLANE_DISPATCH_LOCK_H
#define MEMPLANE_DISPATCH_LOCK_H

#include "dispatch/reader.h"

/* Nested, or a lock to take: the rest of mpl_device_enter(). */
mpl_result_t mpl_device_enter_slow(struct mpl_reader_state *reader,
				   struct mpl_device *device,
				   struct mpl_frame *frame);
/* A lock to release, or a reference to drop. */
void mpl_device_leave_slow(struct mpl_reader_state *reader,
			   struct mpl_frame *frame);

/*
 * Push `frame` for a callback of `device`.  MPL_OK, or MPL_ACCESS_ERROR
 * (counted): the device would re-enter itself or a cycle was found; then
 * nothing was pushed.
 */
static inline mpl_result_t mpl_device_enter(struct mpl_reader_state *reader,
					    struct mpl_device *device,
					    struct mpl_frame *frame)
{
	*frame = (struct mpl_frame){ .device = device, .outer = reader->frame };
	if (frame->outer || device->serialised)
		return mpl_device_enter_slow(reader, device, frame);
	/* It is taken off again by mpl_device_leave(), which gcc misses. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wdangling-pointer"
	reader->frame = frame;
#pragma GCC diagnostic pop
	return MPL_OK;
}

static inline void mpl_device_leave(struct mpl_reader_state *reader,
				    struct mpl_frame *frame)
{
	reader->frame = frame->outer;
	if (frame->locked || frame->held)
		mpl_device_leave_slow(reader, frame);
}

/* The same for an outermost callback of a device without a lock. */
static inline void mpl_device_enter_direct(struct mpl_reader_state *reader,
					   struct mpl_device *device)
{
	reader->direct.device = device;
	reader->frame = &reader->direct;
}

/* It was suspended: a reference to drop. */
mpl_result_t mpl_device_leave_held(struct mpl_reader_state *reader,
				   mpl_result_t result);

/* The callback's result goes through: nobody has to keep it meanwhile. */
static inline mpl_result_t
mpl_device_leave_direct(struct mpl_reader_state *reader, mpl_result_t result)
{
	reader->frame = NULL;
	if (__builtin_expect(reader->direct.held, 0))
		return mpl_device_leave_held(reader, result);
	return result;
}

#endif
