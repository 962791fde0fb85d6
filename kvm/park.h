/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate: keeps vCPUs out of KVM_RUN while slots are replaced.
 *
 * Each vCPU has a seat with a state; the gate has a depth, how often it was
 * closed.
 *
 *              enter, gate open
 *         OUT -----------------> IN        KVM_RUN, and the steps around it
 *          ^  <-----------------  |
 *          |        leave         |
 *          |                      | enter, gate closed or kicked
 *          |   kicked             v
 *          +------------------ WAITING     until open or kicked; then enter
 *
 * To park is to close the gate and wait until no seat is IN.  Who is IN gets
 * immediate_exit and a signal:
 *
 *     parker                            vCPU
 *     depth := 1                        immediate_exit := 0
 *     immediate_exit := 1               state := IN
 *     -- full order --   [B60]          -- full order --            [B60]
 *     state = IN?  then a signal        depth = 0?  then KVM_RUN
 *
 * One of the two sees the other.  If the vCPU sees depth 1, it does not enter.
 * Else its clearing of immediate_exit came first, the parker sees IN, and the
 * signal comes after immediate_exit was set: before KVM_RUN, which then returns
 * at once; or in it, and ends it.  docs/model/gate.pml checks this.
 *
 * A park only waits for seats that are IN: for the kernel and the few lines
 * around it, never for a callback, a lock or the embedder's code.
 */
#ifndef MEMPLANE_KVM_PARK_H
#define MEMPLANE_KVM_PARK_H

#include <pthread.h>
#include <semaphore.h>

#include <memplane/kvm.h>

#include "lib/base/list.h"
#include "lib/base/log.h"

enum mpl_seat_state { MPL_SEAT_OUT, MPL_SEAT_IN, MPL_SEAT_WAITING };

struct mpl_kvm_gate {
	pthread_mutex_t mutex;
	uint32_t depth;	       /* written under the mutex */
	sem_t left;	       /* a seat may have stopped being IN */
	struct mpl_link seats; /* under the mutex */

	/* Constant. */
	int signal;
	const struct mpl_kvm_gate_ops *ops; /* the embedder's, or NULL */
	void *opaque;
	const struct mpl_log *log;
	uint64_t slow_ns; /* until a vCPU that stays in is named */

	/* Statistics, written under the mutex, read by any thread. */
	uint64_t parks;	  /* from depth 0 to 1, for commits or others */
	uint64_t kicks;	  /* signals sent, the repeated ones too */
	uint64_t slow;	  /* vCPUs named in the log */
	uint64_t wait_ns; /* for vCPUs to come out */

	/* Control side: parks of commits, for mpl_kvm_stats. */
	unsigned int parked; /* how many times more than unparked */
	uint64_t since_ns;   /* the first of them */
};

/* A vCPU at the gate.  Its thread's, but for what is marked. */
struct mpl_seat {
	struct mpl_kvm_gate *gate;
	struct mpl_link link; /* under the gate's mutex */
	unsigned int index;
	pthread_t thread;
	uint8_t *immediate_exit; /* in kvm_run */
	uint32_t state;		 /* any thread reads it */
	uint32_t kicked;	 /* any thread sets it */
	sem_t turn;		 /* any thread posts it */
};

/* `signal` 0: SIGUSR1.  Errors: -EINVAL (no such signal), -ENOMEM. */
int mpl_gate_init(struct mpl_kvm_gate *gate, int signal,
		  const struct mpl_kvm_gate_ops *ops, void *opaque,
		  const struct mpl_log *log);
/* No seat may be left. */
void mpl_gate_destroy(struct mpl_kvm_gate *gate);

/* The calling thread's vCPU; also while the gate is closed. */
void mpl_gate_join(struct mpl_kvm_gate *gate, struct mpl_seat *seat,
		   unsigned int index, uint8_t *immediate_exit);
/* It must be OUT. */
void mpl_gate_quit(struct mpl_seat *seat);

/* Wait until the gate is open, and be IN.  -EINTR: kicked, and still OUT. */
int mpl_gate_enter(struct mpl_seat *seat, bool *waited);
/* Be OUT. */
void mpl_gate_leave(struct mpl_seat *seat);
/* Was it kicked?  Then it is no longer. */
bool mpl_gate_take_kick(struct mpl_seat *seat);
/* Any thread, and signal handlers. */
void mpl_gate_kick(struct mpl_seat *seat);

/*
 * Nested, by any threads; on return from park nobody is IN.
 * Errors: the embedder's, and then it is as before.
 */
int mpl_gate_park(struct mpl_kvm_gate *gate);
void mpl_gate_unpark(struct mpl_kvm_gate *gate);
bool mpl_gate_is_empty(struct mpl_kvm_gate *gate);

/*
 * The same for a commit, and counted.  Control side.  On return no vCPU is in
 * KVM_RUN, and none enters it until as many mpl_kvm_unpark().
 */
int mpl_kvm_park(struct mpl_kvm *kvm);
void mpl_kvm_unpark(struct mpl_kvm *kvm);

#endif
