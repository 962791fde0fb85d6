/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/io.h"

#include "dispatch/doorbell.h"
#include "dispatch/lock.h"

/* The lowest `size` bytes. */
static uint64_t mask(unsigned int size)
{
	return size >= 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;
}

unsigned int mpl_io_piece(const struct mpl_device *device, uint64_t offset,
			  uint64_t len)
{
	unsigned int size = device->valid.max;

	if (len < size)
		size = 1u << (31 - __builtin_clz((unsigned int)len));
	if (!device->valid.unaligned)
		while (offset & (size - 1))
			size /= 2;
	return size;
}

/* Where byte i of a value of `size` bytes sits, in bits from the lowest. */
static unsigned int byte_shift(const struct mpl_device *device,
			       unsigned int size, unsigned int i)
{
	return 8 * (device->big_endian ? size - 1 - i : i);
}

/*
 * Is one callback enough, exactly as asked?  Nearly always.
 */
static bool fits(const struct mpl_device *device, uint64_t offset,
		 unsigned int size)
{
	return size >= device->impl.min && size <= device->impl.max &&
	       (device->impl.unaligned || !(offset & (size - 1)));
}

/* The callbacks that cover a piece: `size` each, from `start` on. */
struct cover {
	uint64_t start;
	unsigned int size;
};

static struct cover cover_of(const struct mpl_device *device, uint64_t offset,
			     unsigned int size)
{
	struct cover cover = { .start = offset, .size = size };

	if (size < device->impl.min)
		cover.size = device->impl.min;
	else if (size > device->impl.max)
		cover.size = device->impl.max;
	if (!device->impl.unaligned)
		cover.start &= ~(uint64_t)(cover.size - 1);
	return cover;
}

/* Take the bytes of `part`, read at `at`, that belong to [offset, size]. */
static void pick(const struct mpl_device *device, struct cover cover,
		 uint64_t at, uint64_t part, uint64_t offset,
		 unsigned int size, uint64_t *value)
{
	for (unsigned int i = 0; i < cover.size; i++) {
		uint64_t byte = part >> byte_shift(device, cover.size, i);
		uint64_t to = at + i - offset;

		if (to < size)
			*value |= (byte & 0xff)
				  << byte_shift(device, size,
						(unsigned int)to);
	}
}

static mpl_result_t read_parts(const struct mpl_device *device,
			       uint64_t offset, unsigned int size,
			       struct mpl_attrs attrs, uint64_t *value)
{
	struct cover cover = cover_of(device, offset, size);
	mpl_result_t result = MPL_OK;

	*value = 0;
	/* Counted from `start`: the end may be past the last offset. */
	for (uint64_t done = 0; done < offset - cover.start + size;
	     done += cover.size) {
		uint64_t part = 0;

		result |= device->ops->read(device->opaque,
					    cover.start + done, cover.size,
					    attrs, &part);
		pick(device, cover, cover.start + done, part, offset, size,
		     value);
	}
	return result;
}

static mpl_result_t write_parts(const struct mpl_device *device,
				uint64_t offset, unsigned int size,
				struct mpl_attrs attrs, uint64_t value)
{
	struct cover cover = cover_of(device, offset, size);
	mpl_result_t result = MPL_OK;

	for (uint64_t done = 0; done < offset - cover.start + size;
	     done += cover.size) {
		uint64_t part = 0;

		for (unsigned int i = 0; i < cover.size; i++) {
			uint64_t from = cover.start + done + i - offset;
			uint64_t byte;

			if (from >= size)
				continue;
			byte = value >> byte_shift(device, size,
						   (unsigned int)from);
			part |= (byte & 0xff)
				<< byte_shift(device, cover.size, i);
		}
		result |= device->ops->write(device->opaque,
					     cover.start + done, cover.size,
					     attrs, part);
	}
	return result;
}

/* What is refused without asking the device, and so without its lock. */
static bool possible(const struct mpl_device *device, unsigned int size,
		     struct mpl_attrs attrs, bool has_callback)
{
	return has_callback && !attrs.memory_only &&
	       size >= device->valid.min;
}

static bool accepts(const struct mpl_device *device, uint64_t offset,
		    unsigned int size, bool is_write, struct mpl_attrs attrs)
{
	return !device->ops->accepts ||
	       device->ops->accepts(device->opaque, offset, size, is_write,
				    attrs);
}

static mpl_result_t refused(struct mpl_reader_state *reader)
{
	mpl_tally(&reader->stats.access_errors);
	return MPL_ACCESS_ERROR;
}

bool mpl_io_ring(struct mpl_reader_state *reader,
		 const struct mpl_section *section, uint64_t offset,
		 unsigned int size, uint64_t value)
{
	const struct mpl_doorbell *doorbell = mpl_doorbell_find(
		section->doorbells, offset, size, value & mask(size));

	if (!doorbell)
		return false;
	mpl_doorbell_ring(doorbell);
	mpl_tally(&reader->stats.doorbells);
	return true;
}

mpl_result_t mpl_io_read(struct mpl_reader_state *reader,
			 const struct mpl_section *section, uint64_t offset,
			 unsigned int size, struct mpl_attrs attrs,
			 uint64_t *value)
{
	struct mpl_device *device = section->device;
	struct mpl_frame frame;
	mpl_result_t result;

	*value = 0;
	if (!device->ops ||
	    !possible(device, size, attrs, device->ops->read != NULL))
		return refused(reader);
	result = mpl_device_enter(reader, device, &frame);
	if (result)
		return result;
	if (!accepts(device, offset, size, false, attrs)) {
		result = refused(reader);
	} else if (fits(device, offset, size)) {
		result = device->ops->read(device->opaque, offset, size, attrs,
					   value);
		*value &= mask(size);
	} else {
		result = read_parts(device, offset, size, attrs, value);
	}
	mpl_device_leave(reader, &frame);
	return result;
}

mpl_result_t mpl_io_write(struct mpl_reader_state *reader,
			  const struct mpl_section *section, uint64_t offset,
			  unsigned int size, struct mpl_attrs attrs,
			  uint64_t value)
{
	struct mpl_device *device = section->device;
	struct mpl_frame frame;
	mpl_result_t result;

	value &= mask(size);
	if (!device->ops ||
	    !possible(device, size, attrs, device->ops->write != NULL))
		return refused(reader);
	result = mpl_device_enter(reader, device, &frame);
	if (result)
		return result;
	if (!accepts(device, offset, size, true, attrs))
		result = refused(reader);
	else if (fits(device, offset, size))
		result = device->ops->write(device->opaque, offset, size,
					    attrs, value);
	else
		result = write_parts(device, offset, size, attrs, value);
	mpl_device_leave(reader, &frame);
	return result;
}
