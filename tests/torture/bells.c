/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device with doorbells, 16 bytes apart.  The lower half of them are always
 * there, whatever else is added, deleted, or undone with a transaction that
 * fails: a write to one never reaches the callback.  Writes beside them always
 * do.
 */
#include "tests/torture/torture.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BELLS = 64, ALWAYS = 32, BELL_STEP = 16 };
#define BELLS_AT (UINT64_C(13) << 32)

static struct {
	pthread_mutex_t mutex; /* of what comes and goes */
	struct mpl_region *region;
	uint64_t there;
	int fd;
} bells = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local uint64_t callbacks;

static mpl_result_t bell_write(void *opaque, uint64_t offset,
			       unsigned int size, struct mpl_attrs attrs,
			       uint64_t value)
{
	(void)opaque, (void)size, (void)attrs, (void)value;
	if (offset % BELL_STEP == 0 && offset / BELL_STEP < ALWAYS)
		fail("a doorbell at %llx was not there",
		     (unsigned long long)offset);
	callbacks++;
	return MPL_OK;
}

static struct mpl_ioeventfd bell(unsigned int i)
{
	return (struct mpl_ioeventfd){
		.offset = (uint64_t)i * BELL_STEP,
		.size = i % 2 ? 4 : 0,
		.fd = bells.fd,
	};
}

void bells_init(struct world *world)
{
	static const struct mpl_io_ops ops = { .write = bell_write };
	struct mpl_txn *tx = mpl_begin(world->plane);

	bells.fd = eventfd(0, EFD_NONBLOCK);
	if (bells.fd < 0 ||
	    mpl_region_new_io(world->plane, "bells", BELLS * BELL_STEP, &ops,
			      NULL, &bells.region))
		fail("no region with doorbells");
	for (unsigned int i = 0; i < ALWAYS; i++) {
		struct mpl_ioeventfd ev = bell(i);

		mpl_ioeventfd_add(tx, bells.region, &ev);
	}
	mpl_region_add(tx, world->system, BELLS_AT, bells.region, 0);
	if (mpl_commit(tx))
		fail("no doorbells");
}

/* Some come, some go, in one transaction, which fails at times. */
void bells_mutate(struct world *world)
{
	struct mpl_txn *tx;
	uint64_t there;
	bool bad = random_below(8) == 0;
	int err;

	if (pthread_mutex_trylock(&bells.mutex))
		return;
	there = bells.there;
	tx = mpl_begin(world->plane);
	for (uint64_t n = 1 + random_below(4); n; n--) {
		unsigned int i = ALWAYS +
				 (unsigned int)random_below(BELLS - ALWAYS);
		struct mpl_ioeventfd ev = bell(i);

		if (there & UINT64_C(1) << i)
			mpl_ioeventfd_del(tx, bells.region, &ev);
		else
			mpl_ioeventfd_add(tx, bells.region, &ev);
		there ^= UINT64_C(1) << i;
	}
	if (bad)
		mpl_region_remove(tx, world->system); /* is in nothing */
	err = mpl_commit(tx);
	if (bad && err == -ENOENT)
		ADD(world, failed, 1);
	else if (world_outcome(world, err, "doorbells"))
		bells.there = there;
	pthread_mutex_unlock(&bells.mutex);
}

void bells_poke(struct world *world)
{
	unsigned int i = (unsigned int)random_below(BELLS);
	unsigned int beside = random_below(2) ? 8 : 0;
	uint64_t before = callbacks;
	mpl_result_t result = mpl_store(
		self.reader, world->space[random_below(2)],
		BELLS_AT + i * BELL_STEP + beside, (struct mpl_attrs){ 0 }, 4,
		MPL_NATIVE_ENDIAN, i);

	if (result)
		fail("a write to a doorbell gave %u", result);
	if (beside && callbacks != before + 1)
		fail("a doorbell where there is none");
	ADD(world, accesses, 1);
	if (callbacks == before)
		ADD(world, rings, 1);
}

void bells_end(void)
{
	mpl_region_unref(bells.region);
	close(bells.fd);
}
