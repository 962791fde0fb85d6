/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Other structures on the same addresses as lookup/uniform, so that
 * lookup/uniform and lookup/walk of the same run stand beside them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer_bench.h"
#include "world.h"

/* Addresses compared with a plain scan before anything is timed. */
#define CHECKED 500

/* A peer built of an input, when first needed, checked, and kept. */
struct subject {
	struct subject *next;
	const struct peer *peer;
	int (*get)(const void *opaque, struct peer_input *input);
	const void *opaque;
	struct peer_input input;
	void *self;
	bool cannot; /* hold this map */
};

static struct subject *all_subjects;

static int build(struct subject *subject)
{
	const struct peer *peer = subject->peer;
	int err = subject->get(subject->opaque, &subject->input);

	if (err)
		return err;
	err = peer->build(&subject->input.map, &subject->self);
	if (err == -ENOTSUP) {
		subject->cannot = true;
		return 0;
	}
	if (err)
		return err;
	err = peer_check(peer, subject->self, &subject->input.map,
			 subject->input.gpa, CHECKED);
	if (err) {
		peer->free(subject->self);
		subject->self = NULL;
	}
	return err;
}

static int setup(void *arg)
{
	struct subject *subject = arg;
	int err;

	if (subject->self || subject->cannot)
		return 0;
	err = build(subject);
	if (err)
		fprintf(stderr, "%s: %s\n", subject->peer->name,
			strerror(-err));
	return err;
}

static void run_sweeps(struct gb_state *state, const struct subject *subject,
		       void (*sweep)(void *self, const uint64_t *gpa,
				     size_t count))
{
	const struct peer_input *input = &subject->input;
	size_t at = 0;

	if (subject->cannot) {
		gb_skip(state, subject->peer->cannot);
		return;
	}
	while (gb_next(state, PEER_BATCH)) {
		sweep(subject->self, input->gpa + at, PEER_BATCH);
		at += PEER_BATCH;
		if (at == input->count)
			at = 0;
	}
	gb_label(state, subject->peer->cannot);
}

static void run(struct gb_state *state, void *arg)
{
	const struct subject *subject = arg;

	run_sweeps(state, subject, subject->peer->sweep);
}

static void run_bulk(struct gb_state *state, void *arg)
{
	const struct subject *subject = arg;

	run_sweeps(state, subject, subject->peer->sweep_bulk);
}

int peer_bench_register(const char *name, const int64_t *arg,
			const struct peer *peer,
			int (*get)(const void *opaque, struct peer_input *input),
			const void *opaque)
{
	struct subject *subject = calloc(1, sizeof(*subject));
	char full[96];
	struct gb_bench bench = {
		.name = full,
		.args = arg,
		.nargs = arg ? 1 : 0,
		.longer = arg ? bench_longer(*arg) : 1,
		.setup = setup,
		.run = run,
		.arg = subject,
	};
	int err;

	if (!subject)
		return -ENOMEM;
	subject->peer = peer;
	subject->get = get;
	subject->opaque = opaque;
	subject->next = all_subjects;
	all_subjects = subject;
	snprintf(full, sizeof(full), "%s/%s", name, peer->name);
	err = gb_register(&bench);
	if (err || !peer->sweep_bulk)
		return err;
	snprintf(full, sizeof(full), "%s/%s_bulk", name, peer->name);
	bench.run = run_bulk;
	return gb_register(&bench);
}

static int get_pages(const void *opaque, struct peer_input *input)
{
	const int64_t *count = opaque;
	struct world *world;
	int err = world_get(SHAPE_PAGES, (size_t)*count, &world);

	if (err)
		return err;
	input->map.sections = world->sections;
	input->map.count = world->sections_count;
	input->gpa = world->uniform;
	input->count = WORLD_ADDRESSES;
	return 0;
}

int register_peers(void)
{
	int err = 0;

	for (size_t i = 0; peers[i]; i++) {
		for (const int64_t *count = bench_counts; !err && *count;
		     count++) {
			if (bench_count_wanted(*count))
				err = peer_bench_register("peers", count,
							  peers[i], get_pages,
							  count);
		}
	}
	return err;
}

void peers_free_all(void)
{
	while (all_subjects) {
		struct subject *subject = all_subjects;

		all_subjects = subject->next;
		if (subject->self)
			subject->peer->free(subject->self);
		free(subject);
	}
}
