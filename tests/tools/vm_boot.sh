#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: tests/tools/vm_boot.sh MPL-VM
#
# mpl-vm boots Debian's kernel to a line that only user space prints, and user
# space checks what it reads from the virtio device; then again with two
# processors (emulated: one) while the topology changes.  With this machine's
# /dev/kvm, if that is one for ordinary kernels, and in an emulated machine.
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
		"$0" "$vm" own || bad=1
	fi
	if command -v qemu-system-x86_64 >/dev/null; then
		echo "# in an emulated machine"
		tools/kvm-guest --timeout "${MPL_VM_TIMEOUT:-400}" \
			tests/tools/vm_boot.sh "$vm" emulated || bad=1
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
# A boot takes a second on a processor, and 10 to 30 emulated.
seconds=90
# What the virtio device gives, so that user space can tell right from wrong.
seq 1000001 1999999 >"$tmp/numbers"

# The emulated machine sometimes gives a timer's interrupt to a guest that has
# disabled interrupts.  So this one does without: with these words it has no
# timer that runs on, and never sleeps (docs/vm.md).  Such a guest seldom hangs,
# but cannot power off, and is ended by Ctrl-A x.
words=vm.end=poweroff
[ "$here" = own ] || words="lapic=notscdeadline idle=poll"

# Until the guest is done, or mpl-vm has ended.
wait_for()
{
	while kill -0 "$1" 2>/dev/null &&
		! grep -q '^mpl-vm: read .* bad' "$tmp/out"; do
		sleep 0.5
	done
}

# usage: boots NAME WORDS OPTION...: WORDS are for the command line.
boots()
{
	local name=$1 more=$2 status from attempt pid
	shift 2
	for attempt in 1 2 3; do
		from=$SECONDS
		# A new one each time: what nobody has read is not for the next.
		rm -f "$tmp/in"
		mkfifo "$tmp/in"
		exec 3<>"$tmp/in"
		timeout -k 5 "$seconds" "$vm" --mem 192 --stats \
			--rng "$tmp/numbers" "$@" \
			--append "quiet vm.numbers $words $more" \
			>"$tmp/out" 2>"$tmp/err" <"$tmp/in" &
		pid=$!
		wait_for $pid
		[ "$here" = own ] || printf '\001x' >&3
		wait $pid
		status=$?
		# Hung: only that is tried again.
		[ $status -eq 124 ] && [ "$here" = emulated ] || break
		echo "# $name: attempt $attempt hung: $(tail -n 1 "$tmp/err")"
	done
	tr -d '\r' <"$tmp/out"
	tail -n 1 "$tmp/err" | tr -d '\r'
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

boots "boots Linux" vm.reads=4
# 4 times 4096 bytes, of 64 at most at a time, by the ring.
said "virtio buffers" 'rng: [0-9]{3,} buffers, [0-9]{5,} bytes'
# Two processors on one, with their interrupts emulated twice, take minutes.
cpus=2 churn=100
[ "$here" = own ] || cpus=1 churn=20
boots "boots Linux while the topology changes" vm.seconds=3 \
	--cpus $cpus --topology-churn=$churn
said "no change failed" 'churn: [0-9]{2,} toggles, [0-9]{2,} moves, 0 failed'
said "slots were replaced" 'slots: [0-9]+, [0-9]{2,} added, [0-9]{2,} deleted; [0-9]{2,} parks'
exit $bad
