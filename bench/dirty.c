/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty tracking: what a log costs those who write and those who read it.
 *
 *	dirty/snapshot/PAGES	snapshot-and-clear of a 1 TiB region (reserved,
 *				not touched) in which PAGES pages are dirty,
 *				and a walk over the runs; time of one snapshot
 *	dirty/flat/PAGES	the same with one flat bitmap, as a VMM without
 *				summaries has it
 *	dirty/full_snapshot, full_flat	every page of 16 GiB is dirty
 *	dirty/write/BYTES, write_logged/BYTES	mpl_write() into one page
 *	dirty/pointer, pointer_logged	mpl_translate() to write, and a store
 *	dirty/merge/PERCENT	mpl_dirty_merge() of 1 GiB's bitmap, so many of
 *				its pages dirty; time of a word of 64 pages
 *	dirty/merge_flat/PERCENT	the least that it can be: or, word by word
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <memplane.h>

#include "bench.h"
#include "peer_bench.h"

#define SPARSE_SIZE (UINT64_C(1) << 40)
#define FULL_SIZE   (UINT64_C(1) << 34)
#define MERGE_SIZE  (UINT64_C(1) << 30)
#define WORD_PAGES  64

static struct {
	struct mpl_plane *plane;
	struct mpl_region *root, *sparse, *full, *plain, *logged;
	struct mpl_address_space *as;
	struct mpl_reader *reader;
	struct mpl_dirty_set *set;
	uint64_t *bitmap, *copy; /* flat ones */
	uint64_t *dirty;	 /* which pages, if not all */
} world;

static const struct mpl_attrs attrs;

/* Where regions are. */
#define PLAIN_AT  (UINT64_C(1) << 30)
#define LOGGED_AT (UINT64_C(2) << 30)
#define SPARSE_AT (UINT64_C(1) << 41)
#define FULL_AT	  (UINT64_C(1) << 42)

static int add_ram(struct mpl_txn *tx, const char *name, uint64_t at,
		   uint64_t size, struct mpl_region **out)
{
	int err = mpl_region_new_ram(world.plane, name, size, NULL, out);

	if (!err)
		mpl_region_add(tx, world.root, at, *out, 0);
	return err;
}

static int build(void)
{
	struct mpl_txn *tx;
	int err = mpl_plane_new(&world.plane, NULL);

	if (!err)
		err = mpl_region_new_container(world.plane, "root", UINT64_MAX,
					       &world.root);
	if (!err)
		err = mpl_address_space_new(world.plane, "memory", world.root,
					    &world.as);
	if (err)
		return err;
	tx = mpl_begin(world.plane);
	err = add_ram(tx, "plain", PLAIN_AT, MPL_GIB, &world.plain);
	if (!err)
		err = add_ram(tx, "logged", LOGGED_AT, MPL_GIB, &world.logged);
	if (!err)
		err = add_ram(tx, "sparse", SPARSE_AT, SPARSE_SIZE,
			      &world.sparse);
	if (!err)
		err = add_ram(tx, "full", FULL_AT, FULL_SIZE, &world.full);
	if (err) {
		mpl_abort(tx);
		return err;
	}
	mpl_log_start(tx, world.logged, MPL_LOG_MIGRATION);
	mpl_log_start(tx, world.sparse, MPL_LOG_MIGRATION);
	mpl_log_start(tx, world.full, MPL_LOG_MIGRATION);
	err = mpl_commit(tx);
	if (!err)
		err = mpl_dirty_set_new(SPARSE_SIZE / MPL_DIRTY_PAGE,
					&world.set);
	if (!err)
		err = mpl_reader_register(world.plane, &world.reader);
	return err ? err : mpl_reader_online(world.reader);
}

static uint64_t *map_bitmap(void)
{
	void *at = mmap(NULL, SPARSE_SIZE / MPL_DIRTY_PAGE / 8,
			PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

static int setup(void *arg)
{
	const uint64_t pages = SPARSE_SIZE / MPL_DIRTY_PAGE;
	uint64_t random = 7;

	(void)arg;
	if (world.dirty)
		return 0;
	world.bitmap = map_bitmap();
	world.copy = map_bitmap();
	world.dirty = malloc(65536 * sizeof(*world.dirty));
	if (!world.bitmap || !world.copy || !world.dirty)
		return -ENOMEM;
	for (size_t i = 0; i < 65536; i++)
		world.dirty[i] = bench_random(&random) % pages;
	return build();
}

void dirty_free_all(void)
{
	if (!world.dirty)
		return;
	mpl_reader_unregister(world.reader);
	mpl_plane_free(world.plane);
	mpl_dirty_set_free(world.set);
	munmap(world.bitmap, SPARSE_SIZE / MPL_DIRTY_PAGE / 8);
	munmap(world.copy, SPARSE_SIZE / MPL_DIRTY_PAGE / 8);
	free(world.dirty);
	memset(&world, 0, sizeof(world));
}

/* One snapshot and a walk over its runs: how many pages there were. */
static uint64_t by_library(struct mpl_region *region)
{
	uint64_t page, count, sum = 0;

	if (mpl_dirty_snapshot_clear(region, MPL_LOG_MIGRATION, 0, UINT64_MAX,
				     world.set))
		return UINT64_MAX;
	for (uint64_t at = 0; mpl_dirty_set_next(world.set, at, &page, &count);
	     at = page + count)
		sum += count;
	mpl_dirty_set_clear(world.set);
	return sum;
}

/* Exchange word by word what is not zero; then the runs of the copy. */
static uint64_t by_flat(uint64_t pages)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < pages / WORD_PAGES; i++)
		if (__atomic_load_n(&world.bitmap[i], __ATOMIC_RELAXED))
			world.copy[i] = __atomic_exchange_n(
				&world.bitmap[i], 0, __ATOMIC_ACQ_REL);
	for (uint64_t i = 0; i < pages / WORD_PAGES; i++) {
		uint64_t bits = world.copy[i], low, run;

		if (!bits)
			continue;
		world.copy[i] = 0;
		while (bits) {
			low = (uint64_t)__builtin_ctzll(bits);
			bits >>= low;
			run = bits == UINT64_MAX ?
				      64 :
				      (uint64_t)__builtin_ctzll(~bits);
			sum += run;
			bits = run == 64 ? 0 : bits >> run;
		}
	}
	return sum;
}

static void mark_flat(uint64_t page)
{
	__atomic_fetch_or(&world.bitmap[page / 64],
			  UINT64_C(1) << (page % 64), __ATOMIC_SEQ_CST);
}

/* The same pages in one or the other. */
static void mark_some(int64_t pages, bool flat)
{
	for (int64_t i = 0; i < pages; i++) {
		if (flat)
			mark_flat(world.dirty[i]);
		else
			(void)mpl_dirty_mark(world.sparse,
					     world.dirty[i] * MPL_DIRTY_PAGE,
					     1);
	}
}

static void run_sparse(struct gb_state *state, void *arg)
{
	bool flat = arg != NULL;
	int64_t pages = gb_arg(state, 0);
	uint64_t sum = 0, expected;

	/* What both must find. */
	mark_some(pages, true);
	expected = by_flat(SPARSE_SIZE / MPL_DIRTY_PAGE);
	while (gb_next(state, 1)) {
		gb_pause(state);
		mark_some(pages, flat);
		gb_resume(state);
		sum = flat ? by_flat(SPARSE_SIZE / MPL_DIRTY_PAGE) :
			     by_library(world.sparse);
		if (sum != expected) {
			gb_fail(state, "a snapshot with other pages");
			break;
		}
	}
}

static void run_full(struct gb_state *state, void *arg)
{
	const uint64_t pages = FULL_SIZE / MPL_DIRTY_PAGE;
	bool flat = arg != NULL;

	while (gb_next(state, 1)) {
		uint64_t sum;

		gb_pause(state);
		if (flat)
			memset(world.bitmap, 0xff, pages / 8);
		else
			(void)mpl_dirty_mark(world.full, 0, FULL_SIZE);
		gb_resume(state);
		sum = flat ? by_flat(pages) : by_library(world.full);
		if (sum != pages) {
			gb_fail(state, "a snapshot with other pages");
			break;
		}
	}
}

static void run_write(struct gb_state *state, void *arg)
{
	uint64_t at = (arg ? LOGGED_AT : PLAIN_AT) + 64;
	static const uint8_t data[64];
	size_t len = (size_t)gb_arg(state, 0);

	while (gb_next(state, PEER_BATCH)) {
		for (size_t i = 0; i < PEER_BATCH; i++) {
			bench_use(mpl_write(world.reader, world.as, at, attrs,
					    data, len));
			if (i % QUIESCENT_EVERY == 0)
				mpl_reader_quiescent(world.reader);
		}
	}
}

static void run_pointer(struct gb_state *state, void *arg)
{
	uint64_t at = arg ? LOGGED_AT : PLAIN_AT;
	size_t contiguous;
	void *host;

	while (gb_next(state, PEER_BATCH)) {
		for (uint64_t i = 0; i < PEER_BATCH; i++) {
			/* A ring of 64 buffers, each in its page. */
			if (mpl_translate(world.reader, world.as,
					  at + i * 7 % 64 * MPL_DIRTY_PAGE, 8,
					  MPL_FOR_WRITE, &host, &contiguous)) {
				gb_fail(state, "no pointer");
				return;
			}
			__atomic_store_n((uint64_t *)host, i,
					 __ATOMIC_RELAXED);
			if (i % QUIESCENT_EVERY == 0)
				mpl_reader_quiescent(world.reader);
		}
	}
}

static void run_merge(struct gb_state *state, void *arg)
{
	const uint64_t words = MERGE_SIZE / MPL_DIRTY_PAGE / WORD_PAGES;
	uint64_t *bitmap = calloc(words, sizeof(*bitmap)), random = 3;
	bool flat = arg != NULL, some = gb_arg(state, 0) != 0;

	if (!bitmap) {
		gb_fail(state, "no memory");
		return;
	}
	for (uint64_t i = 0; i < words * WORD_PAGES; i++)
		if (bench_random(&random) % 100 < (uint64_t)gb_arg(state, 0))
			bitmap[i / 64] |= UINT64_C(1) << (i % 64);
	while (gb_next(state, words)) {
		if (!flat) {
			(void)mpl_dirty_merge(world.logged, 0, bitmap,
					      words * WORD_PAGES);
		} else {
			for (uint64_t i = 0; i < words; i++)
				if (bitmap[i])
					__atomic_fetch_or(&world.bitmap[i],
							  bitmap[i],
							  __ATOMIC_SEQ_CST);
			bench_use(world.bitmap);
		}
		if (!some)
			continue;
		gb_pause(state);
		if (flat)
			memset(world.bitmap, 0, words * 8);
		else
			(void)by_library(world.logged);
		gb_resume(state);
	}
	free(bitmap);
}

static int add(const char *name, int64_t argument, bool other,
	       void (*run)(struct gb_state *state, void *arg))
{
	return gb_register(&(struct gb_bench){
		.name = name,
		.args = argument < 0 ? NULL : &argument,
		.nargs = argument < 0 ? 0 : 1,
		.setup = setup,
		.run = run,
		.arg = other ? &world : NULL,
	});
}

int register_dirty(void)
{
	static const int64_t pages[] = { 64, 4096, 65536 };
	static const int64_t bytes[] = { 4, 8, 16, 64 };
	static const int64_t percents[] = { 0, 1, 100 };
	int err = 0;

	for (size_t i = 0; !err && i < 3; i++) {
		err = add("dirty/snapshot", pages[i], false, run_sparse);
		if (!err)
			err = add("dirty/flat", pages[i], true, run_sparse);
	}
	if (!err)
		err = add("dirty/full_snapshot", -1, false, run_full);
	if (!err)
		err = add("dirty/full_flat", -1, true, run_full);
	for (size_t i = 0; !err && i < 4; i++) {
		err = add("dirty/write", bytes[i], false, run_write);
		if (!err)
			err = add("dirty/write_logged", bytes[i], true,
				  run_write);
	}
	if (!err)
		err = add("dirty/pointer", -1, false, run_pointer);
	if (!err)
		err = add("dirty/pointer_logged", -1, true, run_pointer);
	for (size_t i = 0; !err && i < 3; i++) {
		err = add("dirty/merge", percents[i], false, run_merge);
		if (!err)
			err = add("dirty/merge_flat", percents[i], true,
				  run_merge);
	}
	return err;
}
