/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Verifying: replay a trace and compare every publication with what was
 * recorded.  Nothing here knows of files or of stdout, so that a test may
 * feed it buffers.
 */
#ifndef REPLAY_VERIFY_H
#define REPLAY_VERIFY_H

#include <stdio.h>

#include "evcompare.h"
#include "events.h"
#include "expect.h"
#include "lines.h"
#include "machine.h"
#include "memaccess.h"

struct verify_options {
	struct mpl_plane_config plane;
	uint32_t limit; /* publications; 0: all */
	bool compare_events;
	bool strict;
	bool progress;
	FILE *listener_log; /* NULL: none */
	FILE *say;          /* mismatches and warnings; NULL: nowhere */
	uint32_t say_max;   /* mismatches told in full */
};

struct verify_result {
	uint64_t publications, views, ranges, accesses, mismatches;
	uint64_t excluded_unknown, excluded_iommu;
	uint64_t doorbells; /* entries of ioeventfd lists compared */
	uint64_t deferred;  /* spaces compared only one publication later */
	uint64_t events;    /* compared with recorded ones */
	uint64_t nops;      /* recorded ones found to be true */
	uint64_t recorded_ns;
	uint64_t *commit_ns; /* the caller's to free */
	size_t commits;
};

struct verify {
	const struct verify_options *options;
	struct verify_result *result;
	struct failure *failure;
	struct machine machine;
	struct expect expect;
	struct accesses *accesses; /* NULL: none */
	struct mpl_reader *reader; /* for the accesses; offline between */
	struct events *listeners;  /* one per address space that has some */
	struct evcompare evcompare;
	bool stale;            /* shows more than the producer has published */
	bool at_eof;           /* the trace's own eof */
	uint64_t begun, shown; /* seconds, for the progress line */
	struct trace_ioeventfd *doorbells; /* work space for comparing */
	size_t doorbells_count, doorbells_cap;
};

/* 0, or -1 with failure set; mismatches are in the result. */
int verify_lines(struct lines *lines, struct accesses *accesses,
		 const struct verify_options *options,
		 struct verify_result *result, struct failure *failure);

/*
 * compare.c: one address space with what is recorded for it.  compare_space()
 * returns the number of differences found, compare_all() -1 on failure.
 */
int compare_space(struct verify *verify, uint32_t id);
int compare_all(struct verify *verify);
/* The ioeventfd lists of all address spaces, not their views. */
int compare_lists(struct verify *verify);
/* Does the view agree?  Says nothing. */
bool compare_quietly(struct verify *verify, uint32_t id);
/* The accesses made after publication `seq`. */
void compare_accesses(struct verify *verify, uint32_t seq);

/* May this mismatch, the next one, be told in full? */
bool verify_may_say(struct verify *verify);

#endif
