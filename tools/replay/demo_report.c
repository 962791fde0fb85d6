/* SPDX-License-Identifier: BSD-3-Clause */
#include "demo_report.h"

#include <inttypes.h>

#include "report.h"

struct sums {
	double lookups_per_s;
	uint64_t checks, unknown, mismatches;
	struct latency latency; /* ticks */
	struct timer timer;
};

static void sum_up(struct sums *sums, const struct demo_reader *readers,
		   unsigned int count)
{
	unsigned int i;

	*sums = (struct sums){ 0 };
	timer_calibrate(&sums->timer);
	for (i = 0; i < count; i++) {
		sums->lookups_per_s +=
			readers[i].lookups * 1e9 / (readers[i].ns + 1);
		sums->checks += readers[i].checks;
		sums->unknown += readers[i].unknown;
		sums->mismatches += readers[i].mismatches;
		latency_merge(&sums->latency, &readers[i].latency);
	}
}

static double lookup_ns(const struct sums *sums, double share)
{
	return latency_percentile(&sums->latency, share) *
	       sums->timer.ns_per_tick;
}

static double commits_per_s(const struct demo_totals *totals)
{
	return totals->commit.count * 1e9 / (totals->ns + 1);
}

static void report_json(FILE *out, const struct script *script,
			const struct demo_totals *totals,
			const struct sums *sums, unsigned int count)
{
	const struct latency *commit = &totals->commit;

	fprintf(out,
		"{\"publications\": %" PRIu64 ", \"views\": %zu"
		", \"ranges\": %zu, \"accesses\": %" PRIu64
		", \"mismatches\": %" PRIu64 ", \"readers\": %u"
		", \"lookups_per_s\": %.0f"
		", \"lookup_ns\": {\"p50\": %.1f, \"p99\": %.1f"
		", \"p999\": %.1f, \"max\": %.1f}"
		", \"commits\": %" PRIu64 ", \"commits_per_s\": %.0f"
		", \"commit_ns\": {\"p50\": %" PRIu64 ", \"p99\": %" PRIu64
		", \"max\": %" PRIu64 ", \"total\": %" PRIu64 "}"
		", \"recorded_commit_ns_total\": %" PRIu64
		", \"retired_bytes_peak\": %" PRIu64
		", \"rss_peak_bytes\": %" PRIu64 "}\n",
		totals->publications, script->views_count, script->ranges,
		sums->checks, sums->mismatches, count, sums->lookups_per_s,
		lookup_ns(sums, 0.5), lookup_ns(sums, 0.99),
		lookup_ns(sums, 0.999), lookup_ns(sums, 1), commit->count,
		commits_per_s(totals), latency_percentile(commit, 0.5),
		latency_percentile(commit, 0.99), commit->max, commit->total,
		script->recorded_ns, totals->stats.retired_bytes_peak,
		peak_memory());
}

static void report_readers(FILE *out, const struct demo_reader *readers,
			   unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		fprintf(out, "reader %-3u        %12.2f million look-ups/s\n",
			i, readers[i].lookups * 1e3 / (readers[i].ns + 1));
}

static void report_table(FILE *out, const struct script *script,
			 const struct demo_totals *totals,
			 const struct sums *sums)
{
	const struct latency *commit = &totals->commit;

	fprintf(out, "all readers       %12.2f million look-ups/s\n",
		sums->lookups_per_s / 1e6);
	fprintf(out,
		"look-up           p50 %.0f ns  p99 %.0f ns  p99.9 %.0f ns  "
		"max %.0f ns\n"
		"                  (1 in 64, %.0f ns of each are the "
		"timer's)\n",
		lookup_ns(sums, 0.5), lookup_ns(sums, 0.99),
		lookup_ns(sums, 0.999), lookup_ns(sums, 1),
		sums->timer.cost * sums->timer.ns_per_tick);
	fprintf(out,
		"commits           %12.0f /s  (%" PRIu64
		" publications, %.1f times the trace)\n",
		commits_per_s(totals), totals->publications,
		(double)totals->publications / script->publications);
	fprintf(out,
		"commit            p50 %.1f us  p99 %.1f us  max %.1f us\n",
		latency_percentile(commit, 0.5) / 1e3,
		latency_percentile(commit, 0.99) / 1e3, commit->max / 1e3);
	fprintf(out,
		"retired memory    peak %" PRIu64 " KiB, waiting now %" PRIu64
		" KiB; process peak %" PRIu64 " KiB\n",
		totals->stats.retired_bytes_peak / 1024,
		totals->stats.retired_bytes / 1024, peak_memory() / 1024);
}

static void report_checks(FILE *out, const struct sums *sums)
{
	fprintf(out,
		"mismatches        %" PRIu64 " in %" PRIu64
		" spot checks against the recorded views\n",
		sums->mismatches, sums->checks);
}

int demo_report(FILE *out, const struct args *args, const struct script *script,
		const struct demo_totals *totals,
		const struct demo_reader *readers, unsigned int count)
{
	struct sums sums;

	sum_up(&sums, readers, count);
	if (args->json) {
		report_json(out, script, totals, &sums, count);
		return sums.mismatches ? 1 : 0;
	}
	report_readers(out, readers, count);
	report_table(out, script, totals, &sums);
	if (args->verbose)
		fprintf(out,
			"not checked       %" PRIu64
			" (between two publications)\n",
			sums.unknown);
	report_checks(out, &sums);
	return sums.mismatches ? 1 : 0;
}
