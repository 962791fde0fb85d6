/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plane with one address space, devices that say what happened to them, and
 * a watchdog: what tests of threads and lifetimes need.  A test that hangs
 * ends the program with a message instead.
 */
#ifndef TESTS_SUPPORT_RIG_H
#define TESTS_SUPPORT_RIG_H

#include <memplane.h>

#include <pthread.h>
#include <semaphore.h>

#define RIG_DEVICES 512

struct rig;

struct rig_device {
	struct rig *rig;
	struct mpl_region *region;
	/* Runs inside each write; NULL: nothing to do. */
	void (*on_write)(struct rig_device *device, uint64_t offset,
			 uint64_t value);
	void *arg;
	int writes;   /* callbacks that ended */
	int inside;   /* callbacks that run now */
	int released; /* how often `release` ran */
	int bad;      /* callbacks after `release`, or `release` during one */
};

struct rig {
	struct mpl_plane *plane;
	struct mpl_region *root; /* a container of 2^64 bytes */
	struct mpl_address_space *as;
	bool threaded;
	struct rig_device *devices[RIG_DEVICES];
	int n_devices;

	pthread_mutex_t log_mutex;
	char log[4096];
};

struct rig *rig_new(const struct mpl_plane_config *config);
/* Fails the test unless every device was released once and none is bad. */
void rig_free(struct rig *rig);

/* The end of the plane alone: for tests that look at what comes after. */
void rig_free_plane(struct rig *rig);

/* How often `text` is in the log so far. */
int rig_logged(struct rig *rig, const char *text);

/* An io region with one reference of the test's; rig_free() frees the rest. */
struct rig_device *rig_device(struct rig *rig, const char *name, uint64_t size,
			      void (*on_write)(struct rig_device *device,
					       uint64_t offset,
					       uint64_t value));
/* The same with a lock of the library's, or that may re-enter. */
struct rig_device *
rig_device_of_class(struct rig *rig, const char *name, uint64_t size,
		    void (*on_write)(struct rig_device *device,
				     uint64_t offset, uint64_t value),
		    enum mpl_concurrency concurrency, bool reentrant);

/* Transactions of one mutation; what mpl_commit() returned. */
int rig_add(struct rig *rig, struct mpl_region *child, uint64_t offset);
int rig_move(struct rig *rig, struct mpl_region *region, uint64_t offset);
int rig_remove(struct rig *rig, struct mpl_region *region);
int rig_enable(struct rig *rig, struct mpl_region *region, bool enabled);

/* What a reader (online) finds; NULL: nothing. */
struct mpl_region *rig_find(struct rig *rig, struct mpl_reader *reader,
			    uint64_t gpa);
struct mpl_plane_stats rig_stats(struct rig *rig);

/* Write 4 bytes as a reader of this thread would (register, online ...). */
mpl_result_t rig_write(struct mpl_reader *reader, struct rig *rig,
		       uint64_t gpa, uint64_t value);

/* Counters that threads share. */
int rig_get(const int *counter);
void rig_count(int *counter);
/* Wait until *counter is `value` at least; false after 20 s. */
bool rig_wait(const int *counter, int value);
/* The same, reclaiming meanwhile (a plane without a thread needs that). */
bool rig_wait_reclaiming(struct rig *rig, const int *counter, int value);
/* A moment in which something wrong would happen. */
void rig_linger(void);

/* One thread stops at a gate until another one opens it. */
struct gate {
	sem_t reached;
	sem_t opened;
};
void gate_init(struct gate *gate);
void gate_destroy(struct gate *gate);
void gate_stop(struct gate *gate);  /* say so, and wait */
void gate_await(struct gate *gate); /* until somebody stands there */
void gate_open(struct gate *gate);  /* let one go */

/* Threads that fail the test if they cannot be had. */
pthread_t rig_start(void *(*fn)(void *arg), void *arg);
void rig_join(pthread_t thread);

/* cmocka fixtures: *state is a struct rig. */
extern const struct mpl_plane_config rig_inline, rig_threaded;
int rig_setup(void **state);
int rig_teardown(void **state);

/* A test in a plane with control thread, one without, and in both. */
#define RIG_INLINE(f)                                                          \
	{ #f " (inline)", f, rig_setup, rig_teardown, (void *)&rig_inline }
#define RIG_THREADED(f)                                                        \
	{ #f " (control thread)", f, rig_setup, rig_teardown,                  \
	  (void *)&rig_threaded }
#define RIG_BOTH(f) RIG_INLINE(f), RIG_THREADED(f)

#endif
