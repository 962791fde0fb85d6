/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plane, and the control lock.
 *
 * Everything of the control plane (regions, views, spaces, listeners) is
 * written under `control`.  Whoever holds it is noted, so that calls from
 * inside a commit (a listener, a `release`) are told apart from others.
 */
#ifndef MEMPLANE_LIB_PLANE_H
#define MEMPLANE_LIB_PLANE_H

#include <pthread.h>

#include <memplane/plane.h>
#include <memplane/stats.h>

#include "dispatch/data_plane.h"
#include "lib/base/list.h"
#include "lib/ram.h"

struct mpl_reader_state;
struct mpl_region;
struct mpl_space;
struct mpl_view;

/* Readers that mpl_plane_read() and _write() share. */
#define MPL_SPARE_READERS 8

struct mpl_plane {
	struct mpl_data_plane data;

	/* Configuration, constant. */
	bool threaded;
	bool full_rebuild;
	bool verify;
	bool trace_rules;
	uint64_t retired_max;
	uint32_t max_spaces;

	pthread_mutex_t control;
	uintptr_t holder; /* of control; 0: nobody */

	/* Under control. */
	struct mpl_link views;
	struct {
		bool *items; /* by mpl_view.index */
		size_t count;
		size_t capacity;
	} views_used;
	struct mpl_view *empty_view;
	struct mpl_space **spaces; /* by slot */
	uint32_t slots;		   /* ever used */
	struct mpl_link listeners; /* ascending priority, then age */
	uint64_t order;		   /* of the child added last */
	uint64_t searches;	   /* for cycles: lib/tree.c */
	uint64_t applied;	   /* transactions, those that failed included */
	uint64_t folds;		   /* aliases ever folded: lib/tree.h */
	struct mpl_plane_stats stats;

	/* Regions come and go from any thread. */
	pthread_mutex_t regions_mutex;
	struct mpl_link regions;
	struct mpl_link dead; /* without references, to be destroyed */
	bool has_dead;	      /* read without the mutex */
	uint64_t region_count;
	uint8_t log_global; /* clients switched on; written under control, too */
	uint8_t log_may;    /* and those that an unwound commit may switch on
			     * again */

	struct mpl_ram ram; /* has a lock of its own */

	/* The queue of the control thread. */
	pthread_mutex_t queue_mutex;
	pthread_cond_t queue_filled;
	pthread_cond_t request_done;
	struct mpl_link queue;
	uint32_t queued;
	bool woken; /* something died: look for it */
	bool ending;
	pthread_t thread;

	pthread_mutex_t spare_mutex;
	pthread_cond_t spare_returned;
	struct mpl_reader_state *spare[MPL_SPARE_READERS];
	bool spare_busy[MPL_SPARE_READERS];
	unsigned int spares;
};

/* Wait for the control lock.  False: the caller holds it already. */
bool mpl_control_lock(struct mpl_plane *plane);
/* `locked` is what mpl_control_lock() returned. */
void mpl_control_unlock(struct mpl_plane *plane, bool locked);
bool mpl_control_held(const struct mpl_plane *plane);

/* May the caller wait for all readers?  -EDEADLK: it may be one of them. */
int mpl_plane_may_wait(struct mpl_plane *plane);
/* Sleep 50 us, then longer, for polling: *us is 0 at first. */
void mpl_plane_nap(unsigned int *us);

/* Destroy the regions that nobody refers to any more; lock held. */
void mpl_plane_bury(struct mpl_plane *plane);

/* Nobody may be using them. */
void mpl_spares_free(struct mpl_plane *plane);

/* mpl_retire_poll() and mpl_plane_bury(); lock held. */
uint64_t mpl_plane_reclaim(struct mpl_plane *plane);

#endif
