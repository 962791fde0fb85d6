/* SPDX-License-Identifier: BSD-3-Clause */
/* The same program in the languages that may include the public headers. */
#ifndef TESTS_EMBED_EMBED_H
#define TESTS_EMBED_EMBED_H

#include <memplane.h>

enum {
	EMBED_COVERED = 1,  /* the walk's section has the address */
	EMBED_AGREED = 2,   /* all look-ups give the same, also as symbols */
	EMBED_ASSIGNED = 4, /* something is there, at the right offset */
	EMBED_CACHED = 8,   /* the cache slot exists */
	EMBED_MAPPED = 16,  /* a host address, by translation and window */
};

#ifdef __cplusplus
extern "C" {
#endif

unsigned int embed_c11(struct mpl_reader *reader,
		       const struct mpl_address_space *as, uint64_t gpa);
unsigned int embed_cxx17(struct mpl_reader *reader,
			 const struct mpl_address_space *as, uint64_t gpa);
int embed_cxx17_plane(struct mpl_plane **plane);

#ifdef __cplusplus
}
#endif

#endif
