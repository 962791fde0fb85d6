/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>

#include "kvm/kvm.h"
#include "kvm/sys.h"
#include "lib/address_space.h"
#include "lib/plane.h"

/* <linux/kvm.h> of older kernels does not have it. */
#define CAP_USER_MEMORY2 231

unsigned int mpl_kvm_check(const struct mpl_kvm *kvm, unsigned int extension)
{
	int result =
		mpl_kvm_ioctl(kvm, kvm->vm_fd, KVM_CHECK_EXTENSION, extension);

	return result > 0 ? (unsigned int)result : 0;
}

static void read_caps(struct mpl_kvm *kvm)
{
	struct mpl_kvm_caps *caps = &kvm->caps;

	caps->slots = mpl_kvm_check(kvm, KVM_CAP_NR_MEMSLOTS);
	if (!caps->slots)
		caps->slots = 32; /* the API's least */
	caps->spaces = mpl_kvm_check(kvm, KVM_CAP_MULTI_ADDRESS_SPACE);
	if (!caps->spaces)
		caps->spaces = 1;
	caps->readonly = mpl_kvm_check(kvm, KVM_CAP_READONLY_MEM);
	caps->region2 = mpl_kvm_check(kvm, CAP_USER_MEMORY2);
	caps->manual = mpl_kvm_check(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
	caps->ring = mpl_kvm_check(kvm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL);
	caps->ring_acq_rel = caps->ring != 0;
	if (!caps->ring)
		caps->ring = mpl_kvm_check(kvm, KVM_CAP_DIRTY_LOG_RING);
	caps->ioeventfd = mpl_kvm_check(kvm, KVM_CAP_IOEVENTFD);
	caps->ioeventfd_any_length =
		mpl_kvm_check(kvm, KVM_CAP_IOEVENTFD_ANY_LENGTH);
	caps->coalesced_mmio = mpl_kvm_check(kvm, KVM_CAP_COALESCED_MMIO);
	caps->coalesced_pio = mpl_kvm_check(kvm, KVM_CAP_COALESCED_PIO);
}

static int configure(struct mpl_kvm *kvm, const struct mpl_kvm_config *config)
{
	if (config)
		kvm->config = *config;
	if (!kvm->config.sys)
		kvm->config.sys = &mpl_kvm_sys_real;
	read_caps(kvm);
	if (!kvm->config.slots_max || kvm->config.slots_max > kvm->caps.slots)
		kvm->config.slots_max = kvm->caps.slots;
	if (!kvm->config.slot_bytes_max ||
	    kvm->config.slot_bytes_max > MPL_KVM_SLOT_BYTES_MAX)
		kvm->config.slot_bytes_max = MPL_KVM_SLOT_BYTES_MAX;
	kvm->config.slot_bytes_max &= ~UINT64_C(4095);
	if (!kvm->config.slot_bytes_max)
		return -EINVAL;
	return mpl_kvm_dirty_setup(kvm);
}

/* vCPUs read it: mpl_kvm_space(). */
static void set_space(struct mpl_kvm_mirror *mirror,
		      struct mpl_address_space *as)
{
	__atomic_store_n(&mirror->as, as, __ATOMIC_RELAXED);
}

/* It is told nothing more. */
static void end(struct mpl_kvm_mirror *mirror)
{
	struct mpl_kvm *kvm = mirror->kvm;
	/* Other mirrors' commits go on, and the plan is theirs too. */
	bool locked = mpl_control_lock(kvm->plane);
	int err;

	mpl_kvm_plan_settle(kvm);
	err = mpl_kvm_slots_sweep(mirror);
	if (err)
		mpl_log(&kvm->plane->data.log, MPL_LOG_ERROR,
			"kvm: error %d while memory slots are deleted: the VM "
			"must not run any more",
			-err);
	mpl_space_of(mirror->as)->attached--;
	set_space(mirror, NULL);
	mirror->listener = NULL;
	mpl_control_unlock(kvm->plane, locked);
	/* Regions that only its slots held go now. */
	mpl_reclaim(kvm->plane);
}

/* Events and the gate; with nothing in them yet. */
static int init_parts(struct mpl_kvm *kvm)
{
	const struct mpl_kvm_config *config = &kvm->config;
	int err = mpl_gate_init(&kvm->gate, config->park_signal, config->gate,
				config->gate_opaque, &kvm->plane->data.log);

	if (err)
		return err;
	err = mpl_kvm_ring_init(kvm);
	if (err)
		mpl_gate_destroy(&kvm->gate);
	return err;
}

static void destroy_parts(struct mpl_kvm *kvm)
{
	mpl_kvm_doorbells_destroy(kvm);
	mpl_kvm_ring_destroy(kvm);
	mpl_gate_destroy(&kvm->gate);
}

/* A mirror is attached once, however many ask for it at the same time. */
static int claim(struct mpl_kvm *kvm, struct mpl_address_space *as,
		 unsigned int which)
{
	struct mpl_kvm_mirror *mirror = &kvm->mirrors[which];
	int err = 0;

	/* Inside of a commit end() would drop what is planned for it. */
	if (mpl_control_held(kvm->plane))
		return -EDEADLK;
	mpl_control_lock(kvm->plane);
	if (mirror->as) {
		err = -EEXIST;
	} else {
		mirror->kvm = kvm;
		mirror->which = which;
		mpl_space_of(as)->attached++;
		set_space(mirror, as);
	}
	mpl_control_unlock(kvm->plane, true);
	return err;
}

static int attach(struct mpl_kvm *kvm, struct mpl_address_space *as,
		  unsigned int which)
{
	struct mpl_kvm_mirror *mirror = &kvm->mirrors[which];
	int err = claim(kvm, as, which);

	if (err)
		return err;
	err = mpl_listener_register(as, &mpl_kvm_mirror_ops, mirror,
				    &mirror->listener);
	if (err)
		end(mirror);
	return err;
}

static void destroy(struct mpl_kvm *kvm)
{
	mpl_kvm_plan_destroy(kvm);
	mpl_kvm_dirty_destroy(kvm);
	free(kvm);
}

int mpl_kvm_attach(struct mpl_address_space *as, int vm_fd,
		   const struct mpl_kvm_config *config, struct mpl_kvm **out)
{
	struct mpl_kvm *kvm = calloc(1, sizeof(*kvm));
	int err;

	if (!kvm)
		return -ENOMEM;
	kvm->plane = mpl_space_of(as)->plane;
	kvm->vm_fd = vm_fd;
	pthread_mutex_init(&kvm->dirty.mutex, NULL);
	mpl_list_init(&kvm->dirty.rings);
	err = configure(kvm, config);
	if (!err)
		err = init_parts(kvm);
	if (err)
		goto free_kvm;
	err = attach(kvm, as, MPL_KVM_MEMORY);
	if (err)
		goto destroy;
	*out = kvm;
	return 0;
destroy:
	destroy_parts(kvm);
free_kvm:
	destroy(kvm);
	return err;
}

int mpl_kvm_attach_space(struct mpl_kvm *kvm, struct mpl_address_space *as,
			 enum mpl_kvm_space which)
{
	if (mpl_space_of(as)->plane != kvm->plane ||
	    (which != MPL_KVM_SMM && which != MPL_KVM_PIO))
		return -EINVAL;
	if (which == MPL_KVM_SMM && kvm->caps.spaces < 2)
		return -ENOTSUP;
	return attach(kvm, as, which);
}

int mpl_kvm_detach(struct mpl_kvm *kvm)
{
	int err = 0;

	if (!kvm)
		return 0;
	if (!mpl_gate_is_empty(&kvm->gate))
		return -EBUSY;
	for (int i = MPL_KVM_MIRRORS; i-- > 0 && !err;) {
		struct mpl_kvm_mirror *mirror = &kvm->mirrors[i];

		if (!mirror->as)
			continue;
		err = mpl_listener_unregister(mirror->listener);
		if (!err)
			end(mirror);
	}
	if (err)
		return err;
	destroy_parts(kvm);
	destroy(kvm);
	return 0;
}

/* NULL: none, or one that another thread is about to attach. */
static struct mpl_listener *listener_of(const struct mpl_kvm *kvm, int which)
{
	bool locked = mpl_control_lock(kvm->plane);
	struct mpl_listener *listener = kvm->mirrors[which].listener;

	mpl_control_unlock(kvm->plane, locked);
	return listener;
}

int mpl_kvm_error(const struct mpl_kvm *kvm)
{
	int err = 0;

	for (int i = 0; i < MPL_KVM_MIRRORS && !err; i++) {
		struct mpl_listener *listener = listener_of(kvm, i);

		if (listener)
			err = mpl_listener_error(listener);
	}
	return err;
}

int mpl_kvm_resync(struct mpl_kvm *kvm)
{
	int err = 0;

	for (int i = 0; i < MPL_KVM_MIRRORS && !err; i++) {
		struct mpl_listener *listener = listener_of(kvm, i);

		if (listener)
			err = mpl_listener_resync(listener);
	}
	return err;
}

void mpl_kvm_stats(struct mpl_kvm *kvm, struct mpl_kvm_stats *out)
{
	bool locked = mpl_control_lock(kvm->plane);

	*out = kvm->stats;
	for (int i = 0; i < MPL_KVM_MIRRORS; i++) {
		out->slots += kvm->mirrors[i].slots.count;
		out->unmapped += kvm->mirrors[i].slots.unmapped;
		out->incongruent += kvm->mirrors[i].slots.incongruent;
	}
	pthread_mutex_lock(&kvm->dirty.mutex);
	out->ring_entries = kvm->dirty.ring_taken;
	pthread_mutex_unlock(&kvm->dirty.mutex);
	mpl_control_unlock(kvm->plane, locked);
}
