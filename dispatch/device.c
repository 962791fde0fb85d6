/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/device.h"

#include <errno.h>
#include <string.h>

static bool is_size(unsigned int size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

static int fill_sizes(struct mpl_access_sizes *sizes,
		      const struct mpl_access_sizes *from, uint8_t max)
{
	*sizes = *from;
	if (!sizes->min)
		sizes->min = 1;
	if (!sizes->max)
		sizes->max = sizes->min > max ? sizes->min : max;
	if (!is_size(sizes->min) || !is_size(sizes->max) ||
	    sizes->min > sizes->max)
		return -EINVAL;
	return 0;
}

static void find_simple(struct mpl_device *device)
{
	bool unaligned = device->valid.unaligned && device->impl.unaligned;

	if (device->ops->accepts || !device->ops->read || !device->ops->write)
		return;
	for (unsigned int size = 1; size <= 8; size *= 2)
		if (size >= device->valid.min && size <= device->valid.max &&
		    size >= device->impl.min && size <= device->impl.max)
			device->not_simple[size] =
				unaligned ? 0 : (uint8_t)(size - 1);
	if (!device->serialised &&
	    device->big_endian == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__))
		memcpy(device->not_direct, device->not_simple,
		       sizeof(device->not_direct));
}

int mpl_device_init(struct mpl_device *device, const struct mpl_io_ops *ops,
		    void *opaque)
{
	int err;

	*device = (struct mpl_device){
		.ops = ops,
		.opaque = opaque,
		.refs = 1,
	};
	memset(device->not_simple, MPL_NEVER, sizeof(device->not_simple));
	memset(device->not_direct, MPL_NEVER, sizeof(device->not_direct));
	if (!ops)
		return 0;
	err = fill_sizes(&device->valid, &ops->valid, 8);
	if (!err)
		err = fill_sizes(&device->impl, &ops->impl, 4);
	device->read = ops->read;
	device->write = ops->write;
	device->big_endian =
		ops->endian == MPL_BIG_ENDIAN ||
		(ops->endian == MPL_NATIVE_ENDIAN &&
		 __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
	device->serialised = ops->concurrency == MPL_SERIALISED;
	device->reentrant = ops->reentrant;
	if (!err)
		find_simple(device);
	return err;
}

void mpl_device_ref(struct mpl_device *device)
{
	__atomic_add_fetch(&device->refs, 1, __ATOMIC_RELAXED);
}

bool mpl_device_try_ref(struct mpl_device *device)
{
	uint32_t refs = __atomic_load_n(&device->refs, __ATOMIC_RELAXED);

	while (refs)
		if (__atomic_compare_exchange_n(&device->refs, &refs, refs + 1,
						true, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

void mpl_device_unref(struct mpl_device *device)
{
	/*
	 * [B4] acquire and release; pairs with itself in other threads that
	 * drop references: what they did to the region happens before the
	 * last one's clean-up.
	 */
	if (__atomic_sub_fetch(&device->refs, 1, __ATOMIC_ACQ_REL) == 0)
		device->unreferenced(device);
}

void mpl_device_pin(struct mpl_device *device)
{
	mpl_device_ref(device);
	__atomic_add_fetch(&device->pins, 1, __ATOMIC_RELAXED);
}

void mpl_device_unpin(struct mpl_device *device)
{
	/* [B7] release; pairs with [B7] in mpl_device_unpinned() */
	__atomic_sub_fetch(&device->pins, 1, __ATOMIC_RELEASE);
	mpl_device_unref(device);
}

bool mpl_device_unpinned(const struct mpl_device *device)
{
	/*
	 * [B7] acquire; pairs with [B7] in mpl_device_unpin(): what accesses
	 * did happens before what the caller does once it is drained.
	 */
	return !__atomic_load_n(&device->pins, __ATOMIC_ACQUIRE);
}
