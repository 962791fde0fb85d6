/* SPDX-License-Identifier: BSD-3-Clause */
/* KVM's dirty logs, in all modes, into the logs of regions. */
#include "tests/support/kvm_world.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kvm/kvm.h"

#define PAGE  UINT64_C(4096)
#define PAGES 512 /* of `ram` */

struct dirty {
	struct kvm_world *w;
	int ram;
	bool written[PAGES]; /* since the last sync */
	bool all_set;        /* more than was written may be told */
	struct mpl_kvm_dirty_ring rings[2];
};

static void mode(struct kvm_world *w, enum mpl_kvm_dirty_mode to)
{
	w->config.dirty_mode = to;
}

static void best(struct kvm_world *w)
{
	mode(w, MPL_KVM_DIRTY_BEST);
}

static void bitmap(struct kvm_world *w)
{
	mode(w, MPL_KVM_DIRTY_BITMAP);
}

static void manual(struct kvm_world *w)
{
	mode(w, MPL_KVM_DIRTY_MANUAL);
}

static void all_set(struct kvm_world *w)
{
	mode(w, MPL_KVM_DIRTY_ALL_SET);
}

static void ring(struct kvm_world *w)
{
	mode(w, MPL_KVM_DIRTY_RING);
	w->config.dirty_ring_entries = 1024;
}

static int setup(void **state)
{
	struct dirty *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	d->w = world_new((void (*)(struct kvm_world *)) * state);
	d->all_set = d->w->config.dirty_mode == MPL_KVM_DIRTY_ALL_SET;
	d->ram = topo_ram(d->w->t, "ram", PAGES * PAGE);
	for (int i = 0; i < 2; i++)
		assert_int_equal(mpl_kvm_dirty_ring_map(d->w->kvm,
							FAKE_VCPU_FD + i,
							&d->rings[i]),
				 0);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct dirty *d = *state;

	for (int i = 0; i < 2; i++)
		mpl_kvm_dirty_ring_unmap(d->w->kvm, &d->rings[i]);
	world_free(d->w);
	free(d);
	return 0;
}

/* What the client is told since the last time holds what was written. */
static void check(struct dirty *d)
{
	struct mpl_region *ram = d->w->t->region[d->ram];
	struct mpl_dirty_set *set;
	bool told[PAGES] = { false };
	uint64_t page, count;

	assert_int_equal(mpl_dirty_set_new(PAGES, &set), 0);
	assert_int_equal(mpl_dirty_snapshot_clear(ram, MPL_LOG_MIGRATION, 0,
						  UINT64_MAX, set),
			 0);
	for (uint64_t at = 0; mpl_dirty_set_next(set, at, &page, &count);
	     at = page + count)
		for (uint64_t i = 0; i < count; i++)
			told[page + i] = true;
	for (int i = 0; i < PAGES; i++) {
		if (d->written[i] != told[i] && !(told[i] && d->all_set))
			fail_msg("page %d: written %d, told %d", i,
				 d->written[i], told[i]);
		d->written[i] = false;
	}
	mpl_dirty_set_free(set);
	d->all_set = false;
}

static void sync_and_check(struct dirty *d)
{
	assert_int_equal(mpl_dirty_sync(d->w->t->plane), 0);
	check(d);
}

static void guest_writes(struct dirty *d, uint64_t base, unsigned int page)
{
	assert_true(fake_guest_write(d->w->fake, page & 1, 0,
				     base + page * PAGE, (uint8_t)page));
	d->written[page] = true;
}

static void start(struct dirty *d, uint64_t base)
{
	struct topo *t = d->w->t;

	topo_begin(t);
	topo_add(t, d->w->root, base, d->ram, 0);
	topo_log_start(t, d->ram, MPL_LOG_MIGRATION);
	topo_commit_ok(t);
	sync_and_check(d);
}

static void what_is_written_is_told_once(void **state)
{
	struct dirty *d = *state;
	struct mpl_kvm_stats before, after;

	start(d, 0);
	for (unsigned int round = 0; round < 4; round++) {
		for (unsigned int i = round; i < PAGES; i += 37)
			guest_writes(d, 0, i);
		mpl_kvm_stats(d->w->kvm, &before);
		sync_and_check(d);
		mpl_kvm_stats(d->w->kvm, &after);
		if (d->w->config.dirty_mode == MPL_KVM_DIRTY_RING) {
			assert_int_equal(after.log_fetches, 0);
			assert_true(after.ring_entries > before.ring_entries);
			continue;
		}
		assert_int_equal(after.log_fetches - before.log_fetches, 1);
		if (d->w->config.dirty_mode == MPL_KVM_DIRTY_BITMAP)
			assert_int_equal(after.log_clears, 0);
		else
			assert_int_equal(after.log_clears - before.log_clears,
					 1);
	}
	sync_and_check(d); /* nothing */
}

/* Each offset is the region's, wherever it is and whatever covers it. */
static void slots_are_parts_of_regions(void **state)
{
	struct dirty *d = *state;
	struct topo *t = d->w->t;
	int io = topo_io(t, "io", 2 * PAGE);

	start(d, 16 * PAGE);
	topo_begin(t);
	topo_add(t, d->w->root, (16 + 100) * PAGE, io, 1);
	world_commit(d->w, 3, 1);
	if (d->w->config.dirty_mode == MPL_KVM_DIRTY_ALL_SET)
		d->all_set = true; /* the new slots begin so */
	guest_writes(d, 16 * PAGE, 0);
	guest_writes(d, 16 * PAGE, 99);
	guest_writes(d, 16 * PAGE, 102);
	guest_writes(d, 16 * PAGE, PAGES - 1);
	assert_false(fake_guest_write(d->w->fake, 0, 0, 116 * PAGE, 1));
	sync_and_check(d);
}

/* Nothing is lost with a slot: it is fetched while the vCPUs stand still. */
static void a_slot_that_goes_is_fetched(void **state)
{
	struct dirty *d = *state;
	struct topo *t = d->w->t;
	int io = topo_io(t, "io", PAGE);

	start(d, 0);
	guest_writes(d, 0, 7);
	guest_writes(d, 0, 300);
	topo_begin(t);
	topo_add(t, d->w->root, 10 * PAGE, io, 1);
	world_commit(d->w, 3, 1);
	if (d->w->config.dirty_mode == MPL_KVM_DIRTY_ALL_SET)
		d->all_set = true;
	guest_writes(d, 0, 11);
	sync_and_check(d);
	guest_writes(d, 0, 12);
	topo_begin(t);
	topo_remove(t, d->ram);
	world_commit(d->w, 2, 1);
	check(d); /* no sync needed */
}

struct writer {
	struct dirty *d;
	unsigned int page;
};

/* A vCPU that does not stand still writes before each call. */
static void write_meanwhile(void *arg, struct fake_kvm *fake,
			    unsigned long request)
{
	struct writer *writer = arg;

	(void)request;
	if (fake->parked || writer->page >= PAGES)
		return;
	if (fake_guest_write(fake, 0, 0, writer->page * PAGE, 1))
		writer->d->written[writer->page] = true;
	writer->page++;
}

/*
 * Guests that write all the time, between any two calls: commits that split,
 * move and unmap what is logged lose nothing.
 */
static void nothing_is_lost_between_calls(void **state)
{
	struct dirty *d = *state;
	struct topo *t = d->w->t;
	struct writer writer = { .d = d };
	int io = topo_io(t, "io", PAGE);

	start(d, 0);
	d->w->fake->before = write_meanwhile;
	d->w->fake->before_arg = &writer;
	topo_begin(t);
	topo_add(t, d->w->root, 400 * PAGE, io, 1);
	world_commit(d->w, 3, 1);
	for (unsigned int i = 0; i < 40; i++) {
		topo_begin(t);
		topo_move(t, io, (300 + i * 5 % 200) * PAGE);
		world_commit(d->w, -1, 1);
		if (d->w->config.dirty_mode == MPL_KVM_DIRTY_ALL_SET)
			d->all_set = true;
	}
	topo_begin(t);
	topo_remove(t, d->ram);
	world_commit(d->w, -1, 1);
	check(d);
	assert_true(writer.page >= 40);
	d->w->fake->before = NULL;
}

static int refuse(void *opaque)
{
	struct dirty *d = opaque;

	/* KVM does not log any more, and the guest writes. */
	assert_true(fake_guest_write(d->w->fake, 0, 0, 77 * PAGE, 1));
	return -EPERM;
}

/* A log is to end, and somebody refuses the commit after KVM's ended. */
static void a_log_that_is_not_ended_has_all(void **state)
{
	static const struct mpl_listener_ops ops = { .name = "no",
						     .priority = 1 };
	struct mpl_listener_ops refusing = ops;
	struct dirty *d = *state;
	struct topo *t = d->w->t;
	struct mpl_listener *listener;

	start(d, 0);
	assert_int_equal(mpl_listener_register(t->space[d->w->space[0]].as,
					       &refusing, d, &listener),
			 0);
	refusing.commit = refuse;
	topo_begin(t);
	topo_log_stop(t, d->ram, MPL_LOG_MIGRATION);
	assert_int_equal(topo_commit_any(t), -EPERM);
	world_check(d->w);
	refusing.commit = NULL;
	d->written[77] = true;
	d->all_set = true; /* pages that were not written, too */
	sync_and_check(d);
	assert_int_equal(mpl_listener_unregister(listener), 0);
}

/*
 * An addition that KVM refuses: what was added before it is taken back, and
 * guests write there until it is gone.
 */
static void a_slot_that_is_taken_back_is_fetched(void **state)
{
	struct dirty *d = *state;
	struct topo *t = d->w->t;
	struct writer writer = { .d = d };
	int more = topo_ram(t, "more", PAGE);

	start(d, 0);
	topo_begin(t);
	topo_remove(t, d->ram);
	world_commit(d->w, 1, 1);
	sync_and_check(d);
	d->w->fake->before = write_meanwhile;
	d->w->fake->before_arg = &writer;
	fake_arm(d->w->fake, 2, 0);
	topo_begin(t);
	topo_add(t, d->w->root, 0, d->ram, 0);
	topo_add(t, d->w->root, 2 * PAGES * PAGE, more, 0);
	assert_int_equal(topo_commit_any(t), -EIO);
	d->w->fake->before = NULL;
	fake_arm(d->w->fake, 0, 0);
	assert_false(d->w->fake->parked);
	assert_int_equal(d->w->fake->count[0], 0);
	d->all_set = d->w->config.dirty_mode == MPL_KVM_DIRTY_ALL_SET;
	check(d);
}

/* The caller's memory may begin inside a page, and pages inside the region. */
static void logged_slots_begin_with_a_page_of_the_region(void **state)
{
	struct dirty *d = *state;
	struct topo *t = d->w->t;
	struct mpl_ram_config config = { .host = aligned_alloc(PAGE,
							       4 * PAGE) };
	struct mpl_region *ram, *root = t->region[d->w->root];
	struct mpl_txn *tx = mpl_begin(t->plane);
	uint64_t pages;

	assert_non_null(config.host);
	config.host = (char *)config.host + PAGE / 2;
	assert_int_equal(mpl_region_new_ram(t->plane, "odd", 3 * PAGE, &config,
					    &ram),
			 0);
	mpl_region_add(tx, root, PAGE / 2, ram, 0);
	mpl_log_start(tx, ram, MPL_LOG_MIGRATION);
	assert_int_equal(mpl_commit(tx), 0);
	/* Either an exit, or it is logged. */
	if (fake_guest_write(d->w->fake, 0, 0, PAGE, 1)) {
		assert_int_equal(mpl_dirty_sync(t->plane), 0);
		assert_int_equal(mpl_dirty_count(ram, MPL_LOG_MIGRATION,
						 &pages),
				 0);
		assert_int_not_equal(pages, 0);
	}
	tx = mpl_begin(t->plane);
	mpl_region_remove(tx, ram);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(d->w->fake->count[0], 0);
	mpl_region_unref(ram);
	mpl_synchronize(t->plane);
	free((char *)config.host - PAGE / 2);
}

struct reaper {
	struct dirty *d;
	struct mpl_kvm_sys_ops sys; /* the fake's, one call at a time */
	pthread_mutex_t mutex;
	bool end;
};

static int locked_ioctl(void *opaque, int fd, unsigned long request,
			uintptr_t arg)
{
	struct reaper *reaper = opaque;
	struct fake_kvm *fake = reaper->d->w->fake;
	int err;

	pthread_mutex_lock(&reaper->mutex);
	err = fake->sys.ioctl(fake, fd, request, arg);
	pthread_mutex_unlock(&reaper->mutex);
	return err;
}

static void *reap(void *arg)
{
	struct reaper *reaper = arg;

	while (!__atomic_load_n(&reaper->end, __ATOMIC_ACQUIRE))
		if (mpl_kvm_dirty_reap(reaper->d->w->kvm))
			abort();
	return NULL;
}

/* A thread reaps while commits split and join what logs. */
static void a_reaper_beside_commits(void **state)
{
	struct dirty *d = *state;
	struct topo *t = d->w->t;
	struct reaper reaper = { .d = d, .mutex = PTHREAD_MUTEX_INITIALIZER };
	int io = topo_io(t, "io", PAGE);
	pthread_t thread;

	start(d, 0);
	topo_begin(t);
	topo_add(t, d->w->root, 500 * PAGE, io, 1);
	topo_commit_ok(t);
	reaper.sys = d->w->fake->sys;
	reaper.sys.ioctl = locked_ioctl;
	d->w->kvm->config.sys = &reaper.sys;
	d->w->kvm->config.sys_opaque = &reaper;
	assert_int_equal(pthread_create(&thread, NULL, reap, &reaper), 0);
	for (unsigned int i = 0; i < 400; i++) {
		pthread_mutex_lock(&reaper.mutex);
		guest_writes(d, 0, i);
		pthread_mutex_unlock(&reaper.mutex);
		if (i % 4)
			continue;
		topo_begin(t);
		topo_move(t, io, (401 + i % 100) * PAGE);
		topo_commit_ok(t);
	}
	__atomic_store_n(&reaper.end, true, __ATOMIC_RELEASE);
	assert_int_equal(pthread_join(thread, NULL), 0);
	d->w->kvm->config.sys = &d->w->fake->sys;
	d->w->kvm->config.sys_opaque = d->w->fake;
	sync_and_check(d);
}

/* What is in a ring from before its slot went marks nothing foreign. */
static void stale_entries_are_dropped(void **state)
{
	struct dirty *d = *state;
	struct topo *t = d->w->t;
	int small = topo_ram(t, "small", 4 * PAGE);
	uint64_t pages;

	start(d, 0);
	guest_writes(d, 0, 200);
	/* The log ends; the entry stays in the ring. */
	topo_begin(t);
	topo_log_stop(t, d->ram, MPL_LOG_MIGRATION);
	topo_commit_ok(t);
	/* As if the entry had come late. */
	assert_true(d->rings[0].gfns);
	d->w->fake->rings[0].gfns[d->w->fake->rings[0].put % 1024] =
		(struct kvm_dirty_gfn){ .flags = KVM_DIRTY_GFN_F_DIRTY,
					.slot = 0,
					.offset = 200 };
	d->w->fake->rings[0].put++;
	topo_begin(t);
	topo_remove(t, d->ram);
	topo_add(t, d->w->root, 0, small, 0);
	topo_log_start(t, small, MPL_LOG_MIGRATION);
	topo_commit_ok(t);
	assert_int_equal(mpl_kvm_dirty_reap(d->w->kvm), 0);
	assert_int_equal(
		mpl_dirty_count(t->region[d->ram], MPL_LOG_MIGRATION, &pages),
		0);
}

static void modes_are_refused_where_kvm_lacks_them(void **state)
{
	struct topo *t = topo_new();
	int space = topo_space(t, topo_container(t, "root", 0x1000));
	static const struct {
		enum mpl_kvm_dirty_mode mode;
		unsigned int entries;
		int err;
	} table[] = {
		{ MPL_KVM_DIRTY_BEST, 0, 0 },
		{ MPL_KVM_DIRTY_BITMAP, 0, 0 },
		{ MPL_KVM_DIRTY_MANUAL, 0, -ENOTSUP },
		{ MPL_KVM_DIRTY_ALL_SET, 0, -ENOTSUP },
		{ MPL_KVM_DIRTY_RING, 0, -ENOTSUP },
		{ (enum mpl_kvm_dirty_mode)17, 0, -EINVAL },
		{ MPL_KVM_DIRTY_RING, 1000, -EINVAL },
		{ MPL_KVM_DIRTY_RING, 128, -EINVAL },
		{ MPL_KVM_DIRTY_RING, 1 << 20, -EINVAL },
		{ MPL_KVM_DIRTY_RING, 1 << 16, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct fake_kvm *fake = fake_new();
		struct mpl_kvm_config config = fake_config(fake);
		struct mpl_kvm *kvm;

		fake->manual = 0;
		if (!table[i].entries)
			fake->ring_bytes = 0;
		config.dirty_mode = table[i].mode;
		config.dirty_ring_entries = table[i].entries;
		assert_int_equal(mpl_kvm_attach(t->space[space].as, FAKE_VM_FD,
						&config, &kvm),
				 table[i].err);
		if (!table[i].err)
			assert_int_equal(mpl_kvm_detach(kvm), 0);
		fake_free(fake);
	}
	topo_free(t);
}

#define DIRTY_TEST(f, how)                                                     \
	{                                                                      \
#f " (" #how ")", f, setup, teardown, (void *)(how)            \
	}
#define IN_ALL_MODES(f)                                                        \
	DIRTY_TEST(f, best), DIRTY_TEST(f, bitmap), DIRTY_TEST(f, manual),     \
		DIRTY_TEST(f, all_set), DIRTY_TEST(f, ring)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_ALL_MODES(what_is_written_is_told_once),
		IN_ALL_MODES(slots_are_parts_of_regions),
		IN_ALL_MODES(a_slot_that_goes_is_fetched),
		IN_ALL_MODES(nothing_is_lost_between_calls),
		IN_ALL_MODES(a_log_that_is_not_ended_has_all),
		IN_ALL_MODES(a_slot_that_is_taken_back_is_fetched),
		IN_ALL_MODES(logged_slots_begin_with_a_page_of_the_region),
		DIRTY_TEST(a_reaper_beside_commits, ring),
		DIRTY_TEST(stale_entries_are_dropped, ring),
		cmocka_unit_test(modes_are_refused_where_kvm_lacks_them),
	};

	return topo_run(tests);
}
