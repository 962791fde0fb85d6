/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usage: bench [--quick | --full] [google benchmark's options]
 *
 *     --full    repetitions and time of each as a published run needs them
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

/*
 * Of what is cheap, many short repetitions: the median of these suffers less
 * from what else runs on the machine than that of a few long ones.
 */
static const struct group {
	int (*register_all)(void);
	unsigned int repetitions;
	double min_time; /* seconds of each */
} groups[] = {
	{ register_limit, 21, 0.02 },	 { register_lookup, 21, 0.02 },
	{ register_turns, 21, 0.02 },	 { register_recorded, 15, 0.02 },
	{ register_peers, 15, 0.02 },	 { register_kvm_exit, 15, 0.04 },
	{ register_ring, 21, 0.02 },	 { register_access, 21, 0.02 },
	{ register_readers, 21, 0.04 },	 { register_commit, 9, 0.04 },
	{ register_build, 9, 0.02 },	 { register_churn, 9, 0.3 },
	{ register_doorbell, 9, 0.01 },	 { register_dma, 15, 0.04 },
	{ register_dirty, 9, 0.04 },	 { register_ram, 9, 0 },
	{ register_kvm, 9, 0.04 },
};

static int register_all(bool full)
{
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(groups) / sizeof(*groups); i++) {
		if (full)
			gb_defaults(groups[i].repetitions, groups[i].min_time);
		err = groups[i].register_all();
	}
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

/* Our own options taken out; a moment for each, if that was one of them. */
static int run_selected(int argc, char **argv)
{
	char **more = calloc((size_t)argc + 2, sizeof(*more));
	int count = 0;
	int err;

	if (!more)
		return -ENOMEM;
	more[count++] = argv[0];
	if (bench_quick)
		more[count++] = "--benchmark_min_time=0.000001";
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--quick") && strcmp(argv[i], "--full"))
			more[count++] = argv[i];
	}
	err = gb_main(count, more);
	free(more);
	return err;
}

int main(int argc, char **argv)
{
	bool full = false;
	int err;

	for (int i = 1; i < argc; i++) {
		bench_quick |= !strcmp(argv[i], "--quick");
		full |= !strcmp(argv[i], "--full");
	}
	err = start_eal();
	if (!err)
		err = name_machine();
	if (!err)
		err = register_all(full && !bench_quick);
	if (!err)
		err = run_selected(argc, argv);
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
	ram_free_all();
	io_world_free();
	world_free_all();
	return err ? 1 : 0;
}
