/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/fake_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void note(struct machine_device *device, bool is_write, uint64_t offset,
		 unsigned int size, uint64_t value, struct mpl_attrs attrs)
{
	struct machine *m = device->machine;
	unsigned int at = __atomic_fetch_add(&m->count, 1, __ATOMIC_RELAXED);

	if (at < MACHINE_ACCESSES)
		m->accesses[at] = (struct machine_access){
			.device = device->name,
			.is_write = is_write,
			.offset = offset,
			.size = size,
			.value = value,
			.attrs = attrs,
		};
	if (m->inside)
		m->inside(m, m->inside_arg);
}

static mpl_result_t device_read(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t *value)
{
	struct machine_device *device = opaque;

	*value = device->machine->answer;
	note(device, false, offset, size, 0, attrs);
	return MPL_OK;
}

static mpl_result_t device_write(void *opaque, uint64_t offset,
				 unsigned int size, struct mpl_attrs attrs,
				 uint64_t value)
{
	note(opaque, true, offset, size, value, attrs);
	return MPL_OK;
}

static const struct mpl_io_ops ops = {
	.read = device_read,
	.write = device_write,
	.impl = { .max = 8 },
	.endian = MPL_LITTLE_ENDIAN,
};

static const struct mpl_io_ops big_ops = {
	.read = device_read,
	.write = device_write,
	.impl = { .max = 8 },
	.endian = MPL_BIG_ENDIAN,
};

static void note_line(void *opaque, enum mpl_log_level level, const char *line)
{
	struct machine *m = opaque;

	(void)level;
	m->lines++;
	strncpy(m->log, line, sizeof(m->log) - 1);
}

static void new_device(struct machine *m, struct machine_device *device,
		       char name, const struct mpl_io_ops *device_ops,
		       uint64_t size)
{
	char text[2] = { name, 0 };

	device->machine = m;
	device->name = name;
	assert_int_equal(mpl_region_new_io(m->plane, text, size, device_ops,
					   device, &device->region),
			 0);
}

static void new_regions(struct machine *m)
{
	assert_int_equal(mpl_region_new_container(m->plane, "system",
						  UINT64_MAX, &m->system),
			 0);
	assert_int_equal(mpl_region_new_container(m->plane, "smm", UINT64_MAX,
						  &m->smm_root),
			 0);
	assert_int_equal(mpl_region_new_container(m->plane, "ports", 0x10000,
						  &m->ports_root),
			 0);
	assert_int_equal(mpl_region_new_ram(m->plane, "ram", MACHINE_RAM, NULL,
					    &m->ram),
			 0);
	assert_int_equal(mpl_region_new_ram(m->plane, "smram", 0x1000, NULL,
					    &m->smram),
			 0);
	assert_int_equal(mpl_region_new_alias(m->plane, "alias", m->system, 0,
					      UINT64_MAX, &m->alias),
			 0);
	new_device(m, &m->device, 'd', &ops, 0x1000);
	new_device(m, &m->big, 'b', &big_ops, 0x1000);
	new_device(m, &m->port, 'p', &ops, 8);
}

void machine_commit(struct mpl_txn *tx)
{
	assert_int_equal(mpl_commit(tx), 0);
}

static void attach(struct machine *m, bool gate)
{
	struct mpl_kvm_config config = fake_config(m->fake);

	if (!gate)
		config.gate = NULL;
	assert_int_equal(mpl_kvm_attach(m->memory, FAKE_VM_FD, &config,
					&m->kvm),
			 0);
	assert_int_equal(mpl_kvm_attach_space(m->kvm, m->smm, MPL_KVM_SMM), 0);
	assert_int_equal(mpl_kvm_attach_space(m->kvm, m->ports, MPL_KVM_PIO),
			 0);
}

struct machine *machine_new(bool control_thread, bool gate)
{
	struct machine *m = calloc(1, sizeof(*m));
	struct mpl_txn *tx;

	assert_non_null(m);
	m->fake = fake_new();
	assert_int_equal(
		mpl_plane_new(&m->plane, &(struct mpl_plane_config){
						 .control_thread =
							 control_thread,
						 .verify = true,
						 .log = note_line,
						 .log_opaque = m,
					 }),
		0);
	new_regions(m);
	tx = mpl_begin(m->plane);
	mpl_region_add(tx, m->system, 0, m->ram, 0);
	mpl_region_add(tx, m->system, MACHINE_DEVICE, m->device.region, 0);
	mpl_region_add(tx, m->system, MACHINE_BIG, m->big.region, 0);
	mpl_region_add(tx, m->smm_root, 0, m->alias, 0);
	mpl_region_add(tx, m->smm_root, MACHINE_SMRAM, m->smram, 1);
	mpl_region_add(tx, m->ports_root, MACHINE_PORTS, m->port.region, 0);
	machine_commit(tx);
	assert_int_equal(mpl_address_space_new(m->plane, "memory", m->system,
					       &m->memory),
			 0);
	assert_int_equal(mpl_address_space_new(m->plane, "smm", m->smm_root,
					       &m->smm),
			 0);
	assert_int_equal(mpl_address_space_new(m->plane, "I/O", m->ports_root,
					       &m->ports),
			 0);
	attach(m, gate);
	return m;
}

void machine_free(struct machine *m)
{
	struct mpl_region *regions[] = {
		m->system,	  m->smm_root,	m->ports_root,	 m->ram,
		m->smram,	  m->alias,	m->device.region, m->big.region,
		m->port.region,
	};

	assert_int_equal(mpl_kvm_error(m->kvm), 0);
	assert_int_equal(mpl_kvm_detach(m->kvm), 0);
	for (size_t i = 0; i < sizeof(regions) / sizeof(*regions); i++)
		mpl_region_unref(regions[i]);
	assert_int_equal(mpl_plane_free(m->plane), 0);
	fake_free(m->fake);
	free(m);
}
