#!/usr/bin/env bash
# Runs the benchmarks, with what the Makefile's target `bench-setup` has built.
#
#   run.sh           all comparisons with plain nginx
#   run.sh core      criterion benchmarks of the core
#   run.sh NAME      one comparison: throughput, usage, latency, first-token, streams, memory, keys, waiting, redlock,
#                    locks, redlock-syscalls (uses strace; only root may attach it to nginx), mock
#   run.sh ab --old OLD.so
#                    the module compared with an older build, 15 rounds in turn
#   run.sh peers     other gateways, as a table in Markdown; installs LiteLLM below the target directory
#
# BENCH_ARGS contains further flags for the comparisons, such as --rounds 3; see `compare --help`.
# Results are appended to target/bench/results.jsonl.
set -euo pipefail

cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

if [[ ${1-} == core ]]; then
    exec cargo bench --package benches
fi

# From PyPI, into a virtual environment of its own: half a gigabyte, only once.
LITELLM_VERSION=1.106.2
install_litellm() {
    local home=$CARGO_TARGET_DIR/litellm
    [[ $(cat "$home/installed" 2>/dev/null) == "$LITELLM_VERSION" ]] && return
    printf 'run.sh: installing LiteLLM %s\n' "$LITELLM_VERSION"
    rm -rf "$home"
    python3 -m venv "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check "litellm[proxy]==$LITELLM_VERSION"
    printf '%s\n' "$LITELLM_VERSION" >"$home/installed"
}

if [[ ${1-} == peers ]]; then
    install_litellm
fi

cargo build --quiet --release --package benches --bin compare
# shellcheck disable=SC2086 # flags, a word each
exec "$CARGO_TARGET_DIR/release/compare" "$@" ${BENCH_ARGS-}
