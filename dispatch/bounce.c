/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/bounce.h"

#include <errno.h>
#include <stdlib.h>

/* Somebody who wants to know when there is room again. */
struct waiter {
	struct mpl_link link;
	uint64_t len;
	void (*fn)(void *arg);
	void *arg;
};

void mpl_bounce_init(struct mpl_bounce *bounce)
{
	pthread_mutex_init(&bounce->mutex, NULL);
	bounce->limit = MPL_BOUNCE_DEFAULT;
	bounce->used = 0;
	mpl_list_init(&bounce->waiters);
}

void mpl_bounce_destroy(struct mpl_bounce *bounce)
{
	struct mpl_link *link, *following;

	MPL_LIST_EACH_SAFE(link, following, &bounce->waiters)
		free(MPL_OF(link, struct waiter, link));
	pthread_mutex_destroy(&bounce->mutex);
}

/* The mutex is held. */
static bool has_room(const struct mpl_bounce *bounce, uint64_t len)
{
	if (len > bounce->limit)
		len = bounce->limit;
	return len && bounce->used <= bounce->limit &&
	       len <= bounce->limit - bounce->used;
}

/* Move those for whom there is room to `called`; the mutex is held. */
static void take_waiters(struct mpl_bounce *bounce, struct mpl_link *called)
{
	struct mpl_link *link, *following;

	MPL_LIST_EACH_SAFE(link, following, &bounce->waiters) {
		if (!has_room(bounce, MPL_OF(link, struct waiter, link)->len))
			continue;
		mpl_list_remove(link);
		mpl_list_append(called, link);
	}
}

static void call(struct mpl_link *called)
{
	while (!mpl_list_empty(called)) {
		struct waiter *waiter =
			MPL_OF(called->next, struct waiter, link);

		mpl_list_remove(&waiter->link);
		waiter->fn(waiter->arg);
		free(waiter);
	}
}

int mpl_bounce_take(struct mpl_bounce *bounce, uint64_t *len, void **buffer)
{
	bool room;

	pthread_mutex_lock(&bounce->mutex);
	room = has_room(bounce, *len);
	if (*len > bounce->limit)
		*len = bounce->limit;
	if (room)
		bounce->used += *len;
	pthread_mutex_unlock(&bounce->mutex);
	if (!room)
		return -EAGAIN;
	*buffer = calloc(1, *len);
	if (*buffer)
		return 0;
	mpl_bounce_give(bounce, NULL, *len);
	return -ENOMEM;
}

void mpl_bounce_give(struct mpl_bounce *bounce, void *buffer, uint64_t len)
{
	struct mpl_link called;

	free(buffer);
	mpl_list_init(&called);
	pthread_mutex_lock(&bounce->mutex);
	bounce->used -= len;
	take_waiters(bounce, &called);
	pthread_mutex_unlock(&bounce->mutex);
	call(&called);
}

void mpl_map_set_limit(struct mpl_address_space *as, uint64_t bytes)
{
	struct mpl_bounce *bounce = mpl_bounce_of(as);
	struct mpl_link called;

	mpl_list_init(&called);
	pthread_mutex_lock(&bounce->mutex);
	bounce->limit = bytes;
	take_waiters(bounce, &called);
	pthread_mutex_unlock(&bounce->mutex);
	call(&called);
}

uint64_t mpl_map_bounced(struct mpl_address_space *as)
{
	struct mpl_bounce *bounce = mpl_bounce_of(as);
	uint64_t used;

	pthread_mutex_lock(&bounce->mutex);
	used = bounce->used;
	pthread_mutex_unlock(&bounce->mutex);
	return used;
}

int mpl_map_notify(struct mpl_address_space *as, size_t len,
		   void (*fn)(void *arg), void *arg)
{
	struct mpl_bounce *bounce = mpl_bounce_of(as);
	struct waiter *waiter;
	struct mpl_link called;

	if (!len || !fn)
		return -EINVAL;
	waiter = malloc(sizeof(*waiter));
	if (!waiter)
		return -ENOMEM;
	*waiter = (struct waiter){ .len = len, .fn = fn, .arg = arg };
	mpl_list_init(&called);
	pthread_mutex_lock(&bounce->mutex);
	mpl_list_append(&bounce->waiters, &waiter->link);
	take_waiters(bounce, &called);
	pthread_mutex_unlock(&bounce->mutex);
	call(&called);
	return 0;
}

int mpl_map_notify_cancel(struct mpl_address_space *as, void (*fn)(void *arg),
			  void *arg)
{
	struct mpl_bounce *bounce = mpl_bounce_of(as);
	struct mpl_link *link, *following;
	int err = -ENOENT;

	pthread_mutex_lock(&bounce->mutex);
	MPL_LIST_EACH_SAFE(link, following, &bounce->waiters) {
		struct waiter *waiter = MPL_OF(link, struct waiter, link);

		if (waiter->fn != fn || waiter->arg != arg)
			continue;
		mpl_list_remove(link);
		free(waiter);
		err = 0;
	}
	pthread_mutex_unlock(&bounce->mutex);
	return err;
}
