#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: tests/tools/hugepages.sh
#
# tools/mpl-hugepages with real pools of huge pages: what it takes it gives back.
# As root; else only what needs no root, and says so.
set -u
cd "$(dirname "$0")/../.." || exit 2
tool=tools/mpl-hugepages
pool=/sys/kernel/mm/hugepages/hugepages-2048kB
tmp=$(mktemp -d) || exit 2
failed=0

number()
{
	cat "$pool/$1"
}

# check NAME CONDITION...
# shellcheck disable=SC2317 # conditions are called by their names
check()
{
	name=$1
	shift
	if "$@"; then
		echo "ok $name"
	else
		echo "not ok $name"
		sed 's/^/    /' "$tmp/out"
		failed=1
	fi
}

# Run the tool; its output is in $tmp/out, its exit status in $status.
tool()
{
	$tool "$@" >"$tmp/out" 2>&1
	status=$?
}

says()
{
	grep -q -e "$1" "$tmp/out"
}

fails_saying()
{
	[ "$status" -eq 1 ] && says "$1"
}

wrong_saying()
{
	[ "$status" -eq 2 ] && says "$1"
}

tool --help
check help says "usage: tools/mpl-hugepages"
tool
check no-command wrong_saying "^usage"
tool frobnicate
check unknown-command wrong_saying "what is frobnicate"
tool --frobnicate status
check unknown-option wrong_saying "what is --frobnicate"
tool reserve
check reserve-nothing wrong_saying "how many pages"
tool reserve -- -3
check reserve-negative wrong_saying "what is"
tool reserve 12x
check reserve-no-number wrong_saying "12x is no number"
tool --dry-run reserve 010
check reserve-octal wrong_saying "010 is no number"
tool reserve 1 --size x
check no-size wrong_saying "x is no size"
tool reserve 1 --node here
check no-node wrong_saying "here is no node"
tool status --json
check json python3 -c '
import json, sys
status = json.load(open(sys.argv[1]))
assert any(p["size_kib"] == 2048 and p["node"] is None for p in status["pools"])
assert status["thp"]["enabled"] in ("always", "madvise", "never")
' "$tmp/out"
tool --dry-run reserve 1 --size 3M
check no-such-size fails_saying "no pages of 3M, but of: .*2M"
tool --dry-run reserve 1 --node 999
check no-such-node fails_saying "no NUMA node 999"
for many in 9007199254740993 99999999999999999999; do
	tool --dry-run reserve $many --size 2M
	check "no-memory-$many" fails_saying "MiB of memory are available"
done
tool --dry-run unmount /
check not-mounted fails_saying "no hugetlbfs is mounted at /"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	setpriv --reuid 65534 --clear-groups $tool reserve 1 >"$tmp/out" 2>&1
	status=$?
	check not-root fails_saying "sudo"
else
	echo "ok not-root # skip no setpriv, or not root to begin with"
fi

if [ "$(id -u)" -ne 0 ] || [ ! -w $pool/nr_hugepages ]; then
	for name in reserve holders release too-many per-node no-memory mount; do
		echo "ok $name # skip needs root and 2 MiB pages"
	done
	rm -rf "$tmp"
	exit $failed
fi

# Other tests take huge pages, too.
exec 9>/tmp/memplane-hugepages.lock
flock 9
before=$(number nr_hugepages)
over=$(number nr_overcommit_hugepages)
finish()
{
	[ ! -d "$tmp/mnt" ] || ! mountpoint -q "$tmp/mnt" || umount "$tmp/mnt"
	echo "$before" >$pool/nr_hugepages
	echo "$over" >$pool/nr_overcommit_hugepages
	rm -rf "$tmp"
}
trap finish EXIT

as_before()
{
	[ "$(number nr_hugepages)" -eq "$before" ] &&
		[ "$(number nr_overcommit_hugepages)" -eq "$over" ]
}

tool --dry-run reserve 64 --size 2M
check dry-run-tells says "^+ "
check dry-run-does-nothing as_before
tool reserve 64 --size 2M
check reserve [ "$(number nr_hugepages)" -eq $((before + 64)) ]
check reserve-tells says "^+ "
tool status
check status says "^    2M  *all  *$((before + 64)) "

mkdir "$tmp/mnt"
tool mount "$tmp/mnt" --size 2M
check mount grep -q "$tmp/mnt hugetlbfs .*pagesize=2M" /proc/mounts
tool mount "$tmp/mnt" --size 2M
check mount-twice fails_saying "mount point already"
tool status
check status-mounts says "^    2M  *$tmp/mnt"

# Somebody who holds three pages until fd 8 is closed, with a number for a name.
mkfifo "$tmp/end"
python3 -c '
import mmap, os, sys
open("/proc/self/comm", "w").write("1.2.3")
fd = os.open(sys.argv[1] + "/held", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 3 << 21)
memory = mmap.mmap(fd, 3 << 21)
for page in range(3):
    memory[page << 21] = 1
print("held", flush=True)
sys.stdin.readline()
' "$tmp/mnt" <"$tmp/end" >"$tmp/held" 8>&- 9>&- &
holder=$!
exec 8>"$tmp/end"
while [ ! -s "$tmp/held" ] && kill -0 $holder 2>/dev/null; do sleep 0.05; done
tool status
check holders says " 3 pages of process $holder (1.2.3)"
tool status --json
check holders-json says "\"pid\": $holder, \"size_kib\": 2048, \"pages\": 3, \"name\": \"1.2.3\""
tool unmount "$tmp/mnt"
check busy fails_saying "in use"
tool release $((before + 64))
check too-many fails_saying "free and promised to nobody"
exec 8>&-
wait $holder
rm "$tmp/mnt/held"
tool unmount "$tmp/mnt"
check unmount [ "$status" -eq 0 ]
tool release 64
check release as_before
tool release $(($(number free_hugepages) + 1))
check release-more-than-free fails_saying "are to go"

tool reserve 2 --node 0
check per-node [ "$(number nr_hugepages)" -eq $((before + 2)) ]
check per-node-tells says "^+ echo .*node0"
tool release 2 --node 0
check per-node-release as_before
tool reserve 99999999
check no-memory fails_saying "MiB of memory are available"

# When hugeadm gets less than was asked for, nothing is kept.
mkdir "$tmp/bin"
cat >"$tmp/bin/hugeadm" <<-END
	#!/bin/sh
	echo $((before + 1)) >$pool/nr_hugepages
END
chmod +x "$tmp/bin/hugeadm"
PATH=$tmp/bin:$PATH tool reserve 3
check all-or-nothing fails_saying "only 1 of 3 pages of 2M could be had, put back"
check all-or-nothing-is-put-back as_before
exit $failed
