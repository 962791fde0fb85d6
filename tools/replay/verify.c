/* SPDX-License-Identifier: BSD-3-Clause */
#include "verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void say(struct verify *verify, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct verify *verify, const char *format, ...)
{
	FILE *to = verify->options->say;
	va_list args;

	if (!to)
		return;
	fprintf(to, "%s:%" PRIu64 ": ", verify->failure->file,
		verify->failure->line);
	va_start(args, format);
	vfprintf(to, format, args);
	va_end(args);
	fputc('\n', to);
}

static int make_space(struct verify *verify)
{
	uint32_t id = verify->machine.announced.id;

	if (machine_space_new(&verify->machine))
		return -1;
	if (!verify->options->listener_log)
		return 0;
	return events_register(&verify->listeners, &verify->machine, id,
			       event_write, verify->options->listener_log);
}

/*
 * An as_init inside a transaction whose changes the producer has not
 * published, and for which it rendered nothing new: it took over a view from
 * the last publication.  So do we if we can, by leaving the transaction open.
 * Otherwise (what is pending decides what the new space shows) the
 * transaction is split here, and the new space is compared at the next
 * publication that shows all of it.
 */
static int publish_shared_space(struct verify *verify, uint32_t id)
{
	if (make_space(verify))
		return -1;
	if (compare_quietly(verify, id))
		return compare_all(verify);
	verify->result->deferred++;
	verify->stale = true;
	return machine_commit(&verify->machine);
}

static int publish_space(struct verify *verify)
{
	uint32_t id = verify->machine.announced.id;
	bool unpublished =
		verify->machine.changed || verify->machine.lists_changed;
	int compared;

	if (id && verify->machine.depth && unpublished && !verify->stale &&
	    !verify->expect.new_views)
		return publish_shared_space(verify, id);
	verify->stale |= unpublished;
	if (machine_commit(&verify->machine) || make_space(verify))
		return -1;
	/* Other spaces agree only if the producer has published all of it. */
	if (!verify->stale)
		return compare_all(verify);
	compared = compare_space(verify, id);
	return compared < 0 ? -1 : 0;
}

/*
 * Only the lists are computed anew.  Other mutations that are pending ask for
 * no publication, and so do not show until the next topology.
 */
static int publish_ioeventfds(struct verify *verify)
{
	verify->stale |= verify->machine.changed;
	if (machine_commit(&verify->machine))
		return -1;
	return verify->stale ? compare_lists(verify) : compare_all(verify);
}

static int publish_topology(struct verify *verify)
{
	verify->stale = false;
	if (machine_commit(&verify->machine))
		return -1;
	return compare_all(verify);
}

static void flush_events(struct verify *verify)
{
	const struct verify_options *options = verify->options;
	struct evcompare *evcompare = &verify->evcompare;
	uint64_t told = verify->result->mismatches;
	uint32_t left = told < options->say_max ? options->say_max - told : 0;

	if (!options->compare_events ||
	    (!evcompare->ours.count && !evcompare->recorded.count))
		return;
	verify->result->mismatches +=
		evcompare_flush(evcompare, &verify->expect, options->say, left);
	verify->result->events = evcompare->compared;
	verify->result->nops = evcompare->nops;
}

static int end_publication(struct verify *verify)
{
	const struct trace_publish *publish = &verify->expect.publish;
	int err = -1;

	if (publish->kind != PUBLISH_AS_INIT && verify->machine.announced.id)
		return failure_set(verify->failure,
				   "address space %u was not published",
				   verify->machine.announced.id);
	switch (publish->kind) {
	case PUBLISH_TOPOLOGY:
		err = publish_topology(verify);
		break;
	case PUBLISH_IOEVENTFD:
		err = publish_ioeventfds(verify);
		break;
	case PUBLISH_AS_INIT:
		err = publish_space(verify);
		break;
	}
	if (err)
		return -1;
	flush_events(verify);
	compare_accesses(verify, publish->seq);
	verify->result->publications++;
	verify->result->recorded_ns += publish->render + publish->apply;
	expect_done(&verify->expect);
	return 0;
}

static int begin_publication(struct verify *verify,
			     const struct trace_publish *publish)
{
	uint32_t id = verify->machine.announced.id;

	if (expect_begin(&verify->expect, publish))
		return -1;
	if (verify->options->compare_events &&
	    evcompare_before(&verify->evcompare, &verify->expect,
			     verify->failure))
		return -1;
	if (publish->kind == PUBLISH_AS_INIT && id)
		return expect_space_new(&verify->expect, id);
	return 0;
}

static int take_event(struct verify *verify, struct word text)
{
	struct event event;

	if (!verify->options->compare_events)
		return 0;
	if (event_parse(text, &event, verify->failure))
		return -1;
	if (event.space > verify->machine.spaces_count)
		return failure_set(verify->failure,
				   "there is no address space %u", event.space);
	if (event_list_add(&verify->evcompare.recorded, &event))
		return failure_set(verify->failure, "out of memory");
	return 0;
}

/* The trace tells by name which listener its events are of. */
static int take_listener(struct verify *verify,
			 const struct trace_space *record)
{
	if (!verify->options->compare_events ||
	    !word_is(record->name, "memtrace"))
		return 0;
	verify->evcompare.registered = true;
	return events_register(&verify->listeners, &verify->machine, record->id,
			       event_list_add, &verify->evcompare.ours);
}

static int take_outside(struct verify *verify, const struct record *record)
{
	/* The events of a registration end with the first other record. */
	if (record->type != REC_EVENT && verify->evcompare.registered)
		flush_events(verify);
	switch (record->type) {
	case REC_PUBLISH:
		return begin_publication(verify, &record->publish);
	case REC_EVENT:
		return take_event(verify, record->text);
	case REC_LISTENER_REGISTER:
		return take_listener(verify, &record->space);
	case REC_EOF:
		verify->at_eof = true;
		return 0;
	case REC_AS_DESTROY:
		if (machine_apply(&verify->machine, record))
			return -1;
		expect_space_end(&verify->expect, record->space.id);
		return 0;
	default:
		return machine_apply(&verify->machine, record);
	}
}

static int take(struct verify *verify, const struct record *record)
{
	if (!verify->expect.open)
		return take_outside(verify, record);
	if (expect_block(&verify->expect, record))
		return -1;
	return record->type == REC_END ? end_publication(verify) : 0;
}

/* A line that says how far we are, on a terminal, once a second. */
static void show_progress(struct verify *verify, bool done)
{
	static const char clear[] = "\r\033[K";
	struct timespec now;
	uint64_t seconds;

	if (!verify->options->progress)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	seconds = now.tv_sec;
	if (!verify->begun)
		verify->begun = verify->shown = seconds;
	if (done && verify->shown != verify->begun)
		fputs(clear, stderr);
	if (done || seconds == verify->shown)
		return;
	verify->shown = seconds;
	fprintf(stderr, "%s%" PRIu64 " publications, %" PRIu64 " mismatches",
		clear, verify->result->publications,
		verify->result->mismatches);
}

static int no_line(struct failure *failure)
{
	failure->line = 1;
	return failure_set(failure, "there is no complete line");
}

static int take_lines(struct verify *verify, struct lines *lines)
{
	const uint32_t limit = verify->options->limit;
	struct failure *failure = verify->failure;
	struct record record;
	const char *line;
	size_t len;
	int got;

	while ((got = lines_next(lines, &line, &len)) > 0) {
		if (failure->line == 1) {
			if (memtrace_check_header(line, len, failure))
				return -1;
			continue;
		}
		if (!len || *line == '#')
			continue;
		if (memtrace_parse(line, len, &record, failure) ||
		    take(verify, &record))
			return -1;
		if (!(failure->line & 0x3fff))
			show_progress(verify, false);
		if (verify->at_eof ||
		    (limit && verify->result->publications == limit))
			return 0;
	}
	if (!got && !failure->line)
		return no_line(failure);
	return got;
}

/* What is left when the last line is read. */
static int finish(struct verify *verify, struct lines *lines)
{
	const struct accesses *accesses = verify->accesses;
	bool limited = verify->options->limit &&
		       verify->result->publications == verify->options->limit;

	show_progress(verify, true);
	if (!verify->at_eof && !limited) {
		if (verify->options->strict)
			return failure_set(verify->failure,
					   "the trace was cut short");
		say(verify, "the trace was cut short%s%s",
		    lines_cut(lines) ? ", inside a line" : "",
		    verify->expect.open ? "; its last publication was not "
					  "verified" :
					  "");
	}
	if (machine_commit(&verify->machine))
		return -1;
	flush_events(verify);
	if (verify->evcompare.left) /* too late by now */
		flush_events(verify);
	if (accesses && accesses->next < accesses->count && verify->at_eof) {
		verify->failure->file = accesses->path;
		verify->failure->line = accesses->items[accesses->next].line;
		return failure_set(verify->failure,
				   "publication %u is not in the trace",
				   accesses->items[accesses->next].generation);
	}
	return 0;
}

static int run(struct verify *verify, struct lines *lines)
{
	int err;

	if (verify->accesses) {
		err = mpl_reader_register(verify->machine.plane,
					  &verify->reader);
		if (err)
			return failure_errno(verify->failure, "reader", err);
		compare_accesses(verify, 0);
	}
	if (take_lines(verify, lines))
		return -1;
	return finish(verify, lines);
}

int verify_lines(struct lines *lines, struct accesses *accesses,
		 const struct verify_options *options,
		 struct verify_result *result, struct failure *failure)
{
	struct verify verify = {
		.options = options,
		.result = result,
		.failure = failure,
		.accesses = accesses,
	};
	int err;

	*result = (struct verify_result){ 0 };
	if (machine_init(&verify.machine, &options->plane, failure))
		return -1;
	expect_init(&verify.expect, failure);
	err = run(&verify, lines);
	if (verify.reader)
		mpl_reader_unregister(verify.reader);
	result->commit_ns = verify.machine.commit_ns;
	result->commits = verify.machine.commits;
	verify.machine.commit_ns = NULL;
	machine_fini(&verify.machine);
	events_free(verify.listeners);
	expect_fini(&verify.expect);
	evcompare_fini(&verify.evcompare);
	free(verify.doorbells);
	return err;
}
