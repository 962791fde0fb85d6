/* SPDX-License-Identifier: BSD-3-Clause */
/* A mutator: sets phases, plays with devices, spaces and listeners. */
#include "tests/torture/torture.h"

#include <errno.h>
#include <stdlib.h>

static void phase_sync(struct world *world)
{
	struct mpl_txn *tx = mpl_begin(world->plane);

	world_set_phase(world, tx, world_random_phase());
	if (!world_outcome(world, mpl_commit(tx), "setting a phase"))
		nap_us(200);
}

struct later {
	struct world *world;
	int dones;
	int nested;
};

static void later_done(void *arg, int err);

static void phase_async(struct world *world, int nested)
{
	struct later *later = calloc(1, sizeof(*later));
	struct mpl_txn *tx = mpl_begin(world->plane);
	int err;

	if (!later)
		fail("no memory for a request");
	*later = (struct later){ .world = world, .nested = nested };
	world_set_phase(world, tx, world_random_phase());
	ADD(world, asyncs, 1);
	err = mpl_commit_async(tx, later_done, later);
	if (err == -EAGAIN)
		later_done(later, err);
	else if (err)
		fail("mpl_commit_async: error %d", -err);
}

static void later_done(void *arg, int err)
{
	struct later *later = arg;
	struct world *world = later->world;

	if (later->dones++)
		fail("a `done` callback was called twice");
	world_outcome(world, err, "setting a phase, async");
	ADD(world, dones, 1);
	if (later->nested)
		phase_async(world, later->nested - 1);
	free(later);
}

/* Half of a phase, then an error: nothing of it may ever be seen. */
static void phase_failing(struct world *world)
{
	struct mpl_txn *tx = mpl_begin(world->plane);
	int err;

	world_set_phase(world, tx, world_random_phase());
	mpl_region_set_alias_offset(tx, world->hand, 0);
	mpl_region_remove(tx, world->system); /* is in nothing */
	err = mpl_commit(tx);
	if (err == -EAGAIN)
		ADD(world, crowded, 1);
	else if (err != -ENOENT)
		fail("a transaction that must fail gave %d", -err);
	else
		ADD(world, failed, 1);
}

static void phase_aborted(struct world *world)
{
	struct mpl_txn *tx = mpl_begin(world->plane);

	world_set_phase(world, tx, world_random_phase());
	mpl_abort(tx);
	ADD(world, aborts, 1);
}

/* A space of this thread's own: it comes, is read, and goes. */
static void visit_space(struct world *world)
{
	struct mpl_region *roots[] = { world->system, world->master,
				       world->other, world->marker[0] };
	struct mpl_address_space *as;
	uint64_t value;
	int err = mpl_address_space_new(world->plane, "visitor",
					roots[random_below(4)], &as);

	if (!world_outcome(world, err, "a new address space"))
		return;
	(void)mpl_plane_read(world->plane, as, 0x10, (struct mpl_attrs){ 0 },
			     &value, 4);
	device_poke_as(world, as, true);
	err = mpl_address_space_free(as);
	if (err)
		fail("mpl_address_space_free: error %d", -err);
	ADD(world, spaces, 1);
}

static void look_around(struct world *world)
{
	struct mpl_plane_stats stats;
	int err;

	switch (random_below(4)) {
	case 0:
		err = mpl_synchronize(world->plane);
		if (err)
			fail("mpl_synchronize: error %d", -err);
		break;
	case 1:
		mpl_reclaim(world->plane);
		break;
	default:
		mpl_plane_stats(world->plane, &stats);
		/* The limit, what removals may use, and one commit more. */
		if (stats.retired_bytes > 4 * MPL_MIB)
			fail("%llu bytes are retired",
			     (unsigned long long)stats.retired_bytes);
	}
}

static void step(struct world *world)
{
	uint64_t dice = random_below(100);

	if (dice < 30)
		phase_sync(world);
	else if (dice < 38)
		phase_async(world, (int)random_below(3));
	else if (dice < 43)
		phase_failing(world);
	else if (dice < 46)
		phase_aborted(world);
	else if (dice < 50)
		visit_space(world);
	else if (dice < 52)
		mirror_visit(world);
	else if (dice < 55)
		look_around(world);
	else if (dice < 63)
		bells_mutate(world);
	else if (dice < 68)
		device_poke_as(world, world->space[random_below(2)], true);
	else
		device_mutate(world);
}

void *mutator_thread(void *arg)
{
	struct world *world = arg;
	static unsigned int numbers;

	self.random = world->options.seed * 37 +
		      __atomic_fetch_add(&numbers, 1, __ATOMIC_RELAXED);
	while (!__atomic_load_n(&world->stop, __ATOMIC_RELAXED))
		step(world);
	return NULL;
}
