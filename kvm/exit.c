/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exits that are accesses.  KVM has decoded the instruction: an MMIO exit is up
 * to 8 bytes at an address; a PIO exit is one or more accesses of 1, 2 or 4
 * bytes to one port, one after the other at kvm_run + data_offset:
 *
 *     kvm_run            + data_offset
 *     | io.size 2, io.count 3 ...  | 1st | 2nd | 3rd |
 */
#include <memplane/access.h>
#include <memplane/reader.h>

#include "kvm/coalesced.h"
#include "kvm/vcpu.h"

static bool is_smm(const struct mpl_vcpu *vcpu)
{
	return vcpu->run->flags & KVM_RUN_X86_SMM;
}

static struct mpl_attrs attrs_of(const struct mpl_vcpu *vcpu)
{
	return (struct mpl_attrs){
		.vcpu = (uint16_t)vcpu->index,
		.secure = is_smm(vcpu),
	};
}

/*
 * KVM does not tell who queued a write, or in which mode: this vCPU as likely
 * as any, but nobody may become secure by who takes it out.
 */
static struct mpl_attrs queued_by(const struct mpl_vcpu *vcpu)
{
	return (struct mpl_attrs){ .vcpu = (uint16_t)vcpu->index };
}

/* Exits from system management mode see its space, if there is one. */
static struct mpl_address_space *memory_of(const struct mpl_vcpu *vcpu)
{
	struct mpl_address_space *smm =
		is_smm(vcpu) ? mpl_kvm_space(vcpu->kvm, MPL_KVM_SMM) : NULL;

	return smm ? smm : mpl_kvm_space(vcpu->kvm, MPL_KVM_MEMORY);
}

static int mmio(struct mpl_vcpu *vcpu)
{
	struct mpl_address_space *as = memory_of(vcpu);
	struct kvm_run *run = vcpu->run;
	struct mpl_vcpu_stats *stats = &vcpu->stats;
	const struct mpl_section *section;

	if (!as)
		return MPL_EXIT_OTHER;
	section = mpl_lookup(vcpu->reader, as, run->mmio.phys_addr);
	if (run->mmio.is_write) {
		mpl_vcpu_count(&stats->mmio_writes, 1);
		if (section->flags &
		    (MPL_SECTION_WRITE | MPL_SECTION_LOGGED))
			mpl_vcpu_count(&stats->memory, 1);
		(void)mpl_write(vcpu->reader, as, run->mmio.phys_addr,
				attrs_of(vcpu), run->mmio.data, run->mmio.len);
	} else {
		mpl_vcpu_count(&stats->mmio_reads, 1);
		if (section->flags & MPL_SECTION_READ)
			mpl_vcpu_count(&stats->memory, 1);
		(void)mpl_read(vcpu->reader, as, run->mmio.phys_addr,
			       attrs_of(vcpu), run->mmio.data, run->mmio.len);
	}
	return 0;
}

static int pio(struct mpl_vcpu *vcpu)
{
	struct mpl_address_space *as = mpl_kvm_space(vcpu->kvm, MPL_KVM_PIO);
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	bool out = run->io.direction == KVM_EXIT_IO_OUT;

	if (!as)
		return MPL_EXIT_OTHER;
	mpl_vcpu_count(out ? &vcpu->stats.pio_writes : &vcpu->stats.pio_reads,
		       1);
	mpl_vcpu_count(&vcpu->stats.pio_accesses, run->io.count);
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (out)
			(void)mpl_write(vcpu->reader, as, run->io.port,
					attrs_of(vcpu), data, run->io.size);
		else
			(void)mpl_read(vcpu->reader, as, run->io.port,
				       attrs_of(vcpu), data, run->io.size);
	}
	return 0;
}

/* An exit for this reason; the reader is online in an access only. */
static int dispatch(struct mpl_vcpu *vcpu, uint32_t reason)
{
	int result;

	if (reason == KVM_EXIT_DIRTY_RING_FULL)
		return mpl_kvm_dirty_reap(vcpu->kvm);
	if (reason != KVM_EXIT_MMIO && reason != KVM_EXIT_IO)
		return MPL_EXIT_OTHER;
	mpl_reader_online(vcpu->reader);
	result = reason == KVM_EXIT_MMIO ? mmio(vcpu) : pio(vcpu);
	mpl_reader_offline(vcpu->reader);
	return result;
}

int mpl_vcpu_exit(struct mpl_vcpu *vcpu)
{
	uint32_t reason = vcpu->run->exit_reason;
	int result;

	mpl_vcpu_count(&vcpu->stats.exits, 1);
	mpl_vcpu_count(&vcpu->stats.reasons[reason < MPL_VCPU_REASONS ?
						    reason :
						    MPL_VCPU_REASONS - 1],
		       1);
	/* What the guest has queued, it did before this. */
	if (mpl_kvm_ring_pending(&vcpu->kvm->ring))
		mpl_vcpu_count(&vcpu->stats.coalesced,
			       mpl_kvm_ring_drain(vcpu->kvm, vcpu->reader,
						  queued_by(vcpu)));
	result = dispatch(vcpu, reason);
	if (result == MPL_EXIT_OTHER)
		mpl_vcpu_count(&vcpu->stats.other, 1);
	return result;
}
