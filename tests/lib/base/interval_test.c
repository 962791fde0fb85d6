/* SPDX-License-Identifier: BSD-3-Clause */
/* The interval tree against a plain array, and its own invariants. */
#include "lib/base/interval.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX 400

struct model {
	struct mpl_interval_tree tree;
	struct mpl_interval nodes[MAX];
	bool in[MAX];
	size_t count;
};

static uint64_t random64(void)
{
	return (uint64_t)random() << 42 ^ (uint64_t)random() << 21 ^
	       (uint64_t)random();
}

/* Small numbers, so that overlaps and duplicates are frequent; and edges. */
static uint64_t random_address(void)
{
	static const uint64_t edges[] = {
		0, 1, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63,
		(UINT64_C(1) << 63) - 1,
	};

	switch (random() % 8) {
	case 0:
		return edges[(size_t)random() % 6];
	case 1:
		return random64();
	case 2:
		return UINT64_MAX - (uint64_t)random() % 50;
	default:
		return (uint64_t)random() % 300;
	}
}

static void random_range(uint64_t *start, uint64_t *last)
{
	*start = random_address();
	*last = random() % 4 ? *start + (uint64_t)random() % 20 :
			       random_address();
	if (*last < *start) {
		uint64_t swap = *start;

		*start = *last;
		*last = swap;
	}
}

static bool overlaps(const struct mpl_interval *node, uint64_t start,
		     uint64_t last)
{
	return node->start <= last && node->last >= start;
}

/* Order, greatest last, heights, balance; returns the number of nodes. */
static size_t check_subtree(const struct mpl_interval *at,
			    const struct mpl_interval **before)
{
	uint64_t max;
	int left, right;
	size_t n = 1;

	if (!at)
		return 0;
	n += check_subtree(at->left, before);
	if (*before) {
		assert_true((*before)->start <= at->start);
		if ((*before)->start == at->start)
			assert_true(*before < at);
	}
	*before = at;
	n += check_subtree(at->right, before);

	max = at->last;
	left = at->left ? at->left->height : 0;
	right = at->right ? at->right->height : 0;
	if (at->left && at->left->max > max)
		max = at->left->max;
	if (at->right && at->right->max > max)
		max = at->right->max;
	assert_true(at->max == max);
	assert_int_equal(at->height, 1 + (left > right ? left : right));
	assert_in_range(left - right + 1, 0, 2);
	return n;
}

static void check(const struct model *model)
{
	const struct mpl_interval *before = NULL;
	size_t n = check_subtree(model->tree.root, &before);

	assert_int_equal(n, model->count);
}

struct walk {
	const struct model *model;
	uint64_t start;
	uint64_t last;
	const struct mpl_interval *before;
	size_t seen;
	size_t stop_at; /* 0: never */
};

static int step(void *arg, struct mpl_interval *node)
{
	struct walk *walk = arg;

	assert_true(walk->model->in[node - walk->model->nodes]);
	assert_true(overlaps(node, walk->start, walk->last));
	if (walk->before) {
		assert_true(walk->before->start <= node->start);
		assert_ptr_not_equal(walk->before, node);
	}
	walk->before = node;
	return ++walk->seen == walk->stop_at ? -EPIPE : 0;
}

static void check_query(const struct model *model, uint64_t start,
			uint64_t last)
{
	struct walk walk = { .model = model, .start = start, .last = last };
	const struct mpl_interval *first, *below;
	uint64_t least = UINT64_MAX, greatest = 0;
	size_t expected = 0;
	bool any_below = false;

	for (size_t i = 0; i < MAX; i++) {
		const struct mpl_interval *node = &model->nodes[i];

		if (!model->in[i])
			continue;
		if (overlaps(node, start, last)) {
			expected++;
			if (node->start < least)
				least = node->start;
		}
		if (node->start <= start) {
			any_below = true;
			if (node->start > greatest)
				greatest = node->start;
		}
	}

	assert_int_equal(mpl_interval_each(&model->tree, start, last, step,
					   &walk), 0);
	assert_int_equal(walk.seen, expected);

	first = mpl_interval_first(&model->tree, start, last);
	assert_true(!first == !expected);
	if (first) {
		assert_true(overlaps(first, start, last));
		assert_true(first->start == least);
	}
	below = mpl_interval_below(&model->tree, start);
	assert_true(!below == !any_below);
	if (below)
		assert_true(below->start == greatest);

	if (expected) {
		walk.seen = 0;
		walk.before = NULL;
		walk.stop_at = 1 + (size_t)random() % expected;
		assert_int_equal(mpl_interval_each(&model->tree, start, last,
						   step, &walk), -EPIPE);
		assert_int_equal(walk.seen, walk.stop_at);
	}
}

static void insert(struct model *model, size_t i, uint64_t start, uint64_t last)
{
	model->nodes[i].start = start;
	model->nodes[i].last = last;
	mpl_interval_insert(&model->tree, &model->nodes[i]);
	model->in[i] = true;
	model->count++;
}

static void take_out(struct model *model, size_t i)
{
	mpl_interval_remove(&model->tree, &model->nodes[i]);
	model->in[i] = false;
	model->count--;
}

static void test_random(void **state)
{
	struct model *model = calloc(1, sizeof(*model));
	uint64_t start, last;

	(void)state;
	assert_non_null(model);
	srandom(7);
	for (int i = 0; i < 12000; i++) {
		/* Waves, so that the tree grows and shrinks as a whole. */
		bool growing = i / 1000 % 2 == 0;
		size_t at = (size_t)random() % MAX;

		random_range(&start, &last);
		if (!model->in[at] && (growing || random() % 4 == 0))
			insert(model, at, start, last);
		else if (model->in[at] && (!growing || random() % 4 == 0))
			take_out(model, at);
		check(model);
		random_range(&start, &last);
		check_query(model, start, last);
	}
	free(model);
}

static void test_empty(void **state)
{
	struct mpl_interval_tree tree = { NULL };
	struct walk walk = { 0 };

	(void)state;
	assert_null(mpl_interval_first(&tree, 0, UINT64_MAX));
	assert_null(mpl_interval_below(&tree, UINT64_MAX));
	assert_int_equal(mpl_interval_each(&tree, 0, UINT64_MAX, step, &walk),
			 0);
}

/* All of 2^64, its ends, and nothing between. */
static void test_edges(void **state)
{
	struct model *model = calloc(1, sizeof(*model));
	static const uint64_t at[] = { 0, 1, 1u << 20, UINT64_MAX - 1,
				       UINT64_MAX };

	(void)state;
	assert_non_null(model);
	insert(model, 0, 0, 0);
	insert(model, 1, UINT64_MAX, UINT64_MAX);
	for (int whole = 0; whole < 2; whole++) {
		for (size_t i = 0; i < 5; i++)
			for (size_t j = i; j < 5; j++)
				check_query(model, at[i], at[j]);
		if (!whole)
			insert(model, 2, 0, UINT64_MAX);
	}
	check(model);
	free(model);
}

/* Equal ranges are different nodes. */
static void test_duplicates(void **state)
{
	struct model *model = calloc(1, sizeof(*model));

	(void)state;
	assert_non_null(model);
	for (size_t i = 0; i < 64; i++)
		insert(model, i * 37 % 64, 0x1000, 0x1fff);
	check(model);
	check_query(model, 0x1800, 0x1800);
	for (size_t i = 0; i < 64; i++) {
		take_out(model, i * 23 % 64);
		check(model);
		check_query(model, 0x1800, 0x1800);
	}
	assert_null(model->tree.root);
	free(model);
}

/* The i-th of all: upwards, downwards, from both ends, scattered. */
static size_t in_order(int order, size_t i)
{
	switch (order) {
	case 0:
		return i;
	case 1:
		return MAX - 1 - i;
	case 2:
		return i % 2 ? i / 2 : MAX - 1 - i / 2;
	default:
		return i * 171 % MAX; /* 171 and 400 share no divisor */
	}
}

/* Sorted input is the worst for a tree without balance. */
static void test_orders(void **state)
{
	struct model *model = calloc(1, sizeof(*model));

	(void)state;
	assert_non_null(model);
	for (int orders = 0; orders < 16; orders++) {
		for (size_t i = 0; i < MAX; i++) {
			size_t at = in_order(orders / 4, i);

			insert(model, at, 10 * at, 10 * at + 9);
		}
		check(model);
		/* At least log2(401), and 1.44 log2(402) at most: AVL. */
		assert_in_range(model->tree.root->height, 9, 12);
		for (size_t i = 0; i < MAX; i++) {
			take_out(model, in_order(orders % 4, i));
			if (i % 16)
				continue;
			check(model);
			check_query(model, 1000, 3000);
		}
		assert_null(model->tree.root);
	}
	free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
