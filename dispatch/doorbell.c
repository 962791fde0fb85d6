/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int mpl_eventfd_new(int fd, struct mpl_eventfd **out)
{
	struct mpl_eventfd *event = malloc(sizeof(*event));

	if (!event)
		return -ENOMEM;
	event->refs = 1;
	event->caller_fd = fd;
	event->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (event->fd < 0) {
		int err = -errno;

		free(event);
		return err;
	}
	event->blocking = !(fcntl(event->fd, F_GETFL) & O_NONBLOCK);
	*out = event;
	return 0;
}

void mpl_eventfd_unref(struct mpl_eventfd *event)
{
	/* [B4] as in mpl_device_unref() */
	if (__atomic_sub_fetch(&event->refs, 1, __ATOMIC_ACQ_REL))
		return;
	close(event->fd);
	free(event);
}

static int compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* Order of a table; the caller's fd number last. */
static int compare(const struct mpl_doorbell *a, const struct mpl_doorbell *b)
{
	int order = compare_u64(a->offset, b->offset);

	if (!order)
		order = compare_u64(a->size, b->size);
	if (!order)
		order = compare_u64(a->match, b->match);
	if (!order && a->match)
		order = compare_u64(a->data, b->data);
	if (!order)
		order = compare_u64((uint64_t)a->event->caller_fd,
				    (uint64_t)b->event->caller_fd);
	return order;
}

/* First item that is not before `item`; *equal tells whether it is it. */
static uint32_t position(const struct mpl_doorbells *table,
			 const struct mpl_doorbell *item, bool *equal)
{
	uint32_t low = 0, high = table ? table->count : 0;

	*equal = false;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = compare(&table->items[middle], item);

		if (order < 0) {
			low = middle + 1;
		} else {
			high = middle;
			*equal = *equal || order == 0;
		}
	}
	return low;
}

static struct mpl_doorbells *table_new(uint32_t count)
{
	struct mpl_doorbells *table = malloc(
		sizeof(*table) + count * sizeof(table->items[0]));

	if (table) {
		table->refs = 1;
		table->count = count;
	}
	return table;
}

/* Each table that contains an event holds a reference on it. */
static void hold_events(const struct mpl_doorbells *table)
{
	for (uint32_t i = 0; i < table->count; i++)
		__atomic_add_fetch(&table->items[i].event->refs, 1,
				   __ATOMIC_RELAXED);
}

int mpl_doorbells_with(const struct mpl_doorbells *from,
		       const struct mpl_doorbell *item,
		       struct mpl_doorbells **out)
{
	uint32_t count = from ? from->count : 0;
	struct mpl_doorbells *table;
	bool equal;
	uint32_t at = position(from, item, &equal);

	if (equal)
		return -EEXIST;
	table = table_new(count + 1);
	if (!table)
		return -ENOMEM;
	if (from) {
		memcpy(table->items, from->items, at * sizeof(*item));
		memcpy(table->items + at + 1, from->items + at,
		       (count - at) * sizeof(*item));
	}
	table->items[at] = *item;
	hold_events(table);
	*out = table;
	return 0;
}

int mpl_doorbells_without(const struct mpl_doorbells *from,
			  const struct mpl_ioeventfd *item,
			  struct mpl_doorbells **out)
{
	struct mpl_eventfd named = { .caller_fd = item->fd };
	struct mpl_doorbell key = {
		.offset = item->offset,
		.data = item->data,
		.size = item->size,
		.match = item->match,
		.event = &named,
	};
	struct mpl_doorbells *table;
	bool equal;
	uint32_t at = position(from, &key, &equal);

	if (!equal)
		return -ENOENT;
	if (from->count == 1) {
		*out = NULL;
		return 0;
	}
	table = table_new(from->count - 1);
	if (!table)
		return -ENOMEM;
	memcpy(table->items, from->items, at * sizeof(key));
	memcpy(table->items + at, from->items + at + 1,
	       (from->count - at - 1) * sizeof(key));
	hold_events(table);
	*out = table;
	return 0;
}

struct mpl_doorbells *mpl_doorbells_ref(struct mpl_doorbells *table)
{
	if (table)
		__atomic_add_fetch(&table->refs, 1, __ATOMIC_RELAXED);
	return table;
}

void mpl_doorbells_unref(struct mpl_doorbells *table)
{
	/* [B4] as in mpl_device_unref() */
	if (!table || __atomic_sub_fetch(&table->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (uint32_t i = 0; i < table->count; i++)
		mpl_eventfd_unref(table->items[i].event);
	free(table);
}

const struct mpl_doorbell *mpl_doorbell_find(const struct mpl_doorbells *table,
					     uint64_t offset,
					     unsigned int size, uint64_t value)
{
	uint32_t low = 0, high = table->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (table->items[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < table->count; low++) {
		const struct mpl_doorbell *item = &table->items[low];

		if (item->offset != offset)
			return NULL;
		if ((!item->size || item->size == size) &&
		    (!item->match || item->data == value))
			return item;
	}
	return NULL;
}

void mpl_doorbell_ring(const struct mpl_doorbell *doorbell)
{
	const struct mpl_eventfd *event = doorbell->event;
	struct pollfd room = { .fd = event->fd, .events = POLLOUT };
	uint64_t one = 1;

	/* A counter that is full is signalled already: do not wait for room. */
	if (event->blocking && poll(&room, 1, 0) != 1)
		return;
	while (write(event->fd, &one, sizeof(one)) < 0 &&
	       errno == EINTR)
		;
}
