/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/kvm_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void keep_line(void *opaque, enum mpl_log_level level, const char *line)
{
	struct kvm_world *w = opaque;

	(void)level;
	snprintf(w->log, sizeof(w->log), "%s", line);
}

static void take_snapshot(void *arg, struct fake_kvm *fake)
{
	struct kvm_world *w = arg;

	for (unsigned int i = 0; i < FAKE_SPACES; i++) {
		assert_true(w->n_snapshots < WORLD_SNAPSHOTS);
		memories_of_slots(fake, i, &w->snapshots[w->n_snapshots]);
		w->snapshot_space[w->n_snapshots++] = i;
	}
}

struct kvm_world *world_new(void (*how)(struct kvm_world *w))
{
	struct kvm_world *w = calloc(1, sizeof(*w));
	struct mpl_plane_config config = topo_config;

	assert_non_null(w);
	config.log = keep_line;
	config.log_opaque = w;
	w->t = topo_new_config(&config);
	w->fake = fake_new();
	w->config = fake_config(w->fake);
	w->root = topo_container(w->t, "root", UINT64_MAX);
	w->space[0] = topo_space(w->t, w->root);
	w->space[1] = -1;
	if (how)
		how(w);
	assert_int_equal(mpl_kvm_attach(w->t->space[w->space[0]].as, FAKE_VM_FD,
					&w->config, &w->kvm),
			 0);
	w->fake->watch = take_snapshot;
	w->fake->watch_arg = w;
	return w;
}

void world_attach_smm(struct kvm_world *w, int root)
{
	w->space[1] = topo_space(w->t, root);
	assert_int_equal(mpl_kvm_attach_space(w->kvm,
					      w->t->space[w->space[1]].as,
					      MPL_KVM_SMM),
			 0);
}

void world_free(struct kvm_world *w)
{
	w->fake->watch = NULL;
	assert_int_equal(mpl_kvm_detach(w->kvm), 0);
	fake_free(w->fake);
	topo_free(w->t);
	for (unsigned int i = 0; i < FAKE_SPACES; i++) {
		memories_free(&w->view[i]);
		memories_free(&w->slots[i]);
	}
	for (size_t i = 0; i < WORLD_SNAPSHOTS; i++)
		memories_free(&w->snapshots[i]);
	free(w);
}

static void now(struct kvm_world *w, unsigned int space, struct memories *view)
{
	memories_of_view(w->t->space[w->space[space]].as, w->fake->readonly,
			 view);
}

void world_note(struct kvm_world *w)
{
	for (unsigned int i = 0; i < FAKE_SPACES; i++) {
		if (w->space[i] < 0)
			continue;
		now(w, i, &w->view[i]);
		memories_of_slots(w->fake, i, &w->slots[i]);
	}
	w->target = NULL;
	mpl_kvm_stats(w->kvm, &w->stats);
	w->calls = w->fake->calls[FAKE_SET_MEMORY];
	w->n_snapshots = 0;
}

bool world_agrees(struct kvm_world *w, char why[160])
{
	bool agrees = true;

	for (unsigned int i = 0; i < FAKE_SPACES && agrees; i++) {
		struct memories view = { 0 }, slots = { 0 };

		if (w->space[i] < 0)
			continue;
		now(w, i, &view);
		memories_of_slots(w->fake, i, &slots);
		agrees = memories_match(&slots, &view, why);
		for (size_t j = 0; j < w->n_snapshots && agrees; j++)
			if (w->snapshot_space[j] == i)
				agrees = memories_cover_both(
					&w->snapshots[j], &w->view[i],
					w->target ? &w->target[i] : &view, why);
		memories_free(&view);
		memories_free(&slots);
	}
	return agrees;
}

void world_check(struct kvm_world *w)
{
	char why[160];

	if (!world_agrees(w, why))
		fail_msg("%s", why);
	assert_false(w->fake->parked);
}

/* What this commit cost, against what it had to. */
static void compare_cost(struct kvm_world *w, int calls, int parks, bool bound)
{
	struct memories view = { 0 }, slots = { 0 };
	struct mpl_kvm_stats stats;
	uint64_t made = w->fake->calls[FAKE_SET_MEMORY] - w->calls, least = 0;
	bool must = false;

	mpl_kvm_stats(w->kvm, &stats);
	for (unsigned int i = 0; i < FAKE_SPACES; i++) {
		if (w->space[i] < 0)
			continue;
		now(w, i, &view);
		memories_of_slots(w->fake, i, &slots);
		least += calls_from_slots(&w->slots[i], &view);
		w->sum_plain +=
			calls_plain(&w->view[i], &view, &w->sum_plain_flags);
		w->sum_clairvoyant += calls_clairvoyant(&w->view[i], &view);
		must |= must_have_parked(&w->slots[i], &slots, &view);
	}
	memories_free(&view);
	memories_free(&slots);
	w->sum_calls += made;
	w->sum_flags += stats.slots_flagged - w->stats.slots_flagged;
	w->sum_bound += least;
	w->sum_parks += stats.parks - w->stats.parks;
	assert_int_equal(stats.parks - w->stats.parks, must);
	if (bound)
		assert_int_equal(made, least);
	if (calls >= 0)
		assert_int_equal(made, calls);
	if (parks >= 0)
		assert_int_equal(stats.parks - w->stats.parks, parks);
}

static void commit(struct kvm_world *w, int calls, int parks, bool bound)
{
	world_note(w);
	topo_commit_ok(w->t);
	world_check(w);
	compare_cost(w, calls, parks, bound);
}

void world_commit(struct kvm_world *w, int calls, int parks)
{
	commit(w, calls, parks, !w->config.slot_bytes_max);
}

void world_commit_unbound(struct kvm_world *w)
{
	commit(w, -1, -1, false);
}

int world_setup(void **state)
{
	*state = world_new((void (*)(struct kvm_world *)) * state);
	return 0;
}

int world_teardown(void **state)
{
	world_free(*state);
	return 0;
}
