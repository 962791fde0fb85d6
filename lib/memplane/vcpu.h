/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtual processors under KVM: KVM_RUN, the exits that are the map's, and
 * the gate at which vCPUs are parked.
 *
 *     mpl_vcpu_run()                       reader    gate
 *       wait while the gate is closed      offline   out
 *       KVM_RUN                            offline   in
 *       queued (coalesced) writes, exit    online    out
 *     back in the caller                   offline   out
 *
 * *Parked* means: not in KVM_RUN and unable to enter it.  A vCPU that is out
 * (in a callback, waiting for a commit or a lock, in the caller's code) is
 * parked already, whatever it does; so nobody ever waits for it, and one that
 * commits or pauses from its own callback cannot wait for itself.
 *
 * A vCPU belongs to the thread that made it.  That thread must not block the
 * signal of mpl_kvm_config.park_signal, and a handler must be installed for it
 * (without SA_RESTART or with it: KVM_RUN ends either way); if there is none
 * yet, mpl_vcpu_new() warns in the plane's log.  The handler may be empty.  The
 * signal may also come while the thread is back in user space.
 */
#ifndef MEMPLANE_VCPU_H
#define MEMPLANE_VCPU_H

#include "kvm.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* mpl_vcpu_run(): the exit is the caller's; kvm_run tells what it is. */
#define MPL_EXIT_OTHER 1

/*
 * Make a vCPU of a file descriptor that KVM_CREATE_VCPU returned (it stays
 * the caller's, and open until mpl_vcpu_free()): maps kvm_run, registers a
 * reader of the calling thread.  `index` goes into mpl_attrs.vcpu and into the
 * log.  In the vCPU's own thread.  Fine while vCPUs are paused: it waits at the
 * gate then, in mpl_vcpu_run().
 *
 * Errors: -EINVAL (index above 65535), -ENOTSUP (KVM has no immediate_exit),
 * -ENOMEM, -ENOSPC (mpl_plane_config.max_readers), or what KVM returned.
 */
int mpl_vcpu_new(struct mpl_kvm *kvm, int vcpu_fd, unsigned int index,
		 struct mpl_vcpu **out);

/*
 * End it: its own thread, or any once that thread is past its last call of
 * the library.  Nobody may kick it any more.  NULL is fine.  -EDEADLK inside
 * one of its accesses.
 */
int mpl_vcpu_free(struct mpl_vcpu *vcpu);

/*
 * Run the guest until it exits, and do what is the map's to do: MMIO and PIO
 * exits are carried out as accesses with attrs.vcpu set and attrs.secure for
 * exits from system management mode, which go to the space MPL_KVM_SMM if
 * there is one.  An access that finds nothing reads as the plane's pattern.
 * PIO without a space MPL_KVM_PIO is the caller's.
 *
 * An exit for an address that the map knows as memory (because its slot is
 * being replaced, or because no slot can hold it) is carried out on that
 * memory.  A full dirty ring is reaped (mpl_kvm_dirty_reap()).
 *
 * Its own thread, outside of accesses.  The reader is taken offline, and is
 * offline on return.  Returns
 *
 *     0               handled: call again
 *     MPL_EXIT_OTHER  see mpl_vcpu_kvm_run()
 *     -EINTR          a signal came, or mpl_vcpu_kick(); also when the vCPU was
 *                     parked: then the next call waits at the gate
 *     -EAGAIN         not an error: KVM waited in KVM_RUN for another vCPU to
 *                     start this one (INIT and SIPI); call again
 *     -EDEADLK        inside an access
 *     else            what KVM_RUN or mpl_kvm_dirty_reap() returned
 */
int mpl_vcpu_run(struct mpl_vcpu *vcpu);

/*
 * Finish what the last exit left undone in KVM: an instruction whose exit
 * was handled is completed by the next KVM_RUN only.  Before the registers
 * of a vCPU are set or saved, call this in its own thread: it enters KVM with
 * immediate_exit, so that no further instruction runs, and handles what the
 * same instruction still has to exit for (an access across a page).
 *
 * 0, or as mpl_vcpu_run().
 */
int mpl_vcpu_finish(struct mpl_vcpu *vcpu);

/* The shared page of this vCPU; immediate_exit in it is the library's. */
struct kvm_run *mpl_vcpu_kvm_run(struct mpl_vcpu *vcpu);

/*
 * Its reader, for accesses of its thread outside of mpl_vcpu_run(): take it
 * online before, as any other.
 */
struct mpl_reader *mpl_vcpu_reader(struct mpl_vcpu *vcpu);

/*
 * Make mpl_vcpu_run() return -EINTR: the call that is running, or else the
 * next; also one that waits at the gate.  Any thread, and signal handlers.
 */
void mpl_vcpu_kick(struct mpl_vcpu *vcpu);

/*
 * Pause all vCPUs: on return none is in the guest, and none enters it until as
 * many calls of resume.  Counts together with the parks of commits.  Any
 * thread, also from a vCPU's callback.  What exits left undone stays so:
 * mpl_vcpu_finish().
 *
 * Errors: what the embedder's gate returned (mpl_kvm_config.gate).
 */
int mpl_vcpus_pause(struct mpl_kvm *kvm);
void mpl_vcpus_resume(struct mpl_kvm *kvm);

/*
 * Deliver the writes that KVM has queued in coalesced zones, none of them as
 * secure: KVM does not tell in which mode they were made.  Every exit does
 * so first; a timer may, so that none waits for long; and who commits without
 * being asked by the guest should, before a device with zones moves.  Any
 * thread.
 *
 * Errors: -EDEADLK inside an access.
 */
int mpl_kvm_coalesced_drain(struct mpl_kvm *kvm);

#define MPL_VCPU_REASONS 64

/* Written by the vCPU's thread; a set of them is not one moment's. */
struct mpl_vcpu_stats {
	uint64_t exits;	      /* KVM_RUN returned 0 */
	uint64_t interrupted; /* KVM_RUN returned -EINTR */
	uint64_t waits;	      /* found the gate closed */
	uint64_t mmio_reads;
	uint64_t mmio_writes;
	uint64_t pio_reads; /* exits; each is one or more accesses */
	uint64_t pio_writes;
	uint64_t pio_accesses;
	uint64_t memory;    /* MMIO exits for what the map knows as memory */
	uint64_t coalesced; /* queued writes that it delivered */
	uint64_t other;	    /* MPL_EXIT_OTHER */
	uint64_t reasons[MPL_VCPU_REASONS]; /* by KVM_EXIT_*, the last: more */
};

/* Any thread, while the vCPU exists. */
void mpl_vcpu_stats(const struct mpl_vcpu *vcpu, struct mpl_vcpu_stats *out);

#ifdef __cplusplus
}
#endif

#endif
