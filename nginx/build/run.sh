#!/usr/bin/env bash
# Runs the gateway on 127.0.0.1:8004, with the mock of the OpenAI API on 127.0.0.1:8080 as its upstream.
#
#   run.sh run     until Ctrl-C
#   run.sh demo    for one streamed answer; checks it, and the lease in the access log
#   run.sh config  prints the configuration that it would run
#
# Requires the module and the mock (see the Makefile). NGINX is the nginx to run; default: the one in PATH. Variables
# that are not set are read from .env at the top of the repository, or from the file in ENV_FILE; see nginx/env.example.
# All files are written below target/run.
set -euo pipefail

die() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
prefix=$target/run
module=$target/release/ngx_http_openai_module.so
mock=$target/release/mock-upstream
log=$prefix/logs/access.json
PATH=$PATH:/usr/sbin
nginx=${NGINX:-nginx}
unset NGINX # nginx reads inherited sockets from a variable of this name

gateway_port=8004
mock_port=8080
mock_pid=
nginx_pid=
token=

# Whether something listens on this port of the loopback interface.
listening() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Waits until the process that was just started listens. If it does not, prints its last output and fails.
await_port() {
    local port=$1 pid=$2 output=$3
    for ((tries = 0; tries < 100; tries++)); do
        kill -0 "$pid" 2>/dev/null || break
        if listening "$port"; then return; fi
        sleep 0.1
    done
    tail -n 5 "$output" >&2
    die "nothing listens on 127.0.0.1:$port, see $output"
}

stop() {
    trap - EXIT HUP INT TERM
    local pid
    for pid in $nginx_pid $mock_pid; do
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}

# Sets the variables of a file with NAME=value lines that are not set yet. The file is not executed.
read_env_file() {
    local file=$1 line name number=0
    [[ -f $file ]] || return 0
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        line=${line%$'\r'}
        [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
        [[ $line =~ ^([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] || die "$file, line $number: not NAME=value"
        name=${BASH_REMATCH[1]}
        [[ -n ${!name+set} ]] || export "$name=${BASH_REMATCH[2]}"
    done <"$file"
}

# Prints the configuration. With REDIS_URL set, leases are locks on these Redis servers.
config() {
    local edits=(-e '')
    if [[ -n ${REDIS_URL-} ]]; then
        edits+=(-e 's/^\( *\)#redis /\1/')
        if [[ -n ${REDIS_PASSWORD-} ]]; then edits+=(-e 's/^\( *\)#password /\1/'); fi
    fi
    sed "${edits[@]}" nginx/run.conf
}

start() {
    [[ -f $module ]] || die "the module is not built; run: make module"
    [[ -x $mock ]] || die "the mock is not built; run: cargo build --release -p mock-upstream"
    local port
    for port in $gateway_port $mock_port; do
        if listening "$port"; then die "127.0.0.1:$port is in use; stop the program that listens there, and try again"; fi
    done

    # Defaults for variables that are not set.
    export PRIMARY_OPENAI_API_KEY=${PRIMARY_OPENAI_API_KEY:-sk-demo-not-a-real-key}
    export SERVICE_TOKEN=${SERVICE_TOKEN:-$(random_token)}
    export ADMIN_TOKEN=${ADMIN_TOKEN:-$(random_token)}
    export DEV_MODE=${DEV_MODE:-true}
    token=dev-token
    [[ $DEV_MODE == true ]] || token=$SERVICE_TOKEN

    mkdir -p "$prefix/logs" "$prefix/modules" "$prefix/temp"
    config >"$prefix/nginx.conf"
    cp nginx/log_format.conf "$prefix/"
    ln -sfn "$module" "$prefix/modules/${module##*/}"
    : >"$log"

    trap stop EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM

    "$mock" >"$prefix/logs/mock.log" 2>&1 </dev/null &
    mock_pid=$!
    await_port $mock_port "$mock_pid" "$prefix/logs/mock.log"

    # The workers of an nginx that root starts run as nobody, which has no access to a checkout below /root.
    local globals='daemon off;'
    ((EUID != 0)) || globals+=' user root;'
    "$nginx" -p "$prefix/" -e logs/error.log -c "$prefix/nginx.conf" -g "$globals" \
        >"$prefix/logs/nginx.out" 2>&1 </dev/null &
    nginx_pid=$!
    await_port $gateway_port "$nginx_pid" "$prefix/logs/nginx.out"
}

random_token() {
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

# Sends a request as a client does; -N prints each chunk when it arrives.
chat() {
    curl -sS -N --fail-with-body --max-time 30 "http://127.0.0.1:$gateway_port/v1/chat/completions" \
        -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
        -d '{"model":"gpt-3.5-turbo","stream":true,"messages":[{"role":"user","content":"Who powers you?"}]}'
}

run() {
    # A token that is set is not printed.
    local shown=dev-token tokens='dev-token; for the status page: admin-token'
    if [[ ${DEV_MODE:-true} != true ]]; then
        [[ -n ${SERVICE_TOKEN-} ]] || die "with DEV_MODE=$DEV_MODE dev-token is rejected: set SERVICE_TOKEN, or DEV_MODE=true"
        shown=\$SERVICE_TOKEN tokens='the value of SERVICE_TOKEN, because DEV_MODE is off; for the status page: ADMIN_TOKEN'
    fi
    start
    trap 'exit 0' INT # Ctrl-C is the normal end
    cat <<-TEXT

	gateway        http://127.0.0.1:$gateway_port/v1
	token          $tokens
	mock upstream  http://127.0.0.1:$mock_port
	access log     $log
	events         $prefix/logs/events.json
	errors         $prefix/logs/error.log

	curl -N http://127.0.0.1:$gateway_port/v1/chat/completions -H "Authorization: Bearer $shown" \\
	  -H 'Content-Type: application/json' \\
	  -d '{"model":"gpt-3.5-turbo","stream":true,"messages":[{"role":"user","content":"Hello"}]}'

	Ctrl-C stops both.
	TEXT
    # If nginx or the mock ends, the run ends.
    wait -n "$nginx_pid" "$mock_pid" || true
    die "nginx or the mock has ended unexpectedly, see $prefix/logs"
}

demo() {
    start
    local answer text line
    chat | tee "$prefix/logs/answer" || die "the request failed, see $prefix/logs/error.log"
    answer=$(cat "$prefix/logs/answer")
    text=$(sed -n 's/^data: .*"content":"\([^"]*\)".*/\1/p' <<<"$answer" | tr -d '\n')
    [[ $text == 'powered by openai' ]] || die "the answer says '$text', not 'powered by openai'"
    [[ $answer == *'data: [DONE]'* ]] || die "the stream does not end with [DONE]"

    # nginx logs a request after its last byte has been sent, which can be after curl has received it.
    for ((tries = 0; tries < 50; tries++)); do
        [[ ! -s $log ]] || break
        sleep 0.1
    done
    line=$(tail -n 1 "$log")
    printf '\n%s\n' "$line"
    [[ $line == *'"lease_status":"immediate"'* ]] || die "the access log shows no lease"
    [[ $line != *"$PRIMARY_OPENAI_API_KEY"* ]] || die "the access log contains the key"
}

read_env_file "${ENV_FILE-.env}"
case ${1-} in
run | demo | config) "$1" ;;
*) die "usage: run.sh run|demo|config" ;;
esac
