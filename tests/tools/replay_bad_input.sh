#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: tests/tools/replay_bad_input.sh MPL-REPLAY
#
# Bad input ends with FILE:LINE: what is wrong, and exit status 2; input that
# is merely cut short is verified as far as it goes.  Run with a sanitized
# build this also shows that nothing leaks on the way out.
set -u
cd "$(dirname "$0")/../.." || exit 1
replay=$1
machine=tests/data/topo/x86_64__q35.mt.zst
booted=tests/data/boot/q35-linux.mt.zst

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0
# In a sanitized build a lie about a size must not end the program.
ASAN_OPTIONS=${ASAN_OPTIONS-}:allocator_may_return_null=0
export ASAN_OPTIONS

# usage: refused NAME LINE WORDS [OPTION...]: $tmp/t is refused in this line
# (a number, or * for any) for a reason that contains WORDS.
refused()
{
	name=$1 line=$2 words=$3
	shift 3
	[ "$line" != '*' ] || line='[0-9]*'
	timeout 60 "$replay" --verify "$@" "$tmp/t" >"$tmp/out" 2>"$tmp/err"
	status=$?
	if [ $status -eq 2 ] && tail -n 1 "$tmp/err" |
		grep -q "^[^:]*:$line: .*$words"; then
		echo "ok $name: $(tail -n 1 "$tmp/err" | sed 's/^.*\/t://')"
	else
		echo "not ok $name: exit status $status"
		tail -n 20 "$tmp/out" "$tmp/err"
		bad=1
	fi
}

# usage: trace LINE...: a trace of these lines after the header.
trace()
{
	printf '%s\n' 'memtrace 1' "$@" >"$tmp/t"
}

# --- files

zstd -dcq "$machine" >"$tmp/text"
lines=$(wc -l <"$tmp/text")

rm -f "$tmp/t"
refused "no such file" 0 "No such file"
: >"$tmp/t"
refused "an empty file" 1 "no complete line"
echo 'memtrace 2' >"$tmp/t"
refused "another version" 1 'not "memtrace 1"'
head -c 100000 /dev/zero >"$tmp/t"
refused "zeros" '*' "no complete line"
head -c 3000000 /dev/zero | tr '\0' x >"$tmp/t"
refused "a line without end" 1 "longer than"
cp "$replay" "$tmp/t"
refused "a program" 1 'not "memtrace 1"'
cp "$booted" "$tmp/t"
chmod +w "$tmp/t"
dd if=/dev/zero bs=1 count=200 seek=20000 conv=notrunc of="$tmp/t" 2>/dev/null
refused "broken zstd data" '*' "corrupt zstd"
tac "$tmp/text" >"$tmp/t"
refused "lines in reverse" 1 'not "memtrace 1"'
for seed in 1 2 3 4 5; do
	{
		echo 'memtrace 1'
		awk -v seed=$seed 'BEGIN { srand(seed)
			for (i = 0; i < 20000; i++)
				printf "%c", 1 + int(rand() * 254) }'
		echo
		echo 'region x'
	} >"$tmp/t"
	refused "random bytes $seed" '*' ""
done

# --- cut short: what is complete is verified

for keep in 30 50 97; do
	head -c $(($(wc -c <"$tmp/text") * keep / 100)) "$tmp/text" >"$tmp/t"
	"$replay" --verify "$tmp/t" >"$tmp/out" 2>"$tmp/err"
	status=$?
	complete=$(grep -c '^end [0-9]*$' "$tmp/t")
	if [ $status -eq 0 ] && grep -q 'cut short' "$tmp/err" &&
		grep -q "^publications $((complete)) .*mismatches 0$" \
			"$tmp/out"; then
		echo "ok cut to $keep %: $(cat "$tmp/out")"
	else
		echo "not ok cut to $keep %: exit status $status"
		tail -n 20 "$tmp/out" "$tmp/err"
		bad=1
	fi
	refused "cut to $keep %, strictly" '*' "cut short" --strict
done
head -c 20000 "$booted" >"$tmp/t"
refused "a cut zstd frame, strictly" '*' "cut short" --strict
sed -i 's/^end 50$/end 51/' "$tmp/text"
cp "$tmp/text" "$tmp/t"
refused "an end of another publication" '*' "inside publication 50"

# --- options and outputs

# usage: complains NAME WORDS OPTION...: exit status 2, for a reason that
# contains WORDS.
complains()
{
	name=$1 words=$2
	shift 2
	timeout 60 "$replay" "$@" "$machine" >"$tmp/out" 2>"$tmp/err"
	status=$?
	if [ $status -eq 2 ] && grep -q -e "$words" "$tmp/err"; then
		echo "ok $name: $(tail -n 1 "$tmp/err")"
	else
		echo "not ok $name: exit status $status"
		tail -n 20 "$tmp/out" "$tmp/err"
		bad=1
	fi
}
complains "an unknown option" "--help lists" --frobnicate
complains "a number that is none" 'to 1000000, not "long"' --seconds long
complains "a second trace" "one trace" "$machine"
complains "a log that nobody can make" "none/log:0: cannot write" \
	--listener-log "$tmp/none/log"
if [ -w /dev/full ]; then
	complains "a log on a full disk" "^/dev/full:0: cannot write" \
		--listener-log /dev/full
	"$replay" --verify "$machine" >/dev/full 2>"$tmp/err"
	status=$?
	if [ $status -eq 2 ] && grep -q "cannot write the result: No space" \
		"$tmp/err"; then
		echo "ok a result on a full disk: $(cat "$tmp/err")"
	else
		echo "not ok a result on a full disk: exit status $status"
		bad=1
	fi
fi

# --- a mismatch is not bad input: exit status 1, both sides shown

zstd -dcq "$machine" | sed '0,/^\(r 0x[0-9a-f]* 0x[0-9a-f]* [0-9]*\) 0x0 /s//\1 0x10 /' >"$tmp/t"
"$replay" --verify "$tmp/t" >"$tmp/out" 2>"$tmp/err"
status=$?
if [ $status -eq 1 ] && grep -q '^    recorded  .* + 0x10 ' "$tmp/err" &&
	grep -q '^    computed  .* + 0x0 ' "$tmp/err" &&
	! grep -q 'mismatches 0$' "$tmp/out"; then
	echo "ok a range that differs: $(tail -n 1 "$tmp/out")"
else
	echo "not ok a range that differs: exit status $status"
	tail -n 20 "$tmp/out" "$tmp/err"
	bad=1
fi

# --- fields

trace 'region 1 io'
refused "a field that is missing" 2 "missing"
trace 'region 1 oi 0x1000 x'
refused "an unknown kind" 2 "kind"
trace 'region 1 io 0x10000000000000001 x'
refused "a size beyond 2^64" 2 "larger than 2^64"
trace 'region 1 io 0x123456789012345678 x'
refused "a number of 18 digits" 2 "hexadecimal"
trace 'region 1 io 4096 x'
refused "a decimal size" 2 "hexadecimal"
trace 'region 99999999999999999999 io 0x1000 x'
refused "an id that overflows" 2 "decimal"
trace 'region 1 alias 0x1000 x'
refused "an alias of nothing" 2 "without target"
trace 'region 1 io 0x1000 %zz'
refused "a broken escape" 2 "%xx"
trace 'region 1 container 0x1000 a' 'region 2 io 0x1000 b' 'add 1 2 0x0 3000000000 1'
refused "a priority that overflows" 4 "priority"
trace 'as_init 1'
refused "an as_init without root" 2 "missing"

# --- ids

trace 'region 4000000000 io 0x1000 x'
refused "a region from nowhere" 2 "follows number 0"
trace 'region 1 container 0x1000 a' 'add 1 2 0x0 0 0'
refused "a child that is not" 3 "no region 2"
trace 'region 1 alias 0x1000 a target=7 offset=0x0'
refused "a target that is not" 2 "no region 7"
trace 'region 1 container 0x1000 a' 'region 2 io 0x10 b' 'add 1 2 0x0 0 0' 'add 1 2 0x0 0 0'
refused "a child added twice" 5 "attached to 1 already"
trace 'region 1 container 0x1000 a' 'region 2 io 0x10 b' 'del 1 2'
refused "a child that is none" 4 "not a child"
trace 'region 1 io 0x1000 a' 'destroy 1' 'set_enabled 1 0'
refused "a region that is dead" 4 "destroyed"
trace 'region 1 io 0x1000 a' 'add_ioeventfd 1 0x0 4 0 0x0 4000000000'
refused "an event fd from nowhere" 3 "out of range"
trace 'region 1 io 0x1000 a' 'del_ioeventfd 1 0x0 4 0 0x0 1'
refused "an ioeventfd that is not" 3 "event fd"
trace 'region 1 io 0x1000 a' 'as_init 7 1 x'
refused "an address space from nowhere" 3 "follows number 0"
trace 'as_destroy 1'
refused "an address space that is not" 2 "no address space 1"
trace 'begin 2'
refused "a depth from nowhere" 2 "depth 2 follows depth 0"
trace 'commit 4294967295'
refused "a depth below zero" 2 "follows depth 0"

# --- publications

trace 'publish 2 topology 1 1 1 1 0 0 0' 'end 2'
refused "a publication from nowhere" 2 "follows number 0"
trace 'publish 1 as_init 1 1 1 1 0 0 0' 'end 1'
refused "an as_init that was not" '*' "no as_init"
trace 'view 1 0 0 0 0 0'
refused "a view outside of any" 2 "belongs into a publication"
begun='publish 1 as_init 1 1 1 1 1 1 1'
trace 'region 1 io 0x1000 a' 'as_init 1 1 x' "$begun" 'view 1 1 4294967295 0 0 0' 'end 1'
refused "a view that promises ranges" 6 "wants 4294967295 ranges more"
trace 'region 1 io 0x1000 a' 'as_init 1 1 x' "$begun" 'view 1 1 9 0 4294967295 4294967295'
refused "a head longer than its base" 5 "longer than the view"
trace 'region 1 io 0x1000 a' 'as_init 1 1 x' "$begun" 'view 1 1 9 8 4 4'
refused "a base that is not" 5 "no view 8"
trace 'region 1 io 0x1000 a' 'as_init 1 1 x' "$begun" 'use 1 3'
refused "a view that is not" 5 "no view 3"
trace 'region 1 io 0x1000 a' 'as_init 1 1 x' "$begun" 'ioeventfds 1 4294967295' 'end 1'
refused "a list that promises ioeventfds" 6 "ioeventfds more"
trace 'region 1 io 0x1000 a' 'as_init 1 1 x' "$begun" 'view 1 1 1 0 0 0' 'r 0x1 0x10000000000000000 1 0x0 0 1 0 0'
refused "a range that wraps" 6 "beyond 2^64"
{
	trace 'region 1 io 0x1000 a' 'as_init 1 1 x' "$begun" \
		'view 1 1 1000 0 0 0'
	seq 1000 | sed 's/.*/r 0x0 0x1 1 0x0 0 1 0 0/'
	seq 2 100000 | awk '{ print "view", $1, 1, 1000, $1 - 1, 1000, 0 }'
} >>"$tmp/more"
cat "$tmp/more" >>"$tmp/t"
refused "views that repeat each other" '*' "ranges than 256 per line"

# --- topologies

trace 'region 1 container 0x1000 a' 'add 1 1 0x0 0 0' 'set_enabled 1 0' 'publish 1 topology 1 1 1 1 0 0 0' 'end 1'
refused "a region in itself" '*' "contain or show itself"
trace 'region 1 container 0x1000 a' 'region 2 container 0x1000 b' 'add 1 2 0x0 0 0' 'add 2 1 0x0 0 0' 'publish 1 topology 1 1 1 1 0 0 0' 'end 1'
refused "two regions in each other" '*' "contain or show itself"
trace 'region 1 container 0x1000 a' 'region 2 alias 0x1000 b target=1 offset=0x0' 'add 1 2 0x0 0 0'
refused "a region that shows itself" '*' "contain or show itself"
{
	echo 'memtrace 1'
	seq 1000000 | sed 's/.*/region & container 0x1000 x/'
	seq 2 1000000 | awk '{ print "add", $1 - 1, $1, "0x0 0 0" }'
	echo 'publish 1 topology 1 1 1 1 0 0 0'
	echo 'end 1'
} >"$tmp/t"
refused "a million regions in each other" 2000002 "nested too deep"
{
	echo 'memtrace 1'
	echo 'region 1 io 0x1000 x'
	seq 2 1000000 |
		awk '{ print "region", $1, "alias 0x1000 x target=" $1 - 1, "offset=0x0" }'
} >"$tmp/t"
refused "a million aliases of each other" '*' "nested too deep"

# --- accesses

machine_accesses()
{
	trace 'region 1 io 0x1000 a' 'as_init 1 1 x' "$begun" 'view 1 1 1 0 0 0' 'r 0x0 0x1000 1 0x0 0 1 0 0' 'use 1 1' 'end 1' 'eof'
	printf '%s\n' 'memaccess 1' "$@" >"$tmp/a"
}
machine_accesses '1 1 0 1 0x10 4 r 0x0 1 0x10 0'
refused "an access that lacks a field" 2 "missing" --access "$tmp/a"
machine_accesses '1 7 0 1 0x10 4 r 0x0 1 0x10 0 0'
refused "an access after the end" 2 "not in the trace" --access "$tmp/a"
refused "a trace as accesses" 1 'not "memaccess 1"' --access "$tmp/t"
machine_accesses '1 1 0 1 0x10 4 r 0x0 1 0x14 0 0'
"$replay" --verify --access "$tmp/a" "$tmp/t" >"$tmp/out" 2>"$tmp/err"
status=$?
if [ $status -eq 1 ] && grep -q 'recorded  region 1 + 0x14' "$tmp/err" &&
	grep -q 'accesses 1 .*mismatches 1$' "$tmp/out"; then
	echo "ok an access that differs: $(tail -n 1 "$tmp/out")"
else
	echo "not ok an access that differs: exit status $status"
	tail -n 20 "$tmp/out" "$tmp/err"
	bad=1
fi

[ "$lines" -gt 100 ] || { echo "not ok the trace is too short"; bad=1; }
exit $bad
