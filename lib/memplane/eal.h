/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DPDK's environment abstraction layer (EAL), for what of this library needs
 * one: hashes of doorbells (mpl_plane_config.hash_doorbells), and nothing else.
 * Grace periods do without.
 *
 * The library never starts an EAL by itself.  An application that runs one
 * anyway has nothing to do here; one that does not calls mpl_eal_start() once,
 * before it makes planes, if it wants those hashes.
 *
 * An EAL is a process's, not a plane's, and does not go away.  mpl_eal_start()
 * leaves behind:
 *
 *   - 64 MiB of address space (memory_mib), of which pages are touched as they
 *     are used, from a memfd, shared with children that are forked; it is near
 *     address 0x100000000 if that is free;
 *   - a thread "eal-intr-thread" that sleeps, and some open descriptors;
 *   - the calling thread is EAL's main lcore from now on;
 *   - EAL's own messages, errors only, go to stderr and to syslog, the ident of
 *     which it sets; rte_openlog_stream() called before changes where to.
 *
 * It writes nothing to stdout, opens no telemetry socket, looks for no device,
 * takes no huge pages, leaves no file, installs no signal handler; the caller's
 * CPU affinity is as before.  rte_eal_init() cannot be called in the process
 * afterwards: an application that wants its own arguments calls it instead.
 */
#ifndef MEMPLANE_EAL_H
#define MEMPLANE_EAL_H

#include "plane.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mpl_eal_config {
	/*
	 * Memory for hashes, in MiB, at most 1 Ti; 0: 64, which 200,000
	 * doorbells have room in.
	 */
	unsigned int memory_mib;

	/* Gets one line that says why it failed; NULL: nobody does. */
	void (*log)(void *opaque, enum mpl_log_level level, const char *line);
	void *log_opaque;
};

/*
 * Start an EAL for this process, with the smallest footprint that it has.
 * `config` may be NULL for the defaults.  *elapsed_ns (may be NULL) is how long
 * that took, about 0.2 s; 0 if it was not done.  Call it on one thread at a
 * time, from a thread that stays.
 *
 * Errors: -EALREADY (one is running: the application's, or that of an earlier
 * call; it is used, so that callers may take this for success), -EINVAL,
 * -ENOTSUP (EAL refused: the log line says why, and EAL itself says more on
 * stderr.  After some failures it cannot be tried again in this process).
 */
int mpl_eal_start(const struct mpl_eal_config *config, uint64_t *elapsed_ns);

/*
 * Is an EAL running in this process, whoever started it?  Not to be asked
 * after rte_eal_cleanup().  Any thread.
 */
bool mpl_eal_running(void);

#ifdef __cplusplus
}
#endif

#endif
