# Each target installs what it needs and is missing (nginx/build/deps.sh) and can be run on its own.
# The work is done by the scripts in nginx/build; `make help` lists the targets.

export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))

BUILD  := nginx/build
MODULE := release/ngx_http_openai_module.so

# Flavours of nginx side by side, each with headers and a module of its own.
DEBIAN   := $(CARGO_TARGET_DIR)/nginx-debian
STABLE   := $(CARGO_TARGET_DIR)/nginx-stable
VALGRIND := $(CARGO_TARGET_DIR)/nginx-valgrind
ASAN     := $(CARGO_TARGET_DIR)/nginx-asan

# For `make module` only: an nginx that inherits it takes it for sockets handed over by an older nginx.
NAMED_NGINX := $(if $(filter undefined,$(origin NGINX)),,NGINX='$(NGINX)')
unexport NGINX

# make test-debian ARGS=reload: only the end-to-end tests with that in their name.
ARGS         ?=
# Most tests wait more than they work: two for each core. Those that judge what happens at which time get a core each.
TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))
FUZZ_SECONDS ?= 60

# The end-to-end suite in this nginx with this module. The nemeses want the machine for themselves.
define E2E
	E2E_NGINX=$(1) E2E_MODULE=$(2) RUST_TEST_THREADS=$(TEST_THREADS) \
	    cargo test --package e2e --lib --bins --test e2e --test conformance -- $(or $(ARGS),--skip redlock::nemesis)
	$(if $(ARGS),,E2E_NGINX=$(1) E2E_MODULE=$(2) cargo test --package e2e --test e2e -- redlock::nemesis)
endef

# What runs under valgrind and with AddressSanitizer, unless ARGS says otherwise: the way of a key, and whatever can
# end it. Tests with failing calls preload a library of their own, which neither allows.
VALGRIND_TESTS := auth:: bodies:: clones:: endings:: injection:: leases:: log_format:: own_answers:: own_header:: \
    quit:: redirects:: reload:: routes:: stopped_worker:: streaming:: subrequests:: upstream_faults:: usage:: \
    variables:: waiting::

# The targets share cargo's lock, ports and apt.
.NOTPARALLEL:
.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z][a-z%-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: deps
deps: ## install what building, running and testing needs, but for `make test-clients`
	$(BUILD)/deps.sh test

## Building

.PHONY: module
module: ## the module for the nginx in PATH (or NGINX=, NGINX_SOURCE_DIR=, NGINX_BUILD_DIR=)
	$(NAMED_NGINX) $(BUILD)/module.sh

.PHONY: module-debian
module-debian:
	$(BUILD)/deps.sh run
	NGINX=/usr/sbin/nginx NGINX_SOURCE_DIR= $(BUILD)/module.sh

.PHONY: module-stable
module-stable: ## a current stable nginx, built from source, and the module for it
	$(BUILD)/deps.sh run
	headers=$$($(BUILD)/stable.sh $(STABLE)) && \
	    env $$headers CARGO_TARGET_DIR=$(STABLE) $(BUILD)/module.sh

# Its pools take each piece of memory from malloc: what lies beyond the piece, valgrind can tell.
.PHONY: module-valgrind
module-valgrind:
	$(BUILD)/deps.sh valgrind
	headers=$$($(BUILD)/stable.sh $(VALGRIND) -DNGX_DEBUG_PALLOC=1) && \
	    env $$headers CARGO_TARGET_DIR=$(VALGRIND) $(BUILD)/module.sh

# nginx takes the runtime of gcc's sanitizer along, which the module's code uses as well. A sanitizer is unstable in Rust.
# A target that is named keeps RUSTFLAGS from build scripts, which would lack the runtime.
ASAN_TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')
.PHONY: module-asan
module-asan:
	$(BUILD)/deps.sh test
	headers=$$($(BUILD)/stable.sh $(ASAN) -DNGX_DEBUG_PALLOC=1 -fsanitize=address -fno-omit-frame-pointer) && \
	    env $$headers CARGO_TARGET_DIR=$(ASAN) CARGO_BUILD_TARGET=$(ASAN_TRIPLE) \
	    RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=address -Cforce-frame-pointers=yes' \
	    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
	    CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true $(BUILD)/module.sh

.PHONY: keys
keys: ## the tool for encrypted key files: target/release/openai-keys
	cargo build --release --package openai-keys

.PHONY: mock
mock:
	cargo build --release --package mock-upstream

## Running

.PHONY: run
run: module-debian mock ## the gateway on 127.0.0.1:8004 before the mock upstream, until Ctrl-C
	NGINX=/usr/sbin/nginx $(BUILD)/run.sh run

.PHONY: demo
demo: module-debian mock ## one streamed answer through the gateway, and its line in the access log
	NGINX=/usr/sbin/nginx $(BUILD)/run.sh demo

## Checking

.PHONY: check-metrics
check-metrics: ## the text of /metrics and the alert rules, by Debian's promtool (a download of 19 MB)
	$(BUILD)/promtool.sh

.PHONY: test
test: lint test-unit test-redis test-debian test-stable test-clients ## everything; stops at the first suite that fails

.PHONY: lint
lint: deps ## formatting, clippy, shellcheck, directions of imports
	cargo fmt --all --check
	cargo clippy --workspace --exclude nginx-safe --exclude ngx_http_openai_module --all-targets -- -D warnings
	@# In release, so that the module's build below finds its build scripts compiled.
	headers=$$($(BUILD)/debian-source.sh $(DEBIAN)) && \
	    env $$headers cargo clippy --release --package nginx-safe --package ngx_http_openai_module --all-targets -- -D warnings
	python3 $(BUILD)/layers.py
	shellcheck $(BUILD)/*.sh nginx/container/*.sh .ci/run $(wildcard benches/*.sh)

.PHONY: audit
audit: ## licences, duplicates and bans of the dependencies (deny.toml); needs cargo-deny
	@command -v cargo-deny >/dev/null || { echo 'make audit: run this first: cargo install --locked cargo-deny' >&2; exit 1; }
	cargo deny --workspace --locked check bans licenses sources

# The root's default members: neither nginx, nor Redis, nor a registry but that of Rust crates.
.PHONY: test-unit
test-unit: ## the crates that need no nginx: `cargo test`, and openai-keys without age
	$(BUILD)/deps.sh unit
	cargo test
	cargo test --package openai-keys --no-default-features

.PHONY: test-redis
test-redis: ## what is held against a real redis-server
	$(BUILD)/deps.sh redis
	cargo test --test redlock_scripts --test redis_servers -- --ignored

.PHONY: test-debian
test-debian: deps module-debian ## end to end, in Debian's nginx
	$(call E2E,/usr/sbin/nginx,$(CARGO_TARGET_DIR)/$(MODULE))

.PHONY: test-stable
test-stable: deps module-stable ## end to end, in a current stable nginx; tests of nginx-safe, linked with its objects
	headers=$$($(BUILD)/stable.sh $(STABLE)) && \
	    env $$headers CARGO_TARGET_DIR=$(STABLE) cargo test --release --package nginx-safe
	$(call E2E,$(STABLE)/objs/nginx,$(STABLE)/$(MODULE))

# With one nginx: what these programs see is the module, and each behaviour that differs has its test above.
.PHONY: test-clients
test-clients: module-debian ## OpenAI's clients (PyPI, npm), Schemathesis (PyPI) and Chromium, in Debian's nginx
	$(BUILD)/deps.sh clients
	E2E_NGINX=/usr/sbin/nginx E2E_MODULE=$(CARGO_TARGET_DIR)/$(MODULE) \
	    cargo test --package e2e --test clients -- $(ARGS)

.PHONY: valgrind
valgrind: module-valgrind ## the core of the end-to-end suite with nginx under valgrind: no error, no leak
	E2E_NGINX=$(VALGRIND)/objs/nginx E2E_MODULE=$(VALGRIND)/$(MODULE) E2E_VALGRIND=1 E2E_PATIENCE=4 \
	    cargo test --package e2e --test e2e -- $(or $(ARGS),$(VALGRIND_TESTS) --skip failing_calls::)

.PHONY: asan
asan: module-asan ## the same with nginx and the module built with AddressSanitizer
	E2E_NGINX=$(ASAN)/objs/nginx E2E_MODULE=$(ASAN)/$(ASAN_TRIPLE)/$(MODULE) E2E_ASAN=1 E2E_PATIENCE=4 \
	    cargo test --package e2e --test e2e -- $(or $(ARGS),$(VALGRIND_TESTS) --skip failing_calls::)

.PHONY: nemesis
nemesis: deps module-debian ## exclusive leases while Redis, links, workers and clients fail; ARGS=--help says more
	E2E_NGINX=/usr/sbin/nginx E2E_MODULE=$(CARGO_TARGET_DIR)/$(MODULE) \
	    cargo run --release --package e2e --bin nemesis -- $(ARGS)

.PHONY: storm
storm: deps module-debian ## rate-limited and invalid keys and a failing upstream under load: clients notice nothing
	E2E_NGINX=/usr/sbin/nginx E2E_MODULE=$(CARGO_TARGET_DIR)/$(MODULE) \
	    cargo test --package e2e --test e2e -- --ignored --nocapture failover::storm

.PHONY: long
long: deps module-debian ## 50 services of 200 cycles each for 5 slots; one lock prolonged by two; 5,000 mixed requests against the mock's ledger
	E2E_NGINX=/usr/sbin/nginx E2E_MODULE=$(CARGO_TARGET_DIR)/$(MODULE) \
	    cargo test --package e2e --test e2e -- --ignored --nocapture lock_service::cycles lock_service::extends usage::counters

.PHONY: schemathesis
schemathesis: module-debian ## requests made up by the lock service's OpenAPI document, EXAMPLES (1000) each
	$(BUILD)/deps.sh clients
	SCHEMATHESIS_EXAMPLES=$(or $(EXAMPLES),1000) E2E_NGINX=/usr/sbin/nginx E2E_MODULE=$(CARGO_TARGET_DIR)/$(MODULE) \
	    cargo test --package e2e --test clients -- --nocapture schemathesis

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZ_SECONDS (60); needs a nightly Rust and cargo-fuzz
	@command -v cargo-fuzz >/dev/null || { echo 'make fuzz: run this first: cargo install cargo-fuzz' >&2; exit 1; }
	cd module/wire && targets=$$(cargo +nightly fuzz list) && for target in $$targets; do \
	    cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

## Measuring

.PHONY: bench
bench: bench-setup ## every comparison with plain nginx, and the mock: about a quarter of an hour
	benches/run.sh

bench-%: bench-setup ## one of them by name (see benches/run.sh); core: criterion benches; peers: other gateways
	benches/run.sh $*

.PHONY: bench-ab
bench-ab: bench-setup ## the module beside an older build of it, in turn: OLD=path/of/older.so
	@test -f '$(OLD)' || { echo 'make bench-ab: say OLD=path/of/an/older/ngx_http_openai_module.so' >&2; exit 1; }
	benches/run.sh ab --old '$(OLD)'

.PHONY: bench-setup
bench-setup: module-debian mock
	$(BUILD)/deps.sh bench

.PHONY: clean
clean: ## remove everything that was built
	cargo clean
