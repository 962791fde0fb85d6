/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plane and its model, changed together: each mutation goes into the open
 * transaction and into the model.  After a commit topo_check() holds views,
 * ioeventfds, sharing and look-ups of every address space against the oracle.
 *
 * Regions are model indexes.  topo holds the maker's reference of each until
 * topo_drop() or topo_free().
 */
#ifndef TESTS_SUPPORT_TOPO_H
#define TESTS_SUPPORT_TOPO_H

#include "model.h"
#include "textmap.h"

#define TOPO_SPACES 12

struct topo_space {
	struct mpl_address_space *as; /* NULL: none */
	int root;
};

struct topo {
	struct mpl_plane *plane;
	struct mpl_reader *reader;
	bool trace_rules;

	struct model now;
	struct model before; /* the open transaction */
	struct mpl_txn *tx;  /* NULL: none is open */
	int err;             /* the model's first error in it */

	struct mpl_region *region[MODEL_REGIONS]; /* NULL: dropped */
	int released[MODEL_REGIONS];

	struct topo_space space[TOPO_SPACES];
	char note[128]; /* shown when a check fails */
};

/* What topo_new() uses; tests run under several of these. */
extern struct mpl_plane_config topo_config;

struct topo *topo_new(void);
struct topo *topo_new_config(const struct mpl_plane_config *config);
/*
 * Ends everything; fails the test if a region was not released exactly once
 * or if the plane cannot be freed.
 */
void topo_free(struct topo *t);

int topo_container(struct topo *t, const char *name, uint64_t size);
int topo_io(struct topo *t, const char *name, uint64_t size);
int topo_ram(struct topo *t, const char *name, uint64_t size);
int topo_rom(struct topo *t, const char *name, uint64_t size);
int topo_rom_device(struct topo *t, const char *name, uint64_t size);
int topo_ram_device(struct topo *t, const char *name, uint64_t size);
int topo_iommu(struct topo *t, const char *name, uint64_t size);
int topo_alias(struct topo *t, const char *name, int target, uint64_t offset,
	       uint64_t size);
/* Any kind but alias. */
int topo_region(struct topo *t, enum mpl_region_kind kind, const char *name,
		uint64_t size);
void topo_unmergeable(struct topo *t, int id);
/* Give the maker's reference back. */
void topo_drop(struct topo *t, int id);

/* How often `release` ran; the second reclaims until it did, for 2 s. */
int topo_released(const struct topo *t, int id);
bool topo_settles(struct topo *t, int id);

/* An address space, in the first free place of t->space; its index. */
int topo_space(struct topo *t, int root);
void topo_space_free(struct topo *t, int space);

void topo_begin(struct topo *t);
/*
 * Returns what mpl_commit() did, and fails the test unless that is what the
 * model expects.  After an error the model is what it was.
 */
int topo_commit(struct topo *t);
/* The same without an expectation (a listener may fail). */
int topo_commit_any(struct topo *t);
/* Commit, demand success, check everything. */
void topo_commit_ok(struct topo *t);
void topo_abort(struct topo *t);

void topo_add(struct topo *t, int parent, uint64_t offset, int child,
	      int priority);
void topo_remove(struct topo *t, int child);
void topo_set_enabled(struct topo *t, int id, bool enabled);
void topo_move(struct topo *t, int id, uint64_t offset);
void topo_set_priority(struct topo *t, int id, int priority);
void topo_resize(struct topo *t, int id, uint64_t size);
void topo_set_alias_offset(struct topo *t, int id, uint64_t offset);
void topo_set_readonly(struct topo *t, int id, bool readonly);
void topo_set_nonvolatile(struct topo *t, int id, bool nonvolatile);
void topo_set_rom_mode(struct topo *t, int id, bool rom_mode);
void topo_log_start(struct topo *t, int id, enum mpl_log_client client);
void topo_log_stop(struct topo *t, int id, enum mpl_log_client client);
void topo_log_global(struct topo *t, enum mpl_log_client client, bool on);
void topo_log_take_part(struct topo *t, int id, enum mpl_log_client client,
			bool takes_part);
void topo_ioeventfd_add(struct topo *t, int id, const struct mpl_ioeventfd *ev);
void topo_ioeventfd_del(struct topo *t, int id, const struct mpl_ioeventfd *ev);
void topo_coalescing_add(struct topo *t, int id, uint64_t offset,
			 uint64_t size);
void topo_coalescing_clear(struct topo *t, int id);

/* Everything against the oracle. */
void topo_check(struct topo *t);
/* The views only: cheaper, and complete for what listeners see. */
void topo_check_views(struct topo *t);

/* The drawn map is what the space shows; then topo_check(). */
#define assert_map(t, space, expected)                                         \
	topo_assert_map((t), (space), (expected), __FILE__, __LINE__)
void topo_assert_map(struct topo *t, int space, const char *expected,
		     const char *file, int line);

/* cmocka fixtures: *state is a struct topo of topo_config. */
int topo_setup(void **state);
int topo_teardown(void **state);
#define TOPO_TEST(name)                                                        \
	cmocka_unit_test_setup_teardown(name, topo_setup, topo_teardown)

/*
 * Run a group of tests several times: incremental and verified, everything
 * rebuilt by each commit, and with a control thread.  Returns the number of
 * failures.
 */
struct CMUnitTest;
#define topo_run(tests)                                                        \
	topo_run_group(__FILE__, (tests), sizeof(tests) / sizeof((tests)[0]))
int topo_run_group(const char *name, const struct CMUnitTest *tests, size_t n);

/* Everything that the plane's spaces show, as text to be text_free()d. */
void topo_picture(struct topo *t, struct text *text);

#endif
