/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct heard {
	unsigned int lines;
	enum mpl_log_level level;
	char line[1024];
};

static void hear(void *opaque, enum mpl_log_level level, const char *line)
{
	struct heard *heard = opaque;

	heard->lines++;
	heard->level = level;
	snprintf(heard->line, sizeof(heard->line), "%s", line);
}

static void test_line(void **state)
{
	struct heard heard = { 0 };
	const struct mpl_log log = { .fn = hear, .opaque = &heard };

	(void)state;
	mpl_log(&log, MPL_LOG_WARNING, "%s has %d of %#x", "it", -3, 0x10u);
	assert_int_equal(heard.lines, 1);
	assert_int_equal(heard.level, MPL_LOG_WARNING);
	assert_string_equal(heard.line, "it has -3 of 0x10");
	mpl_log(&log, MPL_LOG_ERROR, "%%");
	assert_int_equal(heard.lines, 2);
	assert_int_equal(heard.level, MPL_LOG_ERROR);
	assert_string_equal(heard.line, "%");
}

/* Without a callback there is no line, and no harm. */
static void test_nobody_listens(void **state)
{
	const struct mpl_log log = { 0 };

	(void)state;
	mpl_log(&log, MPL_LOG_ERROR, "%s", "unheard");
}

/* A line that is too long is cut, never overrun. */
static void test_long_line(void **state)
{
	struct heard heard = { 0 };
	const struct mpl_log log = { .fn = hear, .opaque = &heard };
	char text[900];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	mpl_log(&log, MPL_LOG_INFO, "%s", text);
	assert_int_equal(heard.lines, 1);
	assert_in_range(strlen(heard.line), 100, sizeof(text) - 1);
	assert_int_equal(strspn(heard.line, "x"), strlen(heard.line));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_long_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
