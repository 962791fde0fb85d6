/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the torture test of dirty tracking share. */
#ifndef TESTS_TORTURE_DIRTY_H
#define TESTS_TORTURE_DIRTY_H

#include <memplane.h>

#include <pthread.h>

enum {
	PAGE = MPL_DIRTY_PAGE,
	PAIRS = 12,	   /* of neighbours, for writes over the border */
	HOT = 2 * PAIRS,
	READERS = 2,
	WRITERS = READERS + 2, /* and one outside, and a device */
	BURST = 8,
	SLOT = 64, /* a word's place in its page */
};

#define RAM_SIZE ((UINT64_C(1) << 30) + 5 * PAGE)
#define RAM_AT	 (UINT64_C(4) << 30)
#define ALIAS_AT (UINT64_C(16) << 30)
#define SMALL_AT (RAM_AT + 77 * PAGE)

struct world {
	struct mpl_plane *plane;
	struct mpl_region *root, *ram, *alias, *small;
	struct mpl_address_space *as;
	uint8_t *host, *shadow;
	uint64_t page[HOT];
	uint64_t done[WRITERS][HOT];
	uint64_t outside[RAM_SIZE / PAGE / 64 + 1]; /* as KVM's log */
	uint64_t writes;
	unsigned int passes, cycles, parks, commits;
	bool stop;

	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool pause;
	int parked;
};

struct writer {
	struct world *world;
	unsigned int number;
	struct mpl_reader *reader; /* NULL: has none */
	uint64_t random;
	uint64_t stamp;
	/* Stored through pointers, done once they are invalid. */
	struct {
		unsigned int hot;
		uint64_t stamp;
	} pending[64];
	unsigned int n_pending;
	struct mpl_window window;
	unsigned int window_hot;
};

static inline uint64_t random_below(uint64_t *seed, uint64_t n)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return (*seed * UINT64_C(0x2545f4914f6cdd1d) >> 33) % n;
}

static inline bool stopped(const struct world *world)
{
	return __atomic_load_n(&world->stop, __ATOMIC_RELAXED);
}

/* Say what is wrong, and end. */
void fail(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));
void must(int err, const char *what);

/* dirty_writers.c: a thread each, with a struct writer */
void *reader_thread(void *arg);
void *duel_thread(void *arg);
void *outside_thread(void *arg);
void *device_thread(void *arg);

#endif
