/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words that every other header uses: sizes, byte order, access attributes
 * and access results.  No functions live here.
 *
 * Addresses.  A guest-physical address is called `gpa`, a position inside a
 * region `offset`, a pointer in this process `host`.  A range is
 * (start, last), both inclusive, so that 2^64 bytes need no wider type.  A
 * *size* argument of UINT64_MAX means 2^64 bytes.
 *
 * Errors.  Functions return 0 or -errno; results go through out-parameters
 * that come last.  errno itself is neither read nor set.
 */
#ifndef MEMPLANE_TYPES_H
#define MEMPLANE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MPL_KIB (UINT64_C(1) << 10)
#define MPL_MIB (UINT64_C(1) << 20)
#define MPL_GIB (UINT64_C(1) << 30)

/*
 * Version of the layouts that the inline look-up knows (mpl_reader,
 * mpl_section, mpl_snapshot, node format).  mpl_plane_new() passes it, so a
 * program compiled against another layout gets -EPROTO instead of wrong
 * answers.
 */
#define MPL_LAYOUT 3

/* Regions may be nested (children and aliases together) this deep. */
#define MPL_DEPTH_MAX 256

/* At most 2^26 - 1 nodes, and as many sections, exist in one plane. */
#define MPL_INDEX_BITS 26

struct mpl_plane;
struct mpl_region;
struct mpl_address_space;
struct mpl_txn;
struct mpl_listener;
struct mpl_reader;
struct mpl_section;

enum mpl_endian {
	MPL_NATIVE_ENDIAN, /* of the host */
	MPL_LITTLE_ENDIAN,
	MPL_BIG_ENDIAN,
};

/* Who makes an access, and how.  All zero is an ordinary CPU access. */
struct mpl_attrs {
	uint32_t requester_id;	  /* bus master, e.g. PCI bus/device/function */
	uint16_t vcpu;		  /* index of the virtual processor */
	uint8_t secure : 1;	  /* secure world, or SMM */
	uint8_t user : 1;	  /* unprivileged mode */
	uint8_t memory_only : 1; /* device callbacks must not be run */
};

/*
 * Result of an access: 0, or a bit mask.  An access that runs over several
 * sections, or is split, combines the results of its pieces.
 */
enum mpl_result {
	MPL_OK = 0,
	MPL_DEVICE_ERROR = 1, /* the device's callback said so */
	MPL_DECODE_ERROR = 2, /* nothing is at that address */
	MPL_ACCESS_ERROR = 4, /* what is there may not be accessed so */
};
typedef unsigned int mpl_result_t;

/* Clients of dirty logging: each has its own bit in a dirty-log mask. */
enum mpl_log_client {
	MPL_LOG_DISPLAY = 0,
	MPL_LOG_CODE = 1,
	MPL_LOG_MIGRATION = 2,
	MPL_LOG_CLIENTS,
};

#ifdef __cplusplus
}
#endif

#endif
