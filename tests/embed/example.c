/* SPDX-License-Identifier: BSD-3-Clause */
/* A machine of RAM and one device, and a thread that uses it. */
#include <memplane.h>

#include <stdio.h>
#include <stdlib.h>

static void check(const char *what, long err)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %ld\n", what, err);
	exit(1);
}

static mpl_result_t uart_write(void *opaque, uint64_t offset,
			       unsigned int size, struct mpl_attrs attrs,
			       uint64_t value)
{
	(void)opaque;
	(void)size;
	(void)attrs;
	if (offset == 0)
		putchar((int)value);
	return MPL_OK;
}

static const struct mpl_io_ops uart_ops = { .write = uart_write };

int main(void)
{
	const struct mpl_attrs cpu = { 0 };
	struct mpl_region *sys, *ram, *uart;
	struct mpl_address_space *as;
	struct mpl_plane *plane;
	struct mpl_reader *rd;
	struct mpl_txn *tx;
	uint64_t word;

	/* What there is. */
	check("plane", mpl_plane_new(&plane, NULL));
	check("sys", mpl_region_new_container(plane, "sys", UINT64_MAX, &sys));
	check("ram", mpl_region_new_ram(plane, "ram", MPL_GIB, NULL, &ram));
	check("uart", mpl_region_new_io(plane, "uart", 0x1000, &uart_ops, NULL,
					&uart));
	check("memory", mpl_address_space_new(plane, "memory", sys, &as));

	/* Where it is: all of this, or nothing. */
	tx = mpl_begin(plane);
	mpl_region_add(tx, sys, 0, ram, 0);
	mpl_region_add(tx, sys, 0x10000000, uart, 1); /* over the RAM */
	check("commit", mpl_commit(tx));

	/* A thread that looks addresses up, without a lock. */
	check("reader", mpl_reader_register(plane, &rd));
	check("online", mpl_reader_online(rd));
	for (const char *c = "hello\n"; *c; c++) {
		check("store", mpl_store(rd, as, 0x1000, cpu, 1,
					 MPL_LITTLE_ENDIAN, (uint8_t)*c));
		check("load", mpl_load(rd, as, 0x1000, cpu, 1,
				       MPL_LITTLE_ENDIAN, &word));
		check("uart", mpl_store(rd, as, 0x10000000, cpu, 1,
					MPL_LITTLE_ENDIAN, word));
		check("quiescent", mpl_reader_quiescent(rd));
	}
	check("unregister", mpl_reader_unregister(rd));

	mpl_region_unref(uart);
	mpl_region_unref(ram);
	mpl_region_unref(sys);
	check("free", mpl_plane_free(plane));
	return 0;
}
