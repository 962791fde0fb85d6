/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses per device, counted by each reader for itself and summed when
 * somebody asks: no shared line is written.
 *
 * A device has a number below MPL_COUNTED; a reader has a counter for each, in
 * chunks that it makes when it first needs them.  Number 0 is for devices
 * beyond the limit; what is counted there is nobody's.
 */
#ifndef MEMPLANE_DISPATCH_COUNT_H
#define MEMPLANE_DISPATCH_COUNT_H

#include "dispatch/reader.h"

#define MPL_COUNTED (MPL_COUNT_CHUNKS * MPL_COUNT_CHUNK)

/* Out of memory: this access is not counted. */
void mpl_count_first(struct mpl_reader_state *reader, uint32_t number);

/* NULL: not made yet. */
static inline uint64_t *mpl_counter_of(const struct mpl_reader_state *reader,
				       const struct mpl_device *device)
{
	uint64_t *chunk = reader->counts[device->count_chunk];

	return chunk ? &chunk[device->count_at] : NULL;
}

static inline void mpl_count(struct mpl_reader_state *reader,
			     const struct mpl_device *device)
{
	uint64_t *counter = mpl_counter_of(reader, device);

	if (counter)
		mpl_tally(counter);
	else
		mpl_count_first(reader, device->number);
}

/*
 * Give a device a number of its own (0 if there is none left), and take it
 * back.  Any thread.
 */
void mpl_count_number(struct mpl_data_plane *dp, struct mpl_device *device);
void mpl_count_release(struct mpl_data_plane *dp, struct mpl_device *device);

/* Accesses since it got its number, over all readers that are or were. */
uint64_t mpl_count_sum(struct mpl_data_plane *dp,
		       const struct mpl_device *device);

/* A reader leaves: keep its counts; readers_mutex is held. */
void mpl_count_leave(struct mpl_reader_state *reader);
/* The plane ends. */
void mpl_count_destroy(struct mpl_data_plane *dp);

#endif
