/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Trees of doorbells against a sorted array that is copied for each change.
 * Events are the test's own, and their reference counts tell whether a node
 * was leaked or freed too early.
 */
#include "dispatch/doorbell_tree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EVENTS 4
#define ITEMS 4096

/* malloc() of the library comes here (--wrap): the n-th one may fail. */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
static int fail_at; /* 1: the next one; 0: none */

void *__wrap_malloc(size_t size)
{
	if (fail_at && !--fail_at)
		return NULL;
	return __real_malloc(size);
}

static struct mpl_eventfd events[EVENTS];

static int setup(void **state)
{
	(void)state;
	/* One reference is the test's: none is ever closed. */
	for (int i = 0; i < EVENTS; i++)
		events[i] = (struct mpl_eventfd){ .refs = 1, .fd = -1,
						  .caller_fd = i };
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < EVENTS; i++)
		assert_int_equal(events[i].refs, 1);
	return 0;
}

/* The naive half: an array in order. */
struct list {
	struct mpl_doorbell items[ITEMS];
	unsigned int count;
};

static uint64_t rank(const struct mpl_doorbell *item)
{
	return (uint64_t)item->size << 1 | item->match;
}

static int order(const void *left, const void *right)
{
	const struct mpl_doorbell *a = left, *b = right;

	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	if (rank(a) != rank(b))
		return rank(a) < rank(b) ? -1 : 1;
	if (a->match && a->data != b->data)
		return a->data < b->data ? -1 : 1;
	return a->event->caller_fd - b->event->caller_fd;
}

static int list_find(const struct list *list, const struct mpl_doorbell *item)
{
	const struct mpl_doorbell *found = bsearch(
		item, list->items, list->count, sizeof(*item), order);

	return found ? (int)(found - list->items) : -1;
}

static void list_add(struct list *list, const struct mpl_doorbell *item)
{
	unsigned int at = list->count;

	assert_true(list->count < ITEMS);
	while (at && order(&list->items[at - 1], item) > 0)
		at--;
	memmove(list->items + at + 1, list->items + at,
		(list->count - at) * sizeof(*item));
	list->items[at] = *item;
	list->count++;
}

static void list_del(struct list *list, unsigned int at)
{
	list->count--;
	memmove(list->items + at, list->items + at + 1,
		(list->count - at) * sizeof(list->items[0]));
}

struct walk {
	const struct list *list;
	unsigned int at;
};

static int check_item(void *arg, const struct mpl_doorbell *item)
{
	struct walk *walk = arg;

	assert_true(walk->at < walk->list->count);
	assert_memory_equal(item, &walk->list->items[walk->at], sizeof(*item));
	walk->at++;
	return 0;
}

static void check(const struct mpl_bell_node *root, const struct list *list)
{
	struct walk walk = { .list = list };

	assert_true(mpl_bells_sound(root));
	assert_int_equal(mpl_bells_each(root, check_item, &walk), 0);
	assert_int_equal(walk.at, list->count);
}

/* The first in order of all that have the key, by a scan. */
static void check_find(const struct mpl_bell_node *root,
		       const struct list *list, const struct mpl_doorbell *key)
{
	const struct mpl_doorbell *found = mpl_bells_find(root, key);

	for (unsigned int i = 0; i < list->count; i++) {
		const struct mpl_doorbell *item = &list->items[i];

		if (item->offset == key->offset && rank(item) == rank(key) &&
		    (!key->match || item->data == key->data)) {
			assert_non_null(found);
			assert_memory_equal(found, item, sizeof(*item));
			return;
		}
	}
	assert_null(found);
}

static uint64_t seed;

static uint64_t below(uint64_t n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * UINT64_C(0x2545f4914f6cdd1d) % n;
}

static struct mpl_doorbell random_item(uint64_t span)
{
	static const unsigned int sizes[] = { 0, 1, 2, 4, 8 };
	struct mpl_doorbell item;

	/* All of it, since items are compared as memory. */
	memset(&item, 0, sizeof(item));
	item.offset = below(span);
	item.size = sizes[below(5)];
	item.match = below(2);
	item.data = below(4);
	item.event = &events[below(EVENTS)];
	return item;
}

static void insert(struct mpl_bell_node **root, struct list *list,
		   const struct mpl_doorbell *item)
{
	bool there = list_find(list, item) >= 0;
	struct mpl_bell_node *more = NULL;
	int err = mpl_bells_insert(*root, item, &more);

	assert_int_equal(err, there ? -EEXIST : 0);
	if (err)
		return;
	mpl_bells_unref(*root);
	*root = more;
	list_add(list, item);
}

static void take(struct mpl_bell_node **root, struct list *list,
		 const struct mpl_doorbell *item)
{
	int at = list_find(list, item);
	struct mpl_bell_node *less = NULL;
	int err = mpl_bells_remove(*root, item, &less);

	assert_int_equal(err, at < 0 ? -ENOENT : 0);
	if (err)
		return;
	mpl_bells_unref(*root);
	*root = less;
	list_del(list, (unsigned int)at);
}

static void take_at(struct mpl_bell_node **root, struct list *list, uint64_t at)
{
	struct mpl_doorbell item = list->items[at];

	take(root, list, &item);
}

static void test_random(void **state)
{
	static struct list list;
	struct mpl_bell_node *root = NULL;

	(void)state;
	seed = 1;
	list.count = 0;
	/* Grow, stay, shrink to nothing. */
	for (unsigned int turn = 0; turn < 3000; turn++) {
		struct mpl_doorbell item = random_item(40);
		unsigned int grow = turn < 1000 ? 9 : turn < 1500 ? 5 : 1;

		if (below(10) < grow)
			insert(&root, &list, &item);
		else if (list.count && below(4))
			take_at(&root, &list, below(list.count));
		else
			take(&root, &list, &item);
		check_find(root, &list, &item);
		if (turn % 32 == 0)
			check(root, &list);
	}
	while (list.count)
		take_at(&root, &list, below(list.count));
	assert_null(root);
}

static struct mpl_doorbell plain(uint64_t offset)
{
	struct mpl_doorbell item;

	memset(&item, 0, sizeof(item));
	item.offset = offset;
	item.size = 4;
	item.event = &events[0];
	return item;
}

/* How many nodes there are, and how many levels. */
static unsigned int nodes(const struct mpl_bell_node *node)
{
	unsigned int count = 1;

	for (unsigned int i = 0; node->level && i < node->count; i++)
		count += nodes(node->child[i]);
	return count;
}

/* Ascending, descending, from the middle: all sound, and how full. */
static void test_in_order(void **state)
{
	static struct list list;

	(void)state;
	for (int way = 0; way < 3; way++) {
		struct mpl_bell_node *root = NULL;

		list.count = 0;
		for (uint64_t i = 0; i < 3000; i++) {
			uint64_t middle = i % 2 ? 5000 + i : 5000 - i;
			struct mpl_doorbell item = plain(
				way == 0 ? i : way == 1 ? 5000 - i : middle);

			insert(&root, &list, &item);
		}
		check(root, &list);
		/* 94 leaves and 3 + 1 above them is the least. */
		if (way == 0)
			assert_int_equal(nodes(root), 98);
		else
			assert_true(nodes(root) <= 2 * 98 + 2);
		while (list.count > 50)
			take_at(&root, &list, 25);
		check(root, &list);
		/* What was emptied was joined. */
		assert_true(nodes(root) <= 8);
		mpl_bells_unref(root);
	}
}

/* Each change shares all but the path to it. */
static void test_shares(void **state)
{
	static struct list before, after;
	struct mpl_bell_node *root = NULL, *more;
	struct mpl_doorbell item = plain(1);
	unsigned int shared = 0;

	(void)state;
	before.count = 0;
	for (uint64_t i = 0; i < 900; i++) {
		struct mpl_doorbell even = plain(2 * i);

		insert(&root, &before, &even);
	}
	assert_int_equal(root->level, 1);
	after = before;
	assert_int_equal(mpl_bells_insert(root, &item, &more), 0);
	list_add(&after, &item);
	check(root, &before);
	check(more, &after);
	for (unsigned int i = 0; i < root->count; i++)
		shared += root->child[i]->refs == 2;
	assert_int_equal(shared, root->count - 1);
	mpl_bells_unref(root);
	check(more, &after);
	mpl_bells_unref(more);
}

struct found {
	struct mpl_doorbell items[64];
	unsigned int count;
	unsigned int most;
};

static int collect(void *arg, const struct mpl_doorbell *item)
{
	struct found *found = arg;

	assert_true(found->count < 64);
	found->items[found->count++] = *item;
	return found->count == found->most ? -EINTR : 0;
}

/* Items of `a` that are not in `b`, by the trees and by the lists. */
static void check_missing(const struct mpl_bell_node *a,
			  const struct list *list_a,
			  const struct mpl_bell_node *b,
			  const struct list *list_b)
{
	struct found found = { 0 };
	unsigned int n = 0;

	assert_int_equal(mpl_bells_missing(a, b, collect, &found), 0);
	for (unsigned int i = 0; i < list_a->count; i++)
		if (list_find(list_b, &list_a->items[i]) < 0)
			assert_memory_equal(&found.items[n++],
					    &list_a->items[i],
					    sizeof(list_a->items[i]));
	assert_int_equal(found.count, n);
}

static void test_missing(void **state)
{
	static struct list list, other;
	struct mpl_bell_node *root = NULL, *changed;
	struct found first = { .most = 5 };

	(void)state;
	seed = 7;
	list.count = 0;
	for (uint64_t i = 0; i < 3500; i++) {
		struct mpl_doorbell item = plain(4 * i);

		insert(&root, &list, &item);
	}
	for (int round = 0; round < 20; round++) {
		other = list;
		changed = root;
		changed->refs++;
		for (uint64_t i = below(8); i; i--) {
			struct mpl_doorbell item = plain(below(4 * 3500));

			if (below(2))
				insert(&changed, &other, &item);
			else
				take_at(&changed, &other, below(other.count));
		}
		check_missing(root, &list, changed, &other);
		check_missing(changed, &other, root, &list);
		mpl_bells_unref(changed);
	}
	assert_int_equal(mpl_bells_missing(root, NULL, collect, &first),
			 -EINTR);
	assert_int_equal(first.count, 5);
	assert_int_equal(mpl_bells_missing(NULL, root, collect, NULL), 0);
	mpl_bells_unref(root);
}

/* The same number, another event: it is not the same doorbell. */
static void test_missing_by_event(void **state)
{
	static struct list list;
	struct mpl_eventfd twin = { .refs = 1, .fd = -1, .caller_fd = 0 };
	struct mpl_bell_node *root = NULL, *changed;
	struct found gone = { 0 };
	struct mpl_doorbell item;

	(void)state;
	list.count = 0;
	for (uint64_t i = 0; i < 500; i++) {
		item = plain(4 * i);
		insert(&root, &list, &item);
	}
	changed = root;
	changed->refs++;
	item = list.items[100];
	take(&changed, &list, &item);
	item.event = &twin;
	insert(&changed, &list, &item);
	assert_int_equal(mpl_bells_missing(root, changed, collect, &gone), 0);
	assert_int_equal(gone.count, 1);
	assert_ptr_equal(gone.items[0].event, &events[0]);
	mpl_bells_unref(changed);
	mpl_bells_unref(root);
	assert_int_equal(twin.refs, 1);
}

/* Each allocation of a change fails once; the tree is as before. */
static void test_out_of_memory(void **state)
{
	static struct list list;
	struct mpl_bell_node *root = NULL, *out;
	unsigned int failures = 0;

	(void)state;
	seed = 3;
	list.count = 0;
	for (unsigned int turn = 0; turn < 1500; turn++) {
		struct mpl_doorbell item = random_item(1000);
		bool add = turn < 1000;
		int err = -ENOMEM;

		if (!add)
			item = list.items[below(list.count)];
		else if (list_find(&list, &item) >= 0)
			continue;
		for (int n = 1; err == -ENOMEM; n++) {
			fail_at = n;
			err = add ? mpl_bells_insert(root, &item, &out) :
				    mpl_bells_remove(root, &item, &out);
			if (err) {
				failures++;
				assert_int_equal(fail_at, 0);
			}
			fail_at = 0;
		}
		assert_int_equal(err, 0);
		if (turn % 50 == 0)
			check(root, &list);
		mpl_bells_unref(root);
		root = out;
		if (add)
			list_add(&list, &item);
		else
			list_del(&list,
				 (unsigned int)list_find(&list, &item));
	}
	assert_true(failures > 1500);
	check(root, &list);
	mpl_bells_unref(root);
}

/* What mpl_bells_sound() is for: it must see what is wrong. */
static void test_sound(void **state)
{
	static struct list list;
	struct mpl_bell_node *root = NULL;
	struct mpl_doorbell saved;

	(void)state;
	assert_true(mpl_bells_sound(NULL));
	list.count = 0;
	for (uint64_t i = 0; i < 100; i++) {
		struct mpl_doorbell item = plain(i);

		insert(&root, &list, &item);
	}
	assert_true(mpl_bells_sound(root));
	saved = root->first[1];
	root->first[1].offset++;
	assert_false(mpl_bells_sound(root));
	root->first[1] = saved;
	saved = root->child[1]->first[3];
	root->child[1]->first[3].offset = 0;
	assert_false(mpl_bells_sound(root));
	root->child[1]->first[3] = saved;
	assert_true(mpl_bells_sound(root));
	mpl_bells_unref(root);
}

#define TREE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TREE_TEST(test_random),
		TREE_TEST(test_in_order),
		TREE_TEST(test_shares),
		TREE_TEST(test_missing),
		TREE_TEST(test_missing_by_event),
		TREE_TEST(test_out_of_memory),
		TREE_TEST(test_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
