#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: tests/tools/readers_run.sh MPL-REPLAY SECONDS
#
# Readers look addresses up while the topology is replayed in a loop: nothing
# may go wrong (a sanitizer ends the program), and both sides must have been
# at work.
set -u
cd "$(dirname "$0")/../.." || exit 1
replay=$1 seconds=$2

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0
for machine in boot/q35-linux boot/microvm-linux boot/aarch64-virt-linux; do
	"$replay" --json --readers 2 --seconds "$seconds" \
		--access tests/data/$machine.acc.zst \
		tests/data/$machine.mt.zst >"$tmp/out" 2>"$tmp/err"
	status=$?
	# One object of plain numbers: no parser is needed.
	numbers=$(tr -s '{},' '\n' <"$tmp/out" | tr -d '" \t' |
		awk -F: '$1 == "mismatches" || $1 == "lookups_per_s" || $1 == "commits" { print $1, $2 }')
	good=$(echo "$numbers" | awk '
		$1 == "mismatches" { n += $2 == 0 }
		$1 == "lookups_per_s" || $1 == "commits" { n += $2 > 0 }
		END { print n }')
	if [ $status -eq 0 ] && [ "$good" = 3 ]; then
		echo "ok $machine: $(echo "$numbers" | tr "\n" " ")"
	else
		echo "not ok $machine: exit status $status"
		tail -n 50 "$tmp/out" "$tmp/err"
		bad=1
	fi
done
exit $bad
