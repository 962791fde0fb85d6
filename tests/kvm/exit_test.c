/* SPDX-License-Identifier: BSD-3-Clause */
/* Exits as a fake KVM_RUN makes them, and the accesses that come of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include <memplane.h>

#include "tests/support/fake_machine.h"

struct world {
	struct machine *m;
	struct mpl_vcpu *vcpu;
	struct kvm_run next; /* what KVM_RUN shall say */
	uint8_t data[4096];  /* of PIO */
	int err;
	unsigned int runs;
};

#define DATA_OFFSET 4096u

static int guest(void *arg, unsigned int vcpu, struct kvm_run *run)
{
	struct world *w = arg;

	(void)vcpu;
	w->runs++;
	if (w->err)
		return w->err;
	*run = w->next;
	memcpy((uint8_t *)run + DATA_OFFSET, w->data, sizeof(w->data));
	return 0;
}

static int setup(void **state)
{
	static struct world w;

	w = (struct world){ .m = machine_new(false, false) };
	w.m->fake->guest = guest;
	w.m->fake->guest_arg = &w;
	assert_int_equal(mpl_vcpu_new(w.m->kvm, FAKE_VCPU_FD, 5, &w.vcpu), 0);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	assert_int_equal(mpl_vcpu_free(w->vcpu), 0);
	machine_free(w->m);
	return 0;
}

static int mmio(struct world *w, uint64_t gpa, bool is_write,
		unsigned int size, uint64_t value)
{
	memset(&w->next, 0, sizeof(w->next));
	w->next.exit_reason = KVM_EXIT_MMIO;
	w->next.mmio.phys_addr = gpa;
	w->next.mmio.is_write = is_write;
	w->next.mmio.len = size;
	memcpy(w->next.mmio.data, &value, sizeof(value));
	return mpl_vcpu_run(w->vcpu);
}

static uint64_t mmio_result(struct world *w)
{
	uint64_t value;

	memcpy(&value, mpl_vcpu_kvm_run(w->vcpu)->mmio.data, sizeof(value));
	return value;
}

static int pio(struct world *w, uint16_t port, bool out, unsigned int size,
	       unsigned int count)
{
	memset(&w->next, 0, sizeof(w->next));
	w->next.exit_reason = KVM_EXIT_IO;
	w->next.io.direction = out ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
	w->next.io.size = (uint8_t)size;
	w->next.io.port = port;
	w->next.io.count = count;
	w->next.io.data_offset = DATA_OFFSET;
	return mpl_vcpu_run(w->vcpu);
}

static const struct machine_access *last(struct world *w)
{
	assert_true(w->m->count > 0);
	return &w->m->accesses[w->m->count - 1];
}

static struct mpl_vcpu_stats stats(struct world *w)
{
	struct mpl_vcpu_stats out;

	mpl_vcpu_stats(w->vcpu, &out);
	return out;
}

static void mmio_writes(void **state)
{
	struct world *w = *state;

	for (unsigned int size = 1; size <= 8; size *= 2) {
		uint64_t value = UINT64_C(0x8877665544332211);
		uint64_t mask = size == 8 ? UINT64_MAX :
					    (UINT64_C(1) << 8 * size) - 1;

		assert_int_equal(mmio(w, MACHINE_DEVICE + 0x10, true, size,
				      value),
				 0);
		assert_int_equal(last(w)->device, 'd');
		assert_true(last(w)->is_write);
		assert_int_equal(last(w)->offset, 0x10);
		assert_int_equal(last(w)->size, size);
		assert_int_equal(last(w)->value, value & mask);
		assert_int_equal(last(w)->attrs.vcpu, 5);
		assert_false(last(w)->attrs.secure);
		assert_int_equal(mmio(w, MACHINE_BIG, true, size, value), 0);
		assert_int_equal(last(w)->device, 'b');
		assert_int_equal(last(w)->value,
				 __builtin_bswap64(value) >> (64 - 8 * size));
	}
	assert_int_equal(stats(w).mmio_writes, 8);
	assert_int_equal(stats(w).exits, 8);
	assert_int_equal(stats(w).reasons[KVM_EXIT_MMIO], 8);
	assert_int_equal(stats(w).memory, 0);
	assert_int_equal(mpl_region_accesses(w->m->device.region), 4);
}

static void mmio_reads(void **state)
{
	struct world *w = *state;

	w->m->answer = UINT64_C(0xa8a7a6a5a4a3a2a1);
	for (unsigned int size = 1; size <= 8; size *= 2) {
		uint64_t mask = size == 8 ? UINT64_MAX :
					    (UINT64_C(1) << 8 * size) - 1;

		assert_int_equal(mmio(w, MACHINE_DEVICE, false, size, 0), 0);
		assert_int_equal(last(w)->size, size);
		assert_int_equal(mmio_result(w), w->m->answer & mask);
	}
	assert_int_equal(stats(w).mmio_reads, 4);
}

static void nothing_reads_as_the_pattern(void **state)
{
	struct world *w = *state;

	assert_int_equal(mmio(w, 0x12345678, false, 4, 0), 0);
	assert_int_equal(mmio_result(w), 0xffffffff);
	assert_int_equal(mmio(w, 0x12345678, true, 4, 1), 0);
	assert_int_equal(pio(w, 0x80, false, 2, 1), 0);
	assert_int_equal(*(uint16_t *)((uint8_t *)mpl_vcpu_kvm_run(w->vcpu) +
				       DATA_OFFSET),
			 0xffff);
	assert_int_equal(w->m->count, 0);
	assert_int_equal(stats(w).other, 0);
}

/* The window while a slot is replaced: done on the RAM itself, and counted. */
static void exits_for_ram_are_done_on_ram(void **state)
{
	struct world *w = *state;
	uint8_t *ram = mpl_region_host(w->m->ram);
	uint64_t value = 0x1122334455667788;

	assert_int_equal(mmio(w, 0x1004, true, 8, value), 0);
	assert_memory_equal(ram + 0x1004, &value, 8);
	assert_int_equal(mmio(w, 0x1004, false, 4, 0), 0);
	assert_int_equal(mmio_result(w), 0x55667788);
	assert_int_equal(stats(w).memory, 2);
	assert_int_equal(w->m->count, 0);
}

static void smm_exits_see_its_space(void **state)
{
	struct world *w = *state;
	uint8_t *smram = mpl_region_host(w->m->smram);

	assert_int_equal(mmio(w, MACHINE_SMRAM, true, 1, 0x11), 0);
	assert_int_equal(smram[0], 0);
	memset(&w->next, 0, sizeof(w->next));
	w->next.flags = KVM_RUN_X86_SMM;
	w->next.exit_reason = KVM_EXIT_MMIO;
	w->next.mmio.phys_addr = MACHINE_SMRAM;
	w->next.mmio.is_write = 1;
	w->next.mmio.len = 1;
	w->next.mmio.data[0] = 0x22;
	assert_int_equal(mpl_vcpu_run(w->vcpu), 0);
	assert_int_equal(smram[0], 0x22);
	w->next.mmio.phys_addr = MACHINE_DEVICE;
	assert_int_equal(mpl_vcpu_run(w->vcpu), 0);
	assert_true(last(w)->attrs.secure);
}

static void pio_in_and_out(void **state)
{
	struct world *w = *state;
	uint8_t *data = (uint8_t *)mpl_vcpu_kvm_run(w->vcpu) + DATA_OFFSET;

	memcpy(w->data, "\x11\x22\x33\x44", 4);
	assert_int_equal(pio(w, 0x3f8, true, 4, 1), 0);
	assert_int_equal(last(w)->device, 'p');
	assert_int_equal(last(w)->value, 0x44332211);
	assert_int_equal(last(w)->offset, 0);
	assert_int_equal(pio(w, 0x3fd, true, 1, 1), 0);
	assert_int_equal(last(w)->value, 0x11);
	assert_int_equal(last(w)->offset, 5);
	w->m->answer = 0xbeef;
	assert_int_equal(pio(w, 0x3f8, false, 2, 1), 0);
	assert_memory_equal(data, "\xef\xbe", 2);
	assert_int_equal(stats(w).pio_writes, 2);
	assert_int_equal(stats(w).pio_reads, 1);
}

static void count_up(struct machine *m, void *arg)
{
	(void)arg;
	m->answer++;
}

/* rep insw, rep outsb: one exit, many accesses, in order, all of one port. */
static void repeated_pio(void **state)
{
	struct world *w = *state;
	uint8_t *data = (uint8_t *)mpl_vcpu_kvm_run(w->vcpu) + DATA_OFFSET;

	for (unsigned int i = 0; i < 256; i++)
		w->data[i] = (uint8_t)i;
	assert_int_equal(pio(w, 0x3f8, true, 1, 256), 0);
	assert_int_equal(w->m->count, 256);
	for (unsigned int i = 0; i < 256; i++) {
		assert_int_equal(w->m->accesses[i].value, i);
		assert_int_equal(w->m->accesses[i].offset, 0);
	}
	w->m->answer = 0x100;
	w->m->inside = count_up;
	assert_int_equal(pio(w, 0x3fa, false, 2, 512), 0);
	for (unsigned int i = 0; i < 512; i++)
		assert_int_equal(((uint16_t *)data)[i], 0x100 + i);
	assert_int_equal(stats(w).pio_accesses, 768);
	assert_int_equal(stats(w).exits, 2);
}

/* The device moves away in the middle of a repeated write. */
static void move_away(struct machine *m, void *arg)
{
	struct mpl_txn *tx;

	(void)arg;
	if (m->count != 3)
		return;
	tx = mpl_begin(m->plane);
	mpl_region_move(tx, m->port.region, 0x400);
	machine_commit(tx);
}

static void repeated_pio_sees_commits(void **state)
{
	struct world *w = *state;

	w->m->inside = move_away;
	assert_int_equal(pio(w, 0x3f8, true, 1, 8), 0);
	assert_int_equal(w->m->count, 3);
	assert_int_equal(pio(w, 0x400, true, 1, 8), 0);
	assert_int_equal(w->m->count, 11);
}

static void others_are_the_callers(void **state)
{
	struct world *w = *state;

	memset(&w->next, 0, sizeof(w->next));
	w->next.exit_reason = KVM_EXIT_HLT;
	assert_int_equal(mpl_vcpu_run(w->vcpu), MPL_EXIT_OTHER);
	assert_int_equal(mpl_vcpu_kvm_run(w->vcpu)->exit_reason, KVM_EXIT_HLT);
	w->next.exit_reason = 1000;
	assert_int_equal(mpl_vcpu_run(w->vcpu), MPL_EXIT_OTHER);
	assert_int_equal(stats(w).other, 2);
	assert_int_equal(stats(w).reasons[KVM_EXIT_HLT], 1);
	assert_int_equal(stats(w).reasons[MPL_VCPU_REASONS - 1], 1);
}

/* It must not run the guest, and must not leave the reader online. */
static void run_inside(struct machine *m, void *arg)
{
	struct world *w = arg;

	(void)m;
	assert_int_equal(mpl_vcpu_run(w->vcpu), -EDEADLK);
	assert_int_equal(mpl_vcpu_finish(w->vcpu), -EDEADLK);
	assert_int_equal(mpl_vcpu_free(w->vcpu), -EDEADLK);
	assert_int_equal(mpl_kvm_coalesced_drain(m->kvm), -EDEADLK);
}

static void not_from_inside_an_access(void **state)
{
	struct world *w = *state;

	w->m->inside = run_inside;
	w->m->inside_arg = w;
	assert_int_equal(mmio(w, MACHINE_DEVICE, true, 4, 1), 0);
	assert_int_equal(w->m->count, 1);
	assert_int_equal(w->runs, 1);
	/* Nothing waits for this reader now. */
	assert_int_equal(mpl_synchronize(w->m->plane), 0);
}

int main(void)
{
#define EXIT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		EXIT_TEST(mmio_writes),
		EXIT_TEST(mmio_reads),
		EXIT_TEST(nothing_reads_as_the_pattern),
		EXIT_TEST(exits_for_ram_are_done_on_ram),
		EXIT_TEST(smm_exits_see_its_space),
		EXIT_TEST(pio_in_and_out),
		EXIT_TEST(repeated_pio),
		EXIT_TEST(repeated_pio_sees_commits),
		EXIT_TEST(others_are_the_callers),
		EXIT_TEST(not_from_inside_an_access),
	};

	return cmocka_run_group_tests_name("kvm exit", tests, NULL, NULL);
}
