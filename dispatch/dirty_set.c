/* SPDX-License-Identifier: BSD-3-Clause */
/* Sets of pages: a bitmap with two summaries, lazily backed. */
#include <endian.h>
#include <errno.h>
#include <sys/mman.h>

#include "dispatch/dirty.h"

enum {
	TOP = MPL_DIRTY_LEVELS - 1,
	WORD_SHIFT = 6, /* 64 bits in a word */
};

#define NONE UINT64_MAX

static uint64_t words_for(uint64_t bits)
{
	return (bits + 63) >> WORD_SHIFT;
}

int mpl_dirty_set_new(uint64_t pages, struct mpl_dirty_set **out)
{
	struct mpl_dirty_set set = { .pages = pages };
	uint64_t bits = pages, at = sizeof(set) / sizeof(uint64_t);
	uint64_t *base;

	if (!pages)
		return -EINVAL;
	if (pages > MPL_DIRTY_MAX / MPL_DIRTY_PAGE)
		return -E2BIG;
	for (unsigned int i = 0; i < MPL_DIRTY_LEVELS; i++) {
		bits = set.words[i] = words_for(bits);
		set.bytes += bits * sizeof(uint64_t);
	}
	set.bytes += sizeof(set);
	base = mmap(NULL, set.bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -ENOMEM;
	/* The small levels first: those of a small set share a page. */
	for (int i = TOP; i >= 0; i--) {
		set.level[i] = base + at;
		at += set.words[i];
	}
	*out = (struct mpl_dirty_set *)base;
	**out = set;
	return 0;
}

void mpl_dirty_set_free(struct mpl_dirty_set *set)
{
	if (set)
		munmap(set, set->bytes);
}

/*
 * [B30] sequentially consistent, as all accesses to the levels beside others:
 * a writer sets a bit and then looks at the summary, a taker clears the
 * summary and then looks at the bit; pairs with [B30] in mpl_dirty_set_take().
 */
static uint64_t look(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

/* [B30] the writer's side; pairs with [B30] in mpl_dirty_set_take() */
static void set_bits(uint64_t *word, uint64_t bits)
{
	if ((look(word) & bits) == bits)
		return;
	if (bits == UINT64_MAX)
		__atomic_store_n(word, bits, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
}

/*
 * Bits of a word of level 0, and above it.  All levels are looked at even if
 * the bit was set: whoever set it may not have come to the summaries yet.
 */
static void mark_word(struct mpl_dirty_set *set, uint64_t word, uint64_t bits)
{
	set_bits(&set->level[0][word], bits);
	for (unsigned int i = 1; i <= TOP; i++) {
		bits = UINT64_C(1) << (word & 63);
		word >>= WORD_SHIFT;
		set_bits(&set->level[i][word], bits);
	}
}

/*
 * Which bits of a word that stands for pages from `base` on, 1 << shift a bit,
 * does [first, last] touch?  It does touch some.
 */
static uint64_t touched(uint64_t base, unsigned int shift, uint64_t first,
			uint64_t last)
{
	uint64_t low = first <= base ? 0 : (first - base) >> shift;
	uint64_t high = (last - base) >> shift;

	return UINT64_MAX << low & UINT64_MAX >> (high < 63 ? 63 - high : 0);
}

/* Which does it cover whole? */
static uint64_t covered(uint64_t base, unsigned int shift, uint64_t first,
			uint64_t last)
{
	uint64_t unit = UINT64_C(1) << shift;
	uint64_t low = first <= base ? 0 : (first - base + unit - 1) >> shift;
	uint64_t high = (last - base + 1) >> shift; /* exclusive */

	if (low >= high || low > 63)
		return 0;
	return UINT64_MAX << low & UINT64_MAX >> (high < 64 ? 64 - high : 0);
}

void mpl_dirty_set_mark(struct mpl_dirty_set *set, uint64_t first,
			uint64_t last)
{
	for (uint64_t word = first >> WORD_SHIFT; word <= last >> WORD_SHIFT;
	     word++)
		mark_word(set, word,
			  touched(word << WORD_SHIFT, 0, first, last));
}

/* 64 bits of a bitmap of `pages` bits, from bit `from` on, which may be < 0. */
static uint64_t cut(const uint64_t *bitmap, uint64_t pages, int64_t from)
{
	uint64_t index = (uint64_t)(from >> WORD_SHIFT);
	unsigned int shift = (unsigned int)from & 63;
	uint64_t words = words_for(pages);
	uint64_t bits = 0;

	if (from >= 0 && index < words)
		bits = le64toh(bitmap[index]) >> shift;
	if (shift && index + 1 < words)
		bits |= le64toh(bitmap[index + 1]) << (64 - shift);
	/* The last word may have bits that are not part of it. */
	if ((int64_t)pages - from < 64)
		bits &= UINT64_MAX >> (64 - ((int64_t)pages - from));
	return bits;
}

void mpl_dirty_set_merge(struct mpl_dirty_set *set, uint64_t page,
			 const uint64_t *bitmap, uint64_t pages)
{
	uint64_t word = page >> WORD_SHIFT;
	int64_t from = -(int64_t)(page & 63);

	for (; from < (int64_t)pages; from += 64, word++) {
		uint64_t bits = cut(bitmap, pages, from);

		if (bits)
			mark_word(set, word, bits);
	}
}

/* Found and, if `clear` of them, cleared. */
static uint64_t take_bits(uint64_t *word, uint64_t bits, uint64_t clear)
{
	uint64_t found = look(word) & bits;

	clear &= found;
	/* [B30] the taker's side; pairs with [B30] in set_bits() */
	if (clear == UINT64_MAX)
		__atomic_store_n(word, 0, __ATOMIC_SEQ_CST);
	else if (clear)
		__atomic_fetch_and(word, ~clear, __ATOMIC_SEQ_CST);
	return found;
}

/* To a set that nobody else looks at. */
static void add_private(struct mpl_dirty_set *set, uint64_t word, uint64_t bits)
{
	for (unsigned int i = 0; i <= TOP; i++) {
		set->level[i][word] |= bits;
		bits = UINT64_C(1) << (word & 63);
		word >>= WORD_SHIFT;
	}
}

/* Words of level 0 that a word of level 1 says to have something. */
struct group {
	uint64_t number; /* of the level 1 word */
	uint64_t found;
};

/* The words are far apart: asked for before the first is needed. */
static void fetch_group(const struct mpl_dirty_set *set,
			const struct mpl_dirty_set *into,
			const struct group *group)
{
	for (uint64_t found = group->found; found; found &= found - 1) {
		uint64_t word = group->number << WORD_SHIFT |
				(unsigned int)__builtin_ctzll(found);

		__builtin_prefetch(&set->level[0][word], 1);
		__builtin_prefetch(&into->level[0][word], 1);
	}
}

static void take_group(struct mpl_dirty_set *set, const struct group *group,
		       uint64_t first, uint64_t last,
		       struct mpl_dirty_set *into)
{
	for (uint64_t found = group->found; found; found &= found - 1) {
		uint64_t word = group->number << WORD_SHIFT |
				(unsigned int)__builtin_ctzll(found);
		uint64_t bits =
			touched(word << WORD_SHIFT, 0, first, last);

		bits = take_bits(&set->level[0][word], bits, bits);
		if (bits)
			add_private(into, word, bits);
	}
}

/* What a word of level 2 leads to: level 1 as a whole, then level 0. */
static void take_top(struct mpl_dirty_set *set, uint64_t top, uint64_t first,
		     uint64_t last, struct mpl_dirty_set *into)
{
	const unsigned int shift = 2 * WORD_SHIFT, all = 3 * WORD_SHIFT;
	uint64_t base = top << all;
	uint64_t found = take_bits(&set->level[2][top],
				   touched(base, shift, first, last),
				   covered(base, shift, first, last));
	struct group groups[64];
	unsigned int count = 0;

	for (; found; found &= found - 1) {
		struct group *group = &groups[count++];

		group->number = top << WORD_SHIFT |
				(unsigned int)__builtin_ctzll(found);
		base = group->number << shift;
		group->found = take_bits(&set->level[1][group->number],
					 touched(base, WORD_SHIFT, first, last),
					 covered(base, WORD_SHIFT, first,
						 last));
		fetch_group(set, into, group);
	}
	for (unsigned int i = 0; i < count; i++)
		take_group(set, &groups[i], first, last, into);
}

void mpl_dirty_set_take(struct mpl_dirty_set *set, uint64_t first,
			uint64_t last, struct mpl_dirty_set *into)
{
	const unsigned int all = 3 * WORD_SHIFT;

	/* Behind the last page there is nothing: its words are covered. */
	if (last == set->pages - 1)
		last |= (UINT64_C(1) << all) - 1;
	for (uint64_t top = first >> all; top <= last >> all; top++)
		take_top(set, top, first, last, into);
	/*
	 * [B31] full fence; pairs with [B31] in mpl_dirty_mark_section().
	 * Hazard: the caller's reads of memory move above the clearing; a
	 * write between the two finds its bit set, and is in neither.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* The first bit of a level that is set, at or after `from`, or NONE. */
static uint64_t next_bit(const struct mpl_dirty_set *set, unsigned int level,
			 uint64_t from)
{
	for (;;) {
		uint64_t word = from >> WORD_SHIFT, bits;

		if (word >= set->words[level])
			return NONE;
		bits = __atomic_load_n(&set->level[level][word],
				       __ATOMIC_RELAXED) &
		       UINT64_MAX << (from & 63);
		if (bits)
			return word << WORD_SHIFT |
			       (unsigned int)__builtin_ctzll(bits);
		word = level == TOP ? word + 1 :
				      next_bit(set, level + 1, word + 1);
		if (word == NONE)
			return NONE;
		from = word << WORD_SHIFT;
	}
}

/* The first page at or after `from` that is not in the set. */
static uint64_t run_end(const struct mpl_dirty_set *set, uint64_t from)
{
	while (from < set->pages) {
		uint64_t gaps = ~__atomic_load_n(
					&set->level[0][from >> WORD_SHIFT],
					__ATOMIC_RELAXED) &
				UINT64_MAX << (from & 63);

		if (gaps) {
			from = (from & ~UINT64_C(63)) |
			       (unsigned int)__builtin_ctzll(gaps);
			return from < set->pages ? from : set->pages;
		}
		from = (from | 63) + 1;
	}
	return set->pages;
}

bool mpl_dirty_set_next(const struct mpl_dirty_set *set, uint64_t from,
			uint64_t *page, uint64_t *count)
{
	uint64_t first = next_bit(set, 0, from), ahead;

	if (first == NONE)
		return false;
	/* Where the next run may begin, while this one is dealt with. */
	ahead = next_bit(set, 1, (first >> WORD_SHIFT) + 1);
	if (ahead != NONE)
		__builtin_prefetch(&set->level[0][ahead]);
	*page = first;
	*count = run_end(set, first) - first;
	return true;
}

uint64_t mpl_dirty_set_count(const struct mpl_dirty_set *set)
{
	uint64_t count = 0;

	for (uint64_t word = next_bit(set, 1, 0); word != NONE;
	     word = next_bit(set, 1, word + 1))
		count += (unsigned int)__builtin_popcountll(__atomic_load_n(
			&set->level[0][word], __ATOMIC_RELAXED));
	return count;
}

void mpl_dirty_set_remove(struct mpl_dirty_set *set, uint64_t page,
			  uint64_t count)
{
	uint64_t last, word;

	if (page >= set->pages || !count)
		return;
	last = count <= set->pages - page ? page + count - 1 : set->pages - 1;
	for (word = next_bit(set, 1, page >> WORD_SHIFT);
	     word <= last >> WORD_SHIFT; word = next_bit(set, 1, word + 1)) {
		uint64_t at = word;
		uint64_t bits = touched(word << WORD_SHIFT, 0, page, last);

		for (unsigned int i = 0; i <= TOP; i++) {
			set->level[i][at] &= ~bits;
			if (set->level[i][at])
				break;
			bits = UINT64_C(1) << (at & 63);
			at >>= WORD_SHIFT;
		}
	}
}

/* Nothing is read of level 0, so that no store waits for the one before. */
void mpl_dirty_set_clear(struct mpl_dirty_set *set)
{
	for (uint64_t top = 0; top < set->words[TOP]; top++) {
		uint64_t found = set->level[TOP][top];

		set->level[TOP][top] = 0;
		for (; found; found &= found - 1) {
			uint64_t group = top << WORD_SHIFT |
					 (unsigned int)__builtin_ctzll(found);
			uint64_t words = set->level[1][group];

			set->level[1][group] = 0;
			for (; words; words &= words - 1)
				set->level[0][group << WORD_SHIFT |
					      (unsigned int)__builtin_ctzll(
						      words)] = 0;
		}
	}
}

void mpl_dirty_set_bitmap(const struct mpl_dirty_set *set, uint64_t page,
			  uint64_t pages, uint64_t *bitmap)
{
	uint64_t from, first, count;

	for (uint64_t i = 0; i < words_for(pages); i++)
		bitmap[i] = 0;
	for (from = page; mpl_dirty_set_next(set, from, &first, &count);
	     from = first + count) {
		if (first - page >= pages)
			break;
		if (count > pages - (first - page))
			count = pages - (first - page);
		for (uint64_t i = first - page; i < first - page + count; i++)
			bitmap[i >> WORD_SHIFT] |= UINT64_C(1) << (i & 63);
	}
}
