/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Topology changes while the guest runs, of the two kinds that a PC's firmware
 * makes.  Windows of 16 KiB in the RAM below 1 MiB change between RAM,
 * read-only RAM and nothing, as the PAM registers of a host bridge make them:
 * KVM's slots around them are split and replaced, with the vCPUs parked.  And a
 * device with doorbells, the BAR, moves: its ioeventfds move along, and no vCPU
 * stops.
 */
#include "tools/vm/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define WINDOW_SIZE 0x4000
#define WINDOWS	    (PAM_SIZE / WINDOW_SIZE)
#define BAR_SIZE    0x10000
#define BAR_PLACES  64
#define DOORBELLS   8

enum window_state { WINDOW_RAM, WINDOW_READONLY, WINDOW_NOTHING, WINDOW_STATES };

struct window {
	struct mpl_region *readonly; /* an alias of the RAM below it */
	struct mpl_region *nothing;
	enum window_state state;
};

struct churn {
	struct vm *vm;
	struct window windows[WINDOWS];
	struct mpl_region *bar;
	int doorbells[DOORBELLS];
	pthread_t thread;
	bool end;
	uint64_t toggles, moves, failed; /* by the thread; for the report */
};

static void set_window(struct mpl_txn *tx, struct window *window,
		       enum window_state state)
{
	mpl_region_set_enabled(tx, window->readonly, state == WINDOW_READONLY);
	mpl_region_set_enabled(tx, window->nothing, state == WINDOW_NOTHING);
}

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void change(struct churn *churn, unsigned int turn, unsigned int *seed)
{
	struct mpl_txn *tx = mpl_begin(churn->vm->plane);
	struct window *window = &churn->windows[(unsigned int)rand_r(seed) %
						WINDOWS];
	enum window_state state = (window->state + 1) % WINDOW_STATES;
	uint64_t place = (unsigned int)rand_r(seed) % BAR_PLACES;

	if (turn % 2)
		mpl_region_move(tx, churn->bar, BAR_GPA + place * BAR_SIZE);
	else
		set_window(tx, window, state);
	if (mpl_commit(tx)) {
		/* Nothing has changed, neither in the map nor in KVM. */
		count(&churn->failed);
	} else if (turn % 2) {
		count(&churn->moves);
	} else {
		window->state = state;
		count(&churn->toggles);
	}
}

static void *run(void *arg)
{
	struct churn *churn = arg;
	const long period = 1000000000L / churn->vm->options.churn;
	const struct timespec pause = { .tv_sec = period / 1000000000,
					.tv_nsec = period % 1000000000 };
	unsigned int seed = 1;

	for (unsigned int turn = 0;
	     !__atomic_load_n(&churn->end, __ATOMIC_RELAXED); turn++) {
		change(churn, turn, &seed);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void new_window(struct churn *churn, struct mpl_txn *tx, unsigned int i)
{
	struct window *window = &churn->windows[i];
	uint64_t gpa = PAM_GPA + i * WINDOW_SIZE;
	struct vm *vm = churn->vm;

	check(mpl_region_new_alias(vm->plane, "read-only window", vm->ram, gpa,
				   WINDOW_SIZE, &window->readonly),
	      "churn");
	mpl_region_set_readonly(tx, window->readonly, true);
	vm_hole_new(vm, "window of nothing", WINDOW_SIZE, &window->nothing);
	set_window(tx, window, WINDOW_RAM);
	mpl_region_add(tx, vm->system, gpa, window->readonly, 1);
	mpl_region_add(tx, vm->system, gpa, window->nothing, 2);
}

void churn_new(struct vm *vm, struct mpl_txn *tx)
{
	struct churn *churn = calloc(1, sizeof(*churn));

	if (!churn)
		check(-ENOMEM, "churn");
	churn->vm = vm;
	for (unsigned int i = 0; i < WINDOWS; i++)
		new_window(churn, tx, i);
	vm_hole_new(vm, "bar", BAR_SIZE, &churn->bar);
	mpl_region_add(tx, vm->system, BAR_GPA, churn->bar, 0);
	for (unsigned int i = 0; i < DOORBELLS; i++) {
		int fd = eventfd(0, EFD_CLOEXEC);
		const struct mpl_ioeventfd doorbell = {
			.offset = i * 4,
			.size = 4,
			.fd = fd,
		};

		if (fd < 0)
			check(-errno, "churn");
		mpl_ioeventfd_add(tx, churn->bar, &doorbell);
		churn->doorbells[i] = fd;
	}
	vm->churn = churn;
}

void churn_start(struct churn *churn)
{
	check(-pthread_create(&churn->thread, NULL, run, churn), "churn");
}

void churn_stop(struct churn *churn)
{
	__atomic_store_n(&churn->end, true, __ATOMIC_RELAXED);
	pthread_join(churn->thread, NULL);
}

void churn_report(const struct churn *churn, FILE *out)
{
	fprintf(out, "churn: %llu toggles, %llu moves, %llu failed",
		(unsigned long long)__atomic_load_n(&churn->toggles,
						    __ATOMIC_RELAXED),
		(unsigned long long)__atomic_load_n(&churn->moves,
						    __ATOMIC_RELAXED),
		(unsigned long long)__atomic_load_n(&churn->failed,
						    __ATOMIC_RELAXED));
}

void churn_free(struct churn *churn)
{
	for (unsigned int i = 0; i < WINDOWS; i++) {
		mpl_region_unref(churn->windows[i].readonly);
		mpl_region_unref(churn->windows[i].nothing);
	}
	mpl_region_unref(churn->bar);
	for (unsigned int i = 0; i < DOORBELLS; i++)
		close(churn->doorbells[i]);
	free(churn);
}
