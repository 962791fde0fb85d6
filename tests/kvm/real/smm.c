/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/kvm/real/smm.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include <cmocka.h>

#include "kvm/sys.h"

struct smm smm;

VM_GUEST(16, smm_guest,
	 "outb %al, $0x80\n"
	 "movw $0x2000, %ax\n"
	 "movw %ax, %ds\n"
	 "movl 0, %ebx\n"
	 "movl 0x1000, %ecx\n"
	 "outb %al, $0x8f\n"
	 "hlt\n");

static void add_call(uintptr_t arg)
{
	/* KVM_SET_USER_MEMORY_REGION2 takes more, but begins the same. */
	const struct kvm_userspace_memory_region *slot = (const void *)arg;
	unsigned int as_id = slot->slot >> 16, id = slot->slot & 0xffff;

	assert_true(as_id < SMM_SPACES && id < SMM_SLOTS);
	if (!slot->memory_size)
		smm.calls.deleted[as_id]++;
	else if (!smm.is_live[as_id][id]) /* else its flags changed */
		smm.calls.added[as_id]++;
	smm.is_live[as_id][id] = slot->memory_size != 0;
}

static int count_ioctl(void *opaque, int fd, unsigned long request,
		       uintptr_t arg)
{
	int result = mpl_kvm_sys_real.ioctl(opaque, fd, request, arg);

	if (!result && _IOC_TYPE(request) == KVMIO &&
	    (_IOC_NR(request) == _IOC_NR(KVM_SET_USER_MEMORY_REGION) ||
	     _IOC_NR(request) == 0x49)) /* ..._REGION2 */
		add_call(arg);
	return result;
}

static int real_map(void *opaque, int fd, uint64_t offset, size_t len,
		    void **out)
{
	return mpl_kvm_sys_real.map(opaque, fd, offset, len, out);
}

static void real_unmap(void *opaque, void *host, size_t len)
{
	mpl_kvm_sys_real.unmap(opaque, host, len);
}

static const struct mpl_kvm_sys_ops counting = {
	.ioctl = count_ioctl,
	.map = real_map,
	.unmap = real_unmap,
};

const char *smm_missing(void)
{
	const char *why = vm_missing();
	struct vm *vm;

	if (why)
		return why;
	vm = vm_new(NULL, NULL);
	if (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_SMM) <= 0)
		why = "this KVM has no system management mode "
		      "(KVM_CAP_X86_SMM)";
	else if (ioctl(vm->fd, KVM_CHECK_EXTENSION,
		       KVM_CAP_MULTI_ADDRESS_SPACE) < (int)SMM_SPACES)
		why = "this KVM has one address space only "
		      "(KVM_CAP_MULTI_ADDRESS_SPACE)";
	vm_free(vm);
	return why;
}

static struct mpl_region *new_ram(const char *name, uint64_t size,
				  uint8_t bytes)
{
	struct mpl_region *region;

	assert_int_equal(
		mpl_region_new_ram(smm.vm->plane, name, size, NULL, &region),
		0);
	memset(mpl_region_host(region), bytes, size);
	return region;
}

uint32_t smm_word(const struct mpl_region *region, uint64_t offset)
{
	uint32_t value;

	memcpy(&value, (const uint8_t *)mpl_region_host(region) + offset,
	       sizeof(value));
	return value;
}

static void new_regions(void)
{
	assert_int_equal(mpl_region_new_container(smm.vm->plane, "smm",
						  UINT64_MAX, &smm.root),
			 0);
	assert_int_equal(mpl_region_new_alias(smm.vm->plane, "all",
					      smm.vm->system, 0, UINT64_MAX,
					      &smm.all),
			 0);
	smm.smram = new_ram("smram", SMM_RAM, SMM_BYTES);
	smm.high = new_ram("high", 0x1000, 0);
	smm.under = new_ram("under", 0x1000, 0x11);
	smm.over = new_ram("over", 0x1000, 0x22);
	smm.own = new_ram("own", 0x1000, 0x33);
	smm.shared = new_ram("shared", 0x1000, 0x44);
	vm_device_new(smm.vm, "smm device", VM_DEVICE_SIZE, &smm.device);
	memset(smm.vm->host + SMM_WINDOW, 0x55, 0x1000);
	memset(smm.vm->host + SMM_SHARED, 0x66, 0x1000);
	memset(smm.vm->host + SMM_BASE, SMM_OWN_BYTES, SMM_RAM);
}

static void ask_for_smi(struct vm_device *port, const struct vm_access *access)
{
	(void)port;
	if (access->offset == 0)
		assert_int_equal(ioctl(smm.vcpu.fd, KVM_SMI), 0);
	else if (access->offset == 15)
		smm.over_it = true;
}

void smm_build(const struct mpl_plane_config *plane,
	       enum mpl_kvm_dirty_mode mode, bool irqchip)
{
	struct mpl_txn *tx;

	memset(&smm, 0, sizeof(smm));
	smm.irqchip = irqchip;
	smm.vm = vm_new(plane, &(struct mpl_kvm_config){ .dirty_mode = mode,
							 .sys = &counting });
	if (irqchip)
		vm_irqchip(smm.vm);
	smm.vm->port.inside = ask_for_smi;
	new_regions();
	tx = mpl_begin(smm.vm->plane);
	mpl_region_set_enabled(tx, smm.over, false);
	mpl_region_set_enabled(tx, smm.own, false);
	mpl_region_set_enabled(tx, smm.shared, false);
	mpl_region_add(tx, smm.vm->system, SMM_WINDOW, smm.own, 1);
	mpl_region_add(tx, smm.vm->system, SMM_SHARED, smm.shared, 1);
	mpl_region_add(tx, smm.root, 0, smm.all, 0);
	mpl_region_add(tx, smm.root, SMM_WINDOW, smm.under, 1);
	mpl_region_add(tx, smm.root, SMM_WINDOW, smm.over, 3);
	mpl_region_add(tx, smm.root, SMM_BASE, smm.smram, 1);
	mpl_region_add(tx, smm.root, VM_DEVICE, smm.device.region, 1);
	mpl_region_add(tx, smm.root, SMM_HIGH, smm.high, 0);
	vm_commit(tx);
	assert_int_equal(
		mpl_address_space_new(smm.vm->plane, "smm", smm.root, &smm.as),
		0);
	assert_int_equal(mpl_kvm_attach_space(smm.vm->kvm, smm.as, MPL_KVM_SMM),
			 0);
}

void smm_load(const uint8_t *handler, size_t len)
{
	assert_true(SMM_HANDLER + len <= SMM_STATE);
	memcpy((uint8_t *)mpl_region_host(smm.smram) + SMM_HANDLER, handler,
	       len);
}

void smm_toggle(struct mpl_region *region, bool on)
{
	struct mpl_txn *tx = mpl_begin(smm.vm->plane);

	mpl_region_set_enabled(tx, region, on);
	vm_commit(tx);
}

void smm_free(void)
{
	struct mpl_region *regions[] = {
		smm.root, smm.all, smm.smram,  smm.high,          smm.under,
		smm.over, smm.own, smm.shared, smm.device.region,
	};

	for (size_t i = 0; i < sizeof(regions) / sizeof(*regions); i++)
		mpl_region_unref(regions[i]);
	vm_free(smm.vm);
	for (unsigned int i = 0; i < SMM_SPACES; i++) {
		assert_true(smm.calls.added[i] > 0);
		assert_int_equal(smm.calls.added[i], smm.calls.deleted[i]);
	}
}

/* With KVM's interrupt controller only processor 0 runs at once. */
unsigned int smm_index(void)
{
	return smm.irqchip ? 0 : 3;
}

struct kvm_regs smm_run(void)
{
	smm.over_it = false;
	vm_vcpu_new(smm.vm, smm_index(), &smm.vcpu);
	vm_real_mode(&smm.vcpu, VM_CODE, VM_DEVICE >> 4);
	while (!smm.over_it) {
		int result = mpl_vcpu_run(smm.vcpu.vcpu);

		if (result == MPL_EXIT_OTHER)
			print_error("exit %u\n", smm.vcpu.run->exit_reason);
		assert_true(!result || result == -EINTR);
	}
	assert_int_equal(mpl_vcpu_finish(smm.vcpu.vcpu), 0);
	return vm_regs(&smm.vcpu);
}
