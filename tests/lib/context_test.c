/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls from the control side: a listener, a `release` or a `done` callback.
 * What waits for the control side is -EDEADLK there, an asynchronous commit is
 * fine; what only looks does not hang.
 */
#include "tests/support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum call {
	COMMIT,
	ASYNC,
	SPACE_NEW,
	SPACE_FREE,
	SPACE_WALK,
	EVENT_WALK,
	REGISTER,
	UNREGISTER,
	RESYNC,
	SYNCHRONIZE,
	DRAIN,
	CALLS,
};

/* What every call from one place returned, and what was left behind. */
struct context {
	struct rig *rig;
	struct mpl_region *region; /* detached, drained */
	struct mpl_address_space *as;
	struct mpl_listener *listener;
	int errs[CALLS];
	int calls;
	int async_calls;
	int async_err;
	uint64_t commits;
	bool armed;
};

static void async_done(void *arg, int err)
{
	struct context *context = arg;

	context->async_err = err;
	rig_count(&context->async_calls);
}

static int no_range(void *arg, const struct mpl_flat_range *range)
{
	(void)arg, (void)range;
	return 0;
}

static int no_event(void *arg, const struct mpl_flat_ioeventfd *ev)
{
	(void)arg, (void)ev;
	return 0;
}

static const struct mpl_listener_ops quiet_ops = { .name = "quiet" };

/* Everything that would wait for itself, and everything that must not. */
static void try_all(struct context *context)
{
	struct mpl_plane *plane = context->rig->plane;
	struct mpl_address_space *space;
	struct mpl_listener *listener;
	struct mpl_plane_stats stats;
	struct mpl_region *alias;
	int *errs = context->errs;

	errs[COMMIT] = mpl_commit(mpl_begin(plane));
	errs[ASYNC] = mpl_commit_async(mpl_begin(plane), async_done, context);
	errs[SPACE_NEW] = mpl_address_space_new(plane, "new",
						context->rig->root, &space);
	errs[SPACE_FREE] = mpl_address_space_free(context->as);
	errs[SPACE_WALK] = mpl_address_space_walk(context->as, no_range, NULL);
	errs[EVENT_WALK] = mpl_address_space_walk_ioeventfds(context->as,
							     no_event, NULL);
	errs[REGISTER] = mpl_listener_register(context->as, &quiet_ops, NULL,
					       &listener);
	errs[UNREGISTER] = mpl_listener_unregister(context->listener);
	errs[RESYNC] = mpl_listener_resync(context->listener);
	errs[SYNCHRONIZE] = mpl_synchronize(plane);
	errs[DRAIN] = mpl_region_drain(context->region);
	/* These take the control lock, or none: they must not hang. */
	mpl_reclaim(plane);
	mpl_plane_stats(plane, &stats);
	context->commits = stats.commits;
	(void)mpl_plane_generation(plane);
	(void)mpl_region_size(context->region);
	(void)mpl_listener_error(context->listener);
	(void)mpl_address_space_shares(context->as, context->rig->as);
	mpl_region_ref(context->region);
	mpl_region_unref(context->region);
	if (!mpl_region_new_alias(plane, NULL, context->region, 0, 1, &alias))
		mpl_region_unref(alias);
	mpl_abort(mpl_begin(plane));
	rig_count(&context->calls);
}

static void context_init(struct context *context, struct rig *rig)
{
	*context = (struct context){ .rig = rig };
	assert_int_equal(mpl_region_new_container(rig->plane, "lone", 0x1000,
						  &context->region),
			 0);
	assert_int_equal(mpl_address_space_new(rig->plane, "second", rig->root,
					       &context->as),
			 0);
	assert_int_equal(mpl_listener_register(context->as, &quiet_ops, NULL,
					       &context->listener),
			 0);
}

static void check_context(struct context *context)
{
	for (int i = 0; i < CALLS; i++)
		assert_int_equal(context->errs[i], i == ASYNC ? 0 : -EDEADLK);
	/* The asynchronous one is carried out without any more calls. */
	assert_true(rig_wait(&context->async_calls, context->calls));
	assert_int_equal(context->async_err, 0);
	/* The plane is as good as before. */
	assert_int_equal(mpl_commit(mpl_begin(context->rig->plane)), 0);
	assert_int_equal(mpl_listener_unregister(context->listener), 0);
	assert_int_equal(mpl_address_space_free(context->as), 0);
}

static int on_add(void *opaque, const struct mpl_flat_range *range)
{
	struct context *context = opaque;

	(void)range;
	if (context->armed)
		try_all(context);
	return 0;
}

static int on_call(void *opaque)
{
	struct context *context = opaque;

	if (context->armed)
		try_all(context);
	return 0;
}

static const struct mpl_listener_ops nosy_ops = {
	.name = "nosy",
	.begin = on_call,
	.range_add = on_add,
	.range_del = on_add,
	.commit = on_call,
};

static void test_in_a_listener(void **state)
{
	struct rig *rig = *state;
	struct rig_device *device = rig_device(rig, "io", 0x1000, NULL);
	struct mpl_listener *listener;
	struct context context;

	context_init(&context, rig);
	assert_int_equal(mpl_listener_register(rig->as, &nosy_ops, &context,
					       &listener),
			 0);
	context.armed = true;
	assert_int_equal(rig_add(rig, device->region, 0x1000), 0);
	assert_int_equal(rig_move(rig, device->region, 0x8000), 0);
	context.armed = false;
	assert_int_equal(context.calls, 7);
	check_context(&context);
	assert_int_equal(mpl_listener_unregister(listener), 0);
}

/* At registration, too: it is the control side that tells what is there. */
static void test_in_registration(void **state)
{
	struct rig *rig = *state;
	struct mpl_listener *listener;
	struct context context;

	context_init(&context, rig);
	context.armed = true;
	assert_int_equal(mpl_listener_register(rig->as, &nosy_ops, &context,
					       &listener),
			 0);
	context.armed = false;
	assert_true(context.calls > 0);
	check_context(&context);
	assert_int_equal(mpl_listener_unregister(listener), 0);
}

static void release_all(void *opaque)
{
	try_all(opaque);
}

static void test_in_release(void **state)
{
	struct rig *rig = *state;
	struct mpl_region *region;
	struct context context;

	context_init(&context, rig);
	assert_int_equal(mpl_region_new_container(rig->plane, "c", 0x1000,
						  &region),
			 0);
	mpl_region_on_release(region, release_all, &context);
	mpl_region_unref(region);
	assert_true(rig_wait_reclaiming(rig, &context.calls, 1));
	check_context(&context);
}

/* The same at the end of a commit, which is where most are released. */
static void test_in_release_after_commit(void **state)
{
	struct rig *rig = *state;
	struct mpl_region *region;
	struct context context;

	context_init(&context, rig);
	assert_int_equal(mpl_region_new_container(rig->plane, "c", 0x1000,
						  &region),
			 0);
	mpl_region_on_release(region, release_all, &context);
	assert_int_equal(rig_add(rig, region, 0), 0);
	mpl_region_unref(region);
	assert_int_equal(rig_remove(rig, region), 0);
	assert_true(rig_wait(&context.calls, 1));
	check_context(&context);
}

static void done_all(void *arg, int err)
{
	(void)err;
	try_all(arg);
}

static void test_in_done(void **state)
{
	struct rig *rig = *state;
	struct context context;

	context_init(&context, rig);
	assert_int_equal(mpl_commit_async(mpl_begin(rig->plane), done_all,
					  &context),
			 0);
	assert_true(rig_wait(&context.calls, 1));
	check_context(&context);
}

/* A `release` that runs while the plane ends: refused, or carried out. */
struct late {
	struct mpl_plane *plane;
	int commit;
	int async;
	int done;
};

static void late_done(void *arg, int err)
{
	(void)err;
	rig_count(&((struct late *)arg)->done);
}

static void late_release(void *opaque)
{
	struct late *late = opaque;

	late->commit = mpl_commit(mpl_begin(late->plane));
	late->async = mpl_commit_async(mpl_begin(late->plane), late_done,
				       late);
}

static void release_at_the_end(const struct mpl_plane_config *config,
			       bool before)
{
	struct rig *rig = rig_new(config);
	struct late late = { .plane = rig->plane, .commit = 1, .async = 1 };
	struct mpl_region *region;

	assert_int_equal(mpl_region_new_container(rig->plane, "c", 0x1000,
						  &region),
			 0);
	mpl_region_on_release(region, late_release, &late);
	if (before) {
		/* Queued by the very last call before the end. */
		mpl_region_unref(region);
		mpl_reclaim(rig->plane);
	}
	rig_free(rig);
	assert_true(late.commit == -EDEADLK || late.commit == -ESHUTDOWN);
	if (late.async)
		assert_int_equal(late.async, -ESHUTDOWN);
	assert_int_equal(late.done, late.async ? 0 : 1);
}

static void test_release_at_the_end(void **state)
{
	(void)state;
	release_at_the_end(&rig_inline, false);
	release_at_the_end(&rig_threaded, false);
	release_at_the_end(&rig_inline, true);
	release_at_the_end(&rig_threaded, true);
}

/*
 * A listener with a thread of its own: what that thread commits is ordinary,
 * also while the listener is in the middle of another commit.
 */
struct mirror {
	struct rig *rig;
	struct rig_device *second;
	sem_t told;
	int err;
	int adds;
	int ended;
};

static int mirror_add(void *opaque, const struct mpl_flat_range *range)
{
	struct mirror *mirror = opaque;

	(void)range;
	if (mirror->adds++ == 0) {
		sem_post(&mirror->told);
		rig_linger(); /* the thread runs into this commit */
	}
	return 0;
}

static void *mirror_thread(void *arg)
{
	struct mirror *mirror = arg;

	while (sem_wait(&mirror->told))
		;
	mirror->err = rig_add(mirror->rig, mirror->second->region, 0x2000);
	rig_count(&mirror->ended);
	return NULL;
}

static void test_from_a_listeners_thread(void **state)
{
	static const struct mpl_listener_ops ops = {
		.name = "mirror",
		.range_add = mirror_add,
	};
	struct rig *rig = *state;
	struct mirror mirror = {
		.rig = rig,
		.second = rig_device(rig, "second", 0x1000, NULL),
		.err = 1,
	};
	struct rig_device *first = rig_device(rig, "first", 0x1000, NULL);
	struct mpl_listener *listener;
	pthread_t thread;

	assert_int_equal(sem_init(&mirror.told, 0, 0), 0);
	assert_int_equal(mpl_listener_register(rig->as, &ops, &mirror,
					       &listener),
			 0);
	thread = rig_start(mirror_thread, &mirror);
	assert_int_equal(rig_add(rig, first->region, 0x1000), 0);
	rig_join(thread);
	assert_int_equal(mirror.err, 0);
	assert_int_equal(mirror.adds, 2);
	assert_int_equal(mpl_listener_unregister(listener), 0);
	sem_destroy(&mirror.told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_BOTH(test_in_a_listener),
		RIG_BOTH(test_in_registration),
		RIG_BOTH(test_in_release),
		RIG_BOTH(test_in_release_after_commit),
		RIG_BOTH(test_in_done),
		cmocka_unit_test(test_release_at_the_end),
		RIG_BOTH(test_from_a_listeners_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
