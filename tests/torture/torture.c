/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usage: torture [--seconds N] [--seed S] [--readers N] [--mutators N]
 *                [--control-thread | --inline] [--verify] [--full-rebuild]
 *                [--readonly-view] [--hash DOORBELLS]
 *
 * Readers, mutators and devices that do to one plane all that they may, at
 * once and at random; torture.h tells how answers are checked.  Ends at the
 * first inconsistency with a message and status 1.
 */
#include "tests/torture/torture.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 64, STUCK_S = 60 };

_Thread_local struct self self;
static struct world world;

uint64_t random_next(void)
{
	uint64_t z = self.random += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t random_below(uint64_t n)
{
	return random_next() % n;
}

uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

void nap_us(unsigned int us)
{
	struct timespec time = { .tv_nsec = us * 1000L };

	nanosleep(&time, NULL);
}

void fail(const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "torture (seed %" PRIu64 "): %s\n", world.options.seed,
		text);
	_exit(1);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 0);

	if (end == text || *end)
		fail("\"%s\" is not a number", text);
	return value;
}

static void parse(int argc, char **argv, struct options *options)
{
	static const struct option names[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'S' },
		{ "readers", required_argument, NULL, 'r' },
		{ "mutators", required_argument, NULL, 'm' },
		{ "control-thread", no_argument, NULL, 'c' },
		{ "inline", no_argument, NULL, 'i' },
		{ "verify", no_argument, NULL, 'v' },
		{ "full-rebuild", no_argument, NULL, 'f' },
		{ "readonly-view", no_argument, NULL, 'o' },
		{ "hash", required_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 's':
			options->seconds = (unsigned int)number(optarg);
			break;
		case 'S':
			options->seed = number(optarg);
			break;
		case 'r':
			options->readers = (unsigned int)number(optarg);
			break;
		case 'm':
			options->mutators = (unsigned int)number(optarg);
			break;
		case 'c':
		case 'i':
			options->control_thread = option == 'c';
			break;
		case 'v':
			options->verify = true;
			break;
		case 'f':
			options->full_rebuild = true;
			break;
		case 'o':
			options->readonly_view = true;
			break;
		case 'h':
			options->hash = (unsigned int)number(optarg);
			break;
		default:
			exit(2);
		}
	}
	if (optind != argc || options->readers > THREADS_MAX / 2 ||
	    options->mutators > THREADS_MAX / 2 || !options->mutators)
		fail("bad arguments");
}

/* Something must move on: commits, and look-ups if there are readers. */
static void watch_for_standstill(void)
{
	static uint64_t commits, lookups, since;
	uint64_t now = now_ns();
	uint64_t commits_now = ADD(&world, commits, 0);
	uint64_t lookups_now = ADD(&world, lookups, 0);

	if (!since || (commits_now != commits &&
		       (lookups_now != lookups || !world.options.readers))) {
		commits = commits_now;
		lookups = lookups_now;
		since = now;
	} else if (now - since > STUCK_S * UINT64_C(1000000000)) {
		fail("nothing moved for %d s: %s", STUCK_S,
		     commits_now == commits ? "no commit" : "no look-up");
	}
}

static void *end_watchdog(void *arg)
{
	(void)arg;
	for (int i = 0; i < STUCK_S * 10; i++)
		nap_us(100000);
	fail("the threads did not end in %d s: a deadlock", STUCK_S);
}

static void run_threads(void)
{
	const struct options *options = &world.options;
	unsigned int count = options->readers + options->mutators;
	uint64_t end = now_ns() + options->seconds * UINT64_C(1000000000);
	pthread_t threads[THREADS_MAX], watchdog;

	for (unsigned int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL,
				   i < options->readers ? reader_thread :
							  mutator_thread,
				   &world))
			fail("no thread");
	while (now_ns() < end) {
		nap_us(20000);
		mirror_recover(&world);
		watch_for_standstill();
	}
	__atomic_store_n(&world.stop, 1, __ATOMIC_SEQ_CST);
	if (pthread_create(&watchdog, NULL, end_watchdog, NULL))
		fail("no thread");
	for (unsigned int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_detach(watchdog);
}

/* Everything that is asked for has been answered, all memory is back. */
static void take_down(void)
{
	struct mpl_plane_stats stats;
	struct mpl_region *regions[] = { world.system, world.other };

	/* Asyncs may queue up another one, up to three times. */
	for (int i = 0; i < 5; i++)
		if (mpl_commit(mpl_begin(world.plane)))
			fail("a commit after all failed");
	mirror_end(&world);
	device_remove_all(&world);
	if (mpl_synchronize(world.plane))
		fail("mpl_synchronize at the end");
	mpl_plane_stats(world.plane, &stats);
	if (stats.retired_bytes)
		fail("%" PRIu64 " bytes are retired at the end",
		     stats.retired_bytes);
	if (stats.commits_failed < world.count.failed + world.count.refused / 2)
		fail("commits_failed is %" PRIu64, stats.commits_failed);
	if (world.options.hash &&
	    (stats.doorbell_hashes != 1 || stats.doorbell_hashes_refused))
		fail("%" PRIu64 " hashes, %" PRIu64 " refused",
		     stats.doorbell_hashes, stats.doorbell_hashes_refused);
	bells_end();
	for (size_t i = 0; i < 2; i++)
		mpl_region_unref(regions[i]);
	if (mpl_plane_free(world.plane))
		fail("mpl_plane_free");
	if (world.count.made != world.count.released)
		fail("%" PRIu64 " devices, %" PRIu64 " released",
		     world.count.made, world.count.released);
	if (world.count.asyncs != world.count.dones)
		fail("%" PRIu64 " asyncs, %" PRIu64 " done", world.count.asyncs,
		     world.count.dones);
	device_end();
}

/* If one of these never happens, this is no test of it. */
static void check_coverage(void)
{
	const struct counters *c = &world.count;

	if (world.options.seconds < 5 || !world.options.readers)
		return;
	if (!c->commits || !c->refused || !c->failed || !c->asyncs ||
	    !c->checks || !c->overtaken || !c->callbacks || !c->released || !c->rings ||
	    !c->drains || !c->suspends || !c->self_moves || !c->self_removals ||
	    !c->registrations || !c->stalls || !c->spaces || !c->listeners)
		fail("something never happened");
}

static void report(void)
{
	const struct counters *c = &world.count;

	printf("torture: seed %" PRIu64 ", %u s, %s, %u readers, %u mutators: ",
	       world.options.seed, world.options.seconds,
	       world.options.control_thread ? "control thread" : "inline",
	       world.options.readers, world.options.mutators);
	printf("%" PRIu64 " commits (%" PRIu64 " refused, %" PRIu64
	       " failed, %" PRIu64 " crowded, %" PRIu64 " asyncs), ",
	       c->commits, c->refused, c->failed, c->crowded, c->asyncs);
	printf("%" PRIu64 " look-ups, %" PRIu64 " maps checked, %" PRIu64
	       " overtaken, %" PRIu64 " accesses, %" PRIu64 " callbacks, ",
	       c->lookups, c->checks, c->overtaken, c->accesses, c->callbacks);
	printf("%" PRIu64 " devices released, %" PRIu64 " self-moves, %" PRIu64
	       " self-removals, %" PRIu64 " drains, %" PRIu64 " suspends, ",
	       c->released, c->self_moves, c->self_removals, c->drains,
	       c->suspends);
	printf("%" PRIu64 " registrations, %" PRIu64 " stalls, %" PRIu64
	       " spaces, %" PRIu64 " listeners, %" PRIu64 " resyncs, %" PRIu64
	       " log lines\n",
	       c->registrations, c->stalls, c->spaces, c->listeners, c->resyncs,
	       c->lines);
}

int main(int argc, char **argv)
{
	world.options = (struct options){
		.seconds = 10,
		.seed = 1,
		.readers = 3,
		.mutators = 3,
		.control_thread = true,
	};
	parse(argc, argv, &world.options);
	self.random = world.options.seed;
	if (world.options.hash && mpl_eal_start(NULL, NULL))
		fail("no EAL for the hash");
	world_new(&world);
	mirror_register(&world);
	run_threads();
	take_down();
	check_coverage();
	report();
	return 0;
}
