/* SPDX-License-Identifier: BSD-3-Clause */
/* Readers, the private part. */
#ifndef MEMPLANE_DISPATCH_READER_H
#define MEMPLANE_DISPATCH_READER_H

#include <memplane/dispatch.h>
#include <memplane/reader.h>

#include "dispatch/data_plane.h"
#include "dispatch/device.h"
#include "dispatch/pending.h"

struct mpl_iotlb;
struct mpl_mapped;

/*
 * A device callback that is running: on the stack of whoever runs it, or the
 * reader's own one, for an outermost callback without a lock.
 */
struct mpl_frame {
	struct mpl_device *device;
	struct mpl_frame *outer;
	bool locked;	/* holds the device's lock */
	bool suspended; /* between mpl_access_suspend() and _resume() */
	bool held;	/* has been suspended: holds a reference */
};

enum mpl_online {
	MPL_OFFLINE,
	MPL_ONLINE,
	MPL_ONLINE_WRITING, /* and pages are pending, to be marked */
};

/* On pairs of lines of its own: processors fetch lines in pairs. */
struct mpl_reader_state {
	struct mpl_reader pub;	/* first: the inline look-up's part */
	struct mpl_data_plane *dp;
	unsigned int id;
	uint8_t online;		 /* enum mpl_online */
	uint64_t pauses;	 /* how often it went offline in an access */
	struct mpl_frame *frame; /* innermost, or NULL */
	struct mpl_iotlb *iotlb; /* dispatch/iotlb.h; NULL until needed */
	struct mpl_attrs attrs;	 /* of calls that have none */
	struct mpl_frame direct; /* but for `device` zero, unless it runs */
	struct mpl_reader_stats stats;
	uint64_t *counts[MPL_COUNT_CHUNKS]; /* dispatch/count.h */
	struct mpl_mapped *mapped[MPL_COUNT_CHUNKS]; /* dispatch/mapped.h */
	struct mpl_pending pending;

	/* Under dp->waits.mutex. */
	struct mpl_device *waits_for;
} __attribute__((aligned(128)));

static inline struct mpl_reader_state *
mpl_reader_state(const struct mpl_reader *reader)
{
	return (struct mpl_reader_state *)reader;
}

/*
 * A spare one may take the slots above readers_max.
 * Errors: -ENOMEM, -ENOSPC.
 */
int mpl_reader_add(struct mpl_data_plane *dp, bool spare,
		   struct mpl_reader_state **out);

/*
 * Which thread this is: what pthread_self() returns, without a call.  On x86-64
 * %fs:0 holds the thread pointer (System V ABI, thread-local storage), which is
 * as good a number.
 */
static inline uintptr_t mpl_thread_self(void)
{
#if defined(__x86_64__) && defined(__linux__)
	uintptr_t self;

	__asm__("movq %%fs:0, %0" : "=r"(self));
	return self;
#else
	return (uintptr_t)pthread_self();
#endif
}

/* It is the calling thread's from now on. */
void mpl_reader_adopt(struct mpl_reader_state *reader);

enum mpl_thread_state {
	MPL_THREAD_FREE,   /* no reader of the thread is online */
	MPL_THREAD_ONLINE, /* one is, outside of any access */
	MPL_THREAD_ACCESS, /* one is inside a callback */
};

/* The calling thread's: what may it wait for? */
enum mpl_thread_state mpl_reader_thread_state(struct mpl_data_plane *dp);

/* The calling thread's reader that is inside an access, or NULL. */
struct mpl_reader_state *mpl_reader_in_access(struct mpl_data_plane *dp);

/* Pin the devices whose callbacks are running, and go offline, to block. */
void mpl_reader_hold(struct mpl_reader_state *reader);
/* Online again; what look-ups returned before is no longer valid. */
void mpl_reader_resume(struct mpl_reader_state *reader);

/*
 * A host pointer for writing into a logged section is given out: its pages are
 * marked when it loses its validity.  False: they cannot be noted.
 */
bool mpl_reader_note_write(struct mpl_reader_state *reader,
			   const struct mpl_section *section, uint64_t gpa,
			   uint64_t len);

/* Nobody's until it is adopted again. */
void mpl_reader_disown(struct mpl_reader_state *reader);

/* Name a reader that holds a grace period back.  False: there is none. */
bool mpl_readers_name_holder(struct mpl_data_plane *dp, uint64_t token,
			     char *name, size_t size);

/* Sums over all readers, those that left included. */
void mpl_readers_sum(struct mpl_data_plane *dp, struct mpl_reader_stats *out);

#endif
