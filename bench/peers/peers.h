/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Other ways to find the range that an address lies in, behind one interface,
 * so that the same addresses run over all of them.
 *
 * The rules that keep this fair:
 *
 *   - Every peer answers with the section and has loaded it to check its
 *     bounds, as this library does; what no section covers is sections[0].
 *   - A peer's sweep() is compiled in the peer's own file with its look-up
 *     inline where the peer's API allows that; nobody pays for an indirect
 *     call per address.
 *   - Peers without a way to replace their content while readers run (Judy,
 *     the plain arrays, the prefix table) run without any lock and without
 *     reporting quiescent states: that is in their favour.
 *   - Before a peer is timed, peer_check() compares it with a plain scan.
 */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include <stddef.h>
#include <stdint.h>

#include <memplane/dispatch.h>

/* What is to be found: sections[1] .. sections[count], ascending, disjoint. */
struct peer_map {
	const struct mpl_section *sections; /* [0] is the unassigned one */
	size_t count;
};

struct peer {
	const char *name;
	const char *cannot; /* what of the job it can't do */

	/* 0 or -errno; -ENOTSUP if it can't hold this map at all. */
	int (*build)(const struct peer_map *map, void **out);
	void (*free)(void *self);

	const struct mpl_section *(*lookup)(void *self, uint64_t gpa);
	/* Look all of them up, one after the other. */
	void (*sweep)(void *self, const uint64_t *gpa, size_t count);
	/* The same by the peer's own call for many; NULL: it has none. */
	void (*sweep_bulk)(void *self, const uint64_t *gpa, size_t count);
};

extern const struct peer peer_binary_locked;
extern const struct peer peer_binary;
extern const struct peer peer_eytzinger;
extern const struct peer peer_judy;
extern const struct peer peer_rbtree;
extern const struct peer peer_rte_fib6;
extern const struct peer peer_rte_hash;

/* All of them, ending with NULL. */
extern const struct peer *const peers[];

/* The answer by looking at one section after the other. */
const struct mpl_section *peer_plain_scan(const struct peer_map *map,
					  uint64_t gpa);

/*
 * Compare with a plain scan at `count` addresses and at the edges of about
 * 200 sections.  0, or -EILSEQ after the first difference.
 */
int peer_check(const struct peer *peer, void *self, const struct peer_map *map,
	       const uint64_t *gpa, size_t count);

/* The compiler must take the pointer for used. */
static inline void peer_use(const void *pointer)
{
	__asm__ volatile("" : : "r"(pointer));
}

/*
 * The body of a sweep().  `lookup` is a constant at each call, so that it is
 * inlined; 32 at a time only so that all loops of this program are alike.
 */
static inline __attribute__((always_inline)) void
peer_sweep(const struct mpl_section *(*lookup)(void *self, uint64_t gpa),
	   void *self, const uint64_t *gpa, size_t count)
{
	for (size_t i = 0; i < count; i++)
		peer_use(lookup(self, gpa[i]));
}

#endif
