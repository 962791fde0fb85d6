/* SPDX-License-Identifier: BSD-3-Clause */
/* Embedders in C11 and in C++17, in one program, on one plane. */
#include "tests/embed/embed.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct world {
	struct mpl_plane *plane;
	struct mpl_region *root;
	struct mpl_region *ram;
	struct mpl_address_space *as;
	struct mpl_reader *reader;
};

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	struct mpl_txn *tx;

	assert_non_null(world);
	assert_int_equal(embed_cxx17_plane(&world->plane), 0);
	assert_int_equal(mpl_region_new_container(world->plane, "root",
						  UINT64_MAX, &world->root),
			 0);
	assert_int_equal(mpl_region_new_ram(world->plane, "ram", MPL_MIB, NULL,
					    &world->ram), 0);
	assert_int_equal(mpl_address_space_new(world->plane, "memory",
					       world->root, &world->as), 0);
	tx = mpl_begin(world->plane);
	mpl_region_add(tx, world->root, MPL_GIB, world->ram, 0);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(mpl_reader_register(world->plane, &world->reader), 0);
	assert_int_equal(mpl_reader_online(world->reader), 0);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	assert_int_equal(mpl_reader_unregister(world->reader), 0);
	mpl_region_unref(world->ram);
	mpl_region_unref(world->root);
	assert_int_equal(mpl_plane_free(world->plane), 0);
	free(world);
	return 0;
}

static void test_assigned(void **state)
{
	const unsigned int all = EMBED_COVERED | EMBED_AGREED |
				 EMBED_ASSIGNED | EMBED_CACHED |
				 EMBED_MAPPED;
	struct world *world = *state;

	for (uint64_t gpa = MPL_GIB; gpa < MPL_GIB + MPL_MIB; gpa += 4095) {
		assert_int_equal(embed_c11(world->reader, world->as, gpa),
				 all);
		assert_int_equal(embed_cxx17(world->reader, world->as, gpa),
				 all);
	}
	/* Both fill the same caches. */
	mpl_reader_drop_caches(world->reader);
	assert_int_equal(embed_cxx17(world->reader, world->as, MPL_GIB), all);
	assert_int_equal(embed_c11(world->reader, world->as, MPL_GIB), all);
}

static void test_unassigned(void **state)
{
	static const uint64_t at[] = { 0, MPL_GIB - 1, MPL_GIB + MPL_MIB,
				       UINT64_MAX };
	struct world *world = *state;

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		unsigned int c = embed_c11(world->reader, world->as, at[i]);

		assert_false(c & (EMBED_COVERED | EMBED_MAPPED));
		assert_int_equal(c, embed_cxx17(world->reader, world->as,
						at[i]));
	}
}

/* Who was compiled for another layout is told so, and gets no plane. */
static void test_other_layout(void **state)
{
	struct mpl_plane *plane = NULL;

	(void)state;
	assert_int_equal(mpl_plane_new_layout(&plane, NULL, MPL_LAYOUT + 1),
			 -EPROTO);
	assert_null(plane);
}

#define EMBED_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EMBED_TEST(test_assigned),
		EMBED_TEST(test_unassigned),
		cmocka_unit_test(test_other_layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
