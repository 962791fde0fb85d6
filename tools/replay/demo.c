/* SPDX-License-Identifier: BSD-3-Clause */
#include "demo.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "demo_report.h"
#include "machine.h"
#include "vec.h"

struct demo {
	const struct args *args;
	struct failure *failure;
	struct script script;
	struct machine machine;
	struct demo_shared *shared;
	struct demo_reader *readers;
	unsigned int readers_count;
	bool stale; /* shows more than the producer had published */
	uint32_t seq;
	uint64_t begin, end; /* of the time that it may take */
	uint64_t shown;      /* second, for the progress line */
	struct demo_totals totals;
};

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static void tell(struct demo *demo)
{
	demo_tell(demo->shared, mpl_plane_generation(demo->machine.plane),
		  demo->stale ? 0 : demo->seq);
}

/* Wait until every reader uses this version of the table, or a newer one. */
static void wait_seen(struct demo *demo, uint64_t version)
{
	unsigned int i;

	for (i = 0; i < demo->readers_count; i++)
		while (__atomic_load_n(&demo->readers[i].seen,
				       __ATOMIC_ACQUIRE) < version)
			sched_yield();
}

/*
 * Publish the address spaces that exist but for `without` (0: all), or none
 * at all; when this returns no reader uses any other.
 */
static int set_table(struct demo *demo, uint32_t without, bool none)
{
	const struct machine *machine = &demo->machine;
	struct demo_table *old = demo->shared->table, *table;
	uint32_t id, count = none ? 1 : machine->spaces_count + 1;

	table = calloc(1, sizeof(*table) + count * sizeof(*table->of));
	if (!table)
		return failure_errno(demo->failure, "table", -ENOMEM);
	table->version = old ? old->version + 1 : 1;
	table->count = count;
	for (id = 1; id < count; id++)
		if (id != without)
			table->of[id] = machine->spaces[id].as;
	__atomic_store_n(&demo->shared->table, table, __ATOMIC_RELEASE);
	if (!old)
		return 0;
	wait_seen(demo, table->version);
	free(old);
	return 0;
}

/* Take the times of commits over, so that they do not pile up. */
static void collect(struct demo *demo)
{
	struct machine *machine = &demo->machine;
	size_t i;

	for (i = 0; i < machine->commits; i++)
		latency_add(&demo->totals.commit, machine->commit_ns[i]);
	machine->commits = 0;
}

/*
 * Commits that add are refused when too much waits for readers.  Here the
 * control side is the one to wait: readers are never offline for long.
 */
static void hold_back(struct demo *demo)
{
	while (mpl_reclaim(demo->machine.plane) > DEMO_RETIRED_MAX / 2)
		sched_yield();
}

static int publish(struct demo *demo, enum publish_kind kind)
{
	struct machine *machine = &demo->machine;
	bool unpublished = machine->changed ||
			   (machine->lists_changed && kind == PUBLISH_AS_INIT);

	demo->stale = kind != PUBLISH_TOPOLOGY && (demo->stale || unpublished);
	if (machine_commit(machine))
		return -1;
	if (kind != PUBLISH_AS_INIT) {
		tell(demo);
		return 0;
	}
	if (machine_space_new(machine))
		return -1;
	tell(demo);
	return set_table(demo, 0, false);
}

static void show_progress(struct demo *demo, bool done)
{
	uint64_t seconds = (clock_ns() - demo->begin) / 1000000000;

	if (!isatty(STDERR_FILENO))
		return;
	if (done && demo->shown)
		fputs("\r\033[K", stderr);
	if (done || seconds == demo->shown)
		return;
	demo->shown = seconds;
	fprintf(stderr, "\r\033[K%u of %g s, %zu loops", (unsigned int)seconds,
		demo->args->seconds, (size_t)demo->totals.loops);
}

static bool time_is_up(struct demo *demo)
{
	show_progress(demo, false);
	return clock_ns() >= demo->end;
}

static int take(struct demo *demo, const struct script_step *step)
{
	const struct record *record = &step->record;

	demo->failure->line = step->line;
	if (record->type == REC_END) {
		demo->seq = record->publish.seq;
		demo->totals.publications++;
		if (!(demo->seq & 63))
			hold_back(demo);
		return publish(demo, record->publish.kind);
	}
	if (record->type != REC_AS_DESTROY)
		return machine_apply(&demo->machine, record);
	if (set_table(demo, record->space.id, false) ||
	    machine_apply(&demo->machine, record))
		return -1;
	tell(demo);
	return 0;
}

/* The whole script once.  1: time is up. */
static int loop(struct demo *demo)
{
	size_t i;

	demo->stale = false;
	demo->seq = 0;
	for (i = 0; i < demo->script.steps_count; i++) {
		const struct script_step *step = &demo->script.steps[i];

		if (take(demo, step))
			return -1;
		if (step->record.type == REC_END && time_is_up(demo))
			return 1;
	}
	demo->totals.loops++;
	return 0;
}

static int loops(struct demo *demo)
{
	int end;

	do {
		end = loop(demo);
		if (end < 0 || set_table(demo, 0, true) ||
		    machine_clear(&demo->machine))
			return -1;
		/* The empty machine is no publication's. */
		demo->seq = 0;
		tell(demo);
		collect(demo);
	} while (!end);
	return 0;
}

static int start_readers(struct demo *demo)
{
	unsigned int n = demo->args->readers;
	int err;

	if (!n) {
		long cores = sysconf(_SC_NPROCESSORS_ONLN);

		n = cores > 1 ? cores - 1 : 1;
	}
	demo->readers = aligned_alloc(64, n * sizeof(*demo->readers));
	if (!demo->readers)
		return failure_errno(demo->failure, "readers", -ENOMEM);
	for (; demo->readers_count < n; demo->readers_count++) {
		err = demo_reader_start(&demo->readers[demo->readers_count],
					demo->shared);
		if (err)
			return failure_errno(demo->failure, "reader", err);
	}
	return 0;
}

static int stop_readers(struct demo *demo)
{
	int err = 0;
	unsigned int i;

	__atomic_store_n(&demo->shared->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < demo->readers_count; i++) {
		demo_reader_join(&demo->readers[i]);
		if (!err)
			err = demo->readers[i].err;
	}
	return err ? failure_errno(demo->failure, "reader", err) : 0;
}

static int run(struct demo *demo)
{
	int err;

	demo->shared->script = &demo->script;
	demo->shared->plane = demo->machine.plane;
	err = set_table(demo, 0, true);
	demo->begin = clock_ns();
	demo->end = demo->begin + demo->args->seconds * 1e9;
	if (!err)
		err = start_readers(demo);
	if (!err)
		err = loops(demo);
	if (stop_readers(demo))
		err = -1;
	demo->totals.ns = clock_ns() - demo->begin;
	show_progress(demo, true);
	mpl_plane_stats(demo->machine.plane, &demo->totals.stats);
	return err;
}

static int run_machine(struct demo *demo)
{
	struct mpl_plane_config config = {
		.max_readers = demo->args->readers + 256,
		.max_spaces = 65536,
		.control_thread = !demo->args->inline_commits,
		.full_rebuild = demo->args->full_rebuild,
		.verify = demo->args->check,
		.trace_rules = true,
		.retired_max = DEMO_RETIRED_MAX,
	};
	int err;

	demo->shared = calloc(1, sizeof(*demo->shared));
	if (!demo->shared)
		return failure_errno(demo->failure, "demo", -ENOMEM);
	err = machine_init(&demo->machine, &config, demo->failure);
	if (!err) {
		err = run(demo);
		machine_fini(&demo->machine);
	}
	if (!err)
		err = demo_report(stdout, demo->args, &demo->script,
				  &demo->totals, demo->readers,
				  demo->readers_count);
	free(demo->shared->table);
	free(demo->shared);
	free(demo->readers);
	return err;
}

int demo_run(const struct args *args, struct failure *failure)
{
	struct accesses accesses = { 0 };
	struct demo demo = { .args = args, .failure = failure };
	int status;

	if (args->access && accesses_load(&accesses, args->access, failure))
		return -1;
	status = script_load(&demo.script, args->trace, args->limit,
			     args->access ? &accesses : NULL, failure);
	accesses_free(&accesses);
	if (status)
		return -1;
	status = run_machine(&demo);
	script_free(&demo.script);
	return status;
}
