/* SPDX-License-Identifier: BSD-3-Clause */
/* Scatter-gather: a guest range as pieces of host memory. */
#include <memplane/access.h>

#include <sys/uio.h>

#include "dispatch/fast.h"
#include "dispatch/iotlb.h"

static void append(struct iovec *iov, unsigned int *count, uint8_t *host,
		   size_t len)
{
	struct iovec *last = *count ? &iov[*count - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == host) {
		last->iov_len += len;
		return;
	}
	iov[(*count)++] = (struct iovec){ .iov_base = host, .iov_len = len };
}

/* Behind iommus a page at a time: those that follow are joined anyway. */
static mpl_result_t reach_memory(struct mpl_reader_state *reader,
				 const struct mpl_asked *asked,
				 struct mpl_reach *reach)
{
	struct mpl_trail trail;
	mpl_result_t result = mpl_iommu_reach(reader, asked, reach, &trail);
	const struct mpl_section *section = reach->section;

	if (result)
		return result;
	if (mpl_section_is_unassigned(section))
		return mpl_count_decode_error(reader);
	if ((mpl_section_rights(section) & asked->intent) != asked->intent ||
	    (asked->intent & MPL_FOR_WRITE &&
	     section->flags & MPL_SECTION_LOGGED &&
	     !mpl_reader_note_write(reader, section, reach->gpa, reach->len)))
		return mpl_count_access_error(reader);
	return MPL_OK;
}

/* A page that is kept. */
static bool reach_kept(struct mpl_reader_state *reader,
		       const struct mpl_section *section,
		       const struct mpl_asked *asked, struct mpl_reach *reach,
		       uint8_t **host)
{
	uint64_t rest;

	if (!(section->flags & MPL_SECTION_IOMMU))
		return false;
	*host = mpl_iotlb_host(reader, section, asked->gpa, asked->intent,
			       asked->attrs, &rest);
	if (!*host)
		return false;
	reach->len = mpl_iotlb_less(asked->len - 1, rest) + 1;
	return true;
}

/* The rest of a range.  *done is what was found so far. */
static mpl_result_t gather(struct mpl_reader_state *reader,
			   struct mpl_asked asked, struct iovec *iov,
			   unsigned int max, unsigned int *count, size_t *done,
			   uint64_t *limit)
{
	while (asked.len && *count < max) {
		const struct mpl_section *section =
			mpl_lookup(&reader->pub, asked.as, asked.gpa);
		uint64_t pauses = reader->pauses;
		struct mpl_reach reach = {
			.section = section,
			.gpa = asked.gpa,
		};
		mpl_result_t result = MPL_OK;
		uint8_t *host = NULL;

		if ((section->flags & asked.intent) == asked.intent)
			reach.len = mpl_section_rest(section, asked.gpa,
						     asked.len);
		else if (!reach_kept(reader, section, &asked, &reach, &host))
			result = reach_memory(reader, &asked, &reach);
		/* Next time without what will never be. */
		if (result && reader->pauses != pauses)
			*limit = *done;
		if (result || reader->pauses != pauses)
			return result;
		if (!host)
			host = mpl_section_host(reach.section, reach.gpa);
		append(iov, count, host, reach.len);
		asked.gpa += reach.len;
		asked.len -= reach.len;
		*done += reach.len;
	}
	return MPL_OK;
}

mpl_result_t mpl_translate_sg(struct mpl_reader *pub,
			      const struct mpl_address_space *as, uint64_t gpa,
			      struct mpl_attrs attrs, size_t len,
			      enum mpl_intent intent, struct iovec *iov,
			      unsigned int max, unsigned int *count,
			      size_t *done)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	struct mpl_asked asked = {
		.as = as,
		.gpa = gpa,
		.len = mpl_clip_to_top(gpa, len),
		.intent = intent,
		.attrs = attrs,
	};

	/* A translation that waited makes the pointers before it invalid. */
	for (unsigned int i = 0; i < MPL_IOMMU_RESTARTS; i++) {
		uint64_t pauses = reader->pauses;
		mpl_result_t result;

		*count = 0;
		*done = 0;
		result = gather(reader, asked, iov, max, count, done,
				&asked.len);
		if (reader->pauses == pauses || (result && !*count))
			return *count ? MPL_OK : result;
		/* More pages than the IOTLB keeps, and each waits: fewer. */
		if (i > MPL_IOMMU_RESTARTS / 2 && asked.len > 1)
			asked.len /= 2;
	}
	*count = 0;
	*done = 0;
	return mpl_count_access_error(reader);
}
