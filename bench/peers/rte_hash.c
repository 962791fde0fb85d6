/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rte_hash from page number to section, in its lock-free mode.  A hash knows
 * no ranges: every page of a section is a key of its own, and regions that
 * start or end inside a page can't be told apart.
 */
#include <errno.h>
#include <stdlib.h>

#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>

#include "peers.h"

#define PAGE_BITS 12
#define PAGE_MASK ((UINT64_C(1) << PAGE_BITS) - 1)
/* More keys than this (a GiB of RAM is 2^18) and it is no sensible choice. */
#define PAGES_MAX (UINT64_C(1) << 21)
#define BULK 32

struct hash {
	struct rte_hash *table;
	const struct mpl_section *sections;
};

static int count_pages(const struct peer_map *map, uint64_t *out)
{
	uint64_t pages = 0;

	for (size_t i = 1; i <= map->count; i++) {
		const struct mpl_section *section = &map->sections[i];

		if ((section->start | (section->span + 1)) & PAGE_MASK)
			return -ENOTSUP;
		pages += (section->span >> PAGE_BITS) + 1;
		if (pages > PAGES_MAX)
			return -ENOTSUP;
	}
	*out = pages;
	return 0;
}

static int add_pages(struct rte_hash *table, const struct mpl_section *section)
{
	uint64_t first = section->start >> PAGE_BITS;
	uint64_t last = (section->start + section->span) >> PAGE_BITS;

	for (uint64_t page = first; page <= last; page++) {
		int err = rte_hash_add_key_data(table, &page,
						(void *)(uintptr_t)section);

		if (err)
			return err;
	}
	return 0;
}

static void destroy(void *self)
{
	struct hash *hash = self;

	rte_hash_free(hash->table);
	free(hash);
}

static int build(const struct peer_map *map, void **out)
{
	static unsigned int serial; /* tables are known by name */
	struct rte_hash_parameters parameters = {
		.key_len = sizeof(uint64_t),
		.hash_func = rte_hash_crc,
		.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF |
			      RTE_HASH_EXTRA_FLAGS_EXT_TABLE,
	};
	struct hash *hash;
	uint64_t pages;
	char name[24];
	int err;

	err = count_pages(map, &pages);
	if (err)
		return err;
	hash = calloc(1, sizeof(*hash));
	if (!hash)
		return -ENOMEM;
	snprintf(name, sizeof(name), "pages%u", serial++);
	parameters.name = name;
	parameters.entries = (uint32_t)(pages < 64 ? 64 : pages);
	hash->sections = map->sections;
	hash->table = rte_hash_create(&parameters);
	if (!hash->table) {
		free(hash);
		return -rte_errno;
	}
	for (size_t i = 1; i <= map->count; i++) {
		err = add_pages(hash->table, &map->sections[i]);
		if (err) {
			destroy(hash);
			return err;
		}
	}
	*out = hash;
	return 0;
}

static const struct mpl_section *lookup(void *self, uint64_t gpa)
{
	const struct hash *hash = self;
	const struct mpl_section *section;
	uint64_t page = gpa >> PAGE_BITS;
	void *data;

	if (rte_hash_lookup_data(hash->table, &page, &data) < 0)
		return hash->sections;
	section = data;
	return mpl_section_covers(section, gpa) ? section : hash->sections;
}

static void sweep(void *self, const uint64_t *gpa, size_t count)
{
	peer_sweep(lookup, self, gpa, count);
}

static void sweep_bulk(void *self, const uint64_t *gpa, size_t count)
{
	const struct hash *hash = self;
	const void *keys[BULK];
	uint64_t pages[BULK];
	void *data[BULK];

	for (size_t i = 0; i < BULK; i++)
		keys[i] = &pages[i];
	for (size_t done = 0; done < count; done += BULK) {
		size_t n = count - done < BULK ? count - done : BULK;
		uint64_t hits = 0;

		for (size_t i = 0; i < n; i++)
			pages[i] = gpa[done + i] >> PAGE_BITS;
		rte_hash_lookup_bulk_data(hash->table, keys, (uint32_t)n,
					  &hits, data);
		for (size_t i = 0; i < n; i++) {
			const struct mpl_section *section =
				hits >> i & 1 ? data[i] : hash->sections;

			if (!mpl_section_covers(section, gpa[done + i]))
				section = hash->sections;
			peer_use(section);
		}
	}
}

const struct peer peer_rte_hash = {
	.name = "rte_hash",
	.cannot = "ranges (a key a page), sub-page regions, many GiB of RAM",
	.build = build,
	.free = destroy,
	.lookup = lookup,
	.sweep = sweep,
	.sweep_bulk = sweep_bulk,
};
