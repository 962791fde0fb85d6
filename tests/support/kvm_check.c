/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/kvm_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void push(struct memories *list, const struct memory *item)
{
	if (list->count == list->capacity) {
		list->capacity = 2 * list->capacity + 16;
		list->items = realloc(list->items,
				      list->capacity * sizeof(*list->items));
		assert_non_null(list->items);
	}
	list->items[list->count++] = *item;
}

struct view_walk {
	struct memories *out;
	bool readonly_slots;
};

static int take_range(void *arg, const struct mpl_flat_range *range)
{
	const struct view_walk *walk = arg;
	enum mpl_region_kind kind = mpl_region_kind(range->region);
	uint64_t host = (uint64_t)(uintptr_t)mpl_region_host(range->region);
	bool rom = kind == MPL_ROM || kind == MPL_ROM_DEVICE;
	struct memory item = {
		.start = range->start,
		.last = range->last,
		.region = range->region,
		.delta = host + range->offset - range->start,
		.readonly = rom || range->readonly,
	};

	if (!host || kind == MPL_IO || kind == MPL_IOMMU ||
	    (kind == MPL_ROM_DEVICE && !range->rom_mode) || item.delta % 4096)
		return 0;
	if (item.readonly && !walk->readonly_slots)
		return 0;
	item.log = range->dirty_mask && !item.readonly;
	while (item.start % 4096) {
		if (item.start == item.last)
			return 0;
		item.start++;
	}
	if (item.last > UINT64_MAX - 4096)
		item.last = UINT64_MAX - 4096;
	while (item.last % 4096 != 4095) {
		if (item.last == item.start)
			return 0;
		item.last--;
	}
	if (item.last < item.start)
		return 0;
	push(walk->out, &item);
	return 0;
}

void memories_of_view(struct mpl_address_space *as, bool readonly_slots,
		      struct memories *out)
{
	struct view_walk walk = { out, readonly_slots };

	out->count = 0;
	assert_int_equal(mpl_address_space_walk(as, take_range, &walk), 0);
}

static void take_slot(void *arg, const struct fake_slot *slot)
{
	push(arg, &(struct memory){
			  .start = slot->node.start,
			  .last = slot->node.last,
			  .delta = slot->hva - slot->node.start,
			  .readonly = slot->flags & KVM_MEM_READONLY,
			  .log = slot->flags & KVM_MEM_LOG_DIRTY_PAGES,
		  });
}

void memories_of_slots(const struct fake_kvm *fake, unsigned int space,
		       struct memories *out)
{
	out->count = 0;
	fake_slots_each(fake, space, take_slot, out);
}

void memories_free(struct memories *list)
{
	free(list->items);
	*list = (struct memories){ 0 };
}

void memories_copy(const struct memories *from, struct memories *to)
{
	to->count = 0;
	for (size_t i = 0; i < from->count; i++)
		push(to, &from->items[i]);
}

static bool overlap(const struct memory *a, const struct memory *b)
{
	return a->start <= b->last && b->start <= a->last;
}

static uint64_t overlap_bytes(const struct memory *a, const struct memory *b)
{
	uint64_t start = a->start > b->start ? a->start : b->start;
	uint64_t last = a->last < b->last ? a->last : b->last;

	return overlap(a, b) ? last - start + 1 : 0;
}

/* Slots know no region: then the host address alone decides. */
static bool same_memory(const struct memory *a, const struct memory *b)
{
	return a->delta == b->delta && a->readonly == b->readonly &&
	       (!a->region || !b->region || a->region == b->region);
}

static uint64_t bytes_of(const struct memories *list)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < list->count; i++)
		bytes += list->items[i].last - list->items[i].start + 1;
	return bytes;
}

/*
 * Lists are ascending and disjoint: the first of them that can overlap.  A
 * recorded machine has thousands of ranges.
 */
static size_t first_from(const struct memories *list, uint64_t start)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (list->items[mid].last < start)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

#define EACH_OVERLAP(i, list, with)                                            \
	for (size_t i = first_from((list), (with)->start);                     \
	     i < (list)->count && (list)->items[i].start <= (with)->last; i++)

bool memories_match(const struct memories *slots, const struct memories *view,
		    char why[160])
{
	for (size_t i = 0; i < view->count; i++) {
		const struct memory *want = &view->items[i];
		uint64_t got = 0;

		EACH_OVERLAP(j, slots, want)
		{
			const struct memory *slot = &slots->items[j];

			if (!same_memory(slot, want) ||
			    slot->log != want->log) {
				snprintf(why, 160,
					 "slot %#llx is not what the map has "
					 "(%s)",
					 (unsigned long long)slot->start,
					 slot->log != want->log ? "log" :
								  "memory");
				return false;
			}
			got += overlap_bytes(slot, want);
		}
		if (got != want->last - want->start + 1) {
			snprintf(why, 160,
				 "memory %#llx-%#llx has slots for %#llx bytes",
				 (unsigned long long)want->start,
				 (unsigned long long)want->last,
				 (unsigned long long)got);
			return false;
		}
	}
	if (bytes_of(slots) != bytes_of(view)) {
		snprintf(why, 160, "slots show %#llx bytes, the map %#llx",
			 (unsigned long long)bytes_of(slots),
			 (unsigned long long)bytes_of(view));
		return false;
	}
	return true;
}

bool memories_cover_both(const struct memories *slots,
			 const struct memories *old, const struct memories *now,
			 char why[160])
{
	for (size_t i = 0; i < old->count; i++)
		EACH_OVERLAP(j, now, &old->items[i])
		{
			struct memory both = old->items[i];
			uint64_t got = 0, want;

			if (now->items[j].start > both.start)
				both.start = now->items[j].start;
			if (now->items[j].last < both.last)
				both.last = now->items[j].last;
			want = both.last - both.start + 1;
			EACH_OVERLAP(k, slots, &both)
			got += overlap_bytes(&slots->items[k], &both);
			if (got == want)
				continue;
			snprintf(why, 160,
				 "a guest ran while memory %#llx-%#llx was "
				 "missing",
				 (unsigned long long)both.start,
				 (unsigned long long)both.last);
			return false;
		}
	return true;
}

unsigned int calls_plain(const struct memories *old, const struct memories *now,
			 uint64_t *flags)
{
	unsigned int calls = 0, same = 0;

	for (size_t i = 0; i < old->count; i++) {
		const struct memory *range = &old->items[i];

		EACH_OVERLAP(j, now, range)
		{
			const struct memory *other = &now->items[j];

			if (other->start != range->start ||
			    other->last != range->last ||
			    !same_memory(range, other))
				continue;
			same++;
			calls += other->log != range->log;
		}
	}
	if (flags)
		*flags += calls;
	return calls + (unsigned int)(old->count - same) +
	       (unsigned int)(now->count - same);
}

/* Is all of `item` in the list, as the same memory?  *log: as it logs there. */
static bool is_in(const struct memory *item, const struct memories *list,
		  bool *log)
{
	uint64_t got = 0;

	EACH_OVERLAP(i, list, item)
	if (same_memory(item, &list->items[i])) {
		got += overlap_bytes(item, &list->items[i]);
		*log = list->items[i].log;
	}
	return got == item->last - item->start + 1;
}

/* The parts of `from` that are not in `other` as the same memory. */
static void subtract(const struct memories *from, const struct memories *other,
		     struct memories *out)
{
	out->count = 0;
	for (size_t i = 0; i < from->count; i++) {
		struct memory rest = from->items[i];
		bool all = false;

		EACH_OVERLAP(j, other, &from->items[i])
		{
			const struct memory *same = &other->items[j];
			struct memory piece = rest;

			if (!same_memory(&from->items[i], same))
				continue;
			piece.last = same->start - 1;
			if (same->start > rest.start)
				push(out, &piece);
			all = same->last >= rest.last;
			rest.start = same->last + 1;
		}
		if (!all)
			push(out, &rest);
	}
}

/* Those that follow each other, and could be one slot, count once. */
static unsigned int count_runs(const struct memories *list, bool by_log)
{
	unsigned int runs = 0;

	for (size_t i = 0; i < list->count; i++) {
		const struct memory *item = &list->items[i];
		const struct memory *low = i ? item - 1 : NULL;

		if (!low || low->last + 1 != item->start ||
		    !same_memory(low, item) ||
		    (by_log && low->log != item->log))
			runs++;
	}
	return runs;
}

unsigned int calls_from_slots(const struct memories *slots,
			      const struct memories *now)
{
	struct memories stay = { 0 }, missing = { 0 };
	unsigned int calls = 0;

	for (size_t i = 0; i < slots->count; i++) {
		bool log = false;

		if (!is_in(&slots->items[i], now, &log)) {
			calls++;
			continue;
		}
		calls += log != slots->items[i].log;
		push(&stay, &slots->items[i]);
	}
	subtract(now, &stay, &missing);
	calls += count_runs(&missing, true);
	memories_free(&stay);
	memories_free(&missing);
	return calls;
}

unsigned int calls_clairvoyant(const struct memories *old,
			       const struct memories *now)
{
	struct memories gone = { 0 }, come = { 0 }, relog = { 0 };
	unsigned int calls;

	subtract(old, now, &gone);
	subtract(now, old, &come);
	calls = count_runs(&gone, false) + count_runs(&come, false);
	for (size_t i = 0; i < old->count; i++)
		EACH_OVERLAP(j, now, &old->items[i])
		{
			struct memory both = old->items[i];

			if (!same_memory(&both, &now->items[j]) ||
			    both.log == now->items[j].log)
				continue;
			/* One call may do for all of a range. */
			push(&relog, &both);
			break;
		}
	calls += count_runs(&relog, false);
	memories_free(&gone);
	memories_free(&come);
	memories_free(&relog);
	return calls;
}

bool must_have_parked(const struct memories *before,
		      const struct memories *after, const struct memories *now)
{
	for (size_t i = 0; i < before->count; i++) {
		const struct memory *slot = &before->items[i];
		bool stayed = false;

		EACH_OVERLAP(j, after, slot)
		{
			const struct memory *other = &after->items[j];

			stayed |= other->start == slot->start &&
				  other->last == slot->last &&
				  same_memory(other, slot);
		}
		if (stayed)
			continue;
		if (slot->log)
			return true;
		EACH_OVERLAP(j, now, slot)
		return true;
	}
	return false;
}
