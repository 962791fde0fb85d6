/* SPDX-License-Identifier: BSD-3-Clause */
#include "script.h"

#include <errno.h>

#include "lines.h"
#include "vec.h"

struct loader {
	struct script *script;
	struct expect expect;
	struct failure *failure;
	uint32_t announced; /* by as_init */
	uint32_t limit;
	bool differs; /* some space shows something else */
	bool done;
};

/* Words point into a line that is about to go: keep what they mean to us. */
static bool keep_words(struct record *record)
{
	static const struct word plain = { "x", 1 }, dash = { "-", 1 };
	static const char big[] = " target_big_endian 1";

	switch (record->type) {
	case REC_META:
		if (!word_is(record->text, big))
			return false;
		record->text = (struct word){ big, sizeof(big) - 1 };
		return true;
	case REC_REGION:
		record->region.name =
			word_is(record->region.name, "-") ? dash : plain;
		return true;
	case REC_AS_INIT:
		record->space.name = plain;
		return true;
	case REC_SKIP:
	case REC_EVENT:
	case REC_LISTENER_REGISTER:
		return false;
	default:
		return true;
	}
}

static int add_step(struct loader *loader, const struct record *record)
{
	struct script *script = loader->script;
	struct script_step *step;

	if (vec_reserve(&script->steps, &script->steps_cap,
			script->steps_count + 1, sizeof(*script->steps)))
		return failure_errno(loader->failure, "script", -ENOMEM);
	step = &script->steps[script->steps_count];
	step->record = *record;
	step->line = loader->failure->line;
	script->steps_count += keep_words(&step->record);
	return 0;
}

static int keep_view(struct loader *loader, struct expect_view *view)
{
	struct script *script = loader->script;

	if (!view || view->keepers)
		return 0;
	if (vec_reserve(&script->views, &script->views_cap,
			script->views_count + 1, sizeof(*script->views)))
		return failure_errno(loader->failure, "script", -ENOMEM);
	script->views[script->views_count++] = view;
	script->ranges += view->count;
	expect_keep(view);
	return 0;
}

static int new_state(struct loader *loader)
{
	const struct expect *expect = &loader->expect;
	struct script *script = loader->script;
	uint32_t id, count = expect->spaces_count + 1;
	struct script_state *state;

	if (vec_reserve(&script->own, &script->own_cap, script->own_count + 1,
			sizeof(*script->own)))
		return failure_errno(loader->failure, "script", -ENOMEM);
	state = calloc(1, sizeof(*state) + count * sizeof(*state->of_space));
	if (!state)
		return failure_errno(loader->failure, "script", -ENOMEM);
	script->own[script->own_count++] = state;
	state->count = count;
	for (id = 1; id < count; id++) {
		state->of_space[id] = expect->spaces[id].view;
		if (keep_view(loader, expect->spaces[id].view))
			return -1;
	}
	return 0;
}

static int end_publication(struct loader *loader, const struct record *end)
{
	struct script *script = loader->script;
	size_t next = script->publications + 1;
	struct record step = *end;

	if (vec_reserve(&script->states, &script->states_cap, next + 1,
			sizeof(*script->states)))
		return failure_errno(loader->failure, "script", -ENOMEM);
	if ((loader->differs || !script->own_count) && new_state(loader))
		return -1;
	loader->differs = false;
	script->states[next] = script->own[script->own_count - 1];
	script->publications = next;
	script->recorded_ns +=
		loader->expect.publish.render + loader->expect.publish.apply;
	step.publish = loader->expect.publish;
	expect_done(&loader->expect);
	loader->done =
		next == loader->limit || script->ranges > SCRIPT_RANGES_MAX;
	return add_step(loader, &step);
}

static int begin_publication(struct loader *loader,
			     const struct trace_publish *publish)
{
	uint32_t id = loader->announced;

	loader->announced = 0;
	if (expect_begin(&loader->expect, publish))
		return -1;
	if (publish->kind != PUBLISH_AS_INIT)
		return 0;
	if (id != loader->expect.spaces_count + 1)
		return failure_set(loader->failure,
				   "no as_init before its publication");
	return expect_space_new(&loader->expect, id);
}

static int end_space(struct loader *loader, uint32_t id)
{
	if (!id || id > loader->expect.spaces_count ||
	    !loader->expect.spaces[id].alive)
		return failure_set(loader->failure, "no address space %u", id);
	expect_space_end(&loader->expect, id);
	loader->differs = true;
	return 0;
}

static int take(struct loader *loader, const struct record *record)
{
	if (loader->expect.open) {
		loader->differs |= record->type == REC_USE;
		if (expect_block(&loader->expect, record))
			return -1;
		return record->type == REC_END ?
			       end_publication(loader, record) :
			       0;
	}
	switch (record->type) {
	case REC_PUBLISH:
		return begin_publication(loader, &record->publish);
	case REC_EOF:
		loader->done = true;
		return 0;
	case REC_AS_INIT:
		loader->announced = record->space.id;
		return add_step(loader, record);
	case REC_AS_DESTROY:
		return end_space(loader, record->space.id) ||
				       add_step(loader, record) ?
			       -1 :
			       0;
	default:
		return add_step(loader, record);
	}
}

static int load_lines(struct loader *loader, struct lines *lines)
{
	struct failure *failure = loader->failure;
	struct record record;
	const char *line;
	size_t len;
	int got = 1;

	while (!loader->done && (got = lines_next(lines, &line, &len)) > 0) {
		if (failure->line == 1) {
			if (memtrace_check_header(line, len, failure))
				return -1;
			continue;
		}
		if (!len || *line == '#')
			continue;
		if (memtrace_parse(line, len, &record, failure) ||
		    take(loader, &record))
			return -1;
	}
	if (got >= 0 && !loader->script->publications)
		return failure_set(failure, "there is nothing to replay");
	return got < 0 ? -1 : 0;
}

static int add_target(struct script *script, uint32_t space, uint64_t address)
{
	if (vec_reserve(&script->targets, &script->targets_cap,
			script->targets_count + 1, sizeof(*script->targets)))
		return -ENOMEM;
	script->targets[script->targets_count++] =
		(struct script_target){ address, space };
	return 0;
}

static int access_targets(struct script *script,
			  const struct accesses *accesses)
{
	size_t step = accesses->count / SCRIPT_TARGETS_MAX + 1, i;

	for (i = 0; i < accesses->count; i += step)
		if (accesses->items[i].space &&
		    add_target(script, accesses->items[i].space,
			       accesses->items[i].address))
			return -ENOMEM;
	return 0;
}

/* The first, middle and last address of every range. */
static int view_targets(struct script *script, uint32_t space,
			const struct expect_view *view, size_t step)
{
	size_t i;

	for (i = 0; view && i < view->count; i += step) {
		const struct trace_range *range = &view->ranges[i];
		uint64_t middle =
			range->start + (range->last - range->start) / 2;

		if (add_target(script, space, range->start) ||
		    add_target(script, space, middle) ||
		    add_target(script, space, range->last))
			return -ENOMEM;
	}
	return 0;
}

static int range_targets(struct script *script)
{
	const struct script_state *state = script->states[script->publications];
	size_t ranges = 0, step;
	uint32_t id;

	for (id = 1; id < state->count; id++)
		if (state->of_space[id])
			ranges += state->of_space[id]->count;
	step = 3 * ranges / SCRIPT_TARGETS_MAX + 1;
	for (id = 1; id < state->count; id++)
		if (view_targets(script, id, state->of_space[id], step))
			return -ENOMEM;
	return 0;
}

int script_load(struct script *script, const char *path, uint32_t limit,
		const struct accesses *accesses, struct failure *failure)
{
	struct loader loader = {
		.script = script,
		.failure = failure,
		.limit = limit ? limit : SCRIPT_PUBLICATIONS,
	};
	struct lines *lines;
	int err;

	*script = (struct script){ 0 };
	if (lines_open(&lines, path, failure))
		return -1;
	expect_init(&loader.expect, failure);
	err = load_lines(&loader, lines);
	expect_fini(&loader.expect);
	lines_close(lines);
	if (!err && accesses)
		err = access_targets(script, accesses);
	if (!err && !script->targets_count)
		err = range_targets(script);
	if (err) {
		failure_set(failure, "out of memory");
		script_free(script);
	}
	return err ? -1 : 0;
}

void script_free(struct script *script)
{
	size_t i;

	for (i = 0; i < script->own_count; i++)
		free(script->own[i]);
	for (i = 0; i < script->views_count; i++)
		expect_unkeep(script->views[i]);
	free(script->steps);
	free(script->states);
	free(script->own);
	free(script->views);
	free(script->targets);
	*script = (struct script){ 0 };
}
