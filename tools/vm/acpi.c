/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ACPI tables: processors, interrupt controllers, the power switch, and the one
 * device that the kernel would not find by itself.  Layouts and numbers are
 * those of the ACPI specification 5.0, chapter 5 (tables) and 20 (AML).
 *
 *     RSDP -> XSDT -> FADT -> DSDT   fixed hardware; and the device, in AML
 *                  |       -> FACS
 *                  -> MADT           processors, I/O APIC
 */
#include "tools/vm/vm.h"

#include <string.h>

#define PACKED __attribute__((packed))

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem[6];
	char oem_table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} PACKED;

struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t checksum_all;
	uint8_t reserved[3];
} PACKED;

struct xsdt {
	struct header header;
	uint64_t tables[2];
} PACKED;

struct address {
	uint8_t space; /* 1: ports */
	uint8_t bits;
	uint8_t offset;
	uint8_t access;
	uint64_t address;
} PACKED;

struct fadt {
	struct header header;
	uint32_t facs;
	uint32_t dsdt;
	uint8_t reserved0[2];
	uint16_t sci_irq;
	uint8_t reserved1[8];
	uint32_t pm1a_event;
	uint32_t pm1b_event;
	uint32_t pm1a_control;
	uint8_t reserved2[20];
	uint8_t pm1_event_length;
	uint8_t pm1_control_length;
	uint8_t reserved3[18];
	uint8_t century; /* the clock chip's register for it */
	uint16_t boot_flags;
	uint8_t reserved4;
	uint32_t flags;
	struct address reset;
	uint8_t reset_value;
	uint8_t reserved5[3];
	uint64_t x_facs;
	uint64_t x_dsdt;
	struct address x_blocks[8];
} PACKED;

struct facs {
	char signature[4];
	uint32_t length;
	uint8_t reserved[24];
	uint8_t version;
	uint8_t reserved2[31];
} PACKED;

struct madt_cpu {
	uint8_t type, length;
	uint8_t id, apic_id;
	uint32_t flags;
} PACKED;

struct madt {
	struct header header;
	uint32_t local_apic;
	uint32_t flags;
	struct {
		uint8_t type, length;
		uint8_t id, reserved;
		uint32_t address;
		uint32_t first;
	} PACKED io_apic;
	struct {
		uint8_t type, length;
		uint8_t bus, irq;
		uint32_t input;
		uint16_t flags;
	} PACKED timer;
	struct madt_cpu cpus[CPUS_MAX];
} PACKED;

_Static_assert(sizeof(struct fadt) == 244, "FADT of revision 4");
_Static_assert(sizeof(struct facs) == 64, "FACS");

#define LE32(n)                                                                \
	(n) & 0xff, (n) >> 8 & 0xff, (n) >> 16 & 0xff, (uint32_t)(n) >> 24

/*
 *     Name (_S5, Package { 5, 5, 0, 0 })
 *     Scope (_SB) {
 *             Device (RNG0) {
 *                     Name (_HID, "LNRO0005")      virtio-mmio
 *                     Name (_UID, 0)
 *                     Name (_CRS, ResourceTemplate {
 *                             Memory32Fixed (ReadWrite, RNG_GPA, RNG_SIZE)
 *                             Interrupt (, Edge, ActiveHigh) { RNG_IRQ }
 *                     })
 *             }
 *     }
 */
static const uint8_t aml[] = {
	0x08, '_', 'S', '5', '_', 0x12, 8, 4, 0x0a, 5, 0x0a, 5, 0, 0,
	0x10, 0x42, 0x04, '_', 'S', 'B', '_',
	0x5b, 0x82, 58, 'R', 'N', 'G', '0',
	0x08, '_', 'H', 'I', 'D', 0x0d,
	'L', 'N', 'R', 'O', '0', '0', '0', '5', 0,
	0x08, '_', 'U', 'I', 'D', 0,
	0x08, '_', 'C', 'R', 'S', 0x11, 26, 0x0a, 23,
	0x86, 9, 0, 1, LE32(RNG_GPA), LE32(RNG_SIZE),
	0x89, 6, 0, 3, 1, LE32(RNG_IRQ),
	0x79, 0,
};

static uint8_t checksum(const void *table, size_t len)
{
	const uint8_t *bytes = table;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return (uint8_t)-sum;
}

static struct header header(const char *signature, size_t length,
			    uint8_t revision)
{
	struct header h = {
		.length = (uint32_t)length,
		.revision = revision,
		.oem = { 'M', 'E', 'M', 'P', 'L', 'A' },
		.oem_table = { 'M', 'P', 'L', '-', 'V', 'M', ' ', ' ' },
		.creator = { 'M', 'P', 'L', ' ' },
	};

	memcpy(h.signature, signature, 4);
	return h;
}

/* Put a table behind the last one, with its checksum; returns its address. */
static uint64_t put(struct vm *vm, uint64_t *gpa, void *table, size_t len)
{
	uint64_t at = (*gpa + 63) & ~UINT64_C(63);
	struct header *h = table;

	h->checksum = checksum(table, len);
	memcpy(vm_ram_at(vm, at, len), table, len);
	*gpa = at + len;
	return at;
}

static uint64_t put_dsdt(struct vm *vm, uint64_t *gpa)
{
	struct {
		struct header header;
		uint8_t aml[sizeof(aml)];
	} PACKED dsdt = { .header = header("DSDT", sizeof(dsdt), 2) };

	memcpy(dsdt.aml, aml, sizeof(aml));
	return put(vm, gpa, &dsdt, sizeof(dsdt));
}

static uint64_t put_fadt(struct vm *vm, uint64_t *gpa)
{
	struct facs facs = {
		.signature = { 'F', 'A', 'C', 'S' },
		.length = sizeof(facs),
		.version = 1,
	};
	struct fadt fadt = {
		.header = header("FACP", sizeof(fadt), 4),
		.sci_irq = PM_IRQ,
		.pm1a_event = PM_PORT,
		.pm1_event_length = 4,
		.pm1a_control = PM_PORT + 4,
		.pm1_control_length = 2,
		.century = 0x32,
		/* Old devices, but no VGA; and no keyboard controller that
		 * one should look for. */
		.boot_flags = 1 << 0 | 1 << 2,
		/* WBINVD works; no fixed buttons; there is a reset register. */
		.flags = 1 << 0 | 1 << 4 | 1 << 5 | 1 << 10,
		.reset = { .space = 1, .bits = 8, .access = 1,
			   .address = KBD_PORT },
		.reset_value = 0xfe,
	};
	uint64_t at = (*gpa + 63) & ~UINT64_C(63);

	/* The one table without a checksum. */
	memcpy(vm_ram_at(vm, at, sizeof(facs)), &facs, sizeof(facs));
	*gpa = at + sizeof(facs);
	fadt.facs = (uint32_t)at;
	fadt.dsdt = (uint32_t)put_dsdt(vm, gpa);
	fadt.x_dsdt = fadt.dsdt;
	return put(vm, gpa, &fadt, sizeof(fadt));
}

static uint64_t put_madt(struct vm *vm, uint64_t *gpa)
{
	unsigned int cpus = vm->options.cpus;
	size_t len = offsetof(struct madt, cpus[cpus]);
	struct madt madt = {
		.header = header("APIC", len, 3),
		.local_apic = LOCAL_APIC_GPA,
		.flags = 1, /* the old controllers are there too */
		.io_apic = { .type = 1, .length = sizeof(madt.io_apic),
			     .address = IOAPIC_GPA },
		/* As KVM wires it. */
		.timer = { .type = 2, .length = sizeof(madt.timer),
			   .irq = 0, .input = 2 },
	};

	for (unsigned int i = 0; i < cpus; i++)
		madt.cpus[i] = (struct madt_cpu){
			.length = sizeof(madt.cpus[i]),
			.id = (uint8_t)i,
			.apic_id = (uint8_t)i,
			.flags = 1,
		};
	return put(vm, gpa, &madt, len);
}

uint64_t acpi_write(struct vm *vm)
{
	uint64_t gpa = TABLES_GPA + sizeof(struct rsdp);
	struct xsdt xsdt = { .header = header("XSDT", sizeof(xsdt), 1) };
	struct rsdp rsdp = {
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.oem = { 'M', 'E', 'M', 'P', 'L', 'A' },
		.revision = 2,
		.length = sizeof(rsdp),
	};

	xsdt.tables[0] = put_fadt(vm, &gpa);
	xsdt.tables[1] = put_madt(vm, &gpa);
	rsdp.xsdt = put(vm, &gpa, &xsdt, sizeof(xsdt));
	rsdp.checksum = checksum(&rsdp, 20);
	rsdp.checksum_all = checksum(&rsdp, sizeof(rsdp));
	memcpy(vm_ram_at(vm, TABLES_GPA, sizeof(rsdp)), &rsdp, sizeof(rsdp));
	return TABLES_GPA;
}
