/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Traces as text, or as zstd, through mpl-replay's reader and parser and the
 * library: whatever they are, the end is success or a failure with a reason,
 * and the map is what a full render says.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "tools/replay/lines.h"
#include "tools/replay/memtrace.h"
#include "tools/replay/verify.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return 0;
}

/* Each line by itself: also those that a replay does not come to. */
static void parse_lines(const uint8_t *data, size_t size)
{
	struct failure failure = { 0 };
	struct lines *lines;
	const char *line;
	size_t len;

	if (lines_open_buffer(&lines, "input", data, size, &failure))
		return;
	while (lines_next(lines, &line, &len) > 0) {
		struct failure reason = { 0 };
		struct record record;
		char name[16];

		if (memtrace_parse(line, len, &record, &reason)) {
			FUZZ_CHECK(reason.set && reason.text[0]);
			continue;
		}
		if (record.type != REC_REGION)
			continue;
		if (memtrace_unescape(record.region.name, name, sizeof(name),
				      &reason))
			FUZZ_CHECK(reason.set && reason.text[0]);
		else
			FUZZ_CHECK(strlen(name) < sizeof(name));
	}
	lines_close(lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct verify_options options = {
		.plane = { .trace_rules = true,
			   .max_spaces = 64,
			   .verify = true },
		.compare_events = true,
	};
	struct failure failure = { 0 };
	struct verify_result result = { 0 };
	struct lines *lines;
	int err;

	parse_lines(data, size);
	err = lines_open_buffer(&lines, "input", data, size, &failure);
	if (!err) {
		err = verify_lines(lines, NULL, &options, &result, &failure);
		lines_close(lines);
		free(result.commit_ns);
	}
	if (err) {
		FUZZ_CHECK(failure.set && failure.text[0]);
		FUZZ_CHECK(!strstr(failure.text, "full render"));
	}
	return 0;
}
