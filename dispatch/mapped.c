/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/mapped.h"

#include <stdlib.h>

/* What counts while a pin lingers, as a section would. */
#define LINGER_BYTES sizeof(struct mpl_section)

/* A chunk for the reader, and one for when it leaves. */
static struct mpl_mapped *new_chunk(struct mpl_reader_state *reader,
				    uint32_t at)
{
	struct mpl_data_plane *dp = reader->dp;
	struct mpl_mapped *chunk = calloc(MPL_COUNT_CHUNK, sizeof(*chunk));

	pthread_mutex_lock(&dp->readers_mutex);
	if (!dp->gone_mapped[at])
		dp->gone_mapped[at] = calloc(MPL_COUNT_CHUNK, sizeof(*chunk));
	if (!dp->gone_mapped[at]) {
		free(chunk);
		chunk = NULL;
	}
	/* Under the mutex: whoever sums holds it. */
	reader->mapped[at] = chunk;
	pthread_mutex_unlock(&dp->readers_mutex);
	return chunk;
}

void mpl_mapped_first(struct mpl_reader_state *reader,
		      struct mpl_device *device)
{
	uint32_t at = device->number / MPL_COUNT_CHUNK;
	struct mpl_mapped *chunk = reader->mapped[at];

	/* It stays; seen by whoever sums after a grace period. */
	__atomic_store_n(&device->ever_mapped, true, __ATOMIC_RELAXED);
	if (!chunk && device->number)
		chunk = new_chunk(reader, at);
	if (chunk && device->number)
		mpl_tally(&chunk[device->number % MPL_COUNT_CHUNK].made);
	else
		__atomic_add_fetch(&device->made, 1, __ATOMIC_RELAXED);
}

void mpl_mapped_end_shared(struct mpl_device *device)
{
	/* [B42] release; pairs with [B42] in mpl_mapped_none() */
	__atomic_add_fetch(&device->ended, 1, __ATOMIC_RELEASE);
}

static uint64_t sum_ended(struct mpl_data_plane *dp, uint32_t number)
{
	uint32_t at = number / MPL_COUNT_CHUNK, in = number % MPL_COUNT_CHUNK;
	uint64_t sum = dp->gone_mapped[at] ? dp->gone_mapped[at][in].ended : 0;

	for (unsigned int i = 0; i < dp->readers_high; i++) {
		const struct mpl_reader_state *reader = dp->readers[i].reader;

		/* [B42] acquire; pairs with [B42] in mpl_mapped_ended() */
		if (reader && reader->mapped[at])
			sum += __atomic_load_n(&reader->mapped[at][in].ended,
					       __ATOMIC_ACQUIRE);
	}
	return sum;
}

static uint64_t sum_made(struct mpl_data_plane *dp, uint32_t number)
{
	uint32_t at = number / MPL_COUNT_CHUNK, in = number % MPL_COUNT_CHUNK;
	uint64_t sum = dp->gone_mapped[at] ? dp->gone_mapped[at][in].made : 0;

	for (unsigned int i = 0; i < dp->readers_high; i++) {
		const struct mpl_reader_state *reader = dp->readers[i].reader;

		if (reader && reader->mapped[at])
			sum += __atomic_load_n(&reader->mapped[at][in].made,
					       __ATOMIC_RELAXED);
	}
	return sum;
}

uint64_t mpl_mapped_balance(struct mpl_data_plane *dp, uint32_t number)
{
	uint64_t ended = sum_ended(dp, number);

	return sum_made(dp, number) - ended;
}

bool mpl_mapped_none(struct mpl_data_plane *dp, struct mpl_device *device)
{
	uint64_t ended, made;

	if (!__atomic_load_n(&device->ever_mapped, __ATOMIC_RELAXED))
		return true;
	pthread_mutex_lock(&dp->readers_mutex);
	/*
	 * [B42] acquire; pairs with [B42] in mpl_mapped_end_shared(): what has
	 * ended is summed first, and was made before.
	 */
	ended = __atomic_load_n(&device->ended, __ATOMIC_ACQUIRE);
	if (device->number)
		ended += sum_ended(dp, device->number);
	made = __atomic_load_n(&device->made, __ATOMIC_RELAXED);
	if (device->number)
		made += sum_made(dp, device->number);
	pthread_mutex_unlock(&dp->readers_mutex);
	return made - ended == device->mapped_before;
}

void mpl_mapped_unpin(struct mpl_data_plane *dp, struct mpl_device *device)
{
	/* One pin is enough. */
	if (device->lingers || mpl_mapped_none(dp, device)) {
		mpl_device_unpin(device);
		return;
	}
	device->lingers = true;
	device->next_lingering = dp->lingering;
	dp->lingering = device;
	dp->retired_bytes += LINGER_BYTES;
}

void mpl_mapped_poll(struct mpl_data_plane *dp)
{
	struct mpl_device **at = &dp->lingering;

	while (*at) {
		struct mpl_device *device = *at;

		if (!mpl_mapped_none(dp, device)) {
			at = &device->next_lingering;
			continue;
		}
		*at = device->next_lingering;
		device->lingers = false;
		dp->retired_bytes -= LINGER_BYTES;
		mpl_device_unpin(device);
	}
}

void mpl_mapped_leave(struct mpl_reader_state *reader)
{
	struct mpl_data_plane *dp = reader->dp;

	for (unsigned int i = 0; i < MPL_COUNT_CHUNKS; i++) {
		struct mpl_mapped *from = reader->mapped[i];
		struct mpl_mapped *to = dp->gone_mapped[i];

		for (unsigned int j = 0; from && j < MPL_COUNT_CHUNK; j++) {
			to[j].made += from[j].made;
			to[j].ended += from[j].ended;
		}
		free(from);
	}
}

void mpl_mapped_destroy(struct mpl_data_plane *dp)
{
	for (unsigned int i = 0; i < MPL_COUNT_CHUNKS; i++)
		free(dp->gone_mapped[i]);
}
