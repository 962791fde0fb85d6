/* SPDX-License-Identifier: BSD-3-Clause */
/* Circular doubly linked lists through a link inside the element. */
#ifndef MEMPLANE_BASE_LIST_H
#define MEMPLANE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct mpl_link {
	struct mpl_link *next;
	struct mpl_link *prev;
};

/* The element that contains `link` as its `member`. */
#define MPL_OF(link, type, member) \
	((type *)((char *)(link) - offsetof(type, member)))

/* `link` must not be removed in the loop; the _SAFE form allows it. */
#define MPL_LIST_EACH(link, head) \
	for ((link) = (head)->next; (link) != (head); (link) = (link)->next)
#define MPL_LIST_EACH_SAFE(link, following, head)                   \
	for ((link) = (head)->next, (following) = (link)->next;     \
	     (link) != (head);                                      \
	     (link) = (following), (following) = (link)->next)

static inline void mpl_list_init(struct mpl_link *head)
{
	head->next = head;
	head->prev = head;
}

static inline bool mpl_list_empty(const struct mpl_link *head)
{
	return head->next == head;
}

static inline void mpl_list_insert(struct mpl_link *after,
				   struct mpl_link *link)
{
	link->prev = after;
	link->next = after->next;
	after->next->prev = link;
	after->next = link;
}

static inline void mpl_list_append(struct mpl_link *head, struct mpl_link *link)
{
	mpl_list_insert(head->prev, link);
}

/* The link may be removed again: it then is a list of its own. */
static inline void mpl_list_remove(struct mpl_link *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	mpl_list_init(link);
}

#endif
