/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate of kvm/park.c: one vCPU, one parker, one thread that kicks.
 *
 * Claims:
 *   - nothing is replaced while the vCPU is in the guest (assertions);
 *   - a park ends even if the guest never exits by itself, and a vCPU that
 *     waits goes on when the gate has opened (else: invalid end state);
 *   - each kick is answered by one -EINTR (the same).
 *
 * The guest exits by itself, or spins for ever.  A signal that comes in user
 * space is gone (its handler is empty); one that comes in the kernel ends
 * KVM_RUN.  None is sent twice: the code's repetition each 10 ms is for
 * embedders' mistakes, not for the protocol.
 *
 * Mutants: a store that the load after it overtakes, or a step left out.
 *
 *   VCPU_LATE     the vCPU's stores (immediate_exit, then its state) are seen
 *                 after it has loaded the depth                        [B60]
 *   PARKER_LATE   the depth is stored after the state is loaded        [B60]
 *   OPEN_LATE     the same when the gate opens                         [B60]
 *   KICK_LATE     `kicked` is stored after the state is loaded         [B61]
 *   VCPU_KICK_LATE  the same, after it has loaded `kicked`             [B61]
 *   NO_IE         the parker does not set immediate_exit
 *   KICK_NO_IE    the kicker does not
 *   CLEAR_LATE    the vCPU clears immediate_exit after it has looked
 *   NO_POST       who is turned away at the gate tells nobody
 */

#define ROUNDS 2 /* parks */
#define KICKS 2

#define OUT 0
#define IN 1
#define WAITING 2

byte depth;
byte state = OUT;
bool immediate_exit;
bool kicked;
bool signalled; /* and not handled yet */
byte left, turn; /* semaphores */
bool in_guest, replacing;
byte answers; /* -EINTR for a kick */

inline wait_for(semaphore)
{
	atomic { semaphore > 0 -> semaphore-- }
}

inline take_kick()
{
	atomic {
		if
		:: kicked -> kicked = false; answers++
		:: else
		fi
	}
}

/* The empty handler runs, or not yet. */
inline handle_signal()
{
	if
	:: signalled = false
	:: skip
	fi
}

inline kvm_run()
{
	if
	:: immediate_exit
	:: else ->
		in_guest = true;
		assert(!replacing);
		if
		:: true -> /* spins */
end_guest:		signalled
		:: true /* exits by itself */
		fi;
		in_guest = false
	fi
}

active proctype vcpu()
{
	bool closed, called;

	do
	:: handle_signal();
#ifdef VCPU_LATE
	closed = depth > 0;
#endif
#ifdef VCPU_KICK_LATE
	called = kicked;
#endif
#ifndef CLEAR_LATE
	immediate_exit = false;
#endif
	state = IN;
#ifndef VCPU_LATE
	closed = depth > 0;
#endif
#ifndef VCPU_KICK_LATE
	called = kicked;
#endif
#ifdef CLEAR_LATE
	immediate_exit = false;
#endif
	if
	:: closed || called ->
		state = WAITING;
#ifndef NO_POST
		if
		:: depth > 0 -> left++
		:: else
		fi;
#endif
		do
		:: if
		   :: depth == 0 -> break
		   :: else
		   fi;
		   if
		   :: kicked -> break
		   :: else
		   fi;
		   wait_for(turn)
		od;
		if
		:: kicked -> state = OUT; take_kick()
		:: else
		fi
	:: else ->
		handle_signal();
		kvm_run();
		state = OUT;
		if
		:: depth > 0 -> left++
		:: else
		fi;
		/* On the way back to user space. */
		signalled = false;
		take_kick()
	fi
	od
}

active proctype parker()
{
	byte round;
	bool was_in;

	do
	:: round < ROUNDS ->
		do
		:: atomic { left > 0 -> left-- }
		:: left == 0 -> break
		od;
#ifdef PARKER_LATE
		was_in = (state == IN);
#endif
		depth = 1;
#ifndef NO_IE
		immediate_exit = true;
#endif
#ifndef PARKER_LATE
		was_in = (state == IN);
#endif
		if
		:: was_in ->
			signalled = true;
			do
			:: state != IN -> break
			:: else -> wait_for(left)
			od
		:: else
		fi;
		assert(!in_guest);
		replacing = true;
		assert(!in_guest);
		replacing = false;
#ifdef OPEN_LATE
		was_in = (state == WAITING);
#endif
		depth = 0;
#ifndef OPEN_LATE
		was_in = (state == WAITING);
#endif
		if
		:: was_in -> turn++
		:: else
		fi;
		round++
	:: else -> break
	od
}

active proctype kicker()
{
	byte count, seen;

	do
	:: count < KICKS ->
#ifdef KICK_LATE
		seen = state;
#endif
		kicked = true;
#ifndef KICK_NO_IE
		immediate_exit = true;
#endif
#ifndef KICK_LATE
		seen = state;
#endif
		if
		:: seen == IN -> signalled = true
		:: seen == WAITING -> turn++
		:: else
		fi;
		answers > count;
		count++
	:: else -> break
	od
#ifdef WITNESS
	;
	assert(false)
#endif
}
