#!/usr/bin/env bash
# Downloads other servers for the tests with Redis nodes: Redis 8.0 and Valkey 8.1, from Debian trixie.
#
#   redis-servers.sh redis|valkey    prints the path of a program that runs as redis-server
#
# The packages are downloaded and unpacked with the libraries that they need, including libc, but not installed. apt
# verifies them; it uses package lists of its own. CARGO_TARGET_DIR is the directory of the downloads (35 MB), and
# DEBIAN_MIRROR the mirror. To get newer packages, delete CARGO_TARGET_DIR/redis-servers.
set -euo pipefail

cd "$(dirname "$0")/../.."
dir=${CARGO_TARGET_DIR:-$PWD/target}/redis-servers
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

die() {
    printf 'redis-servers.sh: %s\n' "$*" >&2
    exit 1
}

case ${1-} in
redis | valkey) name=$1-server ;;
*) die 'usage: redis-servers.sh redis|valkey' ;;
esac

# The programs that the package scripts call are not needed, only shared libraries.
download() {
    local apt=$dir/apt
    mkdir -p "$apt"/lists/partial "$apt"/cache/archives/partial "$dir"/root
    : >"$apt"/status
    printf 'deb [signed-by=%s] %s trixie main\n' /usr/share/keyrings/debian-archive-keyring.gpg "$mirror" \
        >"$apt"/sources.list
    local options=(
        -qq -o "Dir::State=$apt" -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status"
        -o "Dir::Cache=$apt/cache" -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=-
        -o APT::Install-Recommends=false -o APT::Sandbox::User=root -o "Debug::NoLocking=true"
    )
    apt-get "${options[@]}" update
    apt-get "${options[@]}" install --download-only --yes redis-server valkey-server
    local package
    for package in "$apt"/cache/archives/*.deb; do
        # From here: the servers and libraries. Other packages of the dependencies are large and not used.
        case ${package##*/} in
        redis-* | valkey-* | lib*) dpkg-deb --extract "$package" "$dir"/root ;;
        esac
    done
    rm -r "$apt"
}

[[ -x $dir/root/usr/bin/redis-server && -x $dir/root/usr/bin/valkey-server ]] || download >&2

# The dynamic linker of the packages, because this system's libc may be older than the servers require.
linker=$(find "$dir"/root/ -name 'ld-linux-*.so.*' -print -quit)
[[ $linker ]] || die "no dynamic linker in $dir/root"
libraries=$(dirname "$(find "$dir"/root/ -name 'libc.so.6' -print -quit)")
# valkey-server and redis-server may be links to a program that selects the server by its name.
program=$(readlink -f "$dir/root/usr/bin/$name")
cat >"$dir/$name" <<END
#!/bin/sh
exec '$linker' --library-path '$libraries' --argv0 '$name' '$program' "\$@"
END
chmod 755 "$dir/$name"
printf '%s\n' "$dir/$name"
