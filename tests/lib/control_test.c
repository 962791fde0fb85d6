/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who carries transactions out and in which order: many threads, group
 * commit, asynchronous commits, and the end with work pending.
 */
#include "tests/support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { THREADS = 6, ROUNDS = 150 };

/* What `done` callbacks said, in the order in which they came. */
struct outcome {
	int calls;
	int errs[2048];
	int who[2048];
};

struct asked {
	struct outcome *outcome;
	int number;
	int err;
	int calls;
	struct gate *gate; /* NULL: does not stop */
};

static void note(void *arg, int err)
{
	struct asked *asked = arg;
	struct outcome *outcome = asked->outcome;

	asked->err = err;
	rig_count(&asked->calls);
	if (asked->gate)
		gate_stop(asked->gate);
	if (!outcome)
		return;
	outcome->errs[outcome->calls] = err;
	outcome->who[outcome->calls] = asked->number;
	rig_count(&outcome->calls);
}

/* Hold the control thread in a `done` callback. */
static void block_control(struct rig *rig, struct asked *blocker,
			  struct gate *gate)
{
	gate_init(gate);
	*blocker = (struct asked){ .gate = gate };
	assert_int_equal(mpl_commit_async(mpl_begin(rig->plane), note,
					  blocker),
			 0);
	gate_await(gate);
}

struct worker {
	struct rig *rig;
	struct rig_device *device;
	uint64_t base;
	int failures;
};

static void *commit_and_look(void *arg)
{
	struct worker *worker = arg;
	struct rig *rig = worker->rig;
	struct mpl_region *region = worker->device->region;
	struct mpl_reader *reader;

	if (mpl_reader_register(rig->plane, &reader))
		return NULL;
	worker->failures = rig_add(rig, region, worker->base) != 0;
	for (int i = 1; i <= ROUNDS; i++) {
		uint64_t to = worker->base + 0x1000 * (uint64_t)(i % 16);
		uint64_t from =
			worker->base + 0x1000 * (uint64_t)((i - 1) % 16);

		worker->failures += rig_move(rig, region, to) != 0;
		/* Live when it returns. */
		mpl_reader_online(reader);
		worker->failures += rig_find(rig, reader, to) != region;
		worker->failures += rig_find(rig, reader, from) != NULL;
		mpl_reader_offline(reader);
	}
	mpl_reader_unregister(reader);
	return NULL;
}

static void test_commits_from_many_threads(void **state)
{
	struct rig *rig = *state;
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	uint64_t before = rig_stats(rig).commits;

	for (int i = 0; i < THREADS; i++)
		workers[i] = (struct worker){
			.rig = rig,
			.device = rig_device(rig, "io", 0x1000, NULL),
			.base = 0x100000 * (uint64_t)i,
			.failures = -1,
		};
	for (int i = 0; i < THREADS; i++)
		threads[i] = rig_start(commit_and_look, &workers[i]);
	for (int i = 0; i < THREADS; i++)
		rig_join(threads[i]);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(workers[i].failures, 0);
	assert_int_equal(rig_stats(rig).commits - before,
			 THREADS * (ROUNDS + 1));
	assert_int_equal(rig_stats(rig).commits_failed, 0);
}

/* Asynchronous commits take effect, and are reported, in their order. */
static void test_async_order(void **state)
{
	enum { COUNT = 500 };
	struct rig *rig = *state;
	struct rig_device *device = rig_device(rig, "io", 0x1000, NULL);
	struct outcome *outcome = calloc(1, sizeof(*outcome));
	struct asked asked[COUNT];
	struct mpl_reader *reader;

	assert_non_null(outcome);
	assert_int_equal(rig_add(rig, device->region, 0), 0);
	for (int i = 0; i < COUNT; i++) {
		struct mpl_txn *tx = mpl_begin(rig->plane);

		asked[i] = (struct asked){ .outcome = outcome, .number = i };
		mpl_region_move(tx, device->region, 0x1000 * (uint64_t)i);
		assert_int_equal(mpl_commit_async(tx, note, &asked[i]), 0);
		if (!rig->threaded) /* done in the call */
			assert_int_equal(outcome->calls, i + 1);
	}
	/* A synchronous one queues up behind them. */
	assert_int_equal(mpl_commit(mpl_begin(rig->plane)), 0);
	assert_int_equal(rig_get(&outcome->calls), COUNT);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(outcome->who[i], i);
		assert_int_equal(outcome->errs[i], 0);
		assert_int_equal(asked[i].calls, 1);
	}
	assert_int_equal(mpl_reader_register(rig->plane, &reader), 0);
	mpl_reader_online(reader);
	assert_ptr_equal(rig_find(rig, reader, 0x1000 * (COUNT - 1)),
			 device->region);
	mpl_reader_unregister(reader);
	free(outcome);
}

/* When `done` says so the commit is live. */
struct looker {
	struct rig *rig;
	struct mpl_region *region;
	struct mpl_region *seen;
	int calls;
};

static void look(void *arg, int err)
{
	struct looker *looker = arg;
	struct mpl_reader *reader;

	if (!err && !mpl_reader_register(looker->rig->plane, &reader)) {
		mpl_reader_online(reader);
		looker->seen = rig_find(looker->rig, reader, 0x5000);
		mpl_reader_unregister(reader);
	}
	rig_count(&looker->calls);
}

static void test_done_means_live(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device(rig, "io", 0x1000, NULL);
	struct looker looker = { .rig = rig, .region = device->region };
	struct mpl_txn *tx = mpl_begin(rig->plane);

	mpl_region_add(tx, rig->root, 0x5000, device->region, 0);
	assert_int_equal(mpl_commit_async(tx, look, &looker), 0);
	assert_true(rig_wait(&looker.calls, 1));
	assert_ptr_equal(looker.seen, device->region);
}

/* An error that sticks to a transaction goes to `done`, or is returned. */
static void test_async_of_a_bad_transaction(void **state)
{
	struct rig *rig = *state;
	struct asked asked = { .number = 0 };
	struct mpl_txn *tx = mpl_begin(rig->plane);
	int err;

	mpl_region_add(tx, rig->root, 0, NULL, 0);
	err = mpl_commit_async(tx, note, &asked);
	if (err) {
		assert_int_equal(err, -EINVAL);
	} else {
		assert_true(rig_wait(&asked.calls, 1));
		assert_int_equal(asked.err, -EINVAL);
	}
	rig_linger();
	assert_int_equal(rig_get(&asked.calls), err ? 0 : 1);
	/* Nobody has to ask for the outcome. */
	assert_int_equal(mpl_commit_async(mpl_begin(rig->plane), NULL, NULL),
			 0);
	assert_int_equal(mpl_commit(mpl_begin(rig->plane)), 0);
}

static void test_group_commit(void **state)
{
	enum { COUNT = 100 };
	struct rig *rig = *state;
	struct outcome *outcome = calloc(1, sizeof(*outcome));
	struct mpl_plane_stats before, after;
	struct asked blocker, asked[COUNT];
	uint64_t generation;
	struct gate gate;

	assert_non_null(outcome);
	block_control(rig, &blocker, &gate);
	generation = mpl_plane_generation(rig->plane);
	for (int i = 0; i < COUNT; i++) {
		struct mpl_txn *tx = mpl_begin(rig->plane);
		struct rig_device *device =
			rig_device(rig, "io", 0x1000, NULL);

		mpl_region_add(tx, rig->root, 0x1000 * (uint64_t)i,
			       device->region, 0);
		asked[i] = (struct asked){ .outcome = outcome, .number = i };
		assert_int_equal(mpl_commit_async(tx, note, &asked[i]), 0);
		assert_int_equal(rig_get(&asked[i].calls), 0);
	}
	/* Asking waits for the control side, which stands at the gate. */
	gate_open(&gate);
	assert_true(rig_wait(&outcome->calls, COUNT));
	before = (struct mpl_plane_stats){ .commits = 1, .batches = 1 };
	after = rig_stats(rig);
	assert_int_equal(after.commits - before.commits, COUNT);
	assert_int_equal(after.batches - before.batches, 1);
	assert_int_equal(after.batch_max, COUNT);
	/* One render, one publish. */
	assert_int_equal(after.generation, generation + 1);
	assert_int_equal(after.ranges_added, COUNT);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(outcome->errs[i], 0);
	gate_destroy(&gate);
	free(outcome);
}

static void test_bad_transaction_in_a_batch(void **state)
{
	enum { COUNT = 20, BAD = 7 };
	struct rig *rig = *state;
	struct outcome *outcome = calloc(1, sizeof(*outcome));
	struct asked blocker, asked[COUNT];
	struct gate gate;

	assert_non_null(outcome);
	block_control(rig, &blocker, &gate);
	for (int i = 0; i < COUNT; i++) {
		struct mpl_txn *tx = mpl_begin(rig->plane);
		struct rig_device *device =
			rig_device(rig, "io", 0x1000, NULL);

		mpl_region_add(tx, rig->root, 0x1000 * (uint64_t)i,
			       device->region, 0);
		if (i == BAD) /* its first half must be undone */
			mpl_region_remove(tx, rig->root);
		asked[i] = (struct asked){ .outcome = outcome, .number = i };
		assert_int_equal(mpl_commit_async(tx, note, &asked[i]), 0);
	}
	gate_open(&gate);
	assert_true(rig_wait(&outcome->calls, COUNT));
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(outcome->who[i], i);
		assert_int_equal(outcome->errs[i], i == BAD ? -ENOENT : 0);
	}
	assert_int_equal(rig_stats(rig).batch_max, COUNT);
	assert_int_equal(rig_stats(rig).commits_failed, 1);
	assert_int_equal(rig_stats(rig).ranges_added, COUNT - 1);
	gate_destroy(&gate);
	free(outcome);
}

/* A listener that refuses ranges whose region's name begins with "bad". */
struct picky {
	int ranges; /* net */
	int refused;
	int commits, aborts, begins;
};

static int picky_begin(void *opaque)
{
	((struct picky *)opaque)->begins++;
	return 0;
}

static int picky_add(void *opaque, const struct mpl_flat_range *range)
{
	struct picky *picky = opaque;

	if (!strncmp(mpl_region_name(range->region), "bad", 3)) {
		picky->refused++;
		return -EIO;
	}
	picky->ranges++;
	return 0;
}

static int picky_del(void *opaque, const struct mpl_flat_range *range)
{
	(void)range;
	((struct picky *)opaque)->ranges--;
	return 0;
}

static int picky_commit(void *opaque)
{
	((struct picky *)opaque)->commits++;
	return 0;
}

static int picky_abort(void *opaque)
{
	((struct picky *)opaque)->aborts++;
	return 0;
}

static const struct mpl_listener_ops picky_ops = {
	.name = "picky",
	.begin = picky_begin,
	.range_add = picky_add,
	.range_del = picky_del,
	.commit = picky_commit,
	.abort = picky_abort,
};

static void test_listener_refuses_one_of_a_batch(void **state)
{
	enum { COUNT = 12, BAD = 4 };
	struct rig *rig = *state;
	struct outcome *outcome = calloc(1, sizeof(*outcome));
	struct asked blocker, asked[COUNT];
	struct picky picky = { 0 };
	struct mpl_listener *listener;
	struct mpl_reader *reader;
	struct gate gate;

	assert_non_null(outcome);
	assert_int_equal(mpl_listener_register(rig->as, &picky_ops, &picky,
					       &listener),
			 0);
	block_control(rig, &blocker, &gate);
	for (int i = 0; i < COUNT; i++) {
		struct mpl_txn *tx = mpl_begin(rig->plane);
		struct rig_device *device = rig_device(
			rig, i == BAD ? "bad" : "good", 0x1000, NULL);

		mpl_region_add(tx, rig->root, 0x1000 * (uint64_t)i,
			       device->region, 0);
		asked[i] = (struct asked){ .outcome = outcome, .number = i };
		assert_int_equal(mpl_commit_async(tx, note, &asked[i]), 0);
	}
	gate_open(&gate);
	assert_true(rig_wait(&outcome->calls, COUNT));
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(outcome->who[i], i);
		assert_int_equal(outcome->errs[i], i == BAD ? -EIO : 0);
	}
	assert_int_equal(mpl_listener_unregister(listener), 0);
	assert_int_equal(picky.refused, 2); /* with all, and alone */
	assert_int_equal(picky.begins, picky.commits + picky.aborts);
	assert_int_equal(picky.ranges, 0);
	assert_int_equal(mpl_reader_register(rig->plane, &reader), 0);
	mpl_reader_online(reader);
	for (int i = 0; i < COUNT; i++) {
		struct mpl_region *found =
			rig_find(rig, reader, 0x1000 * (uint64_t)i);

		assert_int_equal(found == NULL, i == BAD);
	}
	mpl_reader_unregister(reader);
	gate_destroy(&gate);
	free(outcome);
}

/*
 * What follows a refused one sees the tree without it: results are those of
 * one commit after the other, whatever the batches were.
 */
static void test_after_a_refused_one(void **state)
{
	struct rig *rig = *state;
	struct rig_device *bad = rig_device(rig, "bad", 0x1000, NULL);
	struct rig_device *good = rig_device(rig, "good", 0x1000, NULL);
	struct rig_device *box = rig_device(rig, "box", 0x4000, NULL);
	struct asked blocker, asked[4] = { 0 };
	struct picky picky = { 0 };
	struct mpl_listener *listener;
	struct mpl_txn *tx[4];
	struct gate gate;

	assert_int_equal(mpl_listener_register(rig->as, &picky_ops, &picky,
					       &listener),
			 0);
	block_control(rig, &blocker, &gate);
	for (int i = 0; i < 4; i++)
		tx[i] = mpl_begin(rig->plane);
	mpl_region_add(tx[0], rig->root, 0, good->region, 0);
	mpl_region_add(tx[0], rig->root, 0x1000, bad->region, 0); /* refused */
	mpl_region_remove(tx[1], good->region); /* so it is not attached */
	mpl_region_add(tx[2], rig->root, 0x8000, box->region, 0);
	mpl_region_remove(tx[3], box->region);
	for (int i = 0; i < 4; i++)
		assert_int_equal(mpl_commit_async(tx[i], note, &asked[i]), 0);
	gate_open(&gate);
	assert_true(rig_wait(&asked[3].calls, 1));
	assert_int_equal(asked[0].err, -EIO);
	assert_int_equal(asked[1].err, -ENOENT);
	assert_int_equal(asked[2].err, 0);
	assert_int_equal(asked[3].err, 0);
	assert_int_equal(mpl_listener_unregister(listener), 0);
	gate_destroy(&gate);
}

/* It fails only because of one before it, which a listener then refuses. */
static void blame(struct rig *rig, int count)
{
	struct rig_device *bad = rig_device(rig, "bad", 0x1000, NULL);
	struct rig_device *good = rig_device(rig, "good", 0x1000, NULL);
	struct asked blocker, asked[3] = { 0 };
	struct picky picky = { 0 };
	struct mpl_listener *listener;
	struct mpl_txn *tx[3];
	struct gate gate;

	assert_int_equal(mpl_listener_register(rig->as, &picky_ops, &picky,
					       &listener),
			 0);
	block_control(rig, &blocker, &gate);
	for (int i = 0; i < count; i++)
		tx[i] = mpl_begin(rig->plane);
	mpl_region_add(tx[0], rig->root, 0, good->region, 0);
	mpl_region_add(tx[0], rig->root, 0x1000, bad->region, 0); /* -EIO */
	/* -EBUSY as long as the first one counts. */
	mpl_region_add(tx[1], rig->root, 0x2000, good->region, 0);
	if (count > 2) /* one more that succeeds */
		mpl_region_set_enabled(tx[2], good->region, true);
	for (int i = 0; i < count; i++)
		assert_int_equal(mpl_commit_async(tx[i], note, &asked[i]), 0);
	gate_open(&gate);
	assert_true(rig_wait(&asked[count - 1].calls, 1));
	assert_int_equal(asked[0].err, -EIO);
	for (int i = 1; i < count; i++)
		assert_int_equal(asked[i].err, 0);
	assert_int_equal(mpl_listener_unregister(listener), 0);
	assert_int_equal(rig_remove(rig, good->region), 0);
	gate_destroy(&gate);
}

static void test_blamed_for_a_refused_one(void **state)
{
	blame(*state, 3);
	blame(*state, 2);
}

/* The queue has an end; what was refused is gone, the rest is carried out. */
static void test_queue_is_bounded(void **state)
{
	struct rig *rig = *state;
	struct asked blocker;
	struct gate gate;
	int accepted = 0, done = 0, err = 0;
	struct asked *asked = calloc(1 << 20, sizeof(*asked));

	assert_non_null(asked);
	block_control(rig, &blocker, &gate);
	while (!err && accepted < 1 << 20) {
		err = mpl_commit_async(mpl_begin(rig->plane), note,
				       &asked[accepted]);
		accepted += !err;
	}
	assert_int_equal(err, -EAGAIN);
	assert_true(accepted >= 1000);
	gate_open(&gate);
	assert_int_equal(mpl_commit(mpl_begin(rig->plane)), 0);
	for (int i = 0; i <= accepted; i++) {
		done += rig_get(&asked[i].calls);
		assert_int_equal(asked[i].err, 0);
		assert_int_equal(asked[i].calls, i < accepted);
	}
	assert_int_equal(done, accepted);
	assert_int_equal(mpl_commit_async(mpl_begin(rig->plane), NULL, NULL),
			 0);
	gate_destroy(&gate);
	free(asked);
}

static void *open_late(void *arg)
{
	rig_linger();
	rig_linger();
	gate_open(arg);
	return NULL;
}

static void test_end_with_work_pending(void **state)
{
	enum { COUNT = 300 };
	struct rig *rig = rig_new(&rig_threaded);
	struct asked blocker, *asked = calloc(COUNT, sizeof(*asked));
	struct rig_device *device = rig_device(rig, "io", 0x1000, NULL);
	struct gate gate;
	pthread_t opener;

	(void)state;
	assert_non_null(asked);
	assert_int_equal(rig_add(rig, device->region, 0), 0);
	block_control(rig, &blocker, &gate);
	for (int i = 0; i < COUNT; i++) {
		struct mpl_txn *tx = mpl_begin(rig->plane);

		mpl_region_move(tx, device->region, 0x1000 * (uint64_t)i);
		assert_int_equal(mpl_commit_async(tx, note, &asked[i]), 0);
	}
	opener = rig_start(open_late, &gate);
	rig_free_plane(rig);
	rig_join(opener);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(asked[i].calls, 1);
		assert_true(asked[i].err == 0 || asked[i].err == -ESHUTDOWN);
	}
	assert_int_equal(blocker.calls, 1);
	gate_destroy(&gate);
	rig_free(rig);
	free(asked);
}

/* The thread sleeps when both the work and the end come. */
static void test_end_right_after_the_work(void **state)
{
	(void)state;
	for (int i = 0; i < 3000; i++) {
		struct rig *rig = rig_new(&rig_threaded);
		struct asked asked[3] = { 0 };

		for (int n = 0; n < 3; n++)
			assert_int_equal(
				mpl_commit_async(mpl_begin(rig->plane), note,
						 &asked[n]),
				0);
		rig_free(rig);
		for (int n = 0; n < 3; n++)
			assert_int_equal(asked[n].calls, 1);
	}
}

/* Each `done` starts the next one. */
struct chain {
	struct rig *rig;
	int left;
	int failures;
	int ended;
};

static void next_link(void *arg, int err)
{
	struct chain *chain = arg;

	chain->failures += err != 0;
	if (chain->left-- == 0)
		rig_count(&chain->ended);
	else if (mpl_commit_async(mpl_begin(chain->rig->plane), next_link,
				  chain))
		chain->failures++;
}

static void test_chain_of_asyncs(void **state)
{
	struct chain chain = { .rig = *state, .left = 5000 };

	/* Not by recursion: that many frames would overflow a small stack. */
	assert_int_equal(mpl_commit_async(mpl_begin(chain.rig->plane),
					  next_link, &chain),
			 0);
	if (!chain.rig->threaded)
		assert_int_equal(chain.ended, 1);
	assert_true(rig_wait(&chain.ended, 1));
	assert_int_equal(chain.failures, 0);
}

/* `release` is the control thread's business: nobody has to call for it. */
static void test_idle_thread_releases(void **state)
{
	struct rig *rig = *state;
	struct rig_device *lone = rig_device(rig, "lone", 0x1000, NULL);
	struct rig_device *shown = rig_device(rig, "shown", 0x1000, NULL);

	assert_int_equal(rig_add(rig, shown->region, 0), 0);
	assert_int_equal(rig_remove(rig, shown->region), 0);
	mpl_region_unref(shown->region);
	assert_true(rig_wait(&shown->released, 1));
	rig_linger();
	rig_linger(); /* asleep by now */
	mpl_region_unref(lone->region);
	assert_true(rig_wait(&lone->released, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_BOTH(test_commits_from_many_threads),
		RIG_BOTH(test_async_order),
		RIG_BOTH(test_done_means_live),
		RIG_BOTH(test_async_of_a_bad_transaction),
		RIG_THREADED(test_group_commit),
		RIG_THREADED(test_bad_transaction_in_a_batch),
		RIG_THREADED(test_listener_refuses_one_of_a_batch),
		RIG_THREADED(test_after_a_refused_one),
		RIG_THREADED(test_blamed_for_a_refused_one),
		RIG_THREADED(test_queue_is_bounded),
		cmocka_unit_test(test_end_with_work_pending),
		cmocka_unit_test(test_end_right_after_the_work),
		RIG_BOTH(test_chain_of_asyncs),
		RIG_THREADED(test_idle_thread_releases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
