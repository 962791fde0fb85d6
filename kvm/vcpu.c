/* SPDX-License-Identifier: BSD-3-Clause */
#include "kvm/vcpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memplane/reader.h>

#include "kvm/coalesced.h"

/*
 * Bytes of the shared mapping: kvm_run, and the page of PIO data behind it.
 * KVM_GET_VCPU_MMAP_SIZE would tell, but of /dev/kvm only, which an embedder
 * may have closed and the library never had.
 */
#define RUN_SIZE ((KVM_PIO_PAGE_OFFSET + 1) * MPL_KVM_PAGE)

static int map_run(struct mpl_vcpu *vcpu)
{
	const struct mpl_kvm_config *config = &vcpu->kvm->config;
	void *run;
	int err;

	vcpu->run_size = RUN_SIZE;
	err = config->sys->map(config->sys_opaque, vcpu->fd, 0, vcpu->run_size,
			       &run);
	if (!err)
		vcpu->run = run;
	return err;
}

static void unmap_run(struct mpl_vcpu *vcpu)
{
	const struct mpl_kvm_config *config = &vcpu->kvm->config;

	config->sys->unmap(config->sys_opaque, vcpu->run, vcpu->run_size);
}

static int new_reader(struct mpl_vcpu *vcpu)
{
	char name[32];
	int err = mpl_reader_register(vcpu->kvm->plane, &vcpu->reader);

	if (err)
		return err;
	snprintf(name, sizeof(name), "vcpu-%u", vcpu->index);
	mpl_reader_set_name(vcpu->reader, name);
	return 0;
}

int mpl_vcpu_new(struct mpl_kvm *kvm, int vcpu_fd, unsigned int index,
		 struct mpl_vcpu **out)
{
	struct mpl_vcpu *vcpu;
	int err;

	if (index > UINT16_MAX)
		return -EINVAL;
	if (!mpl_kvm_check(kvm, KVM_CAP_IMMEDIATE_EXIT))
		return -ENOTSUP;
	vcpu = calloc(1, sizeof(*vcpu));
	if (!vcpu)
		return -ENOMEM;
	vcpu->kvm = kvm;
	vcpu->fd = vcpu_fd;
	vcpu->index = index;
	err = map_run(vcpu);
	if (err)
		goto free_vcpu;
	err = new_reader(vcpu);
	if (err)
		goto unmap;
	err = mpl_kvm_ring_map(kvm, vcpu_fd);
	if (err)
		goto unregister;
	err = mpl_kvm_dirty_ring_map(kvm, vcpu_fd, &vcpu->dirty);
	if (err)
		goto unregister;
	mpl_gate_join(&kvm->gate, &vcpu->seat, index,
		      &vcpu->run->immediate_exit);
	*out = vcpu;
	return 0;
unregister:
	mpl_reader_unregister(vcpu->reader);
unmap:
	unmap_run(vcpu);
free_vcpu:
	free(vcpu);
	return err;
}

int mpl_vcpu_free(struct mpl_vcpu *vcpu)
{
	int err;

	if (!vcpu)
		return 0;
	err = mpl_reader_unregister(vcpu->reader);
	if (err)
		return err;
	mpl_gate_quit(&vcpu->seat);
	mpl_kvm_dirty_ring_unmap(vcpu->kvm, &vcpu->dirty);
	unmap_run(vcpu);
	free(vcpu);
	return 0;
}

/* To the gate, offline, and through it. */
static int enter(struct mpl_vcpu *vcpu)
{
	bool waited;
	int err = mpl_reader_offline(vcpu->reader);

	if (err)
		return err;
	err = mpl_gate_enter(&vcpu->seat, &waited);
	if (waited)
		mpl_vcpu_count(&vcpu->stats.waits, 1);
	return err;
}

static int kvm_run(struct mpl_vcpu *vcpu)
{
	int err = mpl_kvm_ioctl(vcpu->kvm, vcpu->fd, KVM_RUN, 0);

	mpl_gate_leave(&vcpu->seat);
	if (err == -EINTR)
		mpl_vcpu_count(&vcpu->stats.interrupted, 1);
	return err;
}

int mpl_vcpu_run(struct mpl_vcpu *vcpu)
{
	int err = enter(vcpu);

	if (err)
		return err;
	err = kvm_run(vcpu);
	if (!err)
		return mpl_vcpu_exit(vcpu);
	/* A kick that came in time is answered by this. */
	if (err == -EINTR)
		(void)mpl_gate_take_kick(&vcpu->seat);
	return err;
}

int mpl_vcpu_finish(struct mpl_vcpu *vcpu)
{
	int err;

	do {
		err = enter(vcpu);
		if (err)
			return err;
		/* KVM looks at it once the instruction is complete. */
		__atomic_store_n(&vcpu->run->immediate_exit, 1,
				 __ATOMIC_RELAXED);
		err = kvm_run(vcpu);
		if (err == -EINTR)
			return 0;
		if (!err)
			err = mpl_vcpu_exit(vcpu);
	} while (!err);
	return err;
}

struct kvm_run *mpl_vcpu_kvm_run(struct mpl_vcpu *vcpu)
{
	return vcpu->run;
}

struct mpl_reader *mpl_vcpu_reader(struct mpl_vcpu *vcpu)
{
	return vcpu->reader;
}

void mpl_vcpu_kick(struct mpl_vcpu *vcpu)
{
	mpl_gate_kick(&vcpu->seat);
}

int mpl_vcpus_pause(struct mpl_kvm *kvm)
{
	return mpl_gate_park(&kvm->gate);
}

void mpl_vcpus_resume(struct mpl_kvm *kvm)
{
	mpl_gate_unpark(&kvm->gate);
}

void mpl_vcpu_stats(const struct mpl_vcpu *vcpu, struct mpl_vcpu_stats *out)
{
	const uint64_t *from = (const uint64_t *)&vcpu->stats;
	uint64_t *to = (uint64_t *)out;

	_Static_assert(sizeof(*out) % sizeof(*to) == 0, "counters only");
	for (size_t i = 0; i < sizeof(*out) / sizeof(*to); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}
