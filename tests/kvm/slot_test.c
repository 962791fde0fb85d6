/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that fail: in each scene every one in turn, and every pair of a failure
 * and one of the calls that come after it, that is of its unwinding.  Then the
 * kernel's slots, the map, the degraded mark and the error agree:
 *
 *   the error   the map is the old one if there was one, else the new one
 *   the mark    is set only if two calls failed
 *   the slots   are the map's memory, unless the mark is set
 */
#include "tests/support/huge.h"
#include "tests/support/kvm_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kvm/kvm.h"

#define K(n) ((uint64_t)(n) << 10)
#define M(n) ((uint64_t)(n) << 20)

/* A listener that comes after KVM's and refuses what it is told to. */
struct bomb {
	struct mpl_listener *listener;
	bool armed;
	int bangs;
};

static int explode(void *opaque)
{
	struct bomb *bomb = opaque;

	bomb->bangs += bomb->armed;
	return bomb->armed ? -EPERM : 0;
}

static const struct mpl_listener_ops bomb_ops = {
	.name = "bomb",
	.priority = 100,
	.commit = explode,
};

struct stage {
	struct kvm_world *w;
	int ram, rom, io, flash, shadow;
	struct bomb bomb;
};

/* What stands before the commit, and the commit's mutations. */
struct scene {
	const char *name;
	void (*how)(struct kvm_world *w);
	void (*before)(struct stage *stage);
	void (*act)(struct stage *stage);
};

static void ram_stands(struct stage *stage)
{
	topo_add(stage->w->t, stage->w->root, 0, stage->ram, 0);
}

static void nothing_stands(struct stage *stage)
{
	(void)stage;
}

static void hole_stands(struct stage *stage)
{
	ram_stands(stage);
	topo_add(stage->w->t, stage->w->root, K(64), stage->io, 1);
}

static void rom_stands(struct stage *stage)
{
	ram_stands(stage);
	topo_add(stage->w->t, stage->w->root, K(128), stage->rom, 1);
	topo_add(stage->w->t, stage->w->root, M(2), stage->flash, 1);
}

static void log_stands(struct stage *stage)
{
	hole_stands(stage);
	topo_log_start(stage->w->t, stage->ram, MPL_LOG_MIGRATION);
}

static void shadow_stands(struct stage *stage)
{
	ram_stands(stage);
	topo_add(stage->w->t, stage->w->root, K(256), stage->shadow, 1);
}

static void add_memory(struct stage *stage)
{
	rom_stands(stage);
}

static void open_hole(struct stage *stage)
{
	topo_add(stage->w->t, stage->w->root, K(64), stage->io, 1);
}

static void move_hole(struct stage *stage)
{
	topo_move(stage->w->t, stage->io, K(72));
}

static void close_hole(struct stage *stage)
{
	topo_remove(stage->w->t, stage->io);
}

static void uncover(struct stage *stage)
{
	topo_remove(stage->w->t, stage->rom);
	topo_set_rom_mode(stage->w->t, stage->flash, false);
}

static void protect(struct stage *stage)
{
	topo_set_readonly(stage->w->t, stage->shadow, true);
}

static void start_log(struct stage *stage)
{
	topo_log_global(stage->w->t, MPL_LOG_MIGRATION, true);
}

static void stop_log(struct stage *stage)
{
	topo_log_stop(stage->w->t, stage->ram, MPL_LOG_MIGRATION);
}

static void all_at_once(struct stage *stage)
{
	struct topo *t = stage->w->t;

	topo_move(t, stage->io, K(300));
	topo_add(t, stage->w->root, K(512), stage->rom, 2);
	topo_add(t, stage->w->root, M(3), stage->flash, 0);
	topo_log_global(t, MPL_LOG_DISPLAY, true);
	topo_log_stop(t, stage->ram, MPL_LOG_MIGRATION);
	topo_ioeventfd_add(
		t, stage->io,
		&(struct mpl_ioeventfd){ .offset = 4, .size = 4, .fd = 2 });
	topo_coalescing_add(t, stage->io, 8, 8);
}

static void all_goes(struct stage *stage)
{
	topo_set_enabled(stage->w->t, stage->w->root, false);
}

/* System memory as SMM sees it: something else at 640 KiB. */
static void with_smm(struct kvm_world *w)
{
	(void)w;
}

static void three_slots(struct kvm_world *w)
{
	w->config.slots_max = 3;
}

static void rings(struct kvm_world *w)
{
	w->config.dirty_mode = MPL_KVM_DIRTY_RING;
}

static void all_set(struct kvm_world *w)
{
	w->config.dirty_mode = MPL_KVM_DIRTY_ALL_SET;
}

static const struct scene scenes[] = {
	{ "add", NULL, nothing_stands, add_memory },
	{ "split", NULL, ram_stands, open_hole },
	{ "split again", NULL, hole_stands, move_hole },
	{ "close", NULL, hole_stands, close_hole },
	{ "replace", NULL, rom_stands, uncover },
	{ "protect", NULL, shadow_stands, protect },
	{ "start to log", NULL, rom_stands, start_log },
	{ "stop to log", NULL, log_stands, stop_log },
	{ "split what logs", NULL, log_stands, move_hole },
	{ "all at once", NULL, log_stands, all_at_once },
	{ "all at once, all set", all_set, log_stands, all_at_once },
	{ "all at once, rings", rings, log_stands, all_at_once },
	{ "all at once, two spaces", with_smm, log_stands, all_at_once },
	{ "short of slots", three_slots, hole_stands, move_hole },
	{ "all goes", NULL, log_stands, all_goes },
	{ "all goes, two spaces", with_smm, rom_stands, all_goes },
};

static void build(struct stage *stage, const struct scene *scene)
{
	struct kvm_world *w = world_new(scene->how);
	struct topo *t = w->t;

	*stage = (struct stage){
		.w = w,
		.ram = topo_ram(t, "ram", M(1)),
		.rom = topo_rom(t, "rom", K(64)),
		.io = topo_io(t, "io", K(16)),
		.flash = topo_rom_device(t, "flash", K(64)),
	};
	stage->shadow = topo_alias(t, "shadow", stage->ram, K(256), K(64));
	if (scene->how == with_smm) {
		int smm = topo_container(t, "smm", UINT64_MAX);
		int all = topo_alias(t, "all", w->root, 0, UINT64_MAX);
		int own = topo_ram(t, "smram", K(64));

		topo_begin(t);
		topo_add(t, smm, 0, all, 0);
		topo_add(t, smm, K(640), own, 1);
		topo_commit_ok(t);
		world_attach_smm(w, smm);
	}
	topo_begin(t);
	scene->before(stage);
	topo_commit_ok(t);
	if (scene->how == three_slots) {
		topo_begin(t);
		topo_remove(t, stage->io);
		topo_commit_ok(t);
		topo_begin(t);
		topo_add(t, w->root, K(64), stage->io, 1);
		topo_commit_ok(t);
	}
	assert_int_equal(mpl_listener_register(t->space[w->space[0]].as,
					       &bomb_ops, &stage->bomb,
					       &stage->bomb.listener),
			 0);
}

/* Everything works again. */
static void recover(struct stage *stage, bool degraded)
{
	struct kvm_world *w = stage->w;

	fake_arm(w->fake, 0, 0);
	stage->bomb.armed = false;
	world_note(w);
	w->fake->watch = NULL; /* it has seen enough */
	if (degraded) {
		assert_int_equal(mpl_kvm_resync(w->kvm), 0);
		assert_int_equal(mpl_kvm_error(w->kvm), 0);
	}
	world_check(w);
}

/* What a scene's commit leads to if nothing fails. */
static struct memories target[FAKE_SPACES];

static void find_target(const struct scene *scene)
{
	struct stage stage;
	struct kvm_world *w;

	build(&stage, scene);
	w = stage.w;
	topo_begin(w->t);
	scene->act(&stage);
	topo_commit_ok(w->t);
	world_note(w);
	for (int i = 0; i < FAKE_SPACES; i++)
		memories_copy(&w->view[i], &target[i]);
	assert_int_equal(mpl_listener_unregister(stage.bomb.listener), 0);
	world_free(w);
}

/* Returns how many calls there were. */
static unsigned int run(const struct scene *scene, unsigned int first,
			unsigned int second, bool bomb)
{
	struct stage stage;
	struct kvm_world *w;
	unsigned int calls, failed;
	char why[160] = "";
	int err, error;
	bool agrees;

	build(&stage, scene);
	w = stage.w;
	world_note(w);
	stage.bomb.armed = bomb;
	topo_begin(w->t);
	scene->act(&stage);
	fake_arm(w->fake, first, second);
	err = topo_commit_any(w->t);
	calls = w->fake->changes;
	failed = w->fake->failed;
	error = mpl_kvm_error(w->kvm);
	w->target = target;
	agrees = world_agrees(w, why);
	if (failed || bomb)
		assert_true(err == -EIO || (bomb && err == -EPERM));
	else
		assert_int_equal(err, 0);
	/* The one that was refused is no failure to take back. */
	if (failed < 2 && !(bomb && stage.bomb.bangs))
		assert_int_equal(error, 0);
	else
		assert_true(!error || error == -ENOTRECOVERABLE);
	if (!failed)
		assert_int_equal(error, 0);
	if (!error && !agrees)
		fail_msg("%s, %u and %u fail: %s", scene->name, first, second,
			 why);
	if (w->fake->parked)
		fail_msg("%s, %u and %u fail: still parked", scene->name, first,
			 second);
	topo_check_views(w->t);
	recover(&stage, error != 0);
	if (err) {
		/* One more failure is one that can be taken back. */
		topo_begin(w->t);
		scene->act(&stage);
		fake_arm(w->fake, 1, 0);
		assert_int_equal(topo_commit_any(w->t), -EIO);
		assert_int_equal(mpl_kvm_error(w->kvm), 0);
		fake_arm(w->fake, 0, 0);
		topo_begin(w->t);
		scene->act(&stage);
		topo_commit_ok(w->t);
	}
	world_check(w);
	assert_int_equal(mpl_listener_unregister(stage.bomb.listener), 0);
	world_free(w);
	return calls;
}

static void each_call_and_each_pair(bool bomb)
{
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		unsigned int total, runs = 1;

		find_target(&scenes[i]);
		total = run(&scenes[i], 0, 0, bomb);
		/* A bomb unwinds: there are calls without a fault, too. */
		for (unsigned int n = 1; n <= total; n++, runs++) {
			unsigned int with = run(&scenes[i], n, 0, bomb);

			assert_true(with >= n);
			for (unsigned int m = n + 1; m <= with; m++, runs++)
				(void)run(&scenes[i], n, m, bomb);
		}
		print_message("%s%s: %u calls, %u runs\n", scenes[i].name,
			      bomb ? " (refused later)" : "", total, runs);
		assert_true(total > 0);
	}
	for (int i = 0; i < FAKE_SPACES; i++)
		memories_free(&target[i]);
}

static void what_fails_is_unwound(void **state)
{
	(void)state;
	each_call_and_each_pair(false);
}

static void what_others_refuse_is_unwound(void **state)
{
	(void)state;
	each_call_and_each_pair(true);
}

/* What the kernel may still show guests is not freed. */
static void a_degraded_mirror_holds_its_memory(void **state)
{
	struct stage stage;
	struct topo *t;
	struct kvm_world *w;

	(void)state;
	build(&stage, &scenes[1]);
	w = stage.w;
	t = w->t;
	stage.bomb.armed = true;
	topo_begin(t);
	open_hole(&stage);
	/* Park, -, +, +; park, and then the first deletion. */
	fake_arm(w->fake, 6, 0);
	assert_int_equal(topo_commit_any(t), -EPERM);
	assert_int_equal(mpl_kvm_error(w->kvm), -ENOTRECOVERABLE);
	stage.bomb.armed = false;
	fake_arm(w->fake, 0, 0);
	w->fake->watch = NULL;
	topo_begin(t);
	topo_remove(t, stage.ram);
	topo_set_alias_offset(t, stage.shadow, 0);
	assert_int_equal(topo_commit_any(t), 0);
	topo_drop(t, stage.shadow);
	topo_drop(t, stage.ram);
	assert_true(w->fake->count[0] > 0);
	assert_false(topo_settles(t, stage.ram));
	assert_int_equal(mpl_kvm_resync(w->kvm), 0);
	assert_int_equal(w->fake->count[0], 0);
	/* The slot itself is freed when the next commit begins. */
	topo_begin(t);
	topo_add(t, w->root, 0, stage.io, 0);
	assert_int_equal(topo_commit_any(t), 0);
	assert_true(topo_settles(t, stage.ram));
	assert_int_equal(mpl_listener_unregister(stage.bomb.listener), 0);
	world_free(w);
}

/* The same if it is a resynchronisation that fails. */
static void a_failed_resync_holds_its_memory(void **state)
{
	struct stage stage;
	struct topo *t;
	struct kvm_world *w;

	(void)state;
	build(&stage, &scenes[1]);
	w = stage.w;
	t = w->t;
	w->fake->watch = NULL;
	fake_arm(w->fake, 1, 0);
	assert_int_equal(mpl_kvm_resync(w->kvm), -EIO);
	assert_int_equal(mpl_kvm_error(w->kvm), -ENOTRECOVERABLE);
	fake_arm(w->fake, 0, 0);
	topo_begin(t);
	topo_remove(t, stage.ram);
	topo_set_alias_offset(t, stage.shadow, 0);
	assert_int_equal(topo_commit_any(t), 0);
	topo_drop(t, stage.shadow);
	topo_drop(t, stage.ram);
	assert_true(w->fake->count[0] > 0);
	assert_false(topo_settles(t, stage.ram));
	assert_int_equal(mpl_kvm_resync(w->kvm), 0);
	assert_int_equal(w->fake->count[0], 0);
	topo_begin(t);
	topo_add(t, w->root, 0, stage.io, 0);
	assert_int_equal(topo_commit_any(t), 0);
	assert_true(topo_settles(t, stage.ram));
	assert_int_equal(mpl_listener_unregister(stage.bomb.listener), 0);
	world_free(w);
}

/* What a degraded mirror held goes when it does, not some time later. */
static void detaching_lets_go(void **state)
{
	struct stage stage;
	struct topo *t;
	struct kvm_world *w;

	(void)state;
	build(&stage, &scenes[1]);
	w = stage.w;
	t = w->t;
	w->fake->watch = NULL;
	fake_arm(w->fake, 1, 0);
	assert_int_equal(mpl_kvm_resync(w->kvm), -EIO);
	fake_arm(w->fake, 0, 0);
	topo_begin(t);
	topo_remove(t, stage.ram);
	topo_set_alias_offset(t, stage.shadow, 0);
	assert_int_equal(topo_commit_any(t), 0);
	topo_drop(t, stage.shadow);
	topo_drop(t, stage.ram);
	assert_false(topo_settles(t, stage.ram));
	assert_int_equal(mpl_kvm_detach(w->kvm), 0);
	w->kvm = NULL;
	assert_int_equal(topo_released(t, stage.ram), 1);
	assert_int_equal(mpl_listener_unregister(stage.bomb.listener), 0);
	world_free(w);
}

/* A mirror that cannot be attached, or taken away, leaves nothing behind. */
static void attaching_fails_at_each_call(void **state)
{
	struct kvm_world *w = world_new(NULL);
	int ram = topo_ram(w->t, "ram", M(1)),
	    rom = topo_rom(w->t, "rom", K(4));
	struct fake_kvm *fake = fake_new();
	struct mpl_kvm_config config = fake_config(fake);
	struct mpl_kvm *kvm;
	unsigned int calls;

	(void)state;
	topo_begin(w->t);
	topo_add(w->t, w->root, 0, ram, 0);
	topo_add(w->t, w->root, K(16), rom, 1);
	topo_log_start(w->t, ram, MPL_LOG_DISPLAY);
	topo_commit_ok(w->t);
	for (unsigned int n = 1;; n++) {
		int err;

		fake_arm(fake, n, 0);
		err = mpl_kvm_attach(w->t->space[w->space[0]].as, FAKE_VM_FD,
				     &config, &kvm);
		if (!err)
			break;
		assert_int_equal(err, -EIO);
		assert_int_equal(fake->count[0], 0);
	}
	assert_int_equal(fake->count[0], 3);
	calls = fake->changes;
	assert_int_equal(calls, 4); /* one to set the log's mode up */
	fake_arm(fake, 0, 0);
	assert_int_equal(mpl_kvm_detach(kvm), 0);
	fake_free(fake);
	world_free(w);
}

/* The map decides where; the statistics tell. */
static void huge_pages_need_congruence(void **state)
{
	const struct mpl_ram_config huge = { .page_sizes = { M(2) } };
	struct fake_kvm *fake = fake_new();
	struct mpl_kvm_config config = fake_config(fake);
	struct mpl_region *root, *ram;
	struct mpl_address_space *as;
	struct mpl_plane *plane;
	struct mpl_txn *tx;
	struct mpl_kvm *kvm;

	(void)state;
	if (!huge_take(M(2), 1)) {
		fake_free(fake);
		skip();
	}
	assert_int_equal(mpl_plane_new(&plane, NULL), 0);
	assert_int_equal(mpl_region_new_container(plane, "root", M(64), &root),
			 0);
	assert_int_equal(mpl_region_new_ram(plane, "ram", M(2), &huge, &ram),
			 0);
	assert_int_equal(mpl_region_page_size(ram), M(2));
	assert_int_equal(mpl_address_space_new(plane, "memory", root, &as), 0);
	tx = mpl_begin(plane);
	mpl_region_add(tx, root, M(4), ram, 0);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(mpl_kvm_attach(as, FAKE_VM_FD, &config, &kvm), 0);
	for (int i = 0; i < 4; i++) {
		struct mpl_kvm_stats stats;

		mpl_kvm_stats(kvm, &stats);
		assert_int_equal(stats.incongruent, i & 1);
		assert_int_equal(stats.slots, 1);
		tx = mpl_begin(plane);
		mpl_region_move(tx, ram, i & 1 ? M(6) : M(6) + K(4));
		assert_int_equal(mpl_commit(tx), 0);
	}
	assert_int_equal(mpl_kvm_detach(kvm), 0);
	mpl_region_unref(ram);
	mpl_region_unref(root);
	assert_int_equal(mpl_plane_free(plane), 0);
	huge_give();
	fake_free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_fails_is_unwound),
		cmocka_unit_test(what_others_refuse_is_unwound),
		cmocka_unit_test(a_degraded_mirror_holds_its_memory),
		cmocka_unit_test(a_failed_resync_holds_its_memory),
		cmocka_unit_test(detaching_lets_go),
		cmocka_unit_test(huge_pages_need_congruence),
		cmocka_unit_test(attaching_fails_at_each_call),
	};

	return cmocka_run_group_tests_name("kvm slots", tests, NULL, NULL);
}
