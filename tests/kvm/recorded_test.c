/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recorded machines with a fake VM attached: how many slot calls each commit
 * makes, against what it must and what it would the plain way.
 *
 *     recorded_test TRACE...
 *
 * Prints a row of docs/kvm.md's table for each.  Fails if slots and map differ
 * after any commit, if the commits so far have made more calls than the plain
 * way, if one has made more without flagging slots, or if all of a machine's
 * make more than 1.1 times what its slots demanded.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/support/kvm_check.h"
#include "tools/replay/lines.h"
#include "tools/replay/machine.h"

struct recorded {
	const char *path;
	struct failure failure;
	struct machine machine;
	bool publishing;
	enum publish_kind kind;

	struct fake_kvm *fake;
	struct mpl_kvm *kvm;
	struct mpl_address_space *as[FAKE_SPACES]; /* NULL: not attached */
	struct memories view[FAKE_SPACES]; /* as the commit before left it */
	struct memories slots[FAKE_SPACES];

	unsigned int commits; /* that changed memory */
	uint64_t calls, plain, least, clairvoyant;
	struct mpl_kvm_stats stats;
	size_t slots_max;
	unsigned int more; /* commits, than the plain way */
	unsigned int bad;
};

static void bad(struct recorded *r, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void bad(struct recorded *r, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%" PRIu64 ": ", r->path, r->failure.line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	r->bad++;
}

/* What happened since the last time, in all address spaces together. */
static void account(struct recorded *r, uint64_t calls_before)
{
	uint64_t calls = r->fake->calls[FAKE_SET_MEMORY] - calls_before;
	uint64_t plain = 0, least = 0, clairvoyant = 0;
	struct mpl_kvm_stats stats;

	mpl_kvm_stats(r->kvm, &stats);
	for (unsigned int i = 0; i < FAKE_SPACES; i++) {
		struct memories view = { 0 }, slots = { 0 };
		char why[160];

		if (!r->as[i])
			continue;
		memories_of_view(r->as[i], true, &view);
		memories_of_slots(r->fake, i, &slots);
		if (!memories_match(&slots, &view, why))
			bad(r, "%s", why);
		plain += calls_plain(&r->view[i], &view, NULL);
		least += calls_from_slots(&r->slots[i], &view);
		clairvoyant += calls_clairvoyant(&r->view[i], &view);
		if (slots.count > r->slots_max)
			r->slots_max = slots.count;
		memories_free(&r->view[i]);
		memories_free(&r->slots[i]);
		r->view[i] = view;
		r->slots[i] = slots;
	}
	r->commits += plain > 0;
	r->calls += calls;
	r->plain += plain;
	r->least += least;
	r->clairvoyant += clairvoyant;
	/* A range that was split once has several slots to be flagged. */
	r->more += calls > plain;
	if (calls > plain && stats.slots_flagged == r->stats.slots_flagged)
		bad(r, "%" PRIu64 " calls, the plain way %" PRIu64, calls,
		    plain);
	if (r->calls > r->plain)
		bad(r, "%" PRIu64 " calls so far, the plain way %" PRIu64,
		    r->calls, r->plain);
	r->stats = stats;
	if (calls < clairvoyant)
		bad(r, "%" PRIu64 " calls, fewer than the bound of %" PRIu64,
		    calls, clairvoyant);
	if (r->fake->parked)
		bad(r, "parked after the commit");
}

/* The processor's two address spaces. */
static int attach(struct recorded *r)
{
	const struct machine *machine = &r->machine;
	const struct machine_space *space = NULL;
	uint64_t calls = r->fake->calls[FAKE_SET_MEMORY];
	struct mpl_kvm_config config = fake_config(r->fake);
	unsigned int which = 0;
	int err;

	for (uint32_t id = 1; id <= machine->spaces_count && !space; id++) {
		const struct machine_space *found = machine_space(machine, id);

		which = r->kvm ? 1 : 0;
		if (found && !r->as[which] &&
		    !strcmp(found->name, which ? "cpu-smm-0" : "memory"))
			space = found;
	}
	if (!space)
		return 0;
	err = which ? mpl_kvm_attach_space(r->kvm, space->as, MPL_KVM_SMM) :
		      mpl_kvm_attach(space->as, FAKE_VM_FD, &config, &r->kvm);
	if (err)
		return failure_errno(&r->failure, "cannot attach", err);
	r->as[which] = space->as;
	account(r, calls);
	return 0;
}

static int commit(struct recorded *r)
{
	uint64_t calls = r->fake->calls[FAKE_SET_MEMORY];

	if (!r->machine.pending)
		return 0;
	if (machine_commit(&r->machine))
		return -1;
	if (r->kvm)
		account(r, calls);
	return 0;
}

static int publish(struct recorded *r)
{
	if (commit(r))
		return -1;
	if (r->kind != PUBLISH_AS_INIT)
		return 0;
	return machine_space_new(&r->machine) || attach(r) ? -1 : 0;
}

/* Its address space would go with slots in it. */
static int end_space(struct recorded *r, uint32_t id)
{
	const struct machine_space *space = machine_space(&r->machine, id);

	for (unsigned int i = 0; space && i < FAKE_SPACES; i++)
		if (r->as[i] == space->as)
			return failure_set(&r->failure,
					   "the processor's space ends");
	return 0;
}

static int take(struct recorded *r, const struct record *record)
{
	if (r->publishing) {
		r->publishing = record->type != REC_END;
		return r->publishing ? 0 : publish(r);
	}
	switch (record->type) {
	case REC_PUBLISH:
		r->publishing = true;
		r->kind = record->publish.kind;
		return 0;
	case REC_EVENT:
	case REC_EOF:
	case REC_LISTENER_REGISTER:
	case REC_CODE_LOG: /* an emulated processor's; KVM has none */
		return 0;
	case REC_AS_DESTROY:
		if (end_space(r, record->space.id))
			return -1;
		return machine_apply(&r->machine, record);
	default:
		return machine_apply(&r->machine, record);
	}
}

static int replay(struct recorded *r, struct lines *lines)
{
	struct record record;
	const char *line;
	size_t len;
	int more;

	while ((more = lines_next(lines, &line, &len)) > 0) {
		if (r->failure.line == 1)
			continue; /* the header */
		if (memtrace_parse(line, len, &record, &r->failure) ||
		    take(r, &record))
			return -1;
	}
	return more;
}

static int run(struct recorded *r)
{
	const struct mpl_plane_config config = {
		.max_spaces = 65536,
		.trace_rules = true,
	};
	struct lines *lines;
	int err;

	r->fake = fake_new();
	if (machine_init(&r->machine, &config, &r->failure))
		return -1;
	r->machine.next_host = UINT64_C(1) << 32;
	if (lines_open(&lines, r->path, &r->failure))
		return -1;
	err = replay(r, lines);
	lines_close(lines);
	if (!err)
		err = mpl_kvm_detach(r->kvm);
	machine_fini(&r->machine);
	fake_free(r->fake);
	for (int i = 0; i < FAKE_SPACES; i++) {
		memories_free(&r->view[i]);
		memories_free(&r->slots[i]);
	}
	return err;
}

static void row(const struct recorded *r)
{
	const char *name = strrchr(r->path, '/');
	int len;

	name = name ? name + 1 : r->path;
	len = (int)strcspn(name, ".");
	printf("| %.*s | %u | %" PRIu64 " | %" PRIu64 " | %u | %" PRIu64
	       " | %" PRIu64 " | %" PRIu64 " | %zu |\n",
	       len, name, r->commits, r->plain, r->calls, r->more, r->least,
	       r->clairvoyant, r->stats.parks, r->slots_max);
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	int failed = 0;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	for (int i = 1; i < argc; i++) {
		struct recorded r = { .path = argv[i] };

		if (run(&r)) {
			fprintf(stderr, "%s:%" PRIu64 ": %s\n", r.failure.file,
				r.failure.line, r.failure.text);
			r.bad++;
		}
		row(&r);
		if (10 * r.calls > 11 * r.least) {
			fprintf(stderr,
				"%s: %" PRIu64 " calls, %" PRIu64
				" were needed\n",
				r.path, r.calls, r.least);
			r.bad++;
		}
		failed += r.bad != 0;
	}
	return failed != 0;
}
