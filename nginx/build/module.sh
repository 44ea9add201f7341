#!/usr/bin/env bash
# Builds the module for one nginx and prints its path and the load_module line.
#
#   NGINX=/path/to/nginx     the nginx that will load it; default: the one in PATH; empty: on another machine
#   NGINX_SOURCE_DIR=...     its source; not needed for Debian's package, whose headers are fetched
#   NGINX_BUILD_DIR=...      its configured build; default: NGINX_SOURCE_DIR/objs
#   CARGO_TARGET_DIR=...     where to build; default: target. Use one for each nginx to keep all modules.
#   CARGO_BUILD_TARGET=...   cargo's own variable; the module is then in a directory of that name
#   CARGO_ARGS=...           more arguments of cargo build: --no-default-features for a module that does not
#                            decrypt key files, and needs 87 fewer crates
set -euo pipefail

die() {
    printf 'module.sh: %s\n' "$*" >&2
    exit 1
}

cd "$(dirname "$0")/../.."
here=nginx/build
target=${CARGO_TARGET_DIR:-$PWD/target}
PATH=$PATH:/usr/sbin # for nginx; a user's PATH on Debian does not contain this directory

# Succeeds for the nginx of Debian's package, which guarantees the ABI of the headers in nginx-dev. The package of
# nginx.org has the same name, but no such guarantee.
is_debian_nginx() {
    [[ $(readlink -f "$1") == /usr/sbin/nginx ]] &&
        [[ $(dpkg-query --show --showformat='${Provides}' nginx 2>/dev/null) == *nginx-abi-* ]]
}

# Fails unless the headers are those of the nginx that will load the module. nginx itself would reject the module, but
# only when it starts.
require_match() {
    local nginx=$1 description binary_version header_version
    description=$("$nginx" -V 2>&1) || die "cannot run $nginx -V"
    binary_version=$(sed -n 's|^nginx version: [^/]*/\([0-9.]*\).*|\1|p' <<<"$description")
    header_version=$(sed -n 's|^#define NGINX_VERSION  *"\(.*\)"|\1|p' "$NGINX_SOURCE_DIR/src/core/nginx.h")
    [[ $binary_version == "$header_version" ]] ||
        die "$nginx is version $binary_version, the source in $NGINX_SOURCE_DIR is $header_version"
    if [[ $description == *--with-compat* ]]; then
        grep -q NGX_COMPAT "$NGINX_BUILD_DIR/ngx_auto_config.h" ||
            die "$nginx is built with --with-compat, the headers in $NGINX_BUILD_DIR are not"
    fi
}

nginx=${NGINX-$(command -v nginx || true)}
unset NGINX # nginx reads inherited sockets from a variable of this name
[[ -z $nginx ]] || command -v "$nginx" >/dev/null || die "NGINX names no program: $nginx"

if [[ -n ${NGINX_SOURCE_DIR-} ]]; then
    [[ -f $NGINX_SOURCE_DIR/src/core/nginx.h ]] || die "NGINX_SOURCE_DIR holds no nginx source: $NGINX_SOURCE_DIR"
    NGINX_BUILD_DIR=${NGINX_BUILD_DIR:-$NGINX_SOURCE_DIR/objs}
    [[ -f $NGINX_BUILD_DIR/ngx_auto_config.h ]] ||
        die "not configured: $NGINX_BUILD_DIR; run nginx's configure there with the arguments that nginx -V shows"
else
    if [[ -z $nginx ]] || is_debian_nginx "$nginx"; then
        "$here/deps.sh" run
        nginx=$(command -v "${nginx:-nginx}") || die "no nginx in PATH"
    fi
    is_debian_nginx "$nginx" ||
        die "$nginx is not Debian's package: set NGINX_SOURCE_DIR to the configured source it was built from"
    headers=$("$here/debian-source.sh" "$target/nginx-debian")
    eval "$headers"
fi
[[ -z $nginx ]] || require_match "$nginx"

NGINX_SOURCE_DIR=$(cd "$NGINX_SOURCE_DIR" && pwd -P)
NGINX_BUILD_DIR=$(cd "$NGINX_BUILD_DIR" && pwd -P)
export NGINX_SOURCE_DIR NGINX_BUILD_DIR
read -ra arguments <<<"${CARGO_ARGS-}"
cargo build --release --package ngx_http_openai_module "${arguments[@]}"

release=$target/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
module=$release/ngx_http_openai_module.so
[[ -f $release/libngx_http_openai_module.so ]] || die "cargo left no $release/libngx_http_openai_module.so"
# nginx's own modules have names of this form. The new file is renamed, because a running nginx may have the old one
# mapped.
cp "$release/libngx_http_openai_module.so" "$module.new"
mv "$module.new" "$module"
printf '%s\nload_module %s;\n' "$module" "$module"
