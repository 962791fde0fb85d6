#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: tests/tools/verify_all.sh MPL-REPLAY FOLDER [LIMIT [OPTION...]]
#
# Verify each recorded machine below FOLDER, with its accesses if there are
# any: a case each.  That nothing differs is not enough, everything must have
# been compared: publications and accesses are counted here once more.  Of
# the 200-device boot only the first LIMIT publications (0: all of them).  The
# OPTIONs are handed to mpl-replay.
set -u
cd "$(dirname "$0")/../.." || exit 1
replay=$1 folder=$2 limit=${3-0}
shift $(($# < 3 ? $# : 3))
options=$*
if [ ! -d "$folder" ]; then
	echo "no recorded machines in $folder"
	exit 77
fi

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0
traces=$(find "$folder" -name '*.mt.zst' | sort)
if [ ! "$traces" ]; then
	echo "not ok $folder has no traces"
	exit 1
fi

# usage: number NAME: what stands after NAME in the last line.
number()
{
	tail -n 1 "$tmp/out" |
		awk -v name="$1" '{ for (i = 1; i < NF; i++) if ($i == name) print $(i + 1) }'
}

for trace in $traces; do
	name=${trace#"$folder"/}
	accesses=${trace%.mt.zst}.acc.zst
	# shellcheck disable=SC2086 # a list of words
	set -- --verify $options
	[ ! -f "$accesses" ] || set -- "$@" --access "$accesses"
	cut=
	case $name in
	many/q35-200-virtio-linux*)
		if [ "$limit" -gt 0 ]; then
			cut=$limit
			set -- "$@" --limit "$limit"
		fi
		;;
	esac

	"$replay" "$@" "$trace" >"$tmp/out" 2>"$tmp/err"
	status=$?
	why=
	want=${cut:-$(zstd -dcq "$trace" | grep -c '^publish ')}
	[ "$(number publications)" = "$want" ] ||
		why="not all $want publications"
	if [ -f "$accesses" ] && [ ! "$cut" ]; then
		want=$(zstd -dcq "$accesses" | grep -vc '^memaccess\|^#\|^eof')
		compared=$(number accesses)
		excluded=$(number excluded)
		[ "$((${compared:-0} + ${excluded:-0}))" -eq "$want" ] ||
			why="not all $want accesses"
	fi
	[ "$(number mismatches)" = 0 ] || why="mismatches"
	[ $status -eq 0 ] || why="exit status $status"
	if [ "$why" ]; then
		echo "not ok $name: $why"
		tail -n 30 "$tmp/out" "$tmp/err"
		bad=1
	else
		echo "ok $name: $(tail -n 1 "$tmp/out")"
	fi
done
exit $bad
