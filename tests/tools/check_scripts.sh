#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Do the checks of the sources find what they are there to find?  Each is run
# in a small tree that is right, and again with one thing wrong.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0

# A tree in which every check passes.
fresh()
{
	rm -rf "$tmp/tree"
	mkdir -p "$tmp/tree" && cd "$tmp/tree" || exit 1
	mkdir -p lib/base lib/memplane dispatch docs tests/lib/base \
		tests/dispatch tools/build
	cp "$root"/tools/check-* tools/
	cp "$root"/lib/memplane.h lib/
	cp "$root"/lib/memplane/*.h lib/memplane/
	license='/* SPDX-License-Identifier: BSD-3-Clause */'
	printf '%s\n' "$license" 'int mpl_low(void);' \
		'int mpl_low(void) { return 1; }' >lib/base/low.c
	printf '%s\n' "$license" '/* [B1] release; pairs with [B1] in mpl_up() */' \
		'int mpl_mid(void);' 'int mpl_mid(void) { return 2; }' \
		>dispatch/mid.c
	printf '%s\n' "$license" '/* [B1] acquire; pairs with' \
		' * [B1] in mpl_mid() */' 'int mpl_up(void);' \
		'int mpl_mid(void);' 'int mpl_up(void) { return mpl_mid(); }' \
		>lib/up.c
	echo 'The hazard of [B1] ...' >docs/concurrency.md
	for file in lib/base/low lib/up dispatch/mid; do
		printf '%s\n' "$license" 'int main(void) { return 0; }' \
			>"tests/${file}_test.c"
		echo "build \$o/$file.o: cc $file.c
build \$o/tests/${file}_test.ok: test tests/${file}_test.c" >>tools/build/all.ninja
	done
	# What the public headers bring along is not at issue here.
	tags=$(grep -rhoE '\[B[0-9]+\]' lib/memplane | sort -u)
	for tag in $tags; do
		echo "/* $tag */" >>lib/up.c
		echo "$tag" >>docs/concurrency.md
	done
	grep -rhoE 'pairs with \[B[0-9]+\] in [a-z_]+' lib/memplane |
		sed 's/.* in \(.*\)/int \1(void);/' >>lib/up.c
	: >build.ninja
}

# usage: broken WHAT CHECK: the check must fail in the tree as it is.
broken()
{
	if sh -c "$2" >"$tmp/log" 2>&1; then
		echo "not ok $2 did not find: $1"
		bad=1
	elif ! grep -q '^not ok ' "$tmp/log"; then
		echo "not ok $2 failed, but not of: $1"
		cat "$tmp/log"
		bad=1
	else
		echo "ok $1"
	fi
	fresh
}

archives()
{
	for file in lib/base/low dispatch/mid lib/up; do
		gcc -c $file.c -o $file.o && ar rcs $file.a $file.o || exit 1
	done
}
layers="tools/check-layers lib/base/low.a dispatch/mid.a lib/up.a"

fresh
archives
for check in tools/check-tree tools/check-barriers tools/check-format \
	"$layers"; do
	if sh -c "$check" >"$tmp/log" 2>&1; then
		echo "ok $check passes a tree that is right"
	else
		echo "not ok $check fails a tree that is right"
		cat "$tmp/log"
		bad=1
	fi
done
fresh

cp lib/up.c lib/more.c
broken "an unlisted source" tools/check-tree
rm tests/lib/up_test.c
broken "a source without a test" tools/check-tree
cat tools/build/all.ninja >>build.ninja
broken "a source listed twice" tools/check-tree
rm dispatch/mid.c
broken "a listed file that is gone" tools/check-tree

sed -i 's/\[B1\]/B1/g' dispatch/mid.c lib/up.c lib/memplane/*.h
echo '/* [B1] alone, twice: [B1] */' >>lib/up.c
broken "a tag in one comment only" tools/check-barriers
: >docs/concurrency.md
broken "a tag that is not documented" tools/check-barriers
echo '[B999]' >>docs/concurrency.md
broken "a documented tag without source" tools/check-barriers
echo '/* [B1] pairs with [B1] in mpl_nowhere() */' >>lib/up.c
broken "a tag paired with no function" tools/check-barriers
echo 'int x(int *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }' \
	>dispatch/more.c
broken "an ordered access without a tag" tools/check-barriers

sed -i 1d lib/up.c
broken "no license line" tools/check-format
seq -f 'int x%g;' 710 >>lib/up.c
broken "a file of over 700 lines" tools/check-format
{
	echo 'static void f(void)'
	echo '{'
	seq -f '	mpl_f(%g);' 71
	echo '}'
} >>lib/up.c
broken "a function of over 70 lines" tools/check-format
printf 'int %0120d;\n' 0 >>lib/up.c
broken "a line of over 100 columns" tools/check-format

echo '#include "lib/up.c"' >>dispatch/mid.c
broken "an include of a layer above" tools/check-layers
echo '#include <rte_rcu_qsbr.h>' >>lib/up.c
broken "an include of DPDK where it may not be" tools/check-layers
echo 'size_t mpl_lost(nothing);' >>lib/memplane/types.h
broken "a header that does not compile" tools/check-layers
sed -i 's/^#ifndef MEMPLANE_TYPES_H/#ifndef TYPES_H/' lib/memplane/types.h
broken "a header without its guard" tools/check-layers
echo 'void mpl_new(int class);' >>lib/memplane/types.h
broken "a header that C++ can't include" tools/check-layers
sed -i '/types.h/d' lib/memplane.h
broken "a header that is not in the umbrella" tools/check-layers
sed -i 's/return 1/return mpl_up()/; 2i int mpl_up(void);' lib/base/low.c
archives
broken "a call of a layer above" "$layers"
echo 'int strange(void) { return 0; }' >>lib/up.c
archives
broken "a symbol without mpl_" "$layers"
sed -i '2i #include <stdlib.h>' lib/up.c
sed -i 's/return mpl_mid/abort(); return mpl_mid/' lib/up.c
archives
broken "a library that aborts" "$layers"
broken "an archive that is not there" "$layers"

# The hot path: a look-up with something before it that must not be there.
probe()
{
	cat >"$tmp/tree/probe.c" <<-END
	#include <memplane.h>
	typedef const struct mpl_section *found;
	found probe_lookup(struct mpl_reader *r, const struct mpl_address_space *as,
			   uint64_t gpa);
	found probe_lookup_uncached(struct mpl_reader *r,
				    const struct mpl_address_space *as, uint64_t gpa);
	found probe_lookup(struct mpl_reader *r, const struct mpl_address_space *as,
			   uint64_t gpa)
	{
		$1
		return mpl_lookup(r, as, gpa);
	}
	found probe_lookup_uncached(struct mpl_reader *r,
				    const struct mpl_address_space *as, uint64_t gpa)
	{
		$2
		return mpl_lookup_uncached(r, as, gpa);
	}
	END
}
hot="tools/check-hotpath probe.c"
if [ "$(uname -m)" != x86_64 ]; then
	echo "ok hot path # skip this check reads x86-64 code only"
	exit $bad
fi
if probe "" "" && $hot >"$tmp/log" 2>&1; then
	echo "ok $hot passes the look-ups alone"
else
	echo "not ok $hot fails the look-ups alone"
	cat "$tmp/log"
	bad=1
fi
probe "mpl_reader_drop_caches(r);" ""
broken "a call" "$hot"
probe "if (gpa == 5) return mpl_lookup_sym(r, as, gpa);" ""
broken "a call in tail position" "$hot"
probe "__atomic_fetch_add(&r->misses, 1, __ATOMIC_RELAXED);" ""
broken "a lock prefix" "$hot"
probe "__atomic_exchange_n(&r->misses, 1, __ATOMIC_RELAXED);" ""
broken "an xchg" "$hot"
probe "" "__atomic_thread_fence(__ATOMIC_SEQ_CST);"
broken "a fence" "$hot"
probe "((struct mpl_address_space *)as)->slot = 1;" ""
broken "a store to shared memory" "$hot"
probe "*(uint32_t *)r->nodes = 5;" ""
broken "a store through a pointer of the reader's" "$hot"
probe "static int g; g++;" ""
broken "a store to a global" "$hot"
probe "" "r->misses++;"
broken "a store of the uncached look-up" "$hot"
probe "gpa *= 3; $(seq -s ' ' -f 'gpa ^= gpa * 0x123456789%g; gpa += gpa >> 3;' 20)" ""
broken "too much code" "$hot"

exit $bad
