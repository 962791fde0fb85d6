/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lines of a text file that may be compressed with zstd (told by its magic
 * number), read as a stream: memory use does not depend on the file's size.
 */
#ifndef REPLAY_LINES_H
#define REPLAY_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "failure.h"

/* The longest line; also the buffer. */
#define LINES_MAX (1u << 20)

struct lines;

/*
 * Open a file, or a buffer that stays the caller's.  `failure` gets the
 * name (not copied), and every line's number from then on.  0 or -1.
 */
int lines_open(struct lines **out, const char *path, struct failure *failure);
int lines_open_buffer(struct lines **out, const char *name, const void *data,
		      size_t len, struct failure *failure);
void lines_close(struct lines *lines);

/*
 * The next line without its newline, valid until the next call; a newline
 * follows it in memory.  1, 0 at the end, -1 on a failure.
 */
int lines_next(struct lines *lines, const char **line, size_t *len);

/* At the end: did the input stop inside a line or a zstd frame? */
bool lines_cut(const struct lines *lines);

#endif
