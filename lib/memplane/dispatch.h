/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The look-up: from a guest-physical address to the section behind it.
 *
 * This header is the hot path, and its layouts are ABI (MPL_LAYOUT).
 *
 * The map
 * -------
 * A map is a radix tree over all 64 address bits, six bits a level, on a
 * fixed grid of shifts 60, 54 .. 6, 0.  A node is 64 entries; an entry is 32
 * bits:
 *
 *      31                                6 5        0
 *     +-----------------------------------+----------+
 *     | index of a node, a packed leaf,   | shift    |   63: a section
 *     | or a section                      |          |   0..60: the node's
 *     +-----------------------------------+----------+   odd: a leaf's, plus 1
 *
 * The shift is absolute: the child says which address bits index it, so that
 * the levels between are skipped (skip compaction).  For example, with RAM R
 * at 0..bfffffff, a UART U at fe000000..fe000fff, and nothing else, one node
 * is the whole map:
 *
 *     root = node 5, shift 30
 *     node 5:  [0] R  [1] R  [2] R  [3] U  [4..63] unassigned
 *                                    ^ although U is 4 KiB of that GiB
 *
 * because an entry below which just one section lives *is* that section: the
 * look-up ends by comparing the address with the section's own bounds, and
 * what lies outside is unassigned.  For the same reason bits that were
 * skipped need not be compared on the way.  Ranges below a page need nothing
 * special: the grid goes down to single bytes.
 *
 * A node that has nothing but sections, and few of them, may be *packed* into
 * half a cache line: which slots begin another section, as bits, and the
 * sections in their order.  Slots without a section go with the one before
 * them (or the first), which does not cover their addresses.  Packed or not,
 * a node means the same; large maps have eight times less to fetch.
 *
 * Section 0 is the unassigned section; it covers every address.
 */
#ifndef MEMPLANE_DISPATCH_H
#define MEMPLANE_DISPATCH_H

#include "space.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MPL_NODE_BITS 6
#define MPL_NODE_ENTRIES 64
#define MPL_ENTRY_BITS 6 /* below the index */
#define MPL_ENTRY_SHIFT_MASK 63u
#define MPL_ENTRY_SECTION 63u /* this shift marks a section */
#define MPL_ENTRY_END 1u      /* in all shifts but those of plain nodes */

enum mpl_section_flags {
	MPL_SECTION_READ = 1 << 0,	/* `host` may be read */
	MPL_SECTION_WRITE = 1 << 1,	/* `host` may be written, just so */
	MPL_SECTION_READONLY = 1 << 2,	/* no writes to its memory */
	MPL_SECTION_NONVOLATILE = 1 << 3,
	MPL_SECTION_EXACT = 1 << 4,	/* exact-size accesses to `host` */
	MPL_SECTION_UNASSIGNED = 1 << 5,
	MPL_SECTION_IOMMU = 1 << 6,
	MPL_SECTION_CALLBACKS = 1 << 7, /* what `host` does not serve, does */
	MPL_SECTION_DIRTY_SHIFT = 8,	/* 8 bits: clients that log */
	MPL_SECTION_LOGGED = 1 << 16,	/* may be written, and is then marked
					 * (dirty.h); instead of _WRITE */
};

struct mpl_device;   /* private: callbacks, locks */
struct mpl_doorbells; /* private */

/* A flat range as the data plane sees it: one cache line, immutable. */
struct mpl_section {
	uint64_t start;	 /* first address */
	uint64_t span;	 /* last address - start */
	uint8_t *host;	 /* host address of `start`; NULL: none */
	uint64_t offset; /* in the region, of `start` */
	struct mpl_device *device;
	const struct mpl_doorbells *doorbells; /* NULL: none */
	void *reserved;
	uint32_t flags;
	uint32_t id; /* own index */
} __attribute__((aligned(64)));

#define MPL_LEAF_ENTRIES 6

/* A node that has few sections, and nothing else. */
struct mpl_leaf {
	uint64_t starts; /* bit i: slot i begins the next entry; bit 0 is set */
	uint32_t entry[MPL_LEAF_ENTRIES];
};

/* The map of one flat view in a snapshot. */
struct mpl_root {
	uint64_t stamp; /* of this content: no other map ever has it */
	uint32_t entry; /* the radix's root entry */
	uint32_t reserved;
};

#define MPL_FIRST_SLOTS 8

/* What a plane publishes: immutable, replaced as a whole by every commit. */
struct mpl_snapshot {
	uint64_t generation; /* never reused */
	/* Which view an address space shows, by mpl_address_space.slot.
	 * Snapshots share the table until a space changes its view. */
	const uint32_t *view_of;
	uint32_t slots; /* length of view_of */
	uint32_t views; /* length of root */
	/* Of the first address spaces, which processors use, once more: two
	 * loads less in the chain of a look-up.  In mpl_publish(). */
	struct mpl_root first[MPL_FIRST_SLOTS];
	struct mpl_root root[];
};

#define MPL_CACHE_SLOTS 64

/*
 * A section that a look-up of this reader found at `gpa`, good for one stamp.
 * As it is good for that address only, a hit need not look at the section.
 */
struct mpl_cache_slot {
	uint64_t stamp;
	uint64_t gpa;
	const struct mpl_section *section;
	uint64_t reserved;
};

/* Memory where translation is an addition: start .. start + size - 1. */
struct mpl_run {
	uint64_t start;
	uint64_t size;	/* 0: nowhere */
	uintptr_t base; /* host address of guest address 0 */
};

/* Runs that a reader keeps, by mpl_intent; there is none for 0. */
#define MPL_RUNS 4

/* ... and by the 2 MiB around an address, with the section's flags. */
struct mpl_extent {
	uint64_t stamp;
	struct mpl_run run;
	uint32_t flags;
	uint32_t reserved;
};

#define MPL_EXTENTS 64
#define MPL_EXTENT_SHIFT 21

/* What a reader took from a snapshot, and of which address space. */
struct mpl_reader_view {
	uint64_t generation;
	const struct mpl_address_space *as;
	uint64_t stamp; /* of the root, as its entry */
	uint32_t entry;
	uint32_t credit; /* of the caches: mpl_give_up() */
	/* The section found last. */
	const struct mpl_section *seen;
};

/*
 * The part of a reader that look-ups use.  Only the reader's own thread
 * touches it.
 *
 * Two caches of look-ups and two of translations.  The section found last,
 * and for each intent the run, are good as long as nothing at all has been
 * published since, and for one address space.  They are used once the same
 * was found twice running: a look at them for nothing is a branch that nobody
 * can foretell.  The slots are good as long as their view has not changed:
 * small sections by the address, runs by the 2 MiB around it.  A reader
 * whose caches do not hit stops using them: mpl_give_up().
 */
struct mpl_reader {
	const struct mpl_snapshot *const *published;
	const uint64_t *generation; /* stored before what is published */
	const uint32_t *nodes; /* the arenas, where this reader sees them */
	const struct mpl_section *sections;
	uint64_t misses; /* look-ups that walked the radix */
	uint64_t hits;	 /* that a slot of `cache` answered; the others' are not
			  * counted: that would cost as much as they do */
	const struct mpl_leaf *leaves; /* an arena, too */
	uint64_t idle_until; /* by `misses`: caches of look-ups are left alone */

	struct mpl_reader_view looked; /* by mpl_lookup() */
	uint64_t last_start; /* of looked.seen */
	uint64_t last_size;  /* 0: not to be used */
	uint64_t given_up;   /* how often the caches were */

	struct mpl_reader_view translated; /* by mpl_translate() */
	uint64_t reserved3[3];
	struct mpl_run run[MPL_RUNS];
	uint64_t reserved4[4];

	struct mpl_cache_slot cache[MPL_CACHE_SLOTS];
	struct mpl_extent extent[MPL_EXTENTS];
};

/* Without a call: x86-64 processors that virtualise have the instruction. */
static inline uint64_t mpl_bits_set(uint64_t word)
{
#if defined(__x86_64__) && !defined(__POPCNT__)
	__asm__("popcntq %0, %0" : "+r"(word) : : "cc");
	return word;
#else
	return (uint64_t)__builtin_popcountll(word);
#endif
}

static inline bool mpl_entry_is_section(uint32_t entry)
{
	/* The greatest shift: one more and it is 0.  Shorter than comparing. */
	return !((entry + 1) & MPL_ENTRY_SHIFT_MASK);
}

/* Of a node's entry, plain or packed. */
static inline unsigned int mpl_entry_shift(uint32_t entry)
{
	return entry & MPL_ENTRY_SHIFT_MASK & ~MPL_ENTRY_END;
}

/* From the entry of a node to that of the child which holds `gpa`. */
static inline uint32_t mpl_entry_below(const struct mpl_reader *reader,
				       uint32_t entry, uint64_t gpa)
{
	const uint32_t *node =
		reader->nodes + (entry & ~MPL_ENTRY_SHIFT_MASK);

	/* Not one sum: the node's address need not wait for the shift. */
	__asm__("" : "+r"(node));
	return node[(gpa >> (entry & MPL_ENTRY_SHIFT_MASK)) &
		    (MPL_NODE_ENTRIES - 1)];
}

/* Neither a node nor a section, that is a packed leaf: its entry for `gpa`. */
static inline uint32_t mpl_leaf_below(const struct mpl_reader *reader,
				      uint32_t entry, uint64_t gpa)
{
	/* A leaf is 32 bytes: half of index << 6 is where it lies. */
	const struct mpl_leaf *leaf =
		(const struct mpl_leaf *)((const char *)reader->leaves +
					  (entry & ~MPL_ENTRY_SHIFT_MASK) / 2);
	/* By one bit more, as the entry has it.  None divides the topmost. */
	uint64_t slot = (2 * gpa) >> (entry & MPL_ENTRY_SHIFT_MASK);

	/* How many entries begin at or below the slot. */
	return leaf->entry[mpl_bits_set(leaf->starts << (~slot & 63)) - 1];
}

/*
 * Walk the radix: no cache, no bounds check.  Instruction budget: 6 a level
 * (bench/lookup.c counts them).
 */
static inline const struct mpl_section *
mpl_walk(const struct mpl_reader *reader, uint32_t entry, uint64_t gpa)
{
	while (!(entry & MPL_ENTRY_END))
		entry = mpl_entry_below(reader, entry, gpa);
	if (!mpl_entry_is_section(entry))
		entry = mpl_leaf_below(reader, entry, gpa);
	/* A section is 64 bytes, so that index << 6 is where it lies. */
	return (const struct mpl_section *)((const char *)reader->sections +
					    (entry & ~MPL_ENTRY_SHIFT_MASK));
}

static inline bool mpl_section_covers(const struct mpl_section *section,
				      uint64_t gpa)
{
	return gpa - section->start <= section->span;
}

/*
 * What a walk led to, or the unassigned section if that does not cover `gpa`.
 * A branch on purpose: as a conditional move the comparison would be part of
 * every chain of dependent look-ups, instead of being predicted.
 */
static inline const struct mpl_section *
mpl_section_checked(const struct mpl_reader *reader,
		    const struct mpl_section *section, uint64_t gpa)
{
	if (__builtin_expect(mpl_section_covers(section, gpa), 1))
		return section;
	__asm__ volatile("");
	return reader->sections;
}

/*
 * Which cache slot an address uses: the top six bits of a product (Knuth, The
 * Art of Computer Programming, 6.4, Fibonacci hashing).  Registers and ports
 * that a guest uses together are often multiples of four, at the same offset
 * in different pages; no few bits of the address alone tell them apart.
 */
static inline size_t mpl_cache_offset(uint64_t gpa)
{
	uint64_t product = gpa * UINT64_C(0x9e3779b97f4a7c15);

	return (product >> 53) & ((MPL_CACHE_SLOTS - 1) << 5);
}

static inline struct mpl_cache_slot *mpl_slot_of(struct mpl_reader *reader,
						 uint64_t gpa)
{
	return (struct mpl_cache_slot *)((char *)reader->cache +
					 mpl_cache_offset(gpa));
}

/*
 * The snapshot that look-ups of this reader use until its next quiescent
 * state at least.  [B1] acquire; pairs with [B1] in mpl_publish(): without it
 * a reader could follow a root to nodes that are not written yet.
 */
static inline const struct mpl_snapshot *
mpl_reader_snapshot(const struct mpl_reader *reader)
{
	return __atomic_load_n(reader->published, __ATOMIC_ACQUIRE);
}

static inline const struct mpl_root *
mpl_root_of(const struct mpl_snapshot *snapshot,
	    const struct mpl_address_space *as)
{
	if (__builtin_expect(as->slot < MPL_FIRST_SLOTS, 1))
		return &snapshot->first[as->slot];
	return &snapshot->root[snapshot->view_of[as->slot]];
}

/*
 * Look an address up without any cache.
 */
static inline const struct mpl_section *
mpl_lookup_uncached(const struct mpl_reader *reader,
		    const struct mpl_address_space *as, uint64_t gpa)
{
	const struct mpl_root *root =
		mpl_root_of(mpl_reader_snapshot(reader), as);

	return mpl_section_checked(reader, mpl_walk(reader, root->entry, gpa),
				   gpa);
}

/* Sections below this many bytes are worth a slot of `cache`. */
#define MPL_CACHE_SPAN (UINT64_C(1) << 16)
/*
 * Addresses that never come back would only pay for the caches, a third of a
 * look-up.  So many walks in vain, and they are left alone for a while; after
 * that for a sample of two walks, and once in so many turns for a longer try.
 * Together 64 walks: the branch should be worth foretelling.
 */
#define MPL_CACHE_PATIENCE 64
#define MPL_IDLE_WALKS	   62
#define MPL_SAMPLE_WALKS   2
#define MPL_IDLE_TURNS	   16 /* a power of two */
/* Walks without a hit after which translations give up their runs. */
#define MPL_EXTENT_PATIENCE 8

/*
 * Count: written by the reader's thread only, read by any.  Of a relaxed store
 * of a sum compilers make three instructions.
 */
static inline void mpl_tally(uint64_t *counter)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
	__asm__("addq $1, %0" : "+m"(*counter) : : "cc");
#else
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
#endif
}

static inline void mpl_count_walk(struct mpl_reader *reader)
{
	mpl_tally(&reader->misses);
}

/* The section found last is used once it has been found twice running. */
static inline bool mpl_found_again(struct mpl_reader *reader,
				   const struct mpl_section *section)
{
	if (reader->looked.seen != section) {
		reader->last_size = 0;
		reader->looked.seen = section;
		return false;
	}
	/* Of one with all addresses the topmost is left to the walk. */
	reader->last_size = section->span + (section->span != UINT64_MAX);
	reader->last_start = section->start;
	return true;
}

/* A slot has the address: what is there; counted. */
static inline const struct mpl_section *
mpl_slot_hit(struct mpl_reader *reader, const struct mpl_cache_slot *slot)
{
	const struct mpl_section *section = slot->section;

	reader->looked.credit = MPL_CACHE_PATIENCE;
	mpl_tally(&reader->hits);
	mpl_found_again(reader, section);
	return section;
}

/* Keep a section that covers the address. */
static inline void mpl_slot_put(struct mpl_reader *reader, uint64_t gpa,
				const struct mpl_section *section)
{
	struct mpl_cache_slot *slot = mpl_slot_of(reader, gpa);

	if (section->span >= MPL_CACHE_SPAN)
		return;
	slot->stamp = reader->looked.stamp;
	slot->gpa = gpa;
	slot->section = section;
}

/*
 * Is that of what is published now?  Relaxed: an old number only means that
 * what was good then is used once more, and that is still there: this reader
 * has not been quiescent since.
 */
static inline bool mpl_view_is_current(const struct mpl_reader *reader,
				       const struct mpl_reader_view *view,
				       const struct mpl_address_space *as)
{
	uint64_t generation =
		__atomic_load_n(reader->generation, __ATOMIC_RELAXED);

	return __builtin_expect(generation == view->generation, 1) &&
	       __builtin_expect(view->as == as, 1);
}

/* Make it so. */
static inline void mpl_view_renew(const struct mpl_reader *reader,
				  struct mpl_reader_view *view,
				  const struct mpl_address_space *as)
{
	const struct mpl_snapshot *snapshot = mpl_reader_snapshot(reader);
	const struct mpl_root *root = mpl_root_of(snapshot, as);

	view->generation = snapshot->generation;
	view->as = as;
	view->stamp = root->stamp;
	view->entry = root->entry;
}

/* A walk in vain took the last credit: none for a while, then a little. */
static inline void mpl_give_up(struct mpl_reader *reader)
{
	reader->idle_until = reader->misses + MPL_IDLE_WALKS;
	reader->looked.credit = ++reader->given_up & (MPL_IDLE_TURNS - 1) ?
					MPL_SAMPLE_WALKS :
					MPL_CACHE_PATIENCE;
}

/* The look-up when the last section does not have the address. */
static inline const struct mpl_section *mpl_lookup_slot(struct mpl_reader *reader,
							uint64_t gpa)
{
	struct mpl_reader_view *view = &reader->looked;
	struct mpl_cache_slot *slot;
	const struct mpl_section *section;

	if (reader->misses < reader->idle_until) {
		mpl_count_walk(reader);
		return mpl_section_checked(
			reader, mpl_walk(reader, view->entry, gpa), gpa);
	}
	slot = mpl_slot_of(reader, gpa);
	if (slot->gpa == gpa && slot->stamp == view->stamp)
		return mpl_slot_hit(reader, slot);
	mpl_count_walk(reader);
	section = mpl_walk(reader, view->entry, gpa);
	/* Not kept: the unassigned section would cover everything. */
	if (section == reader->sections || !mpl_section_covers(section, gpa))
		return reader->sections;
	mpl_slot_put(reader, gpa, section);
	/* A walk in vain takes a credit, one that makes a last section of what
	 * it found gives one back. */
	if (mpl_found_again(reader, section))
		view->credit += view->credit < MPL_CACHE_PATIENCE;
	else if (!--view->credit)
		mpl_give_up(reader);
	return section;
}

/*
 * Look an address up: never NULL, the unassigned section if nothing is
 * there.  The reader must be online; the section is valid until its next
 * quiescent state, or its next access to a device (reader.h).  Only the reader's
 * own thread.
 */
static inline __attribute__((always_inline)) const struct mpl_section *
mpl_lookup(struct mpl_reader *reader, const struct mpl_address_space *as,
	   uint64_t gpa)
{
	if (!mpl_view_is_current(reader, &reader->looked, as)) {
		mpl_view_renew(reader, &reader->looked, as);
		reader->last_size = 0;
	}
	if (__builtin_expect(gpa - reader->last_start < reader->last_size, 1))
		return reader->looked.seen;
	return mpl_lookup_slot(reader, gpa);
}

static inline bool mpl_section_is_unassigned(const struct mpl_section *section)
{
	return section->flags & MPL_SECTION_UNASSIGNED;
}

/* Offset in the region that an address of this section has. */
static inline uint64_t mpl_section_offset(const struct mpl_section *section,
					  uint64_t gpa)
{
	return gpa - section->start + section->offset;
}

/* The region behind a section; NULL for the unassigned one. */
struct mpl_region *mpl_section_region(const struct mpl_section *section);

/* The inline functions as symbols, for other languages. */
const struct mpl_section *mpl_lookup_sym(struct mpl_reader *reader,
					 const struct mpl_address_space *as,
					 uint64_t gpa);
const struct mpl_section *
mpl_lookup_uncached_sym(const struct mpl_reader *reader,
			const struct mpl_address_space *as, uint64_t gpa);
const struct mpl_snapshot *
mpl_reader_snapshot_sym(const struct mpl_reader *reader);
const struct mpl_root *mpl_root_of_sym(const struct mpl_snapshot *snapshot,
				       const struct mpl_address_space *as);
const struct mpl_section *mpl_walk_sym(const struct mpl_reader *reader,
				       uint32_t entry, uint64_t gpa);
bool mpl_section_covers_sym(const struct mpl_section *section, uint64_t gpa);
bool mpl_section_is_unassigned_sym(const struct mpl_section *section);
uint64_t mpl_section_offset_sym(const struct mpl_section *section,
				uint64_t gpa);

#ifdef __cplusplus
}
#endif

#endif
