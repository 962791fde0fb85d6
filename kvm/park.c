/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* sem_clockwait */
#include "kvm/park.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "dispatch/data_plane.h"
#include "kvm/kvm.h"

/* A signal that came to nothing (blocked, or lost to a race in the embedder's
 * handler) is sent again after this time. */
#define REKICK_NS 10000000
/* A vCPU that is in for longer is named in the log. */
#define SLOW_NS UINT64_C(1000000000)

int mpl_gate_init(struct mpl_kvm_gate *gate, int signal,
		  const struct mpl_kvm_gate_ops *ops, void *opaque,
		  const struct mpl_log *log)
{
	*gate = (struct mpl_kvm_gate){
		.signal = signal ? signal : SIGUSR1,
		.ops = ops,
		.opaque = opaque,
		.log = log,
		.slow_ns = SLOW_NS,
	};
	if (gate->signal < 0 || gate->signal > SIGRTMAX)
		return -EINVAL;
	if (pthread_mutex_init(&gate->mutex, NULL))
		return -ENOMEM;
	sem_init(&gate->left, 0, 0);
	mpl_list_init(&gate->seats);
	return 0;
}

void mpl_gate_destroy(struct mpl_kvm_gate *gate)
{
	sem_destroy(&gate->left);
	pthread_mutex_destroy(&gate->mutex);
}

/* Without one the first park would end the process, or go unheard. */
static void warn_without_handler(const struct mpl_kvm_gate *gate,
				 unsigned int index)
{
	struct sigaction action;

	if (gate->ops || sigaction(gate->signal, NULL, &action) ||
	    (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN))
		return;
	mpl_log(gate->log, MPL_LOG_WARNING,
		"vCPU %u: signal %d, which parks it, has no handler; install one, an empty one will do",
		index, gate->signal);
}

void mpl_gate_join(struct mpl_kvm_gate *gate, struct mpl_seat *seat,
		   unsigned int index, uint8_t *immediate_exit)
{
	warn_without_handler(gate, index);
	*seat = (struct mpl_seat){
		.gate = gate,
		.index = index,
		.thread = pthread_self(),
		.immediate_exit = immediate_exit,
		.state = MPL_SEAT_OUT,
	};
	sem_init(&seat->turn, 0, 0);
	pthread_mutex_lock(&gate->mutex);
	mpl_list_append(&gate->seats, &seat->link);
	pthread_mutex_unlock(&gate->mutex);
}

void mpl_gate_quit(struct mpl_seat *seat)
{
	pthread_mutex_lock(&seat->gate->mutex);
	mpl_list_remove(&seat->link);
	pthread_mutex_unlock(&seat->gate->mutex);
	sem_destroy(&seat->turn);
}

static bool is_closed(const struct mpl_kvm_gate *gate)
{
	/* [B60] full order, after the seat's state; pairs with [B60] in
	 * close_gate() */
	return __atomic_load_n(&gate->depth, __ATOMIC_SEQ_CST);
}

static bool is_kicked(const struct mpl_seat *seat)
{
	/* [B61] full order, after the seat's state; pairs with [B61] in
	 * mpl_gate_kick() */
	return __atomic_load_n(&seat->kicked, __ATOMIC_SEQ_CST);
}

static void set_state(struct mpl_seat *seat, enum mpl_seat_state state)
{
	/*
	 * [B60] [B61] full order of this store and the loads of depth and
	 * `kicked` that follow; pairs with [B60] in close_gate() and [B61] in
	 * mpl_gate_kick().  Hazard: the vCPU enters because the gate looks
	 * open, and gets no signal because it looks out.
	 * [B62] release; pairs with [B62] in is_in(): what the vCPU did in the
	 * guest, and in KVM for it, happens before what the parker does.
	 */
	__atomic_store_n(&seat->state, (uint32_t)state, __ATOMIC_SEQ_CST);
}

static bool is_in(const struct mpl_seat *seat)
{
	/* [B60] full order, after the depth; [B62] acquire; pairs with [B60]
	 * and [B62] in set_state() */
	return __atomic_load_n(&seat->state, __ATOMIC_SEQ_CST) == MPL_SEAT_IN;
}

/* Until the gate may be open.  -EINTR: kicked, or a signal came. */
static int wait_at_gate(struct mpl_seat *seat)
{
	while (is_closed(seat->gate)) {
		if (is_kicked(seat))
			return -EINTR;
		if (sem_wait(&seat->turn))
			return -EINTR;
	}
	return 0;
}

bool mpl_gate_take_kick(struct mpl_seat *seat)
{
	/* [B61] acquire: what the kicker did before is seen by who returns
	 * -EINTR; pairs with [B61] in mpl_gate_kick() */
	return __atomic_load_n(&seat->kicked, __ATOMIC_RELAXED) &&
	       __atomic_exchange_n(&seat->kicked, 0, __ATOMIC_ACQ_REL);
}

int mpl_gate_enter(struct mpl_seat *seat, bool *waited)
{
	int err = 0;

	*waited = false;
	while (!err) {
		/* Before the state: a parker that sets it again sees IN. */
		__atomic_store_n(seat->immediate_exit, 0, __ATOMIC_RELAXED);
		set_state(seat, MPL_SEAT_IN);
		if (!is_closed(seat->gate) && !is_kicked(seat))
			return 0;
		set_state(seat, MPL_SEAT_WAITING);
		if (is_closed(seat->gate)) {
			/* A parker may have seen it IN. */
			sem_post(&seat->gate->left);
			*waited = true;
		}
		err = wait_at_gate(seat);
		if (is_kicked(seat))
			err = -EINTR;
	}
	set_state(seat, MPL_SEAT_OUT);
	mpl_gate_take_kick(seat);
	return err;
}

void mpl_gate_leave(struct mpl_seat *seat)
{
	set_state(seat, MPL_SEAT_OUT);
	if (is_closed(seat->gate))
		sem_post(&seat->gate->left);
}

void mpl_gate_kick(struct mpl_seat *seat)
{
	uint32_t state;

	/*
	 * [B61] full order of this store and the load of the state; pairs with
	 * [B61] in set_state().  Hazard: as [B60], and the kick is late by
	 * as long as the guest runs or the gate is closed.
	 */
	__atomic_store_n(&seat->kicked, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(seat->immediate_exit, 1, __ATOMIC_RELAXED);
	state = __atomic_load_n(&seat->state, __ATOMIC_SEQ_CST);
	if (state == MPL_SEAT_IN)
		pthread_kill(seat->thread, seat->gate->signal);
	else if (state == MPL_SEAT_WAITING)
		sem_post(&seat->turn);
}

/* The mutex is held, as in all that follows. */
static void close_gate(struct mpl_kvm_gate *gate)
{
	struct mpl_link *link;

	/* Posts of seats that left after an earlier park was over. */
	while (!sem_trywait(&gate->left))
		;
	/* [B60] full order of this store and the loads of states; pairs with
	 * [B60] in set_state() */
	__atomic_store_n(&gate->depth, 1, __ATOMIC_SEQ_CST);
	MPL_LIST_EACH(link, &gate->seats)
	{
		struct mpl_seat *seat = MPL_OF(link, struct mpl_seat, link);

		__atomic_store_n(seat->immediate_exit, 1, __ATOMIC_RELAXED);
	}
}

static bool kick_if_in(struct mpl_kvm_gate *gate, struct mpl_seat *seat)
{
	if (!is_in(seat))
		return false;
	__atomic_store_n(&gate->kicks, gate->kicks + 1, __ATOMIC_RELAXED);
	pthread_kill(seat->thread, gate->signal);
	return true;
}

/* Kick those who are in; how many were? */
static unsigned int kick_all(struct mpl_kvm_gate *gate)
{
	struct mpl_link *link;
	unsigned int in = 0;

	MPL_LIST_EACH(link, &gate->seats)
		in += kick_if_in(gate, MPL_OF(link, struct mpl_seat, link));
	return in;
}

static bool any_in(struct mpl_kvm_gate *gate)
{
	struct mpl_link *link;

	MPL_LIST_EACH(link, &gate->seats)
		if (is_in(MPL_OF(link, struct mpl_seat, link)))
			return true;
	return false;
}

static void name_slow(struct mpl_kvm_gate *gate, uint64_t ns)
{
	struct mpl_link *link;

	MPL_LIST_EACH(link, &gate->seats)
	{
		struct mpl_seat *seat = MPL_OF(link, struct mpl_seat, link);

		if (!is_in(seat))
			continue;
		__atomic_store_n(&gate->slow, gate->slow + 1,
				 __ATOMIC_RELAXED);
		mpl_log(gate->log, MPL_LOG_WARNING,
			"vCPU %u has not come out of the guest for %llu ms; is signal %d blocked, or without a handler?",
			seat->index, (unsigned long long)(ns / 1000000),
			gate->signal);
	}
}

/* A post, or a while. */
static void wait_a_while(sem_t *sem)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += REKICK_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	(void)sem_clockwait(sem, CLOCK_MONOTONIC, &until);
}

static void wait_until_out(struct mpl_kvm_gate *gate)
{
	uint64_t begin = mpl_now_ns(), kicked = begin;
	uint64_t name_at = begin + gate->slow_ns;

	if (kick_all(gate)) {
		while (any_in(gate)) {
			uint64_t now;

			wait_a_while(&gate->left);
			now = mpl_now_ns();
			if (now - kicked >= REKICK_NS) {
				kick_all(gate);
				kicked = now;
			}
			if (now >= name_at) {
				name_slow(gate, now - begin);
				name_at = now + gate->slow_ns;
			}
		}
	}
	__atomic_store_n(&gate->wait_ns, gate->wait_ns + mpl_now_ns() - begin,
			 __ATOMIC_RELAXED);
}

static void open_gate(struct mpl_kvm_gate *gate)
{
	struct mpl_link *link;

	/* [B60] full order of this store and the loads of states: who is not
	 * seen waiting sees the gate open; pairs with [B60] in set_state() */
	__atomic_store_n(&gate->depth, 0, __ATOMIC_SEQ_CST);
	MPL_LIST_EACH(link, &gate->seats)
	{
		struct mpl_seat *seat = MPL_OF(link, struct mpl_seat, link);

		if (__atomic_load_n(&seat->state, __ATOMIC_SEQ_CST) ==
		    MPL_SEAT_WAITING)
			sem_post(&seat->turn);
	}
}

int mpl_gate_park(struct mpl_kvm_gate *gate)
{
	int err = 0;

	pthread_mutex_lock(&gate->mutex);
	if (gate->depth) {
		__atomic_store_n(&gate->depth, gate->depth + 1,
				 __ATOMIC_RELAXED);
	} else {
		if (gate->ops)
			err = gate->ops->park(gate->opaque);
		if (!err) {
			close_gate(gate);
			wait_until_out(gate);
			__atomic_store_n(&gate->parks, gate->parks + 1,
					 __ATOMIC_RELAXED);
		}
	}
	pthread_mutex_unlock(&gate->mutex);
	return err;
}

void mpl_gate_unpark(struct mpl_kvm_gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	if (gate->depth > 1) {
		__atomic_store_n(&gate->depth, gate->depth - 1,
				 __ATOMIC_RELAXED);
	} else if (gate->depth) {
		open_gate(gate);
		if (gate->ops)
			gate->ops->unpark(gate->opaque);
	}
	pthread_mutex_unlock(&gate->mutex);
}

bool mpl_gate_is_empty(struct mpl_kvm_gate *gate)
{
	bool empty;

	pthread_mutex_lock(&gate->mutex);
	empty = mpl_list_empty(&gate->seats);
	pthread_mutex_unlock(&gate->mutex);
	return empty;
}

int mpl_kvm_park(struct mpl_kvm *kvm)
{
	uint64_t since = mpl_now_ns();
	int err = mpl_gate_park(&kvm->gate);

	if (!err && !kvm->gate.parked++) {
		kvm->gate.since_ns = since;
		kvm->stats.parks++;
	}
	return err;
}

void mpl_kvm_unpark(struct mpl_kvm *kvm)
{
	uint64_t ns;

	mpl_gate_unpark(&kvm->gate);
	if (--kvm->gate.parked)
		return;
	ns = mpl_now_ns() - kvm->gate.since_ns;
	kvm->stats.park_ns += ns;
	if (ns > kvm->stats.park_ns_max)
		kvm->stats.park_ns_max = ns;
}
