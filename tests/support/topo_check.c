/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plane against the oracle: views and ioeventfds as text, look-ups for
 * every address at which the answer could change and its neighbours.
 */
#include "topo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void compare_views(struct topo *t, const struct topo_space *space)
{
	struct text expected = { 0 }, got = { 0 };
	char title[256];

	textmap_oracle(&expected, &t->now, space->root, t->trace_rules);
	textmap_space(&got, space->as);
	snprintf(title, sizeof(title), "%s: view of %s, oracle and plane",
		 t->note, mpl_address_space_name(space->as));
	textmap_compare(title, text_chars(&expected), text_chars(&got),
			__FILE__, __LINE__);
	text_free(&expected);
	text_free(&got);
}

static void add_event(struct text *text, uint64_t gpa, unsigned int size,
		      bool match, uint64_t data, int fd, const char *name)
{
	text_add(text, "%016llx size %u %s %llx fd %d %s\n",
		 (unsigned long long)gpa, size, match ? "match" : "any",
		 match ? (unsigned long long)data : 0, fd, name);
}

static int add_plane_event(void *arg, const struct mpl_flat_ioeventfd *ev)
{
	add_event(arg, ev->gpa, ev->size, ev->match, ev->data, ev->caller_fd,
		  mpl_region_name(ev->region));
	return 0;
}

static void compare_events(struct topo *t, const struct topo_space *space)
{
	struct text expected = { 0 }, got = { 0 };
	struct oracle_event *events;
	size_t n = oracle_ioeventfds(&t->now, space->root, t->trace_rules,
				     &events);
	char title[256];

	for (size_t i = 0; i < n; i++)
		add_event(&expected, events[i].gpa, events[i].ev.size,
			  events[i].ev.match, events[i].ev.data,
			  events[i].ev.fd,
			  t->now.regions[events[i].region].name);
	free(events);
	assert_int_equal(mpl_address_space_walk_ioeventfds(
				 space->as, add_plane_event, &got),
			 0);
	snprintf(title, sizeof(title), "%s: ioeventfds of %s, oracle and plane",
		 t->note, mpl_address_space_name(space->as));
	textmap_compare(title, text_chars(&expected), text_chars(&got),
			__FILE__, __LINE__);
	text_free(&expected);
	text_free(&got);
}

static void describe(struct text *text, const char *name, uint64_t offset,
		     bool readonly, bool nonvolatile, unsigned int dirty)
{
	text_add(text, "%s @%llx%s%s dirty=%x\n", name,
		 (unsigned long long)offset, readonly ? " ro" : "",
		 nonvolatile ? " nv" : "", dirty);
}

static void describe_section(struct text *text,
			     const struct mpl_section *section, uint64_t gpa)
{
	if (mpl_section_is_unassigned(section)) {
		assert_null(mpl_section_region(section));
		text_add(text, "nothing\n");
		return;
	}
	describe(text, mpl_region_name(mpl_section_region(section)),
		 mpl_section_offset(section, gpa),
		 section->flags & MPL_SECTION_READONLY,
		 section->flags & MPL_SECTION_NONVOLATILE,
		 (section->flags >> MPL_SECTION_DIRTY_SHIFT) & 0xff);
}

static void check_section(struct topo *t, const struct mpl_section *section,
			  uint64_t gpa)
{
	struct mpl_region *region = mpl_section_region(section);
	uint8_t *host;

	assert_true(mpl_section_covers(section, gpa));
	if (!region || !section->host)
		return;
	host = mpl_region_host(region);
	if (host && section->host + (gpa - section->start) !=
			    host + mpl_section_offset(section, gpa))
		fail_msg("%s: wrong host address at %llx", t->note,
			 (unsigned long long)gpa);
}

/* One address, by the oracle, by both look-ups. */
static void check_address(struct topo *t, const struct topo_space *space,
			  uint64_t gpa)
{
	struct text text[3] = { 0 };
	const struct mpl_section *section;
	struct oracle_hit hit;
	char title[256];

	if (oracle_find(&t->now, space->root, t->trace_rules, gpa, &hit))
		describe(&text[0], t->now.regions[hit.region].name, hit.offset,
			 hit.readonly, hit.nonvolatile, hit.dirty_mask);
	else
		text_add(&text[0], "nothing\n");
	section = mpl_lookup(t->reader, space->as, gpa);
	check_section(t, section, gpa);
	describe_section(&text[1], section, gpa);
	section = mpl_lookup_uncached(t->reader, space->as, gpa);
	check_section(t, section, gpa);
	describe_section(&text[2], section, gpa);
	for (int i = 1; i < 3; i++) {
		snprintf(title, sizeof(title), "%s: %s of %llx in %s", t->note,
			 i == 1 ? "mpl_lookup" : "mpl_lookup_uncached",
			 (unsigned long long)gpa,
			 mpl_address_space_name(space->as));
		textmap_compare(title, text_chars(&text[0]),
				text_chars(&text[i]), __FILE__, __LINE__);
	}
	for (int i = 0; i < 3; i++)
		text_free(&text[i]);
}

static void check_lookups(struct topo *t, const struct topo_space *space)
{
	uint64_t *edges;
	size_t n = oracle_edges(&t->now, space->root, t->trace_rules, &edges);

	assert_int_equal(mpl_reader_online(t->reader), 0);
	for (size_t i = 0; i < n; i++)
		for (int delta = -2; delta <= 1; delta++)
			check_address(t, space, edges[i] + (uint64_t)delta);
	assert_int_equal(mpl_reader_offline(t->reader), 0);
	free(edges);
}

/* Whether a root of no size is the empty view is nobody's business. */
static bool has_no_size(const struct topo *t, int root)
{
	return root != MODEL_NONE && !t->now.regions[root].size;
}

static void check_sharing(struct topo *t, int a, int b)
{
	int root_a = oracle_effective_root(&t->now, t->space[a].root,
					   t->trace_rules);
	int root_b = oracle_effective_root(&t->now, t->space[b].root,
					   t->trace_rules);

	if (has_no_size(t, root_a) || has_no_size(t, root_b))
		return;
	if (mpl_address_space_shares(t->space[a].as, t->space[b].as) ==
	    (root_a == root_b))
		return;
	fail_msg("%s: %s and %s %s", t->note,
		 mpl_address_space_name(t->space[a].as),
		 mpl_address_space_name(t->space[b].as),
		 root_a == root_b ? "don't share a view" : "share a view");
}

void topo_check_views(struct topo *t)
{
	for (int i = 0; i < TOPO_SPACES; i++)
		if (t->space[i].as) {
			compare_views(t, &t->space[i]);
			compare_events(t, &t->space[i]);
		}
}

void topo_check(struct topo *t)
{
	topo_check_views(t);
	for (int i = 0; i < TOPO_SPACES; i++) {
		if (!t->space[i].as)
			continue;
		check_lookups(t, &t->space[i]);
		for (int j = 0; j < i; j++)
			if (t->space[j].as)
				check_sharing(t, i, j);
	}
}

void topo_assert_map(struct topo *t, int space, const char *expected,
		     const char *file, int line)
{
	struct text drawn = { 0 }, got = { 0 };

	text_add(&drawn, "%s", expected);
	textmap_space(&got, t->space[space].as);
	textmap_compare("drawn map and plane", text_chars(&drawn),
			text_chars(&got), file, line);
	text_free(&drawn);
	text_free(&got);
	topo_check(t);
}

void topo_picture(struct topo *t, struct text *text)
{
	for (int i = 0; i < TOPO_SPACES; i++) {
		if (!t->space[i].as)
			continue;
		text_add(text, "space %d\n", i);
		textmap_space(text, t->space[i].as);
		assert_int_equal(mpl_address_space_walk_ioeventfds(
					 t->space[i].as, add_plane_event, text),
				 0);
	}
}
