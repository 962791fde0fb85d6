/* SPDX-License-Identifier: BSD-3-Clause */
/* Notifiers of iommu regions: what they are told, and replay. */
#include <memplane/iommu.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/rig.h"

enum { PAGE = 4096, PAGES = 8 };

static struct {
	struct rig *rig;
	struct mpl_region *iommu;
	/* Page i goes to page to[i] - 1; 0: nowhere. */
	unsigned int to[PAGES];
	uint32_t permissions[PAGES];
	struct mpl_iommu_event events[32];
	unsigned int count;
	int error; /* of a call from inside */
} it;

static mpl_result_t translate(void *opaque, uint64_t iova,
			      enum mpl_intent intent, struct mpl_attrs attrs,
			      struct mpl_iommu_page *page)
{
	unsigned int i = iova / PAGE % PAGES;

	(void)opaque, (void)attrs;
	if (iova >= PAGES * PAGE) {
		page->mask = UINT64_C(1) << 40;
		page->mask -= 1;
		return MPL_DECODE_ERROR;
	}
	if (!it.to[i] || (it.permissions[i] & intent) != intent)
		return MPL_DECODE_ERROR;
	page->as = it.rig->as;
	page->address = (it.to[i] - 1) * PAGE;
	page->mask = PAGE - 1;
	page->permissions = it.permissions[i];
	return MPL_OK;
}

static int replay(void *opaque, struct mpl_iommu_notifier *notifier,
		  uint64_t start, uint64_t last)
{
	(void)opaque;
	for (unsigned int i = 0; i < PAGES; i++)
		if (it.to[i] && i * PAGE <= last && i * PAGE + PAGE > start)
			mpl_iommu_tell(notifier, &(struct mpl_iommu_event){
				.kind = MPL_IOMMU_MAP,
				.iova = i * PAGE,
				.span = PAGE - 1,
				.as = it.rig->as,
				.address = (it.to[i] - 1) * PAGE,
				.permissions = it.permissions[i],
			});
	return 0;
}

static const struct mpl_iommu_ops walked_ops = { .translate = translate };
static const struct mpl_iommu_ops replayed_ops = {
	.translate = translate,
	.replay = replay,
};

static void keep(void *opaque, const struct mpl_iommu_event *event)
{
	(void)opaque;
	assert_true(it.count < 32);
	it.events[it.count++] = *event;
}

static void call_back(void *opaque, const struct mpl_iommu_event *event)
{
	struct mpl_iommu_notifier *other;

	(void)opaque;
	it.error = mpl_iommu_notify(it.iommu, event);
	if (it.error == -EDEADLK)
		it.error = mpl_iommu_notifier_register(
			it.iommu, MPL_IOMMU_MAP, 0, 1, keep, NULL, &other);
}

static void set_up(struct rig *rig, const struct mpl_iommu_ops *ops)
{
	memset(&it, 0, sizeof(it));
	it.rig = rig;
	assert_int_equal(mpl_region_new_iommu(rig->plane, "iommu", UINT64_MAX,
					      ops, NULL, &it.iommu), 0);
}

static struct mpl_iommu_notifier *listen(unsigned int kinds, uint64_t start,
					 uint64_t last)
{
	struct mpl_iommu_notifier *notifier;

	assert_int_equal(mpl_iommu_notifier_register(it.iommu, kinds, start,
						     last, keep, NULL,
						     &notifier), 0);
	return notifier;
}

static void told(unsigned int i, uint64_t iova, uint64_t span,
		 uint64_t address)
{
	assert_true(i < it.count);
	assert_int_equal(it.events[i].iova, iova);
	assert_int_equal(it.events[i].span, span);
	assert_int_equal(it.events[i].address, address);
}

/* Events are cut to the range that was asked for, and to the kinds. */
static void test_cut(void **state)
{
	struct mpl_iommu_notifier *notifier;
	struct mpl_iommu_event event = { .kind = MPL_IOMMU_MAP };

	set_up(*state, &walked_ops);
	event.as = it.rig->as;
	notifier = listen(MPL_IOMMU_MAP, 0x1000, 0x2fff);
	event.iova = 0;
	event.span = UINT64_MAX;
	event.address = 0x70000;
	assert_int_equal(mpl_iommu_notify(it.iommu, &event), 0);
	told(0, 0x1000, 0x1fff, 0x71000);
	event.iova = 0x2000;
	event.span = 0xfff;
	assert_int_equal(mpl_iommu_notify(it.iommu, &event), 0);
	told(1, 0x2000, 0xfff, 0x70000);
	event.iova = 0x3000;
	assert_int_equal(mpl_iommu_notify(it.iommu, &event), 0);
	event.iova = 0;
	assert_int_equal(mpl_iommu_notify(it.iommu, &event), 0);
	event.iova = 0x1000;
	event.kind = MPL_IOMMU_UNMAP;
	assert_int_equal(mpl_iommu_notify(it.iommu, &event), 0);
	assert_int_equal(it.count, 2);
	assert_int_equal(mpl_iommu_notifier_unregister(notifier), 0);
	event.kind = MPL_IOMMU_MAP;
	assert_int_equal(mpl_iommu_notify(it.iommu, &event), 0);
	assert_int_equal(it.count, 2);
	mpl_region_unref(it.iommu);
}

static void test_refused(void **state)
{
	struct mpl_iommu_event event = { .kind = MPL_IOMMU_MAP };
	struct mpl_iommu_notifier *notifier;
	struct mpl_region *ram;

	set_up(*state, &walked_ops);
	assert_int_equal(mpl_region_new_ram(it.rig->plane, "ram", PAGE, NULL,
					    &ram), 0);
	assert_int_equal(mpl_iommu_notifier_register(ram, MPL_IOMMU_MAP, 0, 1,
						     keep, NULL, &notifier),
			 -EINVAL);
	assert_int_equal(mpl_iommu_notifier_register(it.iommu, 0, 0, 1, keep,
						     NULL, &notifier),
			 -EINVAL);
	assert_int_equal(mpl_iommu_notifier_register(it.iommu, MPL_IOMMU_MAP,
						     2, 1, keep, NULL,
						     &notifier), -EINVAL);
	assert_int_equal(mpl_iommu_notify(ram, &event), -EINVAL);
	event.kind = (enum mpl_iommu_event_kind)3;
	assert_int_equal(mpl_iommu_notify(it.iommu, &event), -EINVAL);
	event.kind = MPL_IOMMU_MAP;
	event.iova = UINT64_MAX;
	event.span = 1;
	assert_int_equal(mpl_iommu_notify(it.iommu, &event), -EINVAL);
	/* From a notifier. */
	assert_int_equal(mpl_iommu_notifier_register(
				 it.iommu, MPL_IOMMU_MAP, 0, UINT64_MAX,
				 call_back, NULL, &notifier), 0);
	event.span = 0;
	assert_int_equal(mpl_iommu_notify(it.iommu, &event), 0);
	assert_int_equal(it.error, -EDEADLK);
	assert_int_equal(mpl_iommu_notifier_unregister(notifier), 0);
	mpl_region_unref(ram);
	mpl_region_unref(it.iommu);
}

static void map_some(void)
{
	it.to[1] = 4;
	it.to[2] = 6;
	it.to[4] = 1;
	it.permissions[1] = MPL_FOR_BOTH;
	it.permissions[2] = MPL_FOR_READ;
	it.permissions[4] = MPL_FOR_WRITE;
}

static void check_replayed(void)
{
	assert_int_equal(it.count, 3);
	told(0, 0x1000, 0xfff, 0x3000);
	told(1, 0x2000, 0xfff, 0x5000);
	told(2, 0x4000, 0xfff, 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_ptr_equal(it.events[i].as, it.rig->as);
		assert_int_equal(it.events[i].kind, MPL_IOMMU_MAP);
	}
	assert_int_equal(it.events[0].permissions, MPL_FOR_BOTH);
	assert_int_equal(it.events[1].permissions, MPL_FOR_READ);
	assert_int_equal(it.events[2].permissions, MPL_FOR_WRITE);
}

/* Replay by translating: over holes as large as the callback says. */
static void test_walk(void **state)
{
	struct mpl_iommu_notifier *notifier;
	struct mpl_reader *reader;

	set_up(*state, &walked_ops);
	map_some();
	notifier = listen(MPL_IOMMU_MAP, 0, (UINT64_C(1) << 50) - 1);
	assert_int_equal(mpl_iommu_replay(notifier, NULL), -ENOTSUP);
	assert_int_equal(mpl_reader_register(it.rig->plane, &reader), 0);
	mpl_reader_online(reader);
	assert_int_equal(mpl_iommu_replay(notifier, reader), 0);
	check_replayed();
	assert_int_equal(mpl_iommu_notifier_unregister(notifier), 0);
	/* A part of it. */
	it.count = 0;
	notifier = listen(MPL_IOMMU_MAP, 0x1800, 0x2000);
	assert_int_equal(mpl_iommu_replay(notifier, reader), 0);
	assert_int_equal(it.count, 2);
	told(0, 0x1800, 0x7ff, 0x3800);
	told(1, 0x2000, 0, 0x5000);
	assert_int_equal(mpl_iommu_notifier_unregister(notifier), 0);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
	/* 2^24 holes of 2^40 bytes, and the pages: too many steps. */
	it.count = 0;
	notifier = listen(MPL_IOMMU_MAP, 0, UINT64_MAX);
	assert_int_equal(mpl_iommu_replay(notifier, reader), -E2BIG);
	check_replayed();
	assert_int_equal(mpl_iommu_notifier_unregister(notifier), 0);
#endif
	mpl_reader_unregister(reader);
	mpl_region_unref(it.iommu);
}

/* As a mirror would: from range_add and range_del of a listener. */
static struct mpl_iommu_notifier *attached;

static int range_add(void *opaque, const struct mpl_flat_range *range)
{
	int err;

	(void)opaque;
	if (mpl_region_kind(range->region) != MPL_IOMMU)
		return 0;
	err = mpl_iommu_notifier_register(
		range->region, MPL_IOMMU_MAP | MPL_IOMMU_UNMAP, range->offset,
		range->offset + (range->last - range->start), keep, NULL,
		&attached);
	return err ? err : mpl_iommu_replay(attached, NULL);
}

static int range_del(void *opaque, const struct mpl_flat_range *range)
{
	(void)opaque;
	if (mpl_region_kind(range->region) != MPL_IOMMU)
		return 0;
	return mpl_iommu_notifier_unregister(attached);
}

static void test_listener(void **state)
{
	static const struct mpl_listener_ops listener_ops = {
		.range_add = range_add,
		.range_del = range_del,
	};
	struct mpl_iommu_event event = { .kind = MPL_IOMMU_UNMAP,
					 .iova = 0x1000, .span = 0xfff };
	struct mpl_listener *listener;

	set_up(*state, &replayed_ops);
	map_some();
	assert_int_equal(mpl_listener_register(it.rig->as, &listener_ops, NULL,
					       &listener), 0);
	assert_int_equal(rig_add(it.rig, it.iommu, 0), 0);
	check_replayed();
	assert_int_equal(mpl_iommu_notify(it.iommu, &event), 0);
	assert_int_equal(it.count, 4);
	assert_int_equal(it.events[3].kind, MPL_IOMMU_UNMAP);
	assert_int_equal(rig_remove(it.rig, it.iommu), 0);
	assert_int_equal(mpl_iommu_notify(it.iommu, &event), 0);
	assert_int_equal(it.count, 4);
	assert_int_equal(mpl_listener_unregister(listener), 0);
	mpl_region_unref(it.iommu);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_BOTH(test_cut),
		RIG_BOTH(test_refused),
		RIG_INLINE(test_walk),
		RIG_BOTH(test_listener),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
