/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Spare readers: for threads that have none of their own and make an access
 * now and then (migration, the main loop).
 */
#include <memplane/access.h>
#include <memplane/reader.h>

#include "dispatch/reader.h"
#include "lib/plane.h"

/* A spare that nobody uses; the mutex is held. */
static struct mpl_reader_state *find_idle(struct mpl_plane *plane)
{
	for (unsigned int i = 0; i < plane->spares; i++)
		if (!plane->spare_busy[i]) {
			plane->spare_busy[i] = true;
			return plane->spare[i];
		}
	return NULL;
}

/* One more, as long as there is room; the mutex is held. */
static struct mpl_reader_state *make_one(struct mpl_plane *plane)
{
	struct mpl_reader_state *reader;

	if (plane->spares == MPL_SPARE_READERS ||
	    mpl_reader_add(&plane->data, true, &reader))
		return NULL;
	plane->spare[plane->spares] = reader;
	plane->spare_busy[plane->spares] = true;
	plane->spares++;
	return reader;
}

/* NULL only if there is no memory for the very first. */
static struct mpl_reader_state *take(struct mpl_plane *plane)
{
	struct mpl_reader_state *reader = mpl_reader_in_access(&plane->data);

	/*
	 * From a callback: the guards must know who is asking.  One that is
	 * suspended has said that it blocks, and its reader is offline.
	 */
	if (reader && !reader->frame->suspended)
		return reader;
	pthread_mutex_lock(&plane->spare_mutex);
	for (;;) {
		reader = find_idle(plane);
		if (!reader)
			reader = make_one(plane);
		if (reader || !plane->spares)
			break;
		pthread_cond_wait(&plane->spare_returned, &plane->spare_mutex);
	}
	pthread_mutex_unlock(&plane->spare_mutex);
	if (reader) {
		mpl_reader_adopt(reader);
		mpl_reader_online(&reader->pub);
	}
	return reader;
}

static void give_back(struct mpl_plane *plane, struct mpl_reader_state *reader)
{
	if (reader->frame)
		return; /* a callback's own: not taken from the spares */
	mpl_reader_offline(&reader->pub);
	mpl_reader_disown(reader);
	pthread_mutex_lock(&plane->spare_mutex);
	for (unsigned int i = 0; i < plane->spares; i++)
		if (plane->spare[i] == reader)
			plane->spare_busy[i] = false;
	pthread_cond_signal(&plane->spare_returned);
	pthread_mutex_unlock(&plane->spare_mutex);
}

void mpl_spares_free(struct mpl_plane *plane)
{
	for (unsigned int i = 0; i < plane->spares; i++)
		mpl_reader_unregister(&plane->spare[i]->pub);
	plane->spares = 0;
}

struct mpl_reader *mpl_access_reader(struct mpl_plane *plane)
{
	struct mpl_reader_state *reader = mpl_reader_in_access(&plane->data);

	return reader ? &reader->pub : NULL;
}

mpl_result_t mpl_plane_read(struct mpl_plane *plane,
			    const struct mpl_address_space *as, uint64_t gpa,
			    struct mpl_attrs attrs, void *buf, size_t len)
{
	struct mpl_reader_state *reader = take(plane);
	mpl_result_t result;

	if (!reader)
		return MPL_DEVICE_ERROR;
	result = mpl_read(&reader->pub, as, gpa, attrs, buf, len);
	give_back(plane, reader);
	return result;
}

mpl_result_t mpl_plane_write(struct mpl_plane *plane,
			     const struct mpl_address_space *as, uint64_t gpa,
			     struct mpl_attrs attrs, const void *buf,
			     size_t len)
{
	struct mpl_reader_state *reader = take(plane);
	mpl_result_t result;

	if (!reader)
		return MPL_DEVICE_ERROR;
	result = mpl_write(&reader->pub, as, gpa, attrs, buf, len);
	give_back(plane, reader);
	return result;
}
