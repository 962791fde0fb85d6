/* SPDX-License-Identifier: BSD-3-Clause */
/* Which calls a commit makes, by examples; and random machines. */
#include "tests/support/kvm_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define K(n) ((uint64_t)(n) << 10)
#define M(n) ((uint64_t)(n) << 20)

/* A window into the middle of RAM: split once, then one call a toggle. */
static void a_hole_is_a_boundary_from_then_on(void **state)
{
	struct kvm_world *w = *state;
	struct topo *t = w->t;
	int ram = topo_ram(t, "ram", M(4)), io = topo_io(t, "io", K(16));

	topo_begin(t);
	topo_add(t, w->root, 0, ram, 0);
	world_commit(w, 1, 0);
	topo_begin(t);
	topo_add(t, w->root, K(768), io, 1);
	world_commit(w, 3, 1);
	for (int i = 0; i < 3; i++) {
		topo_begin(t);
		topo_set_enabled(t, io, false);
		world_commit(w, 1, 0);
		assert_int_equal(w->fake->count[0], 3);
		topo_begin(t);
		topo_set_enabled(t, io, true);
		world_commit(w, 1, 0);
	}
	assert_int_equal(w->fake->used_region2, w->fake->region2);
	topo_begin(t); /* another hole, across the boundary */
	topo_move(t, io, K(776));
	world_commit(w, 3, 1);
}

/* As a PC's chipset does: RAM or ROM behind each 16 KiB below 1 MiB. */
static void memory_behind_memory_is_replaced_by_small_slots(void **state)
{
	struct kvm_world *w = *state;
	struct topo *t = w->t;
	int ram = topo_ram(t, "ram", M(4)), rom = topo_rom(t, "rom", K(64));

	topo_begin(t);
	topo_add(t, w->root, 0, ram, 0);
	topo_add(t, w->root, K(896), rom, 1);
	world_commit(w, 3, 0);
	topo_begin(t);
	topo_set_enabled(t, rom, false);
	world_commit(w, 2, 1);
	topo_begin(t);
	topo_set_enabled(t, rom, true);
	world_commit(w, 2, 1);
}

static void readonly_is_delete_and_add(void **state)
{
	struct kvm_world *w = *state;
	struct topo *t = w->t;
	int ram = topo_ram(t, "ram", M(1));
	int shadow = topo_alias(t, "shadow", ram, K(64), K(64));

	topo_begin(t);
	topo_add(t, w->root, 0, ram, 0);
	topo_add(t, w->root, K(64), shadow, 1);
	world_commit(w, 1, 0);
	topo_begin(t);
	topo_set_readonly(t, shadow, true);
	world_commit(w, 4, 1);
	assert_int_equal(fake_slot_at(w->fake, 0, K(64))->flags,
			 KVM_MEM_READONLY);
	topo_begin(t);
	topo_set_readonly(t, shadow, false);
	world_commit(w, 2, 1);
	assert_int_equal(fake_slot_at(w->fake, 0, K(64))->flags, 0);
}

static void rom_devices_in_both_modes(void **state)
{
	struct kvm_world *w = *state;
	struct topo *t = w->t;
	int flash = topo_rom_device(t, "flash", K(64));

	topo_begin(t);
	topo_add(t, w->root, 0, flash, 0);
	world_commit(w, 1, 0);
	assert_int_equal(fake_slot_at(w->fake, 0, 0)->flags, KVM_MEM_READONLY);
	topo_begin(t);
	topo_set_rom_mode(t, flash, false);
	world_commit(w, 1, 0);
	assert_null(fake_slot_at(w->fake, 0, 0));
	topo_begin(t);
	topo_set_rom_mode(t, flash, true);
	world_commit(w, 1, 0);
}

/* The page that only a part of is memory is left to the access path. */
static void whole_pages_only(void **state)
{
	struct kvm_world *w = *state;
	struct topo *t = w->t;
	int ram = topo_ram(t, "ram", K(64)), io = topo_io(t, "io", 8);
	int small = topo_ram(t, "small", K(8));
	int odd = topo_alias(t, "odd", ram, 8, K(8));
	struct mpl_kvm_stats stats;

	topo_begin(t);
	topo_add(t, w->root, 0, ram, 0);
	topo_add(t, w->root, K(16) + 8, io, 1);
	world_commit(w, 2, 0);
	assert_non_null(fake_slot_at(w->fake, 0, K(16) - 1));
	assert_null(fake_slot_at(w->fake, 0, K(16)));
	assert_null(fake_slot_at(w->fake, 0, K(20) - 1));
	assert_non_null(fake_slot_at(w->fake, 0, K(20)));
	topo_begin(t);
	topo_add(t, w->root, M(1) + K(2), small, 0); /* not congruent */
	topo_add(t, w->root, M(2), odd, 0);          /* neither */
	world_commit(w, 0, 0);
	mpl_kvm_stats(w->kvm, &stats);
	assert_int_equal(stats.unmapped, 2);
	topo_begin(t);
	topo_move(t, small, M(1));
	world_commit(w, 1, 0);
	mpl_kvm_stats(w->kvm, &stats);
	assert_int_equal(stats.unmapped, 1);
	assert_int_equal(stats.slots, 3);
}

/* A broken page is left out; to the guest it becomes an exit. */
static void poisoned_pages_are_left_out(void **state)
{
	struct kvm_world *w = *state;
	int ram = topo_ram(w->t, "ram", K(64));
	struct mpl_region *region = w->t->region[ram];

	topo_begin(w->t);
	topo_add(w->t, w->root, 0, ram, 0);
	world_commit(w, 1, 0);
	assert_int_equal(mpl_ram_poison(region, K(16), 1), 0);
	assert_non_null(fake_slot_at(w->fake, 0, K(16) - 1));
	assert_null(fake_slot_at(w->fake, 0, K(16)));
	assert_null(fake_slot_at(w->fake, 0, K(20) - 1));
	assert_non_null(fake_slot_at(w->fake, 0, K(20)));
	assert_int_equal(mpl_ram_unpoison(region, K(16), K(4)), 0);
	assert_non_null(fake_slot_at(w->fake, 0, K(16)));
}

static void only_logging_changes_on_a_live_slot(void **state)
{
	struct kvm_world *w = *state;
	struct topo *t = w->t;
	int ram = topo_ram(t, "ram", M(1)), rom = topo_rom(t, "rom", K(64));
	int io = topo_io(t, "io", K(4));

	topo_begin(t);
	topo_add(t, w->root, 0, ram, 0);
	topo_add(t, w->root, M(2), rom, 0);
	topo_add(t, w->root, K(64), io, 1);
	world_commit(w, 3, 0);
	topo_begin(t);
	topo_log_global(t, MPL_LOG_MIGRATION, true);
	world_commit(w, 2, 0); /* two slots of RAM, none of ROM */
	assert_int_equal(fake_slot_at(w->fake, 0, 0)->flags,
			 KVM_MEM_LOG_DIRTY_PAGES);
	topo_begin(t); /* another client: nothing is new for KVM */
	topo_log_start(t, ram, MPL_LOG_DISPLAY);
	world_commit(w, 0, 0);
	topo_begin(t); /* goes while it logs: parked */
	topo_set_enabled(t, ram, false);
	world_commit(w, 2, 1);
	topo_begin(t);
	topo_set_enabled(t, ram, true);
	topo_log_global(t, MPL_LOG_MIGRATION, false);
	topo_log_stop(t, ram, MPL_LOG_DISPLAY);
	world_commit(w, 2, 0);
	assert_int_equal(fake_slot_at(w->fake, 0, 0)->flags, 0);
}

static void what_is_hidden_costs_nothing(void **state)
{
	struct kvm_world *w = *state;
	struct topo *t = w->t;
	int ram = topo_ram(t, "ram", M(1)), io = topo_io(t, "io", K(4));
	int hidden = topo_ram(t, "hidden", K(64));
	int far = topo_io(t, "far", K(4));

	topo_begin(t);
	topo_add(t, w->root, 0, ram, 0);
	topo_add(t, w->root, 0, io, 1);
	world_commit(w, 1, 0);
	topo_begin(t);
	topo_add(t, w->root, K(64), hidden, -1);
	topo_add(t, w->root, M(3), far, 0);
	world_commit(w, 0, 0);
	topo_begin(t);
	topo_move(t, far, M(4));
	topo_set_nonvolatile(t, ram, true);
	world_commit(w, 0, 0);
}

/* The first commit's memory goes where the second's comes. */
static void ids_are_reused(void **state)
{
	struct kvm_world *w = *state;
	struct topo *t = w->t;
	int ram = topo_ram(t, "ram", K(64));

	topo_begin(t);
	topo_add(t, w->root, 0, ram, 0);
	world_commit(w, 1, 0);
	for (uint64_t i = 1; i < 100; i++) {
		topo_begin(t);
		topo_move(t, ram, i * K(64));
		world_commit(w, 2, 0);
		assert_int_equal(fake_slot_at(w->fake, 0, i * K(64))->id, 0);
	}
}

static void great_slots_are_cut(void **state)
{
	struct kvm_world *w = *state;
	struct topo *t = w->t;
	int ram = topo_ram(t, "ram", M(4)), io = topo_io(t, "io", K(4));

	/* 2.5 MiB: cut at multiples of 2 MiB. */
	topo_begin(t);
	topo_add(t, w->root, M(1), ram, 0);
	world_commit(w, 3, 0);
	assert_int_equal(fake_slot_at(w->fake, 0, M(1))->node.last, M(2) - 1);
	assert_int_equal(fake_slot_at(w->fake, 0, M(2))->node.last, M(4) - 1);
	topo_begin(t);
	topo_add(t, w->root, M(3), io, 1);
	world_commit(w, 3, 1);
	topo_begin(t);
	topo_remove(t, io);
	world_commit(w, 1, 0);
}

static void short_of_slots(void **state)
{
	struct kvm_world *w = *state;
	struct topo *t = w->t;
	int ram = topo_ram(t, "ram", M(1)), io[8];
	struct mpl_kvm_stats stats;

	topo_begin(t);
	topo_add(t, w->root, 0, ram, 0);
	world_commit(w, 1, 0);
	/* Each window opens and closes: a slot and a boundary are left. */
	for (int i = 0; i < 3; i++) {
		io[i] = topo_io(t, "io", K(4));
		topo_begin(t);
		topo_add(t, w->root, K(64) * (unsigned int)(i + 1), io[i], 1);
		world_commit(w, 3, 1);
		topo_begin(t);
		topo_remove(t, io[i]);
		world_commit(w, 1, 0);
	}
	assert_int_equal(w->fake->count[0], 7);
	/* Eight may be had: the old boundaries go. */
	topo_begin(t);
	topo_add(t, w->root, K(512), io[0], 1);
	topo_add(t, w->root, K(576), io[1], 1);
	world_commit_unbound(w);
	mpl_kvm_stats(w->kvm, &stats);
	assert_int_equal(stats.compactions, 1);
	assert_int_equal(w->fake->count[0], 3);
	/* Nine really are too many. */
	for (unsigned int i = 3; i < 8; i++)
		io[i] = topo_io(t, "io", K(4));
	world_note(w);
	topo_begin(t);
	for (unsigned int i = 2; i < 8; i++)
		topo_add(t, w->root, K(64) * (i - 1), io[i], 1);
	assert_int_equal(topo_commit_any(t), -ENOSPC);
	world_check(w);
	assert_int_equal(mpl_kvm_error(w->kvm), 0);
	assert_non_null(strstr(w->log, "9 memory slots, and there are 8"));
	/* Five windows fit. */
	topo_begin(t);
	for (unsigned int i = 3; i < 8; i++)
		topo_add(t, w->root, K(64) * (i - 1), io[i], 1);
	world_commit_unbound(w);
	assert_int_equal(w->fake->count[0], 8);
}

static void without_readonly_slots_rom_traps(void **state)
{
	struct kvm_world *w = *state;
	struct topo *t = w->t;
	int rom = topo_rom(t, "rom", K(64)), ram = topo_ram(t, "ram", K(64));

	topo_begin(t);
	topo_add(t, w->root, 0, rom, 0);
	topo_add(t, w->root, K(64), ram, 0);
	world_commit(w, 1, 0);
	assert_null(fake_slot_at(w->fake, 0, 0));
	topo_begin(t);
	topo_set_readonly(t, ram, true);
	world_commit(w, 1, 0);
	assert_int_equal(w->fake->count[0], 0);
}

static void plain(struct kvm_world *w)
{
	(void)w;
}

static void eight_slots(struct kvm_world *w)
{
	w->config.slots_max = 8;
}

static void small_slots(struct kvm_world *w)
{
	w->config.slot_bytes_max = K(2560);
}

static void no_readonly(struct kvm_world *w)
{
	w->fake->readonly = false;
}

static void with_region2(struct kvm_world *w)
{
	w->fake->region2 = true;
}

#define WORLD_TEST(f, how)                                                     \
	{                                                                      \
#f " (" #how ")", f, world_setup, world_teardown,              \
			(void *)(how)                                          \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_hole_is_a_boundary_from_then_on, plain),
		WORLD_TEST(a_hole_is_a_boundary_from_then_on, with_region2),
		WORLD_TEST(memory_behind_memory_is_replaced_by_small_slots,
			   plain),
		WORLD_TEST(readonly_is_delete_and_add, plain),
		WORLD_TEST(rom_devices_in_both_modes, plain),
		WORLD_TEST(whole_pages_only, plain),
		WORLD_TEST(poisoned_pages_are_left_out, plain),
		WORLD_TEST(only_logging_changes_on_a_live_slot, plain),
		WORLD_TEST(what_is_hidden_costs_nothing, plain),
		WORLD_TEST(ids_are_reused, plain),
		WORLD_TEST(great_slots_are_cut, small_slots),
		WORLD_TEST(short_of_slots, eight_slots),
		WORLD_TEST(without_readonly_slots_rom_traps, no_readonly),
	};

	return topo_run(tests);
}
