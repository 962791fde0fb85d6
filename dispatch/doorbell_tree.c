/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/doorbell_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A node in the making, or two. */
struct draft {
	unsigned int count;
	unsigned int level;
	struct mpl_doorbell first[MPL_BELLS_NODE + 2];
	struct mpl_bell_node *child[MPL_BELLS_NODE + 2];
};

/* The nodes that take one's place: none, one, or two. */
struct pieces {
	unsigned int count;
	struct mpl_bell_node *node[2];
};

static int compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* All but the eventfd. */
static int compare_keys(const struct mpl_doorbell *a,
			const struct mpl_doorbell *b)
{
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	if (a->size != b->size)
		return a->size < b->size ? -1 : 1;
	if (a->match != b->match)
		return a->match ? 1 : -1;
	return a->match ? compare_u64(a->data, b->data) : 0;
}

static int compare(const struct mpl_doorbell *a, const struct mpl_doorbell *b)
{
	int order = compare_keys(a, b);

	return order ? order :
		       compare_u64((uint64_t)a->event->caller_fd,
				   (uint64_t)b->event->caller_fd);
}

void mpl_bells_unref(struct mpl_bell_node *node)
{
	if (!node || --node->refs)
		return;
	for (unsigned int i = 0; i < node->count; i++) {
		if (node->level)
			mpl_bells_unref(node->child[i]);
		else
			mpl_eventfd_unref(node->first[i].event);
	}
	free(node);
}

/* Of `count` entries of a draft, from `from` on. */
static struct mpl_bell_node *make(const struct draft *draft, unsigned int from,
				  unsigned int count)
{
	size_t items = count * sizeof(draft->first[0]);
	size_t children = draft->level ? count * sizeof(draft->child[0]) : 0;
	struct mpl_bell_node *node = malloc(sizeof(*node) + items + children);

	if (!node)
		return NULL;
	*node = (struct mpl_bell_node){
		.refs = 1,
		.count = (uint16_t)count,
		.level = (uint16_t)draft->level,
	};
	memcpy(node->first, draft->first + from, items);
	if (draft->level) {
		node->child = (struct mpl_bell_node **)(node->first + count);
		memcpy(node->child, draft->child + from, children);
	}
	for (unsigned int i = from; i < from + count; i++) {
		if (draft->level)
			draft->child[i]->refs++;
		else
			__atomic_add_fetch(&draft->first[i].event->refs, 1,
					   __ATOMIC_RELAXED);
	}
	return node;
}

static void drop_pieces(struct pieces *pieces)
{
	for (unsigned int i = 0; i < pieces->count; i++)
		mpl_bells_unref(pieces->node[i]);
	pieces->count = 0;
}

/*
 * The draft as nodes; if it is too large for one, in halves, or with
 * `at_end` as one that is full and the rest.
 */
static int finish(const struct draft *draft, bool at_end,
		  struct pieces *pieces)
{
	unsigned int low = draft->count;

	pieces->count = 0;
	if (draft->count > MPL_BELLS_NODE)
		low = at_end ? MPL_BELLS_NODE : draft->count / 2;
	for (unsigned int from = 0; from < draft->count;) {
		unsigned int count = from ? draft->count - from : low;
		struct mpl_bell_node *node = make(draft, from, count);

		if (!node) {
			drop_pieces(pieces);
			return -ENOMEM;
		}
		pieces->node[pieces->count++] = node;
		from += count;
	}
	return 0;
}

/* Append entries [from, to) of a node. */
static void append(struct draft *draft, const struct mpl_bell_node *node,
		   unsigned int from, unsigned int to)
{
	unsigned int count = to - from;

	memcpy(draft->first + draft->count, node->first + from,
	       count * sizeof(node->first[0]));
	if (node->level)
		memcpy(draft->child + draft->count, node->child + from,
		       count * sizeof(node->child[0]));
	draft->count += count;
}

static void append_node(struct draft *draft, struct mpl_bell_node *node)
{
	draft->first[draft->count] = node->first[0];
	draft->child[draft->count++] = node;
}

/* How many entries of a node are before `item`. */
static unsigned int before(const struct mpl_bell_node *node,
			   const struct mpl_doorbell *item)
{
	unsigned int low = 0, high = node->count;

	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (compare(&node->first[middle], item) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Which child has `item`, or would have it. */
static unsigned int child_of(const struct mpl_bell_node *node,
			     const struct mpl_doorbell *item)
{
	unsigned int at = before(node, item);

	if (at < node->count && !compare(&node->first[at], item))
		return at;
	return at ? at - 1 : 0;
}

static bool has_at(const struct mpl_bell_node *leaf, unsigned int at,
		   const struct mpl_doorbell *item)
{
	return at < leaf->count && !compare(&leaf->first[at], item);
}

/* `last`: nothing comes after this node. */
static int insert(const struct mpl_bell_node *node,
		  const struct mpl_doorbell *item, bool last,
		  struct pieces *pieces)
{
	struct draft draft = { .level = node->level };
	struct pieces below = { 0 };
	unsigned int at;
	int err;

	if (!node->level) {
		at = before(node, item);
		if (has_at(node, at, item))
			return -EEXIST;
		append(&draft, node, 0, at);
		draft.first[draft.count++] = *item;
		append(&draft, node, at, node->count);
		return finish(&draft, last && at == node->count, pieces);
	}
	at = child_of(node, item);
	last &= at + 1u == node->count;
	err = insert(node->child[at], item, last, &below);
	if (err)
		return err;
	append(&draft, node, 0, at);
	for (unsigned int i = 0; i < below.count; i++)
		append_node(&draft, below.node[i]);
	append(&draft, node, at + 1, node->count);
	err = finish(&draft, last, pieces);
	drop_pieces(&below);
	return err;
}

/* One level more, if there are two. */
static int crown(struct pieces *pieces, struct mpl_bell_node **out)
{
	struct draft draft = { .level = pieces->node[0]->level + 1u };
	struct pieces root;
	int err;

	if (pieces->count == 1) {
		*out = pieces->node[0];
		return 0;
	}
	append_node(&draft, pieces->node[0]);
	append_node(&draft, pieces->node[1]);
	err = finish(&draft, false, &root);
	drop_pieces(pieces);
	if (!err)
		*out = root.node[0];
	return err;
}

int mpl_bells_insert(struct mpl_bell_node *root,
		     const struct mpl_doorbell *item,
		     struct mpl_bell_node **out)
{
	struct draft draft = { .count = 1, .first = { *item } };
	struct pieces pieces;
	int err;

	if (root)
		err = insert(root, item, true, &pieces);
	else
		err = finish(&draft, true, &pieces);
	return err ? err : crown(&pieces, out);
}

static bool should_join(const struct mpl_bell_node *a,
			const struct mpl_bell_node *b)
{
	unsigned int less = a->count < b->count ? a->count : b->count;

	return less < MPL_BELLS_NODE / 4 &&
	       a->count + b->count <= MPL_BELLS_NODE;
}

/*
 * Put *node, which has just shrunk, in the place of child `at`; if it is
 * right, joined with what is beside it: then *node is that.
 */
static int replace(const struct mpl_bell_node *parent, unsigned int at,
		   struct mpl_bell_node **node, struct draft *draft)
{
	unsigned int from = at, to = at + 1;

	if (at && should_join(parent->child[at - 1], *node))
		from--;
	else if (to < parent->count && should_join(parent->child[to], *node))
		to++;
	if (to - from == 2) {
		struct draft joined = { .level = (*node)->level };
		struct pieces one;
		int err;

		if (from < at)
			append(&joined, parent->child[from], 0,
			       parent->child[from]->count);
		append(&joined, *node, 0, (*node)->count);
		if (from == at)
			append(&joined, parent->child[at + 1], 0,
			       parent->child[at + 1]->count);
		err = finish(&joined, false, &one);
		if (err)
			return err;
		mpl_bells_unref(*node);
		*node = one.node[0];
	}
	append(draft, parent, 0, from);
	append_node(draft, *node);
	append(draft, parent, to, parent->count);
	return 0;
}

/* *out is NULL if nothing is left. */
static int take(const struct mpl_bell_node *node,
		const struct mpl_doorbell *item, struct mpl_bell_node **out)
{
	unsigned int at = node->level ? child_of(node, item) :
					before(node, item);
	struct draft draft = { .level = node->level };
	struct mpl_bell_node *below = NULL;
	struct pieces pieces;
	int err = 0;

	if (node->level)
		err = take(node->child[at], item, &below);
	else if (!has_at(node, at, item))
		err = -ENOENT;
	if (err)
		return err;
	if (below) {
		err = replace(node, at, &below, &draft);
	} else {
		append(&draft, node, 0, at);
		append(&draft, node, at + 1, node->count);
	}
	if (!err)
		err = finish(&draft, false, &pieces);
	mpl_bells_unref(below);
	if (!err)
		*out = pieces.count ? pieces.node[0] : NULL;
	return err;
}

int mpl_bells_remove(struct mpl_bell_node *root,
		     const struct mpl_doorbell *item,
		     struct mpl_bell_node **out)
{
	struct mpl_bell_node *node;
	int err = root ? take(root, item, &node) : -ENOENT;

	if (err)
		return err;
	/* A root with one child is one level too many. */
	while (node && node->level && node->count == 1) {
		struct mpl_bell_node *below = node->child[0];

		below->refs++;
		mpl_bells_unref(node);
		node = below;
	}
	*out = node;
	return 0;
}

/* How many entries are before `key`, whatever their eventfds. */
static unsigned int before_key(const struct mpl_bell_node *node,
			       const struct mpl_doorbell *key)
{
	unsigned int low = 0, high = node->count;

	/* Branches on purpose: without them the loads wait for each other. */
	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (compare_keys(&node->first[middle], key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct mpl_doorbell *mpl_bells_find(const struct mpl_bell_node *node,
					  const struct mpl_doorbell *key)
{
	const struct mpl_doorbell *found = NULL;

	/* The lowest item that is not before the key, if there is one. */
	while (node) {
		unsigned int at = before_key(node, key);

		if (at < node->count)
			found = &node->first[at];
		node = node->level ? node->child[at ? at - 1 : 0] : NULL;
	}
	return found && !compare_keys(found, key) ? found : NULL;
}

int mpl_bells_each(const struct mpl_bell_node *node, mpl_doorbell_fn *fn,
		   void *arg)
{
	int ret = 0;

	for (unsigned int i = 0; node && i < node->count && !ret; i++)
		ret = node->level ? mpl_bells_each(node->child[i], fn, arg) :
				    fn(arg, &node->first[i]);
	return ret;
}

/* A place in a tree: at[0] in node[0], a leaf, which is at[1] in node[1]. */
struct cursor {
	const struct mpl_bell_node *node[MPL_BELLS_LEVELS];
	unsigned int at[MPL_BELLS_LEVELS];
	unsigned int top; /* level of the root */
	bool over;
};

/* To the first item below the entry that the cursor names on `level`. */
static void descend(struct cursor *cursor, unsigned int level)
{
	while (level) {
		cursor->node[level - 1] =
			cursor->node[level]->child[cursor->at[level]];
		cursor->at[--level] = 0;
	}
}

static void begin(struct cursor *cursor, const struct mpl_bell_node *root)
{
	cursor->over = !root;
	if (!root)
		return;
	cursor->top = root->level;
	cursor->node[root->level] = root;
	cursor->at[root->level] = 0;
	descend(cursor, root->level);
}

/* Over the entry that the cursor names on `level`: 0 for an item. */
static void step(struct cursor *cursor, unsigned int level)
{
	while (++cursor->at[level] == cursor->node[level]->count) {
		if (level == cursor->top) {
			cursor->over = true;
			return;
		}
		level++;
	}
	descend(cursor, level);
}

static const struct mpl_doorbell *item_at(const struct cursor *cursor)
{
	return &cursor->node[0]->first[cursor->at[0]];
}

/* Step over the largest node that begins here in both, if there is one. */
static bool skip_shared(struct cursor *a, struct cursor *b)
{
	int shared = -1;

	for (unsigned int level = 0; level <= a->top && level <= b->top;
	     level++) {
		if (a->at[level] || b->at[level])
			break;
		if (a->node[level] == b->node[level])
			shared = (int)level;
	}
	if (shared < 0)
		return false;
	for (int i = 0; i < 2; i++) {
		struct cursor *cursor = i ? b : a;

		if ((unsigned int)shared == cursor->top)
			cursor->over = true;
		else
			step(cursor, (unsigned int)shared + 1);
	}
	return true;
}

int mpl_bells_missing(const struct mpl_bell_node *a_root,
		      const struct mpl_bell_node *b_root, mpl_doorbell_fn *fn,
		      void *arg)
{
	struct cursor a, b;
	int ret = 0;

	begin(&a, a_root);
	begin(&b, b_root);
	while (!a.over && !ret) {
		const struct mpl_doorbell *mine = item_at(&a), *other;
		int order = -1;

		if (!b.over) {
			if (skip_shared(&a, &b))
				continue;
			other = item_at(&b);
			order = compare(mine, other);
		}
		if (order < 0 || (order == 0 && mine->event != other->event))
			ret = fn(arg, mine);
		if (order <= 0)
			step(&a, 0);
		if (order >= 0)
			step(&b, 0);
	}
	return ret;
}

/* Of the part below `node`, of which the first item is `first`. */
static bool sound(const struct mpl_bell_node *node,
		  const struct mpl_doorbell *first,
		  const struct mpl_doorbell **last)
{
	if (!node->refs || !node->count || node->count > MPL_BELLS_NODE ||
	    compare(first, &node->first[0]))
		return false;
	for (unsigned int i = 0; i < node->count; i++) {
		const struct mpl_doorbell *item = &node->first[i];

		if (*last && compare(*last, item) >= 0)
			return false;
		if (!node->level)
			*last = item;
		else if (node->child[i]->level + 1 != node->level ||
			 !sound(node->child[i], item, last))
			return false;
	}
	return true;
}

bool mpl_bells_sound(const struct mpl_bell_node *root)
{
	const struct mpl_doorbell *last = NULL;

	return !root || ((!root->level || root->count > 1) &&
			 sound(root, &root->first[0], &last));
}
