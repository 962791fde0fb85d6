/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/control.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "dispatch/reader.h"
#include "dispatch/retire.h"
#include "lib/commit.h"

enum {
	QUEUE_MAX = 65536,  /* requests, before -EAGAIN */
	BATCH_MAX = 256,    /* transactions in one commit */
	/* How long an idle control thread waits before it looks again for
	 * grace periods that are over: doubled each time. */
	BACKOFF_MIN_US = 50,
	BACKOFF_MAX_US = 20000,
};

struct mpl_request {
	struct mpl_link link;
	/* A transaction, or a function. */
	struct mpl_txn *tx;
	int (*fn)(struct mpl_plane *plane, void *arg);
	void *arg;
	/* NULL: somebody waits in mpl_commit(), and owns this. */
	void (*done)(void *arg, int err);
	void *done_arg;
	int err;
	bool refused; /* for lack of memory that readers hold */
	bool applied;
	bool finished;
};

bool mpl_control_held(const struct mpl_plane *plane)
{
	/* Only the calling thread can have put its own name there. */
	return __atomic_load_n(&plane->holder, __ATOMIC_RELAXED) ==
	       (uintptr_t)pthread_self();
}

bool mpl_control_lock(struct mpl_plane *plane)
{
	if (mpl_control_held(plane))
		return false;
	pthread_mutex_lock(&plane->control);
	__atomic_store_n(&plane->holder, (uintptr_t)pthread_self(),
			 __ATOMIC_RELAXED);
	return true;
}

void mpl_control_unlock(struct mpl_plane *plane, bool locked)
{
	if (!locked)
		return;
	__atomic_store_n(&plane->holder, 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&plane->control);
}

/* Too much waits for readers: what adds must wait too. */
static int check_pressure(struct mpl_plane *plane, const struct mpl_txn *tx)
{
	if (plane->data.retired_bytes <= plane->retired_max ||
	    mpl_txn_only_removes(tx))
		return 0;
	return mpl_retire_poll(&plane->data) <= plane->retired_max ? 0 :
								     -EAGAIN;
}

static void count_commit(struct mpl_plane *plane, int err)
{
	if (err)
		plane->stats.commits_failed++;
	else
		plane->stats.commits++;
}

/* One transaction by itself. */
static int commit_one(struct mpl_plane *plane, const struct mpl_txn *tx)
{
	struct mpl_commit commit;
	int applied, err;

	mpl_commit_init(&commit, plane);
	applied = mpl_txn_apply(&commit, tx);
	/* Also after an error: what it marked must be forgotten. */
	err = mpl_commit_carry_out(&commit);
	return applied ? applied : err;
}

/*
 * The transactions at the head of the queue, as one commit.  One that cannot
 * be applied fails alone; if the batch fails as a whole all are run again one
 * by one, so that the bad one does (and one that only stumbled over the bad one
 * does not).
 */
static void commit_batch(struct mpl_plane *plane, struct mpl_link *batch,
			 uint64_t count)
{
	struct mpl_commit commit;
	struct mpl_link *link;
	int err;

	mpl_commit_init(&commit, plane);
	MPL_LIST_EACH(link, batch) {
		struct mpl_request *request =
			MPL_OF(link, struct mpl_request, link);

		request->err = check_pressure(plane, request->tx);
		request->refused = request->err != 0;
		if (!request->refused)
			request->err = mpl_txn_apply(&commit, request->tx);
		request->applied = !request->err;
	}
	err = mpl_commit_carry_out(&commit);
	MPL_LIST_EACH(link, batch) {
		struct mpl_request *request =
			MPL_OF(link, struct mpl_request, link);

		if (err && count > 1 && !request->refused)
			request->err = commit_one(plane, request->tx);
		else if (request->applied)
			request->err = err;
		count_commit(plane, request->err);
	}
	plane->stats.batches++;
	if (count > plane->stats.batch_max)
		plane->stats.batch_max = count;
}

/* Tell whoever asked.  Control lock held, so that `done` is told apart. */
static void finish(struct mpl_plane *plane, struct mpl_request *request)
{
	mpl_list_remove(&request->link);
	if (request->tx)
		mpl_txn_free(request->tx);
	if (request->done) {
		request->done(request->done_arg, request->err);
		free(request);
		return;
	}
	pthread_mutex_lock(&plane->queue_mutex);
	request->finished = true;
	pthread_cond_broadcast(&plane->request_done);
	pthread_mutex_unlock(&plane->queue_mutex);
}

/* Move what can be done together to `batch`: one function, or some txns. */
static uint64_t take_batch(struct mpl_plane *plane, struct mpl_link *batch)
{
	uint64_t count = 0;

	mpl_list_init(batch);
	pthread_mutex_lock(&plane->queue_mutex);
	while (!mpl_list_empty(&plane->queue) && count < BATCH_MAX) {
		struct mpl_link *link = plane->queue.next;
		bool is_fn = MPL_OF(link, struct mpl_request, link)->fn;

		if (is_fn && count)
			break;
		mpl_list_remove(link);
		mpl_list_append(batch, link);
		plane->queued--;
		count++;
		if (is_fn)
			break;
	}
	pthread_mutex_unlock(&plane->queue_mutex);
	return count;
}

/* Carry out everything that is queued; control lock held. */
static void drain_queue(struct mpl_plane *plane)
{
	struct mpl_link batch, *link, *following;
	uint64_t count;

	while ((count = take_batch(plane, &batch))) {
		struct mpl_request *first =
			MPL_OF(batch.next, struct mpl_request, link);

		if (first->fn)
			first->err = first->fn(plane, first->arg);
		else
			commit_batch(plane, &batch, count);
		/* Under a steady stream of requests this is the only time. */
		mpl_retire_poll(&plane->data);
		MPL_LIST_EACH_SAFE(link, following, &batch)
			finish(plane, MPL_OF(link, struct mpl_request, link));
	}
}

/* -EAGAIN: full.  -ESHUTDOWN: the plane is being freed. */
static int enqueue(struct mpl_plane *plane, struct mpl_request *request,
		   bool bounded)
{
	int err = 0;

	pthread_mutex_lock(&plane->queue_mutex);
	if (plane->ending) {
		err = -ESHUTDOWN;
	} else if (bounded && plane->queued >= QUEUE_MAX) {
		err = -EAGAIN;
	} else {
		mpl_list_append(&plane->queue, &request->link);
		plane->queued++;
		pthread_cond_signal(&plane->queue_filled);
	}
	pthread_mutex_unlock(&plane->queue_mutex);
	return err;
}

static bool is_queued(struct mpl_plane *plane)
{
	bool queued;

	pthread_mutex_lock(&plane->queue_mutex);
	queued = plane->queued > 0;
	pthread_mutex_unlock(&plane->queue_mutex);
	return queued;
}

uint64_t mpl_control_reclaim(struct mpl_plane *plane)
{
	uint64_t pending;

	do {
		pending = mpl_plane_reclaim(plane);
		if (!plane->threaded)
			drain_queue(plane);
	} while (!plane->threaded && is_queued(plane));
	return pending;
}

/* In a plane without a control thread: whoever asks does the work. */
static void work_inline(struct mpl_plane *plane)
{
	bool in_access = mpl_reader_thread_state(&plane->data) ==
			 MPL_THREAD_ACCESS;
	bool locked = mpl_control_lock(plane);

	/* Inside a callback no other callback (`release`) is run. */
	do {
		drain_queue(plane);
		if (!in_access)
			mpl_plane_reclaim(plane);
	} while (is_queued(plane));
	mpl_control_unlock(plane, locked);
}

static int run_and_wait(struct mpl_plane *plane, struct mpl_request *request)
{
	int err;

	if (mpl_control_held(plane))
		return -EDEADLK;
	err = enqueue(plane, request, false);
	if (err)
		return err;
	if (!plane->threaded)
		work_inline(plane);
	pthread_mutex_lock(&plane->queue_mutex);
	while (!request->finished)
		pthread_cond_wait(&plane->request_done, &plane->queue_mutex);
	pthread_mutex_unlock(&plane->queue_mutex);
	return request->err;
}

int mpl_control_run(struct mpl_plane *plane,
		    int (*fn)(struct mpl_plane *plane, void *arg), void *arg)
{
	struct mpl_request request = { .fn = fn, .arg = arg };

	mpl_list_init(&request.link);
	return run_and_wait(plane, &request);
}

int mpl_commit(struct mpl_txn *tx)
{
	struct mpl_request request = { .tx = tx };
	int err = tx->err;

	if (!err) {
		mpl_list_init(&request.link);
		err = run_and_wait(tx->plane, &request);
		if (request.finished)
			return err; /* finish() has freed it */
	}
	mpl_txn_free(tx);
	return err;
}

static void nobody_asked(void *arg, int err)
{
	(void)arg;
	(void)err;
}

int mpl_commit_async(struct mpl_txn *tx, void (*done)(void *arg, int err),
		     void *arg)
{
	struct mpl_plane *plane = tx->plane;
	struct mpl_request *request;
	int err = -ENOMEM;

	if (!plane) { /* mpl_begin() had no memory either */
		mpl_txn_free(tx);
		return err;
	}
	request = calloc(1, sizeof(*request));
	if (request) {
		mpl_list_init(&request->link);
		request->tx = tx;
		request->done = done ? done : nobody_asked;
		request->done_arg = arg;
		err = enqueue(plane, request, true);
	}
	if (err) {
		free(request);
		mpl_txn_free(tx);
		return err;
	}
	/* On the control side it is done when the present work is. */
	if (!plane->threaded && !mpl_control_held(plane))
		work_inline(plane);
	return 0;
}

/* Wait for requests; wake up for reclamation while something is pending. */
static bool wait_for_work(struct mpl_plane *plane, unsigned int *backoff_us,
			  bool pending)
{
	struct timespec until;
	bool go_on;

	pthread_mutex_lock(&plane->queue_mutex);
	while (mpl_list_empty(&plane->queue) && !plane->ending &&
	       !plane->woken && !pending)
		pthread_cond_wait(&plane->queue_filled, &plane->queue_mutex);
	if (mpl_list_empty(&plane->queue) && !plane->ending && !plane->woken) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += *backoff_us * 1000L;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_nsec -= 1000000000L;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&plane->queue_filled,
				       &plane->queue_mutex, &until);
		*backoff_us = *backoff_us * 2 < BACKOFF_MAX_US ?
				      *backoff_us * 2 :
				      BACKOFF_MAX_US;
	}
	if (!mpl_list_empty(&plane->queue))
		*backoff_us = BACKOFF_MIN_US;
	plane->woken = false;
	go_on = !mpl_list_empty(&plane->queue) || !plane->ending;
	pthread_mutex_unlock(&plane->queue_mutex);
	return go_on;
}

static void *control_thread(void *arg)
{
	struct mpl_plane *plane = arg;
	unsigned int backoff_us = BACKOFF_MIN_US;
	bool pending = false;

	while (wait_for_work(plane, &backoff_us, pending)) {
		bool locked = mpl_control_lock(plane);

		drain_queue(plane);
		pending = mpl_plane_reclaim(plane) > 0;
		mpl_control_unlock(plane, locked);
	}
	return NULL;
}

void mpl_control_wake(struct mpl_plane *plane)
{
	if (!plane->threaded)
		return;
	pthread_mutex_lock(&plane->queue_mutex);
	plane->woken = true;
	pthread_cond_signal(&plane->queue_filled);
	pthread_mutex_unlock(&plane->queue_mutex);
}

int mpl_control_start(struct mpl_plane *plane)
{
	plane->threaded = true; /* before the thread can look */
	if (pthread_create(&plane->thread, NULL, control_thread, plane)) {
		plane->threaded = false;
		return -EAGAIN;
	}
	return 0;
}

void mpl_control_end(struct mpl_plane *plane)
{
	pthread_mutex_lock(&plane->queue_mutex);
	plane->ending = true;
	pthread_cond_broadcast(&plane->queue_filled);
	pthread_mutex_unlock(&plane->queue_mutex);
	if (plane->threaded)
		pthread_join(plane->thread, NULL);
	else
		work_inline(plane);
}
