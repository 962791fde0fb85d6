/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/plane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dispatch/mapped.h"
#include "dispatch/publish.h"
#include "dispatch/reader.h"
#include "dispatch/retire.h"
#include "dispatch/section.h"
#include "lib/address_space.h"
#include "lib/control.h"
#include "lib/region.h"
#include "lib/tree.h"

enum {
	READERS_DEFAULT = 64,
	SPACES_DEFAULT = 4096,
	STALL_DEFAULT_MS = 1000,
	LIMIT_MAX = 1 << 20, /* readers, spaces: more is a mistake */
};

static const uint64_t retired_default = 256 * MPL_MIB;

static void configure(struct mpl_plane *plane,
		      const struct mpl_plane_config *config)
{
	unsigned int stall_ms = config->stall_ms ? config->stall_ms :
						   STALL_DEFAULT_MS;

	plane->full_rebuild = config->full_rebuild;
	plane->verify = config->verify;
	plane->trace_rules = config->trace_rules;
	plane->retired_max = config->retired_max ? config->retired_max :
						   retired_default;
	plane->max_spaces = config->max_spaces ? config->max_spaces :
						 SPACES_DEFAULT;
	plane->data.stall_ns = stall_ms * UINT64_C(1000000);
	plane->data.unassigned_byte =
		config->unassigned_set ? config->unassigned_byte : 0xff;
	plane->data.readonly_view = config->readonly_view;
	plane->data.hash_doorbells = config->hash_doorbells;
	plane->data.plain_nodes = config->plain_nodes;
	plane->data.log.fn = config->log;
	plane->data.log.opaque = config->log_opaque;
}

static void init_members(struct mpl_plane *plane)
{
	pthread_condattr_t monotonic;

	mpl_list_init(&plane->views);
	mpl_list_init(&plane->listeners);
	mpl_list_init(&plane->regions);
	mpl_list_init(&plane->dead);
	mpl_list_init(&plane->queue);
	pthread_mutex_init(&plane->control, NULL);
	pthread_mutex_init(&plane->regions_mutex, NULL);
	pthread_mutex_init(&plane->queue_mutex, NULL);
	pthread_mutex_init(&plane->spare_mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&plane->queue_filled, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_cond_init(&plane->request_done, NULL);
	pthread_cond_init(&plane->spare_returned, NULL);
}

static void destroy_members(struct mpl_plane *plane)
{
	pthread_cond_destroy(&plane->spare_returned);
	pthread_cond_destroy(&plane->request_done);
	pthread_cond_destroy(&plane->queue_filled);
	pthread_mutex_destroy(&plane->spare_mutex);
	pthread_mutex_destroy(&plane->queue_mutex);
	pthread_mutex_destroy(&plane->regions_mutex);
	pthread_mutex_destroy(&plane->control);
	mpl_ram_destroy(&plane->ram);
	free(plane->views_used.items);
	free(plane->spaces);
	free(plane);
}

static int make_views(struct mpl_plane *plane)
{
	int err;

	plane->spaces = calloc(plane->max_spaces, sizeof(plane->spaces[0]));
	if (!plane->spaces)
		return -ENOMEM;
	err = mpl_view_new(plane, NULL, &plane->empty_view);
	if (!err)
		plane->empty_view->stamp = mpl_stamp_new(&plane->data);
	return err;
}

int mpl_plane_new_layout(struct mpl_plane **out,
			 const struct mpl_plane_config *config,
			 unsigned int layout)
{
	static const struct mpl_plane_config defaults;
	struct mpl_plane *plane;
	unsigned int readers;
	int err;

	if (layout != MPL_LAYOUT)
		return -EPROTO;
	if (!config)
		config = &defaults;
	if (config->max_readers > LIMIT_MAX || config->max_spaces > LIMIT_MAX)
		return -EINVAL;
	plane = aligned_alloc(128, sizeof(*plane));
	if (!plane)
		return -ENOMEM;
	memset(plane, 0, sizeof(*plane));
	init_members(plane);
	configure(plane, config);
	readers = config->max_readers ? config->max_readers : READERS_DEFAULT;
	err = mpl_ram_init(&plane->ram);
	if (!err)
		err = mpl_data_plane_init(&plane->data, readers,
					  MPL_SPARE_READERS);
	if (err) {
		destroy_members(plane);
		return err;
	}
	err = make_views(plane);
	if (!err && config->control_thread)
		err = mpl_control_start(plane);
	if (err) {
		mpl_view_free(plane, plane->empty_view);
		mpl_data_plane_destroy(&plane->data);
		destroy_members(plane);
		return err;
	}
	*out = plane;
	return 0;
}

void mpl_plane_bury(struct mpl_plane *plane)
{
	for (;;) {
		struct mpl_region *region = NULL;

		pthread_mutex_lock(&plane->regions_mutex);
		if (!mpl_list_empty(&plane->dead)) {
			region = MPL_OF(plane->dead.next, struct mpl_region,
					link);
			mpl_list_remove(&region->link);
		} else {
			__atomic_store_n(&plane->has_dead, false,
					 __ATOMIC_RELAXED);
		}
		pthread_mutex_unlock(&plane->regions_mutex);
		if (!region)
			return;
		mpl_region_destroy(region);
	}
}

uint64_t mpl_plane_reclaim(struct mpl_plane *plane)
{
	uint64_t pending = mpl_retire_poll(&plane->data);

	mpl_plane_bury(plane);
	return pending;
}

uint64_t mpl_reclaim(struct mpl_plane *plane)
{
	bool locked;
	uint64_t pending;

	if (mpl_control_held(plane))
		return plane->data.retired_bytes;
	locked = mpl_control_lock(plane);
	if (mpl_reader_thread_state(&plane->data) == MPL_THREAD_ACCESS)
		pending = plane->data.retired_bytes;
	else
		pending = mpl_control_reclaim(plane);
	mpl_control_unlock(plane, locked);
	return pending;
}

int mpl_plane_may_wait(struct mpl_plane *plane)
{
	if (mpl_control_held(plane) ||
	    mpl_reader_thread_state(&plane->data) != MPL_THREAD_FREE)
		return -EDEADLK;
	return 0;
}

void mpl_plane_nap(unsigned int *us)
{
	struct timespec time;

	*us = !*us ? 50 : *us < 1000 ? *us * 2 : *us;
	time = (struct timespec){ .tv_nsec = *us * 1000L };
	nanosleep(&time, NULL);
}

int mpl_reader_register(struct mpl_plane *plane, struct mpl_reader **out)
{
	struct mpl_reader_state *reader;
	int err = mpl_reader_add(&plane->data, false, &reader);

	if (!err)
		*out = &reader->pub;
	return err;
}

int mpl_synchronize(struct mpl_plane *plane)
{
	unsigned int us = 0;
	uint64_t token;
	bool locked;
	int err = mpl_plane_may_wait(plane);

	if (err)
		return err;
	/*
	 * Under the lock: DPDK remembers what a check has found without any
	 * order, so that what one thread has seen to be over must not be
	 * acted upon by another.
	 */
	locked = mpl_control_lock(plane);
	token = mpl_rcu_start(plane->data.rcu);
	while (!mpl_rcu_done(plane->data.rcu, token)) {
		mpl_control_unlock(plane, locked);
		mpl_plane_nap(&us);
		locked = mpl_control_lock(plane);
	}
	mpl_control_unlock(plane, locked);
	mpl_reclaim(plane);
	return 0;
}

int mpl_region_drain(struct mpl_region *region)
{
	struct mpl_plane *plane = region->plane;
	unsigned int us = 0;
	bool locked, shown;
	int err = mpl_plane_may_wait(plane);

	if (err)
		return err;
	locked = mpl_control_lock(plane);
	shown = region->parent || region->shown ||
		!mpl_list_empty(&region->deps);
	mpl_control_unlock(plane, locked);
	if (shown)
		return -EBUSY;
	for (;;) {
		mpl_reclaim(plane);
		if (mpl_device_unpinned(&region->device))
			return 0;
		mpl_plane_nap(&us);
	}
}

uint64_t mpl_plane_generation(const struct mpl_plane *plane)
{
	/*
	 * Without a reader the snapshot may not be looked into: the number is
	 * kept beside it.  [B8] acquire; pairs with [B8] in mpl_publish():
	 * whoever sees the generation finds that snapshot or a later one.
	 */
	return __atomic_load_n(&plane->data.generation, __ATOMIC_ACQUIRE);
}

static void free_views(struct mpl_plane *plane)
{
	struct mpl_link *link, *following;

	MPL_LIST_EACH_SAFE(link, following, &plane->views) {
		struct mpl_view *view = MPL_OF(link, struct mpl_view, link);
		struct mpl_range *range;

		for (range = mpl_view_first(view); range;
		     range = mpl_view_next(view, range))
			mpl_section_free(&plane->data, range->section);
		if (view->root) {
			mpl_tree_hide(view->root);
			view->root->view = NULL;
		}
		mpl_view_free(plane, view);
	}
}

/* Regions that somebody still refers to, once nothing else does. */
static void free_regions(struct mpl_plane *plane)
{
	struct mpl_link *link;

	/* Held, so that none leaves the list while its edges are dropped. */
	MPL_LIST_EACH(link, &plane->regions)
		mpl_region_ref(MPL_OF(link, struct mpl_region, link));
	MPL_LIST_EACH(link, &plane->regions)
		mpl_region_isolate(MPL_OF(link, struct mpl_region, link));
	mpl_plane_bury(plane);
	while (!mpl_list_empty(&plane->regions)) {
		struct mpl_region *region =
			MPL_OF(plane->regions.next, struct mpl_region, link);

		mpl_list_remove(&region->link);
		mpl_region_destroy(region);
	}
}

/* Has a VM a space?  Is a bounce buffer of one, or a region's memory, mapped? */
static bool is_used(struct mpl_plane *plane)
{
	struct mpl_link *link;
	bool used = false;

	for (uint32_t slot = 0; slot < plane->slots; slot++) {
		struct mpl_space *space = plane->spaces[slot];

		used |= space &&
			(space->attached || mpl_map_bounced(&space->pub));
	}
	pthread_mutex_lock(&plane->regions_mutex);
	MPL_LIST_EACH(link, &plane->regions)
		used |= !mpl_mapped_none(
			&plane->data,
			&MPL_OF(link, struct mpl_region, link)->device);
	pthread_mutex_unlock(&plane->regions_mutex);
	return used;
}

int mpl_plane_free(struct mpl_plane *plane)
{
	if (!plane)
		return 0;
	if (plane->data.readers_live > plane->spares || is_used(plane))
		return -EBUSY;
	mpl_control_end(plane);
	mpl_control_lock(plane);
	mpl_spares_free(plane);
	for (uint32_t slot = 0; slot < plane->slots; slot++)
		if (plane->spaces[slot])
			mpl_space_destroy(plane->spaces[slot]);
	free_views(plane);
	do
		mpl_retire_poll(&plane->data);
	while (plane->data.retired_first);
	free_regions(plane);
	mpl_control_unlock(plane, true);
	mpl_data_plane_destroy(&plane->data);
	destroy_members(plane);
	return 0;
}
