/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DPDK's own translation from guest to host addresses: a table of RAM
 * regions, looked at one after the other (rte_vhost_va_from_guest_pa()).  It
 * answers with the host address and how many bytes are contiguous; it knows
 * RAM only.
 */
#ifndef BENCH_PEERS_VHOST_H
#define BENCH_PEERS_VHOST_H

#include "peers.h"

struct rte_vhost_memory;

/* Every section must have a host address.  0, -ENOTSUP or -ENOMEM. */
int vhost_build(const struct peer_map *map, struct rte_vhost_memory **out);
void vhost_free(struct rte_vhost_memory *memory);

/* Compare with a plain scan.  0 or -EILSEQ. */
int vhost_check(struct rte_vhost_memory *memory, const struct peer_map *map,
		const uint64_t *gpa, size_t count);

/* Translate buffers of `len` bytes at all these addresses. */
void vhost_sweep(struct rte_vhost_memory *memory, const uint64_t *gpa,
		 size_t count, uint64_t len);

#endif
