/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A C face for google benchmark.  It knows nothing of this library, and no
 * C++ exception leaves it.
 *
 * A benchmark's body asks for work in batches, so that the calls into the
 * shim vanish in the measured loop; time and counters are per unit of work:
 *
 *	while (gb_next(state, 1024))
 *		for (i = 0; i < 1024; i++)
 *			...
 *
 * Every run of a benchmark (there are several: estimation, repetitions) goes
 *
 *	setup   once                on thread 0
 *	run     once a thread       all threads have seen the end of setup
 *	teardown once               on thread 0, after all threads left run
 *
 * In `run`, what comes before the first gb_next() and after the one that
 * returned false is not timed, and all threads start timing together.
 */
#ifndef BENCH_GBENCH_H
#define BENCH_GBENCH_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gb_state;

struct gb_bench {
	const char *name; /* copied; '/' separates its parts */
	const int64_t *args; /* copied, appended to the name; NULL: none */
	unsigned int nargs;
	unsigned int threads; /* 0: 1 */
	uint64_t iterations; /* units of work a run; 0: as time allows */
	bool wall; /* judge by real time instead of the thread's CPU time */
	double min_time; /* seconds a run; 0: as gb_defaults() says */
	unsigned int longer; /* ... and so many times that; 0: once */

	int (*setup)(void *arg); /* 0 or -errno; NULL: none */
	void (*run)(struct gb_state *state, void *arg);
	void (*teardown)(void *arg); /* NULL: none */
	void *arg;
};

/*
 * For what is registered from here on: repetitions of each benchmark, and
 * seconds a run if it says nothing itself.  0: as the command line says.
 */
void gb_defaults(unsigned int repetitions, double min_time);

/* 0 or -ENOMEM, -EINVAL.  `bench` itself is copied. */
int gb_register(const struct gb_bench *bench);

/* Is there another batch of `units` to do? */
bool gb_next(struct gb_state *state, uint64_t units);

/* Stop and restart the clock inside a batch; slow (system calls). */
void gb_pause(struct gb_state *state);
void gb_resume(struct gb_state *state);

unsigned int gb_thread(const struct gb_state *state);
unsigned int gb_threads(const struct gb_state *state);
int64_t gb_arg(const struct gb_state *state, unsigned int index);
/* Units done by this thread so far; exact after the last gb_next(). */
uint64_t gb_units(const struct gb_state *state);

/* Reported beside the time: the mean over threads. */
void gb_counter(struct gb_state *state, const char *name, double value);
/* Bytes moved by one unit of work: reported as a rate. */
void gb_bytes(struct gb_state *state, uint64_t bytes);
void gb_label(struct gb_state *state, const char *text);
/* The benchmark does not apply: reported as such, and nothing more. */
void gb_skip(struct gb_state *state, const char *why);
/* The benchmark could not be run: reported as such; gb_main() then fails. */
void gb_fail(struct gb_state *state, const char *why);

/* A fact about the run, for its results: both are copied.  0 or -ENOMEM. */
int gb_context(const char *key, const char *value);

/*
 * Run what is registered and what the command line selects (google
 * benchmark's own options).  0, or -EIO if a benchmark failed, -EINVAL for
 * options that are not known.
 */
int gb_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif

#endif
