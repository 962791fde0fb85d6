/* SPDX-License-Identifier: BSD-3-Clause */
#include <memplane/stats.h>

#include <stdio.h>

#include "dispatch/count.h"
#include "dispatch/retire.h"
#include "lib/plane.h"
#include "lib/region.h"

static void fill_data_plane(struct mpl_data_plane *dp,
			    struct mpl_plane_stats *out)
{
	struct mpl_reader_stats readers;

	out->generation = dp->published->generation;
	out->nodes_copied = dp->nodes_made;
	out->nodes_live = dp->nodes.live + dp->leaves.live;
	out->sections_live = dp->sections.live;
	out->retired_bytes = dp->retired_bytes;
	out->retired_bytes_peak = dp->retired_peak;
	out->retired_bytes_total = dp->retired_total;
	if (dp->retired_first)
		out->retired_age_ns =
			mpl_now_ns() - dp->retired_first->since_ns;
	out->doorbell_hashes = dp->hashes;
	out->doorbell_hashes_refused = dp->hashes_refused;
	out->stalls = dp->stalls;
	snprintf(out->stalled_reader, sizeof(out->stalled_reader), "%s",
		 dp->stalled_reader);
	mpl_readers_sum(dp, &readers);
	out->decode_errors = readers.decode_errors;
	out->access_errors = readers.access_errors;
}

uint64_t mpl_region_accesses(const struct mpl_region *region)
{
	return mpl_count_sum(&region->plane->data, &region->device);
}

void mpl_plane_stats(struct mpl_plane *plane, struct mpl_plane_stats *out)
{
	bool locked = mpl_control_lock(plane);
	struct mpl_link *link;

	*out = plane->stats;
	fill_data_plane(&plane->data, out);
	MPL_LIST_EACH(link, &plane->views)
		out->views++;
	mpl_control_unlock(plane, locked);
	pthread_mutex_lock(&plane->data.readers_mutex);
	out->readers = plane->data.readers_live;
	pthread_mutex_unlock(&plane->data.readers_mutex);
	pthread_mutex_lock(&plane->regions_mutex);
	out->regions = plane->region_count;
	pthread_mutex_unlock(&plane->regions_mutex);
}
