/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mirror of system memory that fails at random.  What it is told must fit
 * what it knows, whatever was unwound in between; in the end it must be equal
 * to the view.
 */
#include "tests/torture/torture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RANGES = 512, FAILS_ONE_IN = 1500 };

struct mirror {
	struct world *world;
	struct mpl_listener *listener;
	struct mpl_flat_range ranges[RANGES];
	unsigned int count;
	bool fails;
	unsigned int compared;
};

static struct mirror mirror;

static int dice(const struct mirror *at)
{
	bool ending = __atomic_load_n(&at->world->stop, __ATOMIC_RELAXED);

	return at->fails && !ending && !random_below(FAILS_ONE_IN) ? -EIO : 0;
}

/* Where `start` is, or would be. */
static unsigned int find(const struct mirror *at, uint64_t start)
{
	unsigned int i = 0;

	while (i < at->count && at->ranges[i].start < start)
		i++;
	return i;
}

static bool is_equal(const struct mpl_flat_range *a,
		     const struct mpl_flat_range *b)
{
	return a->start == b->start && a->last == b->last &&
	       a->region == b->region && a->offset == b->offset &&
	       a->readonly == b->readonly;
}

static int range_add(void *opaque, const struct mpl_flat_range *range)
{
	struct mirror *at = opaque;
	unsigned int i = find(at, range->start);

	if (dice(at))
		return -EIO;
	if (at->count == RANGES)
		fail("the mirror is full");
	if ((i < at->count && at->ranges[i].start <= range->last) ||
	    (i && at->ranges[i - 1].last >= range->start))
		fail("a listener is told of %llx..%llx, which overlaps",
		     (unsigned long long)range->start,
		     (unsigned long long)range->last);
	memmove(&at->ranges[i + 1], &at->ranges[i],
		(at->count - i) * sizeof(at->ranges[0]));
	at->ranges[i] = *range;
	at->count++;
	return 0;
}

static int range_del(void *opaque, const struct mpl_flat_range *range)
{
	struct mirror *at = opaque;
	unsigned int i = find(at, range->start);

	if (dice(at))
		return -EIO;
	if (i == at->count || !is_equal(&at->ranges[i], range))
		fail("a listener loses %llx..%llx, which it has not",
		     (unsigned long long)range->start,
		     (unsigned long long)range->last);
	at->count--;
	memmove(&at->ranges[i], &at->ranges[i + 1],
		(at->count - i) * sizeof(at->ranges[0]));
	return 0;
}

static int step(void *opaque)
{
	return dice(opaque);
}

static int prepare(void *opaque, const struct mpl_listener_plan *plan)
{
	(void)plan;
	return dice(opaque);
}

static int reset(void *opaque)
{
	struct mirror *at = opaque;

	at->count = 0;
	return 0;
}

static const struct mpl_listener_ops mirror_ops = {
	.name = "mirror",
	.begin = step,
	.prepare = prepare,
	.range_add = range_add,
	.range_del = range_del,
	.commit = step,
	.reset = reset,
};

/* Another one, told after it and unwound before it. */
static const struct mpl_listener_ops visitor_ops = {
	.name = "visitor",
	.priority = 1,
	.range_add = range_add,
	.range_del = range_del,
	.reset = reset,
};

void mirror_register(struct world *world)
{
	mirror.world = world;
	if (mpl_listener_register(world->space[0], &mirror_ops, &mirror,
				  &mirror.listener))
		fail("the mirror cannot be registered");
	mirror.fails = true;
}

void mirror_recover(struct world *world)
{
	if (!mpl_listener_error(mirror.listener))
		return;
	ADD(world, resyncs, 1);
	while (mpl_listener_resync(mirror.listener))
		if (!mpl_listener_error(mirror.listener))
			fail("a resync failed, and the listener is fine");
}

static int compare(void *arg, const struct mpl_flat_range *range)
{
	struct mirror *at = arg;
	unsigned int i = at->compared++;

	if (i >= at->count || !is_equal(&at->ranges[i], range))
		fail("the mirror differs from the view at %llx",
		     (unsigned long long)range->start);
	return 0;
}

void mirror_end(struct world *world)
{
	mirror.fails = false;
	mirror_recover(world);
	mirror.compared = 0;
	mpl_address_space_walk(world->space[0], compare, &mirror);
	if (mirror.compared != mirror.count)
		fail("the mirror has %u ranges, the view %u", mirror.count,
		     mirror.compared);
	if (mpl_listener_unregister(mirror.listener))
		fail("mpl_listener_unregister");
	if (mirror.count)
		fail("an unregistered listener keeps %u ranges", mirror.count);
}

void mirror_visit(struct world *world)
{
	struct mirror *visitor = calloc(1, sizeof(*visitor));
	int err;

	if (!visitor)
		fail("no memory for a listener");
	visitor->world = world;
	err = mpl_listener_register(world->space[random_below(SPACES)],
				    &visitor_ops, visitor, &visitor->listener);
	if (err)
		fail("mpl_listener_register: error %d", -err);
	nap_us((unsigned int)random_below(500));
	err = mpl_listener_unregister(visitor->listener);
	if (err)
		fail("mpl_listener_unregister: error %d", -err);
	if (visitor->count)
		fail("a listener that left keeps %u ranges", visitor->count);
	free(visitor);
	ADD(world, listeners, 1);
}
