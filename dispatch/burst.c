/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bursts: many addresses against one snapshot.
 *
 * Buffers of a ring are mostly in one run of memory: eight addresses at a
 * time are translated without a branch, and it is looked only once whether
 * all of them were in the run.  From the first that was not, each is done by
 * itself.
 *
 * The vectors are two words wide, which every x86-64 has: no choice is to be
 * made at run time (docs/decisions/0091).
 */
#include <memplane/access.h>

#include "dispatch/fast.h"
#include "dispatch/iotlb.h"

typedef uint64_t pair __attribute__((vector_size(16)));

enum { STRIDE = 8 };

static inline pair load(const uint64_t *from)
{
	pair out;

	memcpy(&out, from, sizeof(out));
	return out;
}

/* A run of at most 2^63 bytes, as translate_stride() wants it. */
struct strides {
	pair start;
	pair beyond; /* added to a place in the run: 2^63 and more, if outside */
	pair host;   /* of the run's start */
};

static inline struct strides strides_of(struct mpl_run run)
{
	uint64_t beyond = (UINT64_C(1) << 63) - run.size;
	uint64_t host = run.base + run.start;

	return (struct strides){
		.start = { run.start, run.start },
		.beyond = { beyond, beyond },
		.host = { host, host },
	};
}

/*
 * Translate STRIDE addresses by a run.  False: not all lie there, and what was
 * stored means nothing.
 */
static inline bool translate_stride(struct strides run, const uint64_t *gpa,
				    void **host)
{
	pair outside = { 0, 0 };

#pragma GCC unroll 4
	for (unsigned int i = 0; i < STRIDE; i += 2) {
		pair at = load(gpa + i) - run.start;
		pair to = at + run.host;

		/* The topmost bit of one of them, if at >= size. */
		outside |= at | (at + run.beyond);
		memcpy(host + i, &to, sizeof(to));
	}
	return !((outside[0] | outside[1]) >> 63);
}

/* The same for what is left at the end. */
static inline bool translate_rest(struct mpl_run run, const uint64_t *gpa,
				  unsigned int count, void **host)
{
	for (unsigned int i = 0; i < count; i++) {
		if (gpa[i] - run.start >= run.size)
			return false;
		host[i] = (void *)(run.base + gpa[i]);
	}
	return true;
}

/* Can strides tell where it ends?  Empty ones become the greatest. */
static inline bool is_usable(struct mpl_run run)
{
	return run.size - 1 < UINT64_C(1) << 63;
}

static bool translate_run(struct mpl_run run, const uint64_t *gpa,
			  unsigned int count, void **host)
{
	if (!is_usable(run))
		return false;
	return count == STRIDE ?
		       translate_stride(strides_of(run), gpa, host) :
		       translate_rest(run, gpa, count, host);
}

/* A burst for buffers of one length. */
struct burst {
	struct mpl_reader *reader;
	uint32_t intent;
	size_t len;
	uint64_t pauses; /* of the reader, when it began */
	unsigned int hits; /* of the slots */
	/* Where all of the last addresses were, as far as one can tell. */
	const struct mpl_section *section;
	struct mpl_run run;
	unsigned int found;
};

/* For `len` bytes fewer addresses are good than there are in the run. */
static inline struct mpl_run shorten(struct mpl_run run, size_t len)
{
	run.size = len - 1 < run.size ? run.size - (len - 1) : 0;
	return run;
}

/* Memory that is logged: a pointer to write goes into the reader's notes. */
static void *logged(const struct burst *burst,
		    const struct mpl_section *section, uint64_t gpa)
{
	if (!(section->flags & MPL_SECTION_LOGGED) ||
	    !mpl_section_covers(section, gpa) ||
	    (mpl_section_rights(section) & burst->intent) != burst->intent ||
	    !mpl_section_holds(section, gpa, burst->len))
		return NULL;
	return mpl_reader_note_write(mpl_reader_state(burst->reader), section,
				     gpa, burst->len) ?
		       mpl_section_host(section, gpa) :
		       NULL;
}

/* What an iommu refused: not asked again when a burst starts anew. */
#define REFUSED ((void *)-1)

/* Host address of `len` bytes that lie behind an iommu, or REFUSED. */
static void *through(const struct burst *burst,
		     const struct mpl_section *section, uint64_t gpa)
{
	struct mpl_reader_state *reader = mpl_reader_state(burst->reader);
	const struct mpl_asked asked = {
		.as = burst->reader->translated.as,
		.gpa = gpa,
		.len = burst->len,
		.intent = (enum mpl_intent)burst->intent,
		.attrs = reader->attrs,
	};
	struct mpl_reach reach;

	void *host;

	host = mpl_iotlb_all(reader, section, gpa, asked.len, asked.intent,
			     asked.attrs);
	if (host)
		return host;
	/* No bytes are no contiguous memory, as anywhere else. */
	if (!asked.len || mpl_clip_to_top(gpa, asked.len) != asked.len ||
	    mpl_iommu_pointer(reader, &asked, &reach) ||
	    reach.len != asked.len)
		return REFUSED;
	return mpl_section_host(reach.section, reach.gpa);
}

/*
 * Not simply memory: its host address, NULL or REFUSED.  Behind an iommu this
 * may wait, and then nothing that the burst has is good any more.
 */
static __attribute__((noinline)) void *
not_simple(const struct burst *burst, const struct mpl_section *section,
	   uint64_t gpa, bool was_refused)
{
	if (!(section->flags & MPL_SECTION_IOMMU) ||
	    !mpl_section_covers(section, gpa))
		return logged(burst, section, gpa);
	return was_refused ? REFUSED : through(burst, section, gpa);
}

/* Does a section have all bytes, as memory for this intent? */
static inline bool is_simple(const struct burst *burst,
			     const struct mpl_section *section, uint64_t gpa)
{
	uint64_t at = gpa - section->start;

	return (section->flags & burst->intent) == burst->intent &&
	       at <= section->span && burst->len - 1 <= section->span - at;
}

/* A slot has all bytes, as memory for this intent: which run, or NULL. */
static inline const struct mpl_run *in_extent(const struct burst *burst,
					      uint64_t gpa)
{
	const struct mpl_extent *extent = mpl_extent_of(burst->reader, gpa);
	uint64_t at = gpa - extent->run.start;

	return extent->stamp == burst->reader->translated.stamp &&
			       (extent->flags & burst->intent) ==
				       burst->intent &&
			       at < extent->run.size &&
			       burst->len - 1 < extent->run.size - at ?
		       &extent->run :
		       NULL;
}

/* What a walk found: kept where the next may look. */
static void keep_extent(struct burst *burst, const struct mpl_section *section,
			uint64_t gpa)
{
	mpl_extent_put(burst->reader, gpa, section,
		       mpl_run_of(section, burst->intent));
}

/*
 * One by one, with a walk for each that no slot has.  How many are done: fewer than `count` if
 * it had to wait after the last of them.
 */
static inline __attribute__((always_inline)) unsigned int
translate_each(struct burst *burst, const uint64_t *gpa, unsigned int count,
	       unsigned int tried, void **host, bool extents)
{
	const struct mpl_reader_state *state = mpl_reader_state(burst->reader);
	const struct mpl_section *section = NULL, *first = NULL;
	uint32_t entry = burst->reader->translated.entry;

	for (unsigned int i = 0; i < count; i++) {
		const struct mpl_run *run =
			extents ? in_extent(burst, gpa[i]) : NULL;

		if (run) {
			host[i] = (void *)(run->base + gpa[i]);
			burst->found++;
			burst->hits++;
			continue;
		}
		section = mpl_walk(burst->reader, entry, gpa[i]);
		if (!i)
			first = section;
		if (is_simple(burst, section, gpa[i])) {
			host[i] = mpl_section_host(section, gpa[i]);
			burst->found++;
			if (extents)
				keep_extent(burst, section, gpa[i]);
			continue;
		}
		host[i] = not_simple(burst, section, gpa[i],
				     i < tried && host[i] == REFUSED);
		if (state->pauses != burst->pauses)
			return i + 1;
		burst->found += host[i] && host[i] != REFUSED;
	}
	/* Worth a try the next time? */
	burst->section = section;
	burst->run.size = 0;
	if (section && section == first)
		burst->run = shorten(mpl_run_of(section, burst->intent),
				     burst->len);
	return count;
}

static unsigned int translate_by_extents(struct burst *burst,
					 const uint64_t *gpa,
					 unsigned int count,
					 unsigned int tried, void **host)
{
	return translate_each(burst, gpa, count, tried, host, true);
}

static unsigned int translate_by_walks(struct burst *burst, const uint64_t *gpa,
				       unsigned int count, unsigned int tried,
				       void **host)
{
	return translate_each(burst, gpa, count, tried, host, false);
}

/* One attempt.  *tried: so many addresses have been asked for before. */
static unsigned int translate(struct mpl_reader *reader,
			      const struct mpl_address_space *as,
			      const uint64_t *gpa, unsigned int count,
			      size_t len, enum mpl_intent intent, void **host,
			      unsigned int *tried)
{
	struct mpl_run *kept = &reader->run[intent % MPL_RUNS];
	struct burst burst = {
		.reader = reader,
		.intent = (uint32_t)intent,
		.len = len,
		.pauses = mpl_reader_state(reader)->pauses,
	};
	unsigned int (*each)(struct burst *, const uint64_t *, unsigned int,
			     unsigned int, void **) =
		mpl_extents_pay(reader) ? translate_by_extents :
					  translate_by_walks;
	unsigned int part, did, singly = 0;

	mpl_translate_begin(reader, as);
	burst.run = shorten(*kept, len);
	for (unsigned int done = 0; done < count; done += part) {
		part = count - done < STRIDE ? count - done : STRIDE;
		/* Strides would write over what was refused. */
		if (done >= *tried &&
		    translate_run(burst.run, gpa + done, part, host + done)) {
			burst.found += part;
			continue;
		}
		did = each(&burst, gpa + done, part,
			   *tried > done ? *tried - done : 0, host + done);
		singly += did;
		if (mpl_reader_state(reader)->pauses != burst.pauses) {
			if (done + did > *tried)
				*tried = done + did;
			return 0;
		}
	}
	__atomic_store_n(&reader->misses, reader->misses + singly - burst.hits,
			 __ATOMIC_RELAXED);
	if (burst.hits)
		reader->translated.credit = MPL_EXTENT_PATIENCE;
	if (burst.section && burst.run.size) {
		reader->translated.seen = burst.section;
		*kept = mpl_run_of(burst.section, (uint32_t)intent);
	}
	return burst.found;
}

/* Not all of it in the run that the reader keeps. */
static MPL_LAST_CALL unsigned int
translate_all(struct mpl_reader *pub, const struct mpl_address_space *as,
	      const uint64_t *gpa, unsigned int count, size_t len,
	      enum mpl_intent intent, void **host)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	unsigned int found = 0, tried = 0;
	uint64_t pauses;

	/* Each address may make one wait; more often is bad luck. */
	for (unsigned int i = 0; i < MPL_IOMMU_RESTARTS + count; i++) {
		pauses = reader->pauses;
		found = translate(pub, as, gpa, count, len, intent, host,
				  &tried);
		if (__builtin_expect(reader->pauses == pauses, 1))
			break;
		found = 0;
	}
	for (unsigned int i = 0; found != count && i < count; i++)
		if (!found || host[i] == REFUSED)
			host[i] = NULL;
	return found;
}

/* Nearly always all of a burst is in the run: no more than that is done here. */
static MPL_LAST_CALL unsigned int
translate_in_run(struct mpl_reader *reader, const struct mpl_address_space *as,
		 const uint64_t *gpa, unsigned int count, size_t len,
		 enum mpl_intent intent, void **host)
{
	struct mpl_run run = shorten(reader->run[intent % MPL_RUNS], len);
	struct strides strides = strides_of(run);
	unsigned int done = 0;

	for (; count - done >= STRIDE; done += STRIDE)
		if (!translate_stride(strides, gpa + done, host + done))
			return translate_all(reader, as, gpa, count, len,
					     intent, host);
	if (!translate_rest(run, gpa + done, count - done, host + done))
		return translate_all(reader, as, gpa, count, len, intent,
				     host);
	return count;
}

unsigned int mpl_translate_burst(struct mpl_reader *reader,
				 const struct mpl_address_space *as,
				 const uint64_t *gpa, unsigned int count,
				 size_t len, enum mpl_intent intent,
				 void **host)
{
	struct mpl_run run = shorten(reader->run[intent % MPL_RUNS], len);

	/* The first one tells whether the others are worth a try. */
	return count && is_usable(run) && *gpa - run.start < run.size &&
			       mpl_view_is_current(reader, &reader->translated,
						   as) ?
		       translate_in_run(reader, as, gpa, count, len, intent,
					host) :
		       translate_all(reader, as, gpa, count, len, intent,
				     host);
}

/* An address that no slot has; *guess is the section before it, or NULL. */
static __attribute__((noinline)) const struct mpl_section *
look_further(struct mpl_reader *reader, const struct mpl_section **guess,
	     uint64_t gpa)
{
	const struct mpl_section *section = *guess;

	if (!section || !mpl_section_covers(section, gpa)) {
		mpl_count_walk(reader);
		section = mpl_section_checked(
			reader, mpl_walk(reader, reader->looked.entry, gpa),
			gpa);
		/* Neither a guess nor to be kept. */
		*guess = section == reader->sections ? NULL : section;
	}
	if (*guess)
		mpl_slot_put(reader, gpa, section);
	return section;
}

/* How many of the first addresses the last section has: what they get. */
static unsigned int lookup_in_last(struct mpl_reader *reader,
				   const uint64_t *gpa, unsigned int count,
				   const struct mpl_section **section)
{
	const struct mpl_section *last = reader->looked.seen;
	uint64_t start = reader->last_start;
	uint64_t size = reader->last_size;
	unsigned int found = 0;

	while (found < count && gpa[found] - start < size)
		section[found++] = last;
	return found;
}

/* A burst that ends in one section: the next may begin there. */
static void keep_last(struct mpl_reader *reader,
		      const struct mpl_section *const *section,
		      unsigned int count)
{
	const struct mpl_section *last = section[count - 1];

	if (count < 2 || section[count - 2] != last || last == reader->sections)
		return;
	mpl_found_again(reader, last);
	mpl_found_again(reader, last);
}

/*
 * Any addresses, registers among them.  These change from one to the next,
 * and mostly are in the slots: so the slots come first, where which way it
 * goes can be foretold, and then the section of the address before.  But for
 * runs in one section, which go on from burst to burst.
 */
void mpl_lookup_burst(struct mpl_reader *reader,
		      const struct mpl_address_space *as, const uint64_t *gpa,
		      unsigned int count, const struct mpl_section **section)
{
	const struct mpl_section *guess = NULL;
	uint64_t missed = 0;
	unsigned int first = 0;
	uint64_t stamp;

	if (!mpl_view_is_current(reader, &reader->looked, as)) {
		mpl_view_renew(reader, &reader->looked, as);
		reader->last_size = 0;
	}
	if (reader->last_size)
		first = lookup_in_last(reader, gpa, count, section);
	if (first == count)
		return;
	stamp = reader->looked.stamp;
#pragma GCC unroll 4
	for (size_t i = first; i < count; i++) {
		const struct mpl_cache_slot *slot =
			mpl_slot_of(reader, gpa[i]);

		if (__builtin_expect(
			    slot->gpa == gpa[i] && slot->stamp == stamp, 1)) {
			section[i] = slot->section;
		} else {
			section[i] = look_further(reader, &guess, gpa[i]);
			missed++;
		}
	}
	reader->last_size = 0;
	keep_last(reader, section, count);
	if (missed == count - first)
		return;
	reader->looked.credit = MPL_CACHE_PATIENCE;
	reader->idle_until = 0;
	__atomic_store_n(&reader->hits, reader->hits + count - first - missed,
			 __ATOMIC_RELAXED);
}
