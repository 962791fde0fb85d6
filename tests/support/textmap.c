/* SPDX-License-Identifier: BSD-3-Clause */
#include "textmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void text_add(struct text *text, const char *format, ...)
{
	va_list args;
	int n;

	for (;;) {
		size_t left = text->room - text->length;

		va_start(args, format);
		n = vsnprintf(text->chars ? text->chars + text->length : NULL,
			      left, format, args);
		va_end(args);
		assert_true(n >= 0);
		if ((size_t)n < left)
			break;
		text->room = 2 * (text->room + (size_t)n + 32);
		text->chars = realloc(text->chars, text->room);
		assert_non_null(text->chars);
	}
	text->length += (size_t)n;
}

const char *text_chars(const struct text *text)
{
	return text->chars ? text->chars : "";
}

void text_clear(struct text *text)
{
	text->length = 0;
	if (text->chars)
		text->chars[0] = '\0';
}

void text_free(struct text *text)
{
	free(text->chars);
	memset(text, 0, sizeof(*text));
}

struct line {
	uint64_t start;
	uint64_t last;
	const char *name;
	uint64_t offset;
	bool io;
	bool readonly;
	bool nonvolatile;
	uint8_t dirty_mask;
};

static void add_line(struct text *text, const struct line *line)
{
	text_add(text, "%016llx-%016llx %s @%llx%s%s%s",
		 (unsigned long long)line->start,
		 (unsigned long long)line->last, line->name,
		 (unsigned long long)line->offset, line->io ? " i/o" : "",
		 line->readonly ? " ro" : "", line->nonvolatile ? " nv" : "");
	if (line->dirty_mask)
		text_add(text, " dirty=%x", line->dirty_mask);
}

static bool is_io(enum mpl_region_kind kind, bool rom_mode)
{
	return kind == MPL_IO || (kind == MPL_ROM_DEVICE && !rom_mode);
}

void textmap_range(struct text *text, const struct mpl_flat_range *range)
{
	const char *name = mpl_region_name(range->region);
	enum mpl_region_kind kind = mpl_region_kind(range->region);
	struct line line = {
		.start = range->start,
		.last = range->last,
		.name = name ? name : "-",
		.offset = range->offset,
		.io = is_io(kind, range->rom_mode),
		.readonly = range->readonly,
		.nonvolatile = range->nonvolatile,
		.dirty_mask = range->dirty_mask,
	};

	add_line(text, &line);
}

static int add_range(void *arg, const struct mpl_flat_range *range)
{
	textmap_range(arg, range);
	text_add(arg, "\n");
	return 0;
}

void textmap_space(struct text *text, struct mpl_address_space *as)
{
	assert_int_equal(mpl_address_space_walk(as, add_range, text), 0);
}

void textmap_oracle(struct text *text, const struct model *model, int root,
		    bool trace_rules)
{
	struct oracle_range *view;
	size_t n = oracle_view(model, root, trace_rules, &view);

	for (size_t i = 0; i < n; i++) {
		const struct oracle_hit *hit = &view[i].hit;
		const struct model_region *r = &model->regions[hit->region];
		struct line line = {
			.start = view[i].start,
			.last = view[i].last,
			.name = r->name,
			.offset = hit->offset,
			.io = is_io(r->kind, hit->rom_mode),
			.readonly = hit->readonly,
			.nonvolatile = hit->nonvolatile,
			.dirty_mask = hit->dirty_mask,
		};

		add_line(text, &line);
		text_add(text, "\n");
	}
	free(view);
}

static size_t line_length(const char *at)
{
	return strcspn(at, "\n");
}

static const char *next_line(const char *at)
{
	at += line_length(at);
	return *at ? at + 1 : at;
}

static int widest(const char *at)
{
	int width = 8;

	for (; *at; at = next_line(at))
		if ((int)line_length(at) > width)
			width = (int)line_length(at);
	return width;
}

void textmap_compare(const char *title, const char *expected, const char *got,
		     const char *file, int line)
{
	int width = widest(expected);

	if (!strcmp(expected, got))
		return;
	print_error("%s\n    %-*s   got\n", title, width, "expected");
	while (*expected || *got) {
		size_t a = line_length(expected), b = line_length(got);
		bool same = a == b && !strncmp(expected, got, a);

		print_error("%s %-*.*s | %.*s\n", same ? "   " : "!=>", width,
			    (int)a, expected, (int)b, got);
		expected = next_line(expected);
		got = next_line(got);
	}
	_fail(file, line);
}
