/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The records of a memtrace file: text in, struct out.  Nothing here knows
 * what a record does; the format is described in docs/replay.md.
 */
#ifndef REPLAY_MEMTRACE_H
#define REPLAY_MEMTRACE_H

#include <memplane/region.h>

#include "failure.h"
#include "fields.h"

enum record_type {
	REC_SKIP, /* nothing to do with us */
	REC_META,
	REC_REGION,
	REC_DESTROY,
	REC_ADD,
	REC_DEL,
	REC_SET_ADDRESS,
	REC_SET_ENABLED,
	REC_SET_SIZE,
	REC_SET_READONLY,
	REC_SET_NONVOLATILE,
	REC_SET_ROMD,
	REC_SET_ALIAS_OFFSET,
	REC_SET_LOG,
	REC_MIGRATABLE,
	REC_GLOBAL_DIRTY,
	REC_CODE_LOG,
	REC_ADD_IOEVENTFD,
	REC_DEL_IOEVENTFD,
	REC_ADD_COALESCING,
	REC_CLEAR_COALESCING,
	REC_BEGIN,
	REC_COMMIT,
	REC_AS_INIT,
	REC_AS_DESTROY,
	REC_LISTENER_REGISTER,
	REC_EVENT,
	REC_PUBLISH,
	REC_VIEW,
	REC_RANGE,
	REC_USE,
	REC_IOEVENTFDS,
	REC_IOEVENTFD,
	REC_END,
	REC_EOF,
};

enum trace_endian { TRACE_NATIVE, TRACE_LITTLE, TRACE_BIG };

struct trace_region {
	uint32_t id;
	enum mpl_region_kind kind;
	uint64_t size;    /* as the library's: UINT64_MAX is 2^64 */
	struct word name; /* as written */
	bool readonly, nonvolatile;
	uint32_t target;
	uint64_t offset;
	struct mpl_access_sizes valid, impl;
	enum trace_endian endian;
	bool has_read, has_write;
};

/* `set_*`, `destroy`, `migratable`, `add_coalescing`: a region and numbers. */
struct trace_set {
	uint32_t id;
	uint64_t value;
	uint64_t size;
};

struct trace_add {
	uint32_t parent, child;
	uint64_t offset;
	int32_t priority;
};

struct trace_ioeventfd {
	uint32_t region; /* 0 in the list of a publication */
	uint64_t address;
	uint64_t data;
	uint32_t size;
	bool match;
	uint32_t fd;
};

struct trace_space {
	uint32_t id;
	uint32_t root; /* listener_register: its priority */
	struct word name;
};

enum publish_kind { PUBLISH_TOPOLOGY, PUBLISH_IOEVENTFD, PUBLISH_AS_INIT };

struct trace_publish {
	uint32_t seq;
	enum publish_kind kind;
	uint64_t render, apply;
};

struct trace_view {
	uint32_t id, root, count, base, head, tail;
};

struct trace_range {
	uint64_t start, last, offset;
	uint32_t region;
	uint8_t readonly, rom_mode, nonvolatile, dirty;
};

/* `use AS VIEW` and `ioeventfds AS N`. */
struct trace_pair {
	uint32_t space, value;
};

struct record {
	enum record_type type;
	union {
		struct word text; /* the line behind the type */
		struct trace_region region;
		struct trace_set set;
		struct trace_add add;
		struct trace_ioeventfd ioeventfd;
		struct trace_space space;
		struct trace_publish publish;
		struct trace_view view;
		struct trace_range range;
		struct trace_pair pair;
	};
};

/* One line.  Words in *record point into it.  0 or -1. */
int memtrace_parse(const char *line, size_t len, struct record *record,
		   struct failure *failure);

/* Is this the first line of a memtrace file that we can read?  0 or -1. */
int memtrace_check_header(const char *line, size_t len,
			  struct failure *failure);

/*
 * Undo the escapes of a STR into `to`, which is always terminated; cut if it
 * does not fit.  A bare "-" is the empty name.  0 or -1.
 */
int memtrace_unescape(struct word word, char *to, size_t max,
		      struct failure *failure);

bool word_is(struct word word, const char *text);

#endif
