/* SPDX-License-Identifier: BSD-3-Clause */
/* Three chips of which a kernel needs a little: clock, reset, power. */
#include "tools/vm/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

struct legacy {
	struct vm *vm;
	struct mpl_region *cmos;
	struct mpl_region *kbd;
	struct mpl_region *pm;
	uint8_t index; /* of the clock chip's registers */
	uint16_t pm_enable;
};

/* --- the clock chip (MC146818): time and date in BCD, no alarm */

static uint8_t bcd(int value)
{
	return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

static uint8_t clock_register(uint8_t index)
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	switch (index) {
	case 0x00:
		return bcd(tm.tm_sec);
	case 0x02:
		return bcd(tm.tm_min);
	case 0x04:
		return bcd(tm.tm_hour);
	case 0x06:
		return bcd(tm.tm_wday + 1);
	case 0x07:
		return bcd(tm.tm_mday);
	case 0x08:
		return bcd(tm.tm_mon + 1);
	case 0x09:
		return bcd(tm.tm_year % 100);
	case 0x32:
		return bcd((tm.tm_year + 1900) / 100);
	case 0x0a:
		return 0x26; /* 32 kHz, no update in progress */
	case 0x0b:
		return 0x02; /* 24 hours */
	case 0x0d:
		return 0x80; /* the battery is good */
	default:
		return 0;
	}
}

static mpl_result_t cmos_read(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t *value)
{
	struct legacy *legacy = opaque;

	(void)size;
	(void)attrs;
	*value = offset ? clock_register(legacy->index) : 0xff;
	return MPL_OK;
}

static mpl_result_t cmos_write(void *opaque, uint64_t offset, unsigned int size,
			       struct mpl_attrs attrs, uint64_t value)
{
	struct legacy *legacy = opaque;

	(void)size;
	(void)attrs;
	if (!offset)
		legacy->index = value & 0x7f; /* the highest bit masks NMIs */
	return MPL_OK;
}

/* --- the keyboard controller (i8042): only its reset line */

static mpl_result_t kbd_read(void *opaque, uint64_t offset, unsigned int size,
			     struct mpl_attrs attrs, uint64_t *value)
{
	(void)opaque;
	(void)offset;
	(void)size;
	(void)attrs;
	*value = 0; /* nothing to read, ready to be written */
	return MPL_OK;
}

static mpl_result_t kbd_write(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t value)
{
	struct legacy *legacy = opaque;

	(void)offset;
	(void)size;
	(void)attrs;
	if (value == 0xfe)
		vm_end(legacy->vm, VM_RESET);
	return MPL_OK;
}

/* --- ACPI's fixed power management: status and enable at 0, control at 4 */

static mpl_result_t pm_read(void *opaque, uint64_t offset, unsigned int size,
			    struct mpl_attrs attrs, uint64_t *value)
{
	struct legacy *legacy = opaque;

	(void)size;
	(void)attrs;
	*value = offset == 2 ? legacy->pm_enable :
		 offset == 4 ? 1 /* ACPI is on */ :
			       0;
	return MPL_OK;
}

static mpl_result_t pm_write(void *opaque, uint64_t offset, unsigned int size,
			     struct mpl_attrs attrs, uint64_t value)
{
	struct legacy *legacy = opaque;

	(void)size;
	(void)attrs;
	if (offset == 2)
		legacy->pm_enable = (uint16_t)value;
	/* Sleep now, in the state 5 that the table \_S5 (acpi.c) names. */
	if (offset == 4 && (value & 1 << 13) && (value >> 10 & 7) == 5)
		vm_end(legacy->vm, VM_POWERED_OFF);
	return MPL_OK;
}

/* For these the library takes a lock per device around the callbacks. */
static const struct mpl_io_ops cmos_ops = {
	.read = cmos_read,
	.write = cmos_write,
	.impl = { .min = 1, .max = 1 },
	.concurrency = MPL_SERIALISED,
};

static const struct mpl_io_ops kbd_ops = {
	.read = kbd_read,
	.write = kbd_write,
	.impl = { .min = 1, .max = 1 },
	.concurrency = MPL_SERIALISED,
};

static const struct mpl_io_ops pm_ops = {
	.read = pm_read,
	.write = pm_write,
	.impl = { .min = 2, .max = 2 },
	.concurrency = MPL_SERIALISED,
};

void legacy_new(struct vm *vm, struct mpl_txn *tx)
{
	struct legacy *legacy = calloc(1, sizeof(*legacy));

	if (!legacy)
		check(-ENOMEM, "legacy");
	legacy->vm = vm;
	check(mpl_region_new_io(vm->plane, "cmos", 2, &cmos_ops, legacy,
				&legacy->cmos),
	      "cmos");
	check(mpl_region_new_io(vm->plane, "i8042", 1, &kbd_ops, legacy,
				&legacy->kbd),
	      "i8042");
	check(mpl_region_new_io(vm->plane, "acpi pm", 8, &pm_ops, legacy,
				&legacy->pm),
	      "acpi pm");
	mpl_region_add(tx, vm->ports, CMOS_PORT, legacy->cmos, 0);
	mpl_region_add(tx, vm->ports, KBD_PORT, legacy->kbd, 0);
	mpl_region_add(tx, vm->ports, PM_PORT, legacy->pm, 0);
	vm->legacy = legacy;
}

void legacy_free(struct legacy *legacy)
{
	mpl_region_unref(legacy->cmos);
	mpl_region_unref(legacy->kbd);
	mpl_region_unref(legacy->pm);
	free(legacy);
}
