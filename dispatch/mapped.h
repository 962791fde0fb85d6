/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mappings of a device's memory, counted so that threads which map the same
 * block share no line: each reader counts for itself how many it made and how
 * many it ended, by the device's number (dispatch/count.h).
 *
 *                  made    ended
 *     reader 0     1000      400
 *     reader 1       10      605     (mappings may end elsewhere)
 *     others         20       20     -> 1030 made, 1025 ended: 5 exist
 *
 * The sum means something once no more can be made: when the grace period of
 * the device's last section is over.  Then, if some still exist, the section's
 * pin *lingers*, and the sums are looked at again now and then.  What has
 * ended is summed first: each of them was made before, so equal sums mean that
 * none exists.
 */
#ifndef MEMPLANE_DISPATCH_MAPPED_H
#define MEMPLANE_DISPATCH_MAPPED_H

#include "dispatch/count.h"

struct mpl_mapped {
	uint64_t made;
	uint64_t ended;
};

/* The reader's first of that device, or of a neighbour in numbers. */
void mpl_mapped_first(struct mpl_reader_state *reader,
		      struct mpl_device *device);
/* By somebody without a counter. */
void mpl_mapped_end_shared(struct mpl_device *device);

/* Where the reader counts mappings of the device, or NULL: it does not yet. */
static inline struct mpl_mapped *
mpl_mapped_of(const struct mpl_reader_state *reader,
	      const struct mpl_device *device)
{
	struct mpl_mapped *chunk =
		reader->mapped[device->number / MPL_COUNT_CHUNK];

	return __builtin_expect(chunk && device->number, 1) ?
		       &chunk[device->number % MPL_COUNT_CHUNK] :
		       NULL;
}

/* ... and may just count on: whoever sums knows of it. */
static inline uint64_t *mpl_mapped_counter(const struct mpl_reader_state *reader,
					   const struct mpl_device *device)
{
	struct mpl_mapped *mapped = mpl_mapped_of(reader, device);

	return mapped && __builtin_expect(__atomic_load_n(&device->ever_mapped,
							  __ATOMIC_RELAXED),
					  1) ?
		       &mapped->made :
		       NULL;
}

/* The reader has just found a section of the device. */
static inline void mpl_mapped_make(struct mpl_reader_state *reader,
				   struct mpl_device *device)
{
	uint64_t *made = mpl_mapped_counter(reader, device);

	if (made)
		mpl_tally(made);
	else
		mpl_mapped_first(reader, device);
}

static inline void mpl_mapped_ended(struct mpl_mapped *mapped)
{
	/*
	 * [B42] release; pairs with [B42] in mpl_mapped_none(): whoever finds
	 * the mapping ended finds what was written through it.
	 */
	__atomic_store_n(&mapped->ended, mapped->ended + 1, __ATOMIC_RELEASE);
}

static inline void mpl_mapped_end(struct mpl_reader_state *reader,
				  struct mpl_device *device)
{
	struct mpl_mapped *mapped = reader ? mpl_mapped_of(reader, device) :
					     NULL;

	if (mapped)
		mpl_mapped_ended(mapped);
	else
		mpl_mapped_end_shared(device);
}

/* Does no mapping of the device exist?  Any thread. */
bool mpl_mapped_none(struct mpl_data_plane *dp, struct mpl_device *device);

/* How far made and ended are apart for a number; readers_mutex is held. */
uint64_t mpl_mapped_balance(struct mpl_data_plane *dp, uint32_t number);

/* Control side: drop a section's pin now, or when the mappings have ended. */
void mpl_mapped_unpin(struct mpl_data_plane *dp, struct mpl_device *device);
/* Control side: look at those that linger. */
void mpl_mapped_poll(struct mpl_data_plane *dp);

/* A reader leaves: keep its counts; readers_mutex is held. */
void mpl_mapped_leave(struct mpl_reader_state *reader);
/* The plane ends. */
void mpl_mapped_destroy(struct mpl_data_plane *dp);

#endif
