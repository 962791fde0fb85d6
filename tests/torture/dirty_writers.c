/* SPDX-License-Identifier: BSD-3-Clause */
/* Writers of all kinds, and what each of them owes the log. */
#include "tests/torture/dirty.h"

#include <sched.h>

static const struct mpl_attrs attrs;

static uint64_t offset_of(const struct writer *writer, unsigned int hot)
{
	return writer->world->page[hot] * PAGE + SLOT * (writer->number + 1);
}

/* What was stored is marked now. */
static void is_done(struct writer *writer, unsigned int hot, uint64_t stamp)
{
	struct world *world = writer->world;

	__atomic_store_n(&world->done[writer->number][hot], stamp,
			 __ATOMIC_RELEASE);
	__atomic_add_fetch(&world->writes, 1, __ATOMIC_RELAXED);
}

static void quiescent(struct writer *writer)
{
	must(mpl_reader_quiescent(writer->reader), "mpl_reader_quiescent");
	for (unsigned int i = 0; i < writer->n_pending; i++)
		is_done(writer, writer->pending[i].hot,
			writer->pending[i].stamp);
	writer->n_pending = 0;
}

static void store_host(void *host, uint64_t stamp)
{
	__atomic_store_n((uint64_t *)host, stamp, __ATOMIC_RELAXED);
}

/* A word's guest address: in the RAM, or seen through the alias. */
static uint64_t gpa_of(struct writer *writer, unsigned int hot)
{
	uint64_t at = random_below(&writer->random, 4) ? RAM_AT : ALIAS_AT;

	return at + offset_of(writer, hot);
}

static void by_access(struct writer *writer, unsigned int hot)
{
	const struct mpl_address_space *as = writer->world->as;
	uint64_t stamp = ++writer->stamp, found, gpa = gpa_of(writer, hot);
	struct mpl_reader *reader = writer->reader;
	mpl_result_t result;
	bool swapped = true;

	switch (random_below(&writer->random, 4)) {
	case 0:
		result = mpl_store(reader, as, gpa, attrs, 8,
				   MPL_NATIVE_ENDIAN, stamp);
		break;
	case 1:
		result = mpl_write(reader, as, gpa, attrs, &stamp, 8);
		break;
	case 2:
		result = mpl_store_release(reader, as, gpa, 8, stamp);
		break;
	default:
		result = mpl_load_acquire(reader, as, gpa, 8, &found);
		if (!result)
			result = mpl_compare_exchange(reader, as, gpa, 8,
						      &found, stamp, &swapped);
		break;
	}
	if (result || !swapped)
		fail("an access to memory: result %u", result);
	is_done(writer, hot, stamp);
}

static void spin(struct writer *writer, uint64_t most)
{
	for (uint64_t n = random_below(&writer->random, most); n; n--)
		__asm__ volatile("" ::: "memory");
}

/*
 * The second store, to another line, finds its page marked, and waits for the
 * line that the copier has read: here a missing fence shows.  Then the writer
 * leaves the page alone for a moment, so that nothing hides a lost mark.
 */
static void by_twice(struct writer *writer, unsigned int hot)
{
	struct world *world = writer->world;
	uint64_t at = offset_of(writer, hot);

	if (mpl_store(writer->reader, world->as, RAM_AT + at + PAGE / 2, attrs,
		      8, MPL_NATIVE_ENDIAN, 1))
		fail("mpl_store");
	spin(writer, 200);
	if (random_below(&writer->random, 2)) {
		store_host(world->host + at, ++writer->stamp);
		must(mpl_dirty_mark(world->ram, at, 8), "mpl_dirty_mark");
	} else if (mpl_store(writer->reader, world->as, RAM_AT + at, attrs, 8,
			     MPL_NATIVE_ENDIAN, ++writer->stamp)) {
		fail("mpl_store");
	}
	__atomic_store_n(&world->done[writer->number][hot], writer->stamp,
			 __ATOMIC_RELEASE);
	spin(writer, 2000);
}

/* Bytes on both sides of a border, which this writer has for itself. */
static void by_border(struct writer *writer, unsigned int pair)
{
	struct world *world = writer->world;
	uint64_t at = RAM_AT + world->page[2 * pair + 1] * PAGE - 12;
	uint64_t bytes[3];

	if (pair % READERS != writer->number)
		return;
	for (int i = 0; i < 3; i++)
		bytes[i] = random_below(&writer->random, UINT64_MAX);
	if (mpl_write(writer->reader, world->as, at, attrs, bytes, 24))
		fail("a write over a border");
}

static void stored(struct writer *writer, unsigned int hot, void *host)
{
	store_host(host, ++writer->stamp);
	writer->pending[writer->n_pending].hot = hot;
	writer->pending[writer->n_pending++].stamp = writer->stamp;
}

static void by_pointer(struct writer *writer, unsigned int hot)
{
	const struct mpl_address_space *as = writer->world->as;
	size_t contiguous;
	void *host;

	if (mpl_translate(writer->reader, as, gpa_of(writer, hot), 8,
			  MPL_FOR_WRITE, &host, &contiguous) ||
	    contiguous != 8)
		fail("mpl_translate");
	/* Between the pointer and the store, anything may happen. */
	if (!random_below(&writer->random, 16))
		sched_yield();
	stored(writer, hot, host);
}

static void by_burst(struct writer *writer, unsigned int hot)
{
	uint64_t gpa[BURST];
	void *host[BURST];

	for (unsigned int i = 0; i < BURST; i++)
		gpa[i] = gpa_of(writer, (hot + i) % HOT);
	if (mpl_translate_burst(writer->reader, writer->world->as, gpa, BURST,
				8, MPL_FOR_BOTH, host) != BURST)
		fail("mpl_translate_burst");
	for (unsigned int i = 0; i < BURST; i++)
		stored(writer, (hot + i) % HOT, host[i]);
}

static void by_window(struct writer *writer, unsigned int hot)
{
	struct mpl_window *window = &writer->window;

	if (window->host && (mpl_window_is_stale(writer->reader, window) ||
			     !random_below(&writer->random, 50)))
		mpl_window_close(window);
	if (!window->host) {
		must(mpl_window_open(writer->reader, writer->world->as,
				     gpa_of(writer, hot), 8, MPL_FOR_WRITE,
				     window),
		     "mpl_window_open");
		writer->window_hot = hot;
	}
	store_host(window->host, ++writer->stamp);
	if (random_below(&writer->random, 8))
		must(mpl_window_dirty(window, 0, 8), "mpl_window_dirty");
	else
		mpl_window_close(window);
	is_done(writer, writer->window_hot, writer->stamp);
}

static void park(struct writer *writer)
{
	struct world *world = writer->world;

	if (!__atomic_load_n(&world->pause, __ATOMIC_RELAXED))
		return;
	if (writer->reader) {
		mpl_window_close(&writer->window);
		quiescent(writer);
		must(mpl_reader_offline(writer->reader), "offline");
	}
	pthread_mutex_lock(&world->mutex);
	world->parked++;
	pthread_cond_broadcast(&world->changed);
	while (world->pause)
		pthread_cond_wait(&world->changed, &world->mutex);
	world->parked--;
	pthread_cond_broadcast(&world->changed);
	pthread_mutex_unlock(&world->mutex);
	if (writer->reader)
		must(mpl_reader_online(writer->reader), "online");
}

void *reader_thread(void *arg)
{
	struct writer *writer = arg;
	struct world *world = writer->world;

	must(mpl_reader_register(world->plane, &writer->reader), "register");
	must(mpl_reader_online(writer->reader), "online");
	while (!stopped(world)) {
		unsigned int hot =
			(unsigned int)random_below(&writer->random, HOT);
		uint64_t way = random_below(&writer->random, 16);

		if (way < 4)
			by_access(writer, hot);
		else if (way < 6)
			by_twice(writer, writer->number);
		else if (way < 7)
			by_border(writer, hot / 2);
		else if (way < 10)
			by_pointer(writer, hot);
		else if (way < 13)
			by_burst(writer, hot);
		else
			by_window(writer, hot);
		if (writer->n_pending + BURST > 64 ||
		    !random_below(&writer->random, 4))
			quiescent(writer);
		park(writer);
	}
	mpl_window_close(&writer->window);
	must(mpl_reader_unregister(writer->reader), "unregister");
	return NULL;
}

/* Against the migration alone, which looks at nothing but this page. */
void *duel_thread(void *arg)
{
	struct writer *writer = arg;
	struct world *world = writer->world;

	must(mpl_reader_register(world->plane, &writer->reader), "register");
	must(mpl_reader_online(writer->reader), "online");
	while (!stopped(world)) {
		by_twice(writer, 0);
		quiescent(writer);
	}
	must(mpl_reader_unregister(writer->reader), "unregister");
	return NULL;
}

/* Whom only an outside log sees, as KVM's sees a guest. */
void *outside_thread(void *arg)
{
	struct writer *writer = arg;
	struct world *world = writer->world;

	while (!stopped(world)) {
		unsigned int hot =
			(unsigned int)random_below(&writer->random, HOT);
		uint64_t page = world->page[hot];

		store_host(world->host + offset_of(writer, hot),
			   ++writer->stamp);
		__atomic_fetch_or(&world->outside[page / 64],
				  UINT64_C(1) << (page % 64), __ATOMIC_SEQ_CST);
		is_done(writer, hot, writer->stamp);
		park(writer);
	}
	return NULL;
}

/* A device's own writes, and those of a thread that is no reader. */
void *device_thread(void *arg)
{
	struct writer *writer = arg;
	struct world *world = writer->world;

	while (!stopped(world)) {
		unsigned int hot =
			(unsigned int)random_below(&writer->random, HOT);
		uint64_t offset = offset_of(writer, hot);
		uint64_t stamp = ++writer->stamp;

		if (random_below(&writer->random, 4)) {
			store_host(world->host + offset, stamp);
			must(mpl_dirty_mark(world->ram, offset, 8),
			     "mpl_dirty_mark");
		} else if (mpl_plane_write(world->plane, world->as,
					   RAM_AT + offset, attrs, &stamp, 8)) {
			fail("mpl_plane_write");
		}
		is_done(writer, hot, stamp);
		park(writer);
	}
	return NULL;
}
