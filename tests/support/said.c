/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/said.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char text_of_all[16384];

static void keep(void *opaque, enum mpl_log_level level, const char *line)
{
	size_t len;

	(void)opaque;
	(void)level;
	pthread_mutex_lock(&mutex);
	len = strlen(text_of_all);
	snprintf(text_of_all + len, sizeof(text_of_all) - len, "%s\n", line);
	printf("  log: %s\n", line);
	pthread_mutex_unlock(&mutex);
}

int said_plane_new(struct mpl_plane **plane)
{
	said_forget();
	return mpl_plane_new(plane, &(struct mpl_plane_config){ .log = keep });
}

bool said(const char *text)
{
	bool found;

	pthread_mutex_lock(&mutex);
	found = strstr(text_of_all, text) != NULL;
	pthread_mutex_unlock(&mutex);
	return found;
}

void said_forget(void)
{
	pthread_mutex_lock(&mutex);
	text_of_all[0] = '\0';
	pthread_mutex_unlock(&mutex);
}
