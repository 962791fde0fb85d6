/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inline look-ups as functions of their own, for tools/check-hotpath to
 * disassemble.
 */
#include <memplane.h>

const struct mpl_section *probe_lookup(struct mpl_reader *reader,
				       const struct mpl_address_space *as,
				       uint64_t gpa);
const struct mpl_section *
probe_lookup_uncached(const struct mpl_reader *reader,
		      const struct mpl_address_space *as, uint64_t gpa);

const struct mpl_section *probe_lookup(struct mpl_reader *reader,
				       const struct mpl_address_space *as,
				       uint64_t gpa)
{
	return mpl_lookup(reader, as, gpa);
}

const struct mpl_section *
probe_lookup_uncached(const struct mpl_reader *reader,
		      const struct mpl_address_space *as, uint64_t gpa)
{
	return mpl_lookup_uncached(reader, as, gpa);
}
