/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Readers: threads that look addresses up (a vCPU, an I/O thread, a poller).
 *
 * A reader belongs to the thread that registered it.  It is *offline* when it
 * starts, while it is in the guest, and whenever it blocks: then it holds no
 * memory back and may not look anything up.  *Online* it must report a
 * *quiescent state* regularly: a moment at which it holds no section, no
 * snapshot and no host pointer from a look-up.
 *
 *     call                 costs               makes pointers invalid
 *     mpl_reader_quiescent a load and a store  yes
 *     mpl_reader_online    a full fence        -
 *     mpl_reader_offline   a store             yes
 *
 * An access that reaches a device's callback may contain a quiescent state (the
 * reader waits for the device's lock, or the callback suspends it): what was
 * looked up before is not valid after it.
 */
#ifndef MEMPLANE_READER_H
#define MEMPLANE_READER_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Register the calling thread; several readers in one thread are fine.
 * Errors: -ENOMEM, -ENOSPC (mpl_plane_config.max_readers).
 */
int mpl_reader_register(struct mpl_plane *plane, struct mpl_reader **out);

/* The reader goes offline and is freed.  -EDEADLK inside an access. */
int mpl_reader_unregister(struct mpl_reader *reader);

/* Name for logs and statistics (copied, cut at 31 bytes). */
void mpl_reader_set_name(struct mpl_reader *reader, const char *name);

/*
 * Attributes that an iommu (iommu.h) gets from calls that take none:
 * mpl_translate, bursts, windows, queue indexes.  Zero at first; own thread.
 */
void mpl_reader_set_attrs(struct mpl_reader *reader, struct mpl_attrs attrs);

/* All three: own thread only; -EDEADLK inside an access, else 0. */
int mpl_reader_online(struct mpl_reader *reader);
int mpl_reader_offline(struct mpl_reader *reader);
int mpl_reader_quiescent(struct mpl_reader *reader);

/*
 * The reader whose access the calling thread is inside of (one of them), or
 * NULL: how a callback learns with which reader it makes accesses of its own.
 * Another one of the same thread would be a stranger to the guards against
 * re-entry and lock cycles.  Slow: scans the readers.
 */
struct mpl_reader *mpl_access_reader(struct mpl_plane *plane);

/*
 * A callback that must block: until resume the access keeps a reference on
 * its region instead of holding all reclamation back.  Sections and host
 * pointers that the callback got from look-ups become invalid.  -EINVAL
 * outside an access.
 */
int mpl_access_suspend(struct mpl_reader *reader);
int mpl_access_resume(struct mpl_reader *reader);

/* Forget the look-up caches (for measuring). */
void mpl_reader_drop_caches(struct mpl_reader *reader);

#ifdef __cplusplus
}
#endif

#endif
