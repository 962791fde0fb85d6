/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two iommus whose page tables tests write: BUS is one over everything, which
 * leads to MEMORY or to MIDDLE, where another one leads to MEMORY.
 */
#ifndef TESTS_SUPPORT_IOMMUS_H
#define TESTS_SUPPORT_IOMMUS_H

#include "dispatch/bounce.h"
#include "dispatch/iommu.h"
#include "tests/support/bed.h"

enum {
	BUS, /* an iommu over everything */
	MEMORY,
	MIDDLE, /* another iommu, 0x1000 up */
	PAGES = 16,
	PAGE = 0x1000,
	IO_PAGES = 2, /* the last ones of memory */
	MIDDLE_START = 0x100000,
};

/* A page of a table.  Space 0: a fault, `result` says which. */
struct pte {
	unsigned int space;
	uint64_t address;
	uint64_t mask;
	uint32_t permissions;
	mpl_result_t result;
};

/* The world: memory at 0.., its last pages bytes of a device. */
struct world {
	struct bed *bed;
	struct mpl_iommu *iommu[2];
	struct pte table[2][PAGES];
	unsigned int asked;	 /* calls of translate */
	struct mpl_attrs attrs;	 /* of the last one */
	struct mpl_reader *pause; /* each call waits, so to speak */
	struct mpl_bounce bus; /* BUS, to map in */
	/* Does something else in each call. */
	void (*during)(struct world *world);
};

extern struct world world;
/* What MEMORY shows, and what a test thinks that it holds. */
extern uint8_t memory[PAGES * PAGE];
extern uint8_t shadow[PAGES * PAGE];

/* Write a page into a table (0: BUS's) and invalidate it. */
void set_page(unsigned int level, unsigned int page, unsigned int space,
	      uint64_t address, uint32_t permissions);

/* cmocka fixtures: *state is a struct bed, `world` is set up. */
int iommus_setup(void **state);
int iommus_teardown(void **state);
#define IOMMU_TEST(f) \
	cmocka_unit_test_setup_teardown(f, iommus_setup, iommus_teardown)

#endif
