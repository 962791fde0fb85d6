/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flat views as text, one range a line:
 *
 *     0000000000000000-00000000bfffffff ram @0
 *     00000000fe000000-00000000fe000fff uart @20 i/o ro nv dirty=1
 *
 * region name, offset in it (hexadecimal), then what is out of the ordinary:
 * i/o (callbacks, also of a ROM device outside of its memory mode), ro, nv,
 * and the dirty-log mask.
 */
#ifndef TESTS_SUPPORT_TEXTMAP_H
#define TESTS_SUPPORT_TEXTMAP_H

#include "oracle.h"

/* A string that grows. */
struct text {
	char *chars; /* always ended by a NUL; NULL while empty */
	size_t length;
	size_t room;
};

void text_add(struct text *text, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
const char *text_chars(const struct text *text);
void text_clear(struct text *text);
void text_free(struct text *text);

/* One range as a line, without its newline. */
void textmap_range(struct text *text, const struct mpl_flat_range *range);

/* What the plane shows, and what the oracle says.  Both append. */
void textmap_space(struct text *text, struct mpl_address_space *as);
void textmap_oracle(struct text *text, const struct model *model, int root,
		    bool trace_rules);

/* Fail the running cmocka test, showing both side by side, if they differ. */
void textmap_compare(const char *title, const char *expected, const char *got,
		     const char *file, int line);

#endif
