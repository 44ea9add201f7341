#!/usr/bin/env bash
# Runs the benchmarks on what the Makefile's target `bench-setup` has built.
#
#   run.sh           all comparisons with plain nginx
#   run.sh core      criterion benches of the core
#   run.sh NAME      one comparison: throughput, latency, first-token, memory, keys, waiting, redlock, locks,
#                    redlock-syscalls (by strace, which may attach to nginx as root only)
#
# BENCH_ARGS holds further flags of the comparisons, such as --rounds 3; see `compare --help`.
# Results are added to target/bench/results.jsonl.
set -euo pipefail

cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

if [[ ${1-} == core ]]; then
    exec cargo bench --package benches
fi

cargo build --quiet --release --package benches --bin compare
# shellcheck disable=SC2086 # flags, a word each
exec "$CARGO_TARGET_DIR/release/compare" "$@" ${BENCH_ARGS-}
