/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/io.h"

#include "dispatch/count.h"
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

/* One callback of several: `size` bytes at `start`. */
struct part {
	uint64_t start;
	unsigned int size;
};

/*
 * The callback that takes the byte at `at` and as many of the `left` ones from
 * there as it can; if that is less than the callbacks implement, the unit of
 * impl.min around it.
 */
static struct part part_at(const struct mpl_device *device, uint64_t at,
			   unsigned int left)
{
	struct part part = { .start = at, .size = device->impl.max };

	while (part.size > left ||
	       (!device->impl.unaligned && at & (part.size - 1)))
		part.size /= 2;
	if (part.size >= device->impl.min)
		return part;
	part.size = device->impl.min;
	if (!device->impl.unaligned)
		part.start &= ~(uint64_t)(part.size - 1);
	return part;
}

/* How many bytes of an access are done once this part is. */
static unsigned int done_after(struct part part, uint64_t offset)
{
	return (unsigned int)(part.start + part.size - offset);
}

/* Take the bytes of `value`, read as `part`, that belong to [offset, size]. */
static uint64_t pick(const struct mpl_device *device, struct part part,
		     uint64_t value, uint64_t offset, unsigned int size)
{
	uint64_t picked = 0;

	for (unsigned int i = 0; i < part.size; i++) {
		uint64_t byte = value >> byte_shift(device, part.size, i);
		uint64_t to = part.start + i - offset;

		if (to < size)
			picked |= (byte & 0xff)
				  << byte_shift(device, size, (unsigned int)to);
	}
	return picked;
}

static mpl_result_t read_parts(const struct mpl_device *device,
			       uint64_t offset, unsigned int size,
			       struct mpl_attrs attrs, uint64_t *value)
{
	mpl_result_t result = MPL_OK;
	struct part part;

	*value = 0;
	for (unsigned int done = 0; done < size;
	     done = done_after(part, offset)) {
		uint64_t got = 0;

		part = part_at(device, offset + done, size - done);
		result |= device->ops->read(device->opaque, part.start,
					    part.size, attrs, &got);
		*value |= pick(device, part, got, offset, size);
	}
	return result;
}

static mpl_result_t write_parts(const struct mpl_device *device,
				uint64_t offset, unsigned int size,
				struct mpl_attrs attrs, uint64_t value)
{
	mpl_result_t result = MPL_OK;
	struct part part;

	for (unsigned int done = 0; done < size;
	     done = done_after(part, offset)) {
		struct part whole = { .start = offset, .size = size };

		part = part_at(device, offset + done, size - done);
		/* Seen from the part, the access is what is picked from. */
		result |= device->ops->write(device->opaque, part.start,
					     part.size, attrs,
					     pick(device, whole, value,
						  part.start, part.size));
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
	mpl_count(reader, section->device);
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
	mpl_count(reader, device);
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
	mpl_count(reader, device);
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
