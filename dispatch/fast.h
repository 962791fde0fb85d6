/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The short way of an access: one section has all of it, and it is memory, or
 * a device that takes it in one callback without further questions.  Anything
 * else goes the long way (access.c, io.c), with the same results.
 */
#ifndef MEMPLANE_DISPATCH_FAST_H
#define MEMPLANE_DISPATCH_FAST_H

#include <errno.h>

#include <memplane/access.h>

#include "dispatch/count.h"
#include "dispatch/lock.h"
#include "dispatch/memory.h"
#include "dispatch/reader.h"

/*
 * For functions that are called last of all, with the arguments of their
 * caller: a jump, unless the compiler drops arguments and moves the others.
 * What is common then saves no registers for what is not.
 */
#if defined(__has_attribute)
#if __has_attribute(noipa)
#define MPL_LAST_CALL __attribute__((noinline, noipa))
#endif
#endif
#ifndef MPL_LAST_CALL
#define MPL_LAST_CALL __attribute__((noinline))
#endif

static inline mpl_result_t
mpl_count_decode_error(struct mpl_reader_state *reader)
{
	mpl_tally(&reader->stats.decode_errors);
	return MPL_DECODE_ERROR;
}

static inline mpl_result_t
mpl_count_access_error(struct mpl_reader_state *reader)
{
	mpl_tally(&reader->stats.access_errors);
	return MPL_ACCESS_ERROR;
}

/* Does the section have all `len` bytes at `gpa`, which it covers? */
static inline bool mpl_section_holds(const struct mpl_section *section,
				     uint64_t gpa, uint64_t len)
{
	/* len 0 becomes the greatest number, and goes the long way. */
	return len - 1 <= section->span - (gpa - section->start);
}

/* Bytes from `gpa` to the section's end, at most `len` (not 0). */
static inline uint64_t mpl_section_rest(const struct mpl_section *section,
					uint64_t gpa, uint64_t len)
{
	uint64_t rest = section->span - (gpa - section->start);

	return len - 1 < rest ? len : rest + 1;
}

/* What of `len` bytes at `gpa` does not lie past the last address. */
static inline uint64_t mpl_clip_to_top(uint64_t gpa, uint64_t len)
{
	return len && len - 1 > UINT64_MAX - gpa ? UINT64_MAX - gpa + 1 : len;
}

/* What a result is as an error. */
static inline int mpl_result_error(mpl_result_t result)
{
	if (!result)
		return 0;
	if (result & MPL_DEVICE_ERROR)
		return -EIO;
	return result & MPL_ACCESS_ERROR ? -EACCES : -EFAULT;
}

static inline uint8_t *mpl_section_host(const struct mpl_section *section,
					uint64_t gpa)
{
	return section->host + (gpa - section->start);
}

/* What may be done to its memory: of an intent's bits those that it has. */
static inline uint32_t mpl_section_rights(const struct mpl_section *section)
{
	uint32_t rights =
		section->flags & (MPL_SECTION_READ | MPL_SECTION_WRITE);

	return section->flags & MPL_SECTION_LOGGED ?
		       rights | MPL_SECTION_WRITE :
		       rights;
}

/* Memory, and not of a device that minds how it is accessed? */
static inline bool mpl_section_direct(const struct mpl_section *section,
				      uint32_t flag)
{
	return (section->flags & (flag | MPL_SECTION_EXACT)) == flag;
}

/* The run that a section is for an intent. */
static inline struct mpl_run mpl_run_of(const struct mpl_section *section,
					uint32_t intent)
{
	bool good = (section->flags & intent) == intent;

	return (struct mpl_run){
		.start = section->start,
		/* Memory is never all of 2^64 bytes: no overflow. */
		.size = good ? section->span + 1 : 0,
		.base = (uintptr_t)section->host - section->start,
	};
}

/* Slots that were given up are tried for so many walks, once in so many. */
#define MPL_RETRY_WALKS 64
#define MPL_RETRY_EVERY 1024

void mpl_extents_give_up(struct mpl_reader *reader);

/* Are a reader's slots for runs worth a look? */
static inline bool mpl_extents_pay(const struct mpl_reader *reader)
{
	return reader->translated.credit ||
	       !(reader->misses & (MPL_RETRY_EVERY - MPL_RETRY_WALKS));
}

/* Keep the run of a section in a slot while that helps. */
static inline void mpl_extent_put(struct mpl_reader *reader, uint64_t gpa,
				  const struct mpl_section *section,
				  struct mpl_run run)
{
	struct mpl_reader_view *view = &reader->translated;

	if (!mpl_extents_pay(reader))
		return;
	*mpl_extent_of(reader, gpa) = (struct mpl_extent){
		.stamp = view->stamp,
		.run = run,
		.flags = section->flags,
	};
	if (view->credit && !--view->credit)
		mpl_extents_give_up(reader);
}

/* Begin a translation: what the reader kept of another view is no good. */
static inline void mpl_translate_begin(struct mpl_reader *reader,
				       const struct mpl_address_space *as)
{
	if (mpl_view_is_current(reader, &reader->translated, as))
		return;
	mpl_view_renew(reader, &reader->translated, as);
	for (unsigned int i = 0; i < MPL_RUNS; i++)
		reader->run[i].size = 0;
}

/* Does the section found last have all `len` bytes of an access? */
static inline bool mpl_last_holds(const struct mpl_reader *reader,
				  const struct mpl_address_space *as,
				  uint64_t gpa, uint64_t len)
{
	uint64_t at = gpa - reader->last_start;
	uint64_t rest;

	/* Used twice, and one number less than its parts. */
	__asm__("" : "+r"(at));
	/* len 0 becomes the greatest number, as above. */
	return mpl_view_is_current(reader, &reader->looked, as) &&
	       !__builtin_sub_overflow(reader->last_size, at, &rest) &&
	       __builtin_expect(len - 1 < rest, 1);
}

static inline bool mpl_io_is_simple(const struct mpl_section *section,
				    uint64_t gpa, uint64_t len)
{
	return section->flags & MPL_SECTION_CALLBACKS &&
	       mpl_device_takes(section->device->not_simple,
				mpl_section_offset(section, gpa), len);
}

/* Attributes as they are, without taking the structure apart. */
static inline uint64_t mpl_attrs_word(struct mpl_attrs attrs)
{
	uint64_t word;

	_Static_assert(sizeof(attrs) == sizeof(word), "one register");
	memcpy(&word, &attrs, sizeof(word));
	return word;
}

static inline bool mpl_attrs_memory_only(struct mpl_attrs attrs)
{
	static const struct mpl_attrs only = { .memory_only = 1 };

	return mpl_attrs_word(attrs) & mpl_attrs_word(only);
}

/*
 * The counter of an access that is just a callback, with *offset; or NULL if it
 * is more than that.  The section has all of it; `memory` is the flag that it
 * has if its memory serves the access, or 0 if that has been asked.
 */
static inline uint64_t *mpl_io_direct(const struct mpl_reader_state *reader,
				      const struct mpl_section *section,
				      uint64_t gpa, uint64_t len,
				      struct mpl_attrs attrs, uint32_t memory,
				      uint64_t *offset)
{
	const struct mpl_device *device = section->device;

	/* One by one: together they need more registers. */
	if (__builtin_expect((section->flags &
			      (MPL_SECTION_CALLBACKS | memory)) !=
				     MPL_SECTION_CALLBACKS,
			     0))
		return NULL;
	if (__builtin_expect(mpl_attrs_memory_only(attrs), 0))
		return NULL;
	if (__builtin_expect(reader->frame != NULL, 0))
		return NULL;
	*offset = mpl_section_offset(section, gpa);
	if (__builtin_expect(
		    !mpl_device_takes(device->not_direct, *offset, len), 0))
		return NULL;
	return mpl_counter_of(reader, device);
}

/* The callback of the device that was entered directly; *value is 0. */
static inline mpl_result_t
mpl_io_direct_read(struct mpl_reader_state *reader, uint64_t offset,
		   uint64_t *counter, unsigned int size,
		   struct mpl_attrs attrs, uint64_t *value)
{
	const struct mpl_device *device = reader->direct.device;

	mpl_tally(counter);
	return mpl_device_leave_direct(
		reader,
		device->read(device->opaque, offset, size, attrs, value));
}

static inline mpl_result_t
mpl_io_direct_write(struct mpl_reader_state *reader, uint64_t offset,
		    uint64_t *counter, unsigned int size,
		    struct mpl_attrs attrs, uint64_t value)
{
	const struct mpl_device *device = reader->direct.device;

	mpl_tally(counter);
	return mpl_device_leave_direct(
		reader,
		device->write(device->opaque, offset, size, attrs, value));
}

/* *word: the bytes read, as a host-order number. */
static inline mpl_result_t
mpl_io_simple_read(struct mpl_reader_state *reader,
		   const struct mpl_section *section, uint64_t gpa,
		   unsigned int size, struct mpl_attrs attrs, uint64_t *word)
{
	struct mpl_device *device = section->device;
	uint64_t offset = mpl_section_offset(section, gpa);
	bool big_endian = device->big_endian;
	struct mpl_frame frame;
	mpl_result_t result;
	uint64_t value = 0;

	/* From here on the section may vanish: entering may wait. */
	if (attrs.memory_only || mpl_device_enter(reader, device, &frame)) {
		if (attrs.memory_only)
			mpl_count_access_error(reader);
		*word = UINT64_C(0x0101010101010101) *
			reader->dp->unassigned_byte;
		return MPL_ACCESS_ERROR;
	}
	mpl_count(reader, device);
	result = device->ops->read(device->opaque, offset, size, attrs, &value);
	mpl_device_leave(reader, &frame);
	*word = mpl_to_endian(value, size, big_endian);
	return result;
}

static inline mpl_result_t
mpl_io_simple_write(struct mpl_reader_state *reader,
		    const struct mpl_section *section, uint64_t gpa,
		    unsigned int size, struct mpl_attrs attrs, uint64_t word)
{
	struct mpl_device *device = section->device;
	uint64_t offset = mpl_section_offset(section, gpa);
	uint64_t value = mpl_to_endian(word, size, device->big_endian);
	struct mpl_frame frame;
	mpl_result_t result;

	if (attrs.memory_only)
		return mpl_count_access_error(reader);
	result = mpl_device_enter(reader, device, &frame);
	if (result)
		return result;
	mpl_count(reader, device);
	result = device->ops->write(device->opaque, offset, size, attrs,
				    value);
	mpl_device_leave(reader, &frame);
	return result;
}

#endif
