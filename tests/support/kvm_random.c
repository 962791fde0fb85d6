/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/kvm_random.h"

#define PAGE UINT64_C(4096)

/* What the parts are, by index. */
enum { RAMS = 4, ROMS = 6, FLASHES = 8, ALIASES = 14 };

uint64_t kvm_random_below(struct kvm_random *r, uint64_t n)
{
	/* xorshift64* */
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	return (r->state * UINT64_C(0x2545f4914f6cdd1d) >> 16) % n;
}

/* Whole pages mostly. */
static uint64_t some_address(struct kvm_random *r)
{
	uint64_t at = kvm_random_below(r, RANDOM_WINDOW / PAGE) * PAGE;

	return kvm_random_below(r, 10) ? at : at + PAGE / 4;
}

static uint64_t some_size(struct kvm_random *r, uint64_t pages)
{
	uint64_t size = (1 + kvm_random_below(r, pages)) * PAGE;

	return kvm_random_below(r, 10) ? size : size - PAGE / 2;
}

static int make_part(struct kvm_random *r, int i)
{
	struct topo *t = r->w->t;

	if (i < RAMS)
		return topo_ram(t, "ram", some_size(r, i ? 32 : 200));
	if (i < ROMS)
		return topo_rom(t, "rom", some_size(r, 32));
	if (i < FLASHES)
		return topo_rom_device(t, "flash", some_size(r, 32));
	if (i < ALIASES)
		return topo_alias(
			t, "alias", r->part[kvm_random_below(r, RAMS)],
			kvm_random_below(r, 16) * PAGE, some_size(r, 32));
	return topo_io(t, "io", kvm_random_below(r, 4) ? some_size(r, 4) : 16);
}

void kvm_random_start(struct kvm_random *r, struct kvm_world *w, uint64_t seed)
{
	*r = (struct kvm_random){ .w = w, .state = seed | 1 };
	for (int i = 0; i < RANDOM_PARTS; i++) {
		r->part[i] = make_part(r, i);
		r->enabled[i] = r->rom_mode[i] = true;
	}
	topo_begin(w->t);
	for (int i = 0; i < RANDOM_PARTS; i++)
		topo_add(w->t, w->root, some_address(r), r->part[i],
			 (int)kvm_random_below(r, 3) + (i >= ALIASES));
	world_commit(w, -1, -1);
}

static void toggle_log(struct kvm_random *r, int i)
{
	r->logs[i] = !r->logs[i];
	if (r->logs[i])
		topo_log_start(r->w->t, r->part[i], MPL_LOG_DISPLAY);
	else
		topo_log_stop(r->w->t, r->part[i], MPL_LOG_DISPLAY);
}

static void mutate(struct kvm_random *r)
{
	struct topo *t = r->w->t;
	int i = (int)kvm_random_below(r, RANDOM_PARTS);
	int flash = ROMS + (int)kvm_random_below(r, FLASHES - ROMS);

	switch (kvm_random_below(r, 12)) {
	case 0:
	case 1:
	case 2:
		topo_move(t, r->part[i], some_address(r));
		break;
	case 3:
		r->readonly[i] = !r->readonly[i];
		topo_set_readonly(t, r->part[i], r->readonly[i]);
		break;
	case 4:
		r->rom_mode[flash] = !r->rom_mode[flash];
		topo_set_rom_mode(t, r->part[flash], r->rom_mode[flash]);
		break;
	case 5:
		toggle_log(r, (int)kvm_random_below(r, RAMS));
		break;
	case 6:
		if (kvm_random_below(r, 4))
			break;
		r->log_global = !r->log_global;
		topo_log_global(t, MPL_LOG_MIGRATION, r->log_global);
		break;
	case 7:
		topo_set_priority(t, r->part[i], (int)kvm_random_below(r, 4));
		break;
	default:
		r->enabled[i] = !r->enabled[i];
		topo_set_enabled(t, r->part[i], r->enabled[i]);
		break;
	}
}

void kvm_random_mutate(struct kvm_random *r)
{
	for (uint64_t n = 1 + kvm_random_below(r, 3); n; n--)
		mutate(r);
}

void kvm_random_attach_smm(struct kvm_world *w)
{
	int smm = topo_container(w->t, "smm", UINT64_MAX);
	int all = topo_alias(w->t, "all", w->root, 0, UINT64_MAX);
	int own = topo_ram(w->t, "smram", 16 * 4096);

	topo_begin(w->t);
	topo_add(w->t, smm, 0, all, 0);
	topo_add(w->t, smm, 64 * 4096, own, 1);
	topo_commit_ok(w->t);
	world_attach_smm(w, smm);
}
