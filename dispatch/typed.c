/* SPDX-License-Identifier: BSD-3-Clause */
/* Typed accesses: one word of 1, 2, 4 or 8 bytes. */
#include <memplane/access.h>

#include "dispatch/fast.h"
#include "dispatch/iotlb.h"

static uint64_t mask(unsigned int size)
{
	return UINT64_MAX >> (64 - 8 * size);
}

/*
 * Where an iommu leads an aligned word.  True: *host is memory that may be used
 * so, or NULL and *result says why the word as a whole is not.  False: it goes
 * the long way (to a device, or in pieces).
 */
static __attribute__((noinline)) bool
word_through(struct mpl_reader_state *reader,
	     const struct mpl_address_space *as, uint64_t gpa,
	     struct mpl_attrs attrs, unsigned int size,
	     enum mpl_intent intent, void **host, mpl_result_t *result)
{
	const struct mpl_asked asked = {
		.as = as,
		.gpa = gpa,
		.len = size,
		.intent = intent,
		.attrs = attrs,
	};
	struct mpl_reach reach;
	struct mpl_trail trail;

	if (gpa & (size - 1))
		return false;
	*host = NULL;
	*result = mpl_iommu_reach(reader, &asked, &reach, &trail);
	if (reach.len != size)
		return false;
	if (*result)
		return true;
	if (!mpl_section_direct(reach.section, (uint32_t)intent))
		return false;
	*host = mpl_section_host(reach.section, reach.gpa);
	return true;
}

static bool load_through(struct mpl_reader_state *reader,
			 const struct mpl_address_space *as, uint64_t gpa,
			 struct mpl_attrs attrs, unsigned int size,
			 uint64_t *word, mpl_result_t *result)
{
	void *host;

	if (!word_through(reader, as, gpa, attrs, size, MPL_FOR_READ, &host,
			  result))
		return false;
	*word = host ? mpl_memory_load(host, size) :
		       UINT64_C(0x0101010101010101) *
			       reader->dp->unassigned_byte & mask(size);
	return true;
}

/* Through an iommu, or in pieces. */
static inline mpl_result_t
load_long(struct mpl_reader_state *reader, const struct mpl_section *section,
	  const struct mpl_address_space *as, uint64_t gpa,
	  struct mpl_attrs attrs, unsigned int size, uint64_t *word)
{
	mpl_result_t result;

	if (section->flags & MPL_SECTION_IOMMU &&
	    load_through(reader, as, gpa, attrs, size, word, &result)) {
		mpl_tally(&reader->stats.reads);
		return result;
	}
	result = mpl_read(&reader->pub, as, gpa, attrs, word, size);
	*word = mpl_memory_load(word, size);
	return result;
}

static bool store_through(struct mpl_reader_state *reader,
			  const struct mpl_address_space *as, uint64_t gpa,
			  struct mpl_attrs attrs, unsigned int size,
			  uint64_t word, mpl_result_t *result)
{
	void *host;

	if (!word_through(reader, as, gpa, attrs, size, MPL_FOR_WRITE, &host,
			  result))
		return false;
	if (host)
		mpl_memory_store(host, size, word);
	return true;
}

/* The same for a word that is given. */
static inline mpl_result_t
store_long(struct mpl_reader_state *reader, const struct mpl_section *section,
	   const struct mpl_address_space *as, uint64_t gpa,
	   struct mpl_attrs attrs, unsigned int size, uint64_t word)
{
	mpl_result_t result;

	if (section->flags & MPL_SECTION_IOMMU &&
	    store_through(reader, as, gpa, attrs, size, word, &result)) {
		mpl_tally(&reader->stats.writes);
		return result;
	}
	mpl_memory_store(&word, size, word);
	return mpl_write(&reader->pub, as, gpa, attrs, &word, size);
}

/* Of a section that the look-up found, in the host's order. */
static inline __attribute__((always_inline)) mpl_result_t
load_from(struct mpl_reader_state *reader, const struct mpl_section *section,
	  const struct mpl_address_space *as, uint64_t gpa,
	  struct mpl_attrs attrs, unsigned int size, uint64_t *value)
{
	mpl_result_t result = MPL_OK;
	uint64_t word = 0;

	*value = 0;
	if (!mpl_is_word(size))
		return mpl_count_access_error(reader);
	if (mpl_section_holds(section, gpa, size) &&
	    mpl_section_direct(section, MPL_SECTION_READ)) {
		mpl_tally(&reader->stats.reads);
		word = mpl_memory_load(mpl_section_host(section, gpa), size);
	} else if (mpl_section_holds(section, gpa, size) &&
		   mpl_io_is_simple(section, gpa, size)) {
		mpl_tally(&reader->stats.reads);
		result = mpl_io_simple_read(reader, section, gpa, size, attrs,
					    &word);
		word &= mask(size);
	} else {
		result = load_long(reader, section, as, gpa, attrs, size,
				   &word);
	}
	*value = word;
	return result;
}

static inline __attribute__((always_inline)) mpl_result_t
store_to(struct mpl_reader_state *reader, const struct mpl_section *section,
	 const struct mpl_address_space *as, uint64_t gpa,
	 struct mpl_attrs attrs, unsigned int size, uint64_t value)
{
	uint64_t word;

	if (!mpl_is_word(size))
		return mpl_count_access_error(reader);
	word = value & mask(size);
	if (mpl_section_holds(section, gpa, size) &&
	    mpl_section_direct(section, MPL_SECTION_WRITE)) {
		mpl_tally(&reader->stats.writes);
		mpl_memory_store(mpl_section_host(section, gpa), size, word);
		return MPL_OK;
	}
	if (mpl_section_holds(section, gpa, size) &&
	    mpl_io_is_simple(section, gpa, size) && !section->doorbells) {
		mpl_tally(&reader->stats.writes);
		return mpl_io_simple_write(reader, section, gpa, size, attrs,
					   word);
	}
	return store_long(reader, section, as, gpa, attrs, size, word);
}

/* The last section is another one, or has not all of it. */
static MPL_LAST_CALL mpl_result_t load_elsewhere(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	uint64_t *value)
{
	return load_from(reader, mpl_lookup(&reader->pub, as, gpa), as, gpa,
			 attrs, size, value);
}

static MPL_LAST_CALL mpl_result_t store_elsewhere(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	uint64_t value)
{
	return store_to(reader, mpl_lookup(&reader->pub, as, gpa), as, gpa,
			attrs, size, value);
}

/* It is the last section, but not as an aligned word or just a callback. */
static MPL_LAST_CALL mpl_result_t load_otherwise(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	uint64_t *value)
{
	return load_from(reader, reader->pub.looked.seen, as, gpa, attrs, size,
			 value);
}

static MPL_LAST_CALL mpl_result_t store_otherwise(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	uint64_t value)
{
	return store_to(reader, reader->pub.looked.seen, as, gpa, attrs, size,
			value);
}

/* Words in the host's order, aligned ones only: no calls for others. */
static inline bool load_aligned(const uint8_t *host, unsigned int size,
				uint64_t *value)
{
	if (__builtin_expect(!mpl_is_aligned(host, size), 0))
		return false;
	if (__builtin_expect(size == 4, 1))
		*value = mpl_word_load(host, 4);
	else if (__builtin_expect(mpl_is_word(size), 1))
		*value = mpl_word_load(host, size);
	else
		return false;
	return true;
}

static inline bool store_aligned(uint8_t *host, unsigned int size,
				 uint64_t value)
{
	if (__builtin_expect(!mpl_is_aligned(host, size), 0))
		return false;
	if (__builtin_expect(size == 4, 1))
		mpl_word_store(host, 4, value);
	else if (__builtin_expect(mpl_is_word(size), 1))
		mpl_word_store(host, size, value);
	else
		return false;
	return true;
}

static inline bool is_swapped(enum mpl_endian endian)
{
	return mpl_is_big_endian(endian) !=
	       (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

/* The last section is an iommu's. */
static MPL_LAST_CALL mpl_result_t load_through_last(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	uint64_t *value)
{
	*value = 0;
	if (!mpl_is_word(size))
		return mpl_count_access_error(reader);
	return load_long(reader, reader->pub.looked.seen, as, gpa, attrs, size,
			 value);
}

static MPL_LAST_CALL mpl_result_t store_through_last(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	uint64_t value)
{
	if (!mpl_is_word(size))
		return mpl_count_access_error(reader);
	return store_long(reader, reader->pub.looked.seen, as, gpa, attrs,
			  size, value & mask(size));
}

/* ... and perhaps it leads to memory, as the reader has found out before. */
static MPL_LAST_CALL mpl_result_t load_translated(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	uint64_t *value)
{
	const uint8_t *host =
		mpl_iotlb_all(reader, reader->pub.looked.seen, gpa, size,
			      MPL_FOR_READ, attrs);

	if (!host || !load_aligned(host, size, value))
		return load_through_last(reader, as, gpa, attrs, size, value);
	mpl_tally(&reader->stats.reads);
	return MPL_OK;
}

static MPL_LAST_CALL mpl_result_t store_translated(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	uint64_t value)
{
	uint8_t *host = mpl_iotlb_all(reader, reader->pub.looked.seen, gpa,
				      size, MPL_FOR_WRITE, attrs);

	if (!host || !store_aligned(host, size, value))
		return store_through_last(reader, as, gpa, attrs, size, value);
	mpl_tally(&reader->stats.writes);
	return MPL_OK;
}

/* The last section has all of it, and is not plain memory. */
static MPL_LAST_CALL mpl_result_t load_device(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	uint64_t *value)
{
	const struct mpl_section *section = reader->pub.looked.seen;
	mpl_result_t result;
	uint64_t *counter;
	uint64_t offset;

	counter = mpl_io_direct(reader, section, gpa, size, attrs,
				MPL_SECTION_READ, &offset);
	if (__builtin_expect(!counter, 0))
		return load_otherwise(reader, as, gpa, attrs, size, value);
	mpl_tally(&reader->stats.reads);
	*value = 0;
	mpl_device_enter_direct(reader, section->device);
	result = mpl_io_direct_read(reader, offset, counter, size, attrs,
				    value);
	if (__builtin_expect(size == 4, 1))
		*value = (uint32_t)*value;
	else
		*value &= mask(size);
	return result;
}

static MPL_LAST_CALL mpl_result_t store_device(
	struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	uint64_t value)
{
	const struct mpl_section *section = reader->pub.looked.seen;
	uint64_t *counter;
	uint64_t offset;

	counter = mpl_io_direct(reader, section, gpa, size, attrs,
				MPL_SECTION_WRITE, &offset);
	if (__builtin_expect(!counter || section->doorbells, 0))
		return store_otherwise(reader, as, gpa, attrs, size, value);
	mpl_tally(&reader->stats.writes);
	mpl_device_enter_direct(reader, section->device);
	return mpl_io_direct_write(reader, offset, counter, size, attrs,
				   value & mask(size));
}

static uint64_t swap(uint64_t word, unsigned int size)
{
	return mpl_is_word(size) ? __builtin_bswap64(word) >> (64 - 8 * size) :
				   word;
}

/* In the other byte order than the host's. */
static MPL_LAST_CALL mpl_result_t
load_swapped(struct mpl_reader *reader, const struct mpl_address_space *as,
	     uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	     uint64_t *value)
{
	mpl_result_t result = mpl_load(reader, as, gpa, attrs, size,
				       MPL_NATIVE_ENDIAN, value);

	*value = swap(*value, size);
	return result;
}

static MPL_LAST_CALL mpl_result_t
store_swapped(struct mpl_reader *reader, const struct mpl_address_space *as,
	      uint64_t gpa, struct mpl_attrs attrs, unsigned int size,
	      uint64_t value)
{
	return mpl_store(reader, as, gpa, attrs, size, MPL_NATIVE_ENDIAN,
			 swap(value, size));
}

/* Its flags are read again: to keep them would take a register. */
static inline bool is_iommu(const struct mpl_section *section)
{
	__asm__("" : "+r"(section));
	return section->flags & MPL_SECTION_IOMMU;
}

mpl_result_t mpl_load(struct mpl_reader *pub,
		      const struct mpl_address_space *as, uint64_t gpa,
		      struct mpl_attrs attrs, unsigned int size,
		      enum mpl_endian endian, uint64_t *value)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	const struct mpl_section *section;

	if (__builtin_expect(is_swapped(endian), 0))
		return load_swapped(pub, as, gpa, attrs, size, value);
	if (!mpl_last_holds(pub, as, gpa, size))
		return load_elsewhere(reader, as, gpa, attrs, size, value);
	section = pub->looked.seen;
	if (!mpl_section_direct(section, MPL_SECTION_READ))
		return is_iommu(section) ?
			       load_translated(reader, as, gpa, attrs, size,
			                      value) :
			       load_device(reader, as, gpa, attrs, size,
			                  value);
	if (!load_aligned(mpl_section_host(section, gpa), size, value))
		return load_otherwise(reader, as, gpa, attrs, size, value);
	mpl_tally(&reader->stats.reads);
	return MPL_OK;
}

mpl_result_t mpl_store(struct mpl_reader *pub,
		       const struct mpl_address_space *as, uint64_t gpa,
		       struct mpl_attrs attrs, unsigned int size,
		       enum mpl_endian endian, uint64_t value)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	const struct mpl_section *section;

	if (__builtin_expect(is_swapped(endian), 0))
		return store_swapped(pub, as, gpa, attrs, size, value);
	if (!mpl_last_holds(pub, as, gpa, size))
		return store_elsewhere(reader, as, gpa, attrs, size, value);
	section = pub->looked.seen;
	if (!mpl_section_direct(section, MPL_SECTION_WRITE))
		return is_iommu(section) ?
			       store_translated(reader, as, gpa, attrs, size,
			                       value) :
			       store_device(reader, as, gpa, attrs, size,
			                   value);
	if (!store_aligned(mpl_section_host(section, gpa), size, value))
		return store_otherwise(reader, as, gpa, attrs, size, value);
	mpl_tally(&reader->stats.writes);
	return MPL_OK;
}

/* Is `size` at `gpa` an aligned word of the section's? */
static inline uint8_t *queue_host(const struct mpl_section *section,
				  uint64_t gpa, unsigned int size)
{
	uint8_t *host;

	if ((size != 2 && size != 4 && size != 8) ||
	    mpl_section_rest(section, gpa, size) != size)
		return NULL;
	host = mpl_section_host(section, gpa);
	return mpl_is_aligned(host, size) ? host : NULL;
}

/* Host address of an aligned word that may be used so, or NULL. */
static void *queue_word(struct mpl_reader_state *reader,
			const struct mpl_address_space *as, uint64_t gpa,
			unsigned int size, uint32_t flags)
{
	const struct mpl_section *section =
		mpl_lookup(&reader->pub, as, gpa);

	return (section->flags & flags) == flags ?
		       queue_host(section, gpa, size) :
		       NULL;
}

/*
 * The section behind an iommu, and the address in it.  A word that is aligned
 * lies in one page (of at least 8 bytes), and others are refused.
 */
static const struct mpl_section *
through(struct mpl_reader_state *reader, const struct mpl_address_space *as,
	uint64_t *gpa, unsigned int size, uint32_t flags, mpl_result_t *result)
{
	const struct mpl_asked asked = {
		.as = as,
		.gpa = *gpa,
		.len = size,
		.intent = (enum mpl_intent)flags,
		.attrs = reader->attrs,
	};
	struct mpl_reach reach;
	struct mpl_trail trail;

	if (!mpl_is_word(size) || *gpa & (size - 1)) {
		*result = mpl_count_access_error(reader);
		return NULL;
	}
	*result = mpl_iommu_reach(reader, &asked, &reach, &trail);
	if (!*result && !mpl_section_is_unassigned(reach.section) &&
	    reach.len != size)
		*result = mpl_count_access_error(reader);
	*gpa = reach.gpa;
	return reach.section;
}

/*
 * Where queue_word() found none: a word of logged memory, or one behind an
 * iommu, with its section and the address there; or NULL and why.
 */
static void *other_word(struct mpl_reader_state *reader,
			const struct mpl_address_space *as, uint64_t *gpa,
			unsigned int size, uint32_t flags,
			const struct mpl_section **found, mpl_result_t *result)
{
	const struct mpl_section *section =
		mpl_lookup(&reader->pub, as, *gpa);
	uint8_t *host = NULL;

	*result = MPL_OK;
	if (section->flags & MPL_SECTION_IOMMU)
		section = through(reader, as, gpa, size, flags, result);
	if (*result)
		return NULL;
	*found = section;
	if (mpl_section_is_unassigned(section)) {
		*result = mpl_count_decode_error(reader);
		return NULL;
	}
	if ((mpl_section_rights(section) & flags) == flags)
		host = queue_host(section, *gpa, size);
	if (!host)
		*result = mpl_count_access_error(reader);
	return host;
}

static inline uint64_t load_word(const void *host, unsigned int size)
{
	/* [guest] the order is the caller's wish */
	if (size == 2)
		return __atomic_load_n((const uint16_t *)host,
				       __ATOMIC_ACQUIRE);
	if (size == 4)
		return __atomic_load_n((const uint32_t *)host,
				       __ATOMIC_ACQUIRE);
	return __atomic_load_n((const uint64_t *)host, __ATOMIC_ACQUIRE);
}

static __attribute__((noinline)) mpl_result_t
load_other(struct mpl_reader_state *reader, const struct mpl_address_space *as,
	   uint64_t gpa, unsigned int size, uint64_t *value)
{
	const struct mpl_section *section;
	mpl_result_t result;
	void *host = other_word(reader, as, &gpa, size, MPL_SECTION_READ,
				&section, &result);

	*value = host ? load_word(host, size) : 0;
	return result;
}

mpl_result_t mpl_load_acquire(struct mpl_reader *pub,
			      const struct mpl_address_space *as, uint64_t gpa,
			      unsigned int size, uint64_t *value)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	void *host = queue_word(reader, as, gpa, size, MPL_SECTION_READ);

	if (!host)
		return load_other(reader, as, gpa, size, value);
	*value = load_word(host, size);
	return MPL_OK;
}

static inline void store_word(void *host, unsigned int size, uint64_t value)
{
	/* [guest] the order is the caller's wish */
	if (size == 2)
		__atomic_store_n((uint16_t *)host, (uint16_t)value,
				 __ATOMIC_RELEASE);
	else if (size == 4)
		__atomic_store_n((uint32_t *)host, (uint32_t)value,
				 __ATOMIC_RELEASE);
	else
		__atomic_store_n((uint64_t *)host, value, __ATOMIC_RELEASE);
}

static __attribute__((noinline)) mpl_result_t
store_other(struct mpl_reader_state *reader,
	     const struct mpl_address_space *as, uint64_t gpa,
	     unsigned int size, uint64_t value)
{
	const struct mpl_section *section;
	mpl_result_t result;
	void *host = other_word(reader, as, &gpa, size, MPL_SECTION_WRITE,
				 &section, &result);

	if (!host)
		return result;
	store_word(host, size, value);
	mpl_dirty_mark_section(section, gpa, size);
	return MPL_OK;
}

mpl_result_t mpl_store_release(struct mpl_reader *pub,
			       const struct mpl_address_space *as,
			       uint64_t gpa, unsigned int size, uint64_t value)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	void *host = queue_word(reader, as, gpa, size, MPL_SECTION_WRITE);

	if (!host)
		return store_other(reader, as, gpa, size, value);
	store_word(host, size, value);
	return MPL_OK;
}

/* One width of compare and exchange; [guest] the order is the caller's wish. */
#define EXCHANGE(type)                                                   \
	do {                                                             \
		type found = (type)*expected;                            \
									 \
		*swapped = __atomic_compare_exchange_n(                  \
			(type *)host, &found, (type)desired, false,      \
			__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);             \
		*expected = found;                                       \
	} while (0)

static inline void exchange_word(void *host, unsigned int size,
				 uint64_t *expected, uint64_t desired,
				 bool *swapped)
{
	if (size == 2)
		EXCHANGE(uint16_t);
	else if (size == 4)
		EXCHANGE(uint32_t);
	else
		EXCHANGE(uint64_t);
}

static __attribute__((noinline)) mpl_result_t
exchange_other(struct mpl_reader_state *reader,
		const struct mpl_address_space *as, uint64_t gpa,
		unsigned int size, uint64_t *expected, uint64_t desired,
		bool *swapped)
{
	const struct mpl_section *section;
	mpl_result_t result;
	void *host = other_word(reader, as, &gpa, size, MPL_FOR_BOTH, &section,
				 &result);

	*swapped = false;
	if (!host)
		return result;
	exchange_word(host, size, expected, desired, swapped);
	if (*swapped)
		mpl_dirty_mark_section(section, gpa, size);
	return MPL_OK;
}

mpl_result_t mpl_compare_exchange(struct mpl_reader *pub,
				  const struct mpl_address_space *as,
				  uint64_t gpa, unsigned int size,
				  uint64_t *expected, uint64_t desired,
				  bool *swapped)
{
	struct mpl_reader_state *reader = mpl_reader_state(pub);
	void *host = queue_word(reader, as, gpa, size, MPL_FOR_BOTH);

	if (!host)
		return exchange_other(reader, as, gpa, size, expected,
				       desired, swapped);
	exchange_word(host, size, expected, desired, swapped);
	return MPL_OK;
}
