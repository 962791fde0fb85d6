/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/vm/vm.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: mpl-vm [OPTION...]\n"
	"\n"
	"Boot a Linux kernel under KVM, with memplane as the machine's memory.  The\n"
	"serial port is this terminal.  Ctrl-A x ends the machine, Ctrl-A Ctrl-A is a\n"
	"Ctrl-A for the guest.\n"
	"\n"
	"  --kernel FILE        vmlinux (ELF) or bzImage, x86-64\n"
	"  --initrd FILE        its initramfs\n"
	"                       Without both: what tools/kvm-guest --prepare has put\n"
	"                       into the cache, Debian's kernel and a busybox\n"
	"  --append TEXT        more words for the kernel's command line; the\n"
	"                       busybox knows some of its own (docs/vm.md)\n"
	"  --mem MIB            memory (256)\n"
	"  --cpus N             processors, 1 to 8 (1)\n"
	"  --rng FILE           the random number generator gives this file's bytes\n"
	"  --topology-churn[=N] change the memory map N times a second (100) while\n"
	"                       the guest runs: parts of the RAM below 1 MiB become\n"
	"                       read-only, vanish and come back, a device moves\n"
	"  --stats              each second, what the guest did, to stderr\n"
	"\n"
	"Exit status: 0 the guest powered off, or Ctrl-A x; 1 failed; 2 wrong usage;\n"
	"3 the guest reset the machine.\n";

void fail(const char *format, ...)
{
	va_list ap;

	fputs("mpl-vm: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void check(int err, const char *what)
{
	if (err)
		fail("%s: %s", what, strerror(-err));
}

static void __attribute__((noreturn, format(printf, 1, 2)))
wrong_usage(const char *format, ...)
{
	va_list ap;

	fputs("mpl-vm: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputs("; --help lists the options\n", stderr);
	exit(2);
}

static uint64_t number(const char *option, const char *text, uint64_t min,
		       uint64_t max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || value < min ||
	    value > max)
		wrong_usage("%s takes a number from %llu to %llu, not \"%s\"",
			    option, (unsigned long long)min,
			    (unsigned long long)max, text);
	return value;
}

/* Where tools/kvm-guest --prepare puts its files; the string stays. */
static const char *cached(const char *name)
{
	static char paths[2][4096];
	static unsigned int used;
	char *path = paths[used++ % 2];
	const char *base = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");

	if (base && *base)
		snprintf(path, sizeof(paths[0]), "%s/memplane/%s", base, name);
	else
		snprintf(path, sizeof(paths[0]), "%s/.cache/memplane/%s",
			 home ? home : "/root", name);
	if (access(path, R_OK))
		fail("there is no %s: give --kernel and --initrd, or run "
		     "tools/kvm-guest --prepare, which gets them",
		     path);
	return path;
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'i' },
		{ "append", required_argument, NULL, 'a' },
		{ "mem", required_argument, NULL, 'm' },
		{ "cpus", required_argument, NULL, 'c' },
		{ "rng", required_argument, NULL, 'r' },
		{ "topology-churn", optional_argument, NULL, 't' },
		{ "stats", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option;

	*o = (struct options){ .append = "", .mem = 256 * MPL_MIB, .cpus = 1 };
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 'k':
			o->kernel = optarg;
			break;
		case 'i':
			o->initrd = optarg;
			break;
		case 'a':
			o->append = optarg;
			break;
		case 'm':
			o->mem = number("--mem", optarg, 1, 1 << 20) * MPL_MIB;
			break;
		case 'c':
			o->cpus = (unsigned int)number("--cpus", optarg, 1,
						       CPUS_MAX);
			break;
		case 'r':
			o->rng = optarg;
			break;
		case 't':
			o->churn = optarg ? (unsigned int)number(
						    "--topology-churn", optarg,
						    1, 10000) :
					    100;
			break;
		case 's':
			o->stats = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			/* getopt has said what it does not know. */
			fputs("mpl-vm: --help lists the options\n", stderr);
			exit(2);
		}
	}
	if (optind < argc)
		wrong_usage("\"%s\" is no option", argv[optind]);
	if (!o->kernel) {
		o->kernel = cached("kernel");
		if (!o->initrd)
			o->initrd = cached("vm.cpio.gz");
	}
}

int main(int argc, char **argv)
{
	struct options options;
	struct vm vm;
	enum vm_end end;

	parse(argc, argv, &options);
	vm_new(&vm, &options);
	vm_start(&vm);
	console_run(&vm);
	end = vm_state(&vm);
	vm_free(&vm);

	switch (end) {
	case VM_POWERED_OFF:
	case VM_QUIT:
		return 0;
	case VM_RESET:
		fputs("mpl-vm: the guest reset the machine\n", stderr);
		return 3;
	default:
		return 1;
	}
}
