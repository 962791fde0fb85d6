/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/huge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int lock_fd = -1;
static uint64_t taken_size, taken_count;

static FILE *open_file(uint64_t size, const char *name, const char *mode)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
		 (unsigned long long)(size / 1024), name);
	return fopen(path, mode);
}

static uint64_t number(uint64_t size, const char *name)
{
	unsigned long long value = 0;
	FILE *file = open_file(size, name, "re");

	if (!file)
		return 0;
	if (fscanf(file, "%llu", &value) != 1)
		value = 0;
	fclose(file);
	return value;
}

static bool set_total(uint64_t size, uint64_t count)
{
	FILE *file = open_file(size, "nr_hugepages", "we");

	if (!file)
		return false;
	fprintf(file, "%llu\n", (unsigned long long)count);
	return fclose(file) == 0;
}

uint64_t huge_free(uint64_t size)
{
	return number(size, "free_hugepages") - number(size, "resv_hugepages");
}

/* Note in the lock's file what is to be given back; 0: nothing is. */
static void note(uint64_t size, uint64_t count)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "%llu %llu\n",
			   (unsigned long long)size, (unsigned long long)count);

	if (ftruncate(lock_fd, 0) ||
	    pwrite(lock_fd, text, (size_t)len, 0) != len)
		printf("huge pages: no note: %s\n", strerror(errno));
}

static void give(uint64_t size, uint64_t count)
{
	uint64_t total = number(size, "nr_hugepages");

	if (count && total >= count)
		set_total(size, total - count);
}

/* Whoever had the lock before was killed: give back what it took. */
static void give_for_the_dead(void)
{
	unsigned long long size, count;
	char text[64];
	ssize_t len = pread(lock_fd, text, sizeof(text) - 1, 0);

	text[len > 0 ? len : 0] = '\0';
	if (sscanf(text, "%llu %llu", &size, &count) == 2)
		give(size, count);
	note(0, 0);
}

bool huge_take(uint64_t size, uint64_t count)
{
	uint64_t before;

	lock_fd = open("/tmp/memplane-hugepages.lock",
		       O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (lock_fd < 0 || flock(lock_fd, LOCK_EX)) {
		printf("huge pages: no lock: %s\n", strerror(errno));
		return false;
	}
	give_for_the_dead();
	before = number(size, "nr_hugepages");
	taken_size = size;
	taken_count = count;
	if (!set_total(size, before + count)) {
		printf("huge pages: cannot be reserved (root?)\n");
		taken_count = 0;
	} else if (number(size, "nr_hugepages") != before + count) {
		printf("huge pages: no %llu of %llu KiB to be had\n",
		       (unsigned long long)count,
		       (unsigned long long)(size / 1024));
		set_total(size, before);
		taken_count = 0;
	} else {
		note(size, count);
		return true;
	}
	huge_give();
	return false;
}

void huge_give(void)
{
	if (lock_fd < 0)
		return;
	give(taken_size, taken_count);
	taken_count = 0;
	note(0, 0);
	close(lock_fd);
	lock_fd = -1;
}
