/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fields of a line, by hand: the largest trace has 14 million lines.
 *
 * A cursor stands behind the last field that was taken.  A field that is not
 * what was asked for leaves `wrong` saying what was expected; fields taken
 * after that are zero, so that a whole record is read before asking once.
 */
#ifndef REPLAY_FIELDS_H
#define REPLAY_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
	const char *at, *end;
	const char *wrong; /* NULL: all well */
};

struct word {
	const char *at;
	size_t len;
};

static inline bool field_begin(struct cursor *cursor)
{
	if (cursor->wrong)
		return false;
	if (cursor->at == cursor->end || *cursor->at != ' ') {
		cursor->wrong = "a field is missing";
		return false;
	}
	cursor->at++;
	return true;
}

/* A field ends at a blank or at the end of the line. */
static inline bool field_ends(const struct cursor *cursor)
{
	return cursor->at == cursor->end || *cursor->at == ' ';
}

static inline uint64_t field_decimal(struct cursor *cursor, uint64_t max)
{
	const char *first;
	uint64_t value = 0;

	if (!field_begin(cursor))
		return 0;
	for (first = cursor->at; !field_ends(cursor); cursor->at++) {
		unsigned int digit = (unsigned char)*cursor->at - '0';

		if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			break;
	}
	if (!field_ends(cursor) || cursor->at == first) {
		cursor->wrong = "expected a decimal number";
		return 0;
	}
	if (value > max) {
		cursor->wrong = "a number is out of range";
		return 0;
	}
	return value;
}

static inline uint32_t field_id(struct cursor *cursor)
{
	return field_decimal(cursor, UINT32_MAX);
}

static inline bool field_bool(struct cursor *cursor)
{
	return field_decimal(cursor, 1);
}

static inline unsigned int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 16;
}

/* *carry: the digit before the last 16, if there are 17. */
static inline uint64_t field_hex_carry(struct cursor *cursor,
				       unsigned int *carry)
{
	const char *first;
	uint64_t value = 0;

	*carry = 0;
	if (!field_begin(cursor))
		return 0;
	if (cursor->end - cursor->at < 3 || cursor->at[0] != '0' ||
	    cursor->at[1] != 'x') {
		cursor->wrong = "expected 0x and a hexadecimal number";
		return 0;
	}
	cursor->at += 2;
	for (first = cursor->at; !field_ends(cursor); cursor->at++) {
		unsigned int digit = hex_digit(*cursor->at);

		if (digit > 15 || cursor->at - first > 16)
			break;
		*carry = value >> 60;
		value = value << 4 | digit;
	}
	if (!field_ends(cursor) || cursor->at == first) {
		cursor->wrong = "expected 0x and a hexadecimal number";
		return 0;
	}
	if (cursor->at - first < 17)
		*carry = 0;
	return value;
}

static inline uint64_t field_hex(struct cursor *cursor)
{
	unsigned int carry;
	uint64_t value = field_hex_carry(cursor, &carry);

	if (carry) {
		cursor->wrong = "a number does not fit in 64 bits";
		return 0;
	}
	return value;
}

/* A size of 0 to 2^64, which is returned as UINT64_MAX. */
static inline uint64_t field_size(struct cursor *cursor)
{
	unsigned int carry;
	uint64_t value = field_hex_carry(cursor, &carry);

	if (carry > 1 || (carry && value)) {
		cursor->wrong = "a size is larger than 2^64";
		return 0;
	}
	if (!carry && value == UINT64_MAX) {
		cursor->wrong = "a size of 2^64-1 bytes cannot be told";
		return 0;
	}
	return carry ? UINT64_MAX : value;
}

/* The size of a range from `start` on; returns the range's last address. */
static inline uint64_t field_last(struct cursor *cursor, uint64_t start)
{
	unsigned int carry;
	uint64_t size = field_hex_carry(cursor, &carry);

	if (cursor->wrong)
		return 0;
	/* size - 1 is 2^64 - 1 for a size of 2^64, as it should be. */
	if (carry > 1 || (carry ? size : !size) ||
	    size - 1 > UINT64_MAX - start) {
		cursor->wrong = "a range is empty or goes beyond 2^64";
		return 0;
	}
	return start + size - 1;
}

static inline struct word field_word(struct cursor *cursor)
{
	struct word word = { "", 0 };

	if (!field_begin(cursor))
		return word;
	word.at = cursor->at;
	while (!field_ends(cursor))
		cursor->at++;
	word.len = cursor->at - word.at;
	if (!word.len)
		cursor->wrong = "a field is empty";
	return word;
}

#endif
