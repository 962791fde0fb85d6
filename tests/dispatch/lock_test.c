/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device locks: devices at 0x1000, 0x2000 ...; reading device i runs what its
 * `then` says, on the reader's thread.
 */
#include "dispatch/lock.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "dispatch/retire.h"
#include "tests/support/bed.h"

enum { DEVICES = 3 };

static const struct mpl_attrs none;

struct device {
	struct bed *bed;
	struct mpl_device *device;
	mpl_result_t (*then)(struct device *device);
	unsigned int inside;  /* callbacks that run now */
	unsigned int most;    /* of them, at once */
	unsigned int entered; /* callbacks, ever */
	uint64_t plain;       /* written without any atomics */
	uint64_t next;        /* address of the nested access */
};

/* The reader of the running thread. */
static __thread struct mpl_reader *self;

static struct device devices[DEVICES];
static pthread_barrier_t barrier;

static mpl_result_t callback(void *opaque, uint64_t offset, unsigned int size,
			     struct mpl_attrs attrs, uint64_t *value)
{
	struct device *device = opaque;
	unsigned int now =
		__atomic_add_fetch(&device->inside, 1, __ATOMIC_RELAXED);
	mpl_result_t result = MPL_OK;

	(void)offset;
	(void)size;
	(void)attrs;
	__atomic_add_fetch(&device->entered, 1, __ATOMIC_RELAXED);
	if (now > __atomic_load_n(&device->most, __ATOMIC_RELAXED))
		__atomic_store_n(&device->most, now, __ATOMIC_RELAXED);
	*value = 1;
	if (device->then)
		result = device->then(device);
	__atomic_sub_fetch(&device->inside, 1, __ATOMIC_RELAXED);
	return result;
}

static const struct mpl_io_ops serialised = { .read = callback };
static const struct mpl_io_ops lock_free = {
	.read = callback,
	.concurrency = MPL_LOCK_FREE,
};
static const struct mpl_io_ops callers_lock = {
	.read = callback,
	.concurrency = MPL_CALLER_LOCK,
};
static const struct mpl_io_ops reentrant = {
	.read = callback,
	.reentrant = true,
};

static uint64_t address(unsigned int i)
{
	return 0x1000 * (1 + (uint64_t)i);
}

static void new_device(struct bed *bed, unsigned int i,
		       const struct mpl_io_ops *ops,
		       mpl_result_t (*then)(struct device *device))
{
	devices[i] = (struct device){ .bed = bed, .then = then };
	devices[i].device = bed_device(bed, ops, &devices[i]);
	bed_io(bed, 0, address(i), address(i) + 0xfff, devices[i].device);
}

static mpl_result_t read_at(struct bed *bed, uint64_t gpa)
{
	uint64_t value;

	return mpl_load(self, &bed->as[0], gpa, none, 1, MPL_NATIVE_ENDIAN,
			&value);
}

static mpl_result_t read_next(struct device *device)
{
	return read_at(device->bed, device->next);
}

/* A thread with a reader of its own that reads one address some times. */
struct worker {
	struct bed *bed;
	pthread_t thread;
	uint64_t gpa;
	unsigned int times;
	mpl_result_t result; /* combined */
	struct mpl_reader_stats stats;
};

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct mpl_reader_state *reader;

	if (mpl_reader_add(&worker->bed->dp, false, &reader)) {
		worker->result = ~0u;
		return NULL;
	}
	self = &reader->pub;
	mpl_reader_online(self);
	for (unsigned int i = 0; i < worker->times; i++) {
		worker->result |= read_at(worker->bed, worker->gpa);
		mpl_reader_quiescent(self);
	}
	mpl_reader_stats(self, &worker->stats);
	mpl_reader_unregister(self);
	return NULL;
}

/* Each worker reads from device i mod DEVICES. */
static void run_workers(struct bed *bed, struct worker *workers, unsigned int n,
			unsigned int times, bool same)
{
	for (unsigned int i = 0; i < n; i++) {
		workers[i] = (struct worker){
			.bed = bed,
			.gpa = address(same ? 0 : i % DEVICES),
			.times = times,
		};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work,
						&workers[i]),
				 0);
	}
	for (unsigned int i = 0; i < n; i++)
		pthread_join(workers[i].thread, NULL);
}

static int setup(void **state)
{
	int err = bed_setup(state);

	self = ((struct bed *)*state)->reader;
	alarm(60); /* a deadlock ends the program */
	return err;
}

static int teardown(void **state)
{
	alarm(0);
	return bed_teardown(state);
}

/* Without the lock's ordering tsan would name this. */
static mpl_result_t count_plainly(struct device *device)
{
	uint64_t now = device->plain;

	for (int i = 0; i < 20; i++)
		__asm__ volatile("" ::: "memory");
	device->plain = now + 1;
	return MPL_OK;
}

static void test_serialised(void **state)
{
	struct bed *bed = *state;
	struct worker workers[4];

	new_device(bed, 0, &serialised, count_plainly);
	run_workers(bed, workers, 4, 3000, true);
	assert_int_equal(devices[0].most, 1);
	assert_int_equal(devices[0].plain, 4 * 3000);
	assert_null(devices[0].device->owner);
	assert_int_equal(devices[0].device->waiters, 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(workers[i].result, MPL_OK);
		assert_int_equal(workers[i].stats.lock_cycles, 0);
		assert_int_equal(workers[i].stats.access_errors, 0);
	}
}

/* Callbacks that sleep, so that the others do wait. */
static mpl_result_t count_slowly(struct device *device)
{
	const struct timespec nap = { .tv_nsec = 200000 };
	uint64_t now = device->plain;

	nanosleep(&nap, NULL);
	device->plain = now + 1;
	return MPL_OK;
}

static void test_waiting(void **state)
{
	struct bed *bed = *state;
	struct worker workers[4];

	new_device(bed, 0, &serialised, count_slowly);
	run_workers(bed, workers, 4, 40, true);
	assert_int_equal(devices[0].most, 1);
	assert_int_equal(devices[0].plain, 4 * 40);
	for (int i = 0; i < 4; i++)
		assert_int_equal(workers[i].result, MPL_OK);
}

/* Both inside at once, or the barrier would never open. */
static mpl_result_t meet(struct device *device)
{
	(void)device;
	pthread_barrier_wait(&barrier);
	return MPL_OK;
}

static void test_lock_free(void **state)
{
	static const struct mpl_io_ops *const ops[] = { &lock_free,
							&callers_lock };
	struct bed *bed = *state;
	struct worker workers[2];

	for (unsigned int i = 0; i < 2; i++) {
		if (i)
			bed_take(bed, 0, address(0));
		new_device(bed, 0, ops[i], meet);
		pthread_barrier_init(&barrier, NULL, 2);
		run_workers(bed, workers, 2, 50, true);
		pthread_barrier_destroy(&barrier);
		assert_int_equal(devices[0].most, 2);
		assert_int_equal(devices[0].entered, 100);
		assert_int_equal(workers[0].result | workers[1].result, MPL_OK);
	}
}

/* No lock is shared: two serialised devices run at once. */
static void test_devices_are_independent(void **state)
{
	struct bed *bed = *state;
	struct worker workers[DEVICES];

	for (unsigned int i = 0; i < DEVICES; i++)
		new_device(bed, i, &serialised, meet);
	pthread_barrier_init(&barrier, NULL, DEVICES);
	run_workers(bed, workers, DEVICES, 20, false);
	pthread_barrier_destroy(&barrier);
	for (unsigned int i = 0; i < DEVICES; i++) {
		assert_int_equal(workers[i].result, MPL_OK);
		assert_int_equal(devices[i].entered, 20);
	}
}

/* A device whose callback comes back to itself. */
static void reentry_refused(struct bed *bed, const struct mpl_io_ops *ops)
{
	struct mpl_reader_stats before, after;

	mpl_reader_stats(self, &before);
	new_device(bed, 0, ops, read_next);
	devices[0].next = address(0) + 8;
	assert_int_equal(read_at(bed, address(0)), MPL_ACCESS_ERROR);
	assert_int_equal(devices[0].entered, 1);
	mpl_reader_stats(self, &after);
	assert_int_equal(after.reentries, before.reentries + 1);
	assert_int_equal(after.access_errors, before.access_errors + 1);
	assert_int_equal(after.lock_cycles, before.lock_cycles);
	bed_take(bed, 0, address(0));
	bed_commit(bed);
}

static void test_reentry(void **state)
{
	struct bed *bed = *state;

	reentry_refused(bed, &serialised);
	reentry_refused(bed, &lock_free);
	reentry_refused(bed, &callers_lock);
}

/* Through another device too: A, B, A. */
static void test_reentry_through_another(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_stats stats;

	new_device(bed, 0, &serialised, read_next);
	new_device(bed, 1, &lock_free, read_next);
	devices[0].next = address(1);
	devices[1].next = address(0);
	assert_int_equal(read_at(bed, address(0)), MPL_ACCESS_ERROR);
	assert_int_equal(devices[0].entered, 1);
	assert_int_equal(devices[1].entered, 1);
	mpl_reader_stats(self, &stats);
	assert_int_equal(stats.reentries, 1);
	/* Nothing is left behind: it works again. */
	devices[1].then = NULL;
	assert_int_equal(read_at(bed, address(0)), MPL_OK);
	assert_null(devices[0].device->owner);
}

static unsigned int depth;

static mpl_result_t dive(struct device *device)
{
	return --depth ? read_at(device->bed, device->next) : MPL_OK;
}

static void test_reentrant(void **state)
{
	struct bed *bed = *state;
	struct worker workers[2];
	struct mpl_reader_stats stats;

	new_device(bed, 0, &reentrant, dive);
	devices[0].next = address(0);
	depth = 5;
	assert_int_equal(read_at(bed, address(0)), MPL_OK);
	assert_int_equal(devices[0].entered, 5);
	assert_int_equal(devices[0].most, 5);
	assert_null(devices[0].device->owner);
	mpl_reader_stats(self, &stats);
	assert_int_equal(stats.reentries, 0);
	/* Other threads are still kept out, until the outermost is left. */
	devices[0].then = count_slowly;
	devices[0].most = 0;
	devices[0].plain = 0;
	run_workers(bed, workers, 2, 30, true);
	assert_int_equal(devices[0].most, 1);
	assert_int_equal(devices[0].plain, 60);
}

/* Inner leaves, outer still owns: checked by a second thread meanwhile. */
static mpl_result_t twice_and_slowly(struct device *device)
{
	const struct timespec nap = { .tv_nsec = 300000 };
	uint64_t now;

	if (__atomic_load_n(&device->inside, __ATOMIC_RELAXED) > 1)
		return MPL_OK;
	now = device->plain;
	if (read_at(device->bed, device->next))
		return MPL_DEVICE_ERROR;
	nanosleep(&nap, NULL);
	device->plain = now + 1;
	return MPL_OK;
}

static void test_reentrant_keeps_its_lock(void **state)
{
	struct bed *bed = *state;
	struct worker workers[3];

	new_device(bed, 0, &reentrant, twice_and_slowly);
	devices[0].next = address(0);
	run_workers(bed, workers, 3, 30, true);
	assert_int_equal(devices[0].plain, 3 * 30);
	assert_int_equal(devices[0].most, 2);
	for (int i = 0; i < 3; i++)
		assert_int_equal(workers[i].result, MPL_OK);
}

/* Everybody is in its own device before it goes for the next one's. */
static __thread bool nested;

static mpl_result_t meet_and_read_next(struct device *device)
{
	mpl_result_t result;

	if (nested)
		return MPL_OK;
	pthread_barrier_wait(&barrier);
	nested = true;
	result = read_at(device->bed, device->next);
	nested = false;
	return result;
}

static void make_circle(struct bed *bed, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		new_device(bed, i, &serialised, meet_and_read_next);
		devices[i].next = address((i + 1) % n);
	}
}

/*
 * n threads in n devices, each wanting the next one's: would wait for ever.
 * At least one is refused; the others then go through.
 */
static void lock_circle(struct bed *bed, unsigned int n)
{
	for (int round = 0; round < 25; round++) {
		struct worker workers[DEVICES];
		unsigned int refused = 0, cycles = 0, through = 0;

		pthread_barrier_init(&barrier, NULL, n);
		for (unsigned int i = 0; i < n; i++) {
			devices[i].entered = 0;
			devices[i].most = 0;
		}
		run_workers(bed, workers, n, 1, false);
		pthread_barrier_destroy(&barrier);
		for (unsigned int i = 0; i < n; i++) {
			refused += workers[i].result == MPL_ACCESS_ERROR;
			through += workers[i].result == MPL_OK;
			cycles += (unsigned int)workers[i].stats.lock_cycles;
			assert_int_equal(workers[i].stats.access_errors,
					 workers[i].stats.lock_cycles);
			assert_int_equal(workers[i].stats.reentries, 0);
			assert_int_equal(devices[i].most, 1);
			assert_null(devices[i].device->owner);
			assert_int_equal(devices[i].device->waiters, 0);
		}
		assert_true(refused >= 1);
		assert_int_equal(cycles, refused);
		assert_int_equal(refused + through, n);
		/* One refusal opens the circle. */
		assert_int_equal(refused, 1);
	}
}

static void test_two_way_cycle(void **state)
{
	make_circle(*state, 2);
	lock_circle(*state, 2);
}

static void test_three_way_cycle(void **state)
{
	make_circle(*state, 3);
	lock_circle(*state, 3);
}

/* Waiting for one that doesn't wait for us is no cycle. */
static void test_chain_is_no_cycle(void **state)
{
	struct bed *bed = *state;
	struct worker workers[DEVICES];

	/* 0 -> 1 -> 2, and 2 is slow. */
	for (unsigned int i = 0; i < DEVICES; i++) {
		new_device(bed, i, &serialised,
			   i < 2 ? read_next : count_slowly);
		devices[i].next = address(i + 1);
	}
	run_workers(bed, workers, DEVICES, 60, false);
	for (unsigned int i = 0; i < DEVICES; i++) {
		assert_int_equal(workers[i].result, MPL_OK);
		assert_int_equal(workers[i].stats.lock_cycles, 0);
		assert_int_equal(devices[i].most, 1);
	}
	assert_int_equal(devices[2].plain, 3 * 60);
}

/*
 * Who waits for a lock holds no memory back, but keeps the device alive: here
 * its section goes, and is freed, while a worker waits.
 */
static void test_waiting_holds_nothing_back(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_state *reader = mpl_reader_state(bed->reader);
	struct worker worker = { .bed = bed, .gpa = address(0), .times = 1 };
	struct mpl_device *device;
	struct mpl_frame frame;

	new_device(bed, 0, &serialised, count_plainly);
	device = devices[0].device;
	bed_settle(bed);
	assert_int_equal(mpl_device_enter(reader, device, &frame), MPL_OK);
	assert_int_equal(pthread_create(&worker.thread, NULL, work, &worker),
			 0);
	while (!__atomic_load_n(&device->waiters, __ATOMIC_ACQUIRE))
		sched_yield();
	/* Hold nothing back here either. */
	assert_int_equal(mpl_access_suspend(bed->reader), 0);
	bed_take(bed, 0, address(0));
	bed_commit(bed);
	while (mpl_retire_poll(&bed->dp))
		sched_yield();
	assert_int_equal(bed->dp.sections.live, 0);
	assert_false(mpl_device_unpinned(device));
	assert_int_equal(devices[0].entered, 0);
	assert_int_equal(mpl_access_resume(bed->reader), 0);
	mpl_device_leave(reader, &frame);
	pthread_join(worker.thread, NULL);
	/* It was found before it went: the access is carried out. */
	assert_int_equal(worker.result, MPL_OK);
	assert_int_equal(devices[0].entered, 1);
	assert_true(mpl_device_unpinned(device));
	assert_int_equal(device->refs, 1);
}

/* Readers that come, use a contended lock, and are freed at once. */
static void *come_and_go(void *arg)
{
	struct worker *worker = arg;

	for (int i = 0; i < 400; i++) {
		worker->times = 3;
		work(worker);
	}
	return NULL;
}

static void test_readers_come_and_go(void **state)
{
	struct bed *bed = *state;
	struct worker workers[3];

	new_device(bed, 0, &serialised, count_plainly);
	for (int i = 0; i < 3; i++) {
		workers[i] = (struct worker){ .bed = bed, .gpa = address(0) };
		assert_int_equal(pthread_create(&workers[i].thread, NULL,
						come_and_go, &workers[i]),
				 0);
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].result, MPL_OK);
	}
	assert_int_equal(devices[0].plain, 3 * 400 * 3);
	assert_int_equal(devices[0].most, 1);
}

/*
 * [B6]: two readers meet in every round and want the lock at once.  If a waiter
 * counts itself while the owner lets go, and neither sees the other, it sleeps
 * and nobody wakes it: no later unlock comes, and the watchdog ends the test.
 */
#define MEETINGS 60000

static uint32_t arrived;

static void *meet_often(void *arg)
{
	struct worker *worker = arg;
	struct mpl_reader_state *reader;
	struct mpl_frame frame;

	if (mpl_reader_add(&worker->bed->dp, false, &reader))
		return arg;
	mpl_reader_online(&reader->pub);
	for (uint32_t round = 1; round <= MEETINGS; round++) {
		__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < 2 * round)
			sched_yield();
		/* From in step to far apart, over the rounds. */
		for (volatile uint32_t i = 0; i < round * worker->gpa % 23; i++)
			;
		if (mpl_device_enter(reader, devices[0].device, &frame))
			return arg;
		devices[0].plain++;
		mpl_device_leave(reader, &frame);
		mpl_reader_quiescent(&reader->pub);
	}
	mpl_reader_unregister(&reader->pub);
	return NULL;
}

static void test_no_lost_wake_up(void **state)
{
	struct worker workers[2];
	void *wrong;

	new_device(*state, 0, &serialised, NULL);
	arrived = 0;
	alarm(120);
	for (int i = 0; i < 2; i++) {
		workers[i] = (struct worker){ .bed = *state,
					      .gpa = (uint64_t)i + 3 };
		assert_int_equal(pthread_create(&workers[i].thread, NULL,
						meet_often, &workers[i]),
				 0);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(workers[i].thread, &wrong);
		assert_null(wrong);
	}
	alarm(0);
	assert_int_equal(devices[0].plain, 2 * MEETINGS);
}

/* The frames themselves, without any access. */
static void test_frames(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader_state *reader = mpl_reader_state(bed->reader);
	struct mpl_frame a, b, again;

	new_device(bed, 0, &serialised, NULL);
	new_device(bed, 1, &lock_free, NULL);
	assert_null(reader->frame);
	assert_int_equal(mpl_device_enter(reader, devices[0].device, &a),
			 MPL_OK);
	assert_ptr_equal(reader->frame, &a);
	assert_ptr_equal(devices[0].device->owner, reader);
	assert_int_equal(mpl_device_enter(reader, devices[1].device, &b),
			 MPL_OK);
	assert_ptr_equal(reader->frame, &b);
	assert_null(devices[1].device->owner);
	/* Refused: nothing is pushed. */
	assert_int_equal(mpl_device_enter(reader, devices[0].device, &again),
			 MPL_ACCESS_ERROR);
	assert_ptr_equal(reader->frame, &b);
	mpl_device_leave(reader, &b);
	assert_ptr_equal(reader->frame, &a);
	mpl_device_leave(reader, &a);
	assert_null(reader->frame);
	assert_null(devices[0].device->owner);
}

#define LOCK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST(test_frames),
		LOCK_TEST(test_serialised),
		LOCK_TEST(test_waiting),
		LOCK_TEST(test_lock_free),
		LOCK_TEST(test_devices_are_independent),
		LOCK_TEST(test_reentry),
		LOCK_TEST(test_reentry_through_another),
		LOCK_TEST(test_reentrant),
		LOCK_TEST(test_reentrant_keeps_its_lock),
		LOCK_TEST(test_two_way_cycle),
		LOCK_TEST(test_three_way_cycle),
		LOCK_TEST(test_chain_is_no_cycle),
		LOCK_TEST(test_waiting_holds_nothing_back),
		LOCK_TEST(test_readers_come_and_go),
		LOCK_TEST(test_no_lost_wake_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
