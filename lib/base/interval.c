/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/base/interval.h"

#include <stdbool.h>

static int height(const struct mpl_interval *node)
{
	return node ? node->height : 0;
}

/* Recompute what a node knows of its subtree. */
static void update(struct mpl_interval *node)
{
	int left = height(node->left);
	int right = height(node->right);
	uint64_t max = node->last;

	if (node->left && node->left->max > max)
		max = node->left->max;
	if (node->right && node->right->max > max)
		max = node->right->max;
	node->max = max;
	node->height = 1 + (left > right ? left : right);
}

static struct mpl_interval *rotate_right(struct mpl_interval *node)
{
	struct mpl_interval *up = node->left;

	node->left = up->right;
	up->right = node;
	update(node);
	update(up);
	return up;
}

static struct mpl_interval *rotate_left(struct mpl_interval *node)
{
	struct mpl_interval *up = node->right;

	node->right = up->left;
	up->left = node;
	update(node);
	update(up);
	return up;
}

/* Restore the AVL balance of a node whose subtrees are in order. */
static struct mpl_interval *balance(struct mpl_interval *node)
{
	int lean = height(node->left) - height(node->right);

	if (lean > 1) {
		if (height(node->left->left) < height(node->left->right))
			node->left = rotate_left(node->left);
		return rotate_right(node);
	}
	if (lean < -1) {
		if (height(node->right->right) < height(node->right->left))
			node->right = rotate_right(node->right);
		return rotate_left(node);
	}
	update(node);
	return node;
}

static bool before(const struct mpl_interval *a, const struct mpl_interval *b)
{
	if (a->start != b->start)
		return a->start < b->start;
	return (uintptr_t)a < (uintptr_t)b;
}

static struct mpl_interval *insert(struct mpl_interval *at,
				   struct mpl_interval *node)
{
	if (!at)
		return node;
	if (before(node, at))
		at->left = insert(at->left, node);
	else
		at->right = insert(at->right, node);
	return balance(at);
}

void mpl_interval_insert(struct mpl_interval_tree *tree,
			 struct mpl_interval *node)
{
	node->left = NULL;
	node->right = NULL;
	update(node);
	tree->root = insert(tree->root, node);
}

static struct mpl_interval *build(size_t count,
				  struct mpl_interval *(*next)(void *arg),
				  void *arg)
{
	struct mpl_interval *left, *node;

	if (!count)
		return NULL;
	left = build(count / 2, next, arg);
	node = next(arg);
	node->left = left;
	node->right = build(count - count / 2 - 1, next, arg);
	update(node);
	return node;
}

void mpl_interval_build(struct mpl_interval_tree *tree, size_t count,
			struct mpl_interval *(*next)(void *arg), void *arg)
{
	tree->root = build(count, next, arg);
}

/* Take the leftmost node out of a subtree: *least. */
static struct mpl_interval *take_least(struct mpl_interval *at,
				       struct mpl_interval **least)
{
	if (!at->left) {
		*least = at;
		return at->right;
	}
	at->left = take_least(at->left, least);
	return balance(at);
}

static struct mpl_interval *remove_node(struct mpl_interval *at,
					struct mpl_interval *node)
{
	struct mpl_interval *heir;

	if (at != node) {
		if (before(node, at))
			at->left = remove_node(at->left, node);
		else
			at->right = remove_node(at->right, node);
		return balance(at);
	}
	if (!at->right)
		return at->left;
	at->right = take_least(at->right, &heir);
	heir->left = at->left;
	heir->right = at->right;
	return balance(heir);
}

void mpl_interval_remove(struct mpl_interval_tree *tree,
			 struct mpl_interval *node)
{
	tree->root = remove_node(tree->root, node);
}

struct mpl_interval *mpl_interval_first(const struct mpl_interval_tree *tree,
					uint64_t start, uint64_t last)
{
	struct mpl_interval *at = tree->root;

	if (!at || at->max < start)
		return NULL;
	/* If any overlaps, the least is in the left subtree whenever that
	 * reaches as far as `start`. */
	for (;;) {
		if (at->left && at->left->max >= start)
			at = at->left;
		else if (at->last >= start)
			return at->start <= last ? at : NULL;
		else if (at->right && at->right->max >= start)
			at = at->right;
		else
			return NULL;
	}
}

struct mpl_interval *mpl_interval_below(const struct mpl_interval_tree *tree,
					uint64_t at)
{
	struct mpl_interval *node = tree->root;
	struct mpl_interval *found = NULL;

	while (node) {
		if (node->start <= at) {
			found = node;
			node = node->right;
		} else {
			node = node->left;
		}
	}
	return found;
}

static int each(struct mpl_interval *at, uint64_t start, uint64_t last,
		int (*fn)(void *arg, struct mpl_interval *node), void *arg)
{
	int ret;

	if (!at || at->max < start)
		return 0;
	ret = each(at->left, start, last, fn, arg);
	if (ret)
		return ret;
	if (at->start > last)
		return 0;
	if (at->last >= start) {
		ret = fn(arg, at);
		if (ret)
			return ret;
	}
	return each(at->right, start, last, fn, arg);
}

int mpl_interval_each(const struct mpl_interval_tree *tree, uint64_t start,
		      uint64_t last,
		      int (*fn)(void *arg, struct mpl_interval *node),
		      void *arg)
{
	return each(tree->root, start, last, fn, arg);
}
