/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/fake_kvm.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE      UINT64_C(4096)
#define PAGES_MAX ((UINT64_C(1) << 31) - 1)

static struct fake_slot *slot_of(struct mpl_interval *node)
{
	return (struct fake_slot *)node;
}

static bool is_aligned(uint64_t value)
{
	return !(value & (PAGE - 1));
}

static void drop_log(struct fake_slot *slot)
{
	free(slot->dirty);
	slot->dirty = NULL;
}

static void make_log(struct fake_kvm *fake, struct fake_slot *slot)
{
	size_t words = (slot->pages + 63) / 64;

	if (fake->ring_entries)
		return;
	slot->dirty = calloc(words, sizeof(*slot->dirty));
	assert_non_null(slot->dirty);
	if (fake->manual_on & KVM_DIRTY_LOG_INITIALLY_SET)
		memset(slot->dirty, 0xff, words * sizeof(*slot->dirty));
}

static int delete_slot(struct fake_kvm *fake, unsigned int space,
		       struct fake_slot *slot)
{
	if (!slot->live)
		return -EINVAL;
	mpl_interval_remove(&fake->tree[space], &slot->node);
	drop_log(slot);
	slot->live = false;
	fake->count[space]--;
	return 0;
}

static int change_slot(struct fake_kvm *fake, unsigned int space,
		       struct fake_slot *slot,
		       const struct kvm_userspace_memory_region *to)
{
	uint32_t flips = slot->flags ^ to->flags;

	if (slot->pages != to->memory_size / PAGE ||
	    slot->hva != to->userspace_addr || flips & KVM_MEM_READONLY)
		return -EINVAL;
	if (slot->node.start != to->guest_phys_addr) {
		uint64_t last = to->guest_phys_addr + to->memory_size - 1;

		mpl_interval_remove(&fake->tree[space], &slot->node);
		if (mpl_interval_first(&fake->tree[space], to->guest_phys_addr,
				       last)) {
			mpl_interval_insert(&fake->tree[space], &slot->node);
			return -EEXIST;
		}
		slot->node.start = to->guest_phys_addr;
		slot->node.last = last;
		mpl_interval_insert(&fake->tree[space], &slot->node);
	}
	if (flips & KVM_MEM_LOG_DIRTY_PAGES) {
		drop_log(slot);
		if (to->flags & KVM_MEM_LOG_DIRTY_PAGES)
			make_log(fake, slot);
	}
	slot->flags = to->flags;
	return 0;
}

static int set_memory(struct fake_kvm *fake,
		      const struct kvm_userspace_memory_region *to)
{
	unsigned int space = to->slot >> 16, id = to->slot & 0xffff;
	uint32_t known = KVM_MEM_LOG_DIRTY_PAGES |
			 (fake->readonly ? KVM_MEM_READONLY : 0);
	uint64_t last = to->guest_phys_addr + to->memory_size - 1;
	struct fake_slot *slot;

	if (to->flags & ~known || !is_aligned(to->memory_size) ||
	    !is_aligned(to->guest_phys_addr) ||
	    !is_aligned(to->userspace_addr) || space >= fake->nr_spaces ||
	    id >= fake->nr_slots || to->memory_size / PAGE > PAGES_MAX ||
	    to->guest_phys_addr + to->memory_size < to->guest_phys_addr)
		return -EINVAL;
	slot = &fake->slots[space][id];
	if (!to->memory_size)
		return delete_slot(fake, space, slot);
	if (slot->live)
		return change_slot(fake, space, slot, to);
	if (mpl_interval_first(&fake->tree[space], to->guest_phys_addr, last))
		return -EEXIST;
	*slot = (struct fake_slot){
		.node.start = to->guest_phys_addr,
		.node.last = last,
		.id = to->slot,
		.live = true,
		.flags = to->flags,
		.hva = to->userspace_addr,
		.pages = to->memory_size / PAGE,
	};
	mpl_interval_insert(&fake->tree[space], &slot->node);
	fake->count[space]++;
	if (slot->flags & KVM_MEM_LOG_DIRTY_PAGES)
		make_log(fake, slot);
	return 0;
}

static struct fake_slot *logged(struct fake_kvm *fake, uint32_t id)
{
	struct fake_slot *slot;

	if (id >> 16 >= fake->nr_spaces || (id & 0xffff) >= fake->nr_slots)
		return NULL;
	slot = &fake->slots[id >> 16][id & 0xffff];
	return slot->live && slot->dirty ? slot : NULL;
}

static int get_log(struct fake_kvm *fake, const struct kvm_dirty_log *call)
{
	struct fake_slot *slot = logged(fake, call->slot);
	size_t bytes;

	if (fake->ring_entries)
		return -ENXIO;
	if (!slot)
		return -ENOENT;
	bytes = (slot->pages + 63) / 64 * 8;
	memcpy(call->dirty_bitmap, slot->dirty, bytes);
	/* Bits behind the end mean nothing; the kernel leaves none. */
	if (slot->pages % 64)
		((uint64_t *)call->dirty_bitmap)[bytes / 8 - 1] &=
			(UINT64_C(1) << slot->pages % 64) - 1;
	if (!(fake->manual_on & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE))
		memset(slot->dirty, 0, bytes);
	return 0;
}

static int clear_log(struct fake_kvm *fake,
		     const struct kvm_clear_dirty_log *call)
{
	struct fake_slot *slot = logged(fake, call->slot);
	const uint64_t *bits = call->dirty_bitmap;

	if (fake->ring_entries)
		return -ENXIO;
	if (!slot)
		return -ENOENT;
	if (call->first_page % 64 || call->first_page > slot->pages ||
	    call->num_pages > slot->pages - call->first_page ||
	    (call->num_pages % 64 &&
	     call->first_page + call->num_pages != slot->pages))
		return -EINVAL;
	for (uint64_t i = 0; i < (call->num_pages + 63) / 64; i++)
		slot->dirty[call->first_page / 64 + i] &= ~bits[i];
	return 0;
}

/* Entries that were taken: in order, up to the first that was not. */
static int reset_rings(struct fake_kvm *fake)
{
	int count = 0;

	for (int i = 0; i < FAKE_VCPUS; i++) {
		struct fake_ring *ring = &fake->rings[i];

		while (ring->gfns && ring->from != ring->put) {
			struct kvm_dirty_gfn *gfn =
				&ring->gfns[ring->from % fake->ring_entries];

			if (!(__atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE) &
			      KVM_DIRTY_GFN_F_RESET))
				break;
			gfn->flags = 0;
			ring->from++;
			count++;
		}
	}
	return count;
}

static bool collides(const struct kvm_ioeventfd *a,
		     const struct kvm_ioeventfd *b)
{
	uint32_t flips = a->flags ^ b->flags;

	if (flips & KVM_IOEVENTFD_FLAG_PIO || a->addr != b->addr)
		return false;
	if (!a->len || !b->len)
		return true;
	return a->len == b->len &&
	       (!(a->flags & b->flags & KVM_IOEVENTFD_FLAG_DATAMATCH) ||
		a->datamatch == b->datamatch);
}

static int deassign(struct fake_kvm *fake, const struct kvm_ioeventfd *call)
{
	uint32_t flags = call->flags & ~KVM_IOEVENTFD_FLAG_DEASSIGN;

	for (size_t i = 0; i < fake->n_ioeventfds; i++) {
		const struct kvm_ioeventfd *own = &fake->ioeventfds[i].call;

		if (own->addr != call->addr || own->len != call->len ||
		    own->fd != call->fd || own->flags != flags ||
		    (flags & KVM_IOEVENTFD_FLAG_DATAMATCH &&
		     own->datamatch != call->datamatch))
			continue;
		fake->ioeventfds[i] = fake->ioeventfds[--fake->n_ioeventfds];
		return 0;
	}
	return -ENOENT;
}

static int set_ioeventfd(struct fake_kvm *fake,
			 const struct kvm_ioeventfd *call)
{
	uint32_t known = KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO |
			 KVM_IOEVENTFD_FLAG_DEASSIGN;

	if (call->flags & ~known || call->addr + call->len < call->addr ||
	    (call->len & (call->len - 1)) || call->len > 8 ||
	    (!call->len && (call->flags & KVM_IOEVENTFD_FLAG_DATAMATCH ||
			    fake->no_ioeventfd_any_length)))
		return -EINVAL;
	if (call->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
		return deassign(fake, call);
	for (size_t i = 0; i < fake->n_ioeventfds; i++)
		if (collides(&fake->ioeventfds[i].call, call))
			return -EEXIST;
	if (fake->n_ioeventfds == fake->cap_ioeventfds) {
		fake->cap_ioeventfds = 2 * fake->cap_ioeventfds + 16;
		fake->ioeventfds = realloc(fake->ioeventfds,
					   fake->cap_ioeventfds *
						   sizeof(*fake->ioeventfds));
		assert_non_null(fake->ioeventfds);
	}
	fake->ioeventfds[fake->n_ioeventfds++].call = *call;
	return 0;
}

static int add_zone(struct fake_kvm *fake,
		    const struct kvm_coalesced_mmio_zone *zone)
{
	if (zone->pio > 1)
		return -EINVAL;
	if (fake->n_zones == fake->cap_zones) {
		fake->cap_zones = 2 * fake->cap_zones + 16;
		fake->zones = realloc(fake->zones,
				      fake->cap_zones * sizeof(*fake->zones));
		assert_non_null(fake->zones);
	}
	fake->zones[fake->n_zones++].zone = *zone;
	return 0;
}

/* Every zone goes that contains the one named; none: not an error. */
static int remove_zones(struct fake_kvm *fake,
			const struct kvm_coalesced_mmio_zone *zone)
{
	size_t kept = 0;

	if (zone->pio > 1)
		return -EINVAL;
	for (size_t i = 0; i < fake->n_zones; i++) {
		const struct kvm_coalesced_mmio_zone *own =
			&fake->zones[i].zone;

		if (own->pio != zone->pio || zone->addr < own->addr ||
		    zone->addr + zone->size > own->addr + own->size)
			fake->zones[kept++] = fake->zones[i];
	}
	fake->n_zones = kept;
	return 0;
}

static int enable_cap(struct fake_kvm *fake, const struct kvm_enable_cap *call)
{
	switch (call->cap) {
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		if (call->args[0] & ~(uint64_t)fake->manual)
			return -EINVAL;
		fake->manual_on = call->args[0];
		return 0;
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		if (!call->args[0] || call->args[0] > fake->ring_bytes ||
		    call->args[0] & (call->args[0] - 1) ||
		    call->args[0] < PAGE || fake->ring_entries)
			return -EINVAL;
		fake->ring_entries =
			call->args[0] / sizeof(struct kvm_dirty_gfn);
		return 0;
	default:
		return -EINVAL;
	}
}

static int check_extension(const struct fake_kvm *fake, unsigned long cap)
{
	switch (cap) {
	case KVM_CAP_NR_MEMSLOTS:
		return fake->nr_slots;
	case KVM_CAP_MULTI_ADDRESS_SPACE:
		return fake->nr_spaces;
	case KVM_CAP_READONLY_MEM:
		return fake->readonly;
	case 231: /* KVM_CAP_USER_MEMORY2 */
		return fake->region2;
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		return fake->manual;
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return fake->ring_bytes;
	case KVM_CAP_IOEVENTFD:
	case KVM_CAP_COALESCED_PIO:
	case KVM_CAP_IMMEDIATE_EXIT:
		return 1;
	case KVM_CAP_IOEVENTFD_ANY_LENGTH:
		return !fake->no_ioeventfd_any_length;
	case KVM_CAP_COALESCED_MMIO:
		return 2;
	default:
		return 0;
	}
}

static enum fake_call kind_of(unsigned long request)
{
	switch (request) {
	case KVM_SET_USER_MEMORY_REGION:
	case _IOW(KVMIO, 0x49, uint64_t[20]):
		return FAKE_SET_MEMORY;
	case KVM_GET_DIRTY_LOG:
		return FAKE_GET_LOG;
	case KVM_CLEAR_DIRTY_LOG:
		return FAKE_CLEAR_LOG;
	case KVM_RESET_DIRTY_RINGS:
		return FAKE_RESET_RINGS;
	case KVM_IOEVENTFD:
		return FAKE_IOEVENTFD;
	case KVM_REGISTER_COALESCED_MMIO:
	case KVM_UNREGISTER_COALESCED_MMIO:
		return FAKE_COALESCED;
	case KVM_ENABLE_CAP:
		return FAKE_ENABLE_CAP;
	default:
		return FAKE_OTHER;
	}
}

static int carry_out(struct fake_kvm *fake, unsigned long request,
		     const void *arg)
{
	switch (request) {
	case KVM_SET_USER_MEMORY_REGION:
		return set_memory(fake, arg);
	case _IOW(KVMIO, 0x49, uint64_t[20]):
		/* Begins as the older structure does. */
		fake->used_region2 = true;
		return fake->region2 ? set_memory(fake, arg) : -ENOTTY;
	case KVM_GET_DIRTY_LOG:
		return get_log(fake, arg);
	case KVM_CLEAR_DIRTY_LOG:
		return clear_log(fake, arg);
	case KVM_RESET_DIRTY_RINGS:
		return reset_rings(fake);
	case KVM_IOEVENTFD:
		return set_ioeventfd(fake, arg);
	case KVM_REGISTER_COALESCED_MMIO:
		return add_zone(fake, arg);
	case KVM_UNREGISTER_COALESCED_MMIO:
		return remove_zones(fake, arg);
	case KVM_ENABLE_CAP:
		return enable_cap(fake, arg);
	default:
		return -ENOTTY;
	}
}

/* Is it this call's turn to fail? */
static bool fails(struct fake_kvm *fake)
{
	/* Parks may come from another thread than calls. */
	unsigned int nth =
		__atomic_add_fetch(&fake->changes, 1, __ATOMIC_RELAXED);

	for (int i = 0; i < FAKE_FAULTS; i++)
		if (fake->faults[i] == nth) {
			fake->failed++;
			return true;
		}
	return false;
}

static bool is_vcpu(int fd)
{
	return fd >= FAKE_VCPU_FD && fd < FAKE_VCPU_FD + FAKE_VCPUS;
}

static unsigned int vcpu_of(int fd)
{
	return (unsigned int)(fd - FAKE_VCPU_FD);
}

static int fake_ioctl(void *opaque, int fd, unsigned long request,
		      uintptr_t arg)
{
	struct fake_kvm *fake = opaque;
	enum fake_call kind = kind_of(request);
	int err;

	if (is_vcpu(fd) && request == KVM_RUN && fake->guest)
		return fake->guest(fake->guest_arg, vcpu_of(fd),
				   fake->runs[vcpu_of(fd)]);
	if (fd != FAKE_VM_FD)
		return -EBADF;
	if (request == KVM_CHECK_EXTENSION)
		return check_extension(fake, arg);
	if (fake->before)
		fake->before(fake->before_arg, fake, request);
	fake->calls[kind]++;
	if (fails(fake))
		return -fake->fault_errno;
	err = carry_out(fake, request, (const void *)arg);
	if (kind == FAKE_SET_MEMORY && !fake->parked && fake->watch)
		fake->watch(fake->watch_arg, fake);
	return err;
}

static void *new_pages(size_t len)
{
	void *pages = calloc(1, len);

	assert_non_null(pages);
	return pages;
}

static int fake_map(void *opaque, int fd, uint64_t offset, size_t len,
		    void **out)
{
	struct fake_kvm *fake = opaque;
	struct fake_ring *ring;

	if (!is_vcpu(fd))
		return -EBADF;
	ring = &fake->rings[vcpu_of(fd)];
	if (fake->maps_failing) {
		fake->maps_failing--;
		return -ENOMEM;
	}
	if (!offset && !fake->runs[vcpu_of(fd)]) {
		*out = fake->runs[vcpu_of(fd)] = new_pages(len);
		return 0;
	}
	if (offset == 2 * PAGE && !fake->coalesced) {
		*out = fake->coalesced = new_pages(len);
		return 0;
	}
	if (offset != KVM_DIRTY_LOG_PAGE_OFFSET * PAGE || ring->gfns ||
	    len != fake->ring_entries * sizeof(*ring->gfns))
		return -EINVAL;
	*out = ring->gfns = new_pages(len);
	return 0;
}

static void fake_unmap(void *opaque, void *host, size_t len)
{
	struct fake_kvm *fake = opaque;

	(void)len;
	for (int i = 0; i < FAKE_VCPUS; i++) {
		if (fake->rings[i].gfns == host)
			fake->rings[i] = (struct fake_ring){ 0 };
		if (fake->runs[i] == host)
			fake->runs[i] = NULL;
	}
	if (fake->coalesced == host)
		fake->coalesced = NULL;
	free(host);
}

static int fake_park(void *opaque)
{
	struct fake_kvm *fake = opaque;

	assert_false(fake->parked);
	if (fake->before)
		fake->before(fake->before_arg, fake, 0);
	fake->calls[FAKE_PARK]++;
	if (fails(fake))
		return -fake->fault_errno;
	fake->parked = true;
	return 0;
}

static void fake_unpark(void *opaque)
{
	struct fake_kvm *fake = opaque;

	assert_true(fake->parked);
	fake->parked = false;
	if (fake->watch)
		fake->watch(fake->watch_arg, fake);
}

struct fake_kvm *fake_new(void)
{
	struct fake_kvm *fake = calloc(1, sizeof(*fake));

	assert_non_null(fake);
	fake->sys =
		(struct mpl_kvm_sys_ops){ fake_ioctl, fake_map, fake_unmap };
	fake->gate = (struct mpl_kvm_gate_ops){ fake_park, fake_unpark };
	fake->nr_slots = 32764;
	fake->nr_spaces = FAKE_SPACES;
	fake->readonly = true;
	fake->manual = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE |
		       KVM_DIRTY_LOG_INITIALLY_SET;
	fake->ring_bytes = 1 << 20;
	fake->fault_errno = EIO;
	for (int i = 0; i < FAKE_SPACES; i++) {
		fake->slots[i] =
			calloc(fake->nr_slots, sizeof(*fake->slots[i]));
		assert_non_null(fake->slots[i]);
	}
	return fake;
}

void fake_discard(struct fake_kvm *fake)
{
	for (int i = 0; i < FAKE_SPACES; i++) {
		struct mpl_interval *node;

		while ((node = mpl_interval_first(&fake->tree[i], 0,
						  UINT64_MAX)))
			(void)delete_slot(fake, (unsigned int)i, slot_of(node));
		free(fake->slots[i]);
	}
	free(fake->ioeventfds);
	free(fake->zones);
	free(fake);
}

void fake_free(struct fake_kvm *fake)
{
	for (int i = 0; i < FAKE_SPACES; i++)
		assert_int_equal(fake->count[i], 0);
	for (int i = 0; i < FAKE_VCPUS; i++) {
		assert_null(fake->rings[i].gfns);
		assert_null(fake->runs[i]);
	}
	assert_null(fake->coalesced);
	assert_int_equal(fake->n_ioeventfds, 0);
	assert_int_equal(fake->n_zones, 0);
	assert_false(fake->parked);
	fake_discard(fake);
}

struct mpl_kvm_config fake_config(struct fake_kvm *fake)
{
	return (struct mpl_kvm_config){
		.gate = &fake->gate,
		.gate_opaque = fake,
		.sys = &fake->sys,
		.sys_opaque = fake,
	};
}

void fake_arm(struct fake_kvm *fake, unsigned int first, unsigned int second)
{
	fake->changes = 0;
	fake->failed = 0;
	memset(fake->faults, 0, sizeof(fake->faults));
	fake->faults[0] = first;
	fake->faults[1] = second;
}

struct fake_slot *fake_slot_at(const struct fake_kvm *fake, unsigned int space,
			       uint64_t gpa)
{
	struct mpl_interval *node =
		mpl_interval_first(&fake->tree[space], gpa, gpa);

	return node ? slot_of(node) : NULL;
}

struct each {
	void (*fn)(void *arg, const struct fake_slot *slot);
	void *arg;
};

static int each(void *arg, struct mpl_interval *node)
{
	const struct each *call = arg;

	call->fn(call->arg, slot_of(node));
	return 0;
}

void fake_slots_each(const struct fake_kvm *fake, unsigned int space,
		     void (*fn)(void *arg, const struct fake_slot *slot),
		     void *arg)
{
	(void)mpl_interval_each(&fake->tree[space], 0, UINT64_MAX, each,
				&(struct each){ fn, arg });
}

bool fake_guest_write(struct fake_kvm *fake, unsigned int vcpu,
		      unsigned int space, uint64_t gpa, uint8_t value)
{
	struct fake_slot *slot = fake_slot_at(fake, space, gpa);
	struct fake_ring *ring = &fake->rings[vcpu];
	uint64_t page;

	if (!slot || slot->flags & KVM_MEM_READONLY)
		return false;
	page = (gpa - slot->node.start) / PAGE;
	*(volatile uint8_t *)(slot->hva + (gpa - slot->node.start)) = value;
	if (slot->dirty)
		slot->dirty[page / 64] |= UINT64_C(1) << page % 64;
	else if (slot->flags & KVM_MEM_LOG_DIRTY_PAGES && ring->gfns) {
		struct kvm_dirty_gfn *gfn;

		assert_true(ring->put - ring->from < fake->ring_entries);
		gfn = &ring->gfns[ring->put++ % fake->ring_entries];
		gfn->slot = slot->id;
		gfn->offset = page;
		__atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_DIRTY,
				 __ATOMIC_RELEASE);
	}
	return true;
}
