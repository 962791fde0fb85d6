/* SPDX-License-Identifier: BSD-3-Clause */
/* Listeners that do at `take` and `put` what `prepare` showed them. */
#include "tests/support/topo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct taker {
	struct mpl_listener_ops ops;
	struct mpl_listener *listener;
	struct mpl_plane *plane;
	struct text log;
	const char *fails; /* the step that fails, as the log has it */
	const char *fails_too;
	uint64_t taken, put; /* generations */
};

static int step(struct taker *taker, const char *name)
{
	bool fails = (taker->fails && !strcmp(taker->fails, name)) ||
		     (taker->fails_too && !strcmp(taker->fails_too, name));

	text_add(&taker->log, "%s%s ", name, fails ? "!" : "");
	return fails ? -EIO : 0;
}

static int begin(void *opaque)
{
	return step(opaque, "begin");
}

static int see(void *arg, const struct mpl_flat_range *before,
	       const struct mpl_flat_range *after)
{
	const struct mpl_flat_range *range = before ? before : after;

	text_add(arg, "%c%llx ",
		 before && after ? '=' :
		 before          ? '-' :
				   '+',
		 (unsigned long long)range->start);
	return range->start == 0xf000 ? 42 : 0;
}

static int prepare(void *opaque, const struct mpl_listener_plan *plan)
{
	struct taker *taker = opaque;
	int err = step(taker, "prepare");

	if (!err && mpl_listener_plan_each(plan, see, &taker->log))
		text_add(&taker->log, "... ");
	return err;
}

static int take(void *opaque, bool undo)
{
	struct taker *taker = opaque;

	taker->taken = mpl_plane_generation(taker->plane);
	return step(taker, undo ? "untake" : "take");
}

static int put(void *opaque, bool undo)
{
	struct taker *taker = opaque;

	taker->put = mpl_plane_generation(taker->plane);
	return step(taker, undo ? "unput" : "put");
}

static int range_add(void *opaque, const struct mpl_flat_range *range)
{
	(void)range;
	return step(opaque, "add");
}

static int range_del(void *opaque, const struct mpl_flat_range *range)
{
	(void)range;
	return step(opaque, "del");
}

static int commit(void *opaque)
{
	return step(opaque, "commit");
}

static int abort_it(void *opaque)
{
	return step(opaque, "abort");
}

static int reset(void *opaque)
{
	return step(opaque, "reset");
}

#define assert_log(taker, expected)                                            \
	do {                                                                   \
		assert_string_equal(text_chars(&(taker)->log), expected);      \
		text_clear(&(taker)->log);                                     \
	} while (0)

static void listen(struct taker *taker, struct topo *t, int space)
{
	*taker = (struct taker){
		.plane = t->plane,
		.ops = { .name = "taker",
			 .begin = begin,
			 .prepare = prepare,
			 .range_del = range_del,
			 .range_add = range_add,
			 .take = take,
			 .put = put,
			 .commit = commit,
			 .abort = abort_it,
			 .reset = reset },
	};
	assert_int_equal(mpl_listener_register(t->space[space].as, &taker->ops,
					       taker, &taker->listener),
			 0);
}

static void order_around_publish(void **state)
{
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int a = topo_io(t, "a", 0x1000), b = topo_io(t, "b", 0x1000);
	int space = topo_space(t, root);
	struct taker taker;

	topo_begin(t);
	topo_add(t, root, 0, a, 0);
	topo_commit_ok(t);
	listen(&taker, t, space);
	assert_log(&taker, "begin prepare +0 take put add commit ");
	topo_begin(t);
	topo_remove(t, a);
	topo_add(t, root, 0xf000, b, 0);
	topo_commit_ok(t);
	assert_log(&taker, "begin prepare -0 +f000 ... del take put add "
			   "commit ");
	assert_true(taker.taken < taker.put);
	topo_begin(t);
	topo_coalescing_add(t, b, 0, 8);
	topo_commit_ok(t);
	assert_log(&taker, "begin prepare =f000 ... take put commit ");
	assert_int_equal(mpl_listener_unregister(taker.listener), 0);
	assert_log(&taker, "begin prepare -f000 ... del take put commit ");
	text_free(&taker.log);
}

static void each_step_is_taken_back(void **state)
{
	static const struct {
		const char *fails, *too, *log;
		bool degraded;
	} table[] = {
		{ "begin", NULL, "begin! ", false },
		{ "prepare", NULL, "begin prepare! abort ", false },
		{ "del", NULL, "begin prepare -0 +1000 del! abort ", false },
		{ "take", NULL, "begin prepare -0 +1000 del take! add abort ",
		  false },
		{ "put", NULL,
		  "begin prepare -0 +1000 del take put! untake add abort ",
		  false },
		{ "commit", NULL,
		  "begin prepare -0 +1000 del take put add commit! del unput "
		  "untake add abort ",
		  false },
		{ "commit", "unput",
		  "begin prepare -0 +1000 del take put add commit! del unput! "
		  "abort ",
		  true },
		{ "put", "untake",
		  "begin prepare -0 +1000 del take put! untake! abort ", true },
		{ "put", "abort",
		  "begin prepare -0 +1000 del take put! untake add abort! ",
		  true },
	};
	struct topo *t = *state;
	int root = topo_container(t, "root", 0x10000);
	int a = topo_io(t, "a", 0x800);
	int space = topo_space(t, root);
	struct taker taker;

	topo_begin(t);
	topo_add(t, root, 0, a, 0);
	topo_commit_ok(t);
	listen(&taker, t, space);
	text_clear(&taker.log);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		taker.fails = table[i].fails;
		taker.fails_too = table[i].too;
		topo_begin(t);
		topo_move(t, a, 0x1000);
		assert_int_equal(topo_commit_any(t), -EIO);
		assert_log(&taker, table[i].log);
		assert_int_equal(mpl_listener_error(taker.listener),
				 table[i].degraded ? -ENOTRECOVERABLE : 0);
		taker.fails = taker.fails_too = NULL;
		if (!table[i].degraded)
			continue;
		/* Nothing is told now, not even an abort. */
		topo_begin(t);
		topo_move(t, a, 0x2000);
		topo_move(t, a, 0);
		topo_commit_ok(t);
		assert_log(&taker, "");
		assert_int_equal(mpl_listener_resync(taker.listener), 0);
		assert_log(&taker,
			   "reset begin prepare +0 take put add commit ");
	}
	assert_int_equal(mpl_listener_unregister(taker.listener), 0);
	text_free(&taker.log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOPO_TEST(order_around_publish),
		TOPO_TEST(each_step_is_taken_back),
	};

	return topo_run(tests);
}
