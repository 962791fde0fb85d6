/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usage: soak [COMMITS [inline]]
 *
 * A million commits (toggles and moves among 16384 regions) with two readers:
 * resident memory after the first 10000 must not grow by 5 % or more.  Among
 * these a reader stalls until the limit on retired memory is met: how long
 * readers are kept from running later on, on a busy machine, then changes
 * nothing.  The default is 1000000 commits with a control thread.
 */
#include <memplane.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { REGIONS = 16384, READERS = 2, PAGE = 0x1000, RETIRED_MAX = 2 << 20 };

static const struct mpl_io_ops no_ops;

struct soak {
	struct mpl_plane *plane;
	struct mpl_address_space *as;
	struct mpl_region *regions[REGIONS];
	bool disabled[REGIONS];
	uint64_t random;
	uint64_t lookups[READERS];
	int next_reader;
	int stop;
};

static void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "soak: %s: error %d\n", what, -err);
	exit(1);
}

static uint64_t random_below(uint64_t *state, uint64_t n)
{
	*state = *state * 6364136223846793005 + 1442695040888963407;
	return (*state >> 33) % n;
}

/* Resident bytes, as the kernel says; 0: unknown. */
static uint64_t resident(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	uint64_t pages = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%*s %" SCNu64, &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Places are twice as many as regions, so that moves find room. */
static uint64_t place(uint64_t i)
{
	return i * PAGE;
}

static void build(struct soak *soak, bool control_thread)
{
	const struct mpl_plane_config config = {
		.control_thread = control_thread,
		.retired_max = RETIRED_MAX,
	};
	struct mpl_region *root;
	struct mpl_txn *tx;

	must(mpl_plane_new(&soak->plane, &config), "plane");
	must(mpl_region_new_container(soak->plane, "root", UINT64_MAX, &root),
	     "root");
	must(mpl_address_space_new(soak->plane, "memory", root, &soak->as),
	     "memory");
	tx = mpl_begin(soak->plane);
	for (uint64_t i = 0; i < REGIONS; i++) {
		must(mpl_region_new_io(soak->plane, "io", PAGE, &no_ops, NULL,
				       &soak->regions[i]),
		     "io");
		mpl_region_add(tx, root, place(2 * i), soak->regions[i], 0);
	}
	must(mpl_commit(tx), "the first commit");
}

/* A reader that does as it should: looks up, and is quiescent. */
static void *read_on(void *arg)
{
	struct soak *soak = arg;
	int number = __atomic_fetch_add(&soak->next_reader, 1,
					__ATOMIC_RELAXED);
	struct mpl_reader *reader;
	uint64_t state = 99 + (uint64_t)number, lookups = 0;

	must(mpl_reader_register(soak->plane, &reader), "reader");
	must(mpl_reader_online(reader), "online");
	while (!__atomic_load_n(&soak->stop, __ATOMIC_RELAXED)) {
		for (int i = 0; i < 64; i++) {
			uint64_t gpa = place(random_below(&state, 2 * REGIONS));
			const struct mpl_section *section =
				mpl_lookup(reader, soak->as, gpa);

			if (!mpl_section_is_unassigned(section) &&
			    mpl_section_offset(section, gpa) != 0)
				must(-1, "a look-up is wrong");
		}
		lookups += 64;
		must(mpl_reader_quiescent(reader), "quiescent");
	}
	soak->lookups[number] = lookups;
	must(mpl_reader_unregister(reader), "unregister");
	return NULL;
}

static int change(struct soak *soak)
{
	uint64_t i = random_below(&soak->random, REGIONS);
	struct mpl_txn *tx = mpl_begin(soak->plane);
	bool toggle = random_below(&soak->random, 2);
	int err;

	if (toggle)
		mpl_region_set_enabled(tx, soak->regions[i],
				       soak->disabled[i]);
	else
		mpl_region_move(tx, soak->regions[i],
				place(2 * i + random_below(&soak->random, 2)));
	err = mpl_commit(tx);
	if (!err && toggle)
		soak->disabled[i] = !soak->disabled[i];
	return err;
}

/* Hold everything back until commits are refused: what that costs. */
static uint64_t stall(struct soak *soak)
{
	struct mpl_reader *reader;
	uint64_t before = resident();
	int err, commits = 0;

	must(mpl_reader_register(soak->plane, &reader), "reader");
	must(mpl_reader_online(reader), "online");
	while (!(err = change(soak)))
		if (++commits == 1 << 20)
			must(-ETIMEDOUT, "the limit is never met");
	must(err == -EAGAIN ? 0 : err, "a commit");
	before = resident() - before;
	must(mpl_reader_unregister(reader), "unregister");
	return before;
}

/* Too much is retired only if a reader was kept from running for long. */
static void commit_one(struct soak *soak, uint64_t *crowded)
{
	static const struct timespec nap = { .tv_nsec = 1000000 };
	int err = change(soak);

	if (err == -EAGAIN) { /* this change is not made */
		++*crowded;
		nanosleep(&nap, NULL);
		return;
	}
	must(err, "a commit");
}

struct figures {
	uint64_t stall, before, peak, after, pending_max, crowded;
	double took;
};

static void run(struct soak *soak, uint64_t commits, struct figures *out)
{
	uint64_t warm = commits / 10 < 10000 ? commits / 10 : 10000;
	double begin = seconds();

	out->stall = stall(soak);
	for (uint64_t i = 0; i < commits; i++) {
		commit_one(soak, &out->crowded);
		if (i + 1 == warm)
			out->before = resident();
		if (i > warm && i % (commits / 100) == 0) {
			uint64_t now = resident();
			struct mpl_plane_stats stats;

			mpl_plane_stats(soak->plane, &stats);
			if (now > out->peak)
				out->peak = now;
			if (stats.retired_bytes > out->pending_max)
				out->pending_max = stats.retired_bytes;
		}
	}
	out->after = resident();
	if (out->after > out->peak)
		out->peak = out->after;
	out->took = seconds() - begin;
}

static int report(struct soak *soak, uint64_t commits,
		  const struct figures *figures)
{
	struct mpl_plane_stats stats;
	double growth = 100 * ((double)figures->peak /
			       (double)figures->before - 1);

	mpl_plane_stats(soak->plane, &stats);
	printf("soak: %" PRIu64 " commits in %.1f s (%.2f us each), %" PRIu64
	       " look-ups meanwhile\n",
	       commits, figures->took, figures->took * 1e6 / (double)commits,
	       soak->lookups[0] + soak->lookups[1]);
	printf("soak: resident %" PRIu64 " KiB when warm, %" PRIu64
	       " KiB at most, %" PRIu64 " KiB at the end: %+.2f %%\n",
	       figures->before >> 10, figures->peak >> 10,
	       figures->after >> 10, growth);
	printf("soak: retired in all %" PRIu64 " MiB, %" PRIu64
	       " KiB at once at most, %" PRIu64 " bytes now; %" PRIu64
	       " commits met the limit\n",
	       stats.retired_bytes_total >> 20, stats.retired_bytes_peak >> 10,
	       stats.retired_bytes, figures->crowded);
	printf("soak: a stalled reader made it grow by %" PRIu64
	       " KiB, the limit is %d KiB\n",
	       figures->stall >> 10, RETIRED_MAX >> 10);
	if (figures->stall > 2 * RETIRED_MAX) {
		fprintf(stderr, "soak: more is retired than is counted\n");
		return 1;
	}
	if (!figures->before || growth >= 5) {
		fprintf(stderr, "soak: resident memory grows\n");
		return 1;
	}
	/* One commit more than the limit, and what only removes. */
	if (stats.retired_bytes_peak > RETIRED_MAX + RETIRED_MAX / 8 || stats.retired_bytes) {
		fprintf(stderr, "soak: what is retired is not bounded\n");
		return 1;
	}
	if (stats.nodes_live > REGIONS || stats.sections_live > REGIONS) {
		fprintf(stderr, "soak: %" PRIu64 " nodes, %" PRIu64
				" sections are left\n",
			stats.nodes_live, stats.sections_live);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct soak soak = { .random = 1 };
	uint64_t commits = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000;
	struct figures figures = { 0 };
	pthread_t readers[READERS];
	int status;

	if (commits < 1000) {
		fprintf(stderr, "usage: soak [COMMITS [inline]]\n");
		return 2;
	}
	build(&soak, argc <= 2 || strcmp(argv[2], "inline") != 0);
	for (int i = 0; i < READERS; i++)
		must(-pthread_create(&readers[i], NULL, read_on, &soak),
		     "thread");
	run(&soak, commits, &figures);
	__atomic_store_n(&soak.stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	must(mpl_synchronize(soak.plane), "synchronize");
	status = report(&soak, commits, &figures);
	must(mpl_plane_free(soak.plane), "free");
	return status;
}
