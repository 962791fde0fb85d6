/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "machine_region.h"
#include "vec.h"

int machine_init(struct machine *machine, const struct mpl_plane_config *config,
		 struct failure *failure)
{
	int err;

	*machine = (struct machine){ .config = *config, .failure = failure };
	machine->clock = config->control_thread ? CLOCK_MONOTONIC :
						  CLOCK_THREAD_CPUTIME_ID;
	err = mpl_plane_new(&machine->plane, config);
	if (err)
		return failure_errno(failure, "cannot make a plane", err);
	return 0;
}

void machine_fini(struct machine *machine)
{
	mpl_abort(machine->pending);
	mpl_plane_free(machine->plane);
	doorbells_fini(&machine->doorbells);
	free(machine->regions);
	free(machine->spaces);
	free(machine->commit_ns);
	*machine = (struct machine){ 0 };
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static int note_commit(struct machine *machine, uint64_t begin)
{
	uint64_t ns = now_ns(machine->clock) - begin;

	if (vec_reserve(&machine->commit_ns, &machine->commits_cap,
			machine->commits + 1, sizeof(*machine->commit_ns)))
		return failure_errno(machine->failure, "commits", -ENOMEM);
	machine->commit_ns[machine->commits++] = ns;
	return 0;
}

int machine_commit(struct machine *machine)
{
	struct mpl_txn *tx = machine->pending;
	uint64_t begin;
	int err;

	if (!tx)
		return 0;
	machine->pending = NULL;
	machine->changed = machine->lists_changed = false;
	begin = now_ns(machine->clock);
	err = mpl_commit(tx);
	if (err)
		return failure_errno(machine->failure, "cannot commit", err);
	doorbells_committed(&machine->doorbells);
	return note_commit(machine, begin);
}

struct mpl_txn *machine_txn(struct machine *machine)
{
	if (!machine->pending)
		machine->pending = mpl_begin(machine->plane);
	return machine->pending;
}

struct machine_space *machine_space(const struct machine *machine, uint32_t id)
{
	if (!id || id > machine->spaces_count || !machine->spaces[id].as)
		return NULL;
	return &machine->spaces[id];
}

static int announce_space(struct machine *machine,
			  const struct trace_space *space)
{
	struct machine_region *root;

	if (machine->announced.id)
		return failure_set(machine->failure,
				   "address space %u was not published",
				   machine->announced.id);
	if (space->id != machine->spaces_count + 1)
		return failure_set(machine->failure,
				   "address space %u follows number %zu",
				   space->id, machine->spaces_count);
	root = machine_region(machine, space->root);
	if (!root)
		return -1;
	if (memtrace_unescape(space->name, machine->announced_name,
			      sizeof(machine->announced_name),
			      machine->failure))
		return -1;
	machine->announced = *space;
	return 0;
}

int machine_space_new(struct machine *machine)
{
	uint32_t id = machine->announced.id;
	struct machine_region *root;
	struct machine_space *space;
	uint64_t begin;
	int err;

	if (!id)
		return failure_set(machine->failure,
				   "no as_init before its publication");
	root = machine_region(machine, machine->announced.root);
	if (!root)
		return -1;
	if (vec_reserve(&machine->spaces, &machine->spaces_cap, id + 1,
			sizeof(*machine->spaces)))
		return failure_errno(machine->failure, "spaces", -ENOMEM);
	space = &machine->spaces[id];
	snprintf(space->name, sizeof(space->name), "%s",
		 machine->announced_name);
	begin = now_ns(machine->clock);
	err = mpl_address_space_new(machine->plane, space->name, root->region,
				    &space->as);
	if (err)
		return failure_errno(machine->failure, "address space", err);
	machine->spaces_count = id;
	machine->announced.id = 0;
	return note_commit(machine, begin);
}

static int destroy_space(struct machine *machine, uint32_t id)
{
	struct machine_space *space = machine_space(machine, id);
	int err;

	if (!space)
		return failure_set(machine->failure, "no address space %u", id);
	err = mpl_address_space_free(space->as);
	if (err)
		return failure_errno(machine->failure, "as_destroy", err);
	space->as = NULL;
	return 0;
}

static int step_depth(struct machine *machine, uint32_t want, int step)
{
	if ((int64_t)machine->depth + step != want)
		return failure_set(machine->failure,
				   "depth %u follows depth %u", want,
				   machine->depth);
	machine->depth = want;
	return 0;
}

static int apply_meta(struct machine *machine, struct word text)
{
	if (word_is(text, " target_big_endian 1"))
		machine->big_endian = true;
	return 0;
}

static void log_global(struct machine *machine, enum mpl_log_client client,
		       bool *now, bool on)
{
	if (*now != on)
		mpl_log_global(machine_txn(machine), client, on);
	*now = on;
}

static void note_change(struct machine *machine, enum record_type type)
{
	switch (type) {
	case REC_REGION:
	case REC_ADD_COALESCING:
	case REC_CLEAR_COALESCING:
		break;
	case REC_ADD_IOEVENTFD:
	case REC_DEL_IOEVENTFD:
		machine->lists_changed = true;
		break;
	default:
		machine->changed = true;
	}
}

static int apply(struct machine *machine, const struct record *record)
{
	switch (record->type) {
	case REC_META:
		return apply_meta(machine, record->text);
	case REC_BEGIN:
		return step_depth(machine, record->set.value, 1);
	case REC_COMMIT:
		return step_depth(machine, record->set.value, -1);
	case REC_AS_INIT:
		return announce_space(machine, &record->space);
	case REC_AS_DESTROY:
		return destroy_space(machine, record->space.id);
	case REC_CODE_LOG:
		log_global(machine, MPL_LOG_CODE, &machine->code_log,
			   record->set.value);
		return 0;
	case REC_GLOBAL_DIRTY:
		log_global(machine, MPL_LOG_MIGRATION, &machine->global_dirty,
			   record->set.value);
		return 0;
	case REC_SKIP:
	case REC_EVENT:
	case REC_LISTENER_REGISTER:
	case REC_EOF:
		return 0;
	case REC_VIEW:
	case REC_RANGE:
	case REC_USE:
	case REC_IOEVENTFDS:
	case REC_IOEVENTFD:
	case REC_END:
		return failure_set(machine->failure,
				   "this belongs into a publication");
	default:
		note_change(machine, record->type);
		return machine_apply_region(machine, record);
	}
}

int machine_apply(struct machine *machine, const struct record *record)
{
	int err;

	if (machine->announced.id && record->type != REC_CODE_LOG &&
	    record->type != REC_EVENT && record->type != REC_SKIP)
		return failure_set(machine->failure,
				   "address space %u was not published",
				   machine->announced.id);
	if (apply(machine, record))
		return -1;
	err = machine->pending ? mpl_txn_error(machine->pending) : 0;
	if (err)
		return failure_errno(machine->failure, "refused", err);
	return 0;
}

/* Address spaces first: then nothing shows any region. */
static int clear_spaces(struct machine *machine)
{
	uint32_t id;

	for (id = 1; id <= machine->spaces_count; id++)
		if (machine->spaces[id].as && destroy_space(machine, id))
			return -1;
	machine->spaces_count = 0;
	machine->announced.id = 0;
	return 0;
}

int machine_clear(struct machine *machine)
{
	uint32_t id;

	mpl_abort(machine->pending);
	machine->pending = NULL;
	if (clear_spaces(machine))
		return -1;
	for (id = 1; id <= machine->regions_count; id++)
		if (machine->regions[id].parent)
			mpl_region_remove(machine_txn(machine),
					  machine->regions[id].region);
	log_global(machine, MPL_LOG_CODE, &machine->code_log, false);
	log_global(machine, MPL_LOG_MIGRATION, &machine->global_dirty, false);
	if (machine_commit(machine))
		return -1;
	for (id = 1; id <= machine->regions_count; id++)
		mpl_region_unref(machine->regions[id].region);
	for (id = 1; id <= machine->regions_count; id++)
		machine->regions[id] = (struct machine_region){ 0 };
	machine->regions_count = 0;
	machine->depth = 0;
	doorbells_fini(&machine->doorbells);
	return 0;
}
