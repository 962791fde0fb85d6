#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: tests/tools/replay_rules.sh MPL-REPLAY
#
# What docs/replay.md says beyond "it agrees": corners that few recorded
# machines have, events, and that each kind of comparison finds a difference.
set -u
cd "$(dirname "$0")/../.." || exit 1
replay=$1
traces=tests/tools/traces
eventful=tests/data/boot/q35-events-linux.mt.zst
machine=tests/data/boot/microvm-linux.mt.zst

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0

# usage: expect NAME STATUS WORDS OPTION...: exit status, and WORDS in what
# it says.
expect()
{
	name=$1 want=$2 words=$3
	shift 3
	"$replay" "$@" >"$tmp/out" 2>"$tmp/err"
	status=$?
	if [ $status -eq "$want" ] && cat "$tmp/err" "$tmp/out" |
		grep -q -e "$words"; then
		echo "ok $name"
	else
		echo "not ok $name: exit status $status, wanted \"$words\""
		tail -n 20 "$tmp/out" "$tmp/err"
		bad=1
	fi
}

# --- corners

for check in --verbose --check --full-rebuild; do
	expect "as_init: a new view $check" 0 'publications 3  views 3 .*mismatches 0$' \
		--verify $check $traces/as_init_new_view.mt
	expect "as_init: a shared view $check" 0 'publications 3  views 2 .*mismatches 0$' \
		--verify $check $traces/as_init_shared.mt
	expect "as_init: a split transaction $check" 0 'publications 3  views 2 .*mismatches 0$' \
		--verify $check $traces/as_init_split.mt
	expect "dead regions, swapped data $check" 0 'publications 6  views 4 .*mismatches 0$' \
		--verify $check $traces/dead_and_swapped.mt
	expect "kinds of memory $check" 0 'publications 7  views 6 .*mismatches 0$' \
		--verify $check $traces/memory.mt
	expect "dirty masks, exclusions $check" 0 'accesses 3  excluded 2  mismatches 0$' \
		--verify $check --access $traces/iommu.acc $traces/iommu.mt
done
expect "why accesses are excluded" 0 '1 accesses in an unknown address space, 1 through an iommu' \
	--verify --verbose --access $traces/iommu.acc $traces/iommu.mt
expect "a split is told" 0 'compared a publication later: 1$' \
	--verify --verbose $traces/as_init_split.mt
expect "a shared view needs no split" 0 'compared a publication later: 0$' \
	--verify --verbose $traces/as_init_shared.mt
expect "a limit" 0 'publications 4  views 3 .*mismatches 0$' \
	--verify --limit 4 $traces/dead_and_swapped.mt
expect "JSON" 0 '^{"publications": 6, "views": 4, "ranges": [0-9]*, .*"commit_ns": {"p50": [0-9]*, "p99": [0-9]*, "max": [0-9]*, "total": [0-9]*}, "recorded_commit_ns_total": 11, "rss_peak_bytes": [0-9]*}$' \
	--verify --json $traces/dead_and_swapped.mt
expect "help" 0 '^usage: mpl-replay' --help
expect "no trace" 2 'name one trace'
expect "a number that is none" 2 'takes a number' --limit x $traces/iommu.mt

# --- each comparison finds a difference

# usage: differs NAME FILE SED [WORDS]: FILE changed by SED is a mismatch.
differs()
{
	case $2 in
	*.zst) zstd -dcq "$2" | sed "$3" >"$tmp/t" ;;
	*) sed "$3" "$2" >"$tmp/t" ;;
	esac
	expect "$1" 1 "${4:-mismatches [1-9]}" $compare "$tmp/t"
}
compare=--verify
differs "a fd that differs" $traces/dead_and_swapped.mt 's/^\(f .*\) 2$/\1 3/'
differs "a list that is shorter" $traces/dead_and_swapped.mt '/^f .* 2$/d; s/^ioeventfds 1 2/ioeventfds 1 1/'
differs "data that differs" $traces/dead_and_swapped.mt 's/^\(f .*\) 0x1 2$/\1 0x2 2/'
differs "a dirty mask that differs" $traces/iommu.mt 's/ 7$/ 5/' 'dirty 5'
differs "a mode that differs" $traces/iommu.mt 's/0x0 0 0 0 2$/0x0 0 1 0 2/' 'romd 1'
differs "a range too few" $traces/iommu.mt '/^r 0x2000/d; s/^view \(.*\) 3 0 0 0$/view \1 2 0 0 0/; s/^\(view 4 2\) 3/\1 2/; s/^\(view 3 2 \)3 2 0 2/\12 2 0 1/' '(no range)'
differs "a range too many" $traces/as_init_shared.mt 's/^r 0x0 0x10000 1 .*/r 0x0 0x8000 1 0x0 0 1 0 0/'

# --- events

compare=--compare-events
expect "events agree" 0 'mismatches 0$' --compare-events $eventful
expect "and there are some" 0 'events compared: 2[0-9]*; unchanged ranges confirmed: 7[0-9]*' \
	--compare-events --verbose $eventful
differs "an event that is missing" $eventful '/^ev 2 region_add 0x7e 0x2 /{x;s/^/x/;/^x$/{x;d};x}'
differs "an event too many" $eventful '0,/^ev 1 region_add/s/^\(ev 1 \)region_add \(.*\)$/&\n\1region_add \2/'
differs "an event that differs" $eventful '0,/^ev 1 eventfd_add/s/^\(ev 1 eventfd_add .*\) 1$/\1 9/'
differs "a range that did not stay" $eventful '0,/^ev 2 region_nop 0x80 /s/^\(ev 2 region_nop\) 0x80 0xff80/\1 0x81 0xff7f/' 'this range did change'
differs "a log that never stops" $eventful '/^ev 1 log_global_stop/d' 'only one side'
differs "an order that differs" $eventful '/^ev 2 region_add 0x0 0x7e /{h;d};/^ev 2 region_add 0x7e 0x2 /G'

# The log has the same lines for these address spaces, but not at the same
# places: sorted, and without what is ours or the producer's alone.
same='region_add\|region_del\|log_start\|log_stop\|eventfd\|log_global'
if "$replay" --verify --listener-log "$tmp/log" $eventful >"$tmp/out" 2>&1 &&
	grep "^ev [12] \($same\)" "$tmp/log" | sort >"$tmp/ours" &&
	zstd -dcq $eventful | grep "^ev [12] \($same\)" | sort >"$tmp/theirs" &&
	[ -s "$tmp/theirs" ] && diff "$tmp/theirs" "$tmp/ours" >"$tmp/diff"; then
	echo "ok the listener log has the recorded events"
else
	echo "not ok the listener log differs"
	head -n 20 "$tmp/out" "$tmp/diff"
	bad=1
fi
expect "a log that can't be written" 2 'cannot write' \
	--verify --listener-log "$tmp/none/log" $traces/iommu.mt

# --- the demo's spot checks find a difference, too

expect "the demo" 0 '^mismatches  *0 in [1-9][0-9]* spot checks' --seconds 1 $machine
expect "the demo, commits inline" 0 '"mismatches": 0' --seconds 1 --inline --json $machine
zstd -dcq $machine | sed 's/^\(r 0x[0-9a-f]* 0x[0-9a-f]* [0-9]*\) 0x0 /\1 0x10 /' >"$tmp/t"
expect "the demo with a false oracle" 1 '^mismatches  *[1-9][0-9]* in' --seconds 1 "$tmp/t"

exit $bad
