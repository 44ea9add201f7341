#!/usr/bin/env bash
# Runs the gateway on 127.0.0.1:8004 before the mock of the OpenAI API on 127.0.0.1:8080.
#
#   run.sh run     until Ctrl-C
#   run.sh demo    for one streamed answer, which it checks together with the lease in the log
#   run.sh config  shows the configuration that it would run
#
# Wants the module and the mock built (see the Makefile). NGINX names the nginx; default: the one in PATH.
# Everything that is written lands in target/run.
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
unset NGINX # nginx itself reads that variable: sockets handed over by an older nginx

gateway_port=8004
mock_port=8080
mock_pid=
nginx_pid=

# Is anything listening on this port of the loopback interface?
listening() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Waits until the child that was just started listens; its own words follow when it does not.
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

# Leases live on the Redis servers of REDIS_URL, if there are any.
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
        if listening "$port"; then die "127.0.0.1:$port is taken; stop what listens there and run this again"; fi
    done

    # The defaults of a demonstration; what the environment says goes first.
    export PRIMARY_OPENAI_API_KEY=${PRIMARY_OPENAI_API_KEY:-sk-demo-not-a-real-key}
    export SERVICE_TOKEN=${SERVICE_TOKEN:-$(random_token)}
    export ADMIN_TOKEN=${ADMIN_TOKEN:-$(random_token)}
    export DEV_MODE=${DEV_MODE:-true}

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

    # The workers of a root's nginx would be nobody, who may not enter a checkout below /root.
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

# As any client would; -N shows each chunk as it comes.
chat() {
    curl -sS -N --fail-with-body --max-time 30 "http://127.0.0.1:$gateway_port/v1/chat/completions" \
        -H 'Authorization: Bearer dev-token' -H 'Content-Type: application/json' \
        -d '{"model":"gpt-3.5-turbo","stream":true,"messages":[{"role":"user","content":"Who powers you?"}]}'
}

run() {
    start
    trap 'exit 0' INT # Ctrl-C is how this ends well
    cat <<-TEXT

	gateway        http://127.0.0.1:$gateway_port/v1   (token: dev-token)
	mock upstream  http://127.0.0.1:$mock_port
	access log     $log
	events         $prefix/logs/events.json
	errors         $prefix/logs/error.log

	curl -N http://127.0.0.1:$gateway_port/v1/chat/completions -H 'Authorization: Bearer dev-token' \\
	  -H 'Content-Type: application/json' \\
	  -d '{"model":"gpt-3.5-turbo","stream":true,"messages":[{"role":"user","content":"Hello"}]}'

	Ctrl-C stops both.
	TEXT
    # Whichever ends first ends the run.
    wait -n "$nginx_pid" "$mock_pid" || true
    die "nginx or the mock has ended, see $prefix/logs"
}

demo() {
    [[ ${DEV_MODE:-true} == true ]] || die "the demo's token needs DEV_MODE=true"
    start
    local answer text line
    chat | tee "$prefix/logs/answer" || die "the request failed, see $prefix/logs/error.log"
    answer=$(cat "$prefix/logs/answer")
    text=$(sed -n 's/^data: .*"content":"\([^"]*\)".*/\1/p' <<<"$answer" | tr -d '\n')
    [[ $text == 'powered by openai' ]] || die "the answer says '$text', not 'powered by openai'"
    [[ $answer == *'data: [DONE]'* ]] || die "the stream has no end"

    # nginx logs a request once its last byte is out, so perhaps after curl has it.
    for ((tries = 0; tries < 50; tries++)); do
        [[ ! -s $log ]] || break
        sleep 0.1
    done
    line=$(tail -n 1 "$log")
    printf '\n%s\n' "$line"
    [[ $line == *'"lease_status":"immediate"'* ]] || die "the access log shows no lease"
    [[ $line != *"$PRIMARY_OPENAI_API_KEY"* ]] || die "the access log shows the key itself"
}

case ${1-} in
run | demo | config) "$1" ;;
*) die "usage: run.sh run|demo|config" ;;
esac
