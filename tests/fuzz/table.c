/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usage: NAME_test FOLDER
 *
 * Give each file of the folder, the corpus that fuzzing begins with, to the
 * entry of a fuzzer, as it is, cut in half, and with one byte after the other
 * changed: what regressions are tested with, without a fuzzer.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { INPUT_MAX = 1 << 16, CHANGES = 4 };

static const char *folder;

static size_t load(const char *name, uint8_t *data)
{
	char path[512];
	FILE *file;
	size_t size;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	assert_non_null(file);
	size = fread(data, 1, INPUT_MAX, file);
	assert_int_equal(ferror(file), 0);
	fclose(file);
	return size;
}

/* A copy of its own, so that the sanitizer sees where it ends. */
static void give(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	assert_non_null(copy);
	if (size)
		memcpy(copy, data, size);
	assert_int_equal(LLVMFuzzerTestOneInput(copy, size), 0);
	free(copy);
}

static void test_corpus(void **state)
{
	static uint8_t data[INPUT_MAX];
	DIR *dir = opendir(folder);
	struct dirent *entry;
	unsigned int files = 0;

	(void)state;
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		size_t size;

		if (entry->d_name[0] == '.')
			continue;
		size = load(entry->d_name, data);
		give(data, size);
		give(data, size / 2);
		for (size_t i = 0; i < CHANGES && size; i++) {
			size_t at = i * 7919 % size;

			data[at] ^= (uint8_t)(0x55 + i);
			give(data, size);
			data[at] ^= (uint8_t)(0x55 + i);
		}
		files++;
	}
	closedir(dir);
	assert_true(files > 0);
}

static void test_empty(void **state)
{
	(void)state;
	give(NULL, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_corpus),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	folder = argv[1];
	LLVMFuzzerInitialize(&argc, &argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
