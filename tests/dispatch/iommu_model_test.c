/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random page tables, two levels of them, against a model that goes byte by
 * byte: every kind of access, with and without callbacks that wait.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "tests/support/iommus.h"

/*
 * The model: what one byte of an access comes to, and which byte it is.
 * Accesses reach from one page into the next, never beyond the table.
 */
static mpl_result_t byte_at(uint64_t iova, uint32_t intent, size_t *at)
{
	const struct pte *pte = &world.table[0][iova / PAGE % PAGES];
	uint64_t address;

	for (unsigned int level = 0;; level++) {
		if (!pte->space)
			return pte->result;
		if ((pte->permissions & intent) != intent)
			return MPL_ACCESS_ERROR;
		address = (pte->address & ~pte->mask) | (iova & pte->mask);
		if (pte->space == MEMORY)
			break;
		assert_int_equal(level, 0);
		if (address - MIDDLE_START >= PAGES * PAGE)
			return MPL_DECODE_ERROR;
		iova = address - MIDDLE_START;
		pte = &world.table[1][iova / PAGE];
	}
	if (address >= sizeof(memory))
		return MPL_DECODE_ERROR;
	*at = address;
	return MPL_OK;
}

static bool is_io(size_t at)
{
	return at >= (PAGES - IO_PAGES) * PAGE;
}

static void random_page(uint64_t *seed)
{
	static const mpl_result_t faults[] = { MPL_DECODE_ERROR,
		MPL_ACCESS_ERROR, MPL_DEVICE_ERROR };
	unsigned int level = bed_random(seed) % 2;
	unsigned int page = bed_random(seed) % PAGES;
	uint64_t mask = bed_random(seed) % 4 ? PAGE - 1 : 2 * PAGE - 1;
	bool middle = !level && bed_random(seed) % 3 == 0;
	struct pte pte = {
		.space = bed_random(seed) % 8 ? (middle ? MIDDLE : MEMORY) : 0,
		/* Now and then a page past the end. */
		.address = bed_random(seed) % (PAGES + 1) * PAGE & ~mask,
		.mask = mask,
		.permissions = (uint32_t)(bed_random(seed) % 4),
		.result = faults[bed_random(seed) % 3],
	};

	if (bed_random(seed) % 2)
		pte.permissions = MPL_FOR_BOTH;
	if (middle)
		pte.address = MIDDLE_START + pte.address;
	page &= ~(unsigned int)(mask / PAGE);
	/* The pages of a larger one that was there go with it. */
	for (unsigned int i = 0; i < PAGES; i++) {
		struct pte *old = &world.table[level][i];
		unsigned int first = i & ~(unsigned int)(old->mask / PAGE);

		if (first <= (page | mask / PAGE) &&
		    (i | old->mask / PAGE) >= page)
			*old = (struct pte){ .result = MPL_DECODE_ERROR };
	}
	for (unsigned int i = page; i <= (page | mask / PAGE); i++)
		world.table[level][i] = pte;
	/* The widest page that can have been there. */
	mpl_iommu_forget(world.iommu[level], (page & ~1u) * PAGE,
			 ((page | 1u) + 1) * PAGE - 1);
}

static void check_read(uint64_t iova, size_t len)
{
	const struct mpl_attrs attrs = { .requester_id = 7 };
	uint8_t got[3 * PAGE], expected[3 * PAGE];
	mpl_result_t result = MPL_OK;

	for (size_t i = 0; i < len; i++) {
		size_t at = 0;
		mpl_result_t one = byte_at(iova + i, MPL_FOR_READ, &at);

		expected[i] = one ? 0xff : shadow[at];
		result |= one;
	}
	assert_int_equal(mpl_read(world.bed->reader, &world.bed->as[BUS], iova,
				  attrs, got, len), result);
	assert_memory_equal(got, expected, len);
}

static void check_write(uint64_t iova, size_t len, uint64_t *seed)
{
	const struct mpl_attrs attrs = { .requester_id = 7 };
	uint8_t data[3 * PAGE];
	mpl_result_t result = MPL_OK;

	for (size_t i = 0; i < len; i++) {
		size_t at = 0;
		mpl_result_t one = byte_at(iova + i, MPL_FOR_WRITE, &at);

		data[i] = (uint8_t)bed_random(seed);
		if (!one)
			shadow[at] = data[i];
		result |= one;
	}
	assert_int_equal(mpl_write(world.bed->reader, &world.bed->as[BUS],
				   iova, attrs, data, len), result);
}

/* Typed ones: the same bytes as numbers. */
static void check_word(uint64_t iova, unsigned int size, bool write,
		       uint64_t value)
{
	const struct mpl_attrs attrs = { .requester_id = 7 };
	struct bed *bed = world.bed;
	uint64_t got = 0, expected = 0;
	mpl_result_t result = MPL_OK;

	for (unsigned int i = 0; i < size; i++) {
		size_t at = 0;
		mpl_result_t one = byte_at(
			iova + i, write ? MPL_FOR_WRITE : MPL_FOR_READ, &at);

		result |= one;
		if (write && !one)
			shadow[at] = (uint8_t)(value >> 8 * i);
		expected |= (uint64_t)(one ? 0xff : shadow[at]) << 8 * i;
	}
	if (write) {
		assert_int_equal(mpl_store(bed->reader, &bed->as[BUS], iova,
					   attrs, size, MPL_LITTLE_ENDIAN,
					   value), result);
		return;
	}
	assert_int_equal(mpl_load(bed->reader, &bed->as[BUS], iova, attrs,
				  size, MPL_LITTLE_ENDIAN, &got), result);
	assert_int_equal(got, expected);
}

/* A word that a queue uses: all of it in one page of memory, or an error. */
static void check_queue_word(uint64_t iova, unsigned int size, uint64_t value)
{
	struct bed *bed = world.bed;
	uint64_t old = 0, got = 0;
	mpl_result_t result = MPL_OK;
	bool swapped;
	size_t at = 0;

	iova &= ~(uint64_t)(size - 1);
	result = byte_at(iova, MPL_FOR_BOTH, &at);
	if (!result && is_io(at))
		result = MPL_ACCESS_ERROR;
	if (!result)
		memcpy(&old, shadow + at, size);
	assert_int_equal(mpl_compare_exchange(bed->reader, &bed->as[BUS], iova,
					      size, &old, value, &swapped),
			 result);
	assert_int_equal(swapped, result == MPL_OK);
	if (result)
		return;
	memcpy(shadow + at, &value, size);
	assert_int_equal(mpl_load_acquire(bed->reader, &bed->as[BUS], iova,
					  size, &got), MPL_OK);
	assert_memory_equal(&got, &value, size);
	assert_int_equal(mpl_store_release(bed->reader, &bed->as[BUS], iova,
					   size, value), MPL_OK);
}

/*
 * How many bytes from iova on are memory, one behind the other.  *single: how
 * many of them are behind one iommu only.
 */
static size_t run(uint64_t iova, size_t len, uint32_t intent, uint8_t **host,
		  mpl_result_t *result, size_t *single)
{
	size_t first = 0, at = 0, n;

	*result = byte_at(iova, intent, &first);
	if (!*result && is_io(first))
		*result = MPL_ACCESS_ERROR;
	if (*result)
		return 0;
	*host = memory + first;
	*single = 0;
	for (n = 1; n < len; n++) {
		if (byte_at(iova + n, intent, &at) || at != first + n ||
		    is_io(at))
			break;
		if (!*single && world.table[0][(iova + n) / PAGE].space !=
					MEMORY)
			*single = n;
	}
	*single = *single ? *single : n;
	return n;
}

/* Behind one iommu as long as can be, behind two perhaps cut at a page. */
static void check_pointers(uint64_t iova, size_t len, uint32_t intent)
{
	struct bed *bed = world.bed;
	uint8_t *expected = NULL;
	void *host[4] = { NULL };
	struct mpl_window window;
	size_t contiguous, n, single = 0, in_page = PAGE - iova % PAGE;
	mpl_result_t result;
	int err;

	n = run(iova, len, intent, &expected, &result, &single);
	assert_int_equal(mpl_translate(bed->reader, &bed->as[BUS], iova, len,
				       (enum mpl_intent)intent, host,
				       &contiguous), result);
	if (!result)
		assert_ptr_equal(host[0], expected);
	assert_true(contiguous <= n);
	if (world.table[0][iova / PAGE].space == MEMORY)
		assert_int_equal(contiguous, single);
	else
		assert_true(contiguous >= (n < in_page ? n : in_page));

	n = mpl_translate_burst(bed->reader, &bed->as[BUS],
				(uint64_t[]){ iova, iova, UINT64_MAX }, 2, len,
				(enum mpl_intent)intent, host);
	/* If each call waits, two pages of one slot never stay. */
	if (!world.pause || n) {
		assert_int_equal(n, contiguous == len ? 2 : 0);
		assert_ptr_equal(host[0], contiguous == len ? expected : NULL);
		assert_ptr_equal(host[1], host[0]);
	}

	assert_int_equal(mpl_translate_burst(bed->reader, &bed->as[BUS], &iova,
					     1, 0, (enum mpl_intent)intent,
					     host), 0);
	assert_null(host[0]);

	err = mpl_window_open(bed->reader, &bed->as[BUS], iova, len,
			      (enum mpl_intent)intent, &window);
	assert_int_equal(err, result & MPL_DEVICE_ERROR ? -EIO :
			      result & MPL_ACCESS_ERROR ? -EACCES :
			      result			 ? -EFAULT :
			      contiguous < len		 ? -ERANGE : 0);
	if (err)
		return;
	assert_ptr_equal(window.host, expected);
	assert_false(mpl_window_is_stale(bed->reader, &window));
	mpl_window_close(&window);
}

static void check_sg(uint64_t iova, size_t len, unsigned int max)
{
	const struct mpl_attrs attrs = { .requester_id = 7 };
	struct bed *bed = world.bed;
	mpl_result_t result, ignored;
	struct iovec iov[8];
	unsigned int count;
	uint8_t *host = NULL;
	size_t done, single, n = 0;

	(void)run(iova, 1, MPL_FOR_READ, &host, &result, &single);
	assert_int_equal(mpl_translate_sg(bed->reader, &bed->as[BUS], iova,
					  attrs, len, MPL_FOR_READ, iov, max,
					  &count, &done), result);
	assert_true(count <= max);
	assert_true(done <= len);
	for (unsigned int i = 0; i < count; i++)
		for (size_t j = 0; j < iov[i].iov_len; j++, n++) {
			assert_int_equal(run(iova + n, 1, MPL_FOR_READ, &host,
					     &ignored, &single), 1);
			assert_ptr_equal((uint8_t *)iov[i].iov_base + j, host);
		}
	assert_int_equal(n, done);
	if (done < len && count < max && !world.pause)
		assert_int_equal(run(iova + n, 1, MPL_FOR_READ, &host,
				     &ignored, &single), 0);
}

/* A mapping: memory itself, or a copy that comes and goes. */
static void check_map(uint64_t iova, size_t len, uint32_t intent,
		      uint64_t *seed)
{
	const struct mpl_attrs attrs = { .requester_id = 7 };
	struct bed *bed = world.bed;
	struct mpl_mapping mapping;
	size_t at = 0, mapped = len, written = 0, n;
	mpl_result_t result = byte_at(iova, intent, &at);
	bool bounces = !result && is_io(at);
	uint8_t *host;
	int err = mpl_map(bed->reader, &world.bus.pub, iova, attrs,
			  (enum mpl_intent)intent, &mapped, &mapping);

	assert_int_equal(err, result & MPL_DEVICE_ERROR ? -EIO :
			      result & MPL_ACCESS_ERROR ? -EACCES :
			      result			 ? -EFAULT : 0);
	if (err)
		return;
	assert_true(mapped >= 1 && mapped <= len);
	host = mapping.host;
	assert_int_equal(mpl_map_bounced(&world.bus.pub),
			 bounces ? mapped : 0);
	for (n = 0; n < mapped; n++) {
		size_t here = 0;

		assert_int_equal(byte_at(iova + n, intent, &here), MPL_OK);
		assert_int_equal(is_io(here), bounces);
		if (!bounces)
			assert_ptr_equal(host + n, memory + here);
		if (intent & MPL_FOR_READ)
			assert_int_equal(host[n], shadow[here]);
	}
	if (intent & MPL_FOR_WRITE)
		written = bed_random(seed) % (mapped + 1);
	for (n = 0; n < written; n++) {
		size_t here = 0;

		host[n] = (uint8_t)bed_random(seed);
		(void)byte_at(iova + n, intent, &here);
		shadow[here] = host[n];
	}
	assert_int_equal(mpl_unmap(bed->reader, &mapping, written), 0);
}

static void check_one(uint64_t *seed)
{
	uint64_t iova = bed_random(seed) % ((PAGES - 4) * PAGE);
	size_t len = bed_random(seed) % 4 ? bed_random(seed) % 64 + 1 :
					    bed_random(seed) % (3 * PAGE) + 1;
	unsigned int size = 1u << bed_random(seed) % 4;
	uint64_t value = bed_random(seed);

	switch (bed_random(seed) % 9) {
	case 0:
		random_page(seed);
		break;
	case 1:
		check_read(iova, len);
		break;
	case 2:
		check_write(iova, len, seed);
		break;
	case 3:
		check_word(iova, size, false, 0);
		break;
	case 4:
		check_word(iova, size, true, value);
		break;
	case 5:
		check_queue_word(iova, size < 2 ? 2 : size,
				 size < 8 ? value & 0xffff : value);
		break;
	case 6:
		check_pointers(iova, len, MPL_FOR_READ);
		check_pointers(iova, len, MPL_FOR_BOTH);
		break;
	case 7:
		check_sg(iova, len, 1 + (unsigned int)(value % 8));
		break;
	case 8:
		check_map(iova, len, 1 + (uint32_t)(value % 3), seed);
		break;
	}
}

static void run_model(uint64_t seed, unsigned int rounds)
{
	for (unsigned int i = 0; i < 4 * PAGES; i++)
		random_page(&seed);
	for (unsigned int i = 0; i < rounds; i++) {
		check_one(&seed);
		if (i % 64 == 0)
			bed_settle(world.bed);
	}
	assert_memory_equal(memory, shadow, sizeof(memory));
}

static void test_model(void **state)
{
	(void)state;
	world.bed->dp.unassigned_byte = 0xff;
	for (uint64_t seed = 1; seed <= 8; seed++)
		run_model(seed, 2000);
	/* Most of it came out of the cache. */
	assert_true(world.asked < 8 * 2000 * 4);
}

/* The same with a quiescent state inside of every callback. */
static void test_model_with_pauses(void **state)
{
	(void)state;
	world.pause = world.bed->reader;
	for (uint64_t seed = 100; seed <= 102; seed++)
		run_model(seed, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IOMMU_TEST(test_model),
		IOMMU_TEST(test_model_with_pauses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
