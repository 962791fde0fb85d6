/* SPDX-License-Identifier: BSD-3-Clause */
/* mpl-replay: recorded machines through the library. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "args.h"
#include "demo.h"
#include "report.h"

/* A recorded machine may have many doorbells; each takes two descriptors. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	/* If not, the trace says so where it runs out. */
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void library_log(void *opaque, enum mpl_log_level level,
			const char *line)
{
	(void)opaque;
	if (level <= MPL_LOG_WARNING)
		fprintf(stderr, "mpl-replay: %s\n", line);
}

static int verify_with(const struct args *args, FILE *listener_log,
		       struct accesses *accesses, struct failure *failure)
{
	struct verify_options options = {
		.plane = {
			.max_spaces = 65536,
			.trace_rules = true,
			.full_rebuild = args->full_rebuild,
			.verify = args->check,
			.log = library_log,
		},
		.limit = args->limit,
		.compare_events = args->compare_events,
		.strict = args->strict,
		.progress = isatty(STDERR_FILENO),
		.listener_log = listener_log,
		.say = stderr,
		.say_max = args->verbose ? UINT32_MAX : 10,
	};
	struct verify_result result;
	struct lines *lines;
	int err;

	if (lines_open(&lines, args->trace, failure))
		return -1;
	err = verify_lines(lines, accesses, &options, &result, failure);
	lines_close(lines);
	if (!err && args->json)
		report_verify_json(stdout, &result);
	else if (!err)
		report_verify(stdout, &result, args->verbose);
	free(result.commit_ns);
	if (err)
		return -1;
	return result.mismatches ? 1 : 0;
}

/* A log that could not be written is why a commit failed, if one did. */
static int close_log(FILE *log, const char *name, int status,
		     struct failure *failure)
{
	bool broken = ferror(log);

	if (!fclose(log) && !broken)
		return status;
	if (status < 0 && !broken)
		return status;
	*failure = (struct failure){ .file = name };
	return failure_system(failure, "cannot write", broken ? -EIO : -errno);
}

static int verify(const struct args *args, struct failure *failure)
{
	struct accesses accesses = { 0 };
	FILE *log = NULL;
	int status;

	if (args->access && accesses_load(&accesses, args->access, failure))
		return -1;
	if (args->listener_log) {
		log = fopen(args->listener_log, "w");
		if (!log) {
			failure->file = args->listener_log;
			status =
				failure_system(failure, "cannot write", -errno);
			goto out;
		}
	}
	status = verify_with(args, log, args->access ? &accesses : NULL,
			     failure);
	if (log)
		status = close_log(log, args->listener_log, status, failure);
out:
	accesses_free(&accesses);
	return status;
}

int main(int argc, char **argv)
{
	struct failure failure = { 0 };
	struct args args;
	int status = args_parse(&args, argc, argv);

	if (status)
		return status < 0 ? 2 : 0;
	raise_file_limit();
	status = args.verify ? verify(&args, &failure) :
			       demo_run(&args, &failure);
	if (status >= 0 && (fflush(stdout) || ferror(stdout))) {
		fprintf(stderr, "mpl-replay: cannot write the result: %s\n",
			strerror(errno));
		return 2;
	}
	if (status >= 0)
		return status;
	fprintf(stderr, "%s:%" PRIu64 ": %s\n", failure.file, failure.line,
		failure.text);
	return 2;
}
