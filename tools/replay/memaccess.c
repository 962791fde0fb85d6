/* SPDX-License-Identifier: BSD-3-Clause */
#include "memaccess.h"

#include <errno.h>

#include "fields.h"
#include "lines.h"
#include "memtrace.h"
#include "memtrace_region.h"
#include "vec.h"

static int parse(const char *line, size_t len, struct access *access,
		 struct failure *failure)
{
	struct cursor c = { line, line + len, NULL };
	bool negative;

	while (!field_ends(&c))
		c.at++; /* TIME tells us nothing */
	access->generation = field_id(&c);
	negative = c.end - c.at > 1 && c.at[0] == ' ' && c.at[1] == '-';
	if (negative)
		field_word(&c); /* CPU -1: not a vCPU */
	else
		field_id(&c);
	access->space = field_id(&c);
	access->address = field_hex(&c);
	field_decimal(&c, 8);
	field_word(&c);
	field_hex(&c);
	access->region = field_id(&c);
	access->offset = field_hex(&c);
	field_decimal(&c, UINT32_MAX);
	field_decimal(&c, UINT32_MAX);
	if (!c.wrong && !field_ends(&c))
		c.wrong = "unexpected characters";
	if (c.wrong)
		return failure_set(failure, "access, field %d: %s",
				   memtrace_field(line, c.at), c.wrong);
	return 0;
}

static int load(struct accesses *accesses, struct lines *lines,
		struct failure *failure)
{
	struct access access = { 0 };
	const char *line;
	size_t len;
	int got;

	while ((got = lines_next(lines, &line, &len)) > 0) {
		if (failure->line == 1) {
			if (!word_is((struct word){ line, len }, "memaccess 1"))
				return failure_set(failure,
						   "the first line is not "
						   "\"memaccess 1\"");
			continue;
		}
		if (!len || *line == '#' ||
		    word_is((struct word){ line, len }, "eof"))
			continue;
		if (parse(line, len, &access, failure))
			return -1;
		access.line = failure->line;
		if (vec_reserve(&accesses->items, &accesses->cap,
				accesses->count + 1, sizeof(access)))
			return failure_errno(failure, "accesses", -ENOMEM);
		accesses->items[accesses->count++] = access;
	}
	if (!got && !failure->line)
		return failure_set(failure, "the file is empty");
	return got;
}

static int by_generation(const void *a_, const void *b_)
{
	const struct access *a = a_, *b = b_;

	if (a->generation != b->generation)
		return a->generation < b->generation ? -1 : 1;
	return a->line < b->line ? -1 : a->line > b->line;
}

int accesses_load(struct accesses *accesses, const char *path,
		  struct failure *failure)
{
	struct lines *lines;
	int err;

	*accesses = (struct accesses){ .path = path };
	if (lines_open(&lines, path, failure))
		return -1;
	err = load(accesses, lines, failure);
	lines_close(lines);
	if (err) {
		accesses_free(accesses);
		return -1;
	}
	if (accesses->count)
		qsort(accesses->items, accesses->count,
		      sizeof(*accesses->items), by_generation);
	return 0;
}

void accesses_free(struct accesses *accesses)
{
	free(accesses->items);
	accesses->items = NULL;
	accesses->count = 0;
}

size_t accesses_of(struct accesses *accesses, uint32_t generation,
		   const struct access **first)
{
	size_t begin = accesses->next, end = begin;

	while (end < accesses->count &&
	       accesses->items[end].generation <= generation)
		end++;
	*first = accesses->items + begin;
	accesses->next = end;
	return end - begin;
}
