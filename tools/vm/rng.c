/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A random number generator (virtio 1.1, section 5.4) on the memory-mapped
 * transport (4.2).  Registers and bits are those of <linux/virtio_mmio.h>.
 *
 * The guest's writes to QueueNotify are an ioeventfd: no vCPU comes out of the
 * guest for them.  A thread with a reader of its own looks at the queue: while
 * there is work it polls, and after a while without it goes offline and sleeps
 * on the eventfd.  A queue is three rings in guest memory:
 *
 *     descriptors: address, length, flags, next   the guest's buffers
 *     available:   flags, index, heads            guest -> device
 *     used:        flags, index, (head, length)   device -> guest
 */
#include "tools/vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#define QUEUE_MAX  128
#define BURST	   32	/* buffers at a time */
#define BUFFER_MAX 4096 /* bytes; the rest of a longer one is left */
#define IDLE_TURNS 1000 /* until the thread goes to sleep */

struct queue {
	uint64_t desc, avail, used; /* gpa */
	uint32_t size;
	bool ready;
	uint16_t next; /* index in the available ring */
};

struct rng {
	struct vm *vm;
	struct mpl_region *region;
	int kick_fd;
	int irq_fd;
	int source; /* a file, or -1: random bytes */
	pthread_t thread;
	bool end;

	pthread_mutex_t lock; /* what follows: vCPUs and the thread */
	uint32_t status;
	uint32_t features_sel;
	uint32_t driver_sel;
	uint32_t queue_sel;
	uint32_t interrupt;
	struct queue queue;
	uint64_t buffers, bytes, interrupts; /* for the report */
};

/* --- the registers: vCPUs' threads */

static uint32_t read_register(const struct rng *rng, uint64_t offset)
{
	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return 'v' | 'i' << 8 | 'r' << 16 | 't' << 24;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return VIRTIO_ID_RNG;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return rng->features_sel == 1 ? 1u << (VIRTIO_F_VERSION_1 - 32)
					      : 0;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return rng->queue_sel ? 0 : QUEUE_MAX;
	case VIRTIO_MMIO_QUEUE_READY:
		return rng->queue_sel ? 0 : rng->queue.ready;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return rng->interrupt;
	case VIRTIO_MMIO_STATUS:
		return rng->status;
	default:
		return 0;
	}
}

static void set_half(uint64_t *address, bool high, uint32_t value)
{
	unsigned int shift = high ? 32 : 0;

	*address &= ~((uint64_t)UINT32_MAX << shift);
	*address |= (uint64_t)value << shift;
}

static void write_queue(struct rng *rng, uint64_t offset, uint32_t value)
{
	struct queue *queue = &rng->queue;

	if (rng->queue_sel)
		return; /* there is only the first */
	if (offset == VIRTIO_MMIO_QUEUE_READY) {
		/* A size that is no power of two is no queue. */
		queue->ready = value && queue->size &&
			       queue->size <= QUEUE_MAX &&
			       !(queue->size & (queue->size - 1));
		queue->next = 0;
		return;
	}
	if (queue->ready)
		return; /* not while it is in use */
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		queue->size = value;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&queue->desc, offset & 4, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&queue->avail, offset & 4, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&queue->used, offset & 4, value);
		break;
	}
}

static void write_register(struct rng *rng, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		rng->features_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		rng->queue_sel = value;
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		rng->interrupt &= ~value;
		break;
	case VIRTIO_MMIO_STATUS:
		rng->status = value;
		if (!value) { /* a reset */
			rng->queue = (struct queue){ 0 };
			rng->interrupt = 0;
		}
		break;
	default:
		write_queue(rng, offset, value);
	}
}

static mpl_result_t rng_read(void *opaque, uint64_t offset, unsigned int size,
			     struct mpl_attrs attrs, uint64_t *value)
{
	struct rng *rng = opaque;

	(void)size;
	(void)attrs;
	pthread_mutex_lock(&rng->lock);
	*value = read_register(rng, offset);
	pthread_mutex_unlock(&rng->lock);
	return MPL_OK;
}

static mpl_result_t rng_write(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t value)
{
	struct rng *rng = opaque;

	(void)size;
	(void)attrs;
	pthread_mutex_lock(&rng->lock);
	write_register(rng, offset, (uint32_t)value);
	pthread_mutex_unlock(&rng->lock);
	return MPL_OK;
}

/* --- the queue: the device's thread, with the lock */

static bool get_bytes(struct rng *rng, void *host, size_t len)
{
	ssize_t got;

	if (rng->source < 0)
		return getrandom(host, len, 0) == (ssize_t)len;
	got = read(rng->source, host, len);
	if (got == 0 && lseek(rng->source, 0, SEEK_SET) == 0)
		got = read(rng->source, host, len); /* again from its start */
	return got == (ssize_t)len;
}

/* Returns how many bytes were written: 0 if the buffer is not memory. */
static uint32_t fill(struct rng *rng, struct mpl_reader *reader,
		     const struct vring_desc *desc)
{
	uint32_t len = desc->len < BUFFER_MAX ? desc->len : BUFFER_MAX;
	uint32_t done = 0;
	size_t contiguous;
	void *host;

	/* A buffer may lie in several ranges of the map. */
	while (done < len) {
		if (mpl_translate(reader, rng->vm->memory, desc->addr + done,
				  len - done, MPL_FOR_WRITE, &host,
				  &contiguous) ||
		    !get_bytes(rng, host, contiguous))
			break;
		done += (uint32_t)contiguous;
	}
	return done;
}

/*
 * The descriptors of a burst of heads.  False if the guest's rings are not
 * what they should be.
 */
static bool get_descriptors(struct rng *rng, struct mpl_reader *reader,
			    unsigned int count, uint16_t *heads,
			    struct vring_desc *descs)
{
	const struct mpl_address_space *memory = rng->vm->memory;
	const struct queue *queue = &rng->queue;
	uint64_t gpas[BURST];
	void *hosts[BURST];

	for (unsigned int i = 0; i < count; i++) {
		uint16_t at = (uint16_t)(queue->next + i) & (queue->size - 1);

		if (mpl_read(reader, memory, queue->avail + 4 + 2 * at,
			     (struct mpl_attrs){ .memory_only = 1 }, &heads[i],
			     sizeof(heads[i])) ||
		    heads[i] >= queue->size)
			return false;
		gpas[i] = queue->desc + sizeof(*descs) * heads[i];
	}
	if (mpl_translate_burst(reader, memory, gpas, count, sizeof(*descs),
				MPL_FOR_READ, hosts) != count)
		return false;
	/* Once: what is checked must not change afterwards. */
	for (unsigned int i = 0; i < count; i++)
		memcpy(&descs[i], hosts[i], sizeof(*descs));
	return true;
}

/* Fill what the guest has made available; returns how many buffers, or -1. */
static int serve_burst(struct rng *rng, struct mpl_reader *reader)
{
	const struct mpl_address_space *memory = rng->vm->memory;
	const struct mpl_attrs attrs = { .memory_only = 1 };
	struct queue *queue = &rng->queue;
	struct vring_desc descs[BURST];
	uint16_t heads[BURST];
	uint64_t available;
	unsigned int count;

	/* Acquire: the guest wrote the heads before the index. */
	if (mpl_load_acquire(reader, memory, queue->avail + 2, 2, &available))
		return -1;
	count = (uint16_t)(available - queue->next);
	if (count > queue->size)
		return -1;
	if (count > BURST)
		count = BURST;
	if (!count)
		return 0;
	if (!get_descriptors(rng, reader, count, heads, descs))
		return -1;
	for (unsigned int i = 0; i < count; i++) {
		uint16_t at = (uint16_t)(queue->next + i) & (queue->size - 1);
		struct vring_used_elem done = { .id = heads[i] };

		if (descs[i].flags & VRING_DESC_F_WRITE)
			done.len = fill(rng, reader, &descs[i]);
		if (mpl_write(reader, memory,
			      queue->used + 4 + sizeof(done) * at, attrs,
			      &done, sizeof(done)))
			return -1;
		rng->bytes += done.len;
	}
	rng->buffers += count;
	queue->next = (uint16_t)(queue->next + count);
	/* Release: the guest reads the index before what it counts. */
	if (mpl_store_release(reader, memory, queue->used + 2, 2, queue->next))
		return -1;
	return (int)count;
}

/* True if there was something to do. */
static bool serve(struct rng *rng, struct mpl_reader *reader)
{
	int count = 0;

	pthread_mutex_lock(&rng->lock);
	if (rng->queue.ready) {
		count = serve_burst(rng, reader);
		if (count < 0) {
			rng->queue.ready = false;
			rng->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
		}
		if (count) {
			rng->interrupt |= count > 0 ? VIRTIO_MMIO_INT_VRING
						    : VIRTIO_MMIO_INT_CONFIG;
			rng->interrupts++;
			signal_fd(rng->irq_fd);
		}
	}
	pthread_mutex_unlock(&rng->lock);
	return count;
}

static bool is_over(const struct rng *rng)
{
	return __atomic_load_n(&rng->end, __ATOMIC_RELAXED);
}

static void *poll_queue(void *arg)
{
	struct rng *rng = arg;
	struct mpl_reader *reader;
	unsigned int idle;
	uint64_t kicks;

	check(mpl_reader_register(rng->vm->plane, &reader), "rng");
	mpl_reader_set_name(reader, "rng");
	while (!is_over(rng)) {
		mpl_reader_online(reader);
		/* A guest that always wants more must not keep it. */
		for (idle = 0; idle < IDLE_TURNS && !is_over(rng); idle++) {
			if (serve(rng, reader))
				idle = 0;
			/* It holds no pointer into guest memory now. */
			mpl_reader_quiescent(reader);
		}
		/* Asleep it must not hold the others' memory back. */
		mpl_reader_offline(reader);
		if (read(rng->kick_fd, &kicks, sizeof(kicks)) < 0 &&
		    errno != EINTR)
			break;
	}
	mpl_reader_unregister(reader);
	return NULL;
}

/* --- beginning and end */

void rng_new(struct vm *vm, struct mpl_txn *tx)
{
	static const struct mpl_io_ops ops = {
		.read = rng_read,
		.write = rng_write,
		.valid = { .min = 4, .max = 4 },
		.impl = { .min = 4, .max = 4 },
		.endian = MPL_LITTLE_ENDIAN,
		.concurrency = MPL_CALLER_LOCK,
	};
	struct rng *rng = calloc(1, sizeof(*rng));
	struct mpl_ioeventfd notify = {
		.offset = VIRTIO_MMIO_QUEUE_NOTIFY,
		.size = 4,
		.match = true, /* the queue's number */
		.data = 0,
	};

	if (!rng)
		check(-ENOMEM, "rng");
	rng->vm = vm;
	pthread_mutex_init(&rng->lock, NULL);
	rng->source = -1;
	if (vm->options.rng) {
		rng->source = open(vm->options.rng, O_RDONLY | O_CLOEXEC);
		if (rng->source < 0)
			fail("--rng: cannot read %s: %s", vm->options.rng,
			     strerror(errno));
	}
	rng->irq_fd = vm_irqfd(vm, RNG_IRQ);
	rng->kick_fd = eventfd(0, EFD_CLOEXEC);
	if (rng->kick_fd < 0)
		check(-errno, "rng");
	notify.fd = rng->kick_fd;
	check(mpl_region_new_io(vm->plane, "rng", RNG_SIZE, &ops, rng,
				&rng->region),
	      "rng");
	mpl_region_add(tx, vm->system, RNG_GPA, rng->region, 0);
	mpl_ioeventfd_add(tx, rng->region, &notify);
	vm->rng = rng;
}

void rng_start(struct rng *rng)
{
	check(-pthread_create(&rng->thread, NULL, poll_queue, rng), "rng");
}

void rng_stop(struct rng *rng)
{
	__atomic_store_n(&rng->end, true, __ATOMIC_RELAXED);
	signal_fd(rng->kick_fd);
	pthread_join(rng->thread, NULL);
}

void rng_report(struct rng *rng, FILE *out)
{
	pthread_mutex_lock(&rng->lock);
	fprintf(out, "rng: %llu buffers, %llu bytes, %llu interrupts",
		(unsigned long long)rng->buffers,
		(unsigned long long)rng->bytes,
		(unsigned long long)rng->interrupts);
	pthread_mutex_unlock(&rng->lock);
}

void rng_free(struct rng *rng)
{
	mpl_region_unref(rng->region);
	pthread_mutex_destroy(&rng->lock);
	close(rng->kick_fd);
	close(rng->irq_fd);
	if (rng->source >= 0)
		close(rng->source);
	free(rng);
}
