#!/usr/bin/env bash
# Installs the Debian packages that a group of make targets needs, and only those that are missing.
#
#   deps.sh serve    run a module that was built elsewhere: Debian's nginx
#   deps.sh run      build the module and run it: Debian's nginx, its headers, a C compiler, libclang
#   deps.sh unit     build and test the crates that need no nginx: a C compiler
#   deps.sh redis    the same, and redis-server
#   deps.sh test     the packages of run, and those that the test suites use
#   deps.sh clients  the packages of test, and Python, npm and Chromium
#   deps.sh bench    the packages of test, the load generator, and strace
#   deps.sh valgrind the packages of test, and valgrind
#
# If nothing is missing, it needs neither root nor network.
# Daemons that it installs are neither started nor enabled: the suites start their own.
set -euo pipefail

# libclang-dev: bindgen reads nginx's headers with it. libpcre2, libssl, zlib: headers that nginx's own include.
# libc6-dbg: valgrind finds the functions of libc by it.
serve=(nginx ca-certificates)
run=("${serve[@]}" nginx-dev gcc libc6-dev make libclang-dev libpcre2-dev libssl-dev zlib1g-dev curl)
unit=(gcc libc6-dev)
redis=(redis-server)
# The Lua module of nginx, for tests with a filter of another module.
test=(openssl python3 shellcheck libnginx-mod-http-lua libnginx-mod-http-ndk)
# chromium: for tests of the status page; a download of 125 MB with its dependencies. The font is for screenshots.
clients=(python3-venv chromium fonts-dejavu-core)
# An npm that is not Debian's brings its own Node.js, and conflicts with Debian's package.
command -v npm >/dev/null || clients+=(npm)
# LiteLLM, one of the peers, is a Python package.
bench=(wrk strace python3-venv)
valgrind=(valgrind libc6-dbg)

die() {
    printf 'deps.sh: %s\n' "$*" >&2
    exit 1
}

# Prints those of the given packages that are not installed, one per line.
missing_of() {
    local package
    for package; do
        [[ $(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null) == ?i* ]] ||
            printf '%s\n' "$package"
    done
}

# Debian starts a service when its package is configured, unless this file forbids it.
# An existing policy of this machine is kept.
policy=/usr/sbin/policy-rc.d
policy_mark='# written by nginx-openai deps.sh for the time of one installation'

forbid_service_start() {
    if [[ -e $policy ]] && ! grep -qxF "$policy_mark" "$policy"; then
        return
    fi
    trap allow_service_start EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
    chmod 755 "$policy"
}

allow_service_start() {
    rm -f "$policy"
}

# As root: installs the named packages.
install_packages() {
    local apt=(apt-get -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
    export DEBIAN_FRONTEND=noninteractive

    # The download fails if package lists are old or missing.
    if ! "${apt[@]}" install --download-only "$@" >/dev/null 2>&1; then
        "${apt[@]}" update || die "apt-get update failed; these packages are missing: $*"
    fi
    forbid_service_start
    "${apt[@]}" install "$@" >/dev/null || die "apt-get could not install: $*"
    keep_disabled "$@"
}

# Services that this script installed must not start at the next boot either.
keep_disabled() {
    command -v systemctl >/dev/null || return 0
    local package
    for package; do
        case $package in
        nginx | redis-server) systemctl --quiet disable "$package.service" 2>/dev/null || true ;;
        esac
    done
}

# fmt and clippy are absent from rustup's minimal profile.
require_rust() {
    command -v cargo >/dev/null ||
        die "cargo is not in PATH: install Rust, see https://rustup.rs${SUDO_USER:+, or run make without sudo, which it calls itself}"
    [[ $1 == test ]] || return 0
    local component
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 && continue
        command -v rustup >/dev/null || die "cargo $component is missing: install that component of Rust"
        rustup component add "${component/#fmt/rustfmt}"
    done
}

case ${1-} in
serve) wanted=("${serve[@]}") ;;
run) wanted=("${run[@]}") ;;
unit) wanted=("${unit[@]}") ;;
redis) wanted=("${unit[@]}" "${redis[@]}") ;;
test) wanted=("${run[@]}" "${redis[@]}" "${test[@]}") ;;
clients) wanted=("${run[@]}" "${redis[@]}" "${test[@]}" "${clients[@]}") ;;
bench) wanted=("${run[@]}" "${redis[@]}" "${test[@]}" "${bench[@]}") ;;
valgrind) wanted=("${run[@]}" "${redis[@]}" "${test[@]}" "${valgrind[@]}") ;;
packages) # this script calls itself with sudo
    shift
    install_packages "$@"
    exit
    ;;
*) die "usage: deps.sh serve|run|unit|redis|test|clients|bench|valgrind" ;;
esac

[[ $1 == serve ]] || require_rust "$1"
command -v dpkg-query >/dev/null || die "this is not a Debian system; install the equivalents of: ${wanted[*]}"
mapfile -t missing < <(missing_of "${wanted[@]}")
((${#missing[@]})) || exit 0

printf 'deps.sh: installing %s\n' "${missing[*]}"
if ((EUID == 0)); then
    install_packages "${missing[@]}"
elif command -v sudo >/dev/null; then
    ask=()
    [[ -t 0 ]] || ask=(-n)
    sudo "${ask[@]}" -- "$0" packages "${missing[@]}" || die "could not install, as root run: apt-get install ${missing[*]}"
else
    die "not root and no sudo; as root run: apt-get install ${missing[*]}"
fi
