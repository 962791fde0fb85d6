/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A Linux kernel into RAM, by the 64-bit boot protocol (the kernel's
 * Documentation/arch/x86/boot.rst): an ELF file (vmlinux) as its program
 * headers say, or a bzImage, which decompresses itself.  Both start in long
 * mode, with this below 1 MiB:
 *
 *     0x0500   descriptor table: code and data are flat
 *     0x7000   boot_params: what the kernel gets to know
 *     0x9000   page tables: the first 4 GiB at their own addresses
 *     0x20000  command line
 *     0xf0000  ACPI tables
 */
#include "tools/vm/vm.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define GDT_GPA	    0x500
#define PARAMS_GPA  0x7000
#define PAGES_GPA   0x9000
#define CMDLINE_GPA 0x20000
#define CMDLINE_MAX 2048
#define EBDA_GPA    0x9fc00 /* what a BIOS keeps for itself begins here */
#define MIB_GPA	    0x100000
#define PAGE	    0x1000

#define HEADER_MAGIC	0x53726448 /* "HdrS" */
#define PROTOCOL_64_BIT 0x20c
#define E820_RAM	1

struct file {
	const char *path;
	const uint8_t *bytes;
	uint64_t size;
};

struct kernel {
	uint64_t entry;
	uint64_t end; /* the first byte that it does not use at first */
	uint64_t initrd_max; /* the last one that an initramfs may use */
	struct setup_header header;
};

static struct file open_file(const char *path, const char *what)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct file file = { .path = path };
	struct stat stat;

	if (fd < 0 || fstat(fd, &stat))
		fail("cannot read the %s %s: %s", what, path, strerror(errno));
	if (!S_ISREG(stat.st_mode) || stat.st_size == 0)
		fail("the %s %s is empty, or no file", what, path);
	file.size = (uint64_t)stat.st_size;
	file.bytes = mmap(NULL, file.size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file.bytes == MAP_FAILED)
		fail("cannot read the %s %s: %s", what, path, strerror(errno));
	close(fd);
	return file;
}

static void close_file(struct file file)
{
	munmap((void *)(uintptr_t)file.bytes, file.size);
}

static bool inside(const struct file *file, uint64_t offset, uint64_t len)
{
	return offset <= file->size && len <= file->size - offset;
}

static void load_elf(struct vm *vm, const struct file *file,
		     struct kernel *kernel)
{
	Elf64_Ehdr elf;
	Elf64_Phdr segment;
	uint8_t *host;

	memcpy(&elf, file->bytes, sizeof(elf));
	if (elf.e_ident[EI_CLASS] != ELFCLASS64 ||
	    elf.e_machine != EM_X86_64 || elf.e_type != ET_EXEC ||
	    elf.e_phentsize != sizeof(segment) ||
	    !inside(file, elf.e_phoff, (uint64_t)elf.e_phnum * sizeof(segment)))
		fail("%s is an ELF file, but no vmlinux for x86-64",
		     file->path);
	for (unsigned int i = 0; i < elf.e_phnum; i++) {
		memcpy(&segment, file->bytes + elf.e_phoff +
					 i * sizeof(segment),
		       sizeof(segment));
		if (segment.p_type != PT_LOAD)
			continue;
		if (!inside(file, segment.p_offset, segment.p_filesz) ||
		    segment.p_filesz > segment.p_memsz ||
		    segment.p_paddr < MIB_GPA)
			fail("%s is damaged: a segment is not in the file",
			     file->path);
		host = vm_ram_at(vm, segment.p_paddr, segment.p_memsz);
		memcpy(host, file->bytes + segment.p_offset, segment.p_filesz);
		if (segment.p_paddr + segment.p_memsz > kernel->end)
			kernel->end = segment.p_paddr + segment.p_memsz;
	}
	if (!kernel->end || elf.e_entry < MIB_GPA || elf.e_entry >= kernel->end)
		fail("%s is damaged: its entry is not in it", file->path);
	kernel->entry = elf.e_entry;
	kernel->initrd_max = 0x7fffffff;
	kernel->header = (struct setup_header){
		.boot_flag = 0xaa55,
		.header = HEADER_MAGIC,
		.version = PROTOCOL_64_BIT,
	};
}

static void load_bzimage(struct vm *vm, const struct file *file,
			 struct kernel *kernel)
{
	struct setup_header *header = &kernel->header;
	uint64_t setup, load;

	memcpy(header, file->bytes + offsetof(struct boot_params, hdr),
	       sizeof(*header));
	if (header->version < PROTOCOL_64_BIT ||
	    !(header->xloadflags & XLF_KERNEL_64))
		fail("%s is a kernel without a 64-bit entry", file->path);
	setup = (header->setup_sects ? header->setup_sects + 1u : 5u) * 512;
	if (setup >= file->size || header->pref_address < MIB_GPA)
		fail("%s is damaged: it ends within its header", file->path);
	load = header->pref_address;
	/* It needs room to decompress itself, too. */
	memcpy(vm_ram_at(vm, load,
			 file->size - setup > header->init_size ?
				 file->size - setup :
				 header->init_size),
	       file->bytes + setup, file->size - setup);
	kernel->entry = load + 0x200;
	kernel->end = load + header->init_size;
	kernel->initrd_max = header->initrd_addr_max;
}

static void load_kernel(struct vm *vm, struct kernel *kernel)
{
	struct file file = open_file(vm->options.kernel, "kernel");
	const struct boot_params *setup = (const void *)file.bytes;

	if (file.size >= sizeof(Elf64_Ehdr) &&
	    !memcmp(file.bytes, ELFMAG, SELFMAG))
		load_elf(vm, &file, kernel);
	else if (file.size >= sizeof(*setup) &&
		 setup->hdr.boot_flag == 0xaa55 &&
		 setup->hdr.header == HEADER_MAGIC)
		load_bzimage(vm, &file, kernel);
	else
		fail("%s is no kernel: neither an ELF file nor a bzImage",
		     file.path);
	close_file(file);
}

/* As high as it may be: the kernel unpacks itself from below. */
static void load_initrd(struct vm *vm, struct kernel *kernel)
{
	struct file file = open_file(vm->options.initrd, "initramfs");
	uint64_t top = vm->low_ram - 1 < kernel->initrd_max ?
			       vm->low_ram :
			       kernel->initrd_max + 1;
	uint64_t gpa = (top - file.size) & ~(uint64_t)(PAGE - 1);

	if (file.size > top || gpa < kernel->end)
		fail("the kernel and its initramfs do not fit into %llu MiB "
		     "of memory: give it more with --mem",
		     (unsigned long long)(vm->options.mem / MPL_MIB));
	memcpy(vm_ram_at(vm, gpa, file.size), file.bytes, file.size);
	kernel->header.ramdisk_image = (uint32_t)gpa;
	kernel->header.ramdisk_size = (uint32_t)file.size;
	close_file(file);
}

static void add_ram_range(struct boot_params *params, uint64_t start,
			  uint64_t end)
{
	params->e820_table[params->e820_entries++] = (struct boot_e820_entry){
		.addr = start,
		.size = end - start,
		.type = E820_RAM,
	};
}

static void write_params(struct vm *vm, struct kernel *kernel)
{
	struct boot_params *params =
		(void *)vm_ram_at(vm, PARAMS_GPA, sizeof(*params));
	char *cmdline = (char *)vm_ram_at(vm, CMDLINE_GPA, CMDLINE_MAX);
	int len;

	len = snprintf(cmdline, CMDLINE_MAX, "console=ttyS0 panic=-1 pci=off %s",
		       vm->options.append);
	if (len >= CMDLINE_MAX)
		fail("--append: the command line is longer than %d bytes",
		     CMDLINE_MAX - 1);
	params->hdr = kernel->header;
	params->hdr.type_of_loader = 0xff; /* one without a number */
	params->hdr.cmd_line_ptr = CMDLINE_GPA;
	params->hdr.cmdline_size = CMDLINE_MAX - 1;
	params->acpi_rsdp_addr = acpi_write(vm);
	add_ram_range(params, 0, EBDA_GPA);
	add_ram_range(params, MIB_GPA, vm->low_ram);
	if (vm->options.mem > vm->low_ram)
		add_ram_range(params, HIGH_RAM_GPA,
			      HIGH_RAM_GPA + vm->options.mem - vm->low_ram);
}

/* One table of each upper level, four of 512 pages of 2 MiB each. */
static void write_page_tables(struct vm *vm)
{
	uint64_t *level4 = (void *)vm_ram_at(vm, PAGES_GPA, 6 * PAGE);
	uint64_t *level3 = level4 + 512, *level2 = level3 + 512;
	const uint64_t present_writable = 3, large = 1 << 7;

	level4[0] = (PAGES_GPA + PAGE) | present_writable;
	for (uint64_t i = 0; i < 4; i++)
		level3[i] = (PAGES_GPA + (2 + i) * PAGE) | present_writable;
	for (uint64_t i = 0; i < 4 * 512; i++)
		level2[i] = i << 21 | present_writable | large;
}

uint64_t boot_load(struct vm *vm)
{
	static const uint64_t descriptors[] = {
		0, 0,
		0x00af9b000000ffff, /* 0x10: code, 64 bits */
		0x00cf93000000ffff, /* 0x18: data */
	};
	struct kernel kernel = { 0 };

	load_kernel(vm, &kernel);
	if (vm->options.initrd)
		load_initrd(vm, &kernel);
	write_params(vm, &kernel);
	write_page_tables(vm);
	memcpy(vm_ram_at(vm, GDT_GPA, sizeof(descriptors)), descriptors,
	       sizeof(descriptors));
	return kernel.entry;
}

void boot_registers(int vcpu_fd, uint64_t entry)
{
	const struct kvm_segment code = {
		.limit = UINT32_MAX, .selector = 0x10, .type = 0xb,
		.present = 1, .s = 1, .l = 1, .g = 1,
	};
	const struct kvm_segment data = {
		.limit = UINT32_MAX, .selector = 0x18, .type = 0x3,
		.present = 1, .s = 1, .db = 1, .g = 1,
	};
	const struct kvm_regs regs = {
		.rip = entry,
		.rsi = PARAMS_GPA,
		.rflags = 2,
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs))
		check(-errno, "KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.gdt.base = GDT_GPA;
	sregs.gdt.limit = 4 * 8 - 1;
	sregs.cr3 = PAGES_GPA;
	sregs.cr4 |= 1 << 5; /* PAE */
	sregs.cr0 |= 1u << 31 | 1; /* paging, protection */
	sregs.efer |= 1 << 8 | 1 << 10; /* long mode: enabled, active */
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) ||
	    ioctl(vcpu_fd, KVM_SET_REGS, &regs))
		check(-errno, "KVM does not take the registers");
}
