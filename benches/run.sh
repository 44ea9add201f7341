#!/usr/bin/env bash
# Runs the benchmarks on what the Makefile's target `bench-setup` has built.
#
#   run.sh           all comparisons with plain nginx
#   run.sh core      criterion benches of the core
#   run.sh NAME      one comparison: throughput, usage, latency, first-token, streams, memory, keys, waiting, redlock,
#                    locks, redlock-syscalls (by strace, which may attach to nginx as root only), mock
#   run.sh ab --old OLD.so
#                    the module beside an older build of it, 15 rounds in turn
#   run.sh peers     other gateways beside ours, as a table in Markdown; installs LiteLLM below the target directory
#
# BENCH_ARGS holds further flags of the comparisons, such as --rounds 3; see `compare --help`.
# Results are added to target/bench/results.jsonl.
set -euo pipefail

cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

if [[ ${1-} == core ]]; then
    exec cargo bench --package benches
fi

# Of PyPI, in a virtual environment of its own: half a gigabyte, once.
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
