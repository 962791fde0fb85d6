/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What KVM's slots add to a commit, by the number of slots: RAM with N windows
 * in it, each of which splits it; one of them, chosen at random, closes and
 * opens again.
 *
 *	kvm/toggle/N	with the slots kept equal to the map
 *	kvm/plain/N	with a listener that deletes and adds each range that
 *			changes
 *	kvm/none/N	without a listener
 *
 * The system calls do nothing, so that only this library is measured.  Judged
 * by p50_ns (each commit is timed); `calls` counts system calls a commit.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memplane.h>

#include "bench.h"
#include "samples.h"

#define STEP (8 * MPL_KIB)

enum kvm_kind { SLOTS, PLAIN, NONE, KINDS };

static const char *const names[KINDS] = { "kvm/toggle", "kvm/plain",
					  "kvm/none" };
static const int64_t counts[] = { 1, 16, 256, 4096, 32000 };
#define COUNTS (sizeof(counts) / sizeof(counts[0]))

struct kvm_bench {
	enum kvm_kind kind;
	int64_t count;
	struct mpl_plane *plane; /* made when first needed, then kept */
	struct mpl_region *root, *ram;
	struct mpl_region **windows;
	struct mpl_address_space *as;
	struct mpl_kvm *kvm;
	uint64_t calls;
};

static struct kvm_bench benches[KINDS * COUNTS];
static size_t benches_used;

static int no_ioctl(void *opaque, int fd, unsigned long request, uintptr_t arg)
{
	struct kvm_bench *bench = opaque;

	(void)fd;
	if (request != KVM_CHECK_EXTENSION) {
		bench->calls++;
		return 0;
	}
	return arg == KVM_CAP_NR_MEMSLOTS ? 32764 : 0;
}

static int no_map(void *opaque, int fd, uint64_t offset, size_t len, void **out)
{
	(void)opaque;
	(void)fd;
	(void)offset;
	*out = calloc(1, len);
	return *out ? 0 : -ENOMEM;
}

static void no_unmap(void *opaque, void *host, size_t len)
{
	(void)opaque;
	(void)len;
	free(host);
}

static const struct mpl_kvm_sys_ops no_sys = { no_ioctl, no_map, no_unmap };

static int plain_range(void *opaque, const struct mpl_flat_range *range)
{
	struct kvm_userspace_memory_region slot = {
		.guest_phys_addr = range->start,
		.memory_size = range->last - range->start + 1,
	};

	if (!mpl_region_host(range->region))
		return 0;
	return no_ioctl(opaque, 0, KVM_SET_USER_MEMORY_REGION,
			(uintptr_t)&slot);
}

static const struct mpl_listener_ops plain_ops = {
	.name = "plain",
	.range_del = plain_range,
	.range_add = plain_range,
};

static int make_windows(struct kvm_bench *bench)
{
	static const struct mpl_io_ops ops = { 0 };
	struct mpl_txn *tx = mpl_begin(bench->plane);
	int err = 0;

	mpl_region_add(tx, bench->root, 0, bench->ram, 0);
	for (int64_t i = 0; !err && i < bench->count; i++) {
		err = mpl_region_new_io(bench->plane, "window", STEP / 2, &ops,
					NULL, &bench->windows[i]);
		if (!err)
			mpl_region_add(tx, bench->root,
				       (uint64_t)i * STEP + STEP / 2,
				       bench->windows[i], 1);
	}
	if (!err)
		return mpl_commit(tx);
	mpl_abort(tx);
	return err;
}

static int attach(struct kvm_bench *bench)
{
	const struct mpl_kvm_config config = {
		.dirty_mode = MPL_KVM_DIRTY_BITMAP,
		.sys = &no_sys,
		.sys_opaque = bench,
	};
	struct mpl_listener *listener;

	switch (bench->kind) {
	case SLOTS:
		return mpl_kvm_attach(bench->as, 0, &config, &bench->kvm);
	case PLAIN:
		return mpl_listener_register(bench->as, &plain_ops, bench,
					     &listener);
	default:
		return 0;
	}
}

static int setup(void *arg)
{
	struct kvm_bench *bench = arg;
	uint64_t size = ((uint64_t)bench->count + 1) * STEP;
	int err;

	if (bench->plane)
		return 0;
	bench->windows =
		calloc((size_t)bench->count, sizeof(bench->windows[0]));
	err = bench->windows ? mpl_plane_new(&bench->plane, NULL) : -ENOMEM;
	if (!err)
		err = mpl_region_new_container(bench->plane, "root", UINT64_MAX,
					       &bench->root);
	if (!err)
		err = mpl_region_new_ram(bench->plane, "ram", size, NULL,
					 &bench->ram);
	if (!err)
		err = mpl_address_space_new(bench->plane, "memory", bench->root,
					    &bench->as);
	if (!err)
		err = make_windows(bench);
	if (!err)
		err = attach(bench);
	if (err)
		fprintf(stderr, "%s/%lld: %s\n", names[bench->kind],
			(long long)bench->count, strerror(-err));
	return err;
}

static int toggle(struct kvm_bench *bench, struct mpl_region *window, bool on)
{
	struct mpl_txn *tx = mpl_begin(bench->plane);

	mpl_region_set_enabled(tx, window, on);
	return mpl_commit(tx);
}

static void run(struct gb_state *state, void *arg)
{
	struct kvm_bench *bench = arg;
	struct samples *samples = calloc(1, sizeof(*samples));
	uint64_t random = 1, calls = bench->calls;

	if (!samples) {
		gb_fail(state, "no memory");
		return;
	}
	while (gb_next(state, 2)) {
		uint64_t at = bench_random(&random) % (uint64_t)bench->count;

		for (int on = 0; on < 2; on++) {
			uint64_t start = bench_ns();
			int err = toggle(bench, bench->windows[at], on);

			samples_add(samples, bench_ns() - start);
			if (err)
				gb_fail(state, strerror(-err));
		}
	}
	if (samples->taken) {
		gb_counter(state, "p50_ns", samples_percentile(samples, 0.5));
		gb_counter(state, "p99_ns", samples_percentile(samples, 0.99));
		gb_counter(state, "calls",
			   (double)(bench->calls - calls) /
				   (double)samples->taken);
	}
	free(samples);
}

int register_kvm(void)
{
	int err = 0;

	for (size_t i = 0; !err && i < COUNTS; i++)
		for (enum kvm_kind kind = 0; !err && kind < KINDS; kind++) {
			struct kvm_bench *own = &benches[benches_used];
			struct gb_bench bench = {
				.name = names[kind],
				.args = &own->count,
				.nargs = 1,
				.setup = setup,
				.run = run,
				.arg = own,
			};

			if (!bench_count_wanted(counts[i]))
				continue;
			own->kind = kind;
			own->count = counts[i];
			benches_used++;
			err = gb_register(&bench);
		}
	return err;
}

void kvm_free_all(void)
{
	for (size_t i = 0; i < benches_used; i++) {
		struct kvm_bench *bench = &benches[i];

		(void)mpl_kvm_detach(bench->kvm);
		for (int64_t j = 0; bench->windows && j < bench->count; j++)
			mpl_region_unref(bench->windows[j]);
		free(bench->windows);
		if (!bench->plane)
			continue;
		mpl_region_unref(bench->ram);
		mpl_region_unref(bench->root);
		(void)mpl_plane_free(bench->plane);
		bench->plane = NULL;
	}
}
