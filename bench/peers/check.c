/* SPDX-License-Identifier: BSD-3-Clause */
/* All peers, and the check that their answers are right. */
#include <errno.h>
#include <stdio.h>

#include "peers.h"

const struct peer *const peers[] = {
	&peer_binary_locked,
	&peer_binary,
	&peer_eytzinger,
	&peer_judy,
	&peer_rbtree,
	&peer_rte_fib6,
	&peer_rte_hash,
	NULL,
};

const struct mpl_section *peer_plain_scan(const struct peer_map *map,
					  uint64_t gpa)
{
	for (size_t i = 1; i <= map->count; i++) {
		if (mpl_section_covers(&map->sections[i], gpa))
			return &map->sections[i];
	}
	return &map->sections[0];
}

static int check_one(const struct peer *peer, void *self,
		     const struct peer_map *map, uint64_t gpa)
{
	const struct mpl_section *want = peer_plain_scan(map, gpa);
	const struct mpl_section *got = peer->lookup(self, gpa);

	if (got == want)
		return 0;
	fprintf(stderr, "%s: %#llx: section %td instead of %td\n", peer->name,
		(unsigned long long)gpa, got - map->sections,
		want - map->sections);
	return -EILSEQ;
}

int peer_check(const struct peer *peer, void *self, const struct peer_map *map,
	       const uint64_t *gpa, size_t count)
{
	size_t step = map->count / 200 + 1;
	int err = 0;

	for (size_t i = 0; !err && i < count; i++)
		err = check_one(peer, self, map, gpa[i]);
	for (size_t i = 1; !err && i <= map->count; i += step) {
		uint64_t start = map->sections[i].start;
		uint64_t last = start + map->sections[i].span;

		err = check_one(peer, self, map, start);
		if (!err)
			err = check_one(peer, self, map, last);
		if (!err && start)
			err = check_one(peer, self, map, start - 1);
		if (!err && last != UINT64_MAX)
			err = check_one(peer, self, map, last + 1);
	}
	return err;
}
