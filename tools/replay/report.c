/* SPDX-License-Identifier: BSD-3-Clause */
#include "report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>

static int by_value(const void *a_, const void *b_)
{
	const uint64_t *a = a_, *b = b_;

	return *a < *b ? -1 : *a > *b;
}

struct spread spread_of(uint64_t *ns, size_t count)
{
	struct spread spread = { 0 };
	size_t i;

	if (!count)
		return spread;
	qsort(ns, count, sizeof(*ns), by_value);
	for (i = 0; i < count; i++)
		spread.total += ns[i];
	spread.p50 = ns[count / 2];
	spread.p99 = ns[count - 1 - (count - 1) / 100];
	spread.max = ns[count - 1];
	return spread;
}

uint64_t peak_memory(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage))
		return 0;
	return (uint64_t)usage.ru_maxrss * 1024;
}

static uint64_t excluded(const struct verify_result *result)
{
	return result->excluded_unknown + result->excluded_iommu;
}

void report_verify_json(FILE *out, struct verify_result *result)
{
	struct spread commit = spread_of(result->commit_ns, result->commits);

	fprintf(out,
		"{\"publications\": %" PRIu64 ", \"views\": %" PRIu64
		", \"ranges\": %" PRIu64 ", \"accesses\": %" PRIu64
		", \"mismatches\": %" PRIu64
		", \"commits\": %zu, \"commit_ns\": {\"p50\": %" PRIu64
		", \"p99\": %" PRIu64 ", \"max\": %" PRIu64
		", \"total\": %" PRIu64
		"}, \"recorded_commit_ns_total\": %" PRIu64
		", \"rss_peak_bytes\": %" PRIu64 "}\n",
		result->publications, result->views, result->ranges,
		result->accesses, result->mismatches, result->commits,
		commit.p50, commit.p99, commit.max, commit.total,
		result->recorded_ns, peak_memory());
}

static void report_details(FILE *out, struct verify_result *result)
{
	struct spread commit = spread_of(result->commit_ns, result->commits);

	fprintf(out,
		"excluded: %" PRIu64
		" accesses in an unknown address space, %" PRIu64
		" through an iommu region\n",
		result->excluded_unknown, result->excluded_iommu);
	fprintf(out,
		"ioeventfds compared: %" PRIu64 "; address spaces compared a "
		"publication later: %" PRIu64 "\n",
		result->doorbells, result->deferred);
	if (result->events)
		fprintf(out,
			"events compared: %" PRIu64 "; unchanged ranges "
			"confirmed: %" PRIu64 "\n",
			result->events, result->nops);
	fprintf(out,
		"commits: %zu, thread time p50 %" PRIu64 " ns, p99 %" PRIu64
		" ns, max %" PRIu64 " ns, total %" PRIu64
		" ns; recorded total %" PRIu64 " ns\n",
		result->commits, commit.p50, commit.p99, commit.max,
		commit.total, result->recorded_ns);
	fprintf(out, "peak memory: %" PRIu64 " KiB\n", peak_memory() / 1024);
}

void report_verify(FILE *out, struct verify_result *result, bool verbose)
{
	if (verbose)
		report_details(out, result);
	fprintf(out,
		"publications %" PRIu64 "  views %" PRIu64 "  ranges %" PRIu64
		"  accesses %" PRIu64 "  excluded %" PRIu64
		"  mismatches %" PRIu64 "\n",
		result->publications, result->views, result->ranges,
		result->accesses, excluded(result), result->mismatches);
}
