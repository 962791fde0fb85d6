/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* memfd_create */
#include "lib/base/arena.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	SMALL_STEP = 64 << 10,
	LARGE_STEP = 2 << 20,
};

static size_t reserved_bytes(const struct mpl_arena *arena)
{
	size_t bytes = (size_t)arena->max * arena->item_size;

	return (bytes + LARGE_STEP - 1) & ~(size_t)(LARGE_STEP - 1);
}

/* Small arenas grow gently, so that a plane of ten regions stays small. */
static int commit_more(struct mpl_arena *arena)
{
	size_t step = arena->committed < LARGE_STEP ? SMALL_STEP : LARGE_STEP;
	size_t room = reserved_bytes(arena) - arena->committed;
	char *from = arena->base + arena->committed;

	if (step > room)
		step = room;
	if (mprotect(from, step, PROT_READ | PROT_WRITE))
		return -ENOMEM;
	/* A wish: without transparent huge pages it is only slower. */
	if (step == LARGE_STEP)
		(void)madvise(from, step, MADV_HUGEPAGE);
	arena->committed += step;
	return 0;
}

/* Reserve with 2 MiB alignment: mmap gives 4 KiB, so cut the ends off. */
static char *reserve(size_t bytes)
{
	size_t more = bytes + LARGE_STEP;
	char *raw = mmap(NULL, more, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t head, tail;

	if (raw == MAP_FAILED)
		return NULL;
	head = -(uintptr_t)raw & (LARGE_STEP - 1);
	tail = LARGE_STEP - head;
	if (head)
		munmap(raw, head);
	if (tail)
		munmap(raw + head + bytes, tail);
	return raw + head;
}

static void set_up(struct mpl_arena *arena, size_t item_size, uint32_t max)
{
	*arena = (struct mpl_arena){
		.item_size = item_size,
		.max = max,
		.count = 1,
	};
	assert(item_size >= sizeof(uint32_t) && max > 1);
}

static int commit_first(struct mpl_arena *arena)
{
	int err = commit_more(arena);

	if (err)
		mpl_arena_destroy(arena);
	return err;
}

int mpl_arena_init(struct mpl_arena *arena, size_t item_size, uint32_t max)
{
	set_up(arena, item_size, max);
	arena->base = reserve(reserved_bytes(arena));
	if (!arena->base)
		return -ENOMEM;
	arena->view = arena->base;
	return commit_first(arena);
}

/* All of a sparse file, or NULL. */
static void *map_file(int fd, size_t bytes, int protection)
{
	void *at = mmap(NULL, bytes, protection, MAP_SHARED | MAP_NORESERVE, fd,
			0);

	return at == MAP_FAILED ? NULL : at;
}

int mpl_arena_init_twice(struct mpl_arena *arena, size_t item_size,
			 uint32_t max)
{
	size_t bytes;
	int fd;

	set_up(arena, item_size, max);
	bytes = reserved_bytes(arena);
	fd = memfd_create("memplane-arena", MFD_CLOEXEC);
	if (fd < 0)
		return -ENOMEM;
	if (!ftruncate(fd, (off_t)bytes)) {
		arena->base = map_file(fd, bytes, PROT_NONE);
		arena->view = map_file(fd, bytes, PROT_READ);
	}
	close(fd);
	if (!arena->base || !arena->view) {
		mpl_arena_destroy(arena);
		return -ENOMEM;
	}
	return commit_first(arena);
}

void mpl_arena_destroy(struct mpl_arena *arena)
{
	if (arena->view && arena->view != arena->base)
		munmap((void *)arena->view, reserved_bytes(arena));
	if (arena->base)
		munmap(arena->base, reserved_bytes(arena));
	arena->base = NULL;
	arena->view = NULL;
}

int mpl_arena_alloc(struct mpl_arena *arena, uint32_t *index)
{
	uint32_t got = arena->free_head;

	if (got) {
		memcpy(&arena->free_head, mpl_arena_at(arena, got),
		       sizeof(got));
	} else {
		if (arena->count == arena->max)
			return -ENOSPC;
		while ((size_t)(arena->count + 1) * arena->item_size >
		       arena->committed) {
			int err = commit_more(arena);

			if (err)
				return err;
		}
		got = arena->count++;
	}
	arena->live++;
	*index = got;
	return 0;
}

void mpl_arena_free(struct mpl_arena *arena, uint32_t index)
{
	void *item = mpl_arena_at(arena, index);

	assert(index && index < arena->count);
#ifdef MPL_DEBUG
	/* Whoever still reads it runs into memory without access. */
	memset(item, 0xff, arena->item_size);
#endif
	memcpy(item, &arena->free_head, sizeof(arena->free_head));
	arena->free_head = index;
	arena->live--;
}
