/* SPDX-License-Identifier: BSD-3-Clause */
#include "samples.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
	const uint32_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

double samples_percentile(struct samples *samples, double part)
{
	size_t count = samples->taken < SAMPLES_MAX ? samples->taken :
						      SAMPLES_MAX;

	if (!count)
		return 0;
	qsort(samples->ns, count, sizeof(*samples->ns), compare);
	return samples->ns[(size_t)((double)(count - 1) * part)];
}
