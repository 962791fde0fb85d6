/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An EAL belongs to a process and stays: so each test is a process of its own,
 * of which the status tells.
 */
#define _GNU_SOURCE /* pthread_getaffinity_np() */
#include <memplane.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* DPDK's headers are for few files. */
int rte_eal_init(int argc, char **argv);

/* In the process of a test: 1 says that it failed, and where. */
#define CHECK(condition)                                                   \
	do {                                                               \
		if (!(condition)) {                                        \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__,   \
				__LINE__, #condition);                     \
			exit(1);                                           \
		}                                                          \
	} while (0)

static char last_line[256];
static unsigned int lines;

static void keep_line(void *opaque, enum mpl_log_level level, const char *line)
{
	(void)opaque, (void)level;
	snprintf(last_line, sizeof(last_line), "%s", line);
	lines++;
}

static void in_process(void (*fn)(void))
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		alarm(60);
		fn();
		exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("the process ended with status %#x", status);
}

enum { DOORBELLS = 200 };

/*
 * A machine with a device of DOORBELLS doorbells, 8 bytes apart; each of them
 * rings the one eventfd, a write beside them does not.
 */
static void use_doorbells(struct mpl_plane_stats *stats)
{
	static const struct mpl_io_ops ops = { .endian = MPL_LITTLE_ENDIAN };
	struct mpl_plane_config config = { .hash_doorbells = 64,
					   .log = keep_line };
	struct mpl_ioeventfd bell = { .size = 4,
				      .fd = eventfd(0, EFD_NONBLOCK) };
	static const struct mpl_attrs attrs;
	struct mpl_address_space *as;
	struct mpl_region *region;
	struct mpl_reader *reader;
	struct mpl_plane *plane;
	uint64_t value = 0;

	CHECK(!mpl_plane_new(&plane, &config));
	CHECK(!mpl_region_new_io(plane, "d", 0x1000, &ops, NULL, &region));
	CHECK(!mpl_address_space_new(plane, "as", region, &as));
	for (uint64_t i = 0; i < DOORBELLS; i++) {
		struct mpl_txn *tx = mpl_begin(plane);

		bell.offset = 8 * i;
		mpl_ioeventfd_add(tx, region, &bell);
		CHECK(!mpl_commit(tx));
	}
	mpl_plane_stats(plane, stats);
	CHECK(!mpl_reader_register(plane, &reader));
	CHECK(!mpl_reader_online(reader));
	for (uint64_t i = 0; i < DOORBELLS; i++)
		CHECK(!mpl_store(reader, as, 8 * i, attrs, 4,
				 MPL_LITTLE_ENDIAN, i));
	CHECK(mpl_store(reader, as, 4, attrs, 4, MPL_LITTLE_ENDIAN, 0) ==
	      MPL_ACCESS_ERROR);
	CHECK(read(bell.fd, &value, 8) == 8);
	CHECK(value == DOORBELLS);
	CHECK(!mpl_reader_offline(reader));
	mpl_reader_unregister(reader);
	mpl_region_unref(region);
	CHECK(!mpl_plane_free(plane));
	close(bell.fd);
}

static void no_eal(void)
{
	struct mpl_plane_stats stats;

	CHECK(!mpl_eal_running());
	use_doorbells(&stats);
	CHECK(stats.doorbell_hashes == 0);
	CHECK(stats.doorbell_hashes_refused == 2); /* at 64 and at 128 */
	CHECK(lines == 1 && strstr(last_line, "mpl_eal_start()"));
	CHECK(!mpl_eal_running()); /* never by itself */
}

/* What must be as before. */
struct footprint {
	cpu_set_t cpus;
	sigset_t blocked;
	void (*handlers[NSIG])(int);
	int flags[NSIG];
};

static void take_footprint(struct footprint *footprint)
{
	memset(footprint, 0, sizeof(*footprint));
	CHECK(!pthread_getaffinity_np(pthread_self(),
				      sizeof(footprint->cpus),
				      &footprint->cpus));
	CHECK(!pthread_sigmask(SIG_SETMASK, NULL, &footprint->blocked));
	/* The two between are the C library's own, for its threads. */
	for (int i = 1; i < NSIG; i++) {
		struct sigaction action;

		if (i >= 32 && i < SIGRTMIN)
			continue;
		CHECK(!sigaction(i, NULL, &action));
		footprint->handlers[i] = action.sa_handler;
		footprint->flags[i] = action.sa_flags;
	}
}

static void starts(void)
{
	static struct footprint before, after;
	struct mpl_plane_stats stats;
	uint64_t elapsed = 0;

	take_footprint(&before);
	CHECK(!mpl_eal_running());
	CHECK(!mpl_eal_start(NULL, &elapsed));
	CHECK(elapsed > 0);
	CHECK(mpl_eal_running());
	take_footprint(&after);
	CHECK(!memcmp(&before, &after, sizeof(before)));
	CHECK(mpl_eal_start(NULL, &elapsed) == -EALREADY);
	CHECK(elapsed == 0);
	use_doorbells(&stats);
	CHECK(stats.doorbell_hashes == 1);
	CHECK(stats.doorbell_hashes_refused == 0);
	CHECK(lines == 0);
}

/* Not on the first processor, and only there. */
static void keeps_last_cpu(void)
{
	cpu_set_t cpus, one, after;
	int cpu = CPU_SETSIZE;

	CHECK(!pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus));
	do
		cpu--;
	while (!CPU_ISSET(cpu, &cpus));
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	CHECK(!pthread_setaffinity_np(pthread_self(), sizeof(one), &one));
	CHECK(!mpl_eal_start(&(struct mpl_eal_config){ .memory_mib = 8 },
			     NULL));
	CHECK(!pthread_getaffinity_np(pthread_self(), sizeof(after), &after));
	CHECK(CPU_EQUAL(&one, &after));
}

static void writes_nothing(void)
{
	FILE *file = tmpfile();

	CHECK(file);
	CHECK(dup2(fileno(file), STDOUT_FILENO) == STDOUT_FILENO);
	CHECK(!mpl_eal_start(NULL, NULL));
	fflush(stdout);
	CHECK(lseek(STDOUT_FILENO, 0, SEEK_END) == 0);
}

static void applications_own(void)
{
	char *argv[] = { "application", "--no-huge", "--no-shconf", "--no-pci",
			 "--no-telemetry", "-m", "32", "-l", "0",
			 "--log-level=*:error", NULL };
	struct mpl_plane_stats stats;

	CHECK(rte_eal_init(10, argv) >= 0);
	CHECK(mpl_eal_running());
	CHECK(mpl_eal_start(NULL, NULL) == -EALREADY);
	use_doorbells(&stats);
	CHECK(stats.doorbell_hashes == 1);
}

/* Without a descriptor to be had EAL cannot start: said, and nothing else. */
static void refuses(void)
{
	struct rlimit limit, old;
	struct mpl_eal_config config = { .log = keep_line };
	struct footprint before, after;

	CHECK(mpl_eal_start(&(struct mpl_eal_config){ .memory_mib = 2 << 20 },
			    NULL) == -EINVAL);
	CHECK(!getrlimit(RLIMIT_NOFILE, &old));
	limit = old;
	limit.rlim_cur = 3;
	for (int fd = 3; fd < 64; fd++)
		close(fd);
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	take_footprint(&before);
	CHECK(mpl_eal_start(&config, NULL) == -ENOTSUP);
	CHECK(lines == 1 && strstr(last_line, "rte_eal_init()"));
	CHECK(!mpl_eal_running());
	take_footprint(&after);
	CHECK(!memcmp(&before, &after, sizeof(before)));
	CHECK(!setrlimit(RLIMIT_NOFILE, &old));
}

static void test_no_eal(void **state)
{
	(void)state;
	in_process(no_eal);
}

static void test_starts(void **state)
{
	(void)state;
	in_process(starts);
}

static void test_keeps_affinity(void **state)
{
	(void)state;
	in_process(keeps_last_cpu);
}

static void test_writes_nothing(void **state)
{
	(void)state;
	in_process(writes_nothing);
}

static void test_applications_own(void **state)
{
	(void)state;
	in_process(applications_own);
}

static void test_refuses(void **state)
{
	(void)state;
	in_process(refuses);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_eal),
		cmocka_unit_test(test_starts),
		cmocka_unit_test(test_keeps_affinity),
		cmocka_unit_test(test_writes_nothing),
		cmocka_unit_test(test_applications_own),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
