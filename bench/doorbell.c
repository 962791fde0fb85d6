/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which doorbell does a write ring?  By the number of doorbells in one section,
 * with three ways to find one:
 *
 *	flat	one sorted array, binary search: what the tables were once
 *	tree	sorted arrays of 32 that tables share (doorbell_tree.h)
 *	hash	rte_hash with versions (doorbell_hash.h)
 *
 *	doorbell/WAY_hit/N	a look-up of the section and of a random doorbell
 *	doorbell/WAY_miss/N	of a place beside one
 *	doorbell/WAY_hit_value/N, _miss_value	all at one offset, by value
 *	doorbell/WAY_store/N	mpl_store() beside a doorbell: the callback
 *	doorbell/WAY_ring/N	mpl_store() that rings, the eventfd included
 *	doorbell/WAY_grow/N	making a table of N one by one, time per doorbell
 *	doorbell/each/N, once/N	the same with commits, each or all in one; tree
 *	doorbell/each_hash/N	and with a hash
 *
 * The tables of all but the last two are made here and put into the section by
 * hand, with one eventfd for all: the library duplicates the eventfd of each
 * doorbell, and 100,000 descriptors are more than most processes may have.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <memplane.h>

#include "bench.h"
#include "dispatch/data_plane.h"
#include "dispatch/doorbell.h"
#include "dispatch/doorbell_hash.h"
#include "dispatch/retire.h"
#include "world.h"

#define DOORBELL_STEP 8
#define DOORBELLS_MAX 100000
/* Commits: each doorbell costs a descriptor. */
#define COMMITS_MAX 16384
/* One array for each table: n^2 bytes. */
#define FLAT_GROW_MAX 4096
#define BELL_REGION (DOORBELLS_MAX * DOORBELL_STEP)
#define REQUESTS (1u << 16)
#define BATCH 1024

enum way { FLAT, TREE, HASH, WAYS };
enum what { HIT, MISS, HIT_VALUE, MISS_VALUE, STORE, RING, GROW, WHATS };

static const char *const way_names[WAYS] = { "flat", "tree", "hash" };
static const char *const what_names[WHATS] = {
	"hit", "miss", "hit_value", "miss_value", "store", "ring", "grow",
};

static const int64_t counts[] = { 1,	4,    16,    64,    256,
				  1024, 4096, 16384, 100000 };

struct task {
	enum way way;
	enum what what;
	int64_t count;
};

static struct task tasks[WAYS * WHATS * sizeof(counts) / sizeof(counts[0])];
static const struct mpl_attrs attrs;

/* A plane with one device, whose section gets tables; kept. */
static struct {
	struct mpl_plane *plane;
	struct mpl_address_space *as;
	struct mpl_data_plane dp; /* of the tables */
	struct mpl_eventfd *event;
	uint32_t requests[REQUESTS];
} site;

static int site_get(void)
{
	struct mpl_region *region;
	int err, fd;

	if (site.plane)
		return 0;
	err = mpl_plane_new(&site.plane, NULL);
	if (!err)
		err = mpl_data_plane_init(&site.dp, 1, 0);
	if (!err)
		err = mpl_region_new_io(site.plane, "bells", BELL_REGION,
					&world_io_ops, NULL, &region);
	if (err)
		return err;
	err = mpl_address_space_new(site.plane, "memory", region, &site.as);
	mpl_region_unref(region);
	fd = eventfd(0, EFD_NONBLOCK);
	if (!err)
		err = mpl_eventfd_new(fd, &site.event);
	close(fd);
	return err;
}

void doorbell_free_all(void)
{
	if (!site.plane)
		return;
	mpl_plane_free(site.plane);
	mpl_data_plane_destroy(&site.dp);
	mpl_eventfd_unref(site.event);
}

static bool by_value(enum what what)
{
	return what == HIT_VALUE || what == MISS_VALUE;
}

static struct mpl_doorbell doorbell(enum what what, uint64_t i)
{
	struct mpl_doorbell item = { .size = 4, .event = site.event };

	item.match = by_value(what);
	if (item.match)
		item.data = 2 * i;
	else
		item.offset = DOORBELL_STEP * i;
	return item;
}

/* No reader is one of the tables' plane: their hashes go at once. */
static void drop_table(struct mpl_doorbells *table)
{
	mpl_doorbells_unref(table);
	mpl_retire_poll(&site.dp);
}

static int make_table(const struct task *task, struct mpl_doorbells **out)
{
	struct mpl_doorbells *table = NULL, *more;
	int err = 0;

	site.dp.hash_doorbells = task->way == HASH;
	for (int64_t i = 0; !err && i < task->count; i++) {
		const struct mpl_doorbell item =
			doorbell(task->what, (uint64_t)i);

		err = mpl_doorbells_with(&site.dp, table, &item, &more);
		mpl_doorbells_unref(table);
		table = err ? NULL : more;
	}
	if (!err && !table->hash != (task->way != HASH)) {
		drop_table(table);
		table = NULL;
		err = -ENOTSUP;
	}
	*out = table;
	return err;
}

struct flat {
	size_t count;
	struct mpl_doorbell items[];
};

static struct flat *make_flat(const struct task *task)
{
	size_t count = (size_t)task->count;
	struct flat *flat =
		malloc(sizeof(*flat) + count * sizeof(flat->items[0]));

	if (!flat)
		return NULL;
	flat->count = count;
	for (size_t i = 0; i < count; i++)
		flat->items[i] = doorbell(task->what, i);
	return flat;
}

static bool is_before(const struct mpl_doorbell *a,
		      const struct mpl_doorbell *b)
{
	if (a->offset != b->offset)
		return a->offset < b->offset;
	if (a->size != b->size)
		return a->size < b->size;
	if (a->match != b->match)
		return b->match;
	return a->match && a->data < b->data;
}

static __attribute__((noinline)) const struct mpl_doorbell *
flat_find(const struct flat *flat, const struct mpl_doorbell *key)
{
	size_t low = 0, high = flat->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (is_before(&flat->items[middle], key))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == flat->count || is_before(key, &flat->items[low]))
		return NULL;
	return &flat->items[low];
}

/* What the guest writes: where, and which value. */
struct request {
	uint64_t gpa;
	uint64_t value;
};

static inline struct request request(enum what what, uint32_t i)
{
	bool beside = what == MISS || what == MISS_VALUE || what == STORE;

	if (by_value(what))
		return (struct request){ .value = 2 * i + beside };
	return (struct request){ .gpa = DOORBELL_STEP * i + 4 * beside };
}

/* Look-ups; how many found one. */
static uint64_t find_turn(struct mpl_reader *reader, const struct task *task,
			  const struct flat *flat, const uint32_t *index)
{
	uint64_t found = 0;

	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++) {
		struct request req = request(task->what, index[i]);
		const struct mpl_section *section =
			mpl_lookup(reader, site.as, req.gpa);
		uint64_t offset = mpl_section_offset(section, req.gpa);
		const struct mpl_doorbell key = {
			.offset = offset,
			.data = req.value,
			.size = 4,
			.match = by_value(task->what),
		};

		found += flat ? flat_find(flat, &key) != NULL :
				mpl_doorbell_find(section->doorbells, offset,
						  4, req.value) != NULL;
	}
	return found;
}

static uint64_t store_turn(struct mpl_reader *reader, const struct task *task,
			   const uint32_t *index)
{
	mpl_result_t result = MPL_OK;

	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++) {
		struct request req = request(task->what, index[i]);

		result |= mpl_store(reader, site.as, req.gpa, attrs, 4,
				    MPL_LITTLE_ENDIAN, req.value);
	}
	return result == MPL_OK ? QUIESCENT_EVERY : 0;
}

/* The table of the one section, or none again. */
static void put_table(struct mpl_reader *reader, struct mpl_doorbells *table)
{
	struct mpl_section *section =
		(struct mpl_section *)mpl_lookup(reader, site.as, 0);

	section->doorbells = table;
}

static void measure(struct gb_state *state, const struct task *task,
		    struct mpl_reader *reader, const struct flat *flat)
{
	bool stores = task->what == STORE || task->what == RING;
	bool hits = task->what != MISS && task->what != MISS_VALUE;
	uint64_t random = 1, found = 0;
	unsigned int at = 0;

	for (unsigned int i = 0; i < REQUESTS; i++)
		site.requests[i] = (uint32_t)(bench_random(&random) %
					      (uint64_t)task->count);
	while (gb_next(state, BATCH)) {
		for (size_t i = 0; i < BATCH; i += QUIESCENT_EVERY) {
			const uint32_t *index = site.requests + at;

			found += stores ? store_turn(reader, task, index) :
					  find_turn(reader, task, flat, index);
			at = (at + QUIESCENT_EVERY) % REQUESTS;
			mpl_reader_quiescent(reader);
		}
	}
	if (found != (hits ? gb_units(state) : 0))
		gb_fail(state, "found what is not there, or missed one");
}

static void run_find(struct gb_state *state, void *arg)
{
	const struct task *task = arg;
	struct mpl_doorbells *table = NULL;
	struct flat *flat = NULL;
	struct mpl_reader *reader;
	int err = site_get();

	if (!err && task->way == FLAT) {
		flat = make_flat(task);
		err = flat ? 0 : -ENOMEM;
	} else if (!err) {
		err = make_table(task, &table);
	}
	reader = err ? NULL : world_enter(site.plane);
	if (reader) {
		put_table(reader, table);
		measure(state, task, reader, flat);
		put_table(reader, NULL);
	} else {
		gb_fail(state, "no table, or no reader");
	}
	world_leave(reader);
	drop_table(table);
	free(flat);
}

/* As the tables were made once: copied, with a reference on each event. */
static int flat_grow(const struct task *task)
{
	struct flat *flat = calloc(1, sizeof(*flat)), *more;

	for (size_t i = 0; flat && i < (size_t)task->count; i++) {
		more = malloc(sizeof(*flat) + (i + 1) * sizeof(more->items[0]));
		if (more) {
			memcpy(more->items, flat->items,
			       i * sizeof(more->items[0]));
			more->items[i] = doorbell(task->what, i);
			more->count = i + 1;
			for (size_t j = 0; j <= i; j++)
				__atomic_add_fetch(&more->items[j].event->refs,
						   1, __ATOMIC_RELAXED);
			for (size_t j = 0; j < i; j++)
				__atomic_sub_fetch(&flat->items[j].event->refs,
						   1, __ATOMIC_ACQ_REL);
		}
		free(flat);
		flat = more;
	}
	if (!flat)
		return -ENOMEM;
	for (size_t i = 0; i < flat->count; i++)
		__atomic_sub_fetch(&flat->items[i].event->refs, 1,
				   __ATOMIC_ACQ_REL);
	free(flat);
	return 0;
}

static void run_grow(struct gb_state *state, void *arg)
{
	const struct task *task = arg;
	struct mpl_doorbells *table = NULL;
	int err = site_get();

	while (gb_next(state, (uint64_t)task->count)) {
		if (!err)
			err = task->way == FLAT ? flat_grow(task) :
						  make_table(task, &table);
		drop_table(table);
		table = NULL;
	}
	if (err)
		gb_fail(state, strerror(-err));
}

struct commit_task {
	const char *name;
	bool once;
	unsigned int hash_doorbells;
};

static const struct commit_task commit_tasks[] = {
	{ "doorbell/each", false, 0 },
	{ "doorbell/once", true, 0 },
	{ "doorbell/each_hash", false, 1 },
};

static int add_doorbells(const struct commit_task *task,
			 struct mpl_plane *plane, struct mpl_region *region,
			 uint64_t count, int fd)
{
	struct mpl_txn *tx = task->once ? mpl_begin(plane) : NULL;
	int err = 0;

	for (uint64_t i = 0; !err && i < count; i++) {
		struct mpl_ioeventfd bell = { .offset = DOORBELL_STEP * i,
					      .size = 4,
					      .fd = fd };

		if (!task->once)
			tx = mpl_begin(plane);
		mpl_ioeventfd_add(tx, region, &bell);
		if (!task->once)
			err = mpl_commit(tx);
	}
	return task->once ? mpl_commit(tx) : err;
}

static void run_commits(struct gb_state *state, void *arg)
{
	const struct commit_task *task = arg;
	const struct mpl_plane_config config = {
		.hash_doorbells = task->hash_doorbells,
	};
	uint64_t count = (uint64_t)gb_arg(state, 0);
	int fd = eventfd(0, EFD_NONBLOCK);

	while (gb_next(state, count)) {
		struct mpl_address_space *as;
		struct mpl_region *region = NULL;
		struct mpl_plane *plane = NULL;
		int err;

		gb_pause(state);
		err = mpl_plane_new(&plane, &config);
		if (!err)
			err = mpl_region_new_io(plane, "bells", BELL_REGION,
						&world_io_ops, NULL, &region);
		if (!err)
			err = mpl_address_space_new(plane, "memory", region,
						    &as);
		gb_resume(state);
		if (!err)
			err = add_doorbells(task, plane, region, count, fd);
		gb_pause(state);
		mpl_region_unref(region);
		mpl_plane_free(plane);
		gb_resume(state);
		if (err)
			gb_fail(state, strerror(-err));
	}
	close(fd);
}

static int register_task(struct task *task)
{
	char name[48];
	const struct gb_bench bench = {
		.name = name,
		.args = &task->count,
		.nargs = 1,
		.longer = bench_longer(task->count),
		.run = task->what == GROW ? run_grow : run_find,
		.arg = task,
	};

	snprintf(name, sizeof(name), "doorbell/%s_%s", way_names[task->way],
		 what_names[task->what]);
	return gb_register(&bench);
}

/* A flat array is a peer for finding and growing only. */
static bool applies(const struct task *task)
{
	if (bench_quick && task->count > BENCH_QUICK_MAX)
		return false;
	if (task->way != FLAT)
		return true;
	return task->what < STORE ||
	       (task->what == GROW && task->count <= FLAT_GROW_MAX);
}

static int register_commits(const struct commit_task *task)
{
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(counts) / sizeof(*counts); i++) {
		const struct gb_bench bench = {
			.name = task->name,
			.args = &counts[i],
			.nargs = 1,
			.run = run_commits,
			.arg = (void *)(uintptr_t)task,
		};

		if (counts[i] <= (bench_quick ? BENCH_QUICK_MAX : COMMITS_MAX))
			err = gb_register(&bench);
	}
	return err;
}

int register_doorbell(void)
{
	struct task *task = tasks;
	int err = 0;

	for (unsigned int what = 0; what < WHATS; what++) {
		for (unsigned int way = 0; way < WAYS; way++) {
			for (size_t i = 0;
			     !err && i < sizeof(counts) / sizeof(*counts);
			     i++) {
				*task = (struct task){ .way = way,
						       .what = what,
						       .count = counts[i] };
				if (applies(task))
					err = register_task(task++);
			}
		}
	}
	for (size_t i = 0;
	     !err && i < sizeof(commit_tasks) / sizeof(*commit_tasks); i++)
		err = register_commits(&commit_tasks[i]);
	return err;
}
