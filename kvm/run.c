/* SPDX-License-Identifier: BSD-3-Clause */
#include "kvm/run.h"

#include <errno.h>
#include <memplane/region.h>
#include <memplane/space.h>
#include <stdlib.h>

#include "kvm/kvm.h"
#include "lib/base/vector.h"

#define PAGE UINT64_C(4096)

bool mpl_kvm_can_be_slot(const struct mpl_flat_range *flat)
{
	/* Of broken pages the guest is told by the access path, not the
	 * kernel's signal. */
	if (flat->poisoned)
		return false;
	switch (mpl_region_kind(flat->region)) {
	case MPL_RAM:
	case MPL_ROM:
	case MPL_RAM_DEVICE:
		return mpl_region_host(flat->region) != NULL;
	case MPL_ROM_DEVICE:
		return flat->rom_mode && mpl_region_host(flat->region);
	default:
		return false;
	}
}

bool mpl_kvm_run_of(const struct mpl_kvm_mirror *mirror,
		    const struct mpl_flat_range *flat, struct mpl_kvm_run *out)
{
	enum mpl_region_kind kind = mpl_region_kind(flat->region);
	uint64_t start = (flat->start + PAGE - 1) & ~(PAGE - 1);
	/* A slot that ends at 2^64 would overflow in the kernel. */
	uint64_t end =
		(flat->last == UINT64_MAX ? flat->last : flat->last + 1) &
		~(PAGE - 1);
	uintptr_t host = (uintptr_t)mpl_region_host(flat->region) +
			 flat->offset + (start - flat->start);

	if (!mpl_kvm_can_be_slot(flat) || start < flat->start || start >= end ||
	    host % PAGE)
		return false;
	*out = (struct mpl_kvm_run){
		.start = start,
		.last = end - 1,
		.region = flat->region,
		.offset = flat->offset + (start - flat->start),
		.host = host,
		.readonly = flat->readonly || kind == MPL_ROM ||
			    kind == MPL_ROM_DEVICE,
	};
	/* Of a read-only slot nothing is ever logged. */
	out->log = flat->dirty_mask && !out->readonly;
	return !out->readonly || mirror->kvm->caps.readonly;
}

int mpl_kvm_runs_push(struct mpl_kvm_runs *runs, const struct mpl_kvm_run *run)
{
	if (MPL_RESERVE(runs, 1))
		return -ENOMEM;
	runs->items[runs->count++] = *run;
	return 0;
}

bool mpl_kvm_runs_agree(const struct mpl_kvm_run *a,
			const struct mpl_kvm_run *b)
{
	return a->region == b->region && a->readonly == b->readonly &&
	       a->host - a->start == b->host - b->start;
}

struct mpl_kvm_run mpl_kvm_run_cut(const struct mpl_kvm_run *run,
				   uint64_t start, uint64_t last)
{
	struct mpl_kvm_run piece = *run;

	piece.offset += start - run->start;
	piece.host += start - run->start;
	piece.start = start;
	piece.last = last;
	return piece;
}

int mpl_kvm_runs_subtract(const struct mpl_kvm_runs *from,
			  const struct mpl_kvm_runs *other,
			  struct mpl_kvm_runs *out)
{
	size_t at = 0;
	int err = 0;

	for (size_t i = 0; i < from->count && !err; i++) {
		const struct mpl_kvm_run *run = &from->items[i];
		uint64_t next = run->start;

		while (at < other->count && other->items[at].last < run->start)
			at++;
		for (size_t j = at; j < other->count && !err &&
				    other->items[j].start <= run->last;
		     j++) {
			const struct mpl_kvm_run *same = &other->items[j];

			if (!mpl_kvm_runs_agree(run, same))
				continue;
			if (same->start > next) {
				struct mpl_kvm_run piece = mpl_kvm_run_cut(
					run, next, same->start - 1);

				err = mpl_kvm_runs_push(out, &piece);
			}
			next = same->last + 1; /* no run ends at 2^64 */
		}
		if (!err && next <= run->last) {
			struct mpl_kvm_run piece =
				mpl_kvm_run_cut(run, next, run->last);

			err = mpl_kvm_runs_push(out, &piece);
		}
	}
	return err;
}

int mpl_kvm_run_compare(const void *a, const void *b)
{
	const struct mpl_kvm_run *left = a, *right = b;

	return left->start < right->start ? -1 : left->start > right->start;
}

bool mpl_kvm_run_follows(const struct mpl_kvm_run *low,
			 const struct mpl_kvm_run *high)
{
	return low->last + 1 == high->start && low->log == high->log &&
	       mpl_kvm_runs_agree(low, high);
}

void mpl_kvm_runs_join(struct mpl_kvm_runs *runs)
{
	size_t count = 0;

	if (runs->count > 1)
		qsort(runs->items, runs->count, sizeof(runs->items[0]),
		      mpl_kvm_run_compare);
	for (size_t i = 0; i < runs->count; i++) {
		struct mpl_kvm_run *run = &runs->items[i];

		if (count && mpl_kvm_run_follows(&runs->items[count - 1], run))
			runs->items[count - 1].last = run->last;
		else
			runs->items[count++] = *run;
	}
	runs->count = count;
}

uint64_t mpl_kvm_run_first_last(const struct mpl_kvm *kvm,
				const struct mpl_kvm_run *run)
{
	uint64_t max = kvm->config.slot_bytes_max;
	uint64_t align = max >= MPL_GIB     ? MPL_GIB :
			 max >= 2 * MPL_MIB ? 2 * MPL_MIB :
					      PAGE;
	uint64_t end;

	if (run->last - run->start < max)
		return run->last;
	end = (run->start + max) & ~(align - 1);
	return (end > run->start ? end : run->start + max) - 1;
}

size_t mpl_kvm_run_slots(const struct mpl_kvm *kvm, struct mpl_kvm_run run)
{
	uint64_t last;
	size_t count = 1;

	while ((last = mpl_kvm_run_first_last(kvm, &run)) != run.last) {
		run = mpl_kvm_run_cut(&run, last + 1, run.last);
		count++;
	}
	return count;
}

size_t mpl_kvm_runs_slots(const struct mpl_kvm *kvm,
			  const struct mpl_kvm_runs *runs)
{
	size_t count = 0;

	for (size_t i = 0; i < runs->count; i++)
		count += mpl_kvm_run_slots(kvm, runs->items[i]);
	return count;
}

/* KVM maps huge pages only where both addresses are at the same place in one.
 */
bool mpl_kvm_run_loses_huge_pages(const struct mpl_kvm_run *run)
{
	uint64_t page = mpl_region_page_size(run->region);

	return page > PAGE && (run->host - run->start) % page;
}
