/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What slots should be, worked out from the flat view by other code than the
 * library's: plain arrays and loops.
 */
#ifndef TESTS_SUPPORT_KVM_CHECK_H
#define TESTS_SUPPORT_KVM_CHECK_H

#include "tests/support/fake_kvm.h"

/* Memory that guests reach without an exit. */
struct memory {
	uint64_t start;
	uint64_t last;
	const struct mpl_region *region; /* of slots: NULL */
	uint64_t delta;                  /* host minus guest address */
	bool readonly;
	bool log;
};

struct memories {
	struct memory *items;
	size_t count;
	size_t capacity;
};

/* Replaces what was in `out`; ascending. */
void memories_of_view(struct mpl_address_space *as, bool readonly_slots,
		      struct memories *out);
void memories_of_slots(const struct fake_kvm *fake, unsigned int space,
		       struct memories *out);
void memories_free(struct memories *list);
void memories_copy(const struct memories *from, struct memories *to);

/*
 * The slots show the view's memory, all of it and nothing else.  False: `why`
 * says where not.
 */
bool memories_match(const struct memories *slots, const struct memories *view,
		    char why[160]);

/* Every address that both have is in one of the slots. */
bool memories_cover_both(const struct memories *slots,
			 const struct memories *old, const struct memories *now,
			 char why[160]);

/*
 * A call for each range that goes, comes, or (*flags, NULL is fine) only begins
 * or ends to log.
 */
unsigned int calls_plain(const struct memories *old, const struct memories *now,
			 uint64_t *flags);
/* The fewest that lead from these slots to the new map. */
unsigned int calls_from_slots(const struct memories *slots,
			      const struct memories *now);
/*
 * The fewest that lead from the old map to the new one, however the slots had
 * been cut before: docs/kvm.md.
 */
unsigned int calls_clairvoyant(const struct memories *old,
			       const struct memories *now);

/*
 * Did this commit have to stop the vCPUs?  From slots before and after and the
 * new map: memory went away that is still there, or a slot that logs.
 */
bool must_have_parked(const struct memories *before,
		      const struct memories *after, const struct memories *now);

#endif
