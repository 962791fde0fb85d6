/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/doorbell_hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_lcore.h>
#include <rte_malloc.h>

#include "dispatch/doorbell_tree.h"
#include "dispatch/retire.h"

#define NEVER UINT64_MAX
#define ENTRIES_MIN 64
/* About what rte_hash takes for each: two lines of 8, and 16 beside a key. */
#define BUCKET_BYTES 16
#define SLOT_BYTES 32

/*
 * What rte_hash finds an entry by: all of its doorbell but for some bits of
 * large offsets, so that entries are compared as well.  With sixteen bytes a
 * slot of rte_hash lies in one cache line.
 */
struct key {
	uint64_t where;
	uint64_t data;
};

struct entry {
	struct mpl_doorbell item; /* its table's tree holds the event */
	uint64_t born;
	uint64_t died;
	struct entry *next; /* with the same key */

	/* Control side. */
	struct mpl_doorbell_hash *hash __attribute__((aligned(64)));
	int position; /* of the key slot that goes with it; -1: none */
	struct mpl_link all;
	struct mpl_link dying;
};
_Static_assert(offsetof(struct entry, hash) == 64,
	       "what readers need of an entry is a cache line");

struct mpl_doorbell_hash {
	struct rte_hash *table;
	uint64_t changes; /* only for the order [B80] */

	/* Control side. */
	struct mpl_data_plane *dp;
	uint32_t capacity;
	uint64_t newest;	  /* version given last */
	struct mpl_link tables;	  /* in use, oldest first */
	struct mpl_link entries;
	size_t count; /* of them */
	struct mpl_link dying;	  /* marked, in order of `died` */
	struct mpl_retired *farewell; /* takes the hash away */
};

bool mpl_doorbell_hash_possible(void)
{
	void *probe;

	/* Before rte_eal_init() there are no lcores; after one that failed
	 * there may be some, and no memory. */
	if (!rte_lcore_count())
		return false;
	probe = rte_malloc(NULL, 64, 0);
	rte_free(probe);
	return probe != NULL;
}

static struct key key_of(const struct mpl_doorbell *item)
{
	/* Sizes are 0, 1, 2, 4 and 8. */
	uint64_t class = (uint64_t)item->size << 1 | item->match;

	return (struct key){
		.where = item->offset ^ class << 59,
		.data = item->match ? item->data : 0,
	};
}

/*
 * Mixes as SplitMix64 does (Steele, Lea, Flood: Fast splittable pseudorandom
 * number generators, 2014).
 */
static uint32_t signature(const struct key *key)
{
	uint64_t z = key->where * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 32) ^ key->data) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(z >> 32);
}

/* The signature that rte_hash may ask for. */
static uint32_t hash_function(const void *key, uint32_t length, uint32_t init)
{
	(void)length, (void)init;
	return signature(key);
}

static bool is_at(const struct entry *entry, const struct mpl_doorbell *key)
{
	return entry->item.offset == key->offset &&
	       entry->item.size == key->size &&
	       entry->item.match == key->match &&
	       (!key->match || entry->item.data == key->data);
}

static struct entry *head_of(const struct mpl_doorbell_hash *hash,
			     const struct key *key)
{
	void *head;

	if (rte_hash_lookup_with_hash_data(hash->table, key, signature(key),
					   &head) < 0)
		return NULL;
	return head;
}

static int set_head(struct mpl_doorbell_hash *hash, const struct key *key,
		    struct entry *head)
{
	/*
	 * [B80] release; pairs with [B80] in mpl_doorbell_hash_find(): whoever
	 * finds an entry, even one that its table has not, finds born and died
	 * in it.  DPDK orders this, too, but in its shared object, where the
	 * thread sanitizer does not look.
	 */
	__atomic_store_n(&hash->changes, hash->changes + 1, __ATOMIC_RELEASE);
	return rte_hash_add_key_with_hash_data(hash->table, key, signature(key),
					       head);
}

static int add_entry(struct mpl_doorbell_hash *hash,
		     const struct mpl_doorbell *item, uint64_t version)
{
	const struct key key = key_of(item);
	struct entry *entry = aligned_alloc(64, sizeof(*entry));
	int err;

	if (!entry)
		return -ENOMEM;
	*entry = (struct entry){
		.item = *item,
		.born = version,
		.died = NEVER,
		.next = head_of(hash, &key),
		.hash = hash,
		.position = -1,
	};
	err = set_head(hash, &key, entry);
	if (err) {
		free(entry);
		return err;
	}
	mpl_list_append(&hash->entries, &entry->all);
	hash->count++;
	mpl_list_init(&entry->dying);
	return 0;
}

static int mark_entry(struct mpl_doorbell_hash *hash,
		      const struct mpl_doorbell *item, uint64_t version)
{
	const struct key key = key_of(item);
	struct entry *entry = head_of(hash, &key);

	while (entry && (entry->died != NEVER || !is_at(entry, item) ||
			 entry->item.event->caller_fd !=
				 item->event->caller_fd))
		entry = entry->next;
	if (!entry)
		return -ENOENT;
	/* Relaxed: readers of older tables see it either way. */
	__atomic_store_n(&entry->died, version, __ATOMIC_RELAXED);
	mpl_list_append(&hash->dying, &entry->dying);
	return 0;
}

static void hash_free(void *arg)
{
	struct mpl_doorbell_hash *hash = arg;
	struct mpl_link *link, *following;

	MPL_LIST_EACH_SAFE(link, following, &hash->entries)
		free(MPL_OF(link, struct entry, all));
	rte_hash_free(hash->table);
	mpl_retired_drop(hash->farewell);
	free(hash);
}

static struct mpl_doorbell_hash *hash_new(struct mpl_data_plane *dp,
					  uint32_t count)
{
	struct mpl_doorbell_hash *hash = calloc(1, sizeof(*hash));
	char name[RTE_HASH_NAMESIZE];
	struct rte_hash_parameters parameters = {
		.name = name,
		.key_len = sizeof(struct key),
		.hash_func = hash_function,
		.socket_id = SOCKET_ID_ANY,
		.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF |
			      RTE_HASH_EXTRA_FLAGS_EXT_TABLE,
		.entries = count < ENTRIES_MIN / 2 ? ENTRIES_MIN : 2 * count,
	};

	if (!hash)
		return NULL;
	hash->capacity = parameters.entries;
	hash->dp = dp;
	mpl_list_init(&hash->tables);
	mpl_list_init(&hash->entries);
	mpl_list_init(&hash->dying);
	/* Hashes are known by name in a process: this one while it lives. */
	snprintf(name, sizeof(name), "mpl-%p", (void *)hash);
	hash->farewell = mpl_retired_new();
	if (hash->farewell && !MPL_RESERVE(&hash->farewell->objects, 1))
		hash->table = rte_hash_create(&parameters);
	if (!hash->table) {
		hash_free(hash);
		return NULL;
	}
	return hash;
}

static int add_first(void *arg, const struct mpl_doorbell *item)
{
	return add_entry(arg, item, 0);
}

static void attach(struct mpl_doorbell_hash *hash, struct mpl_doorbells *table)
{
	table->hash = hash;
	table->version = ++hash->newest;
	mpl_list_append(&hash->tables, &table->link);
}

/* Log the first time, count always. */
static void report(struct mpl_data_plane *dp, uint32_t count, const char *why)
{
	if (!dp->hashes_refused++)
		mpl_log(&dp->log, MPL_LOG_WARNING,
			"no hash for %u doorbells of a region, they stay in sorted arrays: %s",
			count, why);
}

static void build(struct mpl_data_plane *dp, struct mpl_doorbells *table)
{
	struct mpl_doorbell_hash *hash;

	table->hash_wanted = 2 * table->count;
	if (!mpl_doorbell_hash_possible()) {
		report(dp, table->count,
		       "no EAL is running in this process (mpl_eal_start())");
		return;
	}
	hash = hash_new(dp, table->count);
	if (!hash || mpl_bells_each(table->root, add_first, hash)) {
		report(dp, table->count, "the EAL's memory does not suffice");
		if (hash)
			hash_free(hash);
		return;
	}
	table->hash_wanted = 0;
	dp->hashes++;
	attach(hash, table);
}

/* The index of the table before, with the one difference. */
static bool follow(const struct mpl_doorbells *from,
		   struct mpl_doorbells *table,
		   const struct mpl_doorbell *item)
{
	struct mpl_doorbell_hash *hash = from ? from->hash : NULL;
	int err;

	if (!hash || from->version != hash->newest)
		return false;
	if (table->count > from->count)
		err = add_entry(hash, item, hash->newest + 1);
	else
		err = mark_entry(hash, item, hash->newest + 1);
	if (err)
		return false;
	attach(hash, table);
	return true;
}

void mpl_doorbell_hash_join(struct mpl_data_plane *dp,
			    const struct mpl_doorbells *from,
			    struct mpl_doorbells *table,
			    const struct mpl_doorbell *item)
{
	uint32_t wanted = dp->hash_doorbells;

	/* What has one keeps it down to the half, lest it come and go. */
	if (!wanted || table->count < wanted / 2 ||
	    follow(from, table, item) || table->count < wanted ||
	    table->count < table->hash_wanted)
		return;
	build(dp, table);
}

/* A grace period after the entry has left its hash. */
static void entry_free(void *arg)
{
	struct entry *entry = arg;

	if (entry->position >= 0)
		rte_hash_free_key_with_position(entry->hash->table,
						entry->position);
	free(entry);
}

/* Take an entry out where readers find it. */
static void unlink_entry(struct entry *entry)
{
	struct mpl_doorbell_hash *hash = entry->hash;
	const struct key key = key_of(&entry->item);
	struct entry *at = head_of(hash, &key);

	mpl_list_remove(&entry->all);
	mpl_list_remove(&entry->dying);
	hash->count--;
	if (at != entry) {
		while (at->next != entry)
			at = at->next;
		/* Relaxed: what comes behind was there before. */
		__atomic_store_n(&at->next, entry->next, __ATOMIC_RELAXED);
	} else if (entry->next) {
		(void)set_head(hash, &key, entry->next); /* a slot it has */
	} else {
		entry->position = rte_hash_del_key_with_hash(
			hash->table, &key, signature(&key));
	}
}

/* Entries that died before the oldest table that is left. */
static void reap(struct mpl_doorbell_hash *hash)
{
	uint64_t oldest = MPL_OF(hash->tables.next, struct mpl_doorbells, link)
				  ->version;
	struct mpl_retired *batch = NULL;

	while (!mpl_list_empty(&hash->dying)) {
		struct entry *entry =
			MPL_OF(hash->dying.next, struct entry, dying);

		if (entry->died > oldest)
			break;
		if (!batch)
			batch = mpl_retired_new();
		/* Without memory: another time. */
		if (!batch || mpl_retire_object(batch, entry_free, entry,
						sizeof(*entry)))
			break;
		unlink_entry(entry);
	}
	if (batch && batch->objects.count)
		mpl_retire(hash->dp, batch);
	else
		mpl_retired_drop(batch);
}

void mpl_doorbell_hash_leave(struct mpl_doorbells *table)
{
	struct mpl_doorbell_hash *hash = table->hash;
	struct mpl_retired *farewell;

	if (!hash)
		return;
	mpl_list_remove(&table->link);
	if (!mpl_list_empty(&hash->tables)) {
		reap(hash);
		return;
	}
	/* Entries on their way out need it: batches go in order. */
	farewell = hash->farewell;
	hash->farewell = NULL;
	hash->dp->hashes--;
	(void)mpl_retire_object(farewell, hash_free, hash,
				sizeof(*hash) +
					(size_t)hash->capacity *
						(BUCKET_BYTES + SLOT_BYTES) +
					hash->count * sizeof(struct entry));
	mpl_retire(hash->dp, farewell);
}

const struct mpl_doorbell *
mpl_doorbell_hash_find(const struct mpl_doorbells *table,
		       const struct mpl_doorbell *item)
{
	const struct mpl_doorbell_hash *hash = table->hash;
	const struct key key = key_of(item);
	const struct entry *entry = head_of(hash, &key);
	const struct mpl_doorbell *found = NULL;

	/* [B80] acquire; pairs with [B80] in set_head() */
	(void)__atomic_load_n(&hash->changes, __ATOMIC_ACQUIRE);
	for (; entry; entry = __atomic_load_n(&entry->next, __ATOMIC_RELAXED)) {
		if (table->version < entry->born || !is_at(entry, item) ||
		    table->version >= __atomic_load_n(&entry->died,
						      __ATOMIC_RELAXED))
			continue;
		if (!found ||
		    entry->item.event->caller_fd < found->event->caller_fd)
			found = &entry->item;
	}
	return found;
}
