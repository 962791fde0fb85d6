/* SPDX-License-Identifier: BSD-3-Clause */
/* Scatter-gather without iommus; iommu_model_test.c has those. */
#include <memplane/access.h>

#include <setjmp.h>
#include <stdarg.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "tests/support/bed.h"

static uint8_t host[0x8000] __attribute__((aligned(4096)));

struct piece {
	size_t at;
	size_t len;
};

static void gathered(struct bed *bed, uint64_t gpa, size_t len,
		     enum mpl_intent intent, unsigned int max,
		     mpl_result_t result, const struct piece *pieces)
{
	const struct mpl_attrs none = { 0 };
	struct iovec iov[8];
	unsigned int count = 99, i;
	size_t done = 99, sum = 0;

	assert_int_equal(mpl_translate_sg(bed->reader, &bed->as[0], gpa, none,
					  len, intent, iov, max, &count,
					  &done), result);
	for (i = 0; pieces[i].len; i++) {
		assert_true(i < count);
		assert_ptr_equal(iov[i].iov_base, host + pieces[i].at);
		assert_int_equal(iov[i].iov_len, pieces[i].len);
		sum += pieces[i].len;
	}
	assert_int_equal(count, i);
	assert_int_equal(done, sum);
}

#define PIECES(...) (const struct piece[]){ __VA_ARGS__, { 0, 0 } }
#define NOTHING (const struct piece[]){ { 0, 0 } }

static void test_pieces(void **state)
{
	struct bed *bed = *state;
	uint8_t device[16];

	bed_memory(bed, 0, 0x1000, 0x1fff, host, BED_RAM);
	bed_memory(bed, 0, 0x2000, 0x2fff, host + 0x4000, BED_RAM);
	/* Its memory follows the one before. */
	bed_memory(bed, 0, 0x3000, 0x3fff, host + 0x5000, BED_RAM);
	bed_memory(bed, 0, 0x4000, 0x4fff, host + 0x2000, BED_ROM);
	bed_io(bed, 0, 0x5000, 0x500f, bed_device(bed, &bed_bytes_ops, device));
	bed_memory(bed, 0, UINT64_MAX - 0xff, UINT64_MAX, host, BED_RAM);

	gathered(bed, 0x1010, 16, MPL_FOR_BOTH, 8, MPL_OK,
		 PIECES({ 0x10, 16 }));
	gathered(bed, 0x1ff0, 32, MPL_FOR_BOTH, 8, MPL_OK,
		 PIECES({ 0xff0, 16 }, { 0x4000, 16 }));
	gathered(bed, 0x1ff0, 0x2010, MPL_FOR_BOTH, 8, MPL_OK,
		 PIECES({ 0xff0, 16 }, { 0x4000, 0x2000 }));
	/* It ends where the intent does, and at the device. */
	gathered(bed, 0x2800, 0x4000, MPL_FOR_WRITE, 8, MPL_OK,
		 PIECES({ 0x4800, 0x1800 }));
	gathered(bed, 0x2800, 0x4000, MPL_FOR_READ, 8, MPL_OK,
		 PIECES({ 0x4800, 0x1800 }, { 0x2000, 0x1000 }));
	/* When there are no more places. */
	gathered(bed, 0x1ff0, 32, MPL_FOR_READ, 1, MPL_OK,
		 PIECES({ 0xff0, 16 }));
	gathered(bed, 0x1ff0, 32, MPL_FOR_READ, 0, MPL_OK, NOTHING);
	gathered(bed, 0x1ff0, 0, MPL_FOR_READ, 8, MPL_OK, NOTHING);
	/* At the last address nothing wraps. */
	gathered(bed, UINT64_MAX - 15, SIZE_MAX, MPL_FOR_READ, 8, MPL_OK,
		 PIECES({ 0xf0, 16 }));
	gathered(bed, 0, 32, MPL_FOR_READ, 8, MPL_DECODE_ERROR, NOTHING);
	gathered(bed, 0x5000, 32, MPL_FOR_READ, 8, MPL_ACCESS_ERROR, NOTHING);
	gathered(bed, 0x4000, 32, MPL_FOR_WRITE, 8, MPL_ACCESS_ERROR,
		 NOTHING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
