/* SPDX-License-Identifier: BSD-3-Clause */
/* Dirty tracking, the control side: who logs, snapshots, outside logs. */
#include "lib/dirty.h"

#include <errno.h>
#include <stdlib.h>

#include <memplane/dirty.h>
#include <memplane/txn.h>

#include "lib/address_space.h"
#include "lib/control.h"
#include "lib/flat_view.h"
#include "lib/listener.h"
#include "lib/plane.h"

int mpl_dirty_attach(struct mpl_region *region)
{
	struct mpl_plane *plane = region->plane;
	int err;

	/* Beside mpl_dirty_begin_global(), which goes through the list. */
	pthread_mutex_lock(&plane->regions_mutex);
	region->log_takes_part = (1u << MPL_LOG_CLIENTS) - 1;
	if (region->max_size <= MPL_DIRTY_MAX)
		region->device.dirty.pages =
			(region->max_size + MPL_DIRTY_PAGE - 1) /
			MPL_DIRTY_PAGE;
	err = mpl_dirty_begin(region);
	pthread_mutex_unlock(&plane->regions_mutex);
	return err;
}

int mpl_dirty_begin(struct mpl_region *region)
{
	struct mpl_dirty *dirty = &region->device.dirty;
	uint8_t clients = mpl_region_dirty_mask(region) |
			  (region->plane->log_may & region->log_takes_part);
	int err;

	if (!dirty->pages || !clients)
		return 0;
	err = mpl_dirty_prepare(dirty, clients);
	if (!err)
		mpl_dirty_set_clients(dirty, dirty->clients | clients);
	return err;
}

int mpl_dirty_begin_global(struct mpl_plane *plane, uint8_t clients)
{
	struct mpl_link *link;
	int err = 0;

	pthread_mutex_lock(&plane->regions_mutex);
	plane->log_global = clients;
	plane->log_may |= clients;
	MPL_LIST_EACH(link, &plane->regions) {
		err = mpl_dirty_begin(MPL_OF(link, struct mpl_region, link));
		if (err)
			break;
	}
	pthread_mutex_unlock(&plane->regions_mutex);
	return err;
}

void mpl_dirty_undo_global(struct mpl_plane *plane, uint8_t clients)
{
	pthread_mutex_lock(&plane->regions_mutex);
	plane->log_global = clients;
	pthread_mutex_unlock(&plane->regions_mutex);
}

void mpl_dirty_settle(struct mpl_region *region)
{
	struct mpl_dirty *dirty = &region->device.dirty;

	if (dirty->pages)
		mpl_dirty_set_clients(dirty, mpl_region_dirty_mask(region));
}

void mpl_dirty_settle_global(struct mpl_plane *plane)
{
	struct mpl_link *link;

	pthread_mutex_lock(&plane->regions_mutex);
	plane->log_may = plane->log_global;
	MPL_LIST_EACH(link, &plane->regions)
		mpl_dirty_settle(MPL_OF(link, struct mpl_region, link));
	pthread_mutex_unlock(&plane->regions_mutex);
}

/* The range in bytes, made definite. */
static int check_range(const struct mpl_region *region, uint64_t offset,
		       uint64_t *len)
{
	if (!region || !mpl_region_has_memory(region))
		return -EINVAL;
	if (offset > region->max_size)
		return -ERANGE;
	if (*len == UINT64_MAX)
		*len = region->max_size - offset;
	if (*len > region->max_size - offset)
		return -ERANGE;
	return *len && !region->device.dirty.pages ? -E2BIG : 0;
}

int mpl_dirty_mark(struct mpl_region *region, uint64_t offset, uint64_t len)
{
	int err = check_range(region, offset, &len);

	if (!err && len)
		mpl_dirty_mark_device(&region->device, offset, len);
	return err;
}

int mpl_dirty_merge(struct mpl_region *region, uint64_t offset,
		    const uint64_t *bitmap, uint64_t pages)
{
	uint64_t len = 0, room;
	int err = check_range(region, offset, &len);

	if (err)
		return err;
	if (offset % MPL_DIRTY_PAGE)
		return -EINVAL;
	if (!pages)
		return 0;
	if (!region->device.dirty.pages)
		return -E2BIG;
	room = region->device.dirty.pages - offset / MPL_DIRTY_PAGE;
	if (pages > room)
		return -ERANGE;
	mpl_dirty_merge_device(&region->device, offset / MPL_DIRTY_PAGE,
			       bitmap, pages);
	return 0;
}

/* A client's set and the pages of a range; *set is NULL if there are none. */
static int find_pages(const struct mpl_region *region,
		      enum mpl_log_client client, uint64_t offset,
		      uint64_t len, struct mpl_dirty_set **set,
		      uint64_t *first, uint64_t *last)
{
	int err = check_range(region, offset, &len);

	*set = NULL;
	if ((unsigned int)client >= MPL_LOG_CLIENTS)
		return -EINVAL;
	if (err || !len)
		return err;
	*set = mpl_dirty_set_of(&region->device.dirty, client);
	*first = offset / MPL_DIRTY_PAGE;
	*last = (offset + (len - 1)) / MPL_DIRTY_PAGE;
	return 0;
}

int mpl_dirty_snapshot_clear(struct mpl_region *region,
			     enum mpl_log_client client, uint64_t offset,
			     uint64_t len, struct mpl_dirty_set *into)
{
	struct mpl_dirty_set *set;
	uint64_t first, last = 0;
	int err = find_pages(region, client, offset, len, &set, &first, &last);

	if (err)
		return err;
	if (set && last >= into->pages)
		return -ERANGE;
	if (set)
		mpl_dirty_set_take(set, first, last, into);
	return 0;
}

int mpl_dirty_test(struct mpl_region *region, enum mpl_log_client client,
		   uint64_t offset, uint64_t len, bool *dirty)
{
	struct mpl_dirty_set *set;
	uint64_t first, last, page, count;
	int err = find_pages(region, client, offset, len, &set, &first, &last);

	if (!err)
		*dirty = set && mpl_dirty_set_next(set, first, &page, &count) &&
			 page <= last;
	return err;
}

int mpl_dirty_count(struct mpl_region *region, enum mpl_log_client client,
		    uint64_t *pages)
{
	struct mpl_dirty_set *set;
	uint64_t first, last;
	int err = find_pages(region, client, 0, UINT64_MAX, &set, &first,
			     &last);

	if (!err)
		*pages = set ? mpl_dirty_set_count(set) : 0;
	return err;
}

static int switch_log(struct mpl_plane *plane, struct mpl_region *region,
		      enum mpl_log_client client, bool on)
{
	struct mpl_txn *tx = mpl_begin(plane);

	if (!region)
		mpl_log_global(tx, client, on);
	else if (on)
		mpl_log_start(tx, region, client);
	else
		mpl_log_stop(tx, region, client);
	return mpl_commit(tx);
}

/* All of a region, as large as it is now; the control lock is held. */
static void mark_whole(const struct mpl_region *region, unsigned int client)
{
	const struct mpl_dirty *dirty = &region->device.dirty;

	if (dirty->clients & 1u << client && region->size)
		mpl_dirty_set_mark(dirty->sets[client], 0,
				   (region->size - 1) / MPL_DIRTY_PAGE);
}

struct start {
	struct mpl_region *region;
	unsigned int client;
};

static int mark_locked(struct mpl_plane *plane, void *arg)
{
	const struct start *start = arg;
	struct mpl_region **regions;
	struct mpl_link *link;
	size_t count = 0;

	if (start->region) {
		mark_whole(start->region, start->client);
		return 0;
	}
	/*
	 * Not under the mutex, for it may take long.  Regions that die
	 * meanwhile are buried under the control lock only.
	 */
	pthread_mutex_lock(&plane->regions_mutex);
	regions = malloc((plane->region_count + 1) * sizeof(regions[0]));
	MPL_LIST_EACH(link, &plane->regions)
		if (regions)
			regions[count++] =
				MPL_OF(link, struct mpl_region, link);
	pthread_mutex_unlock(&plane->regions_mutex);
	if (!regions)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		mark_whole(regions[i], start->client);
	free(regions);
	return 0;
}

int mpl_dirty_start(struct mpl_plane *plane, struct mpl_region *region,
		    enum mpl_log_client client)
{
	struct start start = { .region = region, .client = client };
	uint64_t len = UINT64_MAX;
	int err = (unsigned int)client < MPL_LOG_CLIENTS ? 0 : -EINVAL;
	bool locked, was_on;

	if (!err && region)
		err = check_range(region, 0, &len);
	if (!err)
		err = mpl_plane_may_wait(plane);
	if (err)
		return err;
	locked = mpl_control_lock(plane);
	was_on = !region && plane->log_global >> client & 1;
	mpl_control_unlock(plane, locked);
	err = switch_log(plane, region, client, true);
	if (err)
		return err;
	err = mpl_synchronize(plane);
	if (!err)
		err = mpl_control_run(plane, mark_locked, &start);
	if (err && !was_on)
		(void)switch_log(plane, region, client, false);
	return err;
}

int mpl_dirty_stop(struct mpl_plane *plane, struct mpl_region *region,
		   enum mpl_log_client client)
{
	return switch_log(plane, region, client, false);
}

static int sync_range(const struct mpl_listener *listener,
		      const struct mpl_flat_range *flat)
{
	int err = listener->ops->log_sync(listener->opaque, flat);

	if (!err)
		return 0;
	mpl_log(&listener->space->plane->data.log, MPL_LOG_ERROR,
		"listener \"%s\": error %d, the log of \"%s\" at %llx is not fetched",
		listener->ops->name ? listener->ops->name : "", -err,
		flat->region->name, (unsigned long long)flat->start);
	return err < 0 ? err : -EINVAL;
}

/* Everything is tried; the first error counts. */
static int sync_listener(const struct mpl_listener *listener)
{
	const struct mpl_view *view = listener->space->view;
	const struct mpl_range *range;
	int first = 0;

	if (!listener->ops->log_sync)
		return 0;
	/* It may have logged something, and cannot be asked. */
	if (listener->degraded)
		return -ENOTRECOVERABLE;
	for (range = mpl_view_first(view); range;
	     range = mpl_view_next(view, range)) {
		int err = range->flat.dirty_mask ?
				  sync_range(listener, &range->flat) :
				  0;

		if (!first)
			first = err;
	}
	return first;
}

static int sync_locked(struct mpl_plane *plane, void *arg)
{
	struct mpl_link *link;
	int first = 0;

	(void)arg;
	MPL_LIST_EACH(link, &plane->listeners) {
		int err = sync_listener(
			MPL_OF(link, struct mpl_listener, link));

		if (!first)
			first = err;
	}
	return first;
}

int mpl_dirty_sync(struct mpl_plane *plane)
{
	return mpl_control_run(plane, sync_locked, NULL);
}
