#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: tests/tools/vm_boot.sh MPL-VM
#
# mpl-vm boots Debian's kernel to a line that only user space prints, and user
# space checks what it reads from the virtio device; then again with two
# processors while the topology changes.  With this machine's /dev/kvm, if that
# is one for ordinary kernels, and in an emulated machine.
set -u
[ $# -ge 1 ] || { sed -n '4p' "$0" | cut -c3- >&2; exit 2; }
cd "$(dirname "$0")/../.." || exit 1
vm=$1 here=${2-}

if [ ! "$here" ]; then
	if ! tools/kvm-guest --prepare; then
		echo "there is no kernel to boot"
		exit 77
	fi
	why="this machine has no /dev/kvm"
	[ ! -e /dev/kvm ] || why=$("$(dirname "$vm")/tests/tools/kvm_speed")
	own=$?
	echo "# $why"
	bad=0
	if [ -e /dev/kvm ] && [ $own -eq 0 ]; then
		"$0" "$vm" here || bad=1
	fi
	if command -v qemu-system-x86_64 >/dev/null; then
		echo "# in an emulated machine"
		tools/kvm-guest --timeout "${MPL_KVM_TIMEOUT:-290}" \
			tests/tools/vm_boot.sh "$vm" here || bad=1
	elif [ $own -eq 0 ] && [ -e /dev/kvm ]; then
		echo "ok emulated machine # skip qemu-system-x86_64 is missing"
	else
		echo "$why, and qemu-system-x86_64 is missing"
		exit 77
	fi
	exit $bad
fi

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0
# What the virtio device gives, so that user space can tell right from wrong.
seq -f %07.0f 1 1000000 >"$tmp/numbers"

# usage: boots NAME WORDS OPTION...: WORDS are for the command line.
boots()
{
	local name=$1 words=$2 status from=$SECONDS
	shift 2
	timeout -k 5 140 "$vm" --mem 192 --rng "$tmp/numbers" "$@" \
		--append "quiet vm.numbers vm.end=poweroff $words" \
		>"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
	cat "$tmp/out" "$tmp/err" | tr -d '\r'
	if [ $status -eq 0 ] &&
		grep -q '^mpl-vm: user space is up: Linux' "$tmp/out" &&
		grep -q '^mpl-vm: read [1-9][0-9]* times 4096 bytes, 0 bad' "$tmp/out"; then
		echo "ok $name: $((SECONDS - from)) s"
	else
		echo "not ok $name: exit status $status"
		bad=1
	fi
}

# usage: said NAME PATTERN: in what mpl-vm reported at its end.
said()
{
	if tail -n 1 "$tmp/err" | grep -qE "$2"; then
		echo "ok $1"
	else
		echo "not ok $1: $(tail -n 1 "$tmp/err")"
		bad=1
	fi
}

boots "boots Linux" vm.reads=4 --stats
# 4 times 4096 bytes, of 64 at most at a time, by the ring.
said "virtio buffers" 'rng: [0-9]{3,} buffers, [0-9]{5,} bytes'
boots "boots Linux while the topology changes" vm.seconds=5 \
	--cpus 2 --topology-churn
said "no change failed" 'churn: [0-9]{2,} toggles, [0-9]{2,} moves, 0 failed'
said "slots were replaced" 'slots: [0-9]+, [0-9]{2,} added, [0-9]{2,} deleted; [0-9]{2,} parks'
exit $bad
