/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One reader and two: do they disturb each other?
 *
 *	readers/lookup		uniform over 1024 regions
 *	readers/walk		... caches off
 *	readers/own_device	4-byte reads, each thread its device
 *	readers/same_device	4-byte reads, both the same device
 *	readers/bus_*		the same on a tree under a mutex
 *	readers/quiescent	the report alone
 *	readers/offline_online	a pair of these
 *	readers/register	register, online, offline, unregister
 *
 * Their counter p50_ns is a unit of work in a thread's median batch.
 *
 * scaling/NAME is the same work in turn with the L1 chain, a few microseconds
 * of each, and both timed: what else runs on this machine hits both alike.
 * Its counters are ns (of a unit of work) and chain_ns (of a load): medians of
 * these turns, per thread.  scaling/NAME_apart is the same with a plane for
 * each thread, so that they share nothing but the processor: what it loses
 * the library has not taken.
 */
#include <errno.h>
#include <stdlib.h>

#include "access_calls.h"
#include "bench.h"
#include "io_world.h"
#include "limit.h"
#include "pin.h"
#include "samples.h"
#include "world.h"

#define BATCH 1024
#define REGIONS 1024
#define CHAIN_LOADS 8192

static const struct mpl_attrs attrs;

/* One thread's view of a benchmark. */
struct job {
	struct world *world;
	struct io_world *io;
	struct mpl_reader *reader;
	unsigned int thread;
	size_t at; /* in the list of addresses */
};

/* Each of these does BATCH units of work. */
static void lookup(struct job *job)
{
	const uint64_t *gpa = job->world->uniform + job->at;

	for (size_t i = 0; i < BATCH; i += QUIESCENT_EVERY) {
		for (size_t j = 0; j < QUIESCENT_EVERY; j++)
			peer_use(mpl_lookup(job->reader, job->world->as,
					    gpa[i + j]));
		mpl_reader_quiescent(job->reader);
	}
	job->at = (job->at + BATCH) & (WORLD_ADDRESSES - 1);
}

static void walk(struct job *job)
{
	const uint64_t *gpa = job->world->uniform + job->at;

	for (size_t i = 0; i < BATCH; i += QUIESCENT_EVERY) {
		for (size_t j = 0; j < QUIESCENT_EVERY; j++)
			peer_use(mpl_lookup_uncached(job->reader,
						     job->world->as,
						     gpa[i + j]));
		mpl_reader_quiescent(job->reader);
	}
	job->at = (job->at + BATCH) & (WORLD_ADDRESSES - 1);
}

static void read_device(struct job *job, unsigned int device)
{
	uint64_t gpa = io_device(device);
	uint32_t value;

	for (size_t i = 0; i < BATCH; i += QUIESCENT_EVERY) {
		for (size_t j = 0; j < QUIESCENT_EVERY; j++) {
			mpl_read(job->reader, job->io->as, gpa + 4 * j, attrs,
				 &value, 4);
			bench_use(value);
		}
		mpl_reader_quiescent(job->reader);
	}
}

static void own_device(struct job *job)
{
	read_device(job, job->thread);
}

static void same_device(struct job *job)
{
	read_device(job, 0);
}

static void read_bus(struct job *job, unsigned int device)
{
	uint64_t gpa = io_device(device);
	bench_read_fn read = bench_empty_read;
	uint64_t value;

	for (size_t i = 0; i < BATCH; i++) {
		uint64_t offset = i % QUIESCENT_EVERY * 4;
		struct rb_range *range = rb_bus_get(job->io->bus,
						    gpa + offset);

		/* The device is there: setup() has looked. */
		bench_opaque(read);
		read(NULL, gpa + offset - range->start, 4, attrs, &value);
		rb_bus_put(range);
		bench_use(value);
	}
}

static void bus_own_device(struct job *job)
{
	read_bus(job, job->thread);
}

static void bus_same_device(struct job *job)
{
	read_bus(job, 0);
}

static void quiescent(struct job *job)
{
	for (size_t i = 0; i < BATCH; i++)
		mpl_reader_quiescent(job->reader);
}

static void offline_online(struct job *job)
{
	for (size_t i = 0; i < BATCH; i++) {
		mpl_reader_offline(job->reader);
		mpl_reader_online(job->reader);
	}
}

static void enter_leave(struct job *job)
{
	for (size_t i = 0; i < BATCH; i++)
		world_leave(world_enter(job->io->plane));
}

static const struct task {
	const char *name;
	void (*batch)(struct job *job);
	bool io; /* in the world of devices */
	unsigned int threads;
	const char *scaling; /* NULL: not compared with the chain */
	bool apart;	     /* the second thread has a world of its own */
} tasks[] = {
	{ "readers/lookup", lookup, false, 2, "scaling/lookup", false },
	{ "readers/walk", walk, false, 2, "scaling/walk", false },
	{ "readers/lookup_apart", lookup, false, 2, "scaling/lookup_apart",
	  true },
	{ "readers/walk_apart", walk, false, 2, "scaling/walk_apart", true },
	{ "readers/own_device", own_device, true, 2, "scaling/own_device",
	  false },
	{ "readers/same_device", same_device, true, 2, "scaling/same_device",
	  false },
	{ "readers/bus_own_device", bus_own_device, true, 2, NULL, false },
	{ "readers/bus_same_device", bus_same_device, true, 2, NULL, false },
	{ "readers/quiescent", quiescent, true, 1, NULL, false },
	{ "readers/offline_online", offline_online, true, 1, NULL, false },
	{ "readers/register", enter_leave, true, 1, NULL, false },
};

/* Equal to the world that the first thread uses. */
static struct world *second_world;

void readers_free_all(void)
{
	if (second_world)
		world_destroy(second_world);
	second_world = NULL;
}

/* Once, before the threads: they only use what is there. */
static int setup(void *arg)
{
	const struct task *task = arg;
	struct io_world *io;
	struct world *world;
	int err;

	if (!task->io) {
		err = world_get(SHAPE_PAGES, REGIONS, &world);
		if (!err && task->apart && !second_world)
			err = world_create(SHAPE_PAGES, REGIONS, NULL,
					   &second_world);
		return err;
	}
	err = io_world_get(&io);
	for (unsigned int i = 0; !err && i < 2; i++) {
		struct rb_range *range = rb_bus_get(io->bus, io_device(i));

		if (!range)
			return -ENXIO;
		rb_bus_put(range);
	}
	return err;
}

/* A reader for this thread, on its own processor.  0 or -errno. */
static int begin_job(struct gb_state *state, const struct task *task,
		     struct job *job)
{
	struct mpl_plane *plane;
	int err;

	job->thread = gb_thread(state);
	job->at = job->thread * (WORLD_ADDRESSES / 2);
	err = task->io ? io_world_get(&job->io) :
			 world_get(SHAPE_PAGES, REGIONS, &job->world);
	if (err)
		return err;
	if (task->apart && job->thread)
		job->world = second_world;
	plane = task->io ? job->io->plane : job->world->plane;
	job->reader = world_enter(plane);
	if (!job->reader)
		return -ENOMEM;
	pin_thread(job->thread);
	return 0;
}

static void end_job(struct job *job)
{
	pin_release();
	world_leave(job->reader);
}

static void run(struct gb_state *state, void *arg)
{
	struct samples *samples = calloc(1, sizeof(*samples));
	const struct task *task = arg;
	struct job job = { NULL };

	if (!samples || begin_job(state, task, &job))
		gb_fail(state, "no reader or no memory");
	while (gb_next(state, BATCH)) {
		uint64_t start = bench_ns();

		task->batch(&job);
		samples_add(samples, bench_ns() - start);
	}
	if (samples)
		gb_counter(state, "p50_ns",
			   samples_percentile(samples, 0.5) / BATCH);
	end_job(&job);
	free(samples);
}

/* A batch of work and a stretch of the chain in turn, each timed. */
static void take_turns(struct gb_state *state, const struct task *task,
		       struct job *job, struct samples *work,
		       struct samples *loads)
{
	struct l1_chain chain;

	l1_chain_init(&chain);
	while (gb_next(state, BATCH)) {
		uint64_t start = bench_ns(), middle;

		l1_chain_run(&chain, CHAIN_LOADS);
		bench_use(chain.at);
		middle = bench_ns();
		task->batch(job);
		samples_add(work, bench_ns() - middle);
		samples_add(loads, middle - start);
	}
	gb_counter(state, "ns", samples_percentile(work, 0.5) / BATCH);
	gb_counter(state, "chain_ns",
		   samples_percentile(loads, 0.5) / CHAIN_LOADS);
}

static void run_scaling(struct gb_state *state, void *arg)
{
	struct samples *samples = calloc(2, sizeof(*samples));
	const struct task *task = arg;
	struct job job = { NULL };

	if (!samples || begin_job(state, task, &job))
		gb_fail(state, "no reader or no memory");
	else
		take_turns(state, task, &job, &samples[0], &samples[1]);
	end_job(&job);
	free(samples);
}

static int register_task(const struct task *task, unsigned int threads)
{
	struct gb_bench bench = {
		.name = task->name,
		.threads = threads,
		.wall = true,
		.setup = setup,
		.run = run,
		.arg = (void *)(uintptr_t)task,
	};
	int err = gb_register(&bench);

	if (err || !task->scaling)
		return err;
	bench.name = task->scaling;
	bench.run = run_scaling;
	bench.min_time = bench_quick ? 0 : 0.1;
	return gb_register(&bench);
}

int register_readers(void)
{
	int err = 0;

	for (size_t i = 0; i < sizeof(tasks) / sizeof(*tasks); i++) {
		for (unsigned int threads = 1;
		     !err && threads <= tasks[i].threads; threads++)
			err = register_task(&tasks[i], threads);
	}
	return err;
}
