/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses of any length and place over memory and two devices of any declared
 * sizes, against a model that thinks in bytes.
 *
 *	00  RAM
 *	40  device a, from its offset 0 on
 *	80  nothing
 *	a0  ROM
 *	c0  device b, from its offset 13 (hex) on: aligned there is another
 *	    thing than aligned in the guest
 *	100 RAM, to 13f
 *
 * The input: three bytes for each device, then four for each access.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include <memplane.h>

enum {
	A_AT = 0x40,
	HOLE_AT = 0x80,
	ROM_AT = 0xa0,
	B_AT = 0xc0,
	B_OFFSET = 0x13,
	HIGH_AT = 0x100,
	END = 0x140,
	DEVICE_BYTES = 0x90, /* wide callbacks reach beyond what is shown */
	LENGTH_MAX = 72,
	ACCESSES_MAX = 64,
};

struct device {
	struct mpl_io_ops ops;
	uint8_t bytes[DEVICE_BYTES];
	uint8_t model[DEVICE_BYTES];
};

struct machine {
	struct device a, b;
	uint8_t ram[A_AT], rom[B_AT - ROM_AT], high[END - HIGH_AT];
	/* By address; devices have theirs. */
	uint8_t model[END];
	struct mpl_plane *plane;
	struct mpl_region *regions[7];
	struct mpl_address_space *as;
	struct mpl_reader *reader;
};

/* A callback gets nothing that the device has not said it takes. */
static void check_callback(const struct device *device, uint64_t offset,
			   unsigned int size)
{
	const struct mpl_access_sizes *impl = &device->ops.impl;

	FUZZ_CHECK(size == 1 || size == 2 || size == 4 || size == 8);
	FUZZ_CHECK(size >= impl->min && size <= impl->max);
	FUZZ_CHECK(impl->unaligned || offset % size == 0);
	FUZZ_CHECK(offset + size <= DEVICE_BYTES);
}

static unsigned int byte_of(enum mpl_endian endian, unsigned int size,
			    unsigned int i)
{
	return endian == MPL_BIG_ENDIAN ? size - 1 - i : i;
}

static mpl_result_t device_read(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t *value)
{
	const struct device *device = opaque;

	(void)attrs;
	check_callback(device, offset, size);
	*value = 0;
	for (unsigned int i = 0; i < size; i++)
		*value |= (uint64_t)device->bytes[offset + i]
			  << 8 * byte_of(device->ops.endian, size, i);
	return MPL_OK;
}

static mpl_result_t device_write(void *opaque, uint64_t offset,
				 unsigned int size, struct mpl_attrs attrs,
				 uint64_t value)
{
	struct device *device = opaque;

	(void)attrs;
	check_callback(device, offset, size);
	for (unsigned int i = 0; i < size; i++)
		device->bytes[offset + i] = (uint8_t)(
			value >> 8 * byte_of(device->ops.endian, size, i));
	return MPL_OK;
}

static struct mpl_access_sizes sizes_of(uint8_t byte)
{
	unsigned int min = byte & 3, more = byte >> 2 & 3;
	unsigned int max = min + more > 3 ? 3 : min + more;

	return (struct mpl_access_sizes){ .min = (uint8_t)(1u << min),
					  .max = (uint8_t)(1u << max),
					  .unaligned = byte & 0x10 };
}

static void set_device(struct device *device, const uint8_t *data)
{
	device->ops = (struct mpl_io_ops){
		.read = device_read,
		.write = device_write,
		.valid = sizes_of(data[0]),
		.impl = sizes_of(data[1]),
		.endian = data[2] & 1 ? MPL_BIG_ENDIAN : MPL_LITTLE_ENDIAN,
		.concurrency = data[2] & 2 ? MPL_LOCK_FREE : MPL_SERIALISED,
	};
}

static void fill(struct machine *machine)
{
	for (unsigned int i = 0; i < DEVICE_BYTES; i++) {
		machine->a.bytes[i] = machine->a.model[i] = (uint8_t)(i * 5);
		machine->b.bytes[i] = machine->b.model[i] = (uint8_t)(i * 3);
	}
	for (unsigned int i = 0; i < END; i++)
		machine->model[i] = (uint8_t)(i * 7 + 1);
	memcpy(machine->ram, machine->model, sizeof(machine->ram));
	memcpy(machine->rom, machine->model + ROM_AT, sizeof(machine->rom));
	memcpy(machine->high, machine->model + HIGH_AT,
	       sizeof(machine->high));
}

static void make(struct machine *machine)
{
	struct mpl_ram_config ram = { .host = machine->ram };
	struct mpl_ram_config rom = { .host = machine->rom };
	struct mpl_ram_config high = { .host = machine->high };
	struct mpl_region **r = machine->regions;
	struct mpl_plane_config config = { .max_readers = 2 };
	struct mpl_plane *plane;
	struct mpl_txn *tx;

	FUZZ_CHECK(!mpl_plane_new(&plane, &config));
	machine->plane = plane;
	FUZZ_CHECK(!mpl_region_new_container(plane, "r", UINT64_MAX, &r[0]));
	FUZZ_CHECK(!mpl_region_new_ram(plane, "ram", sizeof(machine->ram),
				       &ram, &r[1]));
	FUZZ_CHECK(!mpl_region_new_io(plane, "a", HOLE_AT - A_AT,
				      &machine->a.ops, &machine->a, &r[2]));
	FUZZ_CHECK(!mpl_region_new_rom(plane, "rom", sizeof(machine->rom),
				       &rom, &r[3]));
	FUZZ_CHECK(!mpl_region_new_io(plane, "b", DEVICE_BYTES,
				      &machine->b.ops, &machine->b, &r[4]));
	FUZZ_CHECK(!mpl_region_new_alias(plane, "window", r[4], B_OFFSET,
					 HIGH_AT - B_AT, &r[5]));
	FUZZ_CHECK(!mpl_region_new_ram(plane, "high", sizeof(machine->high),
				       &high, &r[6]));
	tx = mpl_begin(plane);
	mpl_region_add(tx, r[0], 0, r[1], 0);
	mpl_region_add(tx, r[0], A_AT, r[2], 0);
	mpl_region_add(tx, r[0], ROM_AT, r[3], 0);
	mpl_region_add(tx, r[0], B_AT, r[5], 0);
	mpl_region_add(tx, r[0], HIGH_AT, r[6], 0);
	FUZZ_CHECK(!mpl_commit(tx));
	FUZZ_CHECK(!mpl_address_space_new(plane, "as", r[0], &machine->as));
	FUZZ_CHECK(!mpl_reader_register(plane, &machine->reader));
	FUZZ_CHECK(!mpl_reader_online(machine->reader));
}

static void destroy(struct machine *machine)
{
	FUZZ_CHECK(!mpl_reader_offline(machine->reader));
	FUZZ_CHECK(!mpl_reader_unregister(machine->reader));
	for (int i = 0; i < 7; i++)
		mpl_region_unref(machine->regions[i]);
	FUZZ_CHECK(!mpl_plane_free(machine->plane));
}

/* What is at an address, and up to which one. */
struct area {
	uint64_t end;
	struct device *device;
	uint64_t offset; /* in the device, of the address */
	bool memory, writable;
};

static struct area area_at(struct machine *machine, uint64_t gpa)
{
	if (gpa < A_AT)
		return (struct area){ A_AT, NULL, 0, true, true };
	if (gpa < HOLE_AT)
		return (struct area){ HOLE_AT, &machine->a, gpa - A_AT, 0, 0 };
	if (gpa < ROM_AT)
		return (struct area){ ROM_AT, NULL, 0, false, false };
	if (gpa < B_AT)
		return (struct area){ B_AT, NULL, 0, true, false };
	if (gpa < HIGH_AT)
		return (struct area){ HIGH_AT, &machine->b,
				      gpa - B_AT + B_OFFSET, 0, 0 };
	if (gpa < END)
		return (struct area){ END, NULL, 0, true, true };
	return (struct area){ UINT64_MAX, NULL, 0, false, false };
}

/* The largest piece that the guest may do here. */
static unsigned int piece_of(const struct device *device, uint64_t offset,
			     uint64_t left)
{
	unsigned int size = device->ops.valid.max;

	while (size > left)
		size /= 2;
	while (!device->ops.valid.unaligned && offset % size)
		size /= 2;
	return size;
}

/*
 * The bytes of a piece, and zeros in what the callbacks could not leave out:
 * the rest of units of impl.min that are written in part.
 */
static void model_write_device(struct device *device, uint64_t offset,
			       const uint8_t *from, unsigned int size)
{
	const struct mpl_access_sizes *impl = &device->ops.impl;
	uint64_t first = offset, end = offset + size;

	if (impl->unaligned) {
		if (size < impl->min)
			end = offset + impl->min;
	} else {
		first -= first % impl->min;
		end += (impl->min - end % impl->min) % impl->min;
	}
	for (uint64_t i = first; i < end; i++)
		device->model[i] = i >= offset && i - offset < size ?
					   from[i - offset] :
					   0;
}

/* `buf` is filled, or written from. */
static mpl_result_t model_access(struct machine *machine, uint64_t gpa,
				 uint8_t *buf, uint64_t len, bool is_write)
{
	mpl_result_t result = MPL_OK;

	while (len) {
		struct area area = area_at(machine, gpa);
		uint64_t done = area.end - gpa < len ? area.end - gpa : len;
		bool fails = !area.memory && !area.device;

		if (fails)
			result |= MPL_DECODE_ERROR;
		if (area.device) {
			done = piece_of(area.device, area.offset, done);
			fails = done < area.device->ops.valid.min;
		} else if (area.memory && is_write) {
			fails = !area.writable;
		}
		if (fails && (area.device || area.memory))
			result |= MPL_ACCESS_ERROR;
		if (fails && !is_write)
			memset(buf, 0xff, done);
		else if (!fails && area.device && is_write)
			model_write_device(area.device, area.offset, buf,
					   (unsigned int)done);
		else if (!fails && area.device)
			memcpy(buf, area.device->model + area.offset, done);
		else if (!fails && is_write)
			memcpy(machine->model + gpa, buf, done);
		else if (!fails)
			memcpy(buf, machine->model + gpa, done);
		gpa += done;
		buf += done;
		len -= done;
	}
	return result;
}

static void compare(const struct machine *machine)
{
	FUZZ_CHECK(!memcmp(machine->a.bytes, machine->a.model, DEVICE_BYTES));
	FUZZ_CHECK(!memcmp(machine->b.bytes, machine->b.model, DEVICE_BYTES));
	FUZZ_CHECK(!memcmp(machine->ram, machine->model,
			   sizeof(machine->ram)));
	FUZZ_CHECK(!memcmp(machine->rom, machine->model + ROM_AT,
			   sizeof(machine->rom)));
	FUZZ_CHECK(!memcmp(machine->high, machine->model + HIGH_AT,
			   sizeof(machine->high)));
}

static uint64_t word_of(const uint8_t *bytes, unsigned int size,
			enum mpl_endian endian)
{
	uint64_t word = 0;

	for (unsigned int i = 0; i < size; i++)
		word |= (uint64_t)bytes[i] << 8 * byte_of(endian, size, i);
	return word;
}

static void access_typed(struct machine *machine, uint64_t gpa,
			 unsigned int size, enum mpl_endian endian,
			 bool is_write, uint8_t *bytes)
{
	static const struct mpl_attrs attrs;
	mpl_result_t result, expected;
	uint64_t value;

	if (is_write) {
		value = word_of(bytes, size, endian);
		result = mpl_store(machine->reader, machine->as, gpa, attrs,
				   size, endian, value);
		expected = model_access(machine, gpa, bytes, size, true);
	} else {
		result = mpl_load(machine->reader, machine->as, gpa, attrs,
				  size, endian, &value);
		expected = model_access(machine, gpa, bytes, size, false);
		FUZZ_CHECK(value == word_of(bytes, size, endian));
	}
	FUZZ_CHECK(result == expected);
}

static void access_bytes(struct machine *machine, uint64_t gpa, uint64_t len,
			 bool is_write, uint8_t *bytes)
{
	static const struct mpl_attrs attrs;
	mpl_result_t result, expected;
	uint8_t got[LENGTH_MAX];

	if (is_write) {
		result = mpl_write(machine->reader, machine->as, gpa, attrs,
				   bytes, len);
		expected = model_access(machine, gpa, bytes, len, true);
	} else {
		result = mpl_read(machine->reader, machine->as, gpa, attrs,
				  got, len);
		expected = model_access(machine, gpa, bytes, len, false);
		FUZZ_CHECK(!memcmp(got, bytes, len));
	}
	FUZZ_CHECK(result == expected);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct machine machine;

	if (size < 6)
		return 0;
	set_device(&machine.a, data);
	set_device(&machine.b, data + 3);
	fill(&machine);
	make(&machine);
	for (size_t at = 6, n = 0; at + 4 <= size && n < ACCESSES_MAX;
	     at += 4, n++) {
		uint8_t kind = data[at], bytes[LENGTH_MAX];
		uint64_t gpa = (data[at + 1] | data[at + 2] << 8) %
			       (END + 0x20);
		enum mpl_endian endian = kind & 4 ? MPL_BIG_ENDIAN :
						    MPL_LITTLE_ENDIAN;

		for (unsigned int i = 0; i < LENGTH_MAX; i++)
			bytes[i] = (uint8_t)(data[at + 3] * 31 + i * 11 + n);
		if (kind & 2)
			access_typed(&machine, gpa, 1u << (data[at + 3] & 3),
				     endian, kind & 1, bytes);
		else
			access_bytes(&machine, gpa,
				     data[at + 3] % LENGTH_MAX, kind & 1,
				     bytes);
		compare(&machine);
	}
	destroy(&machine);
	return 0;
}
