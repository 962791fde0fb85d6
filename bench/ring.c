/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Buffers of a descriptor ring: from guest addresses in RAM to host addresses
 * and contiguous lengths, over 1, 8 and 256 ranges of RAM.
 *
 *	ring/translate	mpl_translate(), as the library offers it
 *	ring/lookup	the inline look-up and the same checks, by hand
 *	ring/vhost	rte_vhost_va_from_guest_pa()
 *	ring/PEER	other structures; these stop at the section
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer_bench.h"
#include "peers/vhost.h"
#include "world.h"

#define BUFFER_BYTES 1526

struct ring {
	int64_t ranges;
	struct world *world; /* NULL before the first use, as the others */
	uint64_t *gpa;
	struct rte_vhost_memory *vhost;
};

static struct ring rings[] = {
	{ .ranges = 1 }, { .ranges = 8 }, { .ranges = 256 },
};
#define RINGS (sizeof(rings) / sizeof(*rings))

static int build(struct ring *ring)
{
	struct peer_map map;
	int err = world_get(SHAPE_RAM, (size_t)ring->ranges, &ring->world);

	if (err)
		return err;
	ring->gpa = calloc(WORLD_ADDRESSES, sizeof(*ring->gpa));
	if (!ring->gpa)
		return -ENOMEM;
	/* Buffers of 2 KiB each, anywhere. */
	for (size_t i = 0; i < WORLD_ADDRESSES; i++)
		ring->gpa[i] = ring->world->uniform[i] & ~UINT64_C(2047);
	map.sections = ring->world->sections;
	map.count = ring->world->sections_count;
	err = vhost_build(&map, &ring->vhost);
	if (err)
		return err;
	return vhost_check(ring->vhost, &map, ring->gpa, 1000);
}

static void forget(struct ring *ring)
{
	if (ring->vhost)
		vhost_free(ring->vhost);
	free(ring->gpa);
	ring->vhost = NULL;
	ring->gpa = NULL;
	ring->world = NULL;
}

static int setup(void *arg)
{
	struct ring *ring = arg;
	int err;

	if (ring->vhost)
		return 0;
	err = build(ring);
	if (err) {
		fprintf(stderr, "ring of %lld ranges: %s\n",
			(long long)ring->ranges, strerror(-err));
		forget(ring);
	}
	return err;
}

static int get_ring(const void *opaque, struct peer_input *input)
{
	struct ring *ring = (void *)(uintptr_t)opaque;
	int err = setup(ring);

	if (err)
		return err;
	input->map.sections = ring->world->sections;
	input->map.count = ring->world->sections_count;
	input->gpa = ring->gpa;
	input->count = WORLD_ADDRESSES;
	return 0;
}

static void run_vhost(struct gb_state *state, void *arg)
{
	const struct ring *ring = arg;
	size_t at = 0;

	while (gb_next(state, PEER_BATCH)) {
		vhost_sweep(ring->vhost, ring->gpa + at, PEER_BATCH,
			    BUFFER_BYTES);
		at = (at + PEER_BATCH) & (WORLD_ADDRESSES - 1);
	}
	gb_label(state, "anything but RAM; a change while readers run");
}

static inline void *translate(struct mpl_reader *reader,
			      const struct mpl_address_space *as, uint64_t gpa,
			      uint64_t *len)
{
	const struct mpl_section *section = mpl_lookup(reader, as, gpa);
	uint64_t offset = gpa - section->start;

	if (!(section->flags & MPL_SECTION_READ)) {
		*len = 0;
		return NULL;
	}
	if (*len - 1 > section->span - offset)
		*len = section->span - offset + 1;
	return section->host + offset;
}

static void lookup_turn(struct mpl_reader *reader, const struct ring *ring,
			const uint64_t *gpa)
{
	const struct mpl_address_space *as = ring->world->as;

	for (size_t i = 0; i < QUIESCENT_EVERY; i++) {
		uint64_t len = BUFFER_BYTES;

		peer_use(translate(reader, as, gpa[i], &len));
		bench_use(len);
	}
}

static void translate_turn(struct mpl_reader *reader, const struct ring *ring,
			   const uint64_t *gpa)
{
	const struct mpl_address_space *as = ring->world->as;

	for (size_t i = 0; i < QUIESCENT_EVERY; i++) {
		size_t len;
		void *host;

		bench_use(mpl_translate(reader, as, gpa[i],
					BUFFER_BYTES, MPL_FOR_READ, &host,
					&len));
		peer_use(host);
		bench_use(len);
	}
}

static void burst_turn(struct mpl_reader *reader, const struct ring *ring,
		       const uint64_t *gpa)
{
	void *host[QUIESCENT_EVERY];

	bench_use(mpl_translate_burst(reader, ring->world->as, gpa,
				      QUIESCENT_EVERY, BUFFER_BYTES,
				      MPL_FOR_READ, host));
	for (size_t i = 0; i < QUIESCENT_EVERY; i++)
		peer_use(host[i]);
}

/* Do all ways arrive where the array of sections says? */
static bool agrees(struct mpl_reader *reader, const struct ring *ring)
{
	struct peer_map map = { ring->world->sections,
				ring->world->sections_count };

	for (size_t i = 0; i < 1000; i++) {
		const struct mpl_section *want =
			peer_plain_scan(&map, ring->gpa[i]);
		uint8_t *host = want->host + (ring->gpa[i] - want->start);
		uint64_t len = BUFFER_BYTES;
		size_t len2;
		void *host2, *host3;

		if (translate(reader, ring->world->as, ring->gpa[i], &len) !=
			    host ||
		    mpl_translate(reader, ring->world->as, ring->gpa[i],
				  BUFFER_BYTES, MPL_FOR_READ, &host2, &len2) ||
		    host2 != host || len2 != len ||
		    mpl_translate_burst(reader, ring->world->as, &ring->gpa[i],
					1, len, MPL_FOR_READ, &host3) != 1 ||
		    host3 != host)
			return false;
	}
	return true;
}

static void run_turns(struct gb_state *state, const struct ring *ring,
		      void (*turn)(struct mpl_reader *reader,
				   const struct ring *ring,
				   const uint64_t *gpa))
{
	struct mpl_reader *reader = world_enter(ring->world->plane);
	size_t at = 0;

	if (!reader || !agrees(reader, ring))
		gb_fail(state, "wrong translations");
	while (gb_next(state, PEER_BATCH)) {
		for (size_t i = 0; i < PEER_BATCH; i += QUIESCENT_EVERY) {
			turn(reader, ring, ring->gpa + at + i);
			mpl_reader_quiescent(reader);
		}
		at = (at + PEER_BATCH) & (WORLD_ADDRESSES - 1);
	}
	world_leave(reader);
}

static void run_lookup(struct gb_state *state, void *arg)
{
	run_turns(state, arg, lookup_turn);
}

static void run_translate(struct gb_state *state, void *arg)
{
	run_turns(state, arg, translate_turn);
}

static void run_burst(struct gb_state *state, void *arg)
{
	run_turns(state, arg, burst_turn);
}

static const struct {
	const char *name;
	void (*run)(struct gb_state *state, void *arg);
} kinds[] = {
	{ "ring/vhost", run_vhost },
	{ "ring/lookup", run_lookup },
	{ "ring/translate", run_translate },
	{ "ring/burst", run_burst },
};

int register_ring(void)
{
	int err = 0;

	for (size_t i = 0; i < RINGS; i++) {
		struct ring *ring = &rings[i];

		for (size_t k = 0; !err && k < sizeof(kinds) / sizeof(*kinds);
		     k++) {
			struct gb_bench bench = {
				.name = kinds[k].name,
				.args = &ring->ranges,
				.nargs = 1,
				.setup = setup,
				.run = kinds[k].run,
				.arg = ring,
			};

			err = gb_register(&bench);
		}
		for (size_t k = 0; !err && peers[k]; k++)
			err = peer_bench_register("ring", &ring->ranges,
						  peers[k], get_ring, ring);
	}
	return err;
}

void ring_free_all(void)
{
	for (size_t i = 0; i < RINGS; i++)
		forget(&rings[i]);
}
