/* SPDX-License-Identifier: BSD-3-Clause */
#include "kvm/park.h"

#include <time.h>

#include "kvm/kvm.h"

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int mpl_kvm_park(struct mpl_kvm *kvm)
{
	const struct mpl_kvm_gate_ops *ops = kvm->config.gate;
	uint64_t since = now_ns();
	int err = 0;

	if (!kvm->gate.parked && ops)
		err = ops->park(kvm->config.gate_opaque);
	if (err)
		return err;
	if (!kvm->gate.parked++) {
		kvm->gate.since_ns = since;
		kvm->stats.parks++;
	}
	return 0;
}

void mpl_kvm_unpark(struct mpl_kvm *kvm)
{
	const struct mpl_kvm_gate_ops *ops = kvm->config.gate;
	uint64_t ns;

	if (--kvm->gate.parked)
		return;
	ns = now_ns() - kvm->gate.since_ns;
	kvm->stats.park_ns += ns;
	if (ns > kvm->stats.park_ns_max)
		kvm->stats.park_ns_max = ns;
	if (ops)
		ops->unpark(kvm->config.gate_opaque);
}
