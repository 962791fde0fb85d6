/* SPDX-License-Identifier: BSD-3-Clause */
#include "lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#define RAW_MAX (1u << 18)

struct lines {
	struct failure *failure;
	int fd; /* -1: a buffer */
	const uint8_t *data;
	size_t left; /* of data */

	ZSTD_DStream *zstd; /* NULL: plain text */
	ZSTD_inBuffer raw;
	size_t frame; /* what zstd still wants of the current frame */
	uint8_t *raw_space;

	char *text; /* LINES_MAX bytes and one */
	size_t head, tail;
	bool end; /* nothing more to read */
	bool cut;
};

/* Up to `max` bytes of the input as it is; 0 at its end, -1 on a failure. */
static ssize_t read_input(struct lines *lines, void *to, size_t max)
{
	ssize_t n;

	if (lines->fd < 0) {
		n = lines->left < max ? lines->left : max;
		if (n)
			memcpy(to, lines->data, n);
		lines->data += n;
		lines->left -= n;
		return n;
	}
	do
		n = read(lines->fd, to, max);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		failure_system(lines->failure, "cannot read", -errno);
	return n;
}

static int refill_raw(struct lines *lines)
{
	ssize_t n = read_input(lines, lines->raw_space, RAW_MAX);

	if (n < 0)
		return -1;
	lines->raw = (ZSTD_inBuffer){ lines->raw_space, n, 0 };
	if (!n) {
		lines->end = true;
		lines->cut = lines->frame != 0;
	}
	return 0;
}

static int fill_zstd(struct lines *lines)
{
	ZSTD_outBuffer out = { lines->text, LINES_MAX, lines->tail };
	size_t before = lines->tail;

	while (out.pos == before && !lines->end) {
		if (lines->raw.pos == lines->raw.size && refill_raw(lines))
			return -1;
		if (lines->end)
			break;
		lines->frame =
			ZSTD_decompressStream(lines->zstd, &out, &lines->raw);
		if (ZSTD_isError(lines->frame))
			return failure_set(lines->failure,
					   "corrupt zstd data: %s",
					   ZSTD_getErrorName(lines->frame));
	}
	lines->tail = out.pos;
	return 0;
}

static int fill(struct lines *lines)
{
	ssize_t n;

	memmove(lines->text, lines->text + lines->head,
		lines->tail - lines->head);
	lines->tail -= lines->head;
	lines->head = 0;
	if (lines->tail == LINES_MAX)
		return failure_set(lines->failure,
				   "a line is longer than %u bytes", LINES_MAX);
	if (lines->zstd)
		return fill_zstd(lines);
	n = read_input(lines, lines->text + lines->tail,
		       LINES_MAX - lines->tail);
	if (n < 0)
		return -1;
	lines->tail += n;
	lines->end = !n;
	return 0;
}

/* Read the first bytes; if they are zstd's magic number, start over as zstd. */
static int detect(struct lines *lines)
{
	static const uint8_t magic[4] = { 0x28, 0xb5, 0x2f, 0xfd };

	while (lines->tail < sizeof(magic) && !lines->end)
		if (fill(lines))
			return -1;
	if (lines->tail < sizeof(magic) ||
	    memcmp(lines->text, magic, sizeof(magic)))
		return 0;
	lines->zstd = ZSTD_createDStream();
	/* What was read already may be up to a whole text buffer. */
	lines->raw_space = malloc(LINES_MAX);
	if (!lines->zstd || !lines->raw_space)
		return failure_errno(lines->failure, "zstd", -ENOMEM);
	memcpy(lines->raw_space, lines->text, lines->tail);
	lines->raw = (ZSTD_inBuffer){ lines->raw_space, lines->tail, 0 };
	lines->tail = 0;
	lines->end = false;
	return 0;
}

static int start(struct lines **out, struct lines *lines)
{
	lines->text = malloc(LINES_MAX + 1);
	if (!lines->text) {
		failure_errno(lines->failure, "cannot start", -ENOMEM);
		goto fail;
	}
	if (detect(lines))
		goto fail;
	*out = lines;
	return 0;
fail:
	lines_close(lines);
	return -1;
}

static struct lines *new_lines(const char *name, struct failure *failure)
{
	struct lines *lines = calloc(1, sizeof(*lines));

	failure->file = name;
	failure->line = 0;
	if (!lines) {
		failure_errno(failure, "cannot start", -ENOMEM);
		return NULL;
	}
	lines->failure = failure;
	lines->fd = -1;
	return lines;
}

int lines_open(struct lines **out, const char *path, struct failure *failure)
{
	struct lines *lines = new_lines(path, failure);

	if (!lines)
		return -1;
	lines->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (lines->fd < 0) {
		failure_system(failure, "cannot open", -errno);
		lines_close(lines);
		return -1;
	}
	return start(out, lines);
}

int lines_open_buffer(struct lines **out, const char *name, const void *data,
		      size_t len, struct failure *failure)
{
	struct lines *lines = new_lines(name, failure);

	if (!lines)
		return -1;
	lines->data = data;
	lines->left = len;
	return start(out, lines);
}

void lines_close(struct lines *lines)
{
	if (!lines)
		return;
	if (lines->fd >= 0)
		close(lines->fd);
	ZSTD_freeDStream(lines->zstd);
	free(lines->raw_space);
	free(lines->text);
	free(lines);
}

int lines_next(struct lines *lines, const char **line, size_t *len)
{
	size_t seen = 0;

	for (;;) {
		char *from = lines->text + lines->head;
		size_t have = lines->tail - lines->head;
		char *newline = memchr(from + seen, '\n', have - seen);

		if (newline) {
			*line = from;
			*len = newline - from;
			lines->head += *len + 1;
			lines->failure->line++;
			return 1;
		}
		if (lines->end) {
			lines->cut |= have != 0;
			return 0;
		}
		seen = have;
		if (fill(lines)) {
			lines->failure->line++;
			return -1;
		}
	}
}

bool lines_cut(const struct lines *lines)
{
	return lines->cut;
}
