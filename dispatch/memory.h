/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses to host memory that guests, devices and other processes access at
 * the same time: words are moved whole, never byte by byte.
 */
#ifndef MEMPLANE_DISPATCH_MEMORY_H
#define MEMPLANE_DISPATCH_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <memplane/types.h>

static inline bool mpl_is_word(size_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

static inline bool mpl_is_aligned(const void *host, size_t size)
{
	return ((uintptr_t)host & (size - 1)) == 0;
}

/* An aligned word, in host order: single-copy atomic. */
static inline uint64_t mpl_word_load(const void *host, unsigned int size)
{
	switch (size) {
	case 1:
		return __atomic_load_n((const uint8_t *)host,
				       __ATOMIC_RELAXED);
	case 2:
		return __atomic_load_n((const uint16_t *)host,
				       __ATOMIC_RELAXED);
	case 4:
		return __atomic_load_n((const uint32_t *)host,
				       __ATOMIC_RELAXED);
	default:
		return __atomic_load_n((const uint64_t *)host,
				       __ATOMIC_RELAXED);
	}
}

static inline void mpl_word_store(void *host, unsigned int size, uint64_t word)
{
	switch (size) {
	case 1:
		__atomic_store_n((uint8_t *)host, (uint8_t)word,
				 __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n((uint16_t *)host, (uint16_t)word,
				 __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n((uint32_t *)host, (uint32_t)word,
				 __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n((uint64_t *)host, word, __ATOMIC_RELAXED);
		break;
	}
}

/* Any word: unaligned ones may tear, as they may in hardware. */
static inline uint64_t mpl_memory_load(const void *host, unsigned int size)
{
	uint64_t word = 0;

	if (mpl_is_aligned(host, size))
		return mpl_word_load(host, size);
	memcpy(&word, host, size);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word >>= 64 - 8 * size;
#endif
	return word;
}

static inline void mpl_memory_store(void *host, unsigned int size,
				    uint64_t word)
{
	if (mpl_is_aligned(host, size)) {
		mpl_word_store(host, size, word);
		return;
	}
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word <<= 64 - 8 * size;
#endif
	memcpy(host, &word, size);
}

/* Copies of a word's size are moved as one word. */
static inline void mpl_memory_copy(void *to, const void *from, size_t len)
{
	if (mpl_is_word(len))
		mpl_memory_store(to, (unsigned int)len,
				 mpl_memory_load(from, (unsigned int)len));
	else
		memcpy(to, from, len);
}

/* A word of `size` bytes between host order and a named one. */
static inline uint64_t mpl_to_endian(uint64_t word, unsigned int size,
				     bool big_endian)
{
	if (big_endian == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__))
		return word;
	return __builtin_bswap64(word) >> (64 - 8 * size);
}

static inline bool mpl_is_big_endian(enum mpl_endian endian)
{
	return endian == MPL_BIG_ENDIAN ||
	       (endian == MPL_NATIVE_ENDIAN &&
		__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

#endif
