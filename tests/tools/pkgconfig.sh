#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: tests/tools/pkgconfig.sh OUT
#
# Are programs linked with the library in OUT by its memplane.pc, whatever the
# folders above are called?
set -u
[ $# -eq 1 ] || { sed -n '4p' "$0" | cut -c3- >&2; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0

# usage: linked NAME OUT LINE: the shell's line that links, in a folder NAME
# which is this one.
linked()
{
	rm -f "$tmp/example"
	ln -s "$root" "$tmp/$1" && cd "$tmp/$1" || exit 1
	if tools/build/pc "$2" >"$tmp/memplane.pc" &&
		PKG_CONFIG_PATH=$tmp sh -xc "$3" sh "$tmp/example" >"$tmp/log" 2>&1 &&
		"$tmp/example" >>"$tmp/log" 2>&1; then
		echo "ok in a folder $1"
	else
		echo "not ok in a folder $1"
		cat "$tmp/memplane.pc" "$tmp/log"
		bad=1
	fi
	cd "$root" || exit 1
}

# As README has them.
linked plain "$1" \
	'gcc tests/embed/example.c $(pkg-config --cflags --libs memplane) -o "$1"'
for name in 'with a  space' '"quoted"' "it's" 'a&b;c|d<e>f' 'back\slash' \
	'*?[x]' '#1' '{~!^`}'; do
	# shellcheck disable=SC2016 # the inner shell's
	linked "$name" "$1" \
		'eval "gcc tests/embed/example.c $(pkg-config --cflags --libs memplane) -o \"\$1\""'
done
exit $bad
