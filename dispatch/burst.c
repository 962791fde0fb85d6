/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bursts: many addresses against one snapshot.
 *
 * From one address of a ring to the next the section is mostly the same, or a
 * walk is needed.
 * Eight addresses side by side in AVX-512 were tried and measured slower
 * (docs/decisions/0016).
 */
#include <memplane/access.h>

#include "dispatch/fast.h"
#include "dispatch/iommu.h"

/* What a burst looks up in, and the section to guess. */
struct burst {
	struct mpl_reader *reader;
	const struct mpl_snapshot *snapshot;
	const struct mpl_address_space *as;
	uint32_t root;
	const struct mpl_section *guess;
};

static inline struct burst begin(struct mpl_reader *reader,
				 const struct mpl_address_space *as)
{
	const struct mpl_snapshot *snapshot = mpl_reader_snapshot(reader);
	bool good = reader->last_generation == snapshot->generation &&
		    reader->last_as == as;

	return (struct burst){
		.reader = reader,
		.snapshot = snapshot,
		.as = as,
		.root = mpl_root_of(snapshot, as)->entry,
		.guess = good ? reader->last : reader->sections,
	};
}

/* Keep the guess as the reader's last section. */
static inline void end(const struct burst *burst)
{
	struct mpl_reader *reader = burst->reader;

	if (burst->guess == reader->sections)
		return;
	reader->last_generation = burst->snapshot->generation;
	reader->last_as = burst->as;
	reader->last = burst->guess;
}

/* The section of an address; it is the next guess. */
static inline void walk(struct burst *burst, uint64_t gpa)
{
	const struct mpl_reader *reader = burst->reader;

	burst->guess = mpl_section_checked(
		reader, mpl_walk(reader, burst->root, gpa), gpa);
}

/* Where translation is an addition: addresses start .. start + count - 1. */
struct run {
	uint64_t start;
	uint64_t count; /* 0: nowhere */
	uintptr_t base; /* host address of guest address 0 */
};

static inline struct run run_of(const struct mpl_section *section, size_t len,
				uint32_t intent)
{
	bool good =
		(section->flags & intent) == intent && len - 1 <= section->span;

	return (struct run){
		.start = section->start,
		/* Memory is never all of 2^64 bytes: no overflow. */
		.count = good ? section->span - (len - 1) + 1 : 0,
		.base = (uintptr_t)section->host - section->start,
	};
}

/* Memory that is logged: a pointer to write goes into the reader's notes. */
static inline void *logged(const struct burst *burst, uint64_t gpa, size_t len,
			   uint32_t intent)
{
	const struct mpl_section *section = burst->guess;

	if (!(section->flags & MPL_SECTION_LOGGED) ||
	    (mpl_section_rights(section) & intent) != intent ||
	    !mpl_section_holds(section, gpa, len))
		return NULL;
	return mpl_reader_note_write(mpl_reader_state(burst->reader), section,
				     gpa, len) ?
		       mpl_section_host(section, gpa) :
		       NULL;
}

/* What an iommu refused: not asked again when a burst starts anew. */
#define REFUSED ((void *)-1)

/* Host address of `len` bytes that lie behind an iommu, or REFUSED. */
static void *through(struct mpl_reader *pub,
		     const struct mpl_address_space *as, uint64_t gpa,
		     size_t len, enum mpl_intent intent)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	const struct mpl_asked asked = {
		.as = as,
		.gpa = gpa,
		.len = len ? len : 1,
		.intent = intent,
		.attrs = reader->attrs,
	};
	struct mpl_reach reach;

	if (mpl_clip_to_top(gpa, asked.len) != asked.len ||
	    mpl_iommu_pointer(reader, &asked, &reach) ||
	    reach.len != asked.len)
		return REFUSED;
	return mpl_section_host(reach.section, reach.gpa);
}

static unsigned int translate(struct mpl_reader *reader,
			      const struct mpl_address_space *as,
			      const uint64_t *gpa, unsigned int count,
			      size_t len, enum mpl_intent intent, void **host,
			      unsigned int *tried)
{
	const struct mpl_reader_state *state = mpl_reader_state(reader);
	uint64_t pauses = state->pauses;
	struct burst burst = begin(reader, as);
	struct run run = run_of(burst.guess, len, intent);
	unsigned int found = 0;

	for (unsigned int i = 0; i < count; i++) {
		if (gpa[i] - run.start >= run.count) {
			walk(&burst, gpa[i]);
			run = run_of(burst.guess, len, intent);
			if (gpa[i] - run.start >= run.count) {
				if (!(burst.guess->flags &
				      MPL_SECTION_IOMMU)) {
					host[i] = logged(&burst, gpa[i], len,
							 intent);
					found += host[i] != NULL;
					continue;
				}
				if (i < *tried && host[i] == REFUSED)
					continue;
				host[i] = through(reader, as, gpa[i], len,
						  intent);
				found += host[i] != REFUSED;
				if (state->pauses == pauses)
					continue;
				/* It has waited: nothing is good any more. */
				if (i >= *tried)
					*tried = i + 1;
				return 0;
			}
		}
		host[i] = (void *)(run.base + gpa[i]);
		found++;
	}
	end(&burst);
	return found;
}

unsigned int mpl_translate_burst(struct mpl_reader *pub,
				 const struct mpl_address_space *as,
				 const uint64_t *gpa, unsigned int count,
				 size_t len, enum mpl_intent intent,
				 void **host)
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

/* Any addresses, registers among them: the slots are worth a look. */
void mpl_lookup_burst(struct mpl_reader *reader,
		      const struct mpl_address_space *as, const uint64_t *gpa,
		      unsigned int count, const struct mpl_section **section)
{
	struct burst burst = begin(reader, as);
	const struct mpl_section *guess = burst.guess;

	for (unsigned int i = 0; i < count; i++) {
		if (guess == reader->sections ||
		    !mpl_section_covers(guess, gpa[i]))
			guess = mpl_lookup_slot(reader, burst.snapshot, as,
						gpa[i]);
		section[i] = guess;
	}
}
