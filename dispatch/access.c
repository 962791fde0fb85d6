/* SPDX-License-Identifier: BSD-3-Clause */
/* Accesses: piece by piece over sections, to memory or to callbacks. */
#include <memplane/access.h>

#include "dispatch/io.h"
#include "dispatch/memory.h"
#include "dispatch/reader.h"
#include "dispatch/section.h"

/*
 * How many bytes from `gpa` on, at most `len`, surely have nothing behind
 * them.  The entry that the walk ends in stands for an aligned block around
 * gpa; at most one section lies there, and it does not cover gpa.  When
 * skipped bits differ, the block is one that has nothing at all.
 */
static uint64_t hole(const struct mpl_reader *reader, uint32_t entry,
		     uint64_t gpa, uint64_t len)
{
	const struct mpl_section *section;
	uint64_t last = UINT64_MAX;

	while ((entry & MPL_ENTRY_SHIFT_MASK) != MPL_ENTRY_SECTION) {
		unsigned int shift = entry & MPL_ENTRY_SHIFT_MASK;
		uint32_t slot = (gpa >> shift) & (MPL_NODE_ENTRIES - 1);

		last = gpa | ((UINT64_C(1) << shift) - 1);
		entry = reader->nodes[(entry & ~MPL_ENTRY_SHIFT_MASK) | slot];
	}
	section = &reader->sections[entry >> MPL_NODE_BITS];
	if (section->start > gpa && section->start - 1 < last)
		last = section->start - 1;
	return len - 1 < last - gpa ? len : last - gpa + 1;
}

/* Bytes from `gpa` to the section's end, at most `len` (not 0). */
static uint64_t within(const struct mpl_section *section, uint64_t gpa,
		       uint64_t len)
{
	uint64_t rest = mpl_section_last(section) - gpa;

	return len - 1 < rest ? len : rest + 1;
}

static uint8_t *host_at(const struct mpl_section *section, uint64_t gpa)
{
	return section->host + (gpa - section->start);
}

/* Mapped device memory: each access has the size of what was asked. */
static void copy_exact(void *to, const void *from, uint64_t len)
{
	uint64_t done = 0;

	while (done < len) {
		uint64_t size = 8;

		while (size > len - done ||
		       !mpl_is_aligned((const char *)from + done, size) ||
		       !mpl_is_aligned((const char *)to + done, size))
			size /= 2;
		mpl_memory_copy((char *)to + done, (const char *)from + done,
				size);
		done += size;
	}
}

static void copy(const struct mpl_section *section, void *to, const void *from,
		 uint64_t len)
{
	if (section->flags & MPL_SECTION_EXACT && !mpl_is_word(len))
		copy_exact(to, from, len);
	else
		mpl_memory_copy(to, from, len);
}

static mpl_result_t unassigned(struct mpl_reader_state *reader)
{
	reader->stats.decode_errors++;
	return MPL_DECODE_ERROR;
}

static mpl_result_t not_allowed(struct mpl_reader_state *reader)
{
	reader->stats.access_errors++;
	return MPL_ACCESS_ERROR;
}

/* Sections that only callbacks can serve. */
static bool has_callbacks(const struct mpl_section *section)
{
	return section->device && section->device->ops;
}

/* One piece of a read; *done bytes of it. */
static mpl_result_t read_piece(struct mpl_reader_state *reader,
			       const struct mpl_address_space *as,
			       uint64_t gpa, struct mpl_attrs attrs,
			       uint8_t *buf, uint64_t len, uint64_t *done)
{
	const struct mpl_section *section =
		mpl_lookup(&reader->pub, as, gpa);
	uint64_t offset, word;
	mpl_result_t result;
	bool big_endian;

	if (mpl_section_is_unassigned(section)) {
		uint32_t root =
			mpl_root_of(mpl_reader_snapshot(&reader->pub), as)
				->entry;

		*done = hole(&reader->pub, root, gpa, len);
		memset(buf, reader->dp->unassigned_byte, *done);
		return unassigned(reader);
	}
	*done = within(section, gpa, len);
	if (section->flags & MPL_SECTION_READ) {
		copy(section, buf, host_at(section, gpa), *done);
		return MPL_OK;
	}
	if (!has_callbacks(section)) {
		memset(buf, reader->dp->unassigned_byte, *done);
		return section->flags & MPL_SECTION_IOMMU ?
			       unassigned(reader) :
			       not_allowed(reader);
	}
	offset = mpl_section_offset(section, gpa);
	big_endian = section->device->big_endian;
	*done = mpl_io_piece(section->device, offset, *done);
	result = mpl_io_read(reader, section, offset, (unsigned int)*done,
			     attrs, &word);
	if (result & MPL_ACCESS_ERROR)
		word = UINT64_C(0x0101010101010101) *
		       reader->dp->unassigned_byte;
	mpl_memory_store(buf, (unsigned int)*done,
			 mpl_to_endian(word, (unsigned int)*done, big_endian));
	return result;
}

static mpl_result_t write_piece(struct mpl_reader_state *reader,
				const struct mpl_address_space *as,
				uint64_t gpa, struct mpl_attrs attrs,
				const uint8_t *buf, uint64_t len,
				uint64_t *done)
{
	const struct mpl_section *section =
		mpl_lookup(&reader->pub, as, gpa);
	uint64_t offset, word;

	if (mpl_section_is_unassigned(section)) {
		uint32_t root =
			mpl_root_of(mpl_reader_snapshot(&reader->pub), as)
				->entry;

		*done = hole(&reader->pub, root, gpa, len);
		return unassigned(reader);
	}
	*done = within(section, gpa, len);
	if (section->flags & MPL_SECTION_WRITE) {
		copy(section, host_at(section, gpa), buf, *done);
		return MPL_OK;
	}
	if (!has_callbacks(section))
		return section->flags & MPL_SECTION_IOMMU ?
			       unassigned(reader) :
			       not_allowed(reader);
	offset = mpl_section_offset(section, gpa);
	*done = mpl_io_piece(section->device, offset, *done);
	word = mpl_to_endian(mpl_memory_load(buf, (unsigned int)*done),
			     (unsigned int)*done, section->device->big_endian);
	return mpl_io_write(reader, section, offset, (unsigned int)*done,
			    attrs, word);
}

/* Bytes that would lie past the last address are errors of their own. */
static uint64_t clip_to_top(uint64_t gpa, uint64_t len)
{
	return len && len - 1 > UINT64_MAX - gpa ? UINT64_MAX - gpa + 1 : len;
}

mpl_result_t mpl_read(struct mpl_reader *pub,
		      const struct mpl_address_space *as, uint64_t gpa,
		      struct mpl_attrs attrs, void *buf, size_t len)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	uint64_t left = clip_to_top(gpa, len);
	mpl_result_t result = MPL_OK;
	uint8_t *to = buf;

	reader->stats.reads++;
	if (left < len) {
		memset(to + left, reader->dp->unassigned_byte, len - left);
		result |= unassigned(reader);
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

mpl_result_t mpl_write(struct mpl_reader *pub,
		       const struct mpl_address_space *as, uint64_t gpa,
		       struct mpl_attrs attrs, const void *buf, size_t len)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	uint64_t left = clip_to_top(gpa, len);
	mpl_result_t result = MPL_OK;
	const uint8_t *from = buf;

	reader->stats.writes++;
	if (left < len)
		result |= unassigned(reader);
	while (left) {
		uint64_t done;

		result |= write_piece(reader, as, gpa, attrs, from, left,
				      &done);
		gpa += done;
		from += done;
		left -= done;
	}
	return result;
}

mpl_result_t mpl_load(struct mpl_reader *reader,
		      const struct mpl_address_space *as, uint64_t gpa,
		      struct mpl_attrs attrs, unsigned int size,
		      enum mpl_endian endian, uint64_t *value)
{
	uint64_t word = 0;
	mpl_result_t result;

	*value = 0;
	if (!mpl_is_word(size))
		return not_allowed(mpl_reader_state(reader));
	result = mpl_read(reader, as, gpa, attrs, &word, size);
	*value = mpl_to_endian(mpl_memory_load(&word, size), size,
			       mpl_is_big_endian(endian));
	return result;
}

mpl_result_t mpl_store(struct mpl_reader *reader,
		       const struct mpl_address_space *as, uint64_t gpa,
		       struct mpl_attrs attrs, unsigned int size,
		       enum mpl_endian endian, uint64_t value)
{
	uint64_t word;

	if (!mpl_is_word(size))
		return not_allowed(mpl_reader_state(reader));
	mpl_memory_store(&word, size,
			 mpl_to_endian(value, size,
				       mpl_is_big_endian(endian)));
	return mpl_write(reader, as, gpa, attrs, &word, size);
}

/* Host address of an aligned word that may be used so, or NULL. */
static void *queue_word(struct mpl_reader_state *reader,
			const struct mpl_address_space *as, uint64_t gpa,
			unsigned int size, uint32_t flags,
			mpl_result_t *result)
{
	const struct mpl_section *section =
		mpl_lookup(&reader->pub, as, gpa);
	uint8_t *host;

	if (mpl_section_is_unassigned(section)) {
		*result = unassigned(reader);
		return NULL;
	}
	*result = MPL_OK;
	if ((section->flags & flags) == flags &&
	    (size == 2 || size == 4 || size == 8) &&
	    within(section, gpa, size) == size) {
		host = host_at(section, gpa);
		if (mpl_is_aligned(host, size))
			return host;
	}
	*result = not_allowed(reader);
	return NULL;
}

mpl_result_t mpl_load_acquire(struct mpl_reader *pub,
			      const struct mpl_address_space *as, uint64_t gpa,
			      unsigned int size, uint64_t *value)
{
	mpl_result_t result;
	void *host = queue_word(mpl_reader_state(pub), as, gpa, size,
				MPL_SECTION_READ, &result);

	*value = 0;
	if (!host)
		return result;
	if (size == 2)
		*value = __atomic_load_n((uint16_t *)host, __ATOMIC_ACQUIRE);
	else if (size == 4)
		*value = __atomic_load_n((uint32_t *)host, __ATOMIC_ACQUIRE);
	else
		*value = __atomic_load_n((uint64_t *)host, __ATOMIC_ACQUIRE);
	return MPL_OK;
}

mpl_result_t mpl_store_release(struct mpl_reader *pub,
			       const struct mpl_address_space *as,
			       uint64_t gpa, unsigned int size, uint64_t value)
{
	mpl_result_t result;
	void *host = queue_word(mpl_reader_state(pub), as, gpa, size,
				MPL_SECTION_WRITE, &result);

	if (!host)
		return result;
	if (size == 2)
		__atomic_store_n((uint16_t *)host, (uint16_t)value,
				 __ATOMIC_RELEASE);
	else if (size == 4)
		__atomic_store_n((uint32_t *)host, (uint32_t)value,
				 __ATOMIC_RELEASE);
	else
		__atomic_store_n((uint64_t *)host, value, __ATOMIC_RELEASE);
	return MPL_OK;
}

/* One width of compare and exchange. */
#define EXCHANGE(type)                                                   \
	do {                                                             \
		type found = (type)*expected;                            \
									 \
		*swapped = __atomic_compare_exchange_n(                  \
			(type *)host, &found, (type)desired, false,      \
			__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);             \
		*expected = found;                                       \
	} while (0)

mpl_result_t mpl_compare_exchange(struct mpl_reader *pub,
				  const struct mpl_address_space *as,
				  uint64_t gpa, unsigned int size,
				  uint64_t *expected, uint64_t desired,
				  bool *swapped)
{
	mpl_result_t result;
	void *host = queue_word(mpl_reader_state(pub), as, gpa, size,
				MPL_SECTION_READ | MPL_SECTION_WRITE, &result);

	*swapped = false;
	if (!host)
		return result;
	if (size == 2)
		EXCHANGE(uint16_t);
	else if (size == 4)
		EXCHANGE(uint32_t);
	else
		EXCHANGE(uint64_t);
	return MPL_OK;
}

mpl_result_t mpl_translate(struct mpl_reader *pub,
			   const struct mpl_address_space *as, uint64_t gpa,
			   size_t len, enum mpl_intent intent, void **host,
			   size_t *contiguous)
{
	const struct mpl_section *section = mpl_lookup(pub, as, gpa);
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	uint32_t flags = 0;

	*host = NULL;
	*contiguous = 0;
	if (mpl_section_is_unassigned(section))
		return unassigned(reader);
	if (intent & MPL_FOR_READ)
		flags |= MPL_SECTION_READ;
	if (intent & MPL_FOR_WRITE)
		flags |= MPL_SECTION_WRITE;
	if ((section->flags & flags) != flags || !flags)
		return not_allowed(reader);
	*host = host_at(section, gpa);
	*contiguous = len ? within(section, gpa, len) : 0;
	return MPL_OK;
}
