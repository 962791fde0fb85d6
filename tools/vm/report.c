/* SPDX-License-Identifier: BSD-3-Clause */
/* What --stats prints, each second and at the end. */
#define _GNU_SOURCE
#include "tools/vm/vm.h"

#include <errno.h>

void report_memory(const struct vm *vm)
{
	struct mpl_ram_info ram;

	check(mpl_ram_query(vm->ram, &ram), "RAM");
	fprintf(stderr, "mpl-vm: %llu MiB of RAM on pages of %llu KiB\n",
		(unsigned long long)(ram.size / MPL_MIB),
		(unsigned long long)(ram.page_size / MPL_KIB));
}

/* Exits that reached a device, from the region that took them. */
static int report_region(void *arg, const struct mpl_flat_range *range)
{
	uint64_t accesses = mpl_region_accesses(range->region);
	const char *name = mpl_region_name(range->region);

	if (accesses)
		fprintf(arg, " %s %llu", name, (unsigned long long)accesses);
	return 0;
}

static void report_exits(const struct vm *vm, FILE *out)
{
	struct mpl_vcpu_stats stats;

	for (unsigned int i = 0; i < vm->options.cpus; i++) {
		mpl_vcpu_stats(vm->cpus[i].vcpu, &stats);
		fprintf(out,
			"processor %u: %llu exits (%llu MMIO, %llu PIO, "
			"%llu memory), %llu interruptions; ",
			i, (unsigned long long)stats.exits,
			(unsigned long long)(stats.mmio_reads +
					     stats.mmio_writes),
			(unsigned long long)(stats.pio_reads +
					     stats.pio_writes),
			(unsigned long long)stats.memory,
			(unsigned long long)stats.interrupted);
	}
}

void report(struct vm *vm)
{
	struct mpl_kvm_stats kvm;
	char line[2048];
	FILE *out = fmemopen(line, sizeof(line), "w");

	if (!out)
		return;
	mpl_kvm_stats(vm->kvm, &kvm);
	report_exits(vm, out);
	fputs("accesses:", out);
	mpl_address_space_walk(vm->memory, report_region, out);
	mpl_address_space_walk(vm->io, report_region, out);
	fputs("; ", out);
	rng_report(vm->rng, out);
	if (vm->churn) {
		fputs("; ", out);
		churn_report(vm->churn, out);
	}
	fprintf(out,
		"; slots: %llu, %llu added, %llu deleted; %llu parks, "
		"the longest %.1f ms",
		(unsigned long long)kvm.slots,
		(unsigned long long)kvm.slots_added,
		(unsigned long long)kvm.slots_deleted,
		(unsigned long long)kvm.parks, (double)kvm.park_ns_max / 1e6);
	fclose(out);
	/* The terminal may be raw. */
	fprintf(stderr, "mpl-vm: %s\r\n", line);
}

/* A kernel that has done nothing for long is one that KVM does not run. */
void report_silence(const struct vm *vm)
{
	struct mpl_vcpu_stats stats;

	mpl_vcpu_stats(vm->cpus[0].vcpu, &stats);
	if (!stats.exits)
		fprintf(stderr,
			"mpl-vm: nothing came out of the guest yet.  Some "
			"/dev/kvm interpret kernels that were not made for "
			"them; `tools/kvm-guest -i %s` is faster.\r\n",
			program_invocation_name);
}
