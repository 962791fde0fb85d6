#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tools/kvm-guest and tools/kvm-check: what they hand on of the commands that
# they run, and what they say of those that fail.
set -u
cd "$(dirname "$0")/../.." || exit 1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0

# usage: same NAME WANTED GOT
same()
{
	if [ "$2" = "$3" ]; then
		echo "ok $1"
	else
		echo "not ok $1: \"$3\", not \"$2\""
		bad=1
	fi
}

# usage: refused NAME STATUS WORDS OPTION...
refused()
{
	local name=$1 wanted=$2 words=$3
	shift 3
	tools/kvm-guest "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	same "$name" "$wanted yes" "$? $(grep -q -e "$words" "$tmp/err" && echo yes)"
}

refused "no command" 2 usage
refused "an unknown option" 2 "unknown option --frob" --frob true
refused "a number that is none" 2 'not "much"' --mem much true
refused "a number that lacks" 2 "takes a number" --cpus
refused "no processors" 2 "takes 1 or more" --cpus 0 true
refused "no such folder" 2 "no folder" --rw "$tmp/none" true

mkdir "$tmp/empty"
if command -v qemu-system-x86_64 >/dev/null; then
	PATH=$tmp/empty:/bin XDG_CACHE_HOME=$tmp/cache \
		MPL_KERNEL_PACKAGE=linux-image-of-nowhere \
		tools/kvm-guest true >"$tmp/out" 2>"$tmp/err"
	same "no such kernel package" "3 yes" \
		"$? $(grep -q 'cannot download the package' "$tmp/err" && echo yes)"
fi
if ! command -v qemu-system-x86_64 >/dev/null || ! tools/kvm-guest --prepare; then
	echo "ok the emulated machine # skip it cannot be had"
	exit $bad
fi

# --- the terminal's name, told to a machine that only repeats it

mkdir "$tmp/repeats"
cat >"$tmp/repeats/qemu-system-x86_64" <<'END'
#!/bin/bash
for option; do
	case $option in
	*,mount_tag=ctl,path=*) ctl=${option#*path=} ctl=${ctl%%,*} ;;
	esac
done
grep -o 'TERM=[^ ]*' "$ctl/command"
echo 0 >"$ctl/status"
END
chmod +x "$tmp/repeats/qemu-system-x86_64"
for option in -i --verbose; do
	PATH=$tmp/repeats:$PATH TERM=vt102 tools/kvm-guest $option true \
		>"$tmp/$option" 2>/dev/null </dev/null
done
same "the terminal's name" TERM=vt102 "$(cat "$tmp/-i")"
same "no terminal" TERM=dumb "$(cat "$tmp/--verbose")"

# --- commands

mkdir "$tmp/rw"
cat >"$tmp/inside" <<'END'
echo "args $# $2"
echo "folder $PWD"
echo "errors" >&2
echo kept >rw/kept
echo lost >lost
echo "pages $(cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages)"
echo "kvm $(test -c /dev/kvm && echo yes)"
echo "variable $MPL_SOMETHING"
exit 7
END
(cd "$tmp" && MPL_SOMETHING='a b' "$OLDPWD/tools/kvm-guest" --rw rw --hugepages 3 \
	bash inside 'x y' "it's" >out 2>err)
same "the exit status" 7 $?
same "the output" "args 2 it's
folder $tmp
errors
pages 3
kvm yes
variable a b" "$(cat "$tmp/out")"
same "what is written to --rw stays" kept "$(cat "$tmp/rw/kept")"
same "what is written elsewhere does not" no "$(test -e "$tmp/lost" || echo no)"

tools/kvm-guest --timeout 5 sleep 1000 >"$tmp/out" 2>"$tmp/err"
same "out of time" "124 yes" "$? $(grep -q 'out of time after 5 s' "$tmp/err" && echo yes)"

# --- programs of a list

printf '#!/bin/sh\nexit 0\n' >"$tmp/good"
printf '#!/bin/sh\necho why; exit 77\n' >"$tmp/skips"
printf '#!/bin/sh\nexit 3\n' >"$tmp/fails"
printf '#!/bin/sh\nkill -SEGV $$\n' >"$tmp/crashes"
printf '#!/bin/sh\nsleep 100\n' >"$tmp/sleeps"
cat >"$tmp/cmocka" <<'END'
#!/bin/sh
echo '[==========] 3 test(s) run.'
echo '[  PASSED  ] 2 test(s).'
echo '[  FAILED  ] 1 test(s), listed below:'
exit 1
END
chmod +x "$tmp"/*
for program in good skips fails crashes sleeps cmocka; do
	echo "$tmp/$program"
done >"$tmp/list"
MPL_KVM_TEST_TIMEOUT=3 tools/kvm-guest tools/kvm-check own "$tmp/list" \
	>"$tmp/out" 2>"$tmp/err"
same "a list with failures fails" 1 $?
same "what is said of its programs" "ok $tmp/good
ok $tmp/skips # skip why
not ok $tmp/fails: exit status 3
not ok $tmp/crashes: signal 11
not ok $tmp/sleeps: out of time" "$(grep -E '^(not )?ok ' "$tmp/out")"
same "cmocka's lines are handed on" 2 "$(grep -c '^\[  [PF]A' "$tmp/out")"
exit $bad
