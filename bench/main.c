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

#include <memplane.h>

#include "bench.h"
#include "pin.h"
#include "world.h"

bool bench_quick;

static void log_line(void *opaque, enum mpl_log_level level, const char *line)
{
	(void)opaque, (void)level;
	fprintf(stderr, "bench: %s\n", line);
}

/*
 * The DPDK peers and hashes of doorbells allocate from EAL's memory.  It has no
 * huge pages, as the library has none here either.
 */
static int start_eal(void)
{
	const struct mpl_eal_config config = { .memory_mib = 1536,
					       .log = log_line };
	uint64_t elapsed_ns;
	char text[32];
	int err = pin_init();

	if (!err)
		err = mpl_eal_start(&config, &elapsed_ns);
	if (err)
		return err;
	snprintf(text, sizeof(text), "%.0f ms", (double)elapsed_ns / 1e6);
	return gb_context("eal_start", text);
}

static int register_all(void)
{
	static int (*const all[])(void) = {
		register_limit,	 register_lookup, register_peers,
		register_recorded, register_ring, register_access,
		register_readers, register_commit, register_build,
		register_churn,	 register_doorbell, register_dma,
		register_dirty,	 register_ram,	    register_kvm,
		register_kvm_exit,
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
	readers_free_all();
	doorbell_free_all();
	dma_free_all();
	dirty_free_all();
	kvm_free_all();
	io_world_free();
	world_free_all();
	return err ? 1 : 0;
}
