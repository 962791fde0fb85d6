/* SPDX-License-Identifier: BSD-3-Clause */
#include <inttypes.h>

#include "verify.h"

/* What a look-up says: a region's id (0: unassigned) and an offset. */
struct found {
	uint32_t region;
	uint64_t offset;
	bool is_iommu;
};

static struct found found_in(const struct mpl_section *section,
			     uint64_t address)
{
	struct mpl_region *region = mpl_section_region(section);

	if (mpl_section_is_unassigned(section) || !region)
		return (struct found){ .offset = address };
	return (struct found){
		.region = machine_region_id(region),
		.offset = mpl_section_offset(section, address),
		.is_iommu = mpl_region_kind(region) == MPL_IOMMU,
	};
}

static void say_access(struct verify *verify, const struct access *access,
		       const struct found *found, bool agree)
{
	if (verify_may_say(verify))
		fprintf(verify->options->say,
			"%s:%u: access in address space %u at 0x%" PRIx64
			" (after publication %u):\n"
			"    recorded  region %u + 0x%" PRIx64 "\n"
			"    computed  region %u + 0x%" PRIx64 "%s\n",
			verify->accesses->path, access->line, access->space,
			access->address, verify->expect.seq, access->region,
			access->offset, found->region, found->offset,
			agree ? "" : " (cached look-up disagrees)");
	verify->result->mismatches++;
}

static uint32_t unassigned_is_none(const struct machine *machine, uint32_t id)
{
	return id <= machine->regions_count && machine->regions[id].unassigned ?
		       0 :
		       id;
}

static void compare_access(struct verify *verify, const struct access *access)
{
	const struct machine *machine = &verify->machine;
	struct machine_space *space = machine_space(machine, access->space);
	const struct mpl_section *section, *cached;
	struct found found = { 0 };
	uint32_t want;

	if (!access->space) {
		verify->result->excluded_unknown++;
		return;
	}
	if (!space) {
		say_access(verify, access, &found, true);
		return;
	}
	section =
		mpl_lookup_uncached(verify->reader, space->as, access->address);
	cached = mpl_lookup(verify->reader, space->as, access->address);
	found = found_in(section, access->address);
	if (found.is_iommu) {
		verify->result->excluded_iommu++;
		return;
	}
	verify->result->accesses++;
	want = unassigned_is_none(machine, access->region);
	found.region = unassigned_is_none(machine, found.region);
	if (found.region != want || found.offset != access->offset ||
	    cached != section || !access->region)
		say_access(verify, access, &found, cached == section);
}

void compare_accesses(struct verify *verify, uint32_t seq)
{
	const struct access *access;
	size_t count;

	if (!verify->accesses)
		return;
	count = accesses_of(verify->accesses, seq, &access);
	if (!count)
		return;
	mpl_reader_online(verify->reader);
	for (; count; count--, access++)
		compare_access(verify, access);
	mpl_reader_offline(verify->reader);
}
