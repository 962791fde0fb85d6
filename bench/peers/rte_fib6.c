/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rte_fib6: longest prefix match by a trie whose first table takes 24 bits at
 * once and whose others take 8.  A range is cut into the aligned power of two
 * blocks that it consists of, each one a prefix; the next hop is the
 * section's index, the default next hop the unassigned section.
 *
 * An IPv6 address has 128 bits, a guest address at most 64.  The addresses
 * are shifted so far to the left that the highest one used has its top bit
 * set: so the first table serves as many useful bits as it can (with 36 bits
 * of addresses, all but the page offset).
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_byteorder.h>
#include <rte_errno.h>
#include <rte_fib6.h>

#include "peers.h"

#define BULK 32
/* Tables of 256 entries, one for each group of 8 bits below the first 24 that
 * differs: no range has more than this many to itself. */
#define TABLES_EACH 10
#define TABLES_MAX (1u << 17)

struct fib {
	struct rte_fib6 *table;
	const struct mpl_section *sections;
	unsigned int shift;
	uint64_t last; /* what lies above can't be said in the shifted bits */
};

union fib_key {
	uint8_t bytes[RTE_FIB6_IPV6_ADDR_SIZE];
	uint64_t words[2];
};

static inline void make_key(const struct fib *fib, uint64_t gpa,
			    union fib_key *key)
{
	key->words[0] = rte_cpu_to_be_64(gpa << fib->shift);
	key->words[1] = 0;
}

/* The largest aligned block that begins at `start` and ends by `last`. */
static unsigned int block_bits(const struct fib *fib, uint64_t start,
			       uint64_t last)
{
	unsigned int bits = start ? (unsigned int)__builtin_ctzll(start) : 63;

	if (bits > 63 - fib->shift)
		bits = 63 - fib->shift;
	while (start + ((UINT64_C(1) << bits) - 1) > last)
		bits--;
	return bits;
}

static int add_range(struct fib *fib, uint64_t start, uint64_t last,
		     uint64_t hop)
{
	for (;;) {
		unsigned int bits = block_bits(fib, start, last);
		uint64_t end = start + ((UINT64_C(1) << bits) - 1);
		union fib_key key;
		int err;

		make_key(fib, start, &key);
		err = rte_fib6_add(fib->table, key.bytes,
				   (uint8_t)(64 - fib->shift - bits), hop);
		if (err || end == last)
			return err;
		start = end + 1;
	}
}

static int count_prefixes(const struct fib *fib, const struct peer_map *map)
{
	int prefixes = 0;

	for (size_t i = 1; i <= map->count; i++) {
		uint64_t start = map->sections[i].start;
		uint64_t last = start + map->sections[i].span;

		for (;;) {
			uint64_t bits = block_bits(fib, start, last);
			uint64_t end = start + ((UINT64_C(1) << bits) - 1);

			prefixes++;
			if (end == last)
				break;
			start = end + 1;
		}
	}
	return prefixes;
}

static int create(struct fib *fib, const struct peer_map *map)
{
	size_t tables = map->count * TABLES_EACH + 64;
	bool small = map->count < 32767;
	size_t most = small ? 32767 : TABLES_MAX;
	static unsigned int serial; /* tables are known by name */
	struct rte_fib6_conf config = {
		.type = RTE_FIB6_TRIE,
		.default_nh = 0,
		.max_routes = count_prefixes(fib, map) + 1,
		.trie = {
			/* 2 bytes have 15 bits for a hop or a table's index. */
			.nh_sz = small ? RTE_FIB6_TRIE_2B : RTE_FIB6_TRIE_4B,
			.num_tbl8 = (uint32_t)(tables < most ? tables : most),
		},
	};
	char name[24];

	snprintf(name, sizeof(name), "ranges%u", serial++);
	fib->table = rte_fib6_create(name, -1, &config);
	if (!fib->table)
		return -rte_errno;
	/* The widest vectors that the processor and EAL allow. */
	return rte_fib6_select_lookup(fib->table, RTE_FIB6_LOOKUP_DEFAULT);
}

static void destroy(void *self)
{
	struct fib *fib = self;

	rte_fib6_free(fib->table);
	free(fib);
}

static int build(const struct peer_map *map, void **out)
{
	const struct mpl_section *top = &map->sections[map->count];
	struct fib *fib;
	int err;

	if (!map->count)
		return -ENOTSUP;
	fib = calloc(1, sizeof(*fib));
	if (!fib)
		return -ENOMEM;
	fib->sections = map->sections;
	fib->last = top->start + top->span;
	fib->shift = fib->last ? __builtin_clzll(fib->last) : 63;
	if (fib->shift > 32)
		fib->shift = 32;
	err = create(fib, map);
	for (size_t i = 1; !err && i <= map->count; i++) {
		const struct mpl_section *section = &map->sections[i];

		err = add_range(fib, section->start,
				section->start + section->span, i);
	}
	if (err) {
		destroy(fib);
		return err == -ENOSPC ? -ENOTSUP : err;
	}
	*out = fib;
	return 0;
}

static const struct mpl_section *lookup(void *self, uint64_t gpa)
{
	const struct fib *fib = self;
	const struct mpl_section *section;
	union fib_key key;
	uint64_t hop;

	if (gpa > fib->last)
		return fib->sections;
	make_key(fib, gpa, &key);
	rte_fib6_lookup_bulk(fib->table, &key.bytes, &hop, 1);
	section = &fib->sections[hop];
	return mpl_section_covers(section, gpa) ? section : fib->sections;
}

static void sweep(void *self, const uint64_t *gpa, size_t count)
{
	peer_sweep(lookup, self, gpa, count);
}

static void sweep_bulk(void *self, const uint64_t *gpa, size_t count)
{
	const struct fib *fib = self;
	union fib_key keys[BULK];
	uint64_t hops[BULK];

	for (size_t done = 0; done < count; done += BULK) {
		size_t n = count - done < BULK ? count - done : BULK;

		for (size_t i = 0; i < n; i++)
			make_key(fib, gpa[done + i], &keys[i]);
		rte_fib6_lookup_bulk(fib->table, &keys[0].bytes, hops, (int)n);
		for (size_t i = 0; i < n; i++) {
			const struct mpl_section *section =
				&fib->sections[hops[i]];

			/* Also right for what lies above fib->last. */
			if (!mpl_section_covers(section, gpa[done + i]))
				section = fib->sections;
			peer_use(section);
		}
	}
}

const struct peer peer_rte_fib6 = {
	.name = "rte_fib6",
	.cannot = "ranges (cut into prefixes), a change of several at once",
	.build = build,
	.free = destroy,
	.lookup = lookup,
	.sweep = sweep,
	.sweep_bulk = sweep_bulk,
};
