/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A test bed for the data plane alone: sections are put into and taken out
 * of address spaces without any topology above.  It links nothing of lib/.
 *
 *     bed_put(bed, &(struct mpl_section){ ... });    recorded
 *     bed_commit(bed);                               compiled, published
 *
 * Beside the real map the bed keeps a plain list of each space's sections.
 */
#ifndef TESTS_SUPPORT_BED_H
#define TESTS_SUPPORT_BED_H

#include <memplane.h>

#include "dispatch/compile.h"
#include "dispatch/reader.h"
#include "dispatch/section.h"

#define BED_SPACES 4
#define BED_READERS 8
#define BED_SPARES 2

struct bed_device {
	struct mpl_device device;
	int unreferenced; /* how often the last reference went */
	struct bed_device *next;
};

struct bed {
	struct mpl_data_plane dp;
	struct mpl_address_space as[BED_SPACES];
	struct mpl_reader *reader; /* of the test's thread, online */
	struct bed_device *devices;
	struct mpl_device *plain; /* without callbacks */

	struct mpl_indexes sections[BED_SPACES]; /* by address */
	uint32_t root[BED_SPACES];

	struct mpl_compile compile; /* the open commit */
	struct mpl_retired *stale;
	bool open;

	unsigned int lines; /* of log */
	char log[512];	    /* the last one */
};

/* Fails the test on any error. */
struct bed *bed_new(void);
/*
 * Ends everything.  Fails the test if a node, a section or a reference on a
 * device is left.
 */
void bed_free(struct bed *bed);

/* A device that lives as long as the bed. */
struct mpl_device *bed_device(struct bed *bed, const struct mpl_io_ops *ops,
			      void *opaque);

/* Callbacks of a device whose bytes are those at `opaque`. */
extern const struct mpl_io_ops bed_bytes_ops;

/* Record; the first one opens a commit. */
uint32_t bed_put(struct bed *bed, unsigned int space,
		 const struct mpl_section *section);
void bed_take(struct bed *bed, unsigned int space, uint64_t gpa);
/* Publish what was recorded; what it replaced is retired. */
void bed_commit(struct bed *bed);

/* Put [start, last] and commit: io of a device, or memory at `host`. */
uint32_t bed_io(struct bed *bed, unsigned int space, uint64_t start,
		uint64_t last, struct mpl_device *device);
uint32_t bed_memory(struct bed *bed, unsigned int space, uint64_t start,
		    uint64_t last, void *host, uint32_t flags);
#define BED_RAM (MPL_SECTION_READ | MPL_SECTION_WRITE)
#define BED_ROM (MPL_SECTION_READ | MPL_SECTION_READONLY)

/* The section of a space that covers `gpa`, by the list; 0: none. */
uint32_t bed_find(const struct bed *bed, unsigned int space, uint64_t gpa);

/*
 * The 64 entries of the node that an entry names, where they lie, or
 * unpacked into `room`.
 */
const uint32_t *bed_node(const struct bed *bed, uint32_t entry,
			 uint32_t room[MPL_NODE_ENTRIES]);
/* Nodes in use or waiting, plain and packed. */
uint32_t bed_nodes(const struct bed *bed);

/* The index of the node or section that an entry names. */
static inline uint32_t bed_index(uint32_t entry)
{
	return entry / (MPL_ENTRY_SHIFT_MASK + 1);
}

/* Report a quiescent state and free what may be freed. */
void bed_settle(struct bed *bed);

/* cmocka fixtures: *state is a struct bed. */
int bed_setup(void **state);
int bed_teardown(void **state);
#define BED_TEST(name) \
	cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)
/* The same where every leaf is packed that can be. */
int bed_setup_packed(void **state);
#define BED_PACKED_TEST(name)                                                \
	{ #name " (packed)", name, bed_setup_packed, bed_teardown, NULL }

/* xorshift64*: the same numbers everywhere. */
static inline uint64_t bed_random(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * UINT64_C(0x2545f4914f6cdd1d);
}

#endif
