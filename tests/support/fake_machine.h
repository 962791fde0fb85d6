/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small machine on the fake KVM, for tests of exits and events:
 *
 *     memory   0000000 .. 000ffff  RAM, bytes of `ram`
 *              fe00000 .. fe00fff  device, little-endian
 *              fe01000 .. fe01fff  device, big-endian
 *     SMM      00a0000 .. 00a0fff  RAM that only it shows, over `memory`
 *     I/O      3f8 .. 3ff          device
 *
 * Devices note every access in `accesses` and answer reads with `answer`.
 */
#ifndef TESTS_SUPPORT_FAKE_MACHINE_H
#define TESTS_SUPPORT_FAKE_MACHINE_H

#include <memplane.h>

#include "tests/support/fake_kvm.h"

#define MACHINE_RAM 0x10000u
#define MACHINE_DEVICE UINT64_C(0xfe00000)
#define MACHINE_BIG UINT64_C(0xfe01000)
#define MACHINE_SMRAM UINT64_C(0xa0000)
#define MACHINE_PORTS UINT64_C(0x3f8)
#define MACHINE_ACCESSES 4096

struct machine_access {
	char device; /* 'd', 'b', 'p' */
	bool is_write;
	uint64_t offset;
	unsigned int size;
	uint64_t value;
	struct mpl_attrs attrs;
};

struct machine;

struct machine_device {
	struct machine *machine;
	char name;
	struct mpl_region *region;
};

struct machine {
	struct fake_kvm *fake;
	struct mpl_kvm *kvm;
	struct mpl_plane *plane;
	struct mpl_region *system, *smm_root, *ports_root, *ram, *smram;
	struct mpl_region *alias; /* of system, in smm_root */
	struct mpl_address_space *memory, *smm, *ports;
	struct machine_device device, big, port;

	struct machine_access accesses[MACHINE_ACCESSES];
	unsigned int count;
	uint64_t answer;
	/* Runs inside each callback. */
	void (*inside)(struct machine *machine, void *arg);
	void *inside_arg;

	unsigned int lines; /* of log */
	char log[512];	    /* the last one */
};

/* `gate`: the fake's; else mpl_vcpu's own.  Fails the test on any error. */
struct machine *machine_new(bool control_thread, bool gate);
/* Fails the test if KVM or the plane has something left. */
void machine_free(struct machine *machine);

/* Commit; fails the test on an error. */
void machine_commit(struct mpl_txn *tx);

#endif
