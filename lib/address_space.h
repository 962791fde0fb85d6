/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address spaces and their effective roots.
 *
 * The effective root of a space is found by stepping down from its root as
 * long as that changes nothing visible (docs/topology.md).  The regions
 * stepped through are the space's *chain*; each knows the spaces whose chain
 * it is in, and where it steps to.  A mutation that changes a region's step
 * marks those spaces, and only they look for their root again.
 */
#ifndef MEMPLANE_LIB_ADDRESS_SPACE_H
#define MEMPLANE_LIB_ADDRESS_SPACE_H

#include <memplane/space.h>

#include "dispatch/bounce.h"
#include "lib/flat_view.h"

struct mpl_commit;

/* One link of a chain: in region->deps. */
struct mpl_dep {
	struct mpl_link link;
	struct mpl_space *space;
	struct mpl_region *region;
};

struct mpl_chain {
	struct mpl_dep *deps;
	size_t count;
};

struct mpl_space {
	union { /* first */
		struct mpl_address_space pub;
		struct mpl_bounce bounce;
	};
	struct mpl_plane *plane;
	char *name;
	struct mpl_region *root;
	struct mpl_view *view;
	struct mpl_chain chain;
	struct mpl_link listeners; /* by mpl_listener.space_link */
	bool ending; /* its effective root is none */
	unsigned int attached; /* times, to VMs: these have its listeners */

	/* Of the commit that is running. */
	struct mpl_link dirty; /* in commit->spaces, or a list of its own */
	struct mpl_view *old_view;
	struct mpl_chain old_chain;
	bool switched; /* the above are set */
	struct mpl_changes changes; /* if it switched and has listeners */
	struct mpl_link copies;	    /* ranges of the old view, copied */
};

static inline struct mpl_space *
mpl_space_of(const struct mpl_address_space *as)
{
	return (struct mpl_space *)as;
}

/* Free a space while its plane is being freed: nobody is told. */
void mpl_space_destroy(struct mpl_space *space);

/* Has a mutation of `region` changed where it steps to?  Marks spaces. */
void mpl_root_check(struct mpl_commit *commit, struct mpl_region *region);

/*
 * Find the roots of all marked spaces, and move those whose root is another
 * to its view, which is made if there is none.  Errors: -ENOMEM, -ELOOP.
 */
int mpl_root_update(struct mpl_commit *commit);
void mpl_root_unwind(struct mpl_commit *commit);
/* The commit succeeded: forget the old chains. */
void mpl_root_settle(struct mpl_commit *commit);
/*
 * Spaces with listeners that switch views: copy what they leave, which this
 * commit may change, compare the copy with the view that they enter, and
 * forget all that again.  Errors: -ENOMEM.
 */
int mpl_switch_copy(struct mpl_commit *commit);
int mpl_switch_compare(struct mpl_commit *commit);
void mpl_switch_forget(struct mpl_commit *commit);

/* The space is about to be freed. */
void mpl_root_forget(struct mpl_space *space);

#endif
