/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include "pin.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

static cpu_set_t allowed;

int pin_init(void)
{
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return -errno;
	return 0;
}

void pin_thread(unsigned int index)
{
	cpu_set_t one;

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || index--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
		return;
	}
}

void pin_release(void)
{
	pthread_setaffinity_np(pthread_self(), sizeof(allowed), &allowed);
}
