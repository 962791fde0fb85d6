/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses to device callbacks: what the guest may do (valid), what the
 * callbacks can take (impl), and the way between.
 *
 *   guest reads 8 bytes at 2        valid.max 4, aligned
 *     -> pieces [2,2] [4,4] [8,2]   (mpl_io_piece)
 *   piece [4,4]                     impl 1..2
 *     -> callbacks (4,2) (6,2), put together in the device's byte order
 *   piece [2,2]                     impl 4..4
 *     -> callback (0,4), of which bytes 2..3 are taken
 */
#ifndef MEMPLANE_DISPATCH_IO_H
#define MEMPLANE_DISPATCH_IO_H

#include <memplane/dispatch.h>

#include "dispatch/reader.h"

/* Bytes of the next piece of an access of `len` bytes at `offset`: a power
 * of two up to 8.  It may be smaller than valid.min. */
unsigned int mpl_io_piece(const struct mpl_device *device, uint64_t offset,
			  uint64_t len);

/*
 * One piece.  `value` is a number in host order whose bytes are the piece's
 * bytes in the device's byte order.  Takes the device's lock.  Afterwards the
 * section may be gone: the reader may have been offline meanwhile.
 */
mpl_result_t mpl_io_read(struct mpl_reader_state *reader,
			 const struct mpl_section *section, uint64_t offset,
			 unsigned int size, struct mpl_attrs attrs,
			 uint64_t *value);
mpl_result_t mpl_io_write(struct mpl_reader_state *reader,
			  const struct mpl_section *section, uint64_t offset,
			  unsigned int size, struct mpl_attrs attrs,
			  uint64_t value);

/*
 * Ring the doorbell of a section that has some, if a write matches one: as the
 * guest made it, before it is split into pieces.
 */
bool mpl_io_ring(struct mpl_reader_state *reader,
		 const struct mpl_section *section, uint64_t offset,
		 unsigned int size, uint64_t value);

#endif
