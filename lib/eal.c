/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* pthread_getaffinity_np() */
#include <memplane/eal.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "dispatch/data_plane.h"
#include "dispatch/doorbell_hash.h"
#include "lib/base/log.h"

enum { MEMORY_DEFAULT_MIB = 64, MEMORY_MAX_MIB = 1 << 20 };

bool mpl_eal_running(void)
{
	return mpl_doorbell_hash_possible();
}

/* EAL's only lcore runs where the caller may run; -1: not to be had. */
static int first_cpu(const cpu_set_t *cpus)
{
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, cpus))
			return cpu;
	return -1;
}

static int init(unsigned int memory_mib, int cpu)
{
	char memory[16], lcores[16];
	char *argv[] = {
		"memplane", "--no-huge", "--no-shconf", "--no-pci",
		"--no-telemetry", "-m", memory, "--lcores", lcores,
		"--log-level=*:error", NULL,
	};
	int argc = (int)(sizeof(argv) / sizeof(argv[0])) - 1;

	snprintf(memory, sizeof(memory), "%u", memory_mib);
	snprintf(lcores, sizeof(lcores), "0@%d", cpu);
	return rte_eal_init(argc, argv) < 0 ? -rte_errno : 0;
}

int mpl_eal_start(const struct mpl_eal_config *config, uint64_t *elapsed_ns)
{
	static const struct mpl_eal_config defaults;
	uint64_t begin = mpl_now_ns();
	struct mpl_log log;
	unsigned int memory_mib;
	cpu_set_t cpus;
	int err;

	if (elapsed_ns)
		*elapsed_ns = 0;
	if (!config)
		config = &defaults;
	if (config->memory_mib > MEMORY_MAX_MIB)
		return -EINVAL;
	if (mpl_eal_running())
		return -EALREADY;
	log = (struct mpl_log){ .fn = config->log,
				.opaque = config->log_opaque };
	memory_mib = config->memory_mib ? config->memory_mib :
					  MEMORY_DEFAULT_MIB;
	err = pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	if (err) {
		mpl_log(&log, MPL_LOG_ERROR,
			"no EAL: the CPU affinity cannot be read: %s",
			strerror(err));
		return -ENOTSUP;
	}
	err = init(memory_mib, first_cpu(&cpus));
	/* EAL has pinned the thread, maybe even if it failed then. */
	(void)pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	if (err || !mpl_eal_running()) {
		mpl_log(&log, MPL_LOG_ERROR,
			"no EAL: rte_eal_init() with %u MiB of memory failed: %s",
			memory_mib,
			err == -EALREADY ?
				"an earlier attempt in this process has failed" :
				rte_strerror(-err));
		return -ENOTSUP;
	}
	if (elapsed_ns)
		*elapsed_ns = mpl_now_ns() - begin;
	return 0;
}
