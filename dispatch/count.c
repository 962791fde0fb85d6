/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/count.h"

#include <stdlib.h>

#include "dispatch/mapped.h"
#include "lib/base/vector.h"

static uint64_t *new_chunk(uint64_t **at)
{
	uint64_t *chunk = calloc(MPL_COUNT_CHUNK, sizeof(*chunk));

	/*
	 * [B9] release; pairs with [B9] in peek_count(): whoever finds the
	 * chunk finds zeros in it, or what was counted.
	 */
	if (chunk)
		__atomic_store_n(at, chunk, __ATOMIC_RELEASE);
	return chunk;
}

static uint64_t peek_count(uint64_t *const *chunks, uint32_t number)
{
	/* [B9] acquire; pairs with [B9] in new_chunk() */
	const uint64_t *chunk =
		__atomic_load_n(&chunks[number / MPL_COUNT_CHUNK],
				__ATOMIC_ACQUIRE);

	return chunk ? __atomic_load_n(&chunk[number % MPL_COUNT_CHUNK],
				       __ATOMIC_RELAXED) :
		       0;
}

void mpl_count_first(struct mpl_reader_state *reader, uint32_t number)
{
	uint64_t *chunk = new_chunk(&reader->counts[number / MPL_COUNT_CHUNK]);

	if (chunk)
		mpl_tally(&chunk[number % MPL_COUNT_CHUNK]);
}

/* readers_mutex is held. */
static uint64_t sum(struct mpl_data_plane *dp, uint32_t number)
{
	uint64_t total = peek_count(dp->gone_counts, number);

	for (unsigned int i = 0; i < dp->readers_high; i++)
		if (dp->readers[i].reader)
			total += peek_count(dp->readers[i].reader->counts,
					    number);
	return total;
}

void mpl_count_number(struct mpl_data_plane *dp, struct mpl_device *device)
{
	device->number = 0;
	device->counted_before = 0;
	pthread_mutex_lock(&dp->readers_mutex);
	if (dp->numbers_free.count)
		device->number =
			dp->numbers_free.items[--dp->numbers_free.count];
	else if (dp->numbers_used + 1 < MPL_COUNTED)
		device->number = ++dp->numbers_used;
	device->count_chunk = (uint16_t)(device->number / MPL_COUNT_CHUNK);
	device->count_at = (uint16_t)(device->number % MPL_COUNT_CHUNK);
	if (device->number) {
		device->counted_before = sum(dp, device->number);
		device->mapped_before = mpl_mapped_balance(dp, device->number);
	}
	pthread_mutex_unlock(&dp->readers_mutex);
}

void mpl_count_release(struct mpl_data_plane *dp, struct mpl_device *device)
{
	if (!device->number)
		return;
	pthread_mutex_lock(&dp->readers_mutex);
	/* Without memory the number is lost, and that is all. */
	if (!MPL_RESERVE(&dp->numbers_free, 1))
		dp->numbers_free.items[dp->numbers_free.count++] =
			device->number;
	pthread_mutex_unlock(&dp->readers_mutex);
}

uint64_t mpl_count_sum(struct mpl_data_plane *dp,
		       const struct mpl_device *device)
{
	uint64_t total;

	if (!device->number)
		return 0;
	pthread_mutex_lock(&dp->readers_mutex);
	total = sum(dp, device->number) - device->counted_before;
	pthread_mutex_unlock(&dp->readers_mutex);
	return total;
}

void mpl_count_leave(struct mpl_reader_state *reader)
{
	struct mpl_data_plane *dp = reader->dp;

	for (unsigned int i = 0; i < MPL_COUNT_CHUNKS; i++) {
		uint64_t *from = reader->counts[i];
		uint64_t *to = dp->gone_counts[i];

		if (from && !to)
			to = new_chunk(&dp->gone_counts[i]);
		for (unsigned int j = 0; from && to && j < MPL_COUNT_CHUNK; j++)
			to[j] += from[j];
		free(from);
	}
}

void mpl_count_destroy(struct mpl_data_plane *dp)
{
	for (unsigned int i = 0; i < MPL_COUNT_CHUNKS; i++)
		free(dp->gone_counts[i]);
	free(dp->numbers_free.items);
}
