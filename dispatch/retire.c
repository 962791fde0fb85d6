/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/retire.h"

#include <errno.h>
#include <stdlib.h>

#include "dispatch/mapped.h"
#include "dispatch/reader.h"
#include "dispatch/section.h"

struct mpl_retired *mpl_retired_new(void)
{
	return calloc(1, sizeof(struct mpl_retired));
}

void mpl_retired_drop(struct mpl_retired *batch)
{
	if (!batch)
		return;
	free(batch->nodes.items);
	free(batch->leaves.items);
	free(batch->sections.items);
	free(batch->objects.items);
	free(batch);
}

static int append(struct mpl_indexes *indexes, uint32_t index)
{
	if (MPL_RESERVE(indexes, 1))
		return -ENOMEM;
	indexes->items[indexes->count++] = index;
	return 0;
}

int mpl_retire_node(struct mpl_retired *batch, uint32_t index)
{
	return append(&batch->nodes, index);
}

int mpl_retire_leaf(struct mpl_retired *batch, uint32_t index)
{
	return append(&batch->leaves, index);
}

int mpl_retire_section(struct mpl_retired *batch, uint32_t index)
{
	return append(&batch->sections, index);
}

int mpl_retire_object(struct mpl_retired *batch, void (*fn)(void *arg),
		      void *arg, size_t bytes)
{
	if (MPL_RESERVE(&batch->objects, 1))
		return -ENOMEM;
	batch->objects.items[batch->objects.count++] =
		(struct mpl_retired_object){ .fn = fn, .arg = arg };
	batch->bytes += bytes;
	return 0;
}

void mpl_retire(struct mpl_data_plane *dp, struct mpl_retired *batch)
{
	batch->bytes += batch->nodes.count * dp->nodes.item_size +
			batch->leaves.count * dp->leaves.item_size +
			batch->sections.count * dp->sections.item_size;
	batch->token = mpl_rcu_start(dp->rcu);
	batch->since_ns = mpl_now_ns();
	batch->next = NULL;
	if (dp->retired_last)
		dp->retired_last->next = batch;
	else
		dp->retired_first = batch;
	dp->retired_last = batch;
	dp->retired_total += batch->bytes;
	dp->retired_bytes += batch->bytes;
	if (dp->retired_bytes > dp->retired_peak)
		dp->retired_peak = dp->retired_bytes;
}

static void free_batch(struct mpl_data_plane *dp, struct mpl_retired *batch)
{
	for (size_t i = 0; i < batch->nodes.count; i++) {
		mpl_arena_free(&dp->nodes, batch->nodes.items[i]);
		mpl_arena_free(&dp->notes, batch->nodes.items[i]);
	}
	for (size_t i = 0; i < batch->leaves.count; i++)
		mpl_arena_free(&dp->leaves, batch->leaves.items[i]);
	for (size_t i = 0; i < batch->sections.count; i++)
		mpl_section_free(dp, batch->sections.items[i]);
	for (size_t i = 0; i < batch->objects.count; i++)
		batch->objects.items[i].fn(batch->objects.items[i].arg);
	mpl_retired_drop(batch);
}

/* Complain once a grace period, about the first reader that holds it. */
static void check_stall(struct mpl_data_plane *dp,
			const struct mpl_retired *oldest)
{
	uint64_t age = mpl_now_ns() - oldest->since_ns;

	if (age < dp->stall_ns || dp->stall_token >= oldest->token)
		return;
	dp->stall_token = oldest->token;
	if (mpl_readers_name_holder(dp, oldest->token, dp->stalled_reader,
				    sizeof(dp->stalled_reader))) {
		dp->stalls++;
		mpl_log(&dp->log, MPL_LOG_WARNING,
			"reader \"%s\" holds %llu retired bytes back for %llu ms: it must report a quiescent state or go offline",
			dp->stalled_reader,
			(unsigned long long)dp->retired_bytes,
			(unsigned long long)(age / 1000000));
	}
}

uint64_t mpl_retire_poll(struct mpl_data_plane *dp)
{
	while (dp->retired_first &&
	       mpl_rcu_done(dp->rcu, dp->retired_first->token)) {
		struct mpl_retired *batch = dp->retired_first;

		dp->retired_first = batch->next;
		if (!batch->next)
			dp->retired_last = NULL;
		dp->retired_bytes -= batch->bytes;
		free_batch(dp, batch);
	}
	mpl_mapped_poll(dp);
	if (dp->retired_first)
		check_stall(dp, dp->retired_first);
	return dp->retired_bytes;
}
