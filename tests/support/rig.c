/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/rig.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	WATCHDOG_S = 100, /* sanitisers and a busy machine included */
	WAIT_MS = 20000,
	LINGER_MS = 20,
};

/* Leaves are packed from the second node on here, and usual there. */
const struct mpl_plane_config rig_inline = { .verify = true,
					     .plain_nodes = 1 };
const struct mpl_plane_config rig_threaded = { .verify = true,
					       .control_thread = true };

static void bark(int number)
{
	static const char text[] =
		"watchdog: the test that runs has not ended in time: "
		"a deadlock, or a wait that nobody ends\n";
	ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)ignored;
	(void)number;
	_exit(1);
}

static void start_watchdog(void)
{
	struct sigaction action = { .sa_handler = bark };

	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	alarm(WATCHDOG_S);
}

static void keep_line(void *opaque, enum mpl_log_level level, const char *line)
{
	struct rig *rig = opaque;
	size_t length;

	(void)level;
	pthread_mutex_lock(&rig->log_mutex);
	length = strlen(rig->log);
	snprintf(rig->log + length, sizeof(rig->log) - length, "%s\n", line);
	pthread_mutex_unlock(&rig->log_mutex);
}

int rig_logged(struct rig *rig, const char *text)
{
	int count = 0;

	pthread_mutex_lock(&rig->log_mutex);
	for (const char *at = strstr(rig->log, text); at;
	     at = strstr(at + 1, text))
		count++;
	pthread_mutex_unlock(&rig->log_mutex);
	return count;
}

struct rig *rig_new(const struct mpl_plane_config *config)
{
	struct mpl_plane_config own = *config;
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	start_watchdog();
	assert_int_equal(pthread_mutex_init(&rig->log_mutex, NULL), 0);
	own.log = keep_line;
	own.log_opaque = rig;
	rig->threaded = own.control_thread;
	assert_int_equal(mpl_plane_new(&rig->plane, &own), 0);
	assert_int_equal(mpl_region_new_container(rig->plane, "root",
						  UINT64_MAX, &rig->root),
			 0);
	assert_int_equal(mpl_address_space_new(rig->plane, "memory", rig->root,
					       &rig->as),
			 0);
	return rig;
}

void rig_free_plane(struct rig *rig)
{
	assert_int_equal(mpl_plane_free(rig->plane), 0);
	rig->plane = NULL;
}

void rig_free(struct rig *rig)
{
	if (rig->plane)
		rig_free_plane(rig);
	for (int i = 0; i < rig->n_devices; i++) {
		assert_int_equal(rig->devices[i]->released, 1);
		assert_int_equal(rig->devices[i]->bad, 0);
		free(rig->devices[i]);
	}
	alarm(0);
	pthread_mutex_destroy(&rig->log_mutex);
	free(rig);
}

int rig_setup(void **state)
{
	*state = rig_new(*state);
	return 0;
}

int rig_teardown(void **state)
{
	rig_free(*state);
	return 0;
}

static mpl_result_t device_read(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t *value)
{
	struct rig_device *device = opaque;

	(void)size, (void)attrs;
	if (rig_get(&device->released))
		rig_count(&device->bad);
	*value = offset;
	return MPL_OK;
}

static mpl_result_t device_write(void *opaque, uint64_t offset,
				 unsigned int size, struct mpl_attrs attrs,
				 uint64_t value)
{
	struct rig_device *device = opaque;

	(void)size, (void)attrs;
	if (rig_get(&device->released))
		rig_count(&device->bad);
	rig_count(&device->inside);
	if (device->on_write)
		device->on_write(device, offset, value);
	if (rig_get(&device->released))
		rig_count(&device->bad);
	__atomic_sub_fetch(&device->inside, 1, __ATOMIC_SEQ_CST);
	rig_count(&device->writes);
	return MPL_OK;
}

static void device_release(void *opaque)
{
	struct rig_device *device = opaque;

	if (rig_get(&device->inside))
		rig_count(&device->bad);
	rig_count(&device->released);
}

struct rig_device *
rig_device_of_class(struct rig *rig, const char *name, uint64_t size,
		    void (*on_write)(struct rig_device *device,
				     uint64_t offset, uint64_t value),
		    enum mpl_concurrency concurrency, bool reentrant)
{
	static const struct mpl_io_ops all[] = {
#define OPS(class, again)                                                      \
	{ .read = device_read, .write = device_write, .concurrency = (class),  \
	  .reentrant = (again) }
		OPS(MPL_SERIALISED, false), OPS(MPL_SERIALISED, true),
		OPS(MPL_LOCK_FREE, false), OPS(MPL_LOCK_FREE, true),
#undef OPS
	};
	const struct mpl_io_ops *ops =
		&all[(concurrency == MPL_SERIALISED ? 0 : 2) + reentrant];
	struct rig_device *device = calloc(1, sizeof(*device));

	assert_non_null(device);
	assert_true(rig->n_devices < RIG_DEVICES);
	device->rig = rig;
	device->on_write = on_write;
	assert_int_equal(mpl_region_new_io(rig->plane, name, size, ops, device,
					   &device->region),
			 0);
	mpl_region_on_release(device->region, device_release, device);
	rig->devices[rig->n_devices++] = device;
	return device;
}

struct rig_device *rig_device(struct rig *rig, const char *name, uint64_t size,
			      void (*on_write)(struct rig_device *device,
					       uint64_t offset,
					       uint64_t value))
{
	return rig_device_of_class(rig, name, size, on_write, MPL_LOCK_FREE,
				   false);
}

int rig_add(struct rig *rig, struct mpl_region *child, uint64_t offset)
{
	struct mpl_txn *tx = mpl_begin(rig->plane);

	mpl_region_add(tx, rig->root, offset, child, 0);
	return mpl_commit(tx);
}

int rig_move(struct rig *rig, struct mpl_region *region, uint64_t offset)
{
	struct mpl_txn *tx = mpl_begin(rig->plane);

	mpl_region_move(tx, region, offset);
	return mpl_commit(tx);
}

int rig_remove(struct rig *rig, struct mpl_region *region)
{
	struct mpl_txn *tx = mpl_begin(rig->plane);

	mpl_region_remove(tx, region);
	return mpl_commit(tx);
}

int rig_enable(struct rig *rig, struct mpl_region *region, bool enabled)
{
	struct mpl_txn *tx = mpl_begin(rig->plane);

	mpl_region_set_enabled(tx, region, enabled);
	return mpl_commit(tx);
}

struct mpl_region *rig_find(struct rig *rig, struct mpl_reader *reader,
			    uint64_t gpa)
{
	return mpl_section_region(mpl_lookup(reader, rig->as, gpa));
}

struct mpl_plane_stats rig_stats(struct rig *rig)
{
	struct mpl_plane_stats stats;

	mpl_plane_stats(rig->plane, &stats);
	return stats;
}

mpl_result_t rig_write(struct mpl_reader *reader, struct rig *rig,
		       uint64_t gpa, uint64_t value)
{
	return mpl_store(reader, rig->as, gpa, (struct mpl_attrs){ 0 }, 4,
			 MPL_NATIVE_ENDIAN, value);
}

int rig_get(const int *counter)
{
	return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

void rig_count(int *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static void sleep_ms(int ms)
{
	struct timespec time = { .tv_sec = ms / 1000,
				 .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&time, NULL);
}

bool rig_wait_reclaiming(struct rig *rig, const int *counter, int value)
{
	for (int ms = 0; rig_get(counter) < value; ms++) {
		if (ms == WAIT_MS)
			return false;
		if (rig)
			mpl_reclaim(rig->plane);
		sleep_ms(1);
	}
	return true;
}

bool rig_wait(const int *counter, int value)
{
	return rig_wait_reclaiming(NULL, counter, value);
}

void rig_linger(void)
{
	sleep_ms(LINGER_MS);
}

void gate_init(struct gate *gate)
{
	assert_int_equal(sem_init(&gate->reached, 0, 0), 0);
	assert_int_equal(sem_init(&gate->opened, 0, 0), 0);
}

void gate_destroy(struct gate *gate)
{
	sem_destroy(&gate->reached);
	sem_destroy(&gate->opened);
}

static void sem_wait_on(sem_t *sem)
{
	while (sem_wait(sem))
		; /* a signal came between */
}

void gate_stop(struct gate *gate)
{
	sem_post(&gate->reached);
	sem_wait_on(&gate->opened);
}

void gate_await(struct gate *gate)
{
	sem_wait_on(&gate->reached);
}

void gate_open(struct gate *gate)
{
	sem_post(&gate->opened);
}

pthread_t rig_start(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, fn, arg), 0);
	return thread;
}

void rig_join(pthread_t thread)
{
	assert_int_equal(pthread_join(thread, NULL), 0);
}
