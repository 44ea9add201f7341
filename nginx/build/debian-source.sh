#!/usr/bin/env bash
# Prepares the headers of Debian's packaged nginx, from its package nginx-dev.
#
#   debian-source.sh OUT
#
# Leaves the source in OUT/source and the configured headers in OUT/objs, and prints
#   NGINX_SOURCE_DIR=...
#   NGINX_BUILD_DIR=...
# ready for env(1). Does nothing if OUT already contains the headers of the installed package.
set -euo pipefail

die() {
    printf 'debian-source.sh: %s\n' "$*" >&2
    exit 1
}

packaged=/usr/share/nginx/src

(($# == 1)) || die "usage: debian-source.sh OUT"
[[ -f $packaged/conf_flags ]] || die "the package nginx-dev is not installed; run: nginx/build/deps.sh run"
mkdir -p "$1"
out=$(cd "$1" && pwd -P)
[[ $out != *[[:space:]]* ]] || die "nginx's configure cannot work in a path with a space: $out"

# The package's own flags, in the array NGX_CONF_FLAGS.
declare -a NGX_CONF_FLAGS
# shellcheck source=/dev/null
. "$packaged/conf_flags"

version=$(dpkg-query --show --showformat='${Version}' nginx-dev)
want="nginx-dev $version in $out: ${NGX_CONF_FLAGS[*]}"

if [[ $(cat "$out/stamp" 2>/dev/null) != "$want" ]]; then
    # configure writes files to both directories and reads them again: start with empty ones.
    rm -rf "$out/stamp" "$out/source" "$out/objs"
    cp -R "$packaged" "$out/source"
    (cd "$out/source" && ./configure "${NGX_CONF_FLAGS[@]}" --builddir="$out/objs") >"$out/configure.log" 2>&1 ||
        die "configure failed, see $out/configure.log"
    printf '%s\n' "$want" >"$out/stamp"
fi

printf 'NGINX_SOURCE_DIR=%s\nNGINX_BUILD_DIR=%s\n' "$out/source" "$out/objs"
