#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: fuzz_run.sh FUZZER SEED-CORPUS SECONDS [CORPUS]
#
# Run a fuzzer from the seed corpus on, in a new corpus, or in one that is
# kept.  An input that breaks something is left beside the fuzzer.
set -eu
[ $# -ge 3 ] || { sed -n '4p' "$0" | cut -c3- >&2; exit 2; }
fuzzer=$1 seeds=$2 seconds=$3

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
corpus=${4-$tmp/corpus}
mkdir -p "$corpus"
seed=
[ $# -gt 3 ] || seed=-seed=1
# Allocations that fail are answers; an input that takes long is not.
export ASAN_OPTIONS=allocator_may_return_null=1
if ! "$fuzzer" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=4096 \
	-max_len=4096 $seed -artifact_prefix="$fuzzer-" \
	"$corpus" "$seeds" >"$tmp/log" 2>&1; then
	tail -40 "$tmp/log"
	exit 1
fi
runs=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$tmp/log")
echo "$fuzzer: ${runs:-no} runs, $(find "$corpus" -type f | wc -l) new inputs"
[ "${runs:-0}" -gt 10 ]
