/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Machines by number, and transactions on them of which the input makes every
 * choice: tests/support/random.h has what is checked.  The first byte says how
 * the plane works, the second one which machine.
 */
#include "tests/fuzz/fuzz.h"

#include <sys/eventfd.h>

#include "tests/support/random.h"

enum { REGIONS = 12, ROUNDS_MAX = 16 };

static int fds[RANDOM_FDS];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	/* Without a test around it an assertion of cmocka's aborts. */
	setenv("CMOCKA_TEST_ABORT", "1", 0);
	for (int i = 0; i < RANDOM_FDS; i++) {
		fds[i] = eventfd(0, EFD_NONBLOCK);
		FUZZ_CHECK(fds[i] >= 0);
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mpl_plane_config config = { .max_readers = 4, .plain_nodes = 1 };
	struct random r = { .regions = REGIONS };

	if (size < 3)
		return 0;
	config.full_rebuild = data[0] & 1;
	config.trace_rules = data[0] & 2;
	config.control_thread = (data[0] & 0x1c) == 0x1c;
	config.verify = !config.full_rebuild;
	r.word = data[1];
	for (int i = 0; i < RANDOM_FDS; i++)
		r.fds[i] = fds[i];
	random_build(&r, &config);
	random_check(&r, true);
	r.input = data + 2;
	r.left = size - 2;
	for (int round = 0; round < ROUNDS_MAX && !r.over; round++)
		if (!random_round(&r, round % 4 == 3))
			break;
	random_end(&r);
	return 0;
}
