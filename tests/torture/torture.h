/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The torture test's world, which all its threads share.
 *
 * What a reader finds is checked by *phases*.  A phase is a number from which
 * the places of a dozen regions follow (world_point()).  Mutators set phases:
 * one transaction that moves all of these regions.  A window onto a very large
 * region tells a reader which phase a snapshot has, and then every look-up in
 * the same snapshot has just one right answer.
 *
 * Beside that, devices live in slots: they come, move, remove themselves from
 * inside their callbacks and go, and are poisoned when they are released.
 */
#ifndef TESTS_TORTURE_H
#define TESTS_TORTURE_H

#include <memplane.h>

enum { MARKERS = 8, POINTS = 22, SLOTS = 48, SPACES = 3 };

struct options {
	unsigned int seconds;
	uint64_t seed;
	unsigned int readers;
	unsigned int mutators;
	bool control_thread;
	bool verify;
	bool full_rebuild;
	bool readonly_view;
	unsigned int hash; /* doorbells from which on they are hashed */
};

/* What was done, over all threads; a line at the end shows it. */
struct counters {
	uint64_t commits, refused, failed, crowded, asyncs, dones, aborts;
	uint64_t lookups, checks, overtaken, accesses, callbacks;
	uint64_t made, released, drains, suspends, self_moves, self_removals;
	uint64_t rings, registrations, stalls, spaces, listeners, resyncs, lines;
};

enum slot_state { EMPTY, BUSY, ATTACHED };

struct device;

/* A place for a device; whoever makes it BUSY may change it. */
struct slot {
	int state;
	struct device *device;
	uint64_t base;
	uint64_t at; /* where it was last; a hint */
};

struct world {
	struct options options;
	struct mpl_plane *plane;
	struct mpl_region *system, *other; /* roots */
	struct mpl_region *clock, *hand;   /* `hand` shows the phase */
	struct mpl_region *marker[MARKERS];
	struct mpl_region *ram, *peek, *over, *under, *sizer;
	struct mpl_region *shift, *master;
	/* system memory; a bus master's; one that shows a part elsewhere */
	struct mpl_address_space *space[SPACES];
	struct slot slots[SLOTS];
	struct counters count;
	int stop;
};

/* A thread's own. */
struct self {
	struct mpl_reader *reader; /* NULL: none */
	uint64_t access_start;	   /* of the outermost access */
	uint64_t random;
	uint64_t turns; /* for the watchdog */
};
extern _Thread_local struct self self;

uint64_t random_next(void);
uint64_t random_below(uint64_t n);
uint64_t now_ns(void);
void nap_us(unsigned int us);

#define ADD(world, field, n) \
	__atomic_add_fetch(&(world)->count.field, (n), __ATOMIC_RELAXED)

/* Say what is wrong, and end. */
void fail(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));

/* world.c: the regions and their phases */
void world_new(struct world *world);
void world_set_phase(struct world *world, struct mpl_txn *tx, uint64_t phase);
uint64_t world_random_phase(void);

/* Where something is, or is not, in a phase. */
struct point {
	uint64_t gpa;		   /* in system memory */
	struct mpl_region *region; /* NULL: nothing there */
	uint64_t offset;
	bool readonly;
};
struct point world_point(const struct world *world, uint64_t phase,
			 unsigned int number);
/* The address of a point in one of the spaces. */
uint64_t world_gpa(uint64_t gpa, unsigned int space);

/* Counts the outcome of a commit that may fail only so. */
bool world_outcome(struct world *world, int err, const char *what);

/* device.c: what lives in slots */
void device_slots_init(struct world *world);
void device_mutate(struct world *world); /* one slot, one step */
void device_poke(struct world *world);	 /* an access, by this reader */
void device_poke_as(struct world *world, const struct mpl_address_space *as,
		    bool by_plane);
void device_remove_all(struct world *world);
void device_end(void); /* after the plane's */

/* reader.c */
void *reader_thread(void *world);
/* mutator.c */
void *mutator_thread(void *world);

/* bells.c: a device with doorbells that come and go */
void bells_init(struct world *world);
void bells_mutate(struct world *world);
void bells_poke(struct world *world);
void bells_end(void);

/* listener.c: a mirror of system memory that fails now and then */
void mirror_register(struct world *world);
void mirror_recover(struct world *world); /* if it is degraded */
void mirror_end(struct world *world);	  /* compares it with the view */
void mirror_visit(struct world *world);	  /* one that comes and goes */

#endif
