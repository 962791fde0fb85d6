/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a look-up costs, by access pattern and number of regions.
 *
 *	hot		one address
 *	hot_chained	... that depends on what the look-up before returned
 *	round_robin	the regions in turn
 *	uniform		random byte of a random region
 *	walk		uniform, caches off: the radix alone
 *	walk_chained	... each address depends on the section found before
 *	ports, ports_walk   uniform and walk where the unit is 8 bytes
 */
#include <errno.h>

#include "bench.h"
#include "world.h"

#define BATCH 4096

const int64_t bench_counts[] = { 16, 64, 256, 1024, 4096, 16384, 65536, 0 };

bool bench_count_wanted(int64_t count)
{
	return !bench_quick || count <= BENCH_QUICK_MAX;
}

enum pattern {
	HOT,
	HOT_CHAINED,
	ROUND_ROBIN,
	UNIFORM,
	WALK,
	WALK_CHAINED,
};

static const struct series {
	const char *name;
	enum pattern pattern;
	enum world_shape shape;
} all_series[] = {
	{ "lookup/hot", HOT, SHAPE_PAGES },
	{ "lookup/hot_chained", HOT_CHAINED, SHAPE_RAM },
	{ "lookup/round_robin", ROUND_ROBIN, SHAPE_PAGES },
	{ "lookup/uniform", UNIFORM, SHAPE_PAGES },
	{ "lookup/walk", WALK, SHAPE_PAGES },
	{ "lookup/walk_chained", WALK_CHAINED, SHAPE_PAGES },
	{ "lookup/ports", UNIFORM, SHAPE_PORTS },
	{ "lookup/ports_walk", WALK, SHAPE_PORTS },
};

static void run_cached(struct gb_state *state, const struct world *world,
		       struct mpl_reader *reader, const uint64_t *gpa)
{
	size_t at = 0;

	while (gb_next(state, BATCH)) {
		for (size_t i = 0; i < BATCH; i += QUIESCENT_EVERY) {
			const uint64_t *turn = gpa + at + i;

			for (size_t j = 0; j < QUIESCENT_EVERY; j++)
				peer_use(mpl_lookup(reader, world->as,
						    turn[j]));
			mpl_reader_quiescent(reader);
		}
		at = (at + BATCH) & (WORLD_ADDRESSES - 1);
	}
}

static void run_hot(struct gb_state *state, const struct world *world,
		    struct mpl_reader *reader)
{
	uint64_t gpa = world->uniform[0];

	while (gb_next(state, BATCH)) {
		for (size_t i = 0; i < BATCH; i += QUIESCENT_EVERY) {
			for (size_t j = 0; j < QUIESCENT_EVERY; j++) {
				bench_opaque(gpa);
				peer_use(mpl_lookup(reader, world->as, gpa));
			}
			mpl_reader_quiescent(reader);
		}
	}
}

/*
 * The next address is where the host address lies in the memory behind the
 * region.  That is the same address again, but the processor can't know it
 * before the look-up has its result.
 */
static void run_hot_chained(struct gb_state *state, const struct world *world,
			    struct mpl_reader *reader)
{
	const struct mpl_section *section =
		mpl_lookup(reader, world->as, world->uniform[0]);
	uint64_t gpa = world->uniform[0];
	uint64_t host_to_gpa = section->start - (uint64_t)section->host;

	bench_opaque(host_to_gpa);
	while (gb_next(state, BATCH)) {
		for (size_t i = 0; i < BATCH; i += QUIESCENT_EVERY) {
			for (size_t j = 0; j < QUIESCENT_EVERY; j++) {
				section = mpl_lookup(reader, world->as, gpa);
				gpa = (uint64_t)(section->host +
						 (gpa - section->start)) +
				      host_to_gpa;
			}
			mpl_reader_quiescent(reader);
		}
	}
	if (gpa != world->uniform[0])
		gb_fail(state, "the chain went astray");
}

static void run_walk(struct gb_state *state, const struct world *world,
		     struct mpl_reader *reader)
{
	size_t at = 0;

	while (gb_next(state, BATCH)) {
		for (size_t i = 0; i < BATCH; i += QUIESCENT_EVERY) {
			const uint64_t *turn = world->uniform + at + i;

			for (size_t j = 0; j < QUIESCENT_EVERY; j++)
				peer_use(mpl_lookup_uncached(reader, world->as,
							     turn[j]));
			mpl_reader_quiescent(reader);
		}
		at = (at + BATCH) & (WORLD_ADDRESSES - 1);
	}
}

/*
 * Each address waits for data of the section before: its offset in the region,
 * which is 0 for all of these, but the processor can't know that.
 */
static void run_walk_chained(struct gb_state *state, const struct world *world,
			     struct mpl_reader *reader)
{
	const struct mpl_section *section;
	uint64_t wait = 0;
	size_t at = 0;

	while (gb_next(state, BATCH)) {
		for (size_t i = 0; i < BATCH; i += QUIESCENT_EVERY) {
			const uint64_t *turn = world->uniform + at + i;

			for (size_t j = 0; j < QUIESCENT_EVERY; j++) {
				section = mpl_lookup_uncached(reader, world->as,
							      turn[j] + wait);
				wait = section->offset;
			}
			mpl_reader_quiescent(reader);
		}
		at = (at + BATCH) & (WORLD_ADDRESSES - 1);
	}
	if (wait)
		gb_fail(state, "a region does not begin at its section");
}

/* Nodes on the way, on average; as mpl_walk() goes. */
static double mean_levels(const struct world *world,
			  const struct mpl_reader *reader)
{
	uint32_t root = mpl_root_of(mpl_reader_snapshot(reader), world->as)->entry;
	uint64_t levels = 0;

	for (size_t i = 0; i < WORLD_ADDRESSES; i++) {
		uint32_t entry = root;

		while (!mpl_entry_is_section(entry)) {
			uint64_t gpa = world->uniform[i];

			entry = entry & MPL_ENTRY_END ?
					mpl_leaf_below(reader, entry, gpa) :
					mpl_entry_below(reader, entry, gpa);
			levels++;
		}
	}
	return (double)levels / WORLD_ADDRESSES;
}

static void run_pattern(struct gb_state *state, enum pattern pattern,
			const struct world *world, struct mpl_reader *reader)
{
	uint64_t misses = reader->misses;

	switch (pattern) {
	case HOT:
		run_hot(state, world, reader);
		break;
	case HOT_CHAINED:
		run_hot_chained(state, world, reader);
		break;
	case ROUND_ROBIN:
		run_cached(state, world, reader, world->round_robin);
		break;
	case UNIFORM:
		run_cached(state, world, reader, world->uniform);
		break;
	case WALK:
		run_walk(state, world, reader);
		break;
	case WALK_CHAINED:
		run_walk_chained(state, world, reader);
		break;
	}
	if (pattern < WALK)
		gb_counter(state, "misses",
			   (double)(reader->misses - misses) /
				   (double)gb_units(state));
	gb_counter(state, "levels", mean_levels(world, reader));
}

static void run(struct gb_state *state, void *arg)
{
	const struct series *series = arg;
	struct mpl_reader *reader;
	struct world *world;

	if (world_get(series->shape, (size_t)gb_arg(state, 0), &world)) {
		gb_fail(state, "no such world");
		return;
	}
	reader = world_enter(world->plane);
	if (reader)
		run_pattern(state, series->pattern, world, reader);
	else
		gb_fail(state, "no reader");
	world_leave(reader);
}

int register_lookup(void)
{
	for (size_t i = 0; i < sizeof(all_series) / sizeof(*all_series); i++) {
		const struct series *series = &all_series[i];

		for (const int64_t *count = bench_counts; *count; count++) {
			struct gb_bench bench = {
				.name = series->name,
				.args = count,
				.nargs = 1,
				.longer = bench_longer(*count),
				.run = run,
				.arg = (void *)(uintptr_t)series,
			};
			int err;

			if (!bench_count_wanted(*count) ||
			    /* Parts of RAM are not made that small. */
			    (series->shape == SHAPE_RAM && *count > 1024))
				continue;
			err = gb_register(&bench);
			if (err)
				return err;
		}
	}
	return 0;
}
