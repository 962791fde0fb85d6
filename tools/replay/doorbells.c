/* SPDX-License-Identifier: BSD-3-Clause */
#include "doorbells.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vec.h"

int doorbell_get(struct doorbells *doorbells, uint32_t id)
{
	struct doorbell *bell;
	int fd;

	if (vec_reserve(&doorbells->by_id, &doorbells->by_id_cap,
			(size_t)id + 1, sizeof(*bell)))
		return -ENOMEM;
	bell = &doorbells->by_id[id];
	if (bell->uses) {
		bell->uses++;
		return bell->fd;
	}
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (vec_reserve(&doorbells->id_of, &doorbells->id_of_cap,
			(size_t)fd + 1, sizeof(*doorbells->id_of))) {
		close(fd);
		return -ENOMEM;
	}
	doorbells->id_of[fd] = id;
	*bell = (struct doorbell){ .fd = fd, .uses = 1 };
	return fd;
}

int doorbell_put(struct doorbells *doorbells, uint32_t id)
{
	struct doorbell *bell;

	if (id >= doorbells->by_id_cap || !doorbells->by_id[id].uses)
		return -ENOENT;
	bell = &doorbells->by_id[id];
	if (bell->uses == 1) {
		if (vec_reserve(&doorbells->closing, &doorbells->closing_cap,
				doorbells->closing_count + 1,
				sizeof(*doorbells->closing)))
			return -ENOMEM;
		doorbells->closing[doorbells->closing_count++] = bell->fd;
	}
	bell->uses--;
	return bell->fd;
}

uint32_t doorbell_id(const struct doorbells *doorbells, int fd)
{
	if (fd < 0 || (size_t)fd >= doorbells->id_of_cap)
		return 0;
	return doorbells->id_of[fd];
}

void doorbells_committed(struct doorbells *doorbells)
{
	size_t i;

	for (i = 0; i < doorbells->closing_count; i++) {
		doorbells->id_of[doorbells->closing[i]] = 0;
		close(doorbells->closing[i]);
	}
	doorbells->closing_count = 0;
}

void doorbells_fini(struct doorbells *doorbells)
{
	size_t i;

	doorbells_committed(doorbells);
	for (i = 0; i < doorbells->by_id_cap; i++)
		if (doorbells->by_id[i].uses)
			close(doorbells->by_id[i].fd);
	free(doorbells->by_id);
	free(doorbells->id_of);
	free(doorbells->closing);
	*doorbells = (struct doorbells){ 0 };
}
