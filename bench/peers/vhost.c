/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost.h"

#include <errno.h>
#include <stdlib.h>

#include <rte_vhost.h>

int vhost_build(const struct peer_map *map, struct rte_vhost_memory **out)
{
	struct rte_vhost_memory *memory;

	memory = calloc(1, sizeof(*memory) +
				   map->count * sizeof(memory->regions[0]));
	if (!memory)
		return -ENOMEM;
	memory->nregions = (uint32_t)map->count;
	for (size_t i = 0; i < map->count; i++) {
		const struct mpl_section *section = &map->sections[i + 1];
		struct rte_vhost_mem_region *region = &memory->regions[i];

		if (!section->host) {
			free(memory);
			return -ENOTSUP;
		}
		region->guest_phys_addr = section->start;
		region->guest_user_addr = section->start;
		region->host_user_addr = (uint64_t)section->host;
		region->size = section->span + 1;
		region->mmap_addr = section->host;
		region->mmap_size = region->size;
		region->fd = -1;
	}
	*out = memory;
	return 0;
}

void vhost_free(struct rte_vhost_memory *memory)
{
	free(memory);
}

int vhost_check(struct rte_vhost_memory *memory, const struct peer_map *map,
		const uint64_t *gpa, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct mpl_section *want = peer_plain_scan(map, gpa[i]);
		uint64_t offset = gpa[i] - want->start;
		uint64_t len = UINT64_MAX;
		uint64_t host = rte_vhost_va_from_guest_pa(memory, gpa[i],
							   &len);

		if (want == map->sections ?
			    host != 0 :
			    host != (uint64_t)want->host + offset ||
				    len != want->span + 1 - offset)
			return -EILSEQ;
	}
	return 0;
}

void vhost_sweep(struct rte_vhost_memory *memory, const uint64_t *gpa,
		 size_t count, uint64_t len)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t contiguous = len;

		peer_use((void *)rte_vhost_va_from_guest_pa(memory, gpa[i],
							    &contiguous));
		peer_use((void *)contiguous);
	}
}
