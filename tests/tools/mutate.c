/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hostile traces: small recorded ones, broken in some way, are replayed in
 * this process.  Whatever comes must end in success or in a failure that says
 * where and what; the sanitizers say whether it ended well.
 *
 *     mutate [-n COUNT] [-s SEED] [-o FILE] TRACE...
 *
 * The same seed gives the same traces.  -o writes the last one to a file.
 * The names and numbers in the failures go to nobody: what counts is that
 * all kinds of outcome are seen.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "tools/replay/lines.h"
#include "tools/replay/verify.h"

#define TEXT_MAX (1u << 16)     /* of an original: its first lines */
#define ROOM     (2 * TEXT_MAX) /* for what mutations add */

struct text {
	char *at;
	size_t len;
};

struct outcomes {
	unsigned int agreed, differed, refused;
	unsigned int silent; /* refused without saying why */
	unsigned int broken; /* the library found itself wrong */
	uint64_t slowest_ns;
	unsigned int slowest;
};

static uint64_t random_state;

/* splitmix64 */
static uint64_t random64(void)
{
	uint64_t x = random_state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static size_t below(size_t n)
{
	return n ? random64() % n : 0;
}

/* The first lines of a trace, whole, up to TEXT_MAX bytes. */
static int load(struct text *text, const char *path)
{
	struct failure failure = { 0 };
	struct lines *lines;
	const char *line;
	size_t len;
	int got;

	text->at = malloc(TEXT_MAX);
	text->len = 0;
	if (!text->at || lines_open(&lines, path, &failure))
		return -1;
	while ((got = lines_next(lines, &line, &len)) > 0) {
		if (text->len + len + 1 > TEXT_MAX)
			break;
		memcpy(text->at + text->len, line, len);
		text->at[text->len + len] = '\n';
		text->len += len + 1;
	}
	lines_close(lines);
	return got < 0 ? -1 : 0;
}

/* Replace text[at, at+len) by `with`. */
static void splice(struct text *text, size_t at, size_t len, const char *with,
		   size_t with_len)
{
	if (text->len - len + with_len > ROOM)
		return;
	memmove(text->at + at + with_len, text->at + at + len,
		text->len - at - len);
	memcpy(text->at + at, with, with_len);
	text->len += with_len - len;
}

/* Some line: where it begins, and its length with the newline. */
static size_t some_line(const struct text *text, size_t *len)
{
	size_t at = below(text->len), end;

	while (at && text->at[at - 1] != '\n')
		at--;
	for (end = at; end < text->len && text->at[end] != '\n'; end++)
		;
	*len = end - at + (end < text->len);
	return at;
}

/* Some field of some line, not the first: where, and its length. */
static size_t some_field(const struct text *text, size_t *len)
{
	size_t at = below(text->len), end;

	while (at < text->len && text->at[at] != ' ')
		at++;
	if (at < text->len)
		at++;
	for (end = at;
	     end < text->len && text->at[end] != ' ' && text->at[end] != '\n';
	     end++)
		;
	*len = end - at;
	return at;
}

static void set_field(struct text *text)
{
	static const char *const values[] = {
		"0",
		"1",
		"2",
		"3",
		"-1",
		"4294967295",
		"4294967296",
		"2147483647",
		"-2147483648",
		"18446744073709551615",
		"18446744073709551616",
		"0x0",
		"0x1",
		"0x1000",
		"0x7fffffffffffffff",
		"0x8000000000000000",
		"0xfffffffffffff000",
		"0xfffffffffffffffe",
		"0xffffffffffffffff",
		"0x10000000000000000",
		"0x10000000000000001",
		"0x20000000000000000",
		"0x",
		"%",
		"%00",
		"%zz",
		"container",
		"alias",
		"iommu",
		"ram",
		"romd",
		"topology",
		"as_init",
		"ioeventfd",
		"",
	};
	const char *value = values[below(sizeof(values) / sizeof(*values))];
	size_t len, at = some_field(text, &len);

	splice(text, at, len, value, strlen(value));
}

/* Give a field the value of another: most often an id of something else. */
static void copy_field(struct text *text)
{
	size_t len, from_len, at = some_field(text, &len);
	size_t from = some_field(text, &from_len);
	char value[64];

	if (from_len > sizeof(value))
		return;
	memcpy(value, text->at + from, from_len);
	splice(text, at, len, value, from_len);
}

static void repeat_line(struct text *text)
{
	size_t len, to_len, from = some_line(text, &len);
	size_t to = some_line(text, &to_len);
	char *copy = malloc(len + 1);

	if (!copy)
		return;
	memcpy(copy, text->at + from, len);
	splice(text, to, 0, copy, len);
	free(copy);
}

static void drop_line(struct text *text)
{
	size_t len, at = some_line(text, &len);

	splice(text, at, len, "", 0);
}

static void set_byte(struct text *text)
{
	if (text->len)
		text->at[below(text->len)] = random64();
}

static void insert_bytes(struct text *text)
{
	uint64_t bytes[4] = { random64(), random64(), random64(), random64() };

	splice(text, below(text->len + 1), 0, (const char *)bytes,
	       1 + below(sizeof(bytes)));
}

/* A record made up, with ids that may or may not exist. */
static void insert_record(struct text *text)
{
	static const char *const forms[] = {
		"add %u %u 0x%x 0 0\n",
		"del %u %u\n",
		"destroy %u\n",
		"set_enabled %u %u\n",
		"set_size %u 0x%x\n",
		"set_address %u 0x%x\n",
		"set_alias_offset %u 0x%x\n",
		"set_log %u 0 1\n",
		"set_romd %u 0\n",
		"add_coalescing %u 0x0 0x%x\n",
		"add_ioeventfd %u 0x%x 4 0 0x0 1\n",
		"del_ioeventfd %u 0x%x 4 0 0x0 1\n",
		"begin %u\n",
		"commit %u\n",
		"as_destroy %u\n",
		"code_log 1\n",
		"global_dirty 1\n",
		"set_readonly %u 1\n",
	};
	char line[128];
	size_t len, at = some_line(text, &len);
	int n;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	n = snprintf(line, sizeof(line),
		     forms[below(sizeof(forms) / sizeof(*forms))],
		     (unsigned int)below(40), (unsigned int)below(40),
		     (unsigned int)random64());
#pragma GCC diagnostic pop
	splice(text, at, 0, line, n);
}

static void cut(struct text *text)
{
	text->len = below(text->len + 1);
}

static void mutate(struct text *text)
{
	static void (*const ways[])(struct text *) = {
		set_field, set_field,    copy_field,    copy_field,
		drop_line, repeat_line,  insert_record, insert_record,
		set_byte,  insert_bytes,
	};
	unsigned int n = 1 + below(4);

	while (n--)
		ways[below(sizeof(ways) / sizeof(*ways))](text);
	if (!below(16))
		cut(text);
}

/* One in eight goes through zstd, and half of these are broken there. */
static struct text pack(const struct text *text)
{
	struct text packed = { malloc(ZSTD_compressBound(text->len)), 0 };

	if (!packed.at)
		return packed;
	packed.len = ZSTD_compress(packed.at, ZSTD_compressBound(text->len),
				   text->at, text->len, 1);
	if (ZSTD_isError(packed.len))
		packed.len = 0;
	if (below(2))
		set_byte(&packed);
	if (!below(4))
		cut(&packed);
	return packed;
}

static void replay(const struct text *text, struct outcomes *outcomes)
{
	/* In some, the library compares each commit with a full render. */
	struct verify_options options = {
		.plane = {
			.trace_rules = true,
			.max_spaces = 64,
			.verify = !below(4),
		},
		.compare_events = true,
	};
	struct failure failure = { 0 };
	struct verify_result result = { 0 };
	struct lines *lines;
	int err;

	err = lines_open_buffer(&lines, "mutated", text->at, text->len,
				&failure);
	if (!err) {
		err = verify_lines(lines, NULL, &options, &result, &failure);
		lines_close(lines);
		free(result.commit_ns);
	}
	if (err)
		outcomes->refused++;
	else if (result.mismatches)
		outcomes->differed++;
	else
		outcomes->agreed++;
	if (err && (!failure.set || !failure.text[0]))
		outcomes->silent++;
	if (err && strstr(failure.text, "full render"))
		outcomes->broken++;
}

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static void write_file(const char *path, const struct text *text)
{
	FILE *file = fopen(path, "w");

	if (!file || fwrite(text->at, 1, text->len, file) != text->len)
		fprintf(stderr, "mutate: cannot write %s\n", path);
	if (file)
		fclose(file);
}

static void run_one(const struct text *original, unsigned int number,
		    const char *save, struct outcomes *outcomes)
{
	struct text text = { malloc(ROOM), original->len }, packed;
	uint64_t begin = clock_ns();

	if (!text.at)
		return;
	memcpy(text.at, original->at, original->len);
	mutate(&text);
	if (save)
		write_file(save, &text);
	if (below(8)) {
		replay(&text, outcomes);
	} else {
		packed = pack(&text);
		replay(&packed, outcomes);
		free(packed.at);
	}
	free(text.at);
	if (clock_ns() - begin > outcomes->slowest_ns) {
		outcomes->slowest_ns = clock_ns() - begin;
		outcomes->slowest = number;
	}
}

static int check(const struct outcomes *outcomes, unsigned int count)
{
	unsigned int all =
		outcomes->agreed + outcomes->differed + outcomes->refused;

	printf("mutated traces: %u agree, %u differ, %u refused; slowest "
	       "number %u: %.1f ms\n",
	       outcomes->agreed, outcomes->differed, outcomes->refused,
	       outcomes->slowest, outcomes->slowest_ns / 1e6);
	if (all != count)
		return fprintf(stderr, "mutate: %u were not run\n",
			       count - all);
	if (outcomes->silent)
		return fprintf(stderr, "mutate: %u refused without a reason\n",
			       outcomes->silent);
	if (outcomes->broken)
		return fprintf(stderr,
			       "mutate: %u times the library's map "
			       "was wrong\n",
			       outcomes->broken);
	/* If one of these never happens, this is no test. */
	if (count >= 1000 && (!outcomes->agreed || !outcomes->differed ||
			      outcomes->refused < count / 10))
		return fprintf(stderr, "mutate: outcomes are one-sided\n");
	return 0;
}

int main(int argc, char **argv)
{
	unsigned int count = 10000, first = 0, i;
	const char *save = NULL;
	uint64_t seed = 1;
	struct outcomes outcomes = { 0 };
	struct text *originals;
	int option, n, err = 0;

	while ((option = getopt(argc, argv, "n:s:o:f:")) != -1) {
		if (option == 'n')
			count = strtoul(optarg, NULL, 10);
		else if (option == 's')
			seed = strtoull(optarg, NULL, 10);
		else if (option == 'f')
			first = strtoul(optarg, NULL, 10);
		else if (option == 'o')
			save = optarg;
		else
			return 2;
	}
	n = argc - optind;
	originals = calloc(n + 1, sizeof(*originals));
	for (i = 0; originals && !err && i < (unsigned int)n; i++)
		err = load(&originals[i], argv[optind + i]);
	if (!originals || !n || err) {
		fputs("mutate: cannot read the traces\n", stderr);
		return 2;
	}
	for (i = first; i < first + count; i++) {
		random_state = seed * 1000003 + i;
		run_one(&originals[below(n)], i, save, &outcomes);
	}
	err = check(&outcomes, count);
	for (i = 0; i < (unsigned int)n; i++)
		free(originals[i].at);
	free(originals);
	return err ? 1 : 0;
}
