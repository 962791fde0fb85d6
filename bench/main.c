/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usage: bench [--quick] [google benchmark's options]
 *
 *     --quick   each benchmark once, for a moment, on small maps: shows that
 *               it works and that the peers' answers are right
 *
 * Run it from the folder above, where the recorded machines are found; `ninja
 * bench` does.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>

#include "bench.h"
#include "pin.h"
#include "world.h"

bool bench_quick;

/*
 * The DPDK peers allocate from EAL's memory.  No huge pages are asked for, as
 * the library has none here either; EAL pins this thread to one processor,
 * which is undone.
 */
static int start_eal(void)
{
	char *argv[] = {
		"bench", "--no-huge", "--no-shconf", "--no-pci",
		"--no-telemetry", "-m", "1536", "-l", "0",
		"--log-level=error", NULL,
	};
	int argc = sizeof(argv) / sizeof(*argv) - 1;
	int err = pin_init();

	if (err)
		return err;
	if (rte_eal_init(argc, argv) < 0)
		return -ENOTSUP;
	pin_release();
	return 0;
}

static int register_all(void)
{
	static int (*const all[])(void) = {
		register_limit,	 register_lookup, register_peers,
		register_recorded, register_ring, register_access,
		register_readers, register_commit, register_build,
		register_churn,	 register_doorbell, register_dirty,
		register_ram,
	};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(all) / sizeof(*all); i++)
		err = all[i]();
	return err;
}

/* The processor's name, for the results. */
static int name_machine(void)
{
	FILE *file = fopen("/proc/cpuinfo", "r");
	char line[256];
	int err = 0;

	if (!file)
		return gb_context("cpu", "unknown processor");
	while (fgets(line, sizeof(line), file)) {
		char *name = strstr(line, ": ");

		if (!name || strncmp(line, "model name", 10))
			continue;
		name[strcspn(name, "\n")] = '\0';
		err = gb_context("cpu", name + 2);
		break;
	}
	fclose(file);
	return err;
}

/* A moment for each, and --quick taken out. */
static int run_quick(int argc, char **argv)
{
	char **more = calloc((size_t)argc + 2, sizeof(*more));
	int count = 0;
	int err;

	if (!more)
		return -ENOMEM;
	more[count++] = argv[0];
	more[count++] = "--benchmark_min_time=0.000001";
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--quick"))
			more[count++] = argv[i];
	}
	err = gb_main(count, more);
	free(more);
	return err;
}

int main(int argc, char **argv)
{
	int err;

	for (int i = 1; i < argc; i++)
		bench_quick |= !strcmp(argv[i], "--quick");
	err = start_eal();
	if (!err)
		err = name_machine();
	if (!err)
		err = register_all();
	if (!err)
		err = bench_quick ? run_quick(argc, argv) : gb_main(argc, argv);
	if (err)
		fprintf(stderr, "bench: %s\n", strerror(-err));
	peers_free_all();
	ring_free_all();
	recorded_free_all();
	commit_free_all();
	churn_free_all();
	doorbell_free_all();
	dirty_free_all();
	io_world_free();
	world_free_all();
	rte_eal_cleanup();
	return err ? 1 : 0;
}
