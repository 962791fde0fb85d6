#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: tests/tools/vm_boot.sh MPL-VM
#
# mpl-vm boots Debian's kernel to a line that only user space prints, user space
# checks what it reads from the virtio device, and powers off; then with a timer
# that interrupts by way of the I/O APIC, and with two processors while the
# topology changes.  With this machine's /dev/kvm, if that is one for ordinary
# kernels, and in an emulated machine.
set -u
[ $# -ge 1 ] || { sed -n '4p' "$0" | cut -c3- >&2; exit 2; }
cd "$(dirname "$0")/../.." || exit 1
vm=$1 which=${2-} here=${3-}
all="plain pit churn"

# usage: emulated WHICH: 0 if it passed, or another try did after it hung
emulated()
{
	local status attempt
	for attempt in 1 2 3; do
		# One processor: docs/vm.md tells what goes wrong with two.
		tools/kvm-guest --cpus 1 --timeout "${MPL_VM_TIMEOUT:-100}" \
			tests/tools/vm_boot.sh "$vm" "$1" emulated
		status=$?
		[ $status -eq 124 ] || return $status
		echo "# $1: attempt $attempt hung"
	done
	echo "not ok $1: hung each time"
	return 1
}

if [ ! "$which" ]; then
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
		for which in $all; do
			"$0" "$vm" "$which" own || bad=1
		done
	fi
	if command -v qemu-system-x86_64 >/dev/null; then
		echo "# in an emulated machine"
		for which in $all; do
			emulated "$which" || bad=1
		done
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
seq 1000001 1999999 >"$tmp/numbers"

# usage: boots NAME WORDS OPTION...: WORDS are for the command line.
boots()
{
	local name=$1 more=$2 status from=$SECONDS
	shift 2
	# A second on a processor, and 10 to 30 emulated.
	timeout -k 5 80 "$vm" --mem 192 --stats --rng "$tmp/numbers" "$@" \
		--append "quiet vm.numbers vm.end=poweroff $more" \
		>"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
	tr -d '\r' <"$tmp/out"
	tail -n 1 "$tmp/err" | tr -d '\r'
	# Hung: whether that counts is not said here.
	[ $status -ne 124 ] || [ "$here" = own ] || exit 124
	if [ $status -eq 0 ] &&
		grep -q '^mpl-vm: user space is up: Linux' "$tmp/out" &&
		grep -q '^mpl-vm: read [1-9][0-9]* times 4096 bytes, 0 bad' "$tmp/out"; then
		echo "ok $name: $((SECONDS - from)) s"
	else
		echo "not ok $name: exit status $status"
		tail -n 20 "$tmp/err"
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

case $which in
plain)
	boots "boots Linux" vm.reads=10
	# 10 times 4096 bytes, of 64 at most at a time, by the ring.
	said "virtio buffers" 'rng: [0-9]{3,} buffers, [0-9]{5,} bytes'
	;;
pit)
	# A guest without the deadline timer takes the PIT.  To power off takes
	# more than the few ticks that come if KVM does not see their ends.
	boots "boots Linux on the PIT's ticks" "lapic=notscdeadline vm.reads=1"
	;;
churn)
	cpus=2 churn=100
	[ "$here" = own ] || cpus=1 churn=20
	boots "boots Linux while the topology changes" vm.seconds=3 \
		--cpus $cpus --topology-churn=$churn
	said "no change failed" 'churn: [0-9]{2,} toggles, [0-9]{2,} moves, 0 failed'
	said "slots were replaced" 'slots: [0-9]+, [0-9]{2,} added, [0-9]{2,} deleted; [0-9]{2,} parks'
	;;
*)
	echo "vm_boot.sh: no boot is called $which" >&2
	exit 2
	;;
esac
exit $bad
