/* SPDX-License-Identifier: BSD-3-Clause */
#include "args.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define READERS_MAX 256

/* clang-format off: the text shows its own lines. */
static const char help[] =
	"usage: mpl-replay [options] TRACE\n"
	"\n"
	"Replays a recorded machine (memtrace, plain or zstd) through the "
	"library.\n"
	"\n"
	"  --verify             compare every publication with what was "
	"recorded\n"
	"  --access FILE        the accesses recorded beside it (memaccess)\n"
	"  --compare-events     compare listener events with the trace's `ev` "
	"lines\n"
	"  --listener-log FILE  write the events of a listener on each address "
	"space\n"
	"  --limit N            stop after N publications (demo: default "
	"3000)\n"
	"  --full-rebuild       every commit renders everything anew\n"
	"  --check              the library checks each commit against a full "
	"render\n"
	"  --strict             a trace that was cut short is an error\n"
	"  --json               one JSON object instead of text\n"
	"  --verbose            say more\n"
	"\n"
	"Without --verify it is a demo: readers look the recorded addresses up "
	"as fast\n"
	"as they can while the topology is replayed in a loop.\n"
	"\n"
	"  --readers N          reader threads (default: cores minus one, at "
	"least 1)\n"
	"  --seconds S          how long (default 5)\n"
	"  --inline             commit in the caller's thread, not a control "
	"thread\n"
	"\n"
	"The last line of --verify counts P publications and V recorded views "
	"that were\n"
	"compared, R ranges and A accesses that were compared one by one, E "
	"accesses\n"
	"that cannot be (through an iommu, or in an unknown address space), "
	"and M\n"
	"comparisons (a view, an ioeventfd list, an access, an event) that "
	"differ.\n"
	"\n"
	"Exit status: 0 all agrees, 1 something differs, 2 bad input or "
	"usage.\n";
/* clang-format on */

enum option_id {
	OPT_VERIFY = 256,
	OPT_ACCESS,
	OPT_EVENTS,
	OPT_LOG,
	OPT_LIMIT,
	OPT_FULL,
	OPT_CHECK,
	OPT_STRICT,
	OPT_JSON,
	OPT_VERBOSE,
	OPT_READERS,
	OPT_SECONDS,
	OPT_INLINE,
	OPT_HELP,
};

static const struct option options[] = {
	{ "verify", no_argument, NULL, OPT_VERIFY },
	{ "access", required_argument, NULL, OPT_ACCESS },
	{ "compare-events", no_argument, NULL, OPT_EVENTS },
	{ "listener-log", required_argument, NULL, OPT_LOG },
	{ "limit", required_argument, NULL, OPT_LIMIT },
	{ "full-rebuild", no_argument, NULL, OPT_FULL },
	{ "check", no_argument, NULL, OPT_CHECK },
	{ "strict", no_argument, NULL, OPT_STRICT },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ "readers", required_argument, NULL, OPT_READERS },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "inline", no_argument, NULL, OPT_INLINE },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

static int number(const char *name, const char *text, double min, double max,
		  double *out)
{
	char *end;

	*out = strtod(text, &end);
	if (end != text && !*end && *out >= min && *out <= max)
		return 0;
	fprintf(stderr,
		"mpl-replay: --%s takes a number from %.10g to %.10g, not "
		"\"%s\"\n",
		name, min, max, text);
	return -1;
}

static int take(struct args *args, int option, const char *value)
{
	double n;

	switch (option) {
	case OPT_VERIFY:
		args->verify = true;
		return 0;
	case OPT_ACCESS:
		args->access = value;
		return 0;
	case OPT_EVENTS:
		args->compare_events = true;
		return 0;
	case OPT_LOG:
		args->listener_log = value;
		return 0;
	case OPT_LIMIT:
		if (number("limit", value, 1, UINT32_MAX, &n))
			return -1;
		args->limit = n;
		return 0;
	case OPT_FULL:
		args->full_rebuild = true;
		return 0;
	case OPT_CHECK:
		args->check = true;
		return 0;
	case OPT_STRICT:
		args->strict = true;
		return 0;
	case OPT_JSON:
		args->json = true;
		return 0;
	case OPT_VERBOSE:
		args->verbose = true;
		return 0;
	case OPT_READERS:
		if (number("readers", value, 1, READERS_MAX, &n))
			return -1;
		args->readers = n;
		return 0;
	case OPT_SECONDS:
		return number("seconds", value, 0.01, 1e6, &args->seconds);
	case OPT_INLINE:
		args->inline_commits = true;
		return 0;
	default:
		return -1;
	}
}

int args_parse(struct args *args, int argc, char **argv)
{
	int option;

	*args = (struct args){ .seconds = 5 };
	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == OPT_HELP) {
			fputs(help, stdout);
			return 1;
		}
		if (take(args, option, optarg)) {
			fputs("mpl-replay: --help lists the options\n",
			      stderr);
			return -1;
		}
	}
	if (optind + 1 != argc) {
		fputs("mpl-replay: name one trace (try --help)\n", stderr);
		return -1;
	}
	args->trace = argv[optind];
	/* Both are about what comes out of a verified replay. */
	args->verify |= args->compare_events || args->listener_log;
	return 0;
}
