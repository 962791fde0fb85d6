/* SPDX-License-Identifier: BSD-3-Clause */
/* Accesses: piece by piece over sections, to memory or to callbacks. */
#include <memplane/access.h>

#include "dispatch/fast.h"
#include "dispatch/io.h"
#include "dispatch/iommu.h"
#include "dispatch/memory.h"
#include "dispatch/reader.h"
#include "dispatch/section.h"

/*
 * How many bytes from `gpa` on, at most `len`, surely have nothing behind
 * them.  The entry that the walk ends in stands for an aligned block around
 * gpa; at most one section lies there, and it does not cover gpa.  When
 * skipped bits differ, the block is one that has nothing at all.  0: ask again.
 */
static uint64_t hole(const struct mpl_reader *reader, uint32_t entry,
		     uint64_t gpa, uint64_t len)
{
	const struct mpl_section *section;
	uint64_t last = UINT64_MAX;

	while (!mpl_entry_is_section(entry)) {
		last = gpa | ((UINT64_C(1) << mpl_entry_shift(entry)) - 1);
		entry = entry & MPL_ENTRY_END ?
				mpl_leaf_below(reader, entry, gpa) :
				mpl_entry_below(reader, entry, gpa);
	}
	section = &reader->sections[entry >> MPL_ENTRY_BITS];
	/* The walk sees a newer map, where the hole has been filled: look
	 * again, or a word would be half nothing and half memory. */
	if (section != reader->sections && mpl_section_covers(section, gpa))
		return 0;
	if (section->start > gpa && section->start - 1 < last)
		last = section->start - 1;
	return len - 1 < last - gpa ? len : last - gpa + 1;
}

/*
 * Mapped device memory is accessed with the size that was asked for, or with
 * the greatest that its alignment allows; the buffer's does not matter.
 */
static unsigned int exact_size(const void *device, uint64_t len)
{
	unsigned int size = 8;

	while (size > len || !mpl_is_aligned(device, size))
		size /= 2;
	return size;
}

static void copy_from(const struct mpl_section *section, void *to,
		      const uint8_t *from, uint64_t len)
{
	if (!(section->flags & MPL_SECTION_EXACT)) {
		mpl_memory_copy(to, from, len);
		return;
	}
	for (uint64_t done = 0; done < len;) {
		unsigned int size = exact_size(from + done, len - done);

		mpl_memory_store((uint8_t *)to + done, size,
				 mpl_memory_load(from + done, size));
		done += size;
	}
}

static void copy_to(const struct mpl_section *section, uint8_t *to,
		    const void *from, uint64_t len)
{
	if (!(section->flags & MPL_SECTION_EXACT)) {
		mpl_memory_copy(to, from, len);
		return;
	}
	for (uint64_t done = 0; done < len;) {
		unsigned int size = exact_size(to + done, len - done);

		mpl_memory_store(to + done, size,
				 mpl_memory_load((const uint8_t *)from + done,
						 size));
		done += size;
	}
}

/* Sections that only callbacks can serve. */
static bool has_callbacks(const struct mpl_section *section)
{
	return section->flags & MPL_SECTION_CALLBACKS;
}

/* A word in the caller's buffer: any alignment, no other thread looks. */
static inline void store_bytes(void *buf, uint64_t word, unsigned int size)
{
	const uint32_t half = (uint32_t)word;
	const uint16_t quarter = (uint16_t)word;
	const uint8_t byte = (uint8_t)word;

	if (__builtin_expect(size == 4, 1))
		memcpy(buf, &half, sizeof(half));
	else if (size == 1)
		memcpy(buf, &byte, sizeof(byte));
	else if (size == 2)
		memcpy(buf, &quarter, sizeof(quarter));
	else
		memcpy(buf, &word, sizeof(word));
}

static inline uint64_t load_bytes(const void *buf, unsigned int size)
{
	uint64_t word;
	uint32_t half;
	uint16_t quarter;

	if (__builtin_expect(size == 4, 1)) {
		memcpy(&half, buf, sizeof(half));
		return half;
	}
	if (size == 1)
		return *(const uint8_t *)buf;
	if (size == 2) {
		memcpy(&quarter, buf, sizeof(quarter));
		return quarter;
	}
	memcpy(&word, buf, sizeof(word));
	return word;
}

/* One piece of a read, from a section; *done bytes of it. */
static mpl_result_t read_section(struct mpl_reader_state *reader,
				 const struct mpl_section *section,
				 const struct mpl_address_space *as,
				 uint64_t gpa, struct mpl_attrs attrs,
				 uint8_t *buf, uint64_t len, uint64_t *done)
{
	uint64_t offset, word;
	mpl_result_t result;
	bool big_endian;

	if (mpl_section_is_unassigned(section)) {
		uint32_t root =
			mpl_root_of(mpl_reader_snapshot(&reader->pub), as)
				->entry;

		*done = hole(&reader->pub, root, gpa, len);
		if (!*done)
			return MPL_OK;
		memset(buf, reader->dp->unassigned_byte, *done);
		return mpl_count_decode_error(reader);
	}
	*done = mpl_section_rest(section, gpa, len);
	if (section->flags & MPL_SECTION_READ) {
		copy_from(section, buf, mpl_section_host(section, gpa), *done);
		return MPL_OK;
	}
	if (!has_callbacks(section)) {
		memset(buf, reader->dp->unassigned_byte, *done);
		return mpl_count_access_error(reader);
	}
	offset = mpl_section_offset(section, gpa);
	big_endian = section->device->big_endian;
	*done = mpl_io_piece(section->device, offset, *done);
	result = mpl_io_read(reader, section, offset, (unsigned int)*done,
			     attrs, &word);
	if (result & MPL_ACCESS_ERROR)
		word = UINT64_C(0x0101010101010101) *
		       reader->dp->unassigned_byte;
	store_bytes(buf, mpl_to_endian(word, (unsigned int)*done, big_endian),
		    (unsigned int)*done);
	return result;
}

/* Where a piece that hits an iommu leads; of how many bytes: reach->len. */
static mpl_result_t through(struct mpl_reader_state *reader,
			    const struct mpl_address_space *as, uint64_t gpa,
			    uint64_t len, enum mpl_intent intent,
			    struct mpl_attrs attrs, struct mpl_reach *reach)
{
	const struct mpl_asked asked = {
		.as = as,
		.gpa = gpa,
		.len = len,
		.intent = intent,
		.attrs = attrs,
	};
	struct mpl_trail trail;

	return mpl_iommu_reach(reader, &asked, reach, &trail);
}

static mpl_result_t read_piece(struct mpl_reader_state *reader,
			       const struct mpl_address_space *as,
			       uint64_t gpa, struct mpl_attrs attrs,
			       uint8_t *buf, uint64_t len, uint64_t *done)
{
	const struct mpl_section *section =
		mpl_lookup(&reader->pub, as, gpa);
	struct mpl_reach reach;
	mpl_result_t result;

	if (!(section->flags & MPL_SECTION_IOMMU))
		return read_section(reader, section, as, gpa, attrs, buf, len,
				    done);
	result = through(reader, as, gpa, len, MPL_FOR_READ, attrs, &reach);
	if (result) {
		*done = reach.len;
		memset(buf, reader->dp->unassigned_byte, *done);
		return result;
	}
	return read_section(reader, reach.section, reach.as, reach.gpa, attrs,
			    buf, reach.len, done);
}

/* The bytes at `buf` as a number in the device's byte order. */
static uint64_t device_word(const struct mpl_device *device, const void *buf,
			    unsigned int size)
{
	return mpl_to_endian(load_bytes(buf, size), size, device->big_endian);
}

/* Does a write of `len` bytes, as the guest made it, ring a doorbell? */
static bool rings(struct mpl_reader_state *reader,
		  const struct mpl_section *section, uint64_t offset,
		  const void *buf, uint64_t len)
{
	return mpl_is_word(len) &&
	       mpl_io_ring(reader, section, offset, (unsigned int)len,
			   device_word(section->device, buf,
				       (unsigned int)len));
}

static mpl_result_t write_section(struct mpl_reader_state *reader,
				  const struct mpl_section *section,
				  const struct mpl_address_space *as,
				  uint64_t gpa, struct mpl_attrs attrs,
				  const uint8_t *buf, uint64_t len,
				  bool begins, uint64_t *done)
{
	uint64_t offset, word;

	if (mpl_section_is_unassigned(section)) {
		uint32_t root =
			mpl_root_of(mpl_reader_snapshot(&reader->pub), as)
				->entry;

		*done = hole(&reader->pub, root, gpa, len);
		if (!*done)
			return MPL_OK;
		return mpl_count_decode_error(reader);
	}
	*done = mpl_section_rest(section, gpa, len);
	if (mpl_section_rights(section) & MPL_SECTION_WRITE) {
		copy_to(section, mpl_section_host(section, gpa), buf, *done);
		if (section->flags & MPL_SECTION_LOGGED)
			mpl_dirty_mark_section(section, gpa, *done);
		return MPL_OK;
	}
	if (!has_callbacks(section))
		return mpl_count_access_error(reader);
	offset = mpl_section_offset(section, gpa);
	/* Not for what is left of an access after its first piece. */
	if (section->doorbells && !attrs.memory_only &&
	    (begins || gpa == section->start) &&
	    rings(reader, section, offset, buf, *done))
		return MPL_OK;
	*done = mpl_io_piece(section->device, offset, *done);
	word = device_word(section->device, buf, (unsigned int)*done);
	return mpl_io_write(reader, section, offset, (unsigned int)*done,
			    attrs, word);
}

static mpl_result_t write_piece(struct mpl_reader_state *reader,
				const struct mpl_address_space *as,
				uint64_t gpa, struct mpl_attrs attrs,
				const uint8_t *buf, uint64_t len, bool begins,
				uint64_t *done)
{
	const struct mpl_section *section =
		mpl_lookup(&reader->pub, as, gpa);
	struct mpl_reach reach;
	mpl_result_t result;

	if (!(section->flags & MPL_SECTION_IOMMU))
		return write_section(reader, section, as, gpa, attrs, buf, len,
				     begins, done);
	result = through(reader, as, gpa, len, MPL_FOR_WRITE, attrs, &reach);
	if (result) {
		*done = reach.len;
		return result;
	}
	return write_section(reader, reach.section, reach.as, reach.gpa, attrs,
			     buf, reach.len, begins, done);
}

/* Piece by piece. */
static mpl_result_t
read_pieces(struct mpl_reader_state *reader,
	    const struct mpl_address_space *as, uint64_t gpa,
	    struct mpl_attrs attrs, uint8_t *to, uint64_t len)
{
	uint64_t left = mpl_clip_to_top(gpa, len);
	mpl_result_t result = MPL_OK;

	if (left < len) {
		memset(to + left, reader->dp->unassigned_byte, len - left);
		result |= mpl_count_decode_error(reader);
	}
	while (left) {
		uint64_t done;

		result |= read_piece(reader, as, gpa, attrs, to, left, &done);
		gpa += done;
		to += done;
		left -= done;
	}
	return result;
}

static mpl_result_t
write_pieces(struct mpl_reader_state *reader,
	     const struct mpl_address_space *as, uint64_t gpa,
	     struct mpl_attrs attrs, const uint8_t *buf, uint64_t len)
{
	uint64_t left = mpl_clip_to_top(gpa, len);
	mpl_result_t result = MPL_OK;
	const uint8_t *from = buf;

	if (left < len)
		result |= mpl_count_decode_error(reader);
	while (left) {
		uint64_t done;

		result |= write_piece(reader, as, gpa, attrs, from, left,
				      from == buf, &done);
		gpa += done;
		from += done;
		left -= done;
	}
	return result;
}

/*
 * The steps below have the same arguments, in the same places: the section
 * takes that of the address space, which can be had again where it is needed.
 */
static inline const struct mpl_address_space *
looked_space(const struct mpl_reader_state *reader)
{
	return reader->pub.looked.as;
}

static MPL_LAST_CALL mpl_result_t
read_memory(struct mpl_reader_state *reader, const struct mpl_section *section,
	    uint64_t gpa, struct mpl_attrs attrs, void *buf, size_t len)
{
	(void)reader, (void)attrs;
	copy_from(section, buf, mpl_section_host(section, gpa), len);
	return MPL_OK;
}

static MPL_LAST_CALL mpl_result_t
write_memory(struct mpl_reader_state *reader,
	     const struct mpl_section *section, uint64_t gpa,
	     struct mpl_attrs attrs, const void *buf, size_t len)
{
	(void)reader, (void)attrs;
	copy_to(section, mpl_section_host(section, gpa), buf, len);
	return MPL_OK;
}

/* Just a callback, of the device that has been entered. */
static MPL_LAST_CALL mpl_result_t
read_direct(struct mpl_reader_state *reader, uint64_t offset,
	    uint64_t *counter, struct mpl_attrs attrs, void *buf, size_t len)
{
	uint64_t value = 0;
	mpl_result_t result = mpl_io_direct_read(
		reader, offset, counter, (unsigned int)len, attrs, &value);

	store_bytes(buf, value, (unsigned int)len);
	return result;
}

static MPL_LAST_CALL mpl_result_t write_direct(
	struct mpl_reader_state *reader, uint64_t offset, uint64_t *counter,
	struct mpl_attrs attrs, const void *buf, size_t len)
{
	return mpl_io_direct_write(reader, offset, counter, (unsigned int)len,
				   attrs, load_bytes(buf, (unsigned int)len));
}

/* Neither memory nor just a callback. */
static MPL_LAST_CALL mpl_result_t read_otherwise(
	struct mpl_reader_state *reader, const struct mpl_section *section,
	uint64_t gpa, struct mpl_attrs attrs, void *buf, size_t len)
{
	mpl_result_t result;
	uint64_t word;

	if (!mpl_io_is_simple(section, gpa, len))
		return read_pieces(reader, looked_space(reader), gpa, attrs,
				   buf, len);
	result = mpl_io_simple_read(reader, section, gpa, (unsigned int)len,
				    attrs, &word);
	store_bytes(buf, word, (unsigned int)len);
	return result;
}

static MPL_LAST_CALL mpl_result_t write_otherwise(
	struct mpl_reader_state *reader, const struct mpl_section *section,
	uint64_t gpa, struct mpl_attrs attrs, const void *buf, size_t len)
{
	if (!mpl_io_is_simple(section, gpa, len) || section->doorbells)
		return write_pieces(reader, looked_space(reader), gpa, attrs,
				    buf, len);
	return mpl_io_simple_write(reader, section, gpa, (unsigned int)len,
				   attrs, load_bytes(buf, (unsigned int)len));
}

/* From a section that has all of it. */
static inline __attribute__((always_inline)) mpl_result_t
read_held(struct mpl_reader_state *reader, const struct mpl_section *section,
	  uint64_t gpa, struct mpl_attrs attrs, void *buf, size_t len)
{
	uint64_t *counter;
	uint64_t offset;

	mpl_tally(&reader->stats.reads);
	if (section->flags & MPL_SECTION_READ)
		return read_memory(reader, section, gpa, attrs, buf, len);
	counter = mpl_io_direct(reader, section, gpa, len, attrs, 0,
				&offset);
	if (__builtin_expect(!counter, 0))
		return read_otherwise(reader, section, gpa, attrs, buf, len);
	mpl_device_enter_direct(reader, section->device);
	return read_direct(reader, offset, counter, attrs, buf, len);
}

static inline __attribute__((always_inline)) mpl_result_t
write_held(struct mpl_reader_state *reader, const struct mpl_section *section,
	   uint64_t gpa, struct mpl_attrs attrs, const void *buf, size_t len)
{
	uint64_t *counter;
	uint64_t offset;

	mpl_tally(&reader->stats.writes);
	if (section->flags & MPL_SECTION_WRITE)
		return write_memory(reader, section, gpa, attrs, buf, len);
	counter = mpl_io_direct(reader, section, gpa, len, attrs, 0,
				&offset);
	if (__builtin_expect(!counter || section->doorbells, 0))
		return write_otherwise(reader, section, gpa, attrs, buf, len);
	mpl_device_enter_direct(reader, section->device);
	return write_direct(reader, offset, counter, attrs, buf, len);
}

/* The last section is another one, or has not all of it. */
static MPL_LAST_CALL mpl_result_t read_elsewhere(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, void *buf, size_t len)
{
	const struct mpl_section *section =
		mpl_lookup(&reader->pub, as, gpa);

	if (mpl_section_holds(section, gpa, len))
		return read_held(reader, section, gpa, attrs, buf, len);
	mpl_tally(&reader->stats.reads);
	return read_pieces(reader, as, gpa, attrs, buf, len);
}

static MPL_LAST_CALL mpl_result_t write_elsewhere(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, const void *buf, size_t len)
{
	const struct mpl_section *section =
		mpl_lookup(&reader->pub, as, gpa);

	if (mpl_section_holds(section, gpa, len))
		return write_held(reader, section, gpa, attrs, buf, len);
	mpl_tally(&reader->stats.writes);
	return write_pieces(reader, as, gpa, attrs, buf, len);
}

mpl_result_t mpl_read(struct mpl_reader *pub,
		      const struct mpl_address_space *as, uint64_t gpa,
		      struct mpl_attrs attrs, void *buf, size_t len)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);

	if (!mpl_last_holds(pub, as, gpa, len))
		return read_elsewhere(reader, as, gpa, attrs, buf, len);
	return read_held(reader, pub->looked.seen, gpa, attrs, buf, len);
}

mpl_result_t mpl_write(struct mpl_reader *pub,
		       const struct mpl_address_space *as, uint64_t gpa,
		       struct mpl_attrs attrs, const void *buf, size_t len)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);

	if (!mpl_last_holds(pub, as, gpa, len))
		return write_elsewhere(reader, as, gpa, attrs, buf, len);
	return write_held(reader, pub->looked.seen, gpa, attrs, buf, len);
}
