/* SPDX-License-Identifier: BSD-3-Clause */
/* Mappings: of memory, which is kept, and of devices, which bounce. */
#include <memplane/dma.h>

#include <sys/uio.h>

#include "dispatch/bounce.h"
#include "dispatch/fast.h"
#include "dispatch/iommu.h"
#include "dispatch/mapped.h"

static inline bool is_own(const struct mpl_reader_state *reader)
{
	return __atomic_load_n(&reader->dp->readers[reader->id].thread,
			       __ATOMIC_RELAXED) == mpl_thread_self();
}

static int check_reader(const struct mpl_reader_state *reader)
{
	if (!is_own(reader))
		return -EPERM;
	return reader->online ? 0 : -EINVAL;
}

static inline bool is_intent(unsigned int intent)
{
	return intent - 1 < MPL_FOR_BOTH;
}

/* What a mapping of memory is. */
static inline void fill(const struct mpl_asked *asked,
			const struct mpl_section *section, uint64_t gpa,
			uint64_t len, struct mpl_mapping *mapping)
{
	mapping->host = mpl_section_host(section, gpa);
	mapping->len = len;
	mapping->as = asked->as;
	mapping->gpa = asked->gpa;
	mapping->attrs = asked->attrs;
	mapping->intent = asked->intent;
	/* As mpl_section_region(), which would be a call. */
	mapping->region = (struct mpl_region *)section->device;
	mapping->offset = mpl_section_offset(section, gpa);
	mapping->trail = NULL;
}

/*
 * Is it to be bounced?  Callbacks serve what the memory does not; mapped
 * device memory minds how it is accessed.
 */
static bool bounces(const struct mpl_section *section, uint32_t intent)
{
	bool rights = (mpl_section_rights(section) & intent) == intent;

	if (section->flags & MPL_SECTION_CALLBACKS)
		return !rights;
	return rights && section->flags & MPL_SECTION_EXACT;
}

/* How many bytes from asked->gpa on are to be bounced together. */
static uint64_t bounced(struct mpl_reader_state *reader,
			const struct mpl_asked *asked)
{
	const struct mpl_reader_stats before = reader->stats;
	struct mpl_asked rest = *asked;

	while (rest.len) {
		struct mpl_reach reach;
		struct mpl_trail trail;

		if (mpl_iommu_reach(reader, &rest, &reach, &trail) ||
		    mpl_section_is_unassigned(reach.section) ||
		    !bounces(reach.section, asked->intent))
			break;
		rest.gpa += reach.len;
		rest.len -= reach.len;
	}
	/* Where it ends is no error. */
	reader->stats.decode_errors = before.decode_errors;
	reader->stats.access_errors = before.access_errors;
	return asked->len - rest.len;
}

static int map_bounce(struct mpl_reader_state *reader,
		      struct mpl_asked asked, size_t *len,
		      struct mpl_mapping *mapping)
{
	struct mpl_bounce *bounce = mpl_bounce_of(asked.as);
	mpl_result_t result = MPL_OK;
	void *buffer;
	int err;

	if (asked.attrs.memory_only)
		return mpl_result_error(mpl_count_access_error(reader));
	/* No more than there can be is looked at. */
	if (asked.len > bounce->limit && bounce->limit)
		asked.len = bounce->limit;
	asked.len = bounced(reader, &asked);
	if (!asked.len) /* it has changed just now */
		return -EAGAIN;
	err = mpl_bounce_take(bounce, &asked.len, &buffer);
	if (err)
		return err;
	if (asked.intent & MPL_FOR_READ)
		result = mpl_read(&reader->pub, asked.as, asked.gpa,
				  asked.attrs, buffer, asked.len);
	if (result) {
		mpl_bounce_give(bounce, buffer, asked.len);
		return mpl_result_error(result);
	}
	*mapping = (struct mpl_mapping){
		.host = buffer,
		.len = asked.len,
		.as = asked.as,
		.gpa = asked.gpa,
		.attrs = asked.attrs,
		.intent = asked.intent,
	};
	*len = asked.len;
	return 0;
}

/* Whatever it is. */
static int map_any(struct mpl_reader_state *reader,
		   const struct mpl_asked *asked, size_t *len,
		   struct mpl_mapping *mapping)
{
	uint64_t decode_errors = reader->stats.decode_errors;
	uint64_t access_errors = reader->stats.access_errors;
	struct mpl_trail trail, *kept = NULL;
	struct mpl_reach reach;
	mpl_result_t result;

	if (!asked->len || mpl_clip_to_top(asked->gpa, asked->len) !=
				   asked->len ||
	    !is_intent(asked->intent))
		return -EINVAL;
	result = mpl_iommu_host(reader, asked, &reach, &trail);
	if (reach.section && bounces(reach.section, asked->intent)) {
		/* That it is not memory is no error then. */
		reader->stats.decode_errors = decode_errors;
		reader->stats.access_errors = access_errors;
		return map_bounce(reader, *asked, len, mapping);
	}
	if (result)
		return mpl_result_error(result);
	if (trail.count) {
		kept = mpl_trail_keep(&trail);
		if (!kept)
			return -ENOMEM;
		mpl_trail_hold(kept);
	}
	mpl_mapped_make(reader, reach.section->device);
	fill(asked, reach.section, reach.gpa, reach.len, mapping);
	mapping->trail = kept;
	*len = reach.len;
	return 0;
}

static MPL_LAST_CALL int map_slow(struct mpl_reader *pub,
				  const struct mpl_address_space *as,
				  uint64_t gpa, struct mpl_attrs attrs,
				  enum mpl_intent intent, size_t *len,
				  struct mpl_mapping *mapping)
{
	const struct mpl_asked asked = {
		.as = as,
		.gpa = gpa,
		.len = *len,
		.intent = intent,
		.attrs = attrs,
	};
	int err = check_reader(mpl_reader_state(pub));

	return err ? err :
		     map_any(mpl_reader_state(pub), &asked, len, mapping);
}

/* Memory that the reader has mapped before calls nothing. */
int mpl_map(struct mpl_reader *pub, const struct mpl_address_space *as,
	    uint64_t gpa, struct mpl_attrs attrs, enum mpl_intent intent,
	    size_t *len, struct mpl_mapping *mapping)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	const struct mpl_section *section;
	uint64_t *made;

	if (!is_own(reader) || !reader->online)
		return map_slow(pub, as, gpa, attrs, intent, len, mapping);
	section = mpl_lookup(pub, as, gpa);
	if (!mpl_section_holds(section, gpa, *len) ||
	    !mpl_section_direct(section, intent) || !is_intent(intent))
		return map_slow(pub, as, gpa, attrs, intent, len, mapping);
	made = mpl_mapped_counter(reader, section->device);
	if (!made)
		return map_slow(pub, as, gpa, attrs, intent, len, mapping);
	mpl_tally(made);
	fill(&(struct mpl_asked){ .as = as,
				  .gpa = gpa,
				  .intent = intent,
				  .attrs = attrs },
	     section, gpa, *len, mapping);
	return 0;
}

static int refuse(const struct mpl_reader_state *reader)
{
	if (reader)
		mpl_log(&reader->dp->log, MPL_LOG_ERROR,
			"mpl_unmap: this mapping is not mapped: it was unmapped before, or mpl_map() failed; unmap each mapping once");
	return -EINVAL;
}

static int unmap_bounce(struct mpl_reader_state *reader,
			struct mpl_mapping *mapping, size_t written)
{
	mpl_result_t result = MPL_OK;
	struct mpl_mapping gone = *mapping;

	*mapping = (struct mpl_mapping){ 0 };
	if (written)
		result = mpl_write(&reader->pub, gone.as, gone.gpa, gone.attrs,
				   gone.host, written);
	mpl_bounce_give(mpl_bounce_of(gone.as), gone.host, gone.len);
	return mpl_result_error(result);
}

/*
 * Does somebody log it?  To a reader without the fence that marking has: a log
 * is complete once the readers that were online have been quiescent (dirty.h),
 * so that one which is not seen here begins after this unmap.
 */
static inline bool is_logged(const struct mpl_device *device)
{
	return __atomic_load_n(&device->dirty.clients, __ATOMIC_RELAXED);
}

static inline void forget(struct mpl_mapping *mapping)
{
	mapping->host = NULL;
	mapping->len = 0;
	mapping->region = NULL;
	mapping->trail = NULL;
}

static MPL_LAST_CALL int unmap_slow(struct mpl_reader *pub,
				    struct mpl_mapping *mapping,
				    size_t written)
{
	struct mpl_reader_state *reader = pub ? mpl_reader_state(pub) : NULL;
	struct mpl_device *device = (struct mpl_device *)mapping->region;
	struct mpl_trail *trail = mapping->trail;
	int err = reader ? check_reader(reader) : 0;

	if (err)
		return err;
	if (!mapping->host)
		return refuse(reader);
	if (written > mapping->len ||
	    (written && !(mapping->intent & MPL_FOR_WRITE)))
		return -EINVAL;
	if (!device)
		return reader ? unmap_bounce(reader, mapping, written) :
				-EINVAL;
	if (written && (!reader || is_logged(device)))
		mpl_dirty_mark_device(device, mapping->offset, written);
	forget(mapping);
	/* Last of all: it may be what keeps the device. */
	mpl_mapped_end(reader, device);
	if (trail) {
		mpl_trail_release(trail);
		mpl_trail_drop(trail);
	}
	return 0;
}

int mpl_unmap(struct mpl_reader *pub, struct mpl_mapping *mapping,
	      size_t written)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	struct mpl_device *device = (struct mpl_device *)mapping->region;
	struct mpl_mapped *mapped;

	/* All but memory that this reader has mapped before, without a log. */
	if (!pub || !device || mapping->trail || !is_own(reader) ||
	    !reader->online)
		return unmap_slow(pub, mapping, written);
	if (written && (written > mapping->len ||
			!(mapping->intent & MPL_FOR_WRITE) ||
			is_logged(device)))
		return unmap_slow(pub, mapping, written);
	mapped = mpl_mapped_of(reader, device);
	if (!mapped)
		return unmap_slow(pub, mapping, written);
	forget(mapping);
	mpl_mapped_ended(mapped);
	return 0;
}

int mpl_map_sg(struct mpl_reader *reader, const struct mpl_address_space *as,
	       uint64_t gpa, struct mpl_attrs attrs, enum mpl_intent intent,
	       size_t len, struct mpl_mapping *mapping, struct iovec *iov,
	       unsigned int max, unsigned int *count, size_t *done)
{
	*count = 0;
	*done = 0;
	if (!len || len - 1 > UINT64_MAX - gpa || !max)
		return -EINVAL;
	while (*done < len && *count < max) {
		size_t piece = len - *done;
		int err = mpl_map(reader, as, gpa + *done, attrs, intent,
				  &piece, &mapping[*count]);

		if (err)
			return *count ? 0 : err;
		if (iov)
			iov[*count] = (struct iovec){
				.iov_base = mapping[*count].host,
				.iov_len = piece,
			};
		++*count;
		*done += piece;
	}
	return 0;
}

int mpl_unmap_sg(struct mpl_reader *reader, struct mpl_mapping *mapping,
		 unsigned int count, size_t written)
{
	int first = 0;

	for (unsigned int i = 0; i < count; i++) {
		size_t here = written < mapping[i].len ? written :
							 mapping[i].len;
		int err = mpl_unmap(reader, &mapping[i], here);

		written -= here;
		if (err && !first)
			first = err;
	}
	return first;
}
