/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What whole accesses cost: look-up, checks, callback or copy, result.
 *
 *	access/read, load, write, store		4 bytes of a device whose
 *						callback does nothing
 *	access/read_uniform			random device of 64
 *	access/read_serialised			a device with the library's lock
 *	access/ram_load, ram_store		4 bytes of RAM
 *	access/ram_read, ram_write, memcpy	64 bytes to 4 KiB
 *
 * The devices are compared with limit/call, copies with memcpy alone.
 */
#include <errno.h>
#include <string.h>

#include "bench.h"
#include "io_world.h"
#include "world.h"

#define BATCH 1024
#define COPY_MAX 4096
/* Copies go round in this much of RAM, that they find it in the cache. */
#define COPY_AREA (16 * MPL_KIB)

struct task {
	const char *name;
	/* QUIESCENT_EVERY accesses; their results, or-ed. */
	mpl_result_t (*turn)(struct mpl_reader *reader,
			     const struct io_world *world, uint64_t *random,
			     size_t bytes);
	bool sized;
};

static const struct mpl_attrs attrs;

static mpl_result_t turn_read(struct mpl_reader *reader,
			      const struct io_world *world, uint64_t *random,
			      size_t bytes)
{
	uint64_t gpa = io_device(7);
	mpl_result_t result = 0;
	uint32_t value;

	(void)random, (void)bytes;
	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++) {
		result |= mpl_read(reader, world->as, gpa + 4 * i, attrs,
				   &value, 4);
		bench_use(value);
	}
	return result;
}

static mpl_result_t turn_load(struct mpl_reader *reader,
			      const struct io_world *world, uint64_t *random,
			      size_t bytes)
{
	uint64_t gpa = io_device(7);
	mpl_result_t result = 0;
	uint64_t value;

	(void)random, (void)bytes;
	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++) {
		result |= mpl_load(reader, world->as, gpa + 4 * i, attrs, 4,
				   MPL_LITTLE_ENDIAN, &value);
		bench_use(value);
	}
	return result;
}

static mpl_result_t turn_write(struct mpl_reader *reader,
			       const struct io_world *world, uint64_t *random,
			       size_t bytes)
{
	uint64_t gpa = io_device(7);
	mpl_result_t result = 0;

	(void)random, (void)bytes;
	for (uint32_t i = 0; i < QUIESCENT_EVERY; i++)
		result |= mpl_write(reader, world->as, gpa + 4 * i, attrs, &i,
				    4);
	return result;
}

static mpl_result_t turn_store(struct mpl_reader *reader,
			       const struct io_world *world, uint64_t *random,
			       size_t bytes)
{
	uint64_t gpa = io_device(7);
	mpl_result_t result = 0;

	(void)random, (void)bytes;
	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++)
		result |= mpl_store(reader, world->as, gpa + 4 * i, attrs, 4,
				    MPL_LITTLE_ENDIAN, i);
	return result;
}

static mpl_result_t turn_read_uniform(struct mpl_reader *reader,
				      const struct io_world *world,
				      uint64_t *random, size_t bytes)
{
	mpl_result_t result = 0;
	uint32_t value;

	(void)bytes;
	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++) {
		uint64_t r = bench_random(random);

		result |= mpl_read(reader, world->as,
				   io_device((unsigned int)r) + (r >> 50 << 2) %
								       IO_PAGE,
				   attrs, &value, 4);
		bench_use(value);
	}
	return result;
}

static mpl_result_t turn_read_serialised(struct mpl_reader *reader,
					 const struct io_world *world,
					 uint64_t *random, size_t bytes)
{
	mpl_result_t result = 0;
	uint32_t value;

	(void)random, (void)bytes;
	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++) {
		result |= mpl_read(reader, world->as, IO_SERIALISED + 4 * i,
				   attrs, &value, 4);
		bench_use(value);
	}
	return result;
}

static mpl_result_t turn_ram_load(struct mpl_reader *reader,
				  const struct io_world *world,
				  uint64_t *random, size_t bytes)
{
	mpl_result_t result = 0;
	uint64_t value;

	(void)random, (void)bytes;
	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++) {
		result |= mpl_load(reader, world->as, 4 * i, attrs, 4,
				   MPL_LITTLE_ENDIAN, &value);
		bench_use(value);
	}
	return result;
}

static mpl_result_t turn_ram_store(struct mpl_reader *reader,
				   const struct io_world *world,
				   uint64_t *random, size_t bytes)
{
	mpl_result_t result = 0;

	(void)random, (void)bytes;
	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++)
		result |= mpl_store(reader, world->as, 4 * i, attrs, 4,
				    MPL_LITTLE_ENDIAN, i);
	return result;
}

static uint8_t copy_buffer[COPY_MAX] __attribute__((aligned(64)));

/* Where in the area the i-th copy of a turn lies: 64-byte aligned. */
static inline uint64_t copy_at(uint64_t i)
{
	return i * 0x740 % (COPY_AREA - COPY_MAX) & ~UINT64_C(63);
}

static mpl_result_t turn_ram_read(struct mpl_reader *reader,
				  const struct io_world *world,
				  uint64_t *random, size_t bytes)
{
	mpl_result_t result = 0;

	(void)random;
	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++) {
		result |= mpl_read(reader, world->as, copy_at(i), attrs,
				   copy_buffer, bytes);
		peer_use(copy_buffer);
	}
	return result;
}

static mpl_result_t turn_ram_write(struct mpl_reader *reader,
				   const struct io_world *world,
				   uint64_t *random, size_t bytes)
{
	mpl_result_t result = 0;

	(void)random;
	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++)
		result |= mpl_write(reader, world->as, copy_at(i), attrs,
				    copy_buffer, bytes);
	return result;
}

/* The copies alone; `reader` only for the quiescent report of all turns. */
static mpl_result_t turn_memcpy(struct mpl_reader *reader,
				const struct io_world *world, uint64_t *random,
				size_t bytes)
{
	(void)reader, (void)random;
	for (unsigned int i = 0; i < QUIESCENT_EVERY; i++) {
		const uint8_t *from = world->ram + copy_at(i);

		bench_opaque(from);
		bench_opaque(bytes);
		memcpy(copy_buffer, from, bytes);
		__asm__ volatile("" : : "r"(copy_buffer) : "memory");
	}
	return MPL_OK;
}

static const struct task tasks[] = {
	{ "access/read", turn_read, false },
	{ "access/load", turn_load, false },
	{ "access/write", turn_write, false },
	{ "access/store", turn_store, false },
	{ "access/read_uniform", turn_read_uniform, false },
	{ "access/read_serialised", turn_read_serialised, false },
	{ "access/ram_load", turn_ram_load, false },
	{ "access/ram_store", turn_ram_store, false },
	{ "access/ram_read", turn_ram_read, true },
	{ "access/ram_write", turn_ram_write, true },
	{ "access/memcpy", turn_memcpy, true },
};

static void run(struct gb_state *state, void *arg)
{
	const struct task *task = arg;
	size_t bytes = task->sized ? (size_t)gb_arg(state, 0) : 4;
	struct mpl_reader *reader;
	struct io_world *world;
	mpl_result_t result = 0;
	uint64_t random = 1;

	if (io_world_get(&world)) {
		gb_fail(state, "no world");
		return;
	}
	reader = world_enter(world->plane);
	if (!reader)
		gb_fail(state, "no reader");
	while (gb_next(state, BATCH)) {
		for (size_t i = 0; i < BATCH; i += QUIESCENT_EVERY) {
			result |= task->turn(reader, world, &random, bytes);
			mpl_reader_quiescent(reader);
		}
	}
	if (result)
		gb_fail(state, "an access failed");
	if (task->sized)
		gb_bytes(state, bytes);
	world_leave(reader);
}

static int register_task(const struct task *task)
{
	static const int64_t sizes[] = { 64, 256, 1024, 4096 };
	size_t count = task->sized ? sizeof(sizes) / sizeof(*sizes) : 1;
	int err = 0;

	for (size_t i = 0; !err && i < count; i++) {
		struct gb_bench bench = {
			.name = task->name,
			.args = &sizes[i],
			.nargs = task->sized,
			.run = run,
			.arg = (void *)(uintptr_t)task,
		};

		err = gb_register(&bench);
	}
	return err;
}

int register_access(void)
{
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(tasks) / sizeof(*tasks); i++)
		err = register_task(&tasks[i]);
	return err;
}
