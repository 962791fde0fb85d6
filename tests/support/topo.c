/* SPDX-License-Identifier: BSD-3-Clause */
#include "topo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Larger memory has no host address: these tests don't access it. */
#define BACKED_MAX (4 * MPL_MIB)

struct mpl_plane_config topo_config = { .verify = true };

static mpl_result_t no_read(void *opaque, uint64_t offset, unsigned int size,
			    struct mpl_attrs attrs, uint64_t *value)
{
	(void)opaque, (void)offset, (void)size, (void)attrs;
	*value = 0;
	return MPL_OK;
}

static mpl_result_t no_write(void *opaque, uint64_t offset, unsigned int size,
			     struct mpl_attrs attrs, uint64_t value)
{
	(void)opaque, (void)offset, (void)size, (void)attrs, (void)value;
	return MPL_OK;
}

static const struct mpl_io_ops io_ops = { .read = no_read, .write = no_write };

struct topo *topo_new_config(const struct mpl_plane_config *config)
{
	struct topo *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	model_init(&t->now);
	t->trace_rules = config && config->trace_rules;
	assert_int_equal(mpl_plane_new(&t->plane, config), 0);
	assert_int_equal(mpl_reader_register(t->plane, &t->reader), 0);
	return t;
}

struct topo *topo_new(void)
{
	return topo_new_config(&topo_config);
}

void topo_free(struct topo *t)
{
	assert_null(t->tx);
	for (int i = 0; i < TOPO_SPACES; i++)
		if (t->space[i].as)
			topo_space_free(t, i);
	for (int id = 0; id < t->now.n_regions; id++)
		if (t->region[id])
			topo_drop(t, id);
	assert_int_equal(mpl_reader_unregister(t->reader), 0);
	assert_int_equal(mpl_plane_free(t->plane), 0);
	for (int id = 0; id < t->now.n_regions; id++)
		if (t->released[id] != 1)
			fail_msg("%s: %s was released %d times", t->note,
				 t->now.regions[id].name, t->released[id]);
	free(t);
}

/* On whichever thread noticed. */
static void count_release(void *opaque)
{
	__atomic_add_fetch((int *)opaque, 1, __ATOMIC_RELEASE);
}

int topo_released(const struct topo *t, int id)
{
	return __atomic_load_n(&t->released[id], __ATOMIC_ACQUIRE);
}

bool topo_settles(struct topo *t, int id)
{
	const struct timespec nap = { .tv_nsec = 1000000 };

	for (int turn = 0; turn < 2000; turn++) {
		mpl_reclaim(t->plane);
		if (topo_released(t, id))
			return true;
		nanosleep(&nap, NULL);
	}
	return false;
}

static int keep(struct topo *t, int id, int err, struct mpl_region *region)
{
	assert_int_equal(err, 0);
	assert_non_null(region);
	t->region[id] = region;
	mpl_region_on_release(region, count_release, &t->released[id]);
	return id;
}

int topo_region(struct topo *t, enum mpl_region_kind kind, const char *name,
		uint64_t size)
{
	struct mpl_ram_config ram = { .unbacked = size > BACKED_MAX };
	int id = model_new_region(&t->now, kind, name, size);
	struct mpl_region *region = NULL;
	int err;

	switch (kind) {
	case MPL_CONTAINER:
		err = mpl_region_new_container(t->plane, name, size, &region);
		break;
	case MPL_IO:
		err = mpl_region_new_io(t->plane, name, size, &io_ops, t,
					&region);
		break;
	case MPL_RAM:
		err = mpl_region_new_ram(t->plane, name, size, &ram, &region);
		break;
	case MPL_ROM:
		err = mpl_region_new_rom(t->plane, name, size, &ram, &region);
		break;
	case MPL_ROM_DEVICE:
		err = mpl_region_new_rom_device(t->plane, name, size, &ram,
						&io_ops, t, &region);
		break;
	case MPL_RAM_DEVICE:
		err = mpl_region_new_ram_device(t->plane, name, size, &ram,
						&region);
		break;
	case MPL_IOMMU:
		err = mpl_region_new_iommu(t->plane, name, size, NULL, NULL,
					   &region);
		break;
	default:
		fail_msg("an alias needs a target");
		return MODEL_NONE;
	}
	return keep(t, id, err, region);
}

int topo_container(struct topo *t, const char *name, uint64_t size)
{
	return topo_region(t, MPL_CONTAINER, name, size);
}

int topo_io(struct topo *t, const char *name, uint64_t size)
{
	return topo_region(t, MPL_IO, name, size);
}

int topo_ram(struct topo *t, const char *name, uint64_t size)
{
	return topo_region(t, MPL_RAM, name, size);
}

int topo_rom(struct topo *t, const char *name, uint64_t size)
{
	return topo_region(t, MPL_ROM, name, size);
}

int topo_rom_device(struct topo *t, const char *name, uint64_t size)
{
	return topo_region(t, MPL_ROM_DEVICE, name, size);
}

int topo_ram_device(struct topo *t, const char *name, uint64_t size)
{
	return topo_region(t, MPL_RAM_DEVICE, name, size);
}

int topo_iommu(struct topo *t, const char *name, uint64_t size)
{
	return topo_region(t, MPL_IOMMU, name, size);
}

int topo_alias(struct topo *t, const char *name, int target, uint64_t offset,
	       uint64_t size)
{
	int id = model_new_alias(&t->now, name, target, offset, size);
	struct mpl_region *region = NULL;
	int err = mpl_region_new_alias(t->plane, name, t->region[target],
				       offset, size, &region);

	return keep(t, id, err, region);
}

void topo_unmergeable(struct topo *t, int id)
{
	t->now.regions[id].unmergeable = true;
	mpl_region_set_unmergeable(t->region[id], true);
}

void topo_drop(struct topo *t, int id)
{
	struct mpl_region *region = t->region[id];

	t->region[id] = NULL;
	mpl_region_unref(region);
}

int topo_space(struct topo *t, int root)
{
	int at = 0;

	while (at < TOPO_SPACES && t->space[at].as)
		at++;
	assert_true(at < TOPO_SPACES);
	assert_int_equal(
		mpl_address_space_new(t->plane, t->now.regions[root].name,
				      t->region[root], &t->space[at].as),
		0);
	t->space[at].root = root;
	return at;
}

void topo_space_free(struct topo *t, int space)
{
	assert_int_equal(mpl_address_space_free(t->space[space].as), 0);
	t->space[space].as = NULL;
}

void topo_begin(struct topo *t)
{
	assert_null(t->tx);
	t->tx = mpl_begin(t->plane);
	assert_non_null(t->tx);
	t->before = t->now;
	t->err = 0;
}

int topo_commit_any(struct topo *t)
{
	int err = mpl_commit(t->tx);

	t->tx = NULL;
	if (err)
		t->now = t->before;
	return err;
}

int topo_commit(struct topo *t)
{
	int expected = t->err;
	int err = topo_commit_any(t);

	if (err != expected)
		fail_msg("%s: commit returned %d (%s), expected %d (%s)",
			 t->note, err, strerror(-err), expected,
			 strerror(-expected));
	return err;
}

void topo_commit_ok(struct topo *t)
{
	assert_int_equal(t->err, 0);
	assert_int_equal(topo_commit(t), 0);
	topo_check(t);
}

void topo_abort(struct topo *t)
{
	mpl_abort(t->tx);
	t->tx = NULL;
	t->now = t->before;
}

/* The first error sticks; the model stops there. */
static void model_did(struct topo *t, int err)
{
	if (!t->err)
		t->err = err;
}

#define IN_MODEL(t, call)                                                      \
	do {                                                                   \
		if (!(t)->err)                                                 \
			model_did((t), (call));                                \
	} while (0)

#define SET_IN_MODEL(t, id, field, value)                                      \
	do {                                                                   \
		if (!(t)->err)                                                 \
			(t)->now.regions[(id)].field = (value);                \
	} while (0)

void topo_add(struct topo *t, int parent, uint64_t offset, int child,
	      int priority)
{
	IN_MODEL(t, model_add(&t->now, parent, offset, child, priority));
	mpl_region_add(t->tx, t->region[parent], offset, t->region[child],
		       priority);
}

void topo_remove(struct topo *t, int child)
{
	IN_MODEL(t, model_remove(&t->now, child));
	mpl_region_remove(t->tx, t->region[child]);
}

void topo_set_enabled(struct topo *t, int id, bool enabled)
{
	SET_IN_MODEL(t, id, enabled, enabled);
	mpl_region_set_enabled(t->tx, t->region[id], enabled);
}

void topo_move(struct topo *t, int id, uint64_t offset)
{
	IN_MODEL(t, model_move(&t->now, id, offset));
	mpl_region_move(t->tx, t->region[id], offset);
}

void topo_set_priority(struct topo *t, int id, int priority)
{
	IN_MODEL(t, model_set_priority(&t->now, id, priority));
	mpl_region_set_priority(t->tx, t->region[id], priority);
}

void topo_resize(struct topo *t, int id, uint64_t size)
{
	IN_MODEL(t, model_resize(&t->now, id, size));
	mpl_region_resize(t->tx, t->region[id], size);
}

void topo_set_alias_offset(struct topo *t, int id, uint64_t offset)
{
	SET_IN_MODEL(t, id, alias_offset, offset);
	mpl_region_set_alias_offset(t->tx, t->region[id], offset);
}

void topo_set_readonly(struct topo *t, int id, bool readonly)
{
	SET_IN_MODEL(t, id, readonly, readonly);
	mpl_region_set_readonly(t->tx, t->region[id], readonly);
}

void topo_set_nonvolatile(struct topo *t, int id, bool nonvolatile)
{
	SET_IN_MODEL(t, id, nonvolatile, nonvolatile);
	mpl_region_set_nonvolatile(t->tx, t->region[id], nonvolatile);
}

void topo_set_rom_mode(struct topo *t, int id, bool rom_mode)
{
	SET_IN_MODEL(t, id, rom_mode, rom_mode);
	mpl_region_set_rom_mode(t->tx, t->region[id], rom_mode);
}

void topo_log_start(struct topo *t, int id, enum mpl_log_client client)
{
	IN_MODEL(t, model_log_start(&t->now, id, client));
	mpl_log_start(t->tx, t->region[id], client);
}

void topo_log_stop(struct topo *t, int id, enum mpl_log_client client)
{
	IN_MODEL(t, model_log_stop(&t->now, id, client));
	mpl_log_stop(t->tx, t->region[id], client);
}

void topo_log_global(struct topo *t, enum mpl_log_client client, bool on)
{
	if (!t->err)
		t->now.log_global[client] = on;
	mpl_log_global(t->tx, client, on);
}

void topo_log_take_part(struct topo *t, int id, enum mpl_log_client client,
			bool takes_part)
{
	SET_IN_MODEL(t, id, takes_part[client], takes_part);
	mpl_log_take_part(t->tx, t->region[id], client, takes_part);
}

void topo_ioeventfd_add(struct topo *t, int id, const struct mpl_ioeventfd *ev)
{
	IN_MODEL(t, model_ioeventfd_add(&t->now, id, ev));
	mpl_ioeventfd_add(t->tx, t->region[id], ev);
}

void topo_ioeventfd_del(struct topo *t, int id, const struct mpl_ioeventfd *ev)
{
	IN_MODEL(t, model_ioeventfd_del(&t->now, id, ev));
	mpl_ioeventfd_del(t->tx, t->region[id], ev);
}

void topo_coalescing_add(struct topo *t, int id, uint64_t offset, uint64_t size)
{
	IN_MODEL(t, model_coalescing_add(&t->now, id, offset, size));
	mpl_coalescing_add(t->tx, t->region[id], offset, size);
}

void topo_coalescing_clear(struct topo *t, int id)
{
	SET_IN_MODEL(t, id, n_zones, 0);
	mpl_coalescing_clear(t->tx, t->region[id]);
}

int topo_setup(void **state)
{
	*state = topo_new();
	return 0;
}

int topo_teardown(void **state)
{
	topo_free(*state);
	return 0;
}

int topo_run_group(const char *name, const struct CMUnitTest *tests, size_t n)
{
	static const struct {
		const char *name;
		struct mpl_plane_config config;
	} variant[] = {
		{ "incremental", { .verify = true } },
		{ "full rebuild", { .verify = true, .full_rebuild = true } },
		{ "control thread",
		  { .verify = true, .control_thread = true } },
	};
	int failures = 0;

	for (size_t i = 0; i < sizeof(variant) / sizeof(variant[0]); i++) {
		char title[256];

		topo_config = variant[i].config;
		snprintf(title, sizeof(title), "%s: %s", name, variant[i].name);
		failures +=
			_cmocka_run_group_tests(title, tests, n, NULL, NULL);
	}
	return failures;
}
