/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Publish, online / quiescent / offline, and reclaim, on weakly ordered
 * memory: the claim is that no look-up ever reads memory that is not written
 * yet, freed, or used again.  README.md is the prose to this; ./check runs it.
 *
 * Promela's own memory is sequentially consistent, so that the freedom which
 * compilers and processors have is spelled out.  Each thread has a window of
 * accesses that it issued and that memory has not seen:
 *
 *      program order ->
 *      +-----------+-------------+----------------+---
 *      | load node | store cnt=3 | load node      | ...    window[thread]
 *      +-----------+-------------+----------------+---
 *        any of them may be performed next, by buffer(thread), except that
 *          - a release store waits for everything before it,
 *          - a store waits for stores to the same place before it.
 *
 * A store that stays while later loads happen is the store buffer; a load
 * that stays while later loads or stores happen is the reordered load.  What
 * is hoisted over a neighbour is the neighbour being late, so that delay is
 * all there is.  An acquire load is performed as it is issued: nothing after
 * it may be early, everything before it may still be late.  A full fence
 * waits for an empty window.
 *
 * Mutants (each takes one thing out, and the claim must break):
 *	NO_ONLINE_FENCE NO_WRITER_FENCE NO_PUBLISH_RELEASE NO_LOOKUP_ACQUIRE
 *	NO_QUIESCENT_RELEASE NO_QUIESCENT_ACQUIRE NO_OFFLINE_RELEASE
 *	NO_TOKEN_CHECK TOKEN_OFF_BY_ONE ACKED_NOT_LEAST
 * NO_TOKEN_RELEASE is no mutant: [B2] makes that release redundant.
 * SEQUENTIAL leaves at most one step in a window, as if nothing were late.
 * WITNESS turns the goal into an error: the state in which every retired
 * generation is freed and the last one is read must be found.
 */

#define READERS 2
#define CONTROL READERS /* the third thread */
#define THREADS 3

#ifndef GENERATIONS
#define GENERATIONS 3 /* commits; generation 0 is there from the start */
#endif
#ifndef SLOTS
#define SLOTS 4 /* of the arena, at most 4: fewer than GENERATIONS + 1 reuses */
#endif
#ifndef WINDOW
#define WINDOW 4 /* accesses in flight per thread, 2 to 4 */
#endif

/*
 * An access in a window: bit 7 says release, bits 4..6 the place, bits 0..3
 * the value.  Places 0..3 are the arena's slots.  LOAD is the load of the
 * node of generation `value`, whose slot follows from it.
 */
#define POINTER 4
#define TOKEN 5
#define COUNTER 6 /* the thread's own */
#define LOAD 7
#define RELEASE 128
#define RELAXED 0

#define UNWRITTEN 14
#define POISON 15

#define access(place, value, order) ((order) | ((place) << 4) | (value))
#define place_of(access) (((access) >> 4) & 7)
#define value_of(access) ((access) & 15)
#define slot_of(generation) ((generation) % SLOTS)

#define OFFLINE 0
#define FIRST_TOKEN 1
/* The token of the grace period that ends the life of `generation`. */
#define token_of(generation) ((generation) + FIRST_TOKEN + 1)

/* Shared memory, as it is for every thread once an access is performed. */
byte node[SLOTS] = UNWRITTEN;
byte pointer;			/* to the snapshot: its generation */
byte token = FIRST_TOKEN;	/* rte_rcu_qsbr.token */
byte counter[READERS] = OFFLINE;/* rte_rcu_qsbr.qsbr_cnt[].cnt */

typedef window_t {
	byte length;
	byte in_flight[WINDOW];
}
window_t window[THREADS];

byte i; /* scratch of one step, zero between steps */

#ifdef WITNESS
byte freed_all;
#define witness(generation) \
	assert(!(freed_all && (generation) == GENERATIONS))
#else
#define witness(generation) skip
#endif

/* ---- the window ---- */

#define fence(thread) (window[thread].length == 0)
#ifdef SEQUENTIAL
#define room(thread, n) fence(thread)
#else
#define room(thread, n) (window[thread].length + (n) <= WINDOW)
#endif

inline issue(thread, what)
{
	window[thread].in_flight[window[thread].length] = what;
	window[thread].length++
}

#define at(thread, n) window[thread].in_flight[n]
#define waits_for(thread, n, earlier) \
	(at(thread, n) >= RELEASE || \
	 (place_of(at(thread, n)) == place_of(at(thread, earlier)) && \
	  place_of(at(thread, n)) != LOAD))

#define ready_0(thread) (window[thread].length > 0)
#define ready_1(thread) (window[thread].length > 1 && \
	!waits_for(thread, 1, 0))
#define ready_2(thread) (window[thread].length > 2 && \
	!waits_for(thread, 2, 0) && !waits_for(thread, 2, 1))
#define ready_3(thread) (window[thread].length > 3 && \
	!waits_for(thread, 3, 0) && !waits_for(thread, 3, 1) && \
	!waits_for(thread, 3, 2))

/* The claim is the assertion here. */
inline perform(thread, n)
{
	i = at(thread, n);
	if
	:: place_of(i) == LOAD ->
		printf("reader %d\tloads node of generation %d: finds %d\n",
		       thread, value_of(i), node[slot_of(value_of(i))]);
		assert(node[slot_of(value_of(i))] == value_of(i));
		witness(value_of(i))
	:: place_of(i) == POINTER ->
		printf("control\t\tpointer = %d\n", value_of(i));
		pointer = value_of(i)
	:: place_of(i) == TOKEN ->
		printf("control\t\ttoken = %d\n", value_of(i));
		token = value_of(i)
	:: place_of(i) == COUNTER ->
		printf("reader %d\tcounter = %d\n", thread, value_of(i));
		counter[thread] = value_of(i)
	:: place_of(i) < POINTER ->
		printf("control\t\tnode[%d] = %d\n", place_of(i), value_of(i));
		node[place_of(i)] = value_of(i)
	fi;
	i = n;
	do
	:: i < WINDOW - 1 -> at(thread, i) = at(thread, i + 1); i++
	:: else -> break
	od;
	i = 0;
	at(thread, WINDOW - 1) = 0;
	window[thread].length--
}

proctype buffer(byte thread)
{
end:	do
	:: d_step { ready_0(thread) -> perform(thread, 0) }
	:: d_step { ready_1(thread) -> perform(thread, 1) }
#if WINDOW > 2
	:: d_step { ready_2(thread) -> perform(thread, 2) }
#endif
#if WINDOW > 3
	:: d_step { ready_3(thread) -> perform(thread, 3) }
#endif
	od
}

/* ---- what the mutants change ---- */

#ifdef NO_ONLINE_FENCE
#define ONLINE_FENCE true
#else
#define ONLINE_FENCE fence(reader_id)
#endif
#ifdef NO_WRITER_FENCE
#define WRITER_FENCE room(CONTROL, 1)
#else
#define WRITER_FENCE fence(CONTROL)
#endif
#ifdef NO_PUBLISH_RELEASE
#define PUBLISH_ORDER RELAXED
#else
#define PUBLISH_ORDER RELEASE
#endif
#ifdef NO_TOKEN_RELEASE
#define START_ORDER RELAXED
#else
#define START_ORDER RELEASE
#endif
#ifdef NO_QUIESCENT_RELEASE
#define QUIESCENT_ORDER RELAXED
#else
#define QUIESCENT_ORDER RELEASE
#endif
#ifdef NO_OFFLINE_RELEASE
#define OFFLINE_ORDER RELAXED
#else
#define OFFLINE_ORDER RELEASE
#endif

/* ---- a reader ---- */

/*
 * Issuing is the thread's own affair and seen by nobody, so that it shares a
 * step with the acquire load before it; performing never does.
 */
proctype reader(byte reader_id)
{
	byte told; /* what its counter is, as it knows itself */
#if defined(NO_LOOKUP_ACQUIRE) || defined(NO_QUIESCENT_ACQUIRE)
	byte early;
#endif
#ifdef NO_LOOKUP_ACQUIRE
	byte found;
#endif

offline:
	atomic {
		/* Relaxed, but the store needs its value and then the fence
		 * is next: being late would change nothing. */
		room(reader_id, 1) ->
		told = token;
		printf("reader %d\tonline: token is %d\n", reader_id, told);
		issue(reader_id, access(COUNTER, told, RELAXED))
	}
	atomic {
		ONLINE_FENCE -> /* [B2] */
		printf("reader %d\tis online\n", reader_id)
	}
online:
	do
#ifdef NO_LOOKUP_ACQUIRE
	/* The node's load overtakes the pointer's: a guess that came true. */
	:: atomic { early = 0; found = node[slot_of(0)] }
		atomic { assert(pointer != early || found == early);
			 early = 0; found = 0 }
	:: atomic { early = 1; found = node[slot_of(1)] }
		atomic { assert(pointer != early || found == early);
			 early = 0; found = 0 }
#else
	/* Look up: [B1] acquire, then loads that depend on it. */
	:: atomic {
		room(reader_id, 1) ->
		printf("reader %d\tlook-up: pointer is %d\n", reader_id,
		       pointer);
		issue(reader_id, access(LOAD, pointer, RELAXED))
	}
#endif
#ifdef NO_QUIESCENT_ACQUIRE
	/* The next look-up's pointer is loaded before the token. */
	:: early = pointer;
		atomic {
			room(reader_id, 2) ->
			if
			:: token != told ->
				told = token;
				issue(reader_id,
				      access(COUNTER, told, RELEASE))
			:: else -> skip
			fi;
			printf("reader %d\tlook-up: pointer was %d, and then ",
			       reader_id, early);
			printf("quiescent: token is %d\n", told);
			issue(reader_id, access(LOAD, early, RELAXED));
			early = 0
		}
#else
	/* Quiescent: [B3] */
	:: atomic {
		token != told && room(reader_id, 1) ->
		told = token; /* acquire */
		printf("reader %d\tquiescent: token is %d\n", reader_id, told);
		issue(reader_id, access(COUNTER, told, QUIESCENT_ORDER))
	}
#endif
	/* Offline: [B3] */
	:: atomic {
		room(reader_id, 1) ->
		told = OFFLINE;
		printf("reader %d\toffline\n", reader_id);
		issue(reader_id, access(COUNTER, OFFLINE, OFFLINE_ORDER))
	}
		goto offline
	od
}

/* ---- the control side ---- */

/* Tokens and what is retired follow from these two counts. */
#define retired (freed < generation)
#define slot_free (generation + 1 < SLOTS + freed)

/* The rule of rte_rcu_qsbr_check() for one counter. */
#ifdef TOKEN_OFF_BY_ONE
#define acknowledged(c) ((c) == OFFLINE || (c) + 1 >= token_of(freed))
#else
#define acknowledged(c) ((c) == OFFLINE || (c) >= token_of(freed))
#endif

/* Plain stores: what a freed node becomes is somebody else's business. */
inline poison()
{
	printf("control\t\tfrees generation %d\n", freed);
	issue(CONTROL, access(slot_of(freed), POISON, RELAXED));
	freed++
}

inline forget_check()
{
	first = 0;
	second = 0
}

proctype control()
{
	byte generation; /* the one that is published */
	byte freed;	 /* all before this one are freed */
	byte acked;	 /* rte_rcu_qsbr.acked_token */
	byte first, second; /* counters that a check has read */

	do
	/* Commit. */
	:: atomic {
		generation < GENERATIONS && slot_free && room(CONTROL, 2) ->
		generation++;
		printf("control\t\tcommit of generation %d\n", generation);
		issue(CONTROL, access(slot_of(generation), generation,
				      RELAXED));
		issue(CONTROL, access(POINTER, generation, /* [B1] */
				      PUBLISH_ORDER))
	}
		/* rte_rcu_qsbr_start(): a release, not a fence, and as control
		 * is the only one to add, no more than a store. */
		atomic {
			WRITER_FENCE -> /* [B2] */
			issue(CONTROL, access(TOKEN, token_of(generation - 1),
					      START_ORDER))
		}
	/* Reclaim, as often as it likes: rte_rcu_qsbr_check(), not waiting. */
#ifdef NO_TOKEN_CHECK
	:: atomic { retired && room(CONTROL, 1) -> poison() }
#else
	:: atomic {
		retired && room(CONTROL, 1) && token_of(freed) <= acked ->
		poison()
	}
	:: atomic {
		retired && token_of(freed) > acked ->
		first = counter[0]; /* [B3] acquire */
		printf("control\t\tcheck: counter 0 is %d\n", first)
	}
		if
		:: atomic { !acknowledged(first) -> forget_check() }
		:: atomic {
			acknowledged(first) && room(CONTROL, 1) ->
			second = counter[1]; /* [B3] acquire */
			printf("control\t\tcheck: counter 1 is %d\n", second);
			if
			:: !acknowledged(second) -> skip
			:: else ->
				poison();
#ifdef ACKED_NOT_LEAST
				acked = (first > second -> first : second)
#else
				if
				:: first == OFFLINE && second == OFFLINE
				:: first == OFFLINE && second != OFFLINE ->
					acked = second
				:: first != OFFLINE && second == OFFLINE ->
					acked = first
				:: first != OFFLINE && second != OFFLINE ->
					acked = (first < second -> first
								 : second)
				fi
#endif
			fi;
			forget_check()
		}
		fi
#endif
#ifdef WITNESS
	:: freed == GENERATIONS && fence(CONTROL) -> freed_all = 1
#endif
	od
}

init
{
	atomic {
		node[slot_of(0)] = 0;
		run control();
		run reader(0);
		run reader(1);
		run buffer(0);
		run buffer(1);
		run buffer(CONTROL)
	}
}
