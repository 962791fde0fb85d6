/* SPDX-License-Identifier: BSD-3-Clause */
#include "demo_reader.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "machine.h"

#define BATCH       32
#define CHECK_EVERY (1024 / BATCH) /* batches */

/* A target whose address space exists. */
struct place {
	const struct mpl_address_space *as;
	uint64_t address;
	uint32_t space;
};

struct places {
	struct place *items;
	uint32_t count;
	uint32_t next;
	uint64_t version; /* of the table that they are from */
	uint32_t random;
};

void demo_tell(struct demo_shared *shared, uint64_t generation, uint32_t seq)
{
	uint64_t word = generation << DEMO_PUBLICATION_BITS | seq;

	__atomic_store_n(&shared->ring[generation % DEMO_RING], word,
			 __ATOMIC_RELEASE);
	/* A reader that sees this sees the ring's word, too. */
	__atomic_store_n(&shared->told, generation, __ATOMIC_RELEASE);
}

/* Take the newest table.  From here on the old one is not touched. */
static void take_table(struct demo_reader *reader, struct places *places)
{
	const struct script *script = reader->shared->script;
	const struct demo_table *table =
		__atomic_load_n(&reader->shared->table, __ATOMIC_ACQUIRE);
	size_t i;

	if (table->version == places->version)
		return;
	places->version = table->version;
	places->count = places->next = 0;
	for (i = 0; i < script->targets_count; i++) {
		const struct script_target *target = &script->targets[i];

		if (target->space < table->count && table->of[target->space])
			places->items[places->count++] =
				(struct place){ table->of[target->space],
						target->address,
						target->space };
	}
	__atomic_store_n(&reader->seen, table->version, __ATOMIC_RELEASE);
}

static void use(const struct mpl_section *section)
{
	__asm__ volatile("" : : "r"(section->flags));
}

static const struct place *next_place(struct places *places)
{
	const struct place *place = &places->items[places->next++];

	if (places->next == places->count)
		places->next = 0;
	return place;
}

/* One look-up in 64 is timed: the first of every second batch. */
static void look_up_batch(struct demo_reader *reader, struct places *places,
			  bool timed)
{
	const struct place *place;
	unsigned int i = 0;

	if (timed) {
		uint64_t begin;

		place = next_place(places);
		begin = timer_now();
		use(mpl_lookup(reader->reader, place->as, place->address));
		latency_add(&reader->latency, timer_now() - begin);
		i = 1;
	}
	for (; i < BATCH; i++) {
		place = next_place(places);
		use(mpl_lookup(reader->reader, place->as, place->address));
	}
	reader->lookups += BATCH;
}

/* Note what is found in which generation, if that is one generation. */
static void note_check(struct demo_reader *reader, struct places *places)
{
	struct mpl_reader *rd = reader->reader;
	const struct mpl_section *section;
	const struct place *place;
	struct demo_check check;

	if (reader->waiting_count == DEMO_CHECKS)
		return;
	places->random = places->random * 1664525 + 1013904223;
	place = &places->items[(places->random >> 8) % places->count];
	check.generation = mpl_reader_snapshot(rd)->generation;
	section = mpl_lookup(rd, place->as, place->address);
	if (mpl_reader_snapshot(rd)->generation != check.generation)
		return;
	check.address = place->address;
	check.space = place->space;
	check.region = 0;
	check.offset = place->address;
	if (!mpl_section_is_unassigned(section)) {
		check.region = machine_region_id(mpl_section_region(section));
		check.offset = mpl_section_offset(section, place->address);
	}
	reader->waiting[reader->waiting_count++] = check;
}

static const struct trace_range *range_at(const struct expect_view *view,
					  uint64_t address)
{
	size_t low = 0, high = view->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (view->ranges[middle].last < address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == view->count || view->ranges[low].start > address)
		return NULL;
	return &view->ranges[low];
}

static bool agrees(const struct script_state *state,
		   const struct demo_check *check)
{
	const struct expect_view *view = check->space < state->count ?
						 state->of_space[check->space] :
						 NULL;
	const struct trace_range *range;

	if (!view)
		return false;
	range = range_at(view, check->address);
	if (!range)
		return !check->region && check->offset == check->address;
	return check->region == range->region &&
	       check->offset == check->address - range->start + range->offset;
}

/* True when there is nothing more to wait for. */
static bool settle_check(struct demo_reader *reader,
			 const struct demo_check *check)
{
	struct demo_shared *shared = reader->shared;
	uint64_t told = __atomic_load_n(&shared->told, __ATOMIC_ACQUIRE);
	uint64_t word;
	uint32_t seq;

	if (told < check->generation)
		return false;
	word = __atomic_load_n(&shared->ring[check->generation % DEMO_RING],
			       __ATOMIC_ACQUIRE);
	seq = word & ((1u << DEMO_PUBLICATION_BITS) - 1);
	if (word >> DEMO_PUBLICATION_BITS != check->generation || !seq) {
		reader->unknown++;
		return true;
	}
	reader->checks++;
	reader->mismatches += !agrees(shared->script->states[seq], check);
	return true;
}

static void settle_checks(struct demo_reader *reader)
{
	unsigned int i, left = 0;

	for (i = 0; i < reader->waiting_count; i++)
		if (!settle_check(reader, &reader->waiting[i]))
			reader->waiting[left++] = reader->waiting[i];
	reader->waiting_count = left;
}

static void run(struct demo_reader *reader, struct places *places)
{
	uint64_t batch = 0;

	mpl_reader_online(reader->reader);
	while (!__atomic_load_n(&reader->shared->stop, __ATOMIC_RELAXED)) {
		take_table(reader, places);
		if (!places->count) {
			mpl_reader_quiescent(reader->reader);
			sched_yield();
			continue;
		}
		look_up_batch(reader, places, !(batch & 1));
		if (!(batch % CHECK_EVERY))
			note_check(reader, places);
		mpl_reader_quiescent(reader->reader);
		if (reader->waiting_count)
			settle_checks(reader);
		batch++;
	}
	settle_checks(reader);
	mpl_reader_offline(reader->reader);
}

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static void *reader_main(void *arg)
{
	struct demo_reader *reader = arg;
	size_t count = reader->shared->script->targets_count;
	struct places places = { .random = (uintptr_t)arg >> 6 };
	uint64_t begin = clock_ns();

	places.items = calloc(count ? count : 1, sizeof(*places.items));
	reader->err = places.items ? mpl_reader_register(reader->shared->plane,
							 &reader->reader) :
				     -ENOMEM;
	if (!reader->err) {
		run(reader, &places);
		mpl_reader_unregister(reader->reader);
	}
	reader->ns = clock_ns() - begin;
	free(places.items);
	/* Nobody need wait for a reader that is gone. */
	__atomic_store_n(&reader->seen, UINT64_MAX, __ATOMIC_RELEASE);
	return NULL;
}

int demo_reader_start(struct demo_reader *reader, struct demo_shared *shared)
{
	int err;

	*reader = (struct demo_reader){ .shared = shared };
	err = pthread_create(&reader->thread, NULL, reader_main, reader);
	if (err)
		return -err;
	reader->started = true;
	return 0;
}

void demo_reader_join(struct demo_reader *reader)
{
	if (reader->started)
		pthread_join(reader->thread, NULL);
	reader->started = false;
}
