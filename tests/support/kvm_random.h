/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A machine that changes at random: memory of all kinds, windows and devices
 * over each other within 1 MiB, some of it not at whole pages.
 */
#ifndef TESTS_SUPPORT_KVM_RANDOM_H
#define TESTS_SUPPORT_KVM_RANDOM_H

#include "tests/support/kvm_world.h"

#define RANDOM_WINDOW MPL_MIB
#define RANDOM_PARTS  24

struct kvm_random {
	struct kvm_world *w;
	uint64_t state;
	int part[RANDOM_PARTS];
	bool enabled[RANDOM_PARTS];
	bool readonly[RANDOM_PARTS];
	bool rom_mode[RANDOM_PARTS];
	bool logs[RANDOM_PARTS];
	bool log_global;
};

/* Put its parts into the world's root, and commit. */
void kvm_random_start(struct kvm_random *r, struct kvm_world *w, uint64_t seed);
/* Record some mutations into the open transaction. */
void kvm_random_mutate(struct kvm_random *r);
/* System memory and something over it, as the second KVM address space. */
void kvm_random_attach_smm(struct kvm_world *w);
/* A number below n. */
uint64_t kvm_random_below(struct kvm_random *r, uint64_t n);

#endif
