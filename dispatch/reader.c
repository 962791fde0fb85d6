/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/count.h"
#include "dispatch/iotlb.h"
#include "dispatch/mapped.h"

_Static_assert(offsetof(struct mpl_reader_state, pub) == 0,
	       "mpl_reader_state() casts");

/* An id that no reader has; readers_mutex is held. */
static int take_slot(struct mpl_data_plane *dp, bool spare, unsigned int *id)
{
	unsigned int from = spare ? dp->readers_max : 0;
	unsigned int to = spare ? dp->readers_size : dp->readers_max;

	for (unsigned int i = from; i < to; i++) {
		if (dp->readers[i].reader)
			continue;
		*id = i;
		return 0;
	}
	return -ENOSPC;
}

int mpl_reader_add(struct mpl_data_plane *dp, bool spare,
		   struct mpl_reader_state **out)
{
	struct mpl_reader_state *reader;
	int err;

	reader = aligned_alloc(128, sizeof(*reader));
	if (!reader)
		return -ENOMEM;
	memset(reader, 0, sizeof(*reader));
	reader->dp = dp;
	reader->pub.published = &dp->published;
	reader->pub.generation = &dp->announced;
	reader->pub.nodes = (const uint32_t *)dp->nodes.view;
	reader->pub.leaves = (const struct mpl_leaf *)dp->leaves.view;
	reader->pub.sections = (const struct mpl_section *)dp->sections.view;
	mpl_reader_drop_caches(&reader->pub);

	pthread_mutex_lock(&dp->readers_mutex);
	err = take_slot(dp, spare, &reader->id);
	if (!err)
		err = mpl_rcu_register(dp->rcu, reader->id);
	if (!err) {
		dp->readers[reader->id].reader = reader;
		mpl_reader_adopt(reader);
		if (reader->id >= dp->readers_high)
			__atomic_store_n(&dp->readers_high, reader->id + 1,
					 __ATOMIC_RELAXED);
		dp->readers_live++;
		snprintf(reader->stats.name, sizeof(reader->stats.name),
			 "reader-%u", reader->id);
	}
	pthread_mutex_unlock(&dp->readers_mutex);
	if (err) {
		free(reader);
		return err;
	}
	*out = reader;
	return 0;
}

void mpl_reader_adopt(struct mpl_reader_state *reader)
{
	__atomic_store_n(&reader->dp->readers[reader->id].thread,
			 mpl_thread_self(), __ATOMIC_RELAXED);
}

void mpl_reader_disown(struct mpl_reader_state *reader)
{
	__atomic_store_n(&reader->dp->readers[reader->id].thread, 0,
			 __ATOMIC_RELAXED);
}

/* Counters are written by one thread and read by any: no torn values. */
static uint64_t peek(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void add_stats(struct mpl_reader_stats *sum,
		      const struct mpl_reader_state *reader)
{
	const struct mpl_reader_stats *stats = &reader->stats;

	sum->misses += peek(&reader->pub.misses);
	sum->hits += peek(&reader->pub.hits);
	sum->reads += peek(&stats->reads);
	sum->writes += peek(&stats->writes);
	sum->decode_errors += peek(&stats->decode_errors);
	sum->access_errors += peek(&stats->access_errors);
	sum->reentries += peek(&stats->reentries);
	sum->lock_cycles += peek(&stats->lock_cycles);
	sum->doorbells += peek(&stats->doorbells);
}

int mpl_reader_unregister(struct mpl_reader *pub)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	struct mpl_data_plane *dp = reader->dp;

	if (reader->frame)
		return -EDEADLK;
	mpl_reader_offline(pub);
	mpl_pending_destroy(&reader->pending);
	pthread_mutex_lock(&dp->readers_mutex);
	mpl_rcu_unregister(dp->rcu, reader->id);
	add_stats(&dp->gone, reader);
	mpl_count_leave(reader);
	mpl_mapped_leave(reader);
	dp->readers[reader->id].reader = NULL;
	__atomic_store_n(&dp->readers[reader->id].thread, 0, __ATOMIC_RELAXED);
	dp->readers_live--;
	pthread_mutex_unlock(&dp->readers_mutex);
	free(reader->iotlb);
	free(reader);
	return 0;
}

void mpl_reader_set_name(struct mpl_reader *pub, const char *name)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);

	/* The control side may be copying it into the log. */
	pthread_mutex_lock(&reader->dp->readers_mutex);
	snprintf(reader->stats.name, sizeof(reader->stats.name), "%s", name);
	pthread_mutex_unlock(&reader->dp->readers_mutex);
}

/* Its host pointers lose their validity: what they wrote is written. */
static void mark_pending(struct mpl_reader_state *reader)
{
	mpl_pending_flush(&reader->pending);
	reader->online = MPL_ONLINE;
}

/* Apart from its callers, which need no registers saved then. */
static __attribute__((noinline)) int
not_just_online(struct mpl_reader_state *reader,
		int (*again)(struct mpl_reader *reader))
{
	if (!reader->online)
		return 0;
	mark_pending(reader);
	return again(&reader->pub);
}

bool mpl_reader_note_write(struct mpl_reader_state *reader,
			   const struct mpl_section *section, uint64_t gpa,
			   uint64_t len)
{
	if (!mpl_pending_add(&reader->pending, section, gpa, len))
		return false;
	/* Who is not online has no business here, and stays so. */
	if (reader->online)
		reader->online = MPL_ONLINE_WRITING;
	return true;
}

void mpl_reader_set_attrs(struct mpl_reader *pub, struct mpl_attrs attrs)
{
	mpl_reader_state(pub)->attrs = attrs;
}

int mpl_reader_online(struct mpl_reader *pub)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);

	if (reader->frame)
		return -EDEADLK;
	if (!reader->online) {
		reader->online = MPL_ONLINE;
		mpl_rcu_online(reader->dp->rcu, reader->id);
	}
	return 0;
}

int mpl_reader_offline(struct mpl_reader *pub)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);

	if (reader->frame)
		return -EDEADLK;
	if (__builtin_expect(reader->online != MPL_ONLINE, 0))
		return not_just_online(reader, mpl_reader_offline);
	reader->online = MPL_OFFLINE;
	mpl_rcu_offline(reader->dp->rcu, reader->id);
	return 0;
}

int mpl_reader_quiescent(struct mpl_reader *pub)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);

	if (__builtin_expect(reader->frame != NULL, 0))
		return -EDEADLK;
	if (__builtin_expect(reader->online != MPL_ONLINE, 0))
		return not_just_online(reader, mpl_reader_quiescent);
	mpl_rcu_quiescent(reader->dp->rcu, reader->id);
	return 0;
}

void mpl_reader_hold(struct mpl_reader_state *reader)
{
	/* Outer callbacks' devices are as much in use as this one's. */
	for (struct mpl_frame *frame = reader->frame; frame;
	     frame = frame->outer) {
		if (frame->held)
			continue;
		frame->held = true;
		mpl_device_pin(frame->device);
	}
	if (reader->online == MPL_ONLINE_WRITING)
		mark_pending(reader);
	reader->pauses++;
	reader->online = MPL_OFFLINE;
	mpl_rcu_offline(reader->dp->rcu, reader->id);
}

void mpl_reader_resume(struct mpl_reader_state *reader)
{
	reader->online = MPL_ONLINE;
	mpl_rcu_online(reader->dp->rcu, reader->id);
}

int mpl_access_suspend(struct mpl_reader *pub)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);

	if (!reader->frame || reader->frame->suspended)
		return -EINVAL;
	reader->frame->suspended = true;
	mpl_reader_hold(reader);
	return 0;
}

int mpl_access_resume(struct mpl_reader *pub)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);

	if (!reader->frame || !reader->frame->suspended)
		return -EINVAL;
	reader->frame->suspended = false;
	mpl_reader_resume(reader);
	return 0;
}

void mpl_reader_drop_caches(struct mpl_reader *reader)
{
	struct mpl_iotlb *iotlb = mpl_reader_state(reader)->iotlb;

	/* No root ever has this stamp. */
	const struct mpl_cache_slot none = { .stamp = UINT64_MAX };

	/* Nor has any snapshot this generation. */
	reader->looked.generation = UINT64_MAX;
	reader->looked.credit = MPL_CACHE_PATIENCE;
	reader->idle_until = 0;
	reader->translated.generation = UINT64_MAX;
	for (size_t i = 0; i < MPL_CACHE_SLOTS; i++)
		reader->cache[i] = none;
	for (size_t i = 0; i < MPL_EXTENTS; i++)
		reader->extent[i] = (struct mpl_extent){ .stamp = UINT64_MAX };
	if (iotlb)
		memset(iotlb, 0, sizeof(*iotlb));
}

struct mpl_reader_state *mpl_reader_in_access(struct mpl_data_plane *dp)
{
	uintptr_t self = mpl_thread_self();
	unsigned int high = __atomic_load_n(&dp->readers_high,
					    __ATOMIC_RELAXED);

	for (unsigned int i = 0; i < high; i++)
		if (__atomic_load_n(&dp->readers[i].thread,
				    __ATOMIC_RELAXED) == self &&
		    dp->readers[i].reader->frame)
			return dp->readers[i].reader;
	return NULL;
}

enum mpl_thread_state mpl_reader_thread_state(struct mpl_data_plane *dp)
{
	uintptr_t self = mpl_thread_self();
	unsigned int high = __atomic_load_n(&dp->readers_high,
					    __ATOMIC_RELAXED);
	enum mpl_thread_state state = MPL_THREAD_FREE;

	/*
	 * Other threads' slots come and go meanwhile, but they never hold
	 * this thread's id; its own readers cannot.
	 */
	for (unsigned int i = 0; i < high; i++) {
		const struct mpl_reader_state *reader;

		if (__atomic_load_n(&dp->readers[i].thread,
				    __ATOMIC_RELAXED) != self)
			continue;
		reader = dp->readers[i].reader;
		if (reader->frame)
			return MPL_THREAD_ACCESS;
		if (reader->online)
			state = MPL_THREAD_ONLINE;
	}
	return state;
}

bool mpl_readers_name_holder(struct mpl_data_plane *dp, uint64_t token,
			     char *name, size_t size)
{
	bool found = false;

	pthread_mutex_lock(&dp->readers_mutex);
	for (unsigned int i = 0; i < dp->readers_high && !found; i++) {
		const struct mpl_reader_state *reader = dp->readers[i].reader;

		if (!reader || !mpl_rcu_holds(dp->rcu, i, token))
			continue;
		snprintf(name, size, "%s", reader->stats.name);
		found = true;
	}
	pthread_mutex_unlock(&dp->readers_mutex);
	return found;
}

void mpl_readers_sum(struct mpl_data_plane *dp, struct mpl_reader_stats *out)
{
	pthread_mutex_lock(&dp->readers_mutex);
	*out = dp->gone;
	for (unsigned int i = 0; i < dp->readers_high; i++)
		if (dp->readers[i].reader)
			add_stats(out, dp->readers[i].reader);
	pthread_mutex_unlock(&dp->readers_mutex);
}

void mpl_reader_stats(const struct mpl_reader *pub,
		      struct mpl_reader_stats *out)
{
	const struct mpl_reader_state *reader = mpl_reader_state(pub);

	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&reader->dp->readers_mutex);
	memcpy(out->name, reader->stats.name, sizeof(out->name));
	pthread_mutex_unlock(&reader->dp->readers_mutex);
	add_stats(out, reader);
}
