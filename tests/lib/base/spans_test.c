/* SPDX-License-Identifier: BSD-3-Clause */
/* Sets of ranges against a bitmap of few numbers. */
#include "lib/base/spans.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NUMBERS = 40 };

static void assert_like(const struct mpl_spans *spans, const bool *model)
{
	size_t at = 0;

	for (unsigned int i = 0; i < NUMBERS;) {
		unsigned int end = i;

		while (end < NUMBERS && model[end] == model[i])
			end++;
		if (model[i]) {
			assert_true(at < spans->count);
			assert_int_equal(spans->items[at].start, i);
			assert_int_equal(spans->items[at].last, end - 1);
			at++;
		}
		i = end;
	}
	assert_int_equal(at, spans->count);
}

/* The lowest run of `in` in [start, last], the slow way. */
static bool slow_part(const bool *model, bool in, unsigned int start,
		      unsigned int last, struct mpl_span *part)
{
	unsigned int i = start;

	while (i <= last && model[i] != in)
		i++;
	if (i > last)
		return false;
	part->start = i;
	while (i < last && model[i + 1] == in)
		i++;
	part->last = i;
	return true;
}

static void test_random(void **state)
{
	struct mpl_spans spans = { 0 };
	bool model[NUMBERS] = { false };

	(void)state;
	srand(7);
	for (unsigned int round = 0; round < 20000; round++) {
		unsigned int start = (unsigned int)rand() % NUMBERS;
		unsigned int last =
			start + (unsigned int)rand() % (NUMBERS - start);
		struct mpl_span got, wanted;
		bool in = rand() % 2;
		bool any = slow_part(model, in, start, last, &wanted);

		assert_int_equal(mpl_spans_part(&spans, in, start, last, &got),
				 any);
		if (any) {
			assert_int_equal(got.start, wanted.start);
			assert_int_equal(got.last, wanted.last);
		}
		if (rand() % 4 == 0)
			last = start;
		assert_int_equal(mpl_spans_reserve(&spans), 0);
		if (in)
			mpl_spans_add(&spans, start, last);
		else
			mpl_spans_cut(&spans, start, last);
		memset(model + start, in, last - start + 1);
		assert_like(&spans, model);
	}
	free(spans.items);
}

static void test_ends(void **state)
{
	struct mpl_spans spans = { 0 };
	struct mpl_span part;

	(void)state;
	assert_int_equal(mpl_spans_reserve(&spans), 0);
	mpl_spans_add(&spans, UINT64_MAX - 1, UINT64_MAX);
	assert_int_equal(mpl_spans_reserve(&spans), 0);
	mpl_spans_add(&spans, 0, 0);
	assert_int_equal(spans.count, 2);
	assert_true(mpl_spans_part(&spans, 0, 0, UINT64_MAX, &part));
	assert_int_equal(part.start, 1);
	assert_int_equal(part.last, UINT64_MAX - 2);
	assert_int_equal(mpl_spans_reserve(&spans), 0);
	mpl_spans_add(&spans, 1, UINT64_MAX - 2);
	assert_int_equal(spans.count, 1);
	assert_false(mpl_spans_part(&spans, 0, 0, UINT64_MAX, &part));
	mpl_spans_cut(&spans, 0, UINT64_MAX);
	assert_int_equal(spans.count, 0);
	free(spans.items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
