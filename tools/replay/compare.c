/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vec.h"
#include "verify.h"

bool verify_may_say(struct verify *verify)
{
	const struct verify_options *options = verify->options;

	return options->say && verify->result->mismatches < options->say_max;
}

/* Walking a view beside the recorded one. */
struct pair {
	const struct expect_view *view;
	size_t at;
	struct trace_range ours; /* of the first difference */
	bool differs;
};

static struct trace_range to_range(const struct mpl_flat_range *range)
{
	return (struct trace_range){
		.start = range->start,
		.last = range->last,
		.offset = range->offset,
		.region = machine_region_id(range->region),
		.readonly = range->readonly,
		.rom_mode = range->rom_mode,
		.nonvolatile = range->nonvolatile,
		.dirty = range->dirty_mask,
	};
}

static bool same_range(const struct trace_range *a, const struct trace_range *b)
{
	return a->start == b->start && a->last == b->last &&
	       a->offset == b->offset && a->region == b->region &&
	       a->readonly == b->readonly && a->rom_mode == b->rom_mode &&
	       a->nonvolatile == b->nonvolatile && a->dirty == b->dirty;
}

static int compare_range(void *arg, const struct mpl_flat_range *range)
{
	struct pair *pair = arg;

	pair->ours = to_range(range);
	pair->differs = pair->at == pair->view->count ||
			!same_range(&pair->ours, &pair->view->ranges[pair->at]);
	if (pair->differs)
		return 1;
	pair->at++;
	return 0;
}

/* 0 equal, 1 different, below zero an error of the library's. */
static int compare_view(struct mpl_address_space *as, struct pair *pair)
{
	int err = mpl_address_space_walk(as, compare_range, pair);

	if (err < 0)
		return err;
	return pair->differs || pair->at != pair->view->count;
}

static void say_range(FILE *say, const char *who,
		      const struct trace_range *range)
{
	if (range)
		fprintf(say,
			"    %s  %016" PRIx64 "-%016" PRIx64
			"  region %u + 0x%" PRIx64
			"  ro %d romd %d nv %d dirty %d\n",
			who, range->start, range->last, range->region,
			range->offset, range->readonly, range->rom_mode,
			range->nonvolatile, range->dirty);
	else
		fprintf(say, "    %s  (no range)\n", who);
}

static void say_where(struct verify *verify, uint32_t id)
{
	fprintf(verify->options->say,
		"%s:%" PRIu64 ": publication %u: address space %u \"%s\"",
		verify->failure->file, verify->failure->line,
		verify->expect.seq, id, verify->machine.spaces[id].name);
}

static void say_view(struct verify *verify, uint32_t id,
		     const struct pair *pair)
{
	FILE *say = verify->options->say;
	const struct expect_view *view = pair->view;
	const struct trace_range *theirs =
		pair->at < view->count ? &view->ranges[pair->at] : NULL;

	if (!verify_may_say(verify))
		return;
	say_where(verify, id);
	fprintf(say, ", view %u, range %zu of %zu differs\n", view->id,
		pair->at + 1, view->count);
	say_range(say, "recorded", theirs);
	say_range(say, "computed", pair->differs ? &pair->ours : NULL);
}

bool compare_quietly(struct verify *verify, uint32_t id)
{
	struct expect_view *view = verify->expect.spaces[id].view;
	struct pair pair = { .view = view };

	return view && !compare_view(verify->machine.spaces[id].as, &pair);
}

static int collect(void *arg, const struct mpl_flat_ioeventfd *ev)
{
	struct verify *verify = arg;
	struct trace_ioeventfd *item;
	uint32_t region = machine_region_id(ev->region);

	if (vec_reserve(&verify->doorbells, &verify->doorbells_cap,
			verify->doorbells_count + 1,
			sizeof(*verify->doorbells)))
		return -ENOMEM;
	item = &verify->doorbells[verify->doorbells_count++];
	*item = (struct trace_ioeventfd){
		.region = region,
		.address = ev->gpa,
		.data = machine_swap_data(&verify->machine, region, ev->data,
					  ev->size),
		.size = ev->size,
		.match = ev->match,
		.fd = doorbell_id(&verify->machine.doorbells, ev->caller_fd),
	};
	return 0;
}

/* Equal in what decides about their order? */
static bool same_key(const struct machine *machine,
		     const struct trace_ioeventfd *ours,
		     const struct trace_ioeventfd *a,
		     const struct trace_ioeventfd *b)
{
	bool swapped = ours->region <= machine->regions_count &&
		       machine->regions[ours->region].swapped;

	/*
	 * The trace orders by data as its producer stored it, which in a
	 * region of the other byte order isn't the order of our values.
	 */
	return a->address == b->address && a->size == b->size &&
	       a->match == b->match &&
	       (!a->match || swapped || a->data == b->data);
}

static int by_data_and_fd(const void *a_, const void *b_)
{
	const struct trace_ioeventfd *a = a_, *b = b_;

	if (a->data != b->data)
		return a->data < b->data ? -1 : 1;
	return a->fd < b->fd ? -1 : a->fd > b->fd;
}

/*
 * Runs of equal keys are ordered by the producer's pointers: bring both sides
 * into an order of ours.
 */
static void sort_runs(const struct machine *machine,
		      const struct trace_ioeventfd *ours,
		      struct trace_ioeventfd *items, size_t count)
{
	size_t begin, end;

	for (begin = 0; begin < count; begin = end) {
		for (end = begin + 1; end < count; end++)
			if (!same_key(machine, &ours[begin], &items[begin],
				      &items[end]))
				break;
		if (end - begin > 1)
			qsort(items + begin, end - begin, sizeof(*items),
			      by_data_and_fd);
	}
}

static bool same_doorbell(const struct trace_ioeventfd *a,
			  const struct trace_ioeventfd *b)
{
	return a->address == b->address && a->data == b->data &&
	       a->size == b->size && a->match == b->match && a->fd == b->fd;
}

static void say_doorbell(FILE *say, const char *who,
			 const struct trace_ioeventfd *item)
{
	if (item)
		fprintf(say,
			"    %s  %016" PRIx64
			" size %u match %d data 0x%" PRIx64 " fd %u\n",
			who, item->address, item->size, item->match, item->data,
			item->fd);
	else
		fprintf(say, "    %s  (no ioeventfd)\n", who);
}

static int compare_doorbells(struct verify *verify, uint32_t id)
{
	struct expect_doorbells *list = verify->expect.spaces[id].doorbells;
	struct trace_ioeventfd *ours, *theirs = list ? list->items : NULL;
	size_t count = list ? list->count : 0, n, i;
	int err;

	verify->doorbells_count = 0;
	err = mpl_address_space_walk_ioeventfds(verify->machine.spaces[id].as,
						collect, verify);
	if (err)
		return failure_errno(verify->failure, "ioeventfds", err);
	ours = verify->doorbells;
	n = verify->doorbells_count;
	if (n == count && n) {
		sort_runs(&verify->machine, ours, theirs, count);
		sort_runs(&verify->machine, ours, ours, count);
	}
	for (i = 0; i < n && i < count; i++)
		if (!same_doorbell(&ours[i], &theirs[i]))
			break;
	verify->result->doorbells += i;
	if (i == n && i == count)
		return 0;
	if (verify_may_say(verify)) {
		say_where(verify, id);
		fprintf(verify->options->say,
			": ioeventfd %zu of %zu differs\n", i + 1, count);
		say_doorbell(verify->options->say, "recorded",
			     i < count ? &theirs[i] : NULL);
		say_doorbell(verify->options->say, "computed",
			     i < n ? &ours[i] : NULL);
	}
	verify->result->mismatches++;
	return 1;
}

/*
 * Was the same done in this publication for an address space that shares its
 * view with this one?
 */
static bool is_done(struct verify *verify, uint32_t id)
{
	struct expect_space *spaces = verify->expect.spaces;
	struct machine_space *ours = verify->machine.spaces;
	struct expect_view *view = spaces[id].view;

	return view && view->seq == verify->expect.seq &&
	       spaces[view->compared].doorbells == spaces[id].doorbells &&
	       mpl_address_space_shares(ours[view->compared].as, ours[id].as);
}

static int compare_ranges(struct verify *verify, uint32_t id)
{
	struct expect_view *view = verify->expect.spaces[id].view;
	struct pair pair = { .view = view };
	int err;

	if (!view) {
		if (verify_may_say(verify)) {
			say_where(verify, id);
			fprintf(verify->options->say, " has no view\n");
		}
		verify->result->mismatches++;
		return 1;
	}
	err = compare_view(verify->machine.spaces[id].as, &pair);
	if (err < 0)
		return failure_errno(verify->failure, "view", err);
	verify->result->ranges += pair.at;
	verify->result->views += !view->verified;
	view->verified = true;
	view->seq = verify->expect.seq;
	view->compared = id;
	if (!err)
		return 0;
	say_view(verify, id, &pair);
	verify->result->mismatches++;
	return 1;
}

int compare_space(struct verify *verify, uint32_t id)
{
	int ranges, doorbells;

	if (is_done(verify, id))
		return 0;
	ranges = compare_ranges(verify, id);
	if (ranges < 0)
		return -1;
	doorbells = compare_doorbells(verify, id);
	return doorbells < 0 ? -1 : ranges + doorbells;
}

int compare_all(struct verify *verify)
{
	uint32_t id;

	for (id = 1; id <= verify->machine.spaces_count; id++)
		if (machine_space(&verify->machine, id) &&
		    compare_space(verify, id) < 0)
			return -1;
	return 0;
}

int compare_lists(struct verify *verify)
{
	uint32_t id;

	for (id = 1; id <= verify->machine.spaces_count; id++)
		if (machine_space(&verify->machine, id) &&
		    compare_doorbells(verify, id) < 0)
			return -1;
	return 0;
}
