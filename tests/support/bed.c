/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch/leaf.h"
#include "dispatch/publish.h"
#include "dispatch/retire.h"
#include "lib/base/list.h"

static void keep_line(void *opaque, enum mpl_log_level level, const char *line)
{
	struct bed *bed = opaque;

	(void)level;
	bed->lines++;
	snprintf(bed->log, sizeof(bed->log), "%s", line);
}

static void drop_snapshot(void *snapshot)
{
	mpl_snapshot_drop(snapshot);
}

struct bed *bed_new(void)
{
	struct bed *bed = aligned_alloc(_Alignof(struct bed), sizeof(*bed));
	struct mpl_reader_state *reader;

	assert_non_null(bed);
	memset(bed, 0, sizeof(*bed));
	assert_int_equal(
		mpl_data_plane_init(&bed->dp, BED_READERS, BED_SPARES), 0);
	bed->dp.unassigned_byte = 0xff;
	bed->dp.stall_ns = UINT64_C(1000000000);
	bed->dp.log.fn = keep_line;
	bed->dp.log.opaque = bed;
	for (unsigned int i = 0; i < BED_SPACES; i++) {
		bed->as[i].slot = i;
		bed->root[i] = MPL_ENTRY_EMPTY;
	}
	bed->plain = bed_device(bed, NULL, NULL);
	bed_commit(bed);
	assert_int_equal(mpl_reader_add(&bed->dp, false, &reader), 0);
	bed->reader = &reader->pub;
	assert_int_equal(mpl_reader_online(bed->reader), 0);
	return bed;
}

static void open_commit(struct bed *bed)
{
	if (bed->open)
		return;
	bed->stale = mpl_retired_new();
	assert_non_null(bed->stale);
	mpl_compile_begin(&bed->compile, &bed->dp, bed->stale);
	bed->compile.pack = mpl_leaf_pays(&bed->dp, 1);
	bed->open = true;
}

/* Without making a node: the arena may be full. */
static void empty_spaces(struct bed *bed)
{
	if (bed->open)
		bed_commit(bed);
	open_commit(bed);
	for (unsigned int i = 0; i < BED_SPACES; i++) {
		struct mpl_indexes *list = &bed->sections[i];

		assert_int_equal(mpl_compile_discard(&bed->compile,
						     bed->root[i]), 0);
		bed->root[i] = MPL_ENTRY_EMPTY;
		while (list->count)
			assert_int_equal(mpl_retire_section(
				bed->stale, list->items[--list->count]), 0);
	}
	bed_commit(bed);
}

void bed_free(struct bed *bed)
{
	empty_spaces(bed);
	assert_int_equal(mpl_reader_unregister(bed->reader), 0);
	assert_int_equal(mpl_retire_poll(&bed->dp), 0);
	assert_int_equal(bed->dp.nodes.live, 0);
	assert_int_equal(bed->dp.notes.live, 0);
	assert_int_equal(bed->dp.leaves.live, 0);
	assert_int_equal(bed->dp.sections.live, 0);
	assert_int_equal(bed->dp.readers_live, 0);
	mpl_data_plane_destroy(&bed->dp);
	for (unsigned int i = 0; i < BED_SPACES; i++)
		free(bed->sections[i].items);
	while (bed->devices) {
		struct bed_device *device = bed->devices;

		bed->devices = device->next;
		assert_true(mpl_device_unpinned(&device->device));
		assert_int_equal(device->unreferenced, 0);
		mpl_device_unref(&device->device);
		assert_int_equal(device->unreferenced, 1);
		free(device);
	}
	free(bed);
}

static void count_unreferenced(struct mpl_device *device)
{
	MPL_OF(device, struct bed_device, device)->unreferenced++;
}

struct mpl_device *bed_device(struct bed *bed, const struct mpl_io_ops *ops,
			      void *opaque)
{
	struct bed_device *device =
		aligned_alloc(_Alignof(struct bed_device), sizeof(*device));

	assert_non_null(device);
	memset(device, 0, sizeof(*device));
	assert_int_equal(mpl_device_init(&device->device, ops, opaque), 0);
	device->device.unreferenced = count_unreferenced;
	device->next = bed->devices;
	bed->devices = device;
	return &device->device;
}

const uint32_t *bed_node(const struct bed *bed, uint32_t entry,
			 uint32_t room[MPL_NODE_ENTRIES])
{
	unsigned int shift = mpl_entry_shift(entry);
	const struct mpl_leaf *leaf;

	assert_false(mpl_entry_is_section(entry));
	if (!mpl_entry_is_leaf(entry))
		return mpl_arena_at(&bed->dp.nodes, bed_index(entry));
	leaf = mpl_leaf_at(&bed->dp, bed_index(entry));
	mpl_leaf_unpack(&bed->dp, leaf, mpl_leaf_base(&bed->dp, leaf, shift),
			shift, room);
	return room;
}

uint32_t bed_nodes(const struct bed *bed)
{
	return bed->dp.nodes.live + bed->dp.leaves.live;
}

/* Position of the first section of a space that does not end before gpa. */
static size_t position(const struct bed *bed, unsigned int space, uint64_t gpa)
{
	const struct mpl_indexes *list = &bed->sections[space];
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (mpl_section_last(mpl_section_at(
			    &bed->dp, list->items[middle])) < gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint32_t bed_put(struct bed *bed, unsigned int space,
		 const struct mpl_section *section)
{
	struct mpl_indexes *list = &bed->sections[space];
	struct mpl_section full = *section;
	size_t at = position(bed, space, section->start);
	uint32_t index;

	open_commit(bed);
	if (!full.device)
		full.device = bed->plain;
	if (full.device->ops)
		full.flags |= MPL_SECTION_CALLBACKS;
	assert_int_equal(mpl_section_new(&bed->dp, &full, &index), 0);
	assert_int_equal(mpl_compile_insert(&bed->compile, &bed->root[space],
					    index), 0);
	assert_int_equal(MPL_RESERVE(list, 1), 0);
	memmove(list->items + at + 1, list->items + at,
		(list->count - at) * sizeof(list->items[0]));
	list->items[at] = index;
	list->count++;
	return index;
}

void bed_take(struct bed *bed, unsigned int space, uint64_t gpa)
{
	struct mpl_indexes *list = &bed->sections[space];
	size_t at = position(bed, space, gpa);
	uint32_t index = bed_find(bed, space, gpa);

	assert_int_not_equal(index, 0);
	open_commit(bed);
	assert_int_equal(mpl_compile_remove(&bed->compile, &bed->root[space],
					    index), 0);
	assert_int_equal(mpl_retire_section(bed->stale, index), 0);
	list->count--;
	memmove(list->items + at, list->items + at + 1,
		(list->count - at) * sizeof(list->items[0]));
}

/* Space i shows view i + 1; view 0 is the empty one. */
static void first_table(struct bed *bed, struct mpl_snapshot *snapshot)
{
	uint32_t *table = mpl_view_table_new(snapshot, BED_SPACES);

	assert_non_null(table);
	for (uint32_t i = 0; i < BED_SPACES; i++)
		table[i] = i + 1;
	assert_int_equal(mpl_retire_object(bed->stale, free,
					   (void *)snapshot->view_of, 0), 0);
	snapshot->view_of = table;
	snapshot->slots = BED_SPACES;
}

void bed_commit(struct bed *bed)
{
	struct mpl_snapshot *snapshot, *old;

	open_commit(bed);
	for (unsigned int i = 0; i < BED_SPACES; i++)
		mpl_compile_seal(&bed->compile, &bed->root[i], 0, UINT64_MAX);
	snapshot = mpl_snapshot_new(&bed->dp, bed->dp.published->generation + 1,
				    BED_SPACES + 1);
	assert_non_null(snapshot);
	if (snapshot->slots < BED_SPACES)
		first_table(bed, snapshot);
	for (unsigned int i = 0; i < BED_SPACES; i++) {
		struct mpl_root *root = &snapshot->root[i + 1];

		if (root->entry == bed->root[i])
			continue;
		root->entry = bed->root[i];
		root->stamp = mpl_stamp_new(&bed->dp);
	}
	old = mpl_publish(&bed->dp, snapshot);
	assert_int_equal(mpl_retire_object(bed->stale, drop_snapshot, old,
					   mpl_snapshot_bytes(old->views)), 0);
	mpl_compile_keep(&bed->compile);
	mpl_retire(&bed->dp, bed->stale);
	bed->stale = NULL;
	bed->open = false;
}

uint32_t bed_io(struct bed *bed, unsigned int space, uint64_t start,
		uint64_t last, struct mpl_device *device)
{
	const struct mpl_section section = {
		.start = start,
		.span = last - start,
		.device = device,
	};
	uint32_t index = bed_put(bed, space, &section);

	bed_commit(bed);
	return index;
}

uint32_t bed_memory(struct bed *bed, unsigned int space, uint64_t start,
		    uint64_t last, void *host, uint32_t flags)
{
	const struct mpl_section section = {
		.start = start,
		.span = last - start,
		.host = host,
		.flags = flags,
	};
	uint32_t index = bed_put(bed, space, &section);

	bed_commit(bed);
	return index;
}

uint32_t bed_find(const struct bed *bed, unsigned int space, uint64_t gpa)
{
	const struct mpl_indexes *list = &bed->sections[space];
	size_t at = position(bed, space, gpa);

	if (at == list->count ||
	    mpl_section_at(&bed->dp, list->items[at])->start > gpa)
		return 0;
	return list->items[at];
}

void bed_settle(struct bed *bed)
{
	assert_int_equal(mpl_reader_quiescent(bed->reader), 0);
	mpl_retire_poll(&bed->dp);
}

int bed_setup(void **state)
{
	*state = bed_new();
	return 0;
}

int bed_setup_packed(void **state)
{
	bed_setup(state);
	((struct bed *)*state)->dp.plain_nodes = 0;
	return 0;
}

int bed_teardown(void **state)
{
	bed_free(*state);
	return 0;
}

static mpl_result_t read_bytes(void *opaque, uint64_t offset,
			       unsigned int size, struct mpl_attrs attrs,
			       uint64_t *value)
{
	const uint8_t *memory = opaque;

	(void)attrs;
	*value = 0;
	for (unsigned int i = 0; i < size; i++)
		*value |= (uint64_t)memory[offset + i] << 8 * i;
	return MPL_OK;
}

static mpl_result_t write_bytes(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t value)
{
	uint8_t *memory = opaque;

	(void)attrs;
	for (unsigned int i = 0; i < size; i++)
		memory[offset + i] = (uint8_t)(value >> 8 * i);
	return MPL_OK;
}

const struct mpl_io_ops bed_bytes_ops = {
	.read = read_bytes,
	.write = write_bytes,
	.endian = MPL_LITTLE_ENDIAN,
};
