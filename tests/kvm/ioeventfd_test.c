/* SPDX-License-Identifier: BSD-3-Clause */
/* ioeventfds in KVM: which, in how many calls, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <memplane.h>

#include "kvm/kvm.h"
#include "tests/support/fake_machine.h"

static int setup(void **state)
{
	*state = machine_new(false, true);
	return 0;
}

static int teardown(void **state)
{
	machine_free(*state);
	return 0;
}

/* The one in KVM that matches all but the descriptor, or NULL. */
static const struct kvm_ioeventfd *find(const struct machine *m, uint64_t addr,
					uint32_t len, uint32_t flags,
					uint64_t datamatch)
{
	for (size_t i = 0; i < m->fake->n_ioeventfds; i++) {
		const struct kvm_ioeventfd *own = &m->fake->ioeventfds[i].call;

		if (own->addr == addr && own->len == len &&
		    own->flags == flags && own->datamatch == datamatch)
			return own;
	}
	return NULL;
}

static void add(struct mpl_txn *tx, struct machine_device *device, int fd,
		uint64_t offset, unsigned int size, bool match, uint64_t data)
{
	mpl_ioeventfd_add(tx, device->region,
			  &(struct mpl_ioeventfd){
				  .offset = offset,
				  .data = data,
				  .size = size,
				  .match = match,
				  .fd = fd,
			  });
}

static void del(struct mpl_txn *tx, struct machine_device *device, int fd,
		uint64_t offset, unsigned int size, bool match, uint64_t data)
{
	mpl_ioeventfd_del(tx, device->region,
			  &(struct mpl_ioeventfd){
				  .offset = offset,
				  .data = data,
				  .size = size,
				  .match = match,
				  .fd = fd,
			  });
}

static uint64_t rung(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static uint64_t calls(const struct machine *m)
{
	return m->fake->calls[FAKE_IOEVENTFD];
}

/* Lengths, with and without a value, on both buses and in both byte orders. */
static void kinds(void **state)
{
	static const unsigned int sizes[] = { 0, 1, 2, 4, 8 };
	struct machine *m = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	uint64_t data = UINT64_C(0x1122334455667788);
	struct mpl_txn *tx = mpl_begin(m->plane);

	for (unsigned int i = 0; i < 5; i++) {
		unsigned int size = sizes[i];
		uint64_t value = size == 8 ? data :
					     data & ((1ull << 8 * size) - 1);

		add(tx, &m->device, fd, 0x10 * i, size, false, 0);
		if (!size)
			continue;
		add(tx, &m->device, fd, 0x10 * i + 0x100, size, true, value);
		add(tx, &m->big, fd, 0x10 * i + 0x100, size, true, value);
		if (size <= 4)
			add(tx, &m->port, fd, size, size, true, value);
	}
	add(tx, &m->port, fd, 0, 0, false, 0);
	machine_commit(tx);
	/* Once each, although the SMM space shows the devices as well. */
	assert_int_equal(m->fake->n_ioeventfds, 5 + 4 + 4 + 3 + 1);
	for (unsigned int i = 0; i < 5; i++) {
		unsigned int size = sizes[i];
		uint64_t value = size == 8 ? data :
					     data & ((1ull << 8 * size) - 1);
		uint64_t swapped =
			size ? __builtin_bswap64(value) >> (64 - 8 * size) : 0;
		uint32_t match = KVM_IOEVENTFD_FLAG_DATAMATCH;

		assert_non_null(find(m, MACHINE_DEVICE + 0x10 * i, size, 0, 0));
		if (!size)
			continue;
		assert_non_null(find(m, MACHINE_DEVICE + 0x10 * i + 0x100,
				     size, match, value));
		assert_non_null(find(m, MACHINE_BIG + 0x10 * i + 0x100, size,
				     match, swapped));
		if (size <= 4)
			assert_non_null(find(m, MACHINE_PORTS + size, size,
					     match | KVM_IOEVENTFD_FLAG_PIO,
					     value));
	}
	assert_non_null(find(m, MACHINE_PORTS, 0, KVM_IOEVENTFD_FLAG_PIO, 0));
	close(fd);
}

/*
 * What the library rings for a value is what KVM is told to match: the same
 * write, as the bytes that a guest puts on the bus.
 */
static void big_endian_values_are_the_same_writes(void **state)
{
	struct machine *m = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	struct mpl_txn *tx = mpl_begin(m->plane);
	struct mpl_reader *reader;
	uint32_t bytes;

	add(tx, &m->big, fd, 0, 4, true, 0x11223344);
	machine_commit(tx);
	assert_int_equal(m->fake->n_ioeventfds, 1);
	/* KVM compares with what it finds in memory, little-endian. */
	bytes = (uint32_t)m->fake->ioeventfds[0].call.datamatch;
	assert_int_equal(mpl_reader_register(m->plane, &reader), 0);
	mpl_reader_online(reader);
	assert_int_equal(mpl_write(reader, m->memory, MACHINE_BIG,
				   (struct mpl_attrs){ 0 }, &bytes, 4),
			 MPL_OK);
	mpl_reader_unregister(reader);
	assert_int_equal(rung(fd), 1);
	assert_int_equal(m->count, 0);
	close(fd);
}

/* A value wider than the write never rings, in any byte order. */
static void values_that_never_match(void **state)
{
	struct machine *m = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	struct mpl_txn *tx = mpl_begin(m->plane);

	add(tx, &m->big, fd, 0, 2, true, 0x12345);
	machine_commit(tx);
	assert_true(!m->fake->n_ioeventfds ||
		    m->fake->ioeventfds[0].call.datamatch > 0xffff);
	close(fd);
}

/* One more is one call, whether there are none or 1,099. */
static void one_more_is_one_call(void **state)
{
	enum { MANY = 1100 };
	struct machine *m = *state;
	int fd = eventfd(0, EFD_NONBLOCK);

	for (unsigned int i = 0; i < MANY; i++) {
		struct mpl_txn *tx = mpl_begin(m->plane);
		uint64_t before = calls(m);

		add(tx, &m->device, fd, 8 * (i % 500), 4, true, i);
		machine_commit(tx);
		assert_int_equal(calls(m), before + 1);
	}
	assert_int_equal(m->fake->n_ioeventfds, MANY);
	for (unsigned int i = 0; i < MANY; i += 100) {
		struct mpl_txn *tx = mpl_begin(m->plane);
		uint64_t before = calls(m);

		del(tx, &m->device, fd, 8 * (i % 500), 4, true, i);
		machine_commit(tx);
		assert_int_equal(calls(m), before + 1);
	}
	assert_int_equal(m->fake->n_ioeventfds, MANY - MANY / 100);
	close(fd);
}

/* Topology changes are differences, too. */
static void they_follow_the_map(void **state)
{
	struct machine *m = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	struct mpl_txn *tx = mpl_begin(m->plane);
	uint64_t before;

	for (unsigned int i = 0; i < 10; i++)
		add(tx, &m->device, fd, 8 * i, 4, false, 0);
	add(tx, &m->big, fd, 0, 4, false, 0);
	machine_commit(tx);
	before = calls(m);
	/* Something else changes: nothing. */
	tx = mpl_begin(m->plane);
	mpl_region_set_enabled(tx, m->ram, false);
	machine_commit(tx);
	assert_int_equal(calls(m), before);
	/* A BAR moves: its own, twice. */
	tx = mpl_begin(m->plane);
	mpl_region_move(tx, m->device.region, MACHINE_DEVICE + 0x100000);
	mpl_region_set_enabled(tx, m->ram, true);
	machine_commit(tx);
	assert_int_equal(calls(m), before + 20);
	assert_non_null(find(m, MACHINE_DEVICE + 0x100008, 4, 0, 0));
	assert_null(find(m, MACHINE_DEVICE + 8, 4, 0, 0));
	tx = mpl_begin(m->plane);
	mpl_region_set_enabled(tx, m->device.region, false);
	machine_commit(tx);
	assert_int_equal(calls(m), before + 30);
	assert_int_equal(m->fake->n_ioeventfds, 1);
	close(fd);
}

/* Two devices change places in one commit: nothing collides on the way. */
static void devices_change_places(void **state)
{
	struct machine *m = *state;
	int one = eventfd(0, EFD_NONBLOCK), other = eventfd(0, EFD_NONBLOCK);
	struct mpl_txn *tx = mpl_begin(m->plane);
	unsigned int lines = m->lines;

	add(tx, &m->device, one, 0, 4, false, 0);
	add(tx, &m->big, other, 0, 4, false, 0);
	machine_commit(tx);
	tx = mpl_begin(m->plane);
	mpl_region_move(tx, m->device.region, MACHINE_BIG);
	mpl_region_move(tx, m->big.region, MACHINE_DEVICE);
	machine_commit(tx);
	assert_int_equal(m->fake->n_ioeventfds, 2);
	assert_int_equal(m->lines, lines);
	assert_int_equal(m->kvm->doorbells.refused, 0);
	close(one);
	close(other);
}

/* What KVM will not have rings all the same, by the library. */
static void refused_ones_ring_by_the_library(void **state)
{
	struct machine *m = *state;
	int any = eventfd(0, EFD_NONBLOCK), first = eventfd(0, EFD_NONBLOCK);
	int second = eventfd(0, EFD_NONBLOCK);
	struct mpl_txn *tx = mpl_begin(m->plane);
	unsigned int lines = m->lines;
	struct mpl_reader *reader;
	uint64_t before;

	/* Without the capability it is not even asked for. */
	m->kvm->caps.ioeventfd_any_length = false;
	m->fake->no_ioeventfd_any_length = true;
	add(tx, &m->device, any, 0, 0, false, 0);
	add(tx, &m->device, first, 8, 4, true, 1);
	add(tx, &m->device, second, 8, 4, true, 1); /* collides */
	machine_commit(tx);
	assert_int_equal(calls(m), 2);
	assert_int_equal(m->fake->n_ioeventfds, 1);
	assert_int_equal(m->kvm->doorbells.refused, 2);
	assert_int_equal(m->lines, lines + 1);
	assert_int_equal(mpl_reader_register(m->plane, &reader), 0);
	mpl_reader_online(reader);
	assert_int_equal(mpl_store(reader, m->memory, MACHINE_DEVICE,
				   (struct mpl_attrs){ 0 }, 2,
				   MPL_LITTLE_ENDIAN, 5),
			 MPL_OK);
	mpl_reader_unregister(reader);
	assert_int_equal(rung(any), 1);
	/* Going away again: only what KVM has is taken back. */
	before = calls(m);
	tx = mpl_begin(m->plane);
	del(tx, &m->device, any, 0, 0, false, 0);
	del(tx, &m->device, first, 8, 4, true, 1);
	del(tx, &m->device, second, 8, 4, true, 1);
	machine_commit(tx);
	assert_int_equal(calls(m), before + 1);
	close(any);
	close(first);
	close(second);
}

/*
 * Something covers half of a doorbell: no write of its size reaches the device
 * as one, so it is not KVM's; and again when it is whole.
 */
static void halves_are_not_kvms(void **state)
{
	struct machine *m = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	struct mpl_txn *tx = mpl_begin(m->plane);

	add(tx, &m->device, fd, 0x10, 4, false, 0);
	add(tx, &m->device, fd, 0x20, 4, false, 0);
	machine_commit(tx);
	assert_int_equal(m->fake->n_ioeventfds, 2);
	tx = mpl_begin(m->plane);
	mpl_region_remove(tx, m->smram);
	mpl_region_resize(tx, m->smram, 4);
	mpl_region_add(tx, m->system, MACHINE_DEVICE + 0x12, m->smram, 1);
	machine_commit(tx);
	assert_int_equal(m->fake->n_ioeventfds, 1);
	assert_non_null(find(m, MACHINE_DEVICE + 0x20, 4, 0, 0));
	tx = mpl_begin(m->plane);
	mpl_region_remove(tx, m->smram);
	machine_commit(tx);
	assert_int_equal(m->fake->n_ioeventfds, 2);
	close(fd);
}

static void make_changes(struct machine *m, struct mpl_txn *tx, int fd)
{
	mpl_region_move(tx, m->device.region, MACHINE_DEVICE + 0x10000);
	del(tx, &m->device, fd, 0, 4, false, 0);
	add(tx, &m->device, fd, 64, 4, false, 0);
	add(tx, &m->port, fd, 0, 1, true, 3);
}

/*
 * Each call fails once, in turn, and with it each call of the unwinding: KVM has
 * what the map has, or the listener says that it may not.
 */
static void errors_unwind(void **state)
{
	struct machine *m = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	struct mpl_txn *tx = mpl_begin(m->plane);
	unsigned int total, degraded = 0, failed = 0;

	for (unsigned int i = 0; i < 3; i++)
		add(tx, &m->device, fd, 8 * i, 4, false, 0);
	machine_commit(tx);
	/* 3 go, 3 come, and the port. */
	total = 3 + 3 + 1;
	for (unsigned int first = 1; first <= total; first++) {
		/* Up to `first` - 1 calls are taken back; 0: none fails. */
		for (unsigned int second = 0; second < first; second++) {
			fake_arm(m->fake, first, second ? first + second : 0);
			tx = mpl_begin(m->plane);
			make_changes(m, tx, fd);
			assert_int_equal(mpl_commit(tx), -EIO);
			failed++;
			if (mpl_kvm_error(m->kvm)) {
				assert_int_equal(m->fake->failed, 2);
				degraded++;
				fake_arm(m->fake, 0, 0);
				assert_int_equal(mpl_kvm_resync(m->kvm), 0);
			} else {
				assert_int_equal(m->fake->failed,
						 second ? 2 : 1);
			}
			assert_int_equal(mpl_kvm_error(m->kvm), 0);
			assert_int_equal(m->fake->n_ioeventfds, 3);
			for (unsigned int i = 0; i < 3; i++)
				assert_non_null(find(m, MACHINE_DEVICE + 8 * i,
						     4, 0, 0));
		}
	}
	assert_int_equal(failed, total * (total + 1) / 2);
	assert_int_equal(degraded, failed - total);
	fake_arm(m->fake, 0, 0);
	tx = mpl_begin(m->plane);
	make_changes(m, tx, fd);
	machine_commit(tx);
	assert_int_equal(m->fake->changes, total);
	assert_int_equal(m->fake->n_ioeventfds, 4);
	close(fd);
}

int main(void)
{
#define BELL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		BELL_TEST(kinds),
		BELL_TEST(big_endian_values_are_the_same_writes),
		BELL_TEST(values_that_never_match),
		BELL_TEST(one_more_is_one_call),
		BELL_TEST(they_follow_the_map),
		BELL_TEST(devices_change_places),
		BELL_TEST(halves_are_not_kvms),
		BELL_TEST(refused_ones_ring_by_the_library),
		BELL_TEST(errors_unwind),
	};

	return cmocka_run_group_tests_name("kvm ioeventfd", tests, NULL, NULL);
}
