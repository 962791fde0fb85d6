/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Verify: does a map say what its sections say?  For tests and for
 * mpl_plane_config.verify; visits the whole map.
 */
#ifndef MEMPLANE_DISPATCH_VERIFY_H
#define MEMPLANE_DISPATCH_VERIFY_H

#include "dispatch/data_plane.h"

/*
 * `sections`: `count` indexes in ascending order of address.  Checks that
 * each is found at its first and last address, that nothing is found just
 * outside unless a neighbour is there, that the map holds no other section,
 * and that it is in canonical form (compile.h).
 * Errors: -EUCLEAN, and the first contradiction in the log.
 */
int mpl_verify_map(const struct mpl_data_plane *dp, uint32_t root,
		   const uint32_t *sections, size_t count);

#endif
