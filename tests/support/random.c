/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/random.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define VISITS_MAX 600

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
 * generators, 2014). */
static uint64_t next(struct random *r)
{
	uint64_t z = r->word += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* The next bytes of the input, as few as say it; zeros when it is over. */
static uint64_t from_input(struct random *r, uint64_t n)
{
	uint64_t value = 0;

	for (uint64_t most = n - 1; most; most >>= 8) {
		value <<= 8;
		if (r->left) {
			value |= *r->input++;
			r->left--;
		} else {
			r->over = true;
		}
	}
	return value % n;
}

static uint64_t below(struct random *r, uint64_t n)
{
	return r->input ? from_input(r, n) : next(r) % n;
}

static bool one_in(struct random *r, uint64_t n)
{
	return !below(r, n);
}

/* Containers and windows are large, devices small: so there is much to see. */
static uint64_t random_size(struct random *r, enum mpl_region_kind kind)
{
	bool wide = kind == MPL_CONTAINER || kind == MPL_ALIAS;

	switch (below(r, wide ? 6 : 24)) {
	case 0:
		return one_in(r, 2) ? UINT64_MAX :
				      UINT64_MAX - below(r, 0x2000);
	case 1:
		return below(r, 0x3000);
	case 2:
	case 3:
		return wide ? 0x10000 : below(r, 20);
	default:
		return 0x400 * (1 + below(r, wide ? 48 : 6));
	}
}

static uint64_t random_offset(struct random *r)
{
	switch (below(r, 12)) {
	case 0:
		return UINT64_MAX - below(r, 0x3000);
	case 1:
		return below(r, 0x4000);
	case 2:
		return (UINT64_C(1) << below(r, 64)) - below(r, 2);
	case 3:
		return 0;
	default:
		return 0x400 * below(r, 48);
	}
}

static uint64_t memory_size(struct random *r)
{
	return one_in(r, 4) ? 1 + below(r, 0x1000) : 0x400 * (1 + below(r, 48));
}

/* Any region that is still there. */
static int any(struct random *r)
{
	for (;;) {
		int id = (int)below(r, (uint64_t)r->t->now.n_regions);

		if (r->t->region[id])
			return id;
	}
}

/* A region without memory. */
static void new_region(struct random *r)
{
	static const enum mpl_region_kind kinds[] = {
		MPL_CONTAINER, MPL_CONTAINER, MPL_IO,    MPL_IO,    MPL_IO,
		MPL_IO,        MPL_IOMMU,     MPL_ALIAS, MPL_ALIAS, MPL_ALIAS,
	};
	struct topo *t = r->t;
	enum mpl_region_kind kind =
		kinds[below(r, sizeof(kinds) / sizeof(kinds[0]))];
	char name[20];
	int id = t->now.n_regions;

	snprintf(name, sizeof(name), "r%d", id);
	if (kind == MPL_ALIAS) {
		topo_alias(t, name, any(r), one_in(r, 3) ? random_offset(r) : 0,
			   random_size(r, kind));
		return;
	}
	topo_region(t, kind, name, random_size(r, kind));
	if (one_in(r, 6))
		topo_unmergeable(t, id);
}

static void new_memory(struct random *r)
{
	static const enum mpl_region_kind kinds[] = {
		MPL_RAM, MPL_RAM, MPL_ROM, MPL_ROM_DEVICE, MPL_RAM_DEVICE,
	};
	char name[20];
	int id = r->t->now.n_regions;

	snprintf(name, sizeof(name), "m%d", id);
	topo_region(r->t, kinds[below(r, 5)], name, memory_size(r));
	if (one_in(r, 8))
		topo_unmergeable(r->t, id);
}

static size_t all_visits(struct topo *t)
{
	size_t visits = 0;

	for (int i = 0; i < TOPO_SPACES; i++)
		if (t->space[i].as)
			visits += model_visits(&t->now, t->space[i].root);
	return visits;
}

/* Would attaching it be right, and can the naive side afford it? */
static bool may_attach(struct topo *t, int parent, uint64_t offset, int child)
{
	uint64_t offset_before = t->now.regions[child].offset;
	int priority_before = t->now.regions[child].priority;
	bool fits;

	if (t->err || model_add(&t->now, parent, offset, child, 0))
		return false;
	fits = all_visits(t) <= VISITS_MAX &&
	       model_visits(&t->now, parent) <= VISITS_MAX;
	if (model_remove(&t->now, child))
		return false;
	/* A root's position counts in traces even while it is detached. */
	t->now.regions[child].offset = offset_before;
	t->now.regions[child].priority = priority_before;
	return fits;
}

/* Where a new child can be seen, more often than not. */
static int any_parent(struct random *r)
{
	struct topo *t = r->t;
	int id = any(r);

	if (one_in(r, 2))
		return (int)below(r, 2); /* the roots of the first two spaces */
	for (int tries = 0; tries < 8; tries++) {
		if (t->now.regions[id].kind == MPL_CONTAINER &&
		    model_reaches(&t->now, (int)below(r, 2), id))
			break;
		id = any(r);
	}
	return id;
}

static void attach(struct random *r)
{
	for (int tries = 0; tries < 4; tries++) {
		int parent = any_parent(r), child = any(r);
		uint64_t offset = random_offset(r);

		if (child < 2 && !one_in(r, 8))
			continue; /* roots stay roots, mostly */
		if (!may_attach(r->t, parent, offset, child))
			continue;
		topo_add(r->t, parent, offset, child, (int)below(r, 3) - 1);
		return;
	}
}

static void detach(struct random *r)
{
	int id = any(r);

	if (r->t->now.regions[id].parent != MODEL_NONE)
		topo_remove(r->t, id);
}

/* An io region, or something else if none is found quickly. */
static int any_io(struct random *r)
{
	int id = any(r);

	for (int tries = 0; tries < 16; tries++) {
		if (r->t->now.regions[id].kind == MPL_IO)
			break;
		id = any(r);
	}
	return id;
}

static void change_events(struct random *r)
{
	static const unsigned int sizes[] = { 0, 1, 2, 4, 8 };
	struct topo *t = r->t;
	int id = any_io(r);
	struct model_region *region = &t->now.regions[id];
	struct mpl_ioeventfd ev = {
		.offset = below(r, 0x40) * (one_in(r, 4) ? 1 : 4),
		.size = sizes[below(r, 5)],
		.fd = r->fds[below(r, RANDOM_FDS)],
	};

	if (region->kind != MPL_IO)
		return;
	if (region->n_events == MODEL_EVENTS ||
	    (region->n_events && one_in(r, 3))) {
		ev = region->events[below(r, (uint64_t)region->n_events)];
		topo_ioeventfd_del(t, id, &ev);
		return;
	}
	if (ev.size && one_in(r, 2)) {
		ev.match = true;
		ev.data = below(r, 3);
	}
	for (int i = 0; i < region->n_events; i++)
		if (region->events[i].offset == ev.offset)
			return;
	topo_ioeventfd_add(t, id, &ev);
}

static void change_zones(struct random *r)
{
	int id = any_io(r);
	struct model_region *region = &r->t->now.regions[id];

	if (region->kind != MPL_IO)
		return;
	if (region->n_zones == MODEL_ZONES || one_in(r, 3))
		topo_coalescing_clear(r->t, id);
	else
		topo_coalescing_add(r->t, id, below(r, 0x1000),
				    one_in(r, 4) ? UINT64_MAX :
						   1 + below(r, 0x800));
}

static void change_logging(struct random *r)
{
	enum mpl_log_client client =
		(enum mpl_log_client)below(r, MPL_LOG_CLIENTS);
	struct topo *t = r->t;
	int id = any(r);

	if (one_in(r, 4)) {
		topo_log_global(t, client, one_in(r, 2));
		return;
	}
	if (!model_has_memory(&t->now, id))
		return;
	if (one_in(r, 4))
		topo_log_take_part(t, id, client, one_in(r, 2));
	else if (t->now.regions[id].log[client] && one_in(r, 2))
		topo_log_stop(t, id, client);
	else
		topo_log_start(t, id, client);
}

static void change_flags(struct random *r)
{
	int id = any(r);
	enum mpl_region_kind kind = r->t->now.regions[id].kind;

	switch (below(r, 4)) {
	case 0:
		if (kind != MPL_ROM)
			topo_set_readonly(r->t, id, one_in(r, 3));
		break;
	case 1:
		topo_set_nonvolatile(r->t, id, one_in(r, 3));
		break;
	case 2:
		if (kind == MPL_ROM_DEVICE)
			topo_set_rom_mode(r->t, id, one_in(r, 2));
		break;
	default:
		topo_set_enabled(r->t, id, !one_in(r, id < 2 ? 32 : 6));
	}
}

static void change_extent(struct random *r)
{
	struct topo *t = r->t;
	int id = any(r);

	if (t->now.regions[id].kind == MPL_ALIAS && one_in(r, 2))
		topo_set_alias_offset(t, id,
				      one_in(r, 2) ? 0 : random_offset(r));
	else if (model_has_memory(&t->now, id))
		topo_resize(t, id, below(r, t->now.regions[id].max_size + 1));
	else
		topo_resize(t, id, random_size(r, t->now.regions[id].kind));
}

static void mutate(struct random *r)
{
	switch (below(r, 16)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		attach(r);
		break;
	case 5:
		detach(r);
		break;
	case 6:
	case 7:
		topo_move(r->t, any(r), random_offset(r));
		break;
	case 8:
		topo_set_priority(r->t, any(r), (int)below(r, 3) - 1);
		break;
	case 9:
	case 10:
		change_extent(r);
		break;
	case 11:
		change_events(r);
		break;
	case 12:
		change_zones(r);
		break;
	case 13:
		change_logging(r);
		break;
	default:
		change_flags(r);
	}
}

/* One mutation that must be refused. */
static void mutate_badly(struct random *r)
{
	struct topo *t = r->t;
	int id = any(r), other = any(r);

	switch (below(r, 3)) {
	case 0: /* to itself; were it attached, it would be busy as well */
		if (t->now.regions[id].kind != MPL_ALIAS &&
		    t->now.regions[id].parent == MODEL_NONE)
			topo_add(t, id, 0, id, 0);
		break;
	case 1:
		if (t->now.regions[id].parent == MODEL_NONE)
			topo_remove(t, id);
		break;
	default:
		if (model_has_memory(&t->now, id))
			topo_log_stop(t, id, MPL_LOG_CODE);
		else if (model_contains(&t->now, other, id) &&
			 t->now.regions[other].parent == MODEL_NONE &&
			 t->now.regions[id].kind != MPL_ALIAS)
			topo_add(t, id, 0, other, 0);
	}
}

static bool in_use(const struct topo *t, int id)
{
	const struct model_region *region = &t->now.regions[id];

	if (region->parent != MODEL_NONE || region->first_child != MODEL_NONE)
		return true;
	for (int i = 0; i < TOPO_SPACES; i++)
		if (t->space[i].as && t->space[i].root == id)
			return true;
	for (int i = 0; i < t->now.n_regions; i++)
		if (t->region[i] && t->now.regions[i].target == id)
			return true;
	return false;
}

/* Regions and spaces come and go beside the transactions. */
static void churn(struct random *r)
{
	struct topo *t = r->t;
	int id = any(r), space = 3 + (int)below(r, 4);

	if (one_in(r, 2) && !in_use(t, id)) {
		topo_drop(t, id);
		new_region(r);
		return;
	}
	if (t->space[space].as)
		topo_space_free(t, space);
	else if (all_visits(t) + model_visits(&t->now, id) <= VISITS_MAX)
		topo_space(t, id);
}

void random_build(struct random *r, const struct mpl_plane_config *config)
{
	struct topo *t = r->t = topo_new_config(config);
	int root = topo_container(t, "root", UINT64_MAX);
	int second = topo_container(t, "second", 0x10000);

	while (t->now.n_regions < r->regions)
		if (one_in(r, 3))
			new_memory(r);
		else
			new_region(r);
	topo_space(t, root);
	topo_space(t, second);
	topo_space(t, any(r));
	topo_begin(t);
	for (int i = 0; i < 2 * r->regions; i++)
		attach(r);
	topo_commit_ok(t);
	for (int i = 0; i < 2; i++) {
		r->mirror[i] = recorder_new(i ? "second" : "first",
					    (int)below(r, 3), NULL);
		assert_int_equal(recorder_register(r->mirror[i], t, i), 0);
	}
}

void random_check(struct random *r, bool everything)
{
	if (everything)
		topo_check(r->t);
	else
		topo_check_views(r->t);
	for (int i = 0; i < 2; i++)
		recorder_check(r->mirror[i], r->t);
}

/* By a window that was moved over itself: refused, if it can be seen. */
static bool shows_itself(const struct topo *t, const struct model *model)
{
	for (int id = 0; id < model->n_regions; id++)
		if (t->region[id] && model_visits(model, id) == MODEL_ENDLESS)
			return true;
	return false;
}

static void commit(struct random *r, const struct recorder *victim)
{
	static struct model attempted;
	struct topo *t = r->t;
	int expected = t->err, err;

	attempted = t->now;
	err = topo_commit_any(t);
	if (!expected && victim && victim->failures)
		expected = -EIO;
	if ((err == -ELOOP || err == -E2BIG) && !expected &&
	    shows_itself(t, &attempted))
		return;
	if (err != expected)
		fail_msg("%s: commit returned %d, expected %d", t->note, err,
			 expected);
}

/* A listener refuses: nothing changed, or it had nothing to do. */
static void commit_with_failures(struct random *r, struct recorder *victim)
{
	unsigned int n = 1 + (unsigned int)below(r, 14);

	recorder_arm(victim, n, one_in(r, 4) ? UINT32_MAX : n);
	commit(r, victim);
	if (mpl_listener_error(victim->listener)) {
		assert_true(victim->failures > 1);
		recorder_arm(victim, 0, 0);
		victim->bad[0] = '\0';
		assert_int_equal(mpl_listener_resync(victim->listener), 0);
	}
	recorder_arm(victim, 0, 0);
}

bool random_round(struct random *r, bool everything)
{
	struct topo *t = r->t;
	int mutations = 1 + (int)below(r, one_in(r, 8) ? 16 : 4);

	if (one_in(r, 8) && t->now.n_regions < MODEL_REGIONS - 8)
		churn(r);
	topo_begin(t);
	for (int i = 0; i < mutations; i++)
		mutate(r);
	if (one_in(r, 10))
		mutate_badly(r);
	if (one_in(r, 30))
		topo_abort(t);
	else if (one_in(r, 6))
		commit_with_failures(r, r->mirror[below(r, 2)]);
	else
		commit(r, NULL);
	if (all_visits(t) > MODEL_ENDLESS / 4)
		return false; /* windows multiply: too much for the oracle */
	random_check(r, everything);
	return true;
}

void random_end(struct random *r)
{
	for (int i = 0; i < 2; i++) {
		assert_int_equal(recorder_unregister(r->mirror[i]), 0);
		assert_string_equal(r->mirror[i]->bad, "");
		assert_int_equal(r->mirror[i]->n_ranges, 0);
		recorder_free(r->mirror[i]);
	}
	topo_free(r->t);
}
