#!/usr/bin/env bash
# Builds a current stable nginx from the source that the crate nginx-src carries.
#
#   stable.sh OUT [FLAG...]     each FLAG goes to the C compiler, such as -DNGX_DEBUG_PALLOC=1, and to the linker
#
# Leaves the source in OUT/source, the headers and the binary (OUT/objs/nginx) in OUT/objs, and prints
#   NGINX=...
#   NGINX_SOURCE_DIR=...
#   NGINX_BUILD_DIR=...
# ready for env(1). Does nothing if OUT already contains that build.
set -euo pipefail

# The version of the crate, and after the plus sign that of nginx.
crate_version='1.28.5+1.28.3'

flags=(
    --with-compat
    --with-debug
    --with-threads
    --with-http_ssl_module
    --with-http_v2_module
    --with-http_auth_request_module
    --with-http_realip_module
    --with-http_slice_module
    --with-http_stub_status_module
    --with-http_addition_module
)

die() {
    printf 'stable.sh: %s\n' "$*" >&2
    exit 1
}

# Prints the directory of the unpacked crate. Cargo fetches it from the registry, mirror or vendored copy that this
# machine is configured for, and verifies the registry's checksum.
crate_source() {
    local manifest=$out/fetch/Cargo.toml source
    mkdir -p "$out/fetch"
    cat >"$manifest" <<-MANIFEST
	[package]
	name = "nginx-source"
	version = "0.0.0"
	edition = "2021"
	[lib]
	path = "empty.rs"
	[dependencies]
	nginx-src = "=${crate_version%+*}"
	[workspace]
	MANIFEST
    : >"$out/fetch/empty.rs"
    source=$(cargo metadata --quiet --format-version 1 --manifest-path "$manifest" \
        --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" |
        sed -n 's|.*"manifest_path":"\([^"]*/nginx-src[^"/]*\)/Cargo\.toml".*|\1|p') ||
        die "cargo could not fetch the crate nginx-src $crate_version"
    [[ -f $source/nginx/auto/configure ]] ||
        die "the crate nginx-src $crate_version holds no nginx source"
    printf '%s\n' "$source/nginx"
}

(($# >= 1)) || die "usage: stable.sh OUT [FLAG...]"
mkdir -p "$1"
out=$(cd "$1" && pwd -P)
shift
flags+=("--with-cc-opt=-g -O2${*:+ $*}")
((!$#)) || flags+=("--with-ld-opt=$*") # a sanitizer has a runtime to link
[[ $out != *[[:space:]]* ]] || die "nginx's configure cannot work in a path with a space: $out"

want="nginx-src $crate_version in $out: ${flags[*]}"

if [[ $(cat "$out/stamp" 2>/dev/null) != "$want" || ! -x $out/objs/nginx ]]; then
    from=$(crate_source)
    rm -rf "$out/stamp" "$out/source" "$out/objs"
    cp -R "$from" "$out/source"
    chmod -R u+w "$out/source" # a registry may be read-only
    (cd "$out/source" && sh auto/configure "${flags[@]}" --builddir="$out/objs") >"$out/configure.log" 2>&1 ||
        die "configure failed, see $out/configure.log"
    # The script may be called from make, whose jobserver cannot be used here.
    (cd "$out/source" && env -u MAKEFLAGS -u MFLAGS make -j"$(nproc)" -f "$out/objs/Makefile" binary) >"$out/make.log" 2>&1 ||
        die "make failed, see $out/make.log"
    printf '%s\n' "$want" >"$out/stamp"
fi

printf 'NGINX=%s\nNGINX_SOURCE_DIR=%s\nNGINX_BUILD_DIR=%s\n' "$out/objs/nginx" "$out/source" "$out/objs"
