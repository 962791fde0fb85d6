/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/torture/torture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * System memory, by the upper half of the address:
 *
 *   0       the hand: 4 KiB of the clock, at the phase's page
 *   1 .. 8  markers, each in one of 64 places or disabled
 *   9       64 KiB of RAM in one of 64 places
 *   10      a window onto one of the RAM's pages, readonly at times
 *   11      two regions, of which either is on top
 *   12      a region of 1 to 8 pages
 *   32 ..   slots
 */
enum {
	PAGE = 0x1000,
	PLACES = 64,
	MARKER_STEP = 0x2000,
	RAM_SIZE = 0x10000,
	PHASES = 1 << 24,
};

#define AREA(n)	     ((uint64_t)(n) << 32)
#define SHIFT_FROM   AREA(1)
#define SHIFT_TO     AREA(256)
#define SHIFT_LENGTH AREA(16)

static mpl_result_t marker_read(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t *value)
{
	(void)size, (void)attrs;
	*value = ((uint64_t)(uintptr_t)opaque << 16) | (offset & 0xffff);
	return MPL_OK;
}

static mpl_result_t marker_write(void *opaque, uint64_t offset,
				 unsigned int size, struct mpl_attrs attrs,
				 uint64_t value)
{
	(void)opaque, (void)offset, (void)size, (void)attrs, (void)value;
	return MPL_OK;
}

static const struct mpl_io_ops marker_ops = {
	.read = marker_read,
	.write = marker_write,
	.concurrency = MPL_LOCK_FREE,
};

static void must(int err, const char *what)
{
	if (err)
		fail("%s: error %d", what, -err);
}

static struct mpl_region *new_io(struct world *world, const char *name,
				 uint64_t size, uintptr_t number)
{
	struct mpl_region *region;

	must(mpl_region_new_io(world->plane, name, size, &marker_ops,
			       (void *)number, &region),
	     name);
	return region;
}

static struct mpl_region *new_alias(struct world *world, const char *name,
				    struct mpl_region *target, uint64_t offset,
				    uint64_t size)
{
	struct mpl_region *region;

	must(mpl_region_new_alias(world->plane, name, target, offset, size,
				  &region),
	     name);
	return region;
}

static void make_regions(struct world *world)
{
	struct mpl_plane *plane = world->plane;

	must(mpl_region_new_container(plane, "system", UINT64_MAX,
				      &world->system),
	     "system");
	must(mpl_region_new_container(plane, "other", UINT64_MAX,
				      &world->other),
	     "other");
	must(mpl_region_new_ram(plane, "ram", RAM_SIZE, NULL, &world->ram),
	     "ram");
	world->clock = new_io(world, "clock", (uint64_t)PHASES * PAGE, 0);
	world->hand = new_alias(world, "hand", world->clock, 0, PAGE);
	for (uintptr_t i = 0; i < MARKERS; i++)
		world->marker[i] = new_io(world, "marker", PAGE, i + 1);
	world->peek = new_alias(world, "peek", world->ram, 0, PAGE);
	world->over = new_io(world, "over", PAGE, MARKERS + 1);
	world->under = new_io(world, "under", PAGE, MARKERS + 2);
	world->sizer = new_io(world, "sizer", PAGE, MARKERS + 3);
	world->shift = new_alias(world, "shift", world->system, SHIFT_FROM,
				 SHIFT_LENGTH);
	world->master = new_alias(world, "master", world->system, 0,
				  UINT64_MAX);
}

static void attach_regions(struct world *world)
{
	struct mpl_txn *tx = mpl_begin(world->plane);

	mpl_region_add(tx, world->system, 0, world->hand, 0);
	for (unsigned int i = 0; i < MARKERS; i++)
		mpl_region_add(tx, world->system, AREA(1 + i),
			       world->marker[i], 0);
	mpl_region_add(tx, world->system, AREA(9), world->ram, 0);
	mpl_region_add(tx, world->system, AREA(10), world->peek, 0);
	mpl_region_add(tx, world->system, AREA(11), world->under, 0);
	mpl_region_add(tx, world->system, AREA(11), world->over, 1);
	mpl_region_add(tx, world->system, AREA(12), world->sizer, 0);
	mpl_region_add(tx, world->other, SHIFT_TO, world->shift, 0);
	world_set_phase(world, tx, 0);
	must(mpl_commit(tx), "the first commit");
}

static void count_line(void *opaque, enum mpl_log_level level,
		       const char *line)
{
	struct world *world = opaque;

	ADD(world, lines, 1);
	if (!line[0] || strchr(line, '\n'))
		fail("log line (level %d) is empty or has a newline", level);
}

void world_new(struct world *world)
{
	const struct mpl_plane_config config = {
		.max_readers = world->options.readers + 2,
		.max_spaces = 64,
		.control_thread = world->options.control_thread,
		.verify = world->options.verify,
		.full_rebuild = world->options.full_rebuild,
		.readonly_view = world->options.readonly_view,
		.hash_doorbells = world->options.hash,
		/* Every second seed: all leaves packed that can be. */
		.plain_nodes = world->options.seed & 1,
		.retired_max = 64 * MPL_KIB,
		.stall_ms = 10,
		.log = count_line,
		.log_opaque = world,
	};

	must(mpl_plane_new(&world->plane, &config), "plane");
	make_regions(world);
	must(mpl_address_space_new(world->plane, "memory", world->system,
				   &world->space[0]),
	     "memory");
	must(mpl_address_space_new(world->plane, "master", world->master,
				   &world->space[1]),
	     "master");
	must(mpl_address_space_new(world->plane, "other", world->other,
				   &world->space[2]),
	     "other");
	attach_regions(world);
	device_slots_init(world);
	bells_init(world);
}

/* splitmix64's mixing step. */
static uint64_t mix(uint64_t phase, unsigned int number)
{
	uint64_t z = phase * 0x9e3779b97f4a7c15 + number;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static uint64_t marker_at(uint64_t phase, unsigned int i)
{
	return AREA(1 + i) + mix(phase, i) % PLACES * MARKER_STEP;
}

static bool marker_enabled(uint64_t phase, unsigned int i)
{
	return mix(phase, MARKERS + i) % 4 != 0;
}

static uint64_t ram_at(uint64_t phase)
{
	return AREA(9) + phase % PLACES * RAM_SIZE;
}

static uint64_t peek_offset(uint64_t phase)
{
	return phase % (RAM_SIZE / PAGE) * PAGE;
}

static bool peek_readonly(uint64_t phase)
{
	return mix(phase, 100) % 2;
}

static bool over_is_on_top(uint64_t phase)
{
	return mix(phase, 101) % 2;
}

static uint64_t sizer_size(uint64_t phase)
{
	return PAGE * (1 + phase % 8);
}

uint64_t world_random_phase(void)
{
	return random_below(PHASES);
}

void world_set_phase(struct world *world, struct mpl_txn *tx, uint64_t phase)
{
	unsigned int from = (unsigned int)random_below(MARKERS);

	/* In any order: it is one step for whoever looks. */
	if (from % 2)
		mpl_region_set_alias_offset(tx, world->hand, phase * PAGE);
	for (unsigned int n = 0; n < MARKERS; n++) {
		unsigned int i = (from + n) % MARKERS;

		mpl_region_move(tx, world->marker[i], marker_at(phase, i));
		mpl_region_set_enabled(tx, world->marker[i],
				       marker_enabled(phase, i));
	}
	mpl_region_move(tx, world->ram, ram_at(phase));
	mpl_region_set_alias_offset(tx, world->peek, peek_offset(phase));
	mpl_region_set_readonly(tx, world->peek, peek_readonly(phase));
	mpl_region_set_priority(tx, world->over,
				over_is_on_top(phase) ? 1 : -1);
	mpl_region_resize(tx, world->sizer, sizer_size(phase));
	if (from % 2 == 0)
		mpl_region_set_alias_offset(tx, world->hand, phase * PAGE);
}

/* Markers: where they are, and where they would be in another place. */
static struct point marker_point(const struct world *world, uint64_t phase,
				 unsigned int number, uint64_t offset)
{
	unsigned int i = number % MARKERS;
	uint64_t at = marker_at(phase, i);

	if (number < MARKERS)
		return (struct point){
			.gpa = at + offset,
			.region = marker_enabled(phase, i) ?
					  world->marker[i] :
					  NULL,
			.offset = offset,
		};
	at = AREA(1 + i) + ((at & 0xffffffff) + MARKER_STEP *
						(1 + random_below(PLACES - 1))) %
				   (PLACES * MARKER_STEP);
	return (struct point){ .gpa = at + offset };
}

struct point world_point(const struct world *world, uint64_t phase,
			 unsigned int number)
{
	uint64_t offset = random_below(PAGE);
	uint64_t ram = ram_at(phase), size = sizer_size(phase);

	switch (number) {
	case 16:
		return (struct point){ ram + offset, world->ram, offset,
				       false };
	case 17:
		return (struct point){ AREA(9) + (ram + RAM_SIZE - AREA(9)) %
							 (PLACES * RAM_SIZE),
				       NULL, 0, false };
	case 18:
		return (struct point){ AREA(10) + offset, world->ram,
				       peek_offset(phase) + offset,
				       peek_readonly(phase) };
	case 19:
		return (struct point){ AREA(11) + offset,
				       over_is_on_top(phase) ? world->over :
							       world->under,
				       offset, false };
	case 20:
		return (struct point){ AREA(12) + size - 1, world->sizer,
				       size - 1, false };
	case 21:
		return (struct point){ AREA(12) + size, NULL, 0, false };
	default:
		return marker_point(world, phase, number, offset);
	}
}

uint64_t world_gpa(uint64_t gpa, unsigned int space)
{
	return space == 2 ? gpa - SHIFT_FROM + SHIFT_TO : gpa;
}

bool world_outcome(struct world *world, int err, const char *what)
{
	switch (err) {
	case 0:
		ADD(world, commits, 1);
		return true;
	case -EIO: /* the mirror refused it */
		ADD(world, refused, 1);
		return false;
	case -EAGAIN:
		ADD(world, crowded, 1);
		return false;
	default:
		fail("%s: error %d", what, -err);
	}
}
