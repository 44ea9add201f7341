#!/usr/bin/env bash
# Checks what Prometheus reads of the gateway: the text of /metrics and the alert rules, by Debian's promtool.
#
# The package `prometheus` holds it beside a server of 90 MB: it is fetched and unpacked, not installed.
set -euo pipefail

cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
dir=$target/promtool
promtool=$dir/usr/bin/promtool

if [[ ! -x $promtool ]]; then
    mkdir -p "$dir"
    (cd "$dir" && apt-get -q download prometheus)
    dpkg-deb --extract "$dir"/prometheus_*.deb "$dir"
    rm "$dir"/prometheus_*.deb
fi

"$promtool" check rules nginx/observability/alerts.yml
cargo run --quiet --package openai-core --example metrics | "$promtool" check metrics
