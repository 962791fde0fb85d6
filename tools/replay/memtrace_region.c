/* SPDX-License-Identifier: BSD-3-Clause */
#include "memtrace_region.h"

#include <string.h>

static const struct {
	const char *name;
	enum mpl_region_kind kind;
} kinds[] = {
	{ "container", MPL_CONTAINER },
	{ "io", MPL_IO },
	{ "ram", MPL_RAM },
	{ "rom", MPL_ROM },
	{ "ram_device", MPL_RAM_DEVICE },
	{ "romd", MPL_ROM_DEVICE },
	{ "alias", MPL_ALIAS },
	{ "iommu", MPL_IOMMU },
};

static enum mpl_region_kind parse_kind(struct cursor *cursor)
{
	struct word word = field_word(cursor);
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (word_is(word, kinds[i].name))
			return kinds[i].kind;
	if (!cursor->wrong)
		cursor->wrong = "unknown kind of region";
	return MPL_CONTAINER;
}

/* "A:B:C" to numbers of at most 2^16. */
static unsigned int split_numbers(struct word word, unsigned int *to,
				  unsigned int max)
{
	unsigned int n = 0, digits = 0;
	size_t i;

	for (i = 0; i <= word.len; i++) {
		if (i == word.len || word.at[i] == ':') {
			if (!digits || ++n == max || i == word.len)
				return digits && i == word.len ? n : 0;
			digits = 0;
			continue;
		}
		if (word.at[i] < '0' || word.at[i] > '9')
			return 0;
		if (!digits++)
			to[n] = 0;
		to[n] = to[n] * 10 + (word.at[i] - '0');
		if (to[n] > UINT16_MAX)
			return 0;
	}
	return 0;
}

/* The library knows powers of two up to 8. */
static uint8_t access_size(unsigned int size)
{
	return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : size;
}

/*
 * What a producer takes for granted: an `impl` whose MIN is above the MAX
 * that 0 stands for.
 */
static void settle_sizes(struct mpl_access_sizes *sizes, bool impl)
{
	uint8_t max = sizes->max ? sizes->max : impl ? 4 : 8;

	if (sizes->min > max)
		sizes->max = sizes->min;
}

static bool parse_sizes(struct word value, unsigned int fields,
			struct mpl_access_sizes *sizes)
{
	unsigned int n[4];

	if (split_numbers(value, n, 4) != fields)
		return false;
	sizes->min = access_size(n[0]);
	sizes->max = access_size(n[1]);
	sizes->unaligned = n[2];
	settle_sizes(sizes, fields == 3);
	return true;
}

static bool parse_endian(struct word value, enum trace_endian *endian)
{
	if (word_is(value, "native"))
		*endian = TRACE_NATIVE;
	else if (word_is(value, "little"))
		*endian = TRACE_LITTLE;
	else if (word_is(value, "big"))
		*endian = TRACE_BIG;
	else
		return false;
	return true;
}

static bool parse_bool(struct word value, bool *to)
{
	*to = word_is(value, "1");
	return *to || word_is(value, "0");
}

static bool parse_number(struct word value, bool hex, uint64_t *to)
{
	struct cursor cursor;
	char copy[32];

	if (value.len > sizeof(copy) - 1)
		return false;
	copy[0] = ' ';
	memcpy(copy + 1, value.at, value.len);
	cursor = (struct cursor){ copy, copy + 1 + value.len, NULL };
	*to = hex ? field_hex(&cursor) : field_decimal(&cursor, UINT32_MAX);
	return !cursor.wrong;
}

static bool parse_key(struct word key, struct word value,
		      struct trace_region *region)
{
	uint64_t number;

	if (word_is(key, "ro"))
		return parse_bool(value, &region->readonly);
	if (word_is(key, "nv"))
		return parse_bool(value, &region->nonvolatile);
	if (word_is(key, "offset"))
		return parse_number(value, true, &region->offset);
	if (word_is(key, "target")) {
		if (!parse_number(value, false, &number))
			return false;
		region->target = number;
	}
	if (word_is(key, "valid"))
		return parse_sizes(value, 4, &region->valid);
	if (word_is(key, "impl"))
		return parse_sizes(value, 3, &region->impl);
	if (word_is(key, "endian"))
		return parse_endian(value, &region->endian);
	if (word_is(key, "rd"))
		region->has_read = !word_is(value, "none");
	if (word_is(key, "wr"))
		region->has_write = !word_is(value, "none");
	return true;
}

void memtrace_parse_region(struct cursor *cursor, struct record *record)
{
	struct trace_region *region = &record->region;

	*region = (struct trace_region){ .has_read = true, .has_write = true };
	region->id = field_id(cursor);
	region->kind = parse_kind(cursor);
	region->size = field_size(cursor);
	region->name = field_word(cursor);
	while (!cursor->wrong && cursor->at != cursor->end) {
		struct word key = field_word(cursor), value;
		const char *equals = memchr(key.at, '=', key.len);

		if (!equals)
			continue;
		value.at = equals + 1;
		value.len = key.at + key.len - value.at;
		key.len = equals - key.at;
		if (!cursor->wrong && !parse_key(key, value, region))
			cursor->wrong = "a value that its key cannot have";
	}
	if (!cursor->wrong && region->kind == MPL_ALIAS && !region->target)
		cursor->wrong = "an alias without target";
}
