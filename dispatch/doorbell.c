/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "dispatch/data_plane.h"
#include "dispatch/doorbell_hash.h"
#include "dispatch/doorbell_tree.h"

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

/* Sizes 0, 1, 2, 4, 8 and two classes of each. */
static unsigned int class_of(unsigned int size, bool match)
{
	return 2 * (size ? 1 + (unsigned int)__builtin_ctz(size) : 0) + match;
}

/* One doorbell of its class more or less. */
static void count_class(struct mpl_doorbells *table, unsigned int class,
			int difference)
{
	table->count += (uint32_t)difference;
	table->in_class[class] += (uint32_t)difference;
	table->classes &= ~(1u << class);
	table->classes |= (uint32_t)!!table->in_class[class] << class;
}

/* Takes `root` over; NULL when out of memory, or if nothing is left. */
static struct mpl_doorbells *table_new(const struct mpl_doorbells *from,
				       struct mpl_bell_node *root)
{
	struct mpl_doorbells *table = root ? malloc(sizeof(*table)) : NULL;

	if (!table) {
		mpl_bells_unref(root);
		return NULL;
	}
	*table = (struct mpl_doorbells){ 0 };
	if (from)
		*table = *from;
	table->refs = 1;
	table->root = root;
	table->hash = NULL;
	return table;
}

int mpl_doorbells_with(struct mpl_data_plane *dp,
		       const struct mpl_doorbells *from,
		       const struct mpl_doorbell *item,
		       struct mpl_doorbells **out)
{
	struct mpl_bell_node *root;
	struct mpl_doorbells *table;
	int err = mpl_bells_insert(from ? from->root : NULL, item, &root);

	if (err)
		return err;
	table = table_new(from, root);
	if (!table)
		return -ENOMEM;
	count_class(table, class_of(item->size, item->match), 1);
	mpl_doorbell_hash_join(dp, from, table, item);
	*out = table;
	return 0;
}

int mpl_doorbells_without(struct mpl_data_plane *dp,
			  const struct mpl_doorbells *from,
			  const struct mpl_ioeventfd *item,
			  struct mpl_doorbells **out)
{
	struct mpl_eventfd named = { .caller_fd = item->fd };
	const struct mpl_doorbell key = {
		.offset = item->offset,
		.data = item->data,
		.size = item->size,
		.match = item->match,
		.event = &named,
	};
	struct mpl_bell_node *root;
	struct mpl_doorbells *table = NULL;
	int err = mpl_bells_remove(from ? from->root : NULL, &key, &root);

	if (err)
		return err;
	if (root) {
		table = table_new(from, root);
		if (!table)
			return -ENOMEM;
		count_class(table, class_of(item->size, item->match), -1);
		mpl_doorbell_hash_join(dp, from, table, &key);
	}
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
	mpl_doorbell_hash_leave(table);
	mpl_bells_unref(table->root);
	free(table);
}

int mpl_doorbells_each(const struct mpl_doorbells *table, mpl_doorbell_fn *fn,
		       void *arg)
{
	return table ? mpl_bells_each(table->root, fn, arg) : 0;
}

int mpl_doorbells_missing(const struct mpl_doorbells *a,
			  const struct mpl_doorbells *b, mpl_doorbell_fn *fn,
			  void *arg)
{
	return a ? mpl_bells_missing(a->root, b ? b->root : NULL, fn, arg) : 0;
}

const struct mpl_doorbell *mpl_doorbell_find(const struct mpl_doorbells *table,
					     uint64_t offset,
					     unsigned int size, uint64_t value)
{
	uint32_t classes = table->classes &
			   (3u | 3u << class_of(size, false));

	/* In the order of the items; most tables have one class. */
	for (; classes; classes &= classes - 1) {
		unsigned int class = (unsigned int)__builtin_ctz(classes);
		const struct mpl_doorbell key = {
			.offset = offset,
			.data = value,
			.size = class < 2 ? 0 : size,
			.match = class & 1,
		};
		const struct mpl_doorbell *found =
			table->hash ? mpl_doorbell_hash_find(table, &key) :
				      mpl_bells_find(table->root, &key);

		if (found)
			return found;
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
