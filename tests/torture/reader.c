/* SPDX-License-Identifier: BSD-3-Clause */
/* A reader: looks up, checks against the phase, accesses; leaves and stalls. */
#include "tests/torture/torture.h"

#include <string.h>

enum { PAGE = 0x1000, BATCH = 12 };

struct watch {
	struct world *world;
	unsigned int number;
	uint64_t generation; /* the last that was seen */
};

static const struct mpl_section *pinned(const struct mpl_reader *reader,
					const struct mpl_snapshot *snapshot,
					const struct mpl_address_space *as,
					uint64_t gpa)
{
	const struct mpl_section *section =
		mpl_walk(reader, mpl_root_of(snapshot, as)->entry, gpa);

	return mpl_section_covers(section, gpa) ? section : reader->sections;
}

static void check_point(const struct mpl_section *section, struct point point,
			uint64_t gpa, uint64_t phase, unsigned int number,
			const char *how)
{
	struct mpl_region *region = mpl_section_region(section);

	if (region != point.region)
		fail("%s of phase %llu, point %u at %llx: found %s, expected %s",
		     how, (unsigned long long)phase, number,
		     (unsigned long long)gpa,
		     region ? mpl_region_name(region) : "nothing",
		     point.region ? mpl_region_name(point.region) : "nothing");
	if (!region)
		return;
	if (mpl_section_offset(section, gpa) != point.offset)
		fail("%s of phase %llu, point %u: offset %llx, expected %llx",
		     how, (unsigned long long)phase, number,
		     (unsigned long long)mpl_section_offset(section, gpa),
		     (unsigned long long)point.offset);
	if (!(section->flags & MPL_SECTION_READONLY) == point.readonly)
		fail("%s of phase %llu, point %u: readonly is wrong", how,
		     (unsigned long long)phase, number);
}

/* The phase that a snapshot has; its generation never goes back. */
static uint64_t phase_of(struct watch *watch, const struct mpl_section *hand,
			 const struct mpl_snapshot *snapshot)
{
	const struct world *world = watch->world;

	if (mpl_section_region(hand) != world->clock)
		fail("the hand is not there");
	if (snapshot->generation < watch->generation)
		fail("generation %llu after %llu",
		     (unsigned long long)snapshot->generation,
		     (unsigned long long)watch->generation);
	watch->generation = snapshot->generation;
	return mpl_section_offset(hand, 0) / PAGE;
}

/*
 * One snapshot, held: each of its answers follows from its phase.  Then the
 * ordinary look-ups, caches and all: the same, unless a commit came between.
 */
static uint64_t check_look_ups(struct watch *watch)
{
	struct world *world = watch->world;
	struct mpl_reader *reader = self.reader;
	const struct mpl_snapshot *snapshot = mpl_reader_snapshot(reader);
	uint64_t phase = phase_of(
		watch, pinned(reader, snapshot, world->space[0], 0), snapshot);
	const struct mpl_section *found[BATCH];
	struct point points[BATCH];
	unsigned int numbers[BATCH];
	uint64_t gpas[BATCH];

	for (unsigned int i = 0; i < BATCH; i++) {
		unsigned int space = (unsigned int)random_below(SPACES);
		const struct mpl_address_space *as = world->space[space];

		numbers[i] = (unsigned int)random_below(POINTS);
		points[i] = world_point(world, phase, numbers[i]);
		gpas[i] = world_gpa(points[i].gpa, space);
		check_point(pinned(reader, snapshot, as, gpas[i]), points[i],
			    gpas[i], phase, numbers[i], "the held map");
		found[i] = i % 4 ? mpl_lookup(reader, as, gpas[i]) :
				   mpl_lookup_uncached(reader, as, gpas[i]);
	}
	ADD(world, lookups, 2 * BATCH);
	if (mpl_reader_snapshot(reader) != snapshot) {
		ADD(world, overtaken, 1);
		return phase;
	}
	for (unsigned int i = 0; i < BATCH; i++)
		check_point(found[i], points[i], gpas[i], phase, numbers[i],
			    "the look-up");
	ADD(world, checks, 1);
	return phase;
}

/* Only this reader writes its word of the RAM. */
static void check_ram(struct watch *watch, uint64_t phase,
		      const struct mpl_snapshot *snapshot)
{
	struct world *world = watch->world;
	struct mpl_reader *reader = self.reader;
	const struct mpl_attrs attrs = { 0 };
	uint64_t offset = 8 * watch->number, value = random_next(), back;
	struct point point = world_point(world, phase, 16);
	uint64_t gpa = point.gpa - point.offset + offset;
	uint64_t *host = (uint64_t *)((char *)mpl_region_host(world->ram) +
				      offset);
	mpl_result_t result, second;

	result = mpl_store(reader, world->space[0], gpa, attrs, 8,
			   MPL_NATIVE_ENDIAN, value);
	if (result && result != MPL_DECODE_ERROR)
		fail("a store to RAM gave %u", result);
	if (!result && __atomic_load_n(host, __ATOMIC_RELAXED) != value)
		fail("a store to RAM is lost");
	second = mpl_load(reader, world->space[1], gpa, attrs, 8,
			  MPL_NATIVE_ENDIAN, &back);
	if (!result && !second && back != value)
		fail("a load from RAM gave %llx, stored was %llx",
		     (unsigned long long)back, (unsigned long long)value);
	if (second == MPL_DECODE_ERROR && back != UINT64_MAX)
		fail("an unassigned load gave %llx", (unsigned long long)back);
	if (mpl_reader_snapshot(reader) == snapshot && (result || second))
		fail("RAM of phase %llu is not there: %u, %u",
		     (unsigned long long)phase, result, second);
	ADD(world, accesses, 2);
}

static void check_marker(struct watch *watch, uint64_t phase,
			 const struct mpl_snapshot *snapshot)
{
	struct world *world = watch->world;
	unsigned int i = (unsigned int)random_below(MARKERS);
	struct point point = world_point(world, phase, i);
	uint64_t gpa = point.gpa & ~UINT64_C(3), value;
	uint64_t expected = ((uint64_t)(i + 1) << 16) |
			    (point.gpa & (PAGE - 1) & ~UINT64_C(3));
	mpl_result_t result = mpl_load(self.reader, world->space[0], gpa,
				       (struct mpl_attrs){ 0 }, 4,
				       MPL_NATIVE_ENDIAN, &value);

	if (result && result != MPL_DECODE_ERROR)
		fail("a load from a marker gave %u", result);
	if (!result && value != expected)
		fail("marker %u said %llx, expected %llx", i,
		     (unsigned long long)value, (unsigned long long)expected);
	if (mpl_reader_snapshot(self.reader) == snapshot &&
	    (result == MPL_OK) != (point.region != NULL))
		fail("marker %u of phase %llu gave %u", i,
		     (unsigned long long)phase, result);
	ADD(world, accesses, 1);
}

static void turn(struct watch *watch)
{
	const struct mpl_snapshot *snapshot =
		mpl_reader_snapshot(self.reader);
	uint64_t phase = check_look_ups(watch);
	const struct mpl_snapshot *later = mpl_reader_snapshot(self.reader);

	if (later == snapshot) {
		check_ram(watch, phase, snapshot);
		check_marker(watch, phase, snapshot);
	}
	device_poke(watch->world);
	bells_poke(watch->world);
}

static void enlist(struct watch *watch)
{
	char name[16] = "reader-x";
	int err = mpl_reader_register(watch->world->plane, &self.reader);

	if (err)
		fail("mpl_reader_register: error %d", -err);
	name[7] = (char)('a' + watch->number % 26);
	mpl_reader_set_name(self.reader, name);
	if (mpl_reader_online(self.reader))
		fail("mpl_reader_online");
	ADD(watch->world, registrations, 1);
}

static void be_quiet(struct watch *watch)
{
	struct world *world = watch->world;

	switch (random_below(400)) {
	case 0: /* leaves, and comes back */
		if (mpl_reader_unregister(self.reader))
			fail("mpl_reader_unregister");
		self.reader = NULL;
		nap_us((unsigned int)random_below(500));
		enlist(watch);
		break;
	case 1: /* stalls: sleeps and holds everything back */
		nap_us((unsigned int)random_below(25000));
		ADD(world, stalls, 1);
		break;
	case 2:
	case 3:
	case 4:
	case 5: /* sleeps as it should */
		if (mpl_reader_offline(self.reader))
			fail("mpl_reader_offline");
		nap_us((unsigned int)random_below(1000));
		if (mpl_reader_online(self.reader))
			fail("mpl_reader_online");
		break;
	default:
		if (mpl_reader_quiescent(self.reader))
			fail("mpl_reader_quiescent");
	}
}

void *reader_thread(void *arg)
{
	struct watch watch = { .world = arg };
	struct world *world = arg;
	static unsigned int numbers;

	watch.number = __atomic_fetch_add(&numbers, 1, __ATOMIC_RELAXED);
	self.random = world->options.seed * 31 + watch.number;
	enlist(&watch);
	while (!__atomic_load_n(&world->stop, __ATOMIC_RELAXED)) {
		for (uint64_t n = 1 + random_below(4); n; n--)
			turn(&watch);
		be_quiet(&watch);
	}
	if (mpl_reader_unregister(self.reader))
		fail("mpl_reader_unregister at the end");
	return NULL;
}
