#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: tests/tools/vm_bad_input.sh MPL-VM
#
# Options, kernels and memory that are wrong: mpl-vm ends with a sentence that
# says what, and exit status 1 or 2.
set -u
[ $# -eq 1 ] || { sed -n '4p' "$0" | cut -c3- >&2; exit 2; }
cd "$(dirname "$0")/../.." || exit 1
vm=$1

# What is wrong with a kernel comes to light behind /dev/kvm.
if [ ! -w /dev/kvm ]; then
	"$vm" </dev/null 2>&1 | grep -q "kvm-guest -i" ||
		echo "not ok without a /dev/kvm nothing names tools/kvm-guest"
	command -v qemu-system-x86_64 >/dev/null && tools/kvm-guest --prepare ||
		{ echo "there is no /dev/kvm to be had"; exit 77; }
	exec tools/kvm-guest "$0" "$vm"
fi

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0

# usage: refused NAME STATUS WORDS OPTION...
refused()
{
	local name=$1 wanted=$2 words=$3 status
	shift 3
	timeout 20 "$vm" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
	if [ $status -eq "$wanted" ] && [ ! -s "$tmp/out" ] &&
		tail -n 1 "$tmp/err" | grep -q "^mpl-vm: .*$words"; then
		echo "ok $name: $(tail -n 1 "$tmp/err")"
	else
		echo "not ok $name: exit status $status"
		tail -n 20 "$tmp/out" "$tmp/err"
		bad=1
	fi
}

refused "an unknown option" 2 "help" --frobnicate
refused "a word" 2 '"word" is no option' word
refused "no number" 2 "from 1 to" --mem lots
refused "no memory" 2 "from 1 to" --mem 0
refused "a number that is negative" 2 "from 1 to" --cpus -1
refused "too many processors" 2 "from 1 to 8" --cpus 9
refused "a rate of nothing" 2 "from 1 to" --topology-churn=0

kernel()
{
	printf "$@" >"$tmp/kernel"
}

rm -f "$tmp/kernel"
refused "no such kernel" 1 "No such file" --kernel "$tmp/kernel"
: >"$tmp/kernel"
refused "an empty kernel" 1 "empty" --kernel "$tmp/kernel"
refused "a folder" 1 "no file" --kernel "$tmp"
head -c 100000 /dev/zero >"$tmp/kernel"
refused "zeros" 1 "neither an ELF file nor a bzImage" --kernel "$tmp/kernel"
echo hello >"$tmp/kernel"
refused "text" 1 "neither" --kernel "$tmp/kernel"
refused "another ELF file" 1 "no vmlinux" --kernel /bin/true

# Headers of ELF files that lie.
# usage: elf ENTRY PHOFF PHNUM [SEGMENT-FIELD...] as little-endian hex
le()
{
	local value=$1 i
	for ((i = 0; i < $2; i++)); do
		printf '\\x%02x' $((value >> 8 * i & 255))
	done
}
elf()
{
	printf "$(
		printf '\\x7fELF\\x02\\x01\\x01'
		le 0 8; le 0 1
		le 2 2; le 62 2; le 1 4
		le "$1" 8; le "$2" 8; le 0 8
		le 0 4; le 64 2; le 56 2; le "$3" 2; le 0 6
	)" >"$tmp/kernel"
}
# usage: segment OFFSET PADDR FILESZ MEMSZ
segment()
{
	printf "$(
		le 1 4; le 7 4; le "$1" 8; le "$2" 8; le "$2" 8
		le "$3" 8; le "$4" 8; le 4096 8
	)" >>"$tmp/kernel"
}
elf 0x1000000 64 1
refused "a program header beyond the file" 1 "no vmlinux" --kernel "$tmp/kernel"
elf 0x1000000 0xffffffffffffff00 1
refused "a program header beyond everything" 1 "no vmlinux" --kernel "$tmp/kernel"
elf 0x1000000 64 0
refused "no segment" 1 "entry is not in it" --kernel "$tmp/kernel"
elf 0x1000000 64 1
segment 0 0x1000000 0x100000 0x100000
refused "a segment beyond the file" 1 "not in the file" --kernel "$tmp/kernel"
elf 0x1000000 64 1
segment 0 0x1000000 100 50
refused "a segment longer than itself" 1 "not in the file" --kernel "$tmp/kernel"
elf 0x1000000 64 1
segment 0 0xfffffffffffff000 100 0x2000
refused "a segment that wraps" 1 "memory: give it more" --kernel "$tmp/kernel"
elf 0x1000000 64 1
segment 0 0x1000000 100 0x40000000
refused "a segment beyond the memory" 1 "give it more with --mem" --kernel "$tmp/kernel"
elf 0x1000000 64 1
segment 0 0 100 100
refused "a segment over the tables" 1 "damaged" --kernel "$tmp/kernel"
elf 0x2000000 64 1
segment 0 0x1000000 100 100
refused "an entry beyond the kernel" 1 "entry is not in it" --kernel "$tmp/kernel"

# A bzImage: magic numbers at 0x1fe and 0x202, version at 0x206.
# usage: bzimage VERSION FLAGS64 SECTS
bzimage()
{
	head -c 8192 /dev/zero >"$tmp/kernel"
	printf "$(le "$3" 1)" | dd of="$tmp/kernel" bs=1 seek=$((0x1f1)) conv=notrunc status=none
	printf '\x55\xaa' | dd of="$tmp/kernel" bs=1 seek=$((0x1fe)) conv=notrunc status=none
	printf 'HdrS' | dd of="$tmp/kernel" bs=1 seek=$((0x202)) conv=notrunc status=none
	printf "$(le "$1" 2)" | dd of="$tmp/kernel" bs=1 seek=$((0x206)) conv=notrunc status=none
	printf "$(le "$2" 2)" | dd of="$tmp/kernel" bs=1 seek=$((0x236)) conv=notrunc status=none
}
bzimage 0x201 1 1
refused "an old bzImage" 1 "without a 64-bit entry" --kernel "$tmp/kernel"
bzimage 0x20f 0 1
refused "a bzImage of 32 bits" 1 "without a 64-bit entry" --kernel "$tmp/kernel"
bzimage 0x20f 1 255
refused "a bzImage that is cut" 1 "ends within its header" --kernel "$tmp/kernel"

HOME=$tmp XDG_CACHE_HOME='' refused "nothing in the cache" 1 "kvm-guest --prepare"
if tools/kvm-guest --prepare; then
	refused "too little memory for the kernel" 1 "give it more with --mem" --mem 16
	refused "too little for the initramfs" 1 "give it more with --mem" --mem 60
	refused "no such initramfs" 1 "No such file" --initrd "$tmp/none"
	refused "an endless command line" 1 "longer than" --append "$(head -c 3000 /dev/zero | tr '\0' x)"
	refused "no such file of numbers" 1 "cannot read" --rng "$tmp/none"
else
	echo "ok the cached kernel # skip there is none"
fi
exit $bad
