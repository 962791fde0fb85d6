/* SPDX-License-Identifier: BSD-3-Clause */
/* The account of bounce buffers, and those who wait for room. */
#include "dispatch/bounce.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
	struct mpl_bounce *bounce = calloc(1, sizeof(*bounce));

	assert_non_null(bounce);
	mpl_bounce_init(bounce);
	assert_int_equal(bounce->limit, MPL_BOUNCE_DEFAULT);
	mpl_map_set_limit(&bounce->pub, 100);
	*state = bounce;
	return 0;
}

static int teardown(void **state)
{
	struct mpl_bounce *bounce = *state;

	assert_int_equal(mpl_map_bounced(&bounce->pub), 0);
	mpl_bounce_destroy(bounce);
	free(bounce);
	return 0;
}

static int take(struct mpl_bounce *bounce, uint64_t len, uint64_t expected,
		void **buffer)
{
	int err = mpl_bounce_take(bounce, &len, buffer);

	assert_int_equal(len, expected);
	return err;
}

static void test_limit(void **state)
{
	struct mpl_bounce *bounce = *state;
	const char zeros[100] = { 0 };
	void *a, *b, *c;

	assert_int_equal(take(bounce, 60, 60, &a), 0);
	assert_memory_equal(a, zeros, 60);
	memset(a, 1, 60);
	assert_int_equal(take(bounce, 41, 41, &b), -EAGAIN);
	assert_int_equal(take(bounce, 40, 40, &b), 0);
	assert_int_equal(mpl_map_bounced(&bounce->pub), 100);
	assert_int_equal(take(bounce, 1, 1, &c), -EAGAIN);
	mpl_bounce_give(bounce, a, 60);
	mpl_bounce_give(bounce, b, 40);
	/* One that is larger than the limit is cut, if it is alone. */
	assert_int_equal(take(bounce, 1000, 100, &a), 0);
	assert_memory_equal(a, zeros, 100);
	assert_int_equal(take(bounce, 1000, 100, &b), -EAGAIN);
	/* A limit that shrinks takes nothing away. */
	mpl_map_set_limit(&bounce->pub, 10);
	assert_int_equal(take(bounce, 1, 1, &b), -EAGAIN);
	mpl_bounce_give(bounce, a, 100);
	assert_int_equal(take(bounce, 1000, 10, &a), 0);
	mpl_bounce_give(bounce, a, 10);
	mpl_map_set_limit(&bounce->pub, 0);
	assert_int_equal(take(bounce, 1, 0, &a), -EAGAIN);
}

struct call {
	struct mpl_bounce *bounce;
	int count;
	uint64_t again; /* ask for a buffer and another call */
	void *buffer;
};

static void called(void *arg)
{
	struct call *call = arg;

	call->count++;
	if (!call->again)
		return;
	/* No lock is held. */
	assert_int_equal(mpl_bounce_take(call->bounce, &call->again,
					 &call->buffer), 0);
	assert_int_equal(mpl_map_notify(&call->bounce->pub, 100, called, call),
			 0);
}

static void test_notify(void **state)
{
	struct mpl_bounce *bounce = *state;
	struct call small = { bounce, 0, 0, NULL };
	struct call large = { bounce, 0, 0, NULL };
	void *a, *b;

	assert_int_equal(mpl_map_notify(&bounce->pub, 0, called, &small),
			 -EINVAL);
	assert_int_equal(mpl_map_notify(&bounce->pub, 1, NULL, &small),
			 -EINVAL);
	/* There is room: at once. */
	assert_int_equal(mpl_map_notify(&bounce->pub, 100, called, &small), 0);
	assert_int_equal(small.count, 1);
	assert_int_equal(take(bounce, 60, 60, &a), 0);
	assert_int_equal(take(bounce, 40, 40, &b), 0);
	assert_int_equal(mpl_map_notify(&bounce->pub, 10000, called, &large),
			 0);
	assert_int_equal(mpl_map_notify(&bounce->pub, 40, called, &small), 0);
	assert_int_equal(small.count, 1);
	mpl_bounce_give(bounce, b, 40);
	assert_int_equal(small.count, 2);
	assert_int_equal(large.count, 0);
	mpl_bounce_give(bounce, a, 60);
	assert_int_equal(large.count, 1);
	/* Each of them once. */
	assert_int_equal(take(bounce, 100, 100, &a), 0);
	mpl_bounce_give(bounce, a, 100);
	assert_int_equal(small.count, 2);
	assert_int_equal(large.count, 1);
}

/* A limit that grows makes room as well. */
static void test_limit_grows(void **state)
{
	struct mpl_bounce *bounce = *state;
	struct call call = { bounce, 0, 0, NULL };
	void *a;

	assert_int_equal(take(bounce, 100, 100, &a), 0);
	assert_int_equal(mpl_map_notify(&bounce->pub, 10, called, &call), 0);
	mpl_map_set_limit(&bounce->pub, 105);
	assert_int_equal(call.count, 0);
	mpl_map_set_limit(&bounce->pub, 110);
	assert_int_equal(call.count, 1);
	mpl_bounce_give(bounce, a, 100);
}

static void test_cancel(void **state)
{
	struct mpl_bounce *bounce = *state;
	struct call call = { bounce, 0, 0, NULL }, other = call;
	void *a;

	assert_int_equal(take(bounce, 100, 100, &a), 0);
	assert_int_equal(mpl_map_notify(&bounce->pub, 10, called, &call), 0);
	assert_int_equal(mpl_map_notify(&bounce->pub, 10, called, &other), 0);
	assert_int_equal(mpl_map_notify_cancel(&bounce->pub, called, &call),
			 0);
	assert_int_equal(mpl_map_notify_cancel(&bounce->pub, called, &call),
			 -ENOENT);
	mpl_bounce_give(bounce, a, 100);
	assert_int_equal(call.count, 0);
	assert_int_equal(other.count, 1);
	/* One that is left when the space goes is forgotten. */
	assert_int_equal(take(bounce, 100, 100, &a), 0);
	assert_int_equal(mpl_map_notify(&bounce->pub, 10, called, &call), 0);
	bounce->used = 0;
	free(a);
}

/* From inside: take what has become free, and wait again. */
static void test_from_inside(void **state)
{
	struct mpl_bounce *bounce = *state;
	struct call call = { bounce, 0, 30, NULL };
	void *a;

	assert_int_equal(take(bounce, 100, 100, &a), 0);
	assert_int_equal(mpl_map_notify(&bounce->pub, 30, called, &call), 0);
	mpl_bounce_give(bounce, a, 100);
	assert_int_equal(call.count, 1);
	assert_non_null(call.buffer);
	call.again = 0;
	mpl_bounce_give(bounce, call.buffer, 30);
	assert_int_equal(call.count, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_limit),
		TEST(test_notify),
		TEST(test_limit_grows),
		TEST(test_cancel),
		TEST(test_from_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
