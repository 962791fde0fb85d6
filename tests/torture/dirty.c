/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usage: dirty [--seconds N] [--seed N]
 *
 * A migration beside writers of all kinds.  Each writer has a word of its own
 * in each of some pages, and stores ever greater stamps there.  When a stamp's
 * mark should be there, the writer publishes it in `done`.  The migration
 * thread notes what is done, takes a snapshot, copies the pages of it, and
 * then its copy may not be older than what it has noted: each single lost
 * mark shows at once.  Now and then the writers are parked, and after one more
 * pass the copy must equal the memory.
 */
#include "tests/torture/dirty.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "not ok ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

void must(int err, const char *what)
{
	if (err)
		fail("%s: error %d", what, -err);
}

/* Sections come and go, and another client logs now and then. */
static void *churn_thread(void *arg)
{
	struct world *world = arg;
	const struct timespec nap = { .tv_nsec = 200000 };
	bool on = false;

	for (unsigned int i = 0; !stopped(world); i++) {
		struct mpl_txn *tx = mpl_begin(world->plane);

		mpl_region_set_enabled(tx, world->small, i & 1);
		if (i % 7 == 0) {
			on = !on;
			if (on)
				mpl_log_start(tx, world->ram, MPL_LOG_DISPLAY);
			else
				mpl_log_stop(tx, world->ram, MPL_LOG_DISPLAY);
		}
		must(mpl_commit(tx), "mpl_commit");
		__atomic_add_fetch(&world->commits, 1, __ATOMIC_RELAXED);
		nanosleep(&nap, NULL);
	}
	return NULL;
}

/* The outside log of a range: fetched and cleared, as KVM does it. */
static int on_sync(void *opaque, const struct mpl_flat_range *range)
{
	struct world *world = opaque;
	uint64_t first = range->offset / PAGE;
	uint64_t pages = (range->last - range->start) / PAGE + 1;

	if (range->region != world->ram)
		return 0;
	for (uint64_t word = first / 64; word <= (first + pages - 1) / 64;
	     word++) {
		uint64_t bits, count = RAM_SIZE / PAGE - word * 64;
		int err;

		if (!__atomic_load_n(&world->outside[word], __ATOMIC_SEQ_CST))
			continue;
		bits = __atomic_exchange_n(&world->outside[word], 0,
					   __ATOMIC_SEQ_CST);
		err = mpl_dirty_merge(range->region, word * 64 * PAGE, &bits,
				      count < 64 ? count : 64);
		if (err)
			return err;
	}
	return 0;
}

static const struct mpl_listener_ops listener_ops = {
	.name = "outside",
	.log_sync = on_sync,
};

/* The race between copy and store is what the test is about. */
__attribute__((no_sanitize("thread"))) static void copy_page(uint8_t *to,
							     const uint8_t *from)
{
	for (int i = 0; i < PAGE; i += 8)
		*(volatile uint64_t *)(to + i) =
			*(const volatile uint64_t *)(from + i);
}

static void pass(struct world *world, struct mpl_dirty_set *set, uint64_t *seed)
{
	static uint64_t done[WRITERS][HOT];
	uint64_t part = random_below(seed, RAM_SIZE), page, n;

	for (int w = 0; w < WRITERS; w++)
		for (int h = 0; h < HOT; h++)
			done[w][h] = __atomic_load_n(&world->done[w][h],
						     __ATOMIC_ACQUIRE);
	must(mpl_dirty_sync(world->plane), "mpl_dirty_sync");
	must(mpl_dirty_snapshot_clear(world->ram, MPL_LOG_MIGRATION, part,
				      UINT64_MAX, set), "snapshot");
	must(mpl_dirty_snapshot_clear(world->ram, MPL_LOG_MIGRATION, 0, part,
				      set), "snapshot");
	for (int h = 0; h < HOT; h++)
		if (mpl_dirty_set_next(set, world->page[h], &page, &n) &&
		    page == world->page[h])
			copy_page(world->shadow + page * PAGE,
				  world->host + page * PAGE);
	mpl_dirty_set_clear(set);
	for (int w = 0; w < WRITERS; w++)
		for (int h = 0; h < HOT; h++) {
			uint64_t copied;

			memcpy(&copied,
			       world->shadow + world->page[h] * PAGE +
				       SLOT * (w + 1),
			       8);
			if (copied < done[w][h])
				fail("pass %u: page %llu, writer %d: %llu < %llu: a mark was lost",
				     world->passes,
				     (unsigned long long)world->page[h], w,
				     (unsigned long long)copied,
				     (unsigned long long)done[w][h]);
		}
	world->passes++;
}

/* Of one page, again and again, as fast as it goes. */
static void quick_passes(struct world *world, struct mpl_dirty_set *set,
			 unsigned int hot)
{
	uint64_t page = world->page[hot], first, n;
	uint8_t *word = world->shadow + page * PAGE + SLOT * (hot + 1);

	for (int i = 0; i < 500; i++) {
		uint64_t copied, done = __atomic_load_n(&world->done[hot][hot],
							__ATOMIC_ACQUIRE);

		/* By turns that page alone, and summaries and all. */
		must(mpl_dirty_snapshot_clear(world->ram, MPL_LOG_MIGRATION,
					      i & 1 ? page * PAGE : 0,
					      i & 1 ? PAGE : UINT64_MAX, set),
		     "snapshot");
		if (mpl_dirty_set_next(set, page, &first, &n) && first == page)
			copy_page(world->shadow + page * PAGE,
				  world->host + page * PAGE);
		mpl_dirty_set_remove(set, page, 1);
		memcpy(&copied, word, 8);
		if (copied < done)
			fail("page %llu has %llu, which is older than %llu: a mark was lost",
			     (unsigned long long)page,
			     (unsigned long long)copied,
			     (unsigned long long)done);
	}
}

/* Stop the writers; the copy must become the memory. */
static void compare(struct world *world, struct mpl_dirty_set *set,
		    uint64_t *seed)
{
	pthread_mutex_lock(&world->mutex);
	__atomic_store_n(&world->pause, true, __ATOMIC_RELAXED);
	while (world->parked < WRITERS)
		pthread_cond_wait(&world->changed, &world->mutex);
	pthread_mutex_unlock(&world->mutex);
	must(mpl_synchronize(world->plane), "mpl_synchronize");
	pass(world, set, seed);
	for (int h = 0; h < HOT; h++)
		if (memcmp(world->shadow + world->page[h] * PAGE,
			   world->host + world->page[h] * PAGE, PAGE))
			fail("page %llu is not as it was copied",
			     (unsigned long long)world->page[h]);
	world->parks++;
	pthread_mutex_lock(&world->mutex);
	__atomic_store_n(&world->pause, false, __ATOMIC_RELAXED);
	pthread_cond_broadcast(&world->changed);
	while (world->parked)
		pthread_cond_wait(&world->changed, &world->mutex);
	pthread_mutex_unlock(&world->mutex);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void migrate(struct world *world, unsigned int seconds, uint64_t seed)
{
	uint64_t end = now_ms() + seconds * UINT64_C(1000);
	struct mpl_dirty_set *set;

	must(mpl_dirty_set_new(RAM_SIZE / PAGE, &set), "mpl_dirty_set_new");
	while (now_ms() < end) {
		/* Everything is copied at first, old or new. */
		must(mpl_dirty_start(world->plane, NULL, MPL_LOG_MIGRATION),
		     "mpl_dirty_start");
		for (int round = 0; round < 3; round++) {
			for (uint64_t n = random_below(&seed, 100); n; n--)
				pass(world, set, &seed);
			quick_passes(world, set, round % READERS);
			compare(world, set, &seed);
		}
		must(mpl_dirty_stop(world->plane, NULL, MPL_LOG_MIGRATION),
		     "mpl_dirty_stop");
		world->cycles++;
	}
	mpl_dirty_set_free(set);
}

/* Of one word, so that nothing but the race takes time. */
static void duel_passes(struct world *world, struct mpl_dirty_set *set)
{
	const volatile uint64_t *word =
		(const volatile uint64_t *)(world->host +
					    world->page[0] * PAGE + SLOT);
	uint64_t copied = __atomic_load_n(word, __ATOMIC_RELAXED), page, n;

	for (int i = 0; i < 10000; i++) {
		uint64_t done = __atomic_load_n(&world->done[0][0],
						__ATOMIC_ACQUIRE);

		must(mpl_dirty_snapshot_clear(world->ram, MPL_LOG_MIGRATION,
					      world->page[0] * PAGE, PAGE, set),
		     "snapshot");
		if (mpl_dirty_set_next(set, 0, &page, &n) &&
		    page == world->page[0])
			copied = __atomic_load_n(word, __ATOMIC_RELAXED);
		mpl_dirty_set_clear(set);
		if (copied < done)
			fail("duel: %llu is older than %llu: a mark was lost",
			     (unsigned long long)copied,
			     (unsigned long long)done);
	}
}

static void duel(struct world *world, unsigned int seconds, uint64_t seed)
{
	struct writer writer = { .world = world, .random = seed };
	uint64_t end = now_ms() + seconds * UINT64_C(1000);
	struct mpl_dirty_set *set;
	pthread_t thread;

	must(mpl_dirty_set_new(RAM_SIZE / PAGE, &set), "mpl_dirty_set_new");
	must(mpl_dirty_start(world->plane, NULL, MPL_LOG_MIGRATION),
	     "mpl_dirty_start");
	if (pthread_create(&thread, NULL, duel_thread, &writer))
		fail("no thread");
	while (now_ms() < end)
		duel_passes(world, set);
	__atomic_store_n(&world->stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	__atomic_store_n(&world->stop, false, __ATOMIC_RELAXED);
	must(mpl_dirty_stop(world->plane, NULL, MPL_LOG_MIGRATION),
	     "mpl_dirty_stop");
	mpl_dirty_set_free(set);
	world->done[0][0] = 0;
	memset(world->host + world->page[0] * PAGE, 0, PAGE);
}

static void *map_memory(void)
{
	void *at = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		fail("no address space");
	return at;
}

static void world_new(struct world *world)
{
	const struct mpl_plane_config config = { .control_thread = true };
	struct mpl_ram_config memory = { .host = map_memory() };
	static const struct mpl_io_ops nothing;
	struct mpl_listener *listener;
	struct mpl_txn *tx;

	world->host = memory.host;
	world->shadow = map_memory();
	/* Pairs in all corners of the summaries. */
	for (uint64_t i = 0; i < PAIRS; i++) {
		world->page[2 * i] = i * i * 1821 + (i & 1 ? 63 : 0);
		world->page[2 * i + 1] = world->page[2 * i] + 1;
	}
	world->page[HOT - 2] = RAM_SIZE / PAGE - 2;
	world->page[HOT - 1] = RAM_SIZE / PAGE - 1;
	must(mpl_plane_new(&world->plane, &config), "mpl_plane_new");
	must(mpl_region_new_container(world->plane, "root", UINT64_MAX,
				      &world->root), "container");
	must(mpl_region_new_ram(world->plane, "ram", RAM_SIZE, &memory,
				&world->ram), "ram");
	must(mpl_region_new_alias(world->plane, "alias", world->ram, 0,
				  RAM_SIZE, &world->alias), "alias");
	must(mpl_region_new_io(world->plane, "small", PAGE, &nothing, NULL,
			       &world->small), "io");
	must(mpl_address_space_new(world->plane, "memory", world->root,
				   &world->as), "space");
	must(mpl_listener_register(world->as, &listener_ops, world, &listener),
	     "listener");
	tx = mpl_begin(world->plane);
	mpl_region_add(tx, world->root, RAM_AT, world->ram, 0);
	mpl_region_add(tx, world->root, ALIAS_AT, world->alias, 0);
	mpl_region_add(tx, world->root, SMALL_AT, world->small, 1);
	must(mpl_commit(tx), "the first commit");
	pthread_mutex_init(&world->mutex, NULL);
	pthread_cond_init(&world->changed, NULL);
}

static void world_free(struct world *world)
{
	mpl_region_unref(world->small);
	mpl_region_unref(world->alias);
	mpl_region_unref(world->ram);
	mpl_region_unref(world->root);
	must(mpl_plane_free(world->plane), "mpl_plane_free");
	munmap(world->host, RAM_SIZE);
	munmap(world->shadow, RAM_SIZE);
	pthread_cond_destroy(&world->changed);
	pthread_mutex_destroy(&world->mutex);
}

int main(int argc, char **argv)
{
	static void *(*const runs[WRITERS])(void *) = {
		reader_thread, reader_thread, outside_thread, device_thread
	};
	static struct writer writers[WRITERS];
	static struct world world;
	pthread_t threads[WRITERS + 1];
	unsigned int seconds = 8;
	uint64_t seed = 1;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--seconds"))
			seconds = (unsigned int)atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else
			fail("usage: dirty [--seconds N] [--seed N]");
	}
	world_new(&world);
	duel(&world, seconds / 4, seed);
	for (unsigned int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){
			.world = &world,
			.number = i,
			.random = seed * 977 + i + 1,
		};
		if (pthread_create(&threads[i], NULL, runs[i], &writers[i]))
			fail("no thread");
	}
	if (pthread_create(&threads[WRITERS], NULL, churn_thread, &world))
		fail("no thread");
	migrate(&world, seconds - seconds / 4, seed + 5);
	__atomic_store_n(&world.stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i <= WRITERS; i++)
		pthread_join(threads[i], NULL);
	if (!world.cycles || !world.writes || !world.commits)
		fail("nothing happened");
	printf("ok %llu writes, %u passes, %u comparisons, %u migrations, %u commits\n",
	       (unsigned long long)world.writes, world.passes, world.parks,
	       world.cycles, world.commits);
	world_free(&world);
	return 0;
}
