/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The accesses that real guests made, in the maps that they made them in:
 * recorded machines, each at the publication that saw most accesses.
 *
 *	recorded/NAME/lookup	every access in its own address space, by the
 *				reader of the processor that made it
 *	recorded/NAME/walk	the same, caches off
 *	recorded/NAME/space	the accesses of the busiest address space only,
 *				by one reader, which is what peers are given
 *	recorded/NAME/PEER
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer_bench.h"
#include "recording.h"
#include "world.h"

#define READERS_MAX 16
#define PATH_LEN    256

static const char *const folders[] = {
	"tests/data/boot",
	"../shared/data/boot",
	"../shared/data/many",
};

struct machine {
	const char *name;
	const char *folder; /* NULL: not there */
	struct recording *recording;
	struct mpl_plane *plane;
	struct mpl_address_space **spaces;
	struct peer_input busiest;
	struct mpl_address_space *busiest_space;
};

static struct machine machines[] = {
	{ .name = "microvm-linux" },
	{ .name = "q35-linux" },
	{ .name = "aarch64-virt-linux" },
	{ .name = "q35-32-virtio-linux" },
};
#define MACHINES (sizeof(machines) / sizeof(*machines))

static int add_range(struct machine *machine, struct mpl_txn *tx,
		     struct mpl_region *root, const struct trace_range *range)
{
	static const struct mpl_ram_config unbacked = { .unbacked = true };
	uint64_t size = range->last - range->start;
	struct mpl_region *region;
	int err;

	if (size != UINT64_MAX)
		size++;
	switch (machine->recording->kinds[range->region]) {
	case MPL_RAM:
	case MPL_ROM:
	case MPL_RAM_DEVICE:
		err = mpl_region_new_ram(machine->plane, NULL, size, &unbacked,
					 &region);
		break;
	default:
		err = mpl_region_new_io(machine->plane, NULL, size,
					&world_io_ops, NULL, &region);
	}
	if (err)
		return err;
	mpl_region_set_unmergeable(region, true);
	mpl_region_add(tx, root, range->start, region, 0);
	mpl_region_unref(region);
	return 0;
}

static int make_root(struct machine *machine, const struct recorded_view *view,
		     struct mpl_region **out)
{
	struct mpl_txn *tx;
	int err =
		mpl_region_new_container(machine->plane, NULL, UINT64_MAX, out);

	if (err)
		return err;
	tx = mpl_begin(machine->plane);
	for (size_t i = 0; !err && i < view->count; i++)
		err = add_range(machine, tx, *out, &view->ranges[i]);
	if (!err)
		return mpl_commit(tx);
	mpl_abort(tx);
	return err;
}

static int make_spaces(struct machine *machine, struct mpl_region **roots)
{
	const struct recording *recording = machine->recording;
	int err = 0;

	for (size_t i = 0; !err && i < recording->views_count; i++)
		err = make_root(machine, &recording->views[i], &roots[i]);
	for (size_t i = 0; !err && i < recording->spaces_count; i++)
		err = mpl_address_space_new(machine->plane, NULL,
					    roots[recording->spaces[i].view],
					    &machine->spaces[i]);
	return err;
}

static int make_plane(struct machine *machine)
{
	const struct recording *recording = machine->recording;
	struct mpl_region **roots;
	int err = mpl_plane_new(&machine->plane, NULL);

	if (err)
		return err;
	machine->spaces =
		calloc(recording->spaces_count, sizeof(*machine->spaces));
	roots = calloc(recording->views_count, sizeof(*roots));
	err = machine->spaces && roots ? make_spaces(machine, roots) : -ENOMEM;
	for (size_t i = 0; roots && i < recording->views_count; i++)
		mpl_region_unref(roots[i]);
	free(roots);
	return err;
}

static int copy_sections(const struct recorded_view *view, struct peer_map *map)
{
	size_t bytes = (view->count + 1) * sizeof(*map->sections);
	struct mpl_section *sections;

	if (posix_memalign((void **)&sections, 64, bytes))
		return -ENOMEM;
	memset(sections, 0, bytes);
	sections[0].span = UINT64_MAX;
	sections[0].flags = MPL_SECTION_UNASSIGNED;
	for (size_t i = 0; i < view->count; i++) {
		sections[i + 1].start = view->ranges[i].start;
		sections[i + 1].span =
			view->ranges[i].last - view->ranges[i].start;
		sections[i + 1].id = (uint32_t)(i + 1);
	}
	map->sections = sections;
	map->count = view->count;
	return 0;
}

/* The busiest space's accesses as a list of addresses, for peers. */
static int copy_busiest(struct machine *machine)
{
	const struct recording *recording = machine->recording;
	struct peer_input *input = &machine->busiest;
	uint64_t *gpa;
	size_t best = 0, count = 0;

	for (size_t i = 0; i < recording->spaces_count; i++) {
		if (recording->spaces[i].accesses >
		    recording->spaces[best].accesses)
			best = i;
	}
	machine->busiest_space = machine->spaces[best];
	gpa = calloc(recording->spaces[best].accesses + PEER_BATCH,
		     sizeof(*gpa));
	if (!gpa)
		return -ENOMEM;
	for (size_t i = 0; i < recording->count; i++) {
		if (recording->accesses[i].space == best)
			gpa[count++] = recording->accesses[i].gpa;
	}
	/* Up to a whole number of batches, from the beginning again. */
	for (size_t i = 0; count % PEER_BATCH; i++)
		gpa[count++] = gpa[i];
	input->gpa = gpa;
	input->count = count;
	return copy_sections(&recording->views[recording->spaces[best].view],
			     &input->map);
}

static void forget(struct machine *machine)
{
	if (machine->recording)
		recording_free(machine->recording);
	mpl_plane_free(machine->plane);
	free(machine->spaces);
	free((void *)(uintptr_t)machine->busiest.map.sections);
	free((void *)(uintptr_t)machine->busiest.gpa);
	*machine = (struct machine){ .name = machine->name,
				     .folder = machine->folder };
}

static int load(struct machine *machine)
{
	char base[PATH_LEN];
	int err;

	if (machine->recording)
		return 0;
	snprintf(base, sizeof(base), "%s/%s", machine->folder, machine->name);
	err = recording_load(base, &machine->recording);
	if (!err && machine->recording->readers > READERS_MAX)
		err = -ENOSPC;
	if (!err)
		err = make_plane(machine);
	if (!err)
		err = copy_busiest(machine);
	if (err) {
		fprintf(stderr, "%s: %s\n", base, strerror(-err));
		forget(machine);
	}
	return err;
}

static int get_busiest(const void *opaque, struct peer_input *input)
{
	struct machine *machine = (void *)(uintptr_t)opaque;
	int err = load(machine);

	*input = machine->busiest;
	return err;
}

static int setup(void *arg)
{
	return load(arg);
}

/* Do look-ups and the record agree?  Every access has been checked against
 * the recorded view when it was loaded. */
static bool agrees(const struct machine *machine, struct mpl_reader *reader,
		   const struct recorded_access *access)
{
	const struct recording *recording = machine->recording;
	const struct recorded_view *view =
		&recording->views[recording->spaces[access->space].view];
	const struct mpl_address_space *as = machine->spaces[access->space];
	const struct mpl_section *found = mpl_lookup(reader, as, access->gpa);

	if (found != mpl_lookup_uncached(reader, as, access->gpa))
		return false;
	for (size_t i = 0; i < view->count; i++) {
		const struct trace_range *range = &view->ranges[i];

		if (access->gpa >= range->start && access->gpa <= range->last)
			return found->start == range->start &&
			       found->span == range->last - range->start;
	}
	return mpl_section_is_unassigned(found);
}

static void lookup_turn(const struct machine *machine,
			struct mpl_reader *const *readers, size_t at)
{
	const struct recorded_access *access =
		&machine->recording->accesses[at];
	unsigned int reader = 0;

	for (size_t i = 0; i < QUIESCENT_EVERY; i++, access++) {
		reader = access->reader;
		peer_use(mpl_lookup(readers[reader],
				    machine->spaces[access->space],
				    access->gpa));
	}
	mpl_reader_quiescent(readers[reader]);
}

static void walk_turn(const struct machine *machine,
		      struct mpl_reader *const *readers, size_t at)
{
	const struct recorded_access *access =
		&machine->recording->accesses[at];
	unsigned int reader = 0;

	for (size_t i = 0; i < QUIESCENT_EVERY; i++, access++) {
		reader = access->reader;
		peer_use(mpl_lookup_uncached(readers[reader],
					     machine->spaces[access->space],
					     access->gpa));
	}
	mpl_reader_quiescent(readers[reader]);
}

static void run_turns(struct gb_state *state, const struct machine *machine,
		      struct mpl_reader *const *readers,
		      void (*turn)(const struct machine *machine,
				   struct mpl_reader *const *readers,
				   size_t at))
{
	size_t count =
		machine->recording->count / QUIESCENT_EVERY * QUIESCENT_EVERY;
	uint64_t misses = 0;
	size_t at = 0;

	for (size_t i = 0; i < 200 && i < machine->recording->count; i++) {
		size_t pick = i * (machine->recording->count / 200);

		if (!agrees(machine, readers[0],
			    &machine->recording->accesses[pick]))
			gb_fail(state, "a look-up differs from the record");
	}
	for (unsigned int i = 0; i < machine->recording->readers; i++)
		misses -= readers[i]->misses;
	while (gb_next(state, PEER_BATCH)) {
		for (size_t i = 0; i < PEER_BATCH; i += QUIESCENT_EVERY) {
			turn(machine, readers, at);
			at += QUIESCENT_EVERY;
			if (at == count)
				at = 0;
		}
	}
	for (unsigned int i = 0; i < machine->recording->readers; i++)
		misses += readers[i]->misses;
	gb_counter(state, "misses", (double)misses / (double)gb_units(state));
	gb_counter(state, "spaces", (double)machine->recording->spaces_count);
}

static void run_with_readers(struct gb_state *state,
			     const struct machine *machine, bool walk)
{
	struct mpl_reader *readers[READERS_MAX] = { NULL };
	bool all = true;

	for (unsigned int i = 0; i < machine->recording->readers; i++) {
		readers[i] = world_enter(machine->plane);
		all &= readers[i] != NULL;
	}
	if (!all)
		gb_fail(state, "no reader");
	else
		run_turns(state, machine, readers,
			  walk ? walk_turn : lookup_turn);
	for (unsigned int i = 0; i < machine->recording->readers; i++)
		world_leave(readers[i]);
}

static void run_lookup(struct gb_state *state, void *arg)
{
	run_with_readers(state, arg, false);
}

static void run_walk(struct gb_state *state, void *arg)
{
	run_with_readers(state, arg, true);
}

static void space_turn(const struct machine *machine, struct mpl_reader *reader,
		       const uint64_t *gpa)
{
	for (size_t i = 0; i < QUIESCENT_EVERY; i++)
		peer_use(mpl_lookup(reader, machine->busiest_space, gpa[i]));
}

static void burst_turn(const struct machine *machine, struct mpl_reader *reader,
		       const uint64_t *gpa)
{
	const struct mpl_section *found[QUIESCENT_EVERY];

	mpl_lookup_burst(reader, machine->busiest_space, gpa, QUIESCENT_EVERY,
			 found);
	for (size_t i = 0; i < QUIESCENT_EVERY; i++)
		peer_use(found[i]);
}

static void sweep_space(struct gb_state *state, const struct machine *machine,
			struct mpl_reader *reader,
			void (*turn)(const struct machine *machine,
				     struct mpl_reader *reader,
				     const uint64_t *gpa))
{
	const struct peer_input *input = &machine->busiest;
	size_t at = 0;

	while (gb_next(state, PEER_BATCH)) {
		for (size_t i = 0; i < PEER_BATCH; i += QUIESCENT_EVERY) {
			turn(machine, reader, input->gpa + at + i);
			mpl_reader_quiescent(reader);
		}
		at += PEER_BATCH;
		if (at == input->count)
			at = 0;
	}
	gb_counter(state, "ranges", (double)input->map.count);
}

static void run_sweep(struct gb_state *state, const struct machine *machine,
		      bool burst)
{
	struct mpl_reader *reader = world_enter(machine->plane);

	if (reader)
		sweep_space(state, machine, reader,
			    burst ? burst_turn : space_turn);
	else
		gb_fail(state, "no reader");
	world_leave(reader);
}

static void run_space(struct gb_state *state, void *arg)
{
	run_sweep(state, arg, false);
}

static void run_burst(struct gb_state *state, void *arg)
{
	run_sweep(state, arg, true);
}

static int register_machine(struct machine *machine)
{
	static const struct {
		const char *name;
		void (*run)(struct gb_state *state, void *arg);
	} own[] = {
		{ "lookup", run_lookup },
		{ "walk", run_walk },
		{ "space", run_space },
		{ "burst", run_burst },
	};
	char name[96];
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(own) / sizeof(*own); i++) {
		struct gb_bench bench = {
			.name = name,
			.setup = setup,
			.run = own[i].run,
			.arg = machine,
		};

		snprintf(name, sizeof(name), "recorded/%s/%s", machine->name,
			 own[i].name);
		err = gb_register(&bench);
	}
	snprintf(name, sizeof(name), "recorded/%s", machine->name);
	for (size_t i = 0; !err && peers[i]; i++)
		err = peer_bench_register(name, NULL, peers[i], get_busiest,
					  machine);
	return err;
}

static void find_folder(struct machine *machine)
{
	char path[PATH_LEN];

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		snprintf(path, sizeof(path), "%s/%s.acc.zst", folders[i],
			 machine->name);
		if (!access(path, R_OK)) {
			machine->folder = folders[i];
			return;
		}
	}
}

int register_recorded(void)
{
	int err = 0;

	for (size_t i = 0; !err && i < MACHINES; i++) {
		find_folder(&machines[i]);
		if (machines[i].folder)
			err = register_machine(&machines[i]);
	}
	return err;
}

void recorded_free_all(void)
{
	for (size_t i = 0; i < MACHINES; i++)
		forget(&machines[i]);
}
