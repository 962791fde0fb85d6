/* SPDX-License-Identifier: BSD-3-Clause */
#include "recording.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tools/replay/fields.h"
#include "../tools/replay/lines.h"
#include "../tools/replay/vec.h"

#define PATH_LEN 256

/* One line of a memaccess file. */
struct access_line {
	uint32_t seq, space, region;
	int reader;
	uint16_t size;
	uint64_t gpa;
};

static int read_processor(struct cursor *cursor)
{
	struct word word = field_word(cursor);
	int number = 0;

	if (word.len && *word.at == '-')
		return -1;
	for (size_t i = 0; i < word.len; i++)
		number = number * 10 + (word.at[i] - '0');
	return number;
}

/* TIME GEN CPU AS ADDR SIZE OP VALUE REGION ...; false if it is none. */
static bool parse_access(const char *line, size_t len,
			 struct access_line *access)
{
	const char *blank = memchr(line, ' ', len);
	struct cursor cursor = { blank, line + len, NULL };

	if (!blank)
		return false;
	access->seq = field_id(&cursor);
	access->reader = read_processor(&cursor);
	access->space = field_id(&cursor);
	access->gpa = field_hex(&cursor);
	access->size = (uint16_t)field_decimal(&cursor, 8);
	field_word(&cursor);
	field_hex(&cursor);
	access->region = field_id(&cursor);
	return !cursor.wrong;
}

/* Call `fn` for every access line; its non-zero result ends that. */
static int each_access(const char *path, struct failure *failure,
		       int (*fn)(void *arg, const struct access_line *access),
		       void *arg)
{
	struct access_line access;
	struct lines *lines;
	const char *line;
	size_t len;
	int more;
	int err = 0;

	if (lines_open(&lines, path, failure))
		return -EIO;
	more = lines_next(lines, &line, &len);
	if (more != 1 || len < 9 || memcmp(line, "memaccess", 9))
		err = -EILSEQ;
	while (!err && (more = lines_next(lines, &line, &len)) == 1) {
		if (len && *line != '#' && parse_access(line, len, &access))
			err = fn(arg, &access);
	}
	if (!err && more < 0)
		err = -EIO;
	lines_close(lines);
	return err;
}

/* First pass: which publication has most accesses? */
struct tally {
	size_t *counts; /* by publication */
	size_t cap;
};

static int tally_access(void *arg, const struct access_line *access)
{
	struct tally *tally = arg;

	if (vec_reserve(&tally->counts, &tally->cap, access->seq + 1UL,
			sizeof(*tally->counts)))
		return -ENOMEM;
	tally->counts[access->seq]++;
	return 0;
}

static int find_busiest(const char *path, struct failure *failure,
			uint32_t *out)
{
	struct tally tally = { NULL, 0 };
	int err = each_access(path, failure, tally_access, &tally);
	size_t best = 0;

	for (size_t i = 0; i < tally.cap; i++) {
		if (tally.counts[i] > tally.counts[best])
			best = i;
	}
	free(tally.counts);
	if (!err && !tally.cap)
		err = -EILSEQ;
	*out = (uint32_t)best;
	return err;
}

/* The trace up to a publication. */
struct history {
	struct recording *recording;
	struct recorded_view *views; /* by number */
	size_t views_cap;
	uint32_t *uses; /* by address space: the number of its view */
	size_t uses_cap;
	size_t kinds_cap;
	struct recorded_view *open; /* gets `r` records */
	size_t filled, tail;
	const struct recorded_view *base;
};

static int begin_view(struct history *history, const struct trace_view *view)
{
	struct recorded_view *made;

	if (vec_reserve(&history->views, &history->views_cap, view->id + 1UL,
			sizeof(*history->views)))
		return -ENOMEM;
	if (view->base >= history->views_cap || view->base == view->id ||
	    (uint64_t)view->head + view->tail > view->count ||
	    view->head > history->views[view->base].count ||
	    view->tail > history->views[view->base].count)
		return -EILSEQ;
	made = &history->views[view->id];
	history->base = &history->views[view->base];
	free(made->ranges);
	made->ranges = calloc(view->count + 1UL, sizeof(*made->ranges));
	if (!made->ranges)
		return -ENOMEM;
	made->id = view->id;
	made->count = view->count;
	if (view->head)
		memcpy(made->ranges, history->base->ranges,
		       view->head * sizeof(*made->ranges));
	if (view->tail)
		memcpy(made->ranges + view->count - view->tail,
		       history->base->ranges + history->base->count -
			       view->tail,
		       view->tail * sizeof(*made->ranges));
	history->open = made;
	history->filled = view->head;
	history->tail = view->tail;
	return 0;
}

static int add_range(struct history *history, const struct trace_range *range)
{
	struct recorded_view *view = history->open;

	if (!view || history->filled >= view->count - history->tail ||
	    range->region >= history->recording->kinds_count)
		return -EILSEQ;
	view->ranges[history->filled++] = *range;
	return 0;
}

static int note_record(struct history *history, const struct record *record)
{
	struct recording *recording = history->recording;

	switch (record->type) {
	case REC_REGION:
		if (vec_reserve(&recording->kinds, &history->kinds_cap,
				record->region.id + 1UL, 1))
			return -ENOMEM;
		recording->kinds[record->region.id] = record->region.kind;
		recording->kinds_count = history->kinds_cap;
		return 0;
	case REC_VIEW:
		return begin_view(history, &record->view);
	case REC_RANGE:
		return add_range(history, &record->range);
	case REC_USE:
		if (vec_reserve(&history->uses, &history->uses_cap,
				record->pair.space + 1UL,
				sizeof(*history->uses)))
			return -ENOMEM;
		history->uses[record->pair.space] = record->pair.value;
		return 0;
	default:
		return 0;
	}
}

static int read_history(const char *path, struct failure *failure,
			struct history *history)
{
	struct record record;
	struct lines *lines;
	const char *line;
	size_t len;
	int err = 0;

	if (lines_open(&lines, path, failure))
		return -EIO;
	if (lines_next(lines, &line, &len) != 1 ||
	    memtrace_check_header(line, len, failure))
		err = -EILSEQ;
	while (!err) {
		if (lines_next(lines, &line, &len) != 1 ||
		    memtrace_parse(line, len, &record, failure))
			err = -EILSEQ;
		else if (record.type == REC_END &&
			 record.publish.seq == history->recording->seq)
			break;
		else
			err = note_record(history, &record);
	}
	lines_close(lines);
	return err;
}

/* Second pass over the accesses: keep those of the publication. */
static const struct trace_range *find_range(const struct recorded_view *view,
					    uint64_t gpa)
{
	size_t low = 0, high = view->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct trace_range *range = &view->ranges[middle];

		if (gpa < range->start)
			high = middle;
		else if (gpa > range->last)
			low = middle + 1;
		else
			return range;
	}
	return NULL;
}

static int take_view(struct history *history, uint32_t id, uint32_t *out)
{
	struct recording *recording = history->recording;
	struct recorded_view *views;

	for (size_t i = 0; i < recording->views_count; i++) {
		if (recording->views[i].id == id) {
			*out = (uint32_t)i;
			return 0;
		}
	}
	if (id >= history->views_cap || !history->views[id].ranges)
		return -EILSEQ;
	views = reallocarray(recording->views, recording->views_count + 1,
			     sizeof(*views));
	if (!views)
		return -ENOMEM;
	recording->views = views;
	views[recording->views_count] = history->views[id];
	history->views[id].ranges = NULL;
	*out = (uint32_t)recording->views_count++;
	return 0;
}

static int take_space(struct history *history, uint32_t id, uint32_t *out)
{
	struct recording *recording = history->recording;
	struct recorded_space *spaces;
	uint32_t view;
	int err;

	for (size_t i = 0; i < recording->spaces_count; i++) {
		if (recording->spaces[i].id == id) {
			*out = (uint32_t)i;
			return 0;
		}
	}
	if (id >= history->uses_cap)
		return -EILSEQ;
	err = take_view(history, history->uses[id], &view);
	if (err)
		return err;
	spaces = reallocarray(recording->spaces, recording->spaces_count + 1,
			      sizeof(*spaces));
	if (!spaces)
		return -ENOMEM;
	recording->spaces = spaces;
	spaces[recording->spaces_count] = (struct recorded_space){ id, view, 0 };
	*out = (uint32_t)recording->spaces_count++;
	return 0;
}

static int keep_access(void *arg, const struct access_line *line)
{
	struct history *history = arg;
	struct recording *recording = history->recording;
	struct recorded_access *access;
	const struct trace_range *range;
	uint32_t space;
	int err;

	if (line->seq != recording->seq || !line->space)
		return 0;
	err = take_space(history, line->space, &space);
	if (err)
		return err;
	range = find_range(&recording->views[recording->spaces[space].view],
			   line->gpa);
	/* What an iommu leads to is not in this view. */
	if (range && range->region != line->region &&
	    recording->kinds[range->region] != MPL_IOMMU)
		return -EILSEQ;
	access = &recording->accesses[recording->count++];
	access->gpa = line->gpa;
	access->space = space;
	access->reader = (uint16_t)(line->reader + 1);
	access->size = line->size;
	recording->spaces[space].accesses++;
	if (access->reader >= recording->readers)
		recording->readers = access->reader + 1U;
	return 0;
}

static int count_access(void *arg, const struct access_line *line)
{
	struct recording *recording = arg;

	recording->count += line->seq == recording->seq;
	return 0;
}

static int load(struct history *history, const char *trace, const char *log,
		struct failure *failure)
{
	struct recording *recording = history->recording;
	int err = find_busiest(log, failure, &recording->seq);

	if (!err)
		err = read_history(trace, failure, history);
	if (!err)
		err = each_access(log, failure, count_access, recording);
	if (err)
		return err;
	recording->accesses = calloc(recording->count,
				     sizeof(*recording->accesses));
	if (!recording->accesses)
		return -ENOMEM;
	recording->count = 0;
	return each_access(log, failure, keep_access, history);
}

int recording_load(const char *base, struct recording **out)
{
	struct recording *recording = calloc(1, sizeof(*recording));
	struct history history = { .recording = recording };
	struct failure failure = { 0 };
	char trace[PATH_LEN], log[PATH_LEN];
	int err;

	if (!recording)
		return -ENOMEM;
	snprintf(trace, sizeof(trace), "%s.mt.zst", base);
	snprintf(log, sizeof(log), "%s.acc.zst", base);
	if (access(trace, R_OK) || access(log, R_OK))
		err = -ENOENT;
	else
		err = load(&history, trace, log, &failure);
	for (size_t i = 0; i < history.views_cap; i++)
		free(history.views[i].ranges);
	free(history.views);
	free(history.uses);
	if (failure.set)
		fprintf(stderr, "%s:%llu: %s\n", failure.file,
			(unsigned long long)failure.line, failure.text);
	if (err)
		recording_free(recording);
	else
		*out = recording;
	return err;
}

void recording_free(struct recording *recording)
{
	for (size_t i = 0; i < recording->views_count; i++)
		free(recording->views[i].ranges);
	free(recording->views);
	free(recording->spaces);
	free(recording->accesses);
	free(recording->kinds);
	free(recording);
}
