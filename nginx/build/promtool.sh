#!/usr/bin/env bash
# Checks what Prometheus reads: the text of /metrics, the alert rules, and the tests of the rules. Uses Debian's
# promtool.
#
# promtool is part of the package `prometheus`, which contains a server of 50 MB as well. The package is downloaded and
# unpacked, but not installed.
set -euo pipefail

cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
dir=$target/promtool
promtool=$dir/usr/bin/promtool

if [[ ! -x $promtool ]]; then
    mkdir -p "$dir"
    # The download fails if package lists are old or missing.
    (cd "$dir" && { apt-get -q download prometheus || { apt-get -q update && apt-get -q download prometheus; }; })
    dpkg-deb --extract "$dir"/prometheus_*.deb "$dir"
    rm "$dir"/prometheus_*.deb
fi

"$promtool" check rules nginx/observability/alerts.yml
"$promtool" test rules nginx/observability/alerts_test.yml
cargo run --quiet --package openai-core --example metrics | "$promtool" check metrics
