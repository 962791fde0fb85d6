/* SPDX-License-Identifier: BSD-3-Clause */
/* Zones in KVM, and the ring of what was written there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <memplane.h>

#include "kvm/kvm.h"
#include "tests/support/fake_machine.h"

struct world {
	struct machine *m;
	struct mpl_vcpu *vcpu[2];
	uint64_t gpa; /* of the next exit: 4 bytes are written there */
	bool smm;     /* from system management mode */
};

static int guest(void *arg, unsigned int vcpu, struct kvm_run *run)
{
	struct world *w = arg;

	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = w->gpa;
	run->mmio.is_write = 1;
	run->flags = w->smm ? KVM_RUN_X86_SMM : 0;
	run->mmio.len = 4;
	memset(run->mmio.data, 0, 8);
	run->mmio.data[0] = 0xe0;
	run->mmio.data[1] = (uint8_t)vcpu;
	return 0;
}

static int setup(void **state)
{
	static struct world w;

	w = (struct world){ .m = machine_new(false, false),
			    .gpa = MACHINE_DEVICE + 0x80 };
	w.m->fake->guest = guest;
	w.m->fake->guest_arg = &w;
	for (int i = 0; i < 2; i++)
		assert_int_equal(mpl_vcpu_new(w.m->kvm, FAKE_VCPU_FD + i,
					      (unsigned int)i, &w.vcpu[i]),
				 0);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 2; i++)
		assert_int_equal(mpl_vcpu_free(w->vcpu[i]), 0);
	machine_free(w->m);
	return 0;
}

/* As KVM does it; false: the ring is full. */
static bool queue(struct world *w, bool pio, uint64_t gpa, uint32_t value)
{
	struct kvm_coalesced_mmio_ring *ring = w->m->fake->coalesced;
	uint32_t last = ring->last, next = (last + 1) % MPL_KVM_RING_ENTRIES;

	if (next == __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE))
		return false;
	ring->coalesced_mmio[last] = (struct kvm_coalesced_mmio){
		.phys_addr = gpa,
		.len = 4,
		.pio = pio,
	};
	memcpy(ring->coalesced_mmio[last].data, &value, 4);
	__atomic_store_n(&ring->last, next, __ATOMIC_RELEASE);
	return true;
}

static void writes_come_before_the_exit(void **state)
{
	struct world *w = *state;
	struct mpl_vcpu_stats stats;

	for (uint32_t i = 0; i < 10; i++)
		assert_true(queue(w, i % 2, i % 2 ? MACHINE_PORTS :
						    MACHINE_BIG + 4 * i, i));
	assert_int_equal(w->m->count, 0);
	assert_int_equal(mpl_vcpu_run(w->vcpu[1]), 0);
	assert_int_equal(w->m->count, 11);
	for (uint32_t i = 0; i < 10; i++) {
		const struct machine_access *access = &w->m->accesses[i];

		assert_int_equal(access->device, i % 2 ? 'p' : 'b');
		assert_int_equal(access->offset, i % 2 ? 0 : 4 * i);
		assert_int_equal(access->value,
				 i % 2 ? i : __builtin_bswap32(i));
		assert_true(access->is_write);
	}
	assert_int_equal(w->m->accesses[10].offset, 0x80);
	mpl_vcpu_stats(w->vcpu[1], &stats);
	assert_int_equal(stats.coalesced, 10);
}

/* Any vCPU may have queued it, whoever takes it out. */
static void queued_writes_are_not_secure(void **state)
{
	struct world *w = *state;

	w->smm = true;
	assert_true(queue(w, false, MACHINE_BIG, 1));
	assert_int_equal(mpl_vcpu_run(w->vcpu[1]), 0);
	assert_int_equal(w->m->count, 2);
	assert_false(w->m->accesses[0].attrs.secure);
	assert_true(w->m->accesses[1].attrs.secure);
}

/* Round and round: every entry once, in order, also at the wrap. */
static void a_full_ring_wraps(void **state)
{
	struct world *w = *state;
	uint32_t next = 0, seen = 0;

	for (int round = 0; round < 5; round++) {
		while (queue(w, false, MACHINE_DEVICE, next))
			next++;
		assert_int_equal(mpl_kvm_coalesced_drain(w->m->kvm), 0);
		for (unsigned int i = 0; i < w->m->count; i++)
			assert_int_equal(w->m->accesses[i].value, seen++);
		w->m->count = 0;
		assert_int_equal(seen, next);
	}
	assert_int_equal(seen, 5 * (MPL_KVM_RING_ENTRIES - 1));
}

/* The device that gets a queued write commits, and moves itself. */
static void move_on(struct machine *m, void *arg)
{
	struct world *w = arg;
	struct mpl_txn *tx;

	if (m->count != 1)
		return;
	assert_int_equal(mpl_kvm_coalesced_drain(m->kvm), -EDEADLK);
	tx = mpl_begin(m->plane);
	mpl_region_move(tx, m->device.region, MACHINE_DEVICE + 0x10000);
	machine_commit(tx);
	w->gpa = MACHINE_DEVICE + 0x10000;
}

static void delivery_may_commit(void **state)
{
	struct world *w = *state;

	w->m->inside = move_on;
	w->m->inside_arg = w;
	queue(w, false, MACHINE_DEVICE, 1);
	queue(w, false, MACHINE_DEVICE, 2); /* nothing is there any more */
	queue(w, false, MACHINE_DEVICE + 0x10000, 3);
	assert_int_equal(mpl_kvm_coalesced_drain(w->m->kvm), 0);
	assert_int_equal(w->m->count, 2);
	assert_int_equal(w->m->accesses[1].value, 3);
}

/* A ring that KVM and we do not read alike: nothing, and no endless loop. */
static void strange_indexes_are_left_alone(void **state)
{
	struct world *w = *state;

	w->m->fake->coalesced->last = 4000;
	assert_int_equal(mpl_vcpu_run(w->vcpu[0]), 0);
	assert_int_equal(w->m->count, 1);
	w->m->fake->coalesced->last = 0;
}


/* vCPU 0's delivery is slow. */
static void slowly(struct machine *m, void *arg)
{
	(void)arg;
	(void)m;
	usleep(2000);
}

static void *run_vcpu0(void *arg)
{
	struct world *w = arg;

	assert_int_equal(mpl_kvm_coalesced_drain(w->m->kvm), 0);
	return NULL;
}

/*
 * While one thread delivers, another one's exit waits for it: the last write
 * is taken out of the ring only when it has been delivered.
 */
static void an_exit_does_not_overtake(void **state)
{
	struct world *w = *state;

	for (uint32_t i = 0; i < 20; i++) {
		pthread_t thread;

		w->m->count = 0;
		w->m->inside = slowly;
		queue(w, false, MACHINE_DEVICE, 7);
		assert_int_equal(pthread_create(&thread, NULL, run_vcpu0, w),
				 0);
		usleep(i * 100);
		w->gpa = MACHINE_BIG;
		assert_int_equal(mpl_vcpu_run(w->vcpu[1]), 0);
		pthread_join(thread, NULL);
		assert_int_equal(w->m->count, 2);
		assert_int_equal(w->m->accesses[0].device, 'd');
		assert_int_equal(w->m->accesses[1].device, 'b');
	}
	w->m->inside = NULL;
}

static bool has_zone(const struct fake_kvm *fake, uint64_t addr, uint32_t size,
		     bool pio)
{
	for (size_t i = 0; i < fake->n_zones; i++)
		if (fake->zones[i].zone.addr == addr &&
		    fake->zones[i].zone.size == size &&
		    fake->zones[i].zone.pio == pio)
			return true;
	return false;
}

static void zones_follow_the_map(void **state)
{
	struct world *w = *state;
	struct fake_kvm *fake = w->m->fake;
	struct mpl_txn *tx = mpl_begin(w->m->plane);

	mpl_coalescing_add(tx, w->m->device.region, 0x10, 0x20);
	mpl_coalescing_add(tx, w->m->device.region, 0x100, 0x100);
	mpl_coalescing_add(tx, w->m->port.region, 2, 4);
	machine_commit(tx);
	/* Once, although SMM shows the device as well. */
	assert_int_equal(fake->n_zones, 3);
	assert_true(has_zone(fake, MACHINE_DEVICE + 0x10, 0x20, false));
	assert_true(has_zone(fake, MACHINE_DEVICE + 0x100, 0x100, false));
	assert_true(has_zone(fake, MACHINE_PORTS + 2, 4, true));
	tx = mpl_begin(w->m->plane);
	mpl_region_move(tx, w->m->device.region, MACHINE_DEVICE + 0x8000);
	machine_commit(tx);
	assert_int_equal(fake->n_zones, 3);
	assert_true(has_zone(fake, MACHINE_DEVICE + 0x8010, 0x20, false));
	tx = mpl_begin(w->m->plane);
	mpl_coalescing_clear(tx, w->m->port.region);
	mpl_region_set_enabled(tx, w->m->device.region, false);
	machine_commit(tx);
	assert_int_equal(fake->n_zones, 0);
}

static void refused_zones_exit(void **state)
{
	struct world *w = *state;
	struct fake_kvm *fake = w->m->fake;
	struct mpl_txn *tx = mpl_begin(w->m->plane);
	unsigned int lines = w->m->lines;

	fake_arm(fake, 1, 2);
	fake->fault_errno = ENOSPC;
	mpl_coalescing_add(tx, w->m->device.region, 0x10, 0x20);
	mpl_coalescing_add(tx, w->m->device.region, 0x40, 0x20);
	mpl_coalescing_add(tx, w->m->device.region, 0x80, 0x20);
	machine_commit(tx);
	assert_int_equal(fake->failed, 2);
	assert_int_equal(fake->n_zones, 1);
	assert_int_equal(w->m->lines, lines + 1);
	assert_int_equal(w->m->kvm->ring.refused, 2);
	/* What was refused is not taken back. */
	fake_arm(fake, 0, 0);
	tx = mpl_begin(w->m->plane);
	mpl_coalescing_clear(tx, w->m->device.region);
	machine_commit(tx);
	assert_int_equal(fake->changes, 1);
	assert_int_equal(fake->n_zones, 0);
}

static void other_errors_fail_the_commit(void **state)
{
	struct world *w = *state;
	struct fake_kvm *fake = w->m->fake;
	struct mpl_txn *tx = mpl_begin(w->m->plane);

	fake_arm(fake, 2, 0);
	mpl_coalescing_add(tx, w->m->device.region, 0x10, 0x20);
	mpl_coalescing_add(tx, w->m->device.region, 0x40, 0x20);
	assert_int_equal(mpl_commit(tx), -EIO);
	assert_int_equal(fake->n_zones, 0);
	fake_arm(fake, 0, 0);
}

static void resync_makes_them_anew(void **state)
{
	struct world *w = *state;
	struct fake_kvm *fake = w->m->fake;
	struct mpl_txn *tx = mpl_begin(w->m->plane);

	mpl_coalescing_add(tx, w->m->device.region, 0x10, 0x20);
	mpl_coalescing_add(tx, w->m->port.region, 0, 8);
	machine_commit(tx);
	assert_int_equal(mpl_kvm_resync(w->m->kvm), 0);
	assert_int_equal(fake->n_zones, 2);
	tx = mpl_begin(w->m->plane);
	mpl_coalescing_clear(tx, w->m->device.region);
	mpl_coalescing_clear(tx, w->m->port.region);
	machine_commit(tx);
	assert_int_equal(fake->n_zones, 0);
}

int main(void)
{
#define ZONE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		ZONE_TEST(writes_come_before_the_exit),
		ZONE_TEST(queued_writes_are_not_secure),
		ZONE_TEST(a_full_ring_wraps),
		ZONE_TEST(delivery_may_commit),
		ZONE_TEST(strange_indexes_are_left_alone),
		ZONE_TEST(an_exit_does_not_overtake),
		ZONE_TEST(zones_follow_the_map),
		ZONE_TEST(refused_zones_exit),
		ZONE_TEST(other_errors_fail_the_commit),
		ZONE_TEST(resync_makes_them_anew),
	};

	return cmocka_run_group_tests_name("kvm coalesced", tests, NULL, NULL);
}
