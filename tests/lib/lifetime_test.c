/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What readers hold back: release once, after the last access; drain and
 * synchronize; back-pressure when a reader never gets quiescent, and its name.
 */
#include "tests/support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A thread with a reader that does what it is told, one order at a time. */
enum order { GO_ONLINE, GO_OFFLINE, BE_QUIESCENT, WRITE, LEAVE };

struct vcpu {
	struct rig *rig;
	pthread_t thread;
	struct mpl_reader *reader;
	sem_t ordered, obeyed;
	enum order order;
	uint64_t gpa;
	mpl_result_t result;
	int err;
};

static void *obey(void *arg)
{
	struct vcpu *vcpu = arg;
	bool left = false;

	vcpu->err = mpl_reader_register(vcpu->rig->plane, &vcpu->reader);
	sem_post(&vcpu->obeyed);
	while (!vcpu->err && !left) {
		while (sem_wait(&vcpu->ordered))
			;
		switch (vcpu->order) {
		case GO_ONLINE:
			vcpu->err = mpl_reader_online(vcpu->reader);
			break;
		case GO_OFFLINE:
			vcpu->err = mpl_reader_offline(vcpu->reader);
			break;
		case BE_QUIESCENT:
			vcpu->err = mpl_reader_quiescent(vcpu->reader);
			break;
		case WRITE:
			vcpu->result = rig_write(vcpu->reader, vcpu->rig,
						   vcpu->gpa, 1);
			break;
		case LEAVE:
			vcpu->err = mpl_reader_unregister(vcpu->reader);
			left = true;
		}
		sem_post(&vcpu->obeyed);
	}
	return NULL;
}

static void await(struct vcpu *vcpu)
{
	while (sem_wait(&vcpu->obeyed))
		;
	assert_int_equal(vcpu->err, 0);
}

static void order_async(struct vcpu *vcpu, enum order what)
{
	vcpu->order = what;
	sem_post(&vcpu->ordered);
}

static void order(struct vcpu *vcpu, enum order what)
{
	order_async(vcpu, what);
	await(vcpu);
}

static void hire(struct vcpu *vcpu, struct rig *rig, const char *name)
{
	*vcpu = (struct vcpu){ .rig = rig };
	assert_int_equal(sem_init(&vcpu->ordered, 0, 0), 0);
	assert_int_equal(sem_init(&vcpu->obeyed, 0, 0), 0);
	vcpu->thread = rig_start(obey, vcpu);
	await(vcpu);
	mpl_reader_set_name(vcpu->reader, name);
}

static void dismiss(struct vcpu *vcpu)
{
	order(vcpu, LEAVE);
	rig_join(vcpu->thread);
	sem_destroy(&vcpu->ordered);
	sem_destroy(&vcpu->obeyed);
}

/* Not within a moment, however often it is asked for. */
static void assert_held(struct rig *rig, struct rig_device *device)
{
	for (int i = 0; i < 3; i++) {
		mpl_reclaim(rig->plane);
		rig_linger();
		assert_int_equal(rig_get(&device->released), 0);
	}
}

#define assert_released(rig, device)                                           \
	assert_true(rig_wait_reclaiming((rig), &(device)->released, 1))

static void stop_at_gate(struct rig_device *device, uint64_t offset,
			 uint64_t value)
{
	(void)offset, (void)value;
	gate_stop(device->arg);
}

/* ---- release ---- */

static void test_release_after_the_last_access(void **state)
{
	enum { COUNT = 4 };
	struct rig *rig = *state;
	struct rig_device *device =
		rig_device(rig, "io", 0x1000, stop_at_gate);
	struct vcpu vcpus[COUNT];
	struct gate gate;

	gate_init(&gate);
	device->arg = &gate;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	for (int i = 0; i < COUNT; i++) {
		hire(&vcpus[i], rig, "vcpu");
		order(&vcpus[i], GO_ONLINE);
		vcpus[i].gpa = 0x1000;
		order_async(&vcpus[i], WRITE);
		gate_await(&gate);
	}
	assert_int_equal(rig_remove(rig, device->region), 0);
	mpl_region_unref(device->region);
	assert_held(rig, device);
	for (int i = 0; i < COUNT; i++)
		gate_open(&gate);
	for (int i = 0; i < COUNT; i++) {
		await(&vcpus[i]);
		assert_int_equal(vcpus[i].result, MPL_OK);
		/* No new access reaches it. */
		order(&vcpus[i], WRITE);
		assert_int_equal(vcpus[i].result, MPL_DECODE_ERROR);
	}
	/* Three ways to let go. */
	order(&vcpus[0], BE_QUIESCENT);
	order(&vcpus[1], GO_OFFLINE);
	dismiss(&vcpus[2]);
	assert_held(rig, device);
	order(&vcpus[3], BE_QUIESCENT);
	assert_released(rig, device);
	assert_int_equal(device->writes, COUNT);
	dismiss(&vcpus[0]);
	dismiss(&vcpus[1]);
	dismiss(&vcpus[3]);
	gate_destroy(&gate);
}

/* What is referred to by nobody but a suspended access goes with it. */
static void suspend_at_gate(struct rig_device *device, uint64_t offset,
			    uint64_t value)
{
	struct vcpu *vcpu = device->arg;
	struct gate *gate = (struct gate *)(uintptr_t)vcpu->gpa;

	(void)offset, (void)value;
	vcpu->err |= mpl_access_suspend(vcpu->reader);
	gate_stop(gate);
	vcpu->err |= mpl_access_resume(vcpu->reader);
}

static mpl_result_t write_at(struct vcpu *vcpu, uint64_t gpa)
{
	return rig_write(vcpu->reader, vcpu->rig, gpa, 1);
}

struct suspended {
	struct vcpu vcpu; /* a thread of its own: `gpa` is the gate */
	pthread_t thread;
	uint64_t at;
	int ended;
};

static void *write_suspended(void *arg)
{
	struct suspended *suspended = arg;
	struct vcpu *vcpu = &suspended->vcpu;

	if (mpl_reader_register(vcpu->rig->plane, &vcpu->reader))
		return NULL;
	mpl_reader_online(vcpu->reader);
	vcpu->result = write_at(vcpu, suspended->at);
	vcpu->err |= mpl_reader_unregister(vcpu->reader);
	rig_count(&suspended->ended);
	return NULL;
}

static void suspended_start(struct suspended *suspended, struct rig *rig,
			    struct rig_device *device, struct gate *gate,
			    uint64_t at)
{
	*suspended = (struct suspended){
		.vcpu = { .rig = rig, .gpa = (uintptr_t)gate },
		.at = at,
	};
	device->arg = &suspended->vcpu;
	suspended->thread = rig_start(write_suspended, suspended);
	gate_await(gate);
}

static void test_release_after_a_suspended_access(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device =
		rig_device(rig, "io", 0x1000, suspend_at_gate);
	struct suspended suspended;
	struct gate gate;

	gate_init(&gate);
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	suspended_start(&suspended, rig, device, &gate, 0x1000);
	assert_int_equal(rig_remove(rig, device->region), 0);
	mpl_region_unref(device->region);
	assert_held(rig, device);
	assert_int_equal(mpl_reclaim(rig->plane), 0); /* nothing else waits */
	gate_open(&gate);
	rig_join(suspended.thread);
	assert_int_equal(suspended.vcpu.err, 0);
	assert_int_equal(suspended.vcpu.result, MPL_OK);
	if (rig->threaded) /* nobody has to ask for it */
		assert_true(rig_wait(&device->released, 1));
	else
		assert_released(rig, device);
	gate_destroy(&gate);
}

/* ---- drain and synchronize ---- */

struct waiting {
	struct rig *rig;
	struct mpl_region *region; /* NULL: synchronize */
	int err;
	int ended;
};

static void *wait_for_it(void *arg)
{
	struct waiting *waiting = arg;

	waiting->err = waiting->region ? mpl_region_drain(waiting->region) :
					 mpl_synchronize(waiting->rig->plane);
	rig_count(&waiting->ended);
	return NULL;
}

static void test_drain_waits_for_an_access(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device =
		rig_device(rig, "io", 0x1000, stop_at_gate);
	struct waiting waiting = { .rig = rig, .region = device->region };
	struct vcpu vcpu;
	struct gate gate;
	pthread_t thread;

	gate_init(&gate);
	device->arg = &gate;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	hire(&vcpu, rig, "vcpu");
	order(&vcpu, GO_ONLINE);
	vcpu.gpa = 0x1000;
	order_async(&vcpu, WRITE);
	gate_await(&gate);
	assert_int_equal(mpl_region_drain(device->region), -EBUSY);
	assert_int_equal(rig_remove(rig, device->region), 0);
	thread = rig_start(wait_for_it, &waiting);
	rig_linger();
	assert_int_equal(rig_get(&waiting.ended), 0);
	/* The plane is not held up by somebody who drains. */
	assert_int_equal(mpl_commit(mpl_begin(rig->plane)), 0);
	gate_open(&gate);
	await(&vcpu);
	rig_linger(); /* the access has ended; its section may be in use */
	assert_int_equal(rig_get(&waiting.ended), 0);
	order(&vcpu, BE_QUIESCENT);
	rig_join(thread);
	assert_int_equal(waiting.err, 0);
	assert_int_equal(device->inside, 0);
	assert_int_equal(device->released, 0); /* we refer to it */
	dismiss(&vcpu);
	gate_destroy(&gate);
}

static void test_drain_waits_for_a_suspended_access(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device =
		rig_device(rig, "io", 0x1000, suspend_at_gate);
	struct waiting waiting = { .rig = rig, .region = device->region };
	struct suspended suspended;
	struct gate gate;
	pthread_t thread;

	gate_init(&gate);
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	suspended_start(&suspended, rig, device, &gate, 0x1000);
	assert_int_equal(rig_remove(rig, device->region), 0);
	assert_int_equal(mpl_synchronize(rig->plane), 0); /* not for that */
	thread = rig_start(wait_for_it, &waiting);
	rig_linger();
	assert_int_equal(rig_get(&waiting.ended), 0);
	assert_int_equal(rig_get(&device->inside), 1);
	gate_open(&gate);
	rig_join(thread);
	assert_int_equal(waiting.err, 0);
	rig_join(suspended.thread);
	assert_int_equal(suspended.vcpu.err, 0);
	assert_int_equal(device->writes, 1);
	gate_destroy(&gate);
}

static void test_drain_refuses(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device(rig, "io", 0x1000, NULL);
	struct mpl_region *alias;
	struct mpl_reader *reader;

	assert_int_equal(mpl_region_drain(rig->root), -EBUSY);
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_int_equal(mpl_region_drain(device->region), -EBUSY);
	assert_int_equal(rig_enable(rig, device->region, false), 0);
	assert_int_equal(mpl_region_drain(device->region), -EBUSY);
	assert_int_equal(rig_remove(rig, device->region), 0);
	assert_int_equal(rig_enable(rig, device->region, true), 0);
	/* Shown by an alias only. */
	assert_int_equal(mpl_region_new_alias(rig->plane, "window",
					      device->region, 0, 0x1000,
					      &alias),
			 0);
	assert_int_equal(rig_add(rig, alias, 0x2000), 0);
	assert_int_equal(mpl_region_drain(device->region), -EBUSY);
	assert_int_equal(mpl_region_drain(alias), -EBUSY);
	assert_int_equal(rig_remove(rig, alias), 0);
	/* A reader of this thread would be waited for. */
	assert_int_equal(mpl_reader_register(rig->plane, &reader), 0);
	assert_int_equal(mpl_region_drain(device->region), 0);
	assert_int_equal(mpl_reader_online(reader), 0);
	assert_int_equal(mpl_region_drain(device->region), -EDEADLK);
	assert_int_equal(mpl_synchronize(rig->plane), -EDEADLK);
	assert_int_equal(mpl_reader_offline(reader), 0);
	assert_int_equal(mpl_region_drain(device->region), 0);
	assert_int_equal(mpl_synchronize(rig->plane), 0);
	assert_int_equal(mpl_reader_unregister(reader), 0);
	mpl_region_unref(alias);
}

/* For all readers that are online when it begins, and for those only. */
static void test_synchronize_waits(void **state)
{
	static const enum order ways[] = { BE_QUIESCENT, GO_OFFLINE };
	struct rig *rig = *state;
	struct vcpu vcpu, late, asleep;
	pthread_t thread;

	hire(&vcpu, rig, "vcpu");
	hire(&asleep, rig, "asleep"); /* stays offline */
	for (size_t i = 0; i < 2; i++) {
		struct waiting waiting = { .rig = rig };

		order(&vcpu, GO_ONLINE);
		thread = rig_start(wait_for_it, &waiting);
		rig_linger();
		assert_int_equal(rig_get(&waiting.ended), 0);
		hire(&late, rig, "late");
		order(&late, GO_ONLINE);
		order(&vcpu, ways[i]);
		rig_join(thread); /* although `late` is online */
		assert_int_equal(waiting.err, 0);
		dismiss(&late);
	}
	dismiss(&asleep);
	dismiss(&vcpu);
}

/* ---- back-pressure ---- */

static const uint64_t retired_max = 64 * MPL_KIB;

static struct rig *rig_with_little(const struct rig *like)
{
	const struct mpl_plane_config config = {
		.control_thread = like->threaded,
		.retired_max = retired_max,
		.verify = true,
	};

	return rig_new(&config);
}

/* Move it until that is refused; how often it went well. */
static int move_until_refused(struct rig *rig, struct mpl_region *region,
			      int *err)
{
	int moves;

	for (moves = 0; moves < 100000; moves++) {
		*err = rig_move(rig, region,
				0x100000 + 0x1000 * (uint64_t)(moves % 64));
		if (*err)
			break;
	}
	return moves;
}

static void take_err(void *arg, int err)
{
	*(int *)arg = err;
}

/* Everything that adds is refused, at once, and nothing more piles up. */
static void assert_under_pressure(struct rig *rig, struct rig_device *device)
{
	struct rig_device *more = rig_device(rig, "more", 0x1000, NULL);
	uint64_t before = rig_stats(rig).retired_bytes;
	struct mpl_address_space *as;
	struct mpl_txn *tx;
	int err = 1;

	assert_true(before > retired_max);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(rig_move(rig, device->region, 0), -EAGAIN);
		assert_int_equal(rig_add(rig, more->region, 0x5000), -EAGAIN);
	}
	tx = mpl_begin(rig->plane);
	mpl_region_add(tx, rig->root, 0x5000, more->region, 0);
	assert_int_equal(mpl_commit_async(tx, take_err, &err), 0);
	assert_int_equal(mpl_address_space_new(rig->plane, "more", more->region,
					       &as),
			 -EAGAIN);
	assert_int_equal(err, -EAGAIN); /* the queue is in order */
	assert_true(rig_stats(rig).retired_bytes == before);
}

static void test_back_pressure(void **state)
{
	enum { VICTIMS = 40 };
	struct rig *rig = rig_with_little(*state);
	struct rig_device *device = rig_device(rig, "io", 0x1000, NULL);
	struct rig_device *victims[VICTIMS];
	struct vcpu vcpu;
	uint64_t at_limit;
	int err, moves;

	for (int i = 0; i < VICTIMS; i++) {
		victims[i] = rig_device(rig, "victim", 0x1000, NULL);
		assert_int_equal(rig_add(rig, victims[i]->region,
					 0x1000000 + 0x1000 * (uint64_t)i),
				 0);
	}
	assert_int_equal(rig_add(rig, device->region, 0), 0);
	hire(&vcpu, rig, "stalled");
	order(&vcpu, GO_ONLINE);
	moves = move_until_refused(rig, device->region, &err);
	assert_int_equal(err, -EAGAIN);
	assert_true(moves > 4);
	at_limit = rig_stats(rig).retired_bytes;
	/* Over by what one commit retires, no more. */
	assert_true(at_limit < retired_max + retired_max / 4);
	assert_under_pressure(rig, device);
	/* What only removes is accepted, and is bounded by what there is. */
	for (int i = 0; i < VICTIMS; i++) {
		assert_int_equal(i % 2 ? rig_remove(rig, victims[i]->region) :
					 rig_enable(rig, victims[i]->region,
						    false),
				 0);
		assert_int_equal(rig_get(&victims[i]->released), 0);
	}
	assert_true(rig_stats(rig).retired_bytes > at_limit);
	/* It recovers with the reader. */
	order(&vcpu, BE_QUIESCENT);
	assert_int_equal(rig_move(rig, device->region, 0x2000), 0);
	assert_true(rig_stats(rig).retired_bytes < retired_max);
	assert_true(move_until_refused(rig, device->region, &err) > moves / 2);
	order(&vcpu, GO_OFFLINE);
	assert_int_equal(move_until_refused(rig, device->region, &err), 100000);
	dismiss(&vcpu);
	rig_free(rig);
}

/* Inside an access it is -EAGAIN as well, though the access itself is what
 * holds memory back: a wait for room would be for ever. */
struct mover {
	struct mpl_reader *reader;
	struct rig_device *other;
	int err, moves, removal;
};

static void move_much(struct rig_device *device, uint64_t offset,
		      uint64_t value)
{
	struct mover *mover = device->arg;

	(void)offset, (void)value;
	mover->moves = move_until_refused(device->rig, mover->other->region,
					  &mover->err);
	mover->removal = rig_remove(device->rig, device->region);
}

static void test_back_pressure_inside_an_access(void **state)
{
	struct rig *rig = rig_with_little(*state);
	struct rig_device *device = rig_device(rig, "io", 0x1000, move_much);
	struct mover mover = {
		.other = rig_device(rig, "other", 0x1000, NULL),
		.removal = 1,
	};

	device->arg = &mover;
	assert_int_equal(rig_add(rig, device->region, 0), 0);
	assert_int_equal(rig_add(rig, mover.other->region, 0x2000), 0);
	assert_int_equal(mpl_reader_register(rig->plane, &mover.reader), 0);
	assert_int_equal(mpl_reader_online(mover.reader), 0);
	assert_int_equal(rig_write(mover.reader, rig, 0, 1), MPL_OK);
	assert_int_equal(mover.err, -EAGAIN);
	assert_true(mover.moves > 4);
	assert_int_equal(mover.removal, 0);
	assert_int_equal(mpl_reader_quiescent(mover.reader), 0);
	assert_int_equal(rig_move(rig, mover.other->region, 0x2000), 0);
	assert_int_equal(mpl_reader_unregister(mover.reader), 0);
	rig_free(rig);
}

/* ---- stalls ---- */

static bool wait_for_log(struct rig *rig, const char *text, int count)
{
	for (int i = 0; i < 500; i++) {
		if (rig_logged(rig, text) >= count)
			return true;
		if (!rig->threaded)
			mpl_reclaim(rig->plane);
		rig_linger();
	}
	return false;
}

static void test_stall_is_named(void **state)
{
	const struct rig *like = *state;
	const struct mpl_plane_config config = {
		.control_thread = like->threaded,
		.stall_ms = 300,
	};
	struct rig *rig = rig_new(&config);
	struct rig_device *device = rig_device(rig, "io", 0x1000, NULL);
	struct vcpu good, bad;

	hire(&good, rig, "the good one");
	hire(&bad, rig, "the bad one");
	order(&good, GO_ONLINE);
	order(&bad, GO_ONLINE);
	assert_int_equal(rig_add(rig, device->region, 0), 0);
	order(&good, BE_QUIESCENT);
	assert_true(rig_stats(rig).retired_age_ns > 0);
	assert_int_equal(rig_stats(rig).stalls, 0);
	assert_string_equal(rig_stats(rig).stalled_reader, "");
	assert_true(wait_for_log(rig, "the bad one", 1));
	assert_true(rig_stats(rig).retired_age_ns >= 300000000);
	for (int i = 0; i < 6; i++) { /* once, though it goes on */
		mpl_reclaim(rig->plane);
		rig_linger();
	}
	assert_int_equal(rig_logged(rig, "the bad one"), 1);
	assert_int_equal(rig_logged(rig, "the good one"), 0);
	assert_int_equal(rig_stats(rig).stalls, 1);
	assert_string_equal(rig_stats(rig).stalled_reader, "the bad one");
	/* Another one, another time. */
	order(&bad, GO_OFFLINE);
	mpl_reclaim(rig->plane);
	assert_int_equal(rig_move(rig, device->region, 0x1000), 0);
	assert_true(wait_for_log(rig, "the good one", 1));
	assert_int_equal(rig_stats(rig).stalls, 2);
	assert_string_equal(rig_stats(rig).stalled_reader, "the good one");
	assert_true(rig_stats(rig).retired_bytes > 0);
	order(&good, GO_OFFLINE);
	mpl_reclaim(rig->plane);
	assert_true(rig_stats(rig).retired_bytes == 0);
	assert_true(rig_stats(rig).retired_age_ns == 0);
	dismiss(&good);
	dismiss(&bad);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_BOTH(test_release_after_the_last_access),
		RIG_BOTH(test_release_after_a_suspended_access),
		RIG_BOTH(test_drain_waits_for_an_access),
		RIG_BOTH(test_drain_waits_for_a_suspended_access),
		RIG_BOTH(test_drain_refuses),
		RIG_BOTH(test_synchronize_waits),
		RIG_BOTH(test_back_pressure),
		RIG_BOTH(test_back_pressure_inside_an_access),
		RIG_BOTH(test_stall_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
