# Each target installs the packages that it needs and that are missing (nginx/build/deps.sh), and can be run on its own.
# Scripts in nginx/build do the work. `make help` lists the targets.

export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))

BUILD  := nginx/build
MODULE := release/ngx_http_openai_module.so

# Builds of nginx, each with its own headers and its own build of the module.
DEBIAN   := $(CARGO_TARGET_DIR)/nginx-debian
STABLE   := $(CARGO_TARGET_DIR)/nginx-stable
VALGRIND := $(CARGO_TARGET_DIR)/nginx-valgrind
ASAN     := $(CARGO_TARGET_DIR)/nginx-asan

# NGINX is for `make module` only. It is not exported, because nginx reads a variable of this name as a list of sockets
# that an older nginx has handed over.
NAMED_NGINX := $(if $(filter undefined,$(origin NGINX)),,NGINX='$(NGINX)')
unexport NGINX

# make test-debian ARGS=reload: only the end-to-end tests with that in their name.
ARGS         ?=
# Most tests wait most of the time, so two run on each core.
TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))
FUZZ_SECONDS ?= 60

# The end-to-end suite with this nginx and this module. The nemeses run last, one at a time, because they need an idle
# machine.
define E2E
	E2E_NGINX=$(1) E2E_MODULE=$(2) RUST_TEST_THREADS=$(TEST_THREADS) \
	    cargo test --package e2e --lib --bins --test e2e --test conformance -- $(or $(ARGS),--skip redlock::nemesis)
	$(if $(ARGS),,E2E_NGINX=$(1) E2E_MODULE=$(2) cargo test --package e2e --test e2e -- redlock::nemesis)
endef

# The tests that run under valgrind and with AddressSanitizer, unless ARGS selects others: how a key is leased and sent,
# and everything that ends a lease. Tests with failing calls are left out: they preload a library, which neither allows.
VALGRIND_TESTS := auth:: bodies:: clones:: endings:: injection:: leases:: log_format:: own_answers:: own_header:: \
    quit:: redirects:: reload:: routes:: stopped_worker:: streaming:: subrequests:: upstream_faults:: usage:: \
    variables:: waiting::

# Targets cannot run in parallel: they share cargo's lock, ports and apt.
.NOTPARALLEL:
.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z][a-z%-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: deps
deps: ## install everything for building, running and testing, except for `make test-clients`
	$(BUILD)/deps.sh test

## Building

.PHONY: module
module: ## build the module for the nginx in PATH (or NGINX=, NGINX_SOURCE_DIR=, NGINX_BUILD_DIR=)
	$(NAMED_NGINX) $(BUILD)/module.sh

.PHONY: module-debian
module-debian:
	$(BUILD)/deps.sh run
	NGINX=/usr/sbin/nginx NGINX_SOURCE_DIR= $(BUILD)/module.sh

.PHONY: module-stable
module-stable: ## build a stable nginx from source, and the module for it
	$(BUILD)/deps.sh run
	headers=$$($(BUILD)/stable.sh $(STABLE)) && \
	    env $$headers CARGO_TARGET_DIR=$(STABLE) $(BUILD)/module.sh

# Its pools get each piece of memory from malloc, so that valgrind detects accesses beyond it.
.PHONY: module-valgrind
module-valgrind:
	$(BUILD)/deps.sh valgrind
	headers=$$($(BUILD)/stable.sh $(VALGRIND) -DNGX_DEBUG_PALLOC=1) && \
	    env $$headers CARGO_TARGET_DIR=$(VALGRIND) $(BUILD)/module.sh

# nginx links the runtime of gcc's sanitizer, which the module uses as well. Sanitizers are unstable in Rust, hence
# RUSTC_BOOTSTRAP. CARGO_BUILD_TARGET is set so that RUSTFLAGS do not apply to build scripts, which lack the runtime.
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
keys: ## build the tool for encrypted key files: target/release/openai-keys
	cargo build --release --package openai-keys

.PHONY: mock
mock:
	cargo build --release --package mock-upstream

## Running

.PHONY: run
run: module-debian mock ## run the gateway on 127.0.0.1:8004 with the mock upstream, until Ctrl-C; reads .env
	NGINX=/usr/sbin/nginx $(BUILD)/run.sh run

.PHONY: demo
demo: module-debian mock ## show a streamed response through the gateway, and its line in the access log
	NGINX=/usr/sbin/nginx $(BUILD)/run.sh demo

## Checking

.PHONY: check-metrics
check-metrics: ## check the text of /metrics, and test the alert rules, with Debian's promtool (downloads 19 MB)
	$(BUILD)/promtool.sh

.PHONY: test
test: lint test-unit test-redis check-metrics test-debian test-stable test-clients ## run all tests; stops at the first suite that fails

.PHONY: lint
lint: deps ## check formatting, clippy, shell scripts, and import directions between layers
	cargo fmt --all --check
	cargo clippy --workspace --exclude nginx-safe --exclude ngx_http_openai_module --all-targets -- -D warnings
	@# In release mode, so that the build of the module can use the compiled build scripts.
	headers=$$($(BUILD)/debian-source.sh $(DEBIAN)) && \
	    env $$headers cargo clippy --release --package nginx-safe --package ngx_http_openai_module --all-targets -- -D warnings
	python3 $(BUILD)/layers.py
	shellcheck $(BUILD)/*.sh nginx/container/*.sh .ci/run $(wildcard benches/*.sh)

.PHONY: audit
audit: ## check licences, duplicates and bans of the dependencies (deny.toml); needs cargo-deny
	@command -v cargo-deny >/dev/null || { echo 'make audit: run this first: cargo install --locked cargo-deny' >&2; exit 1; }
	cargo deny --workspace --locked check bans licenses sources

# The default members of the workspace, which need neither nginx nor Redis.
.PHONY: test-unit
test-unit: ## run the tests that need neither nginx nor Redis: `cargo test`, and openai-keys without age
	$(BUILD)/deps.sh unit
	cargo test
	cargo test --package openai-keys --no-default-features

.PHONY: test-redis
test-redis: ## run the tests with a real redis-server
	$(BUILD)/deps.sh redis
	cargo test --test redlock_scripts --test redis_servers -- --ignored

# Not part of `make test`: it downloads 35 MB and takes as long as the Redlock tests of the suite, twice.
.PHONY: test-servers
test-servers: deps module-debian ## run the tests with Redis nodes on Redis 8.0 and Valkey 8.1 from Debian trixie (downloads 35 MB)
	for server in redis valkey; do \
	    program=$$($(BUILD)/redis-servers.sh $$server) && export E2E_REDIS_SERVER="$$program" && "$$program" --version && \
	    cargo test --test redlock_scripts --test redis_servers -- --ignored && \
	    E2E_NGINX=/usr/sbin/nginx E2E_MODULE=$(CARGO_TARGET_DIR)/$(MODULE) RUST_TEST_THREADS=$(TEST_THREADS) \
	        cargo test --package e2e --test e2e -- $(or $(ARGS),redlock:: --skip redlock::nemesis) || exit 1; \
	done

.PHONY: test-debian
test-debian: deps module-debian ## run the end-to-end tests in Debian's nginx (ARGS=name selects some)
	$(call E2E,/usr/sbin/nginx,$(CARGO_TARGET_DIR)/$(MODULE))

.PHONY: test-stable
test-stable: deps module-stable ## run the end-to-end tests in a stable nginx, and the tests of nginx-safe, linked with its objects
	headers=$$($(BUILD)/stable.sh $(STABLE)) && \
	    env $$headers CARGO_TARGET_DIR=$(STABLE) cargo test --release --package nginx-safe
	$(call E2E,$(STABLE)/objs/nginx,$(STABLE)/$(MODULE))

# With one nginx only: behaviour that differs between versions of nginx has its tests above.
.PHONY: test-clients
test-clients: module-debian ## run the tests with OpenAI's clients (PyPI, npm), Schemathesis (PyPI) and Chromium, in Debian's nginx
	$(BUILD)/deps.sh clients
	E2E_NGINX=/usr/sbin/nginx E2E_MODULE=$(CARGO_TARGET_DIR)/$(MODULE) \
	    cargo test --package e2e --test clients -- $(ARGS)

.PHONY: valgrind
valgrind: module-valgrind ## run a part of the end-to-end tests with nginx under valgrind
	E2E_NGINX=$(VALGRIND)/objs/nginx E2E_MODULE=$(VALGRIND)/$(MODULE) E2E_VALGRIND=1 E2E_PATIENCE=4 \
	    cargo test --package e2e --test e2e -- $(or $(ARGS),$(VALGRIND_TESTS) --skip failing_calls::)

.PHONY: asan
asan: module-asan ## run the same part with nginx and the module built with AddressSanitizer
	E2E_NGINX=$(ASAN)/objs/nginx E2E_MODULE=$(ASAN)/$(ASAN_TRIPLE)/$(MODULE) E2E_ASAN=1 E2E_PATIENCE=4 \
	    cargo test --package e2e --test e2e -- $(or $(ARGS),$(VALGRIND_TESTS) --skip failing_calls::)

.PHONY: nemesis
nemesis: deps module-debian ## test that leases are exclusive while Redis, links, workers and clients fail; ARGS=--help
	E2E_NGINX=/usr/sbin/nginx E2E_MODULE=$(CARGO_TARGET_DIR)/$(MODULE) \
	    cargo run --release --package e2e --bin nemesis -- $(ARGS)

.PHONY: storm
storm: deps module-debian ## run a load test with rate-limited and invalid keys and a failing upstream
	E2E_NGINX=/usr/sbin/nginx E2E_MODULE=$(CARGO_TARGET_DIR)/$(MODULE) \
	    cargo test --package e2e --test e2e -- --ignored --nocapture failover::storm

.PHONY: long
long: deps module-debian ## run the long versions of some end-to-end tests
	E2E_NGINX=/usr/sbin/nginx E2E_MODULE=$(CARGO_TARGET_DIR)/$(MODULE) \
	    cargo test --package e2e --test e2e -- --ignored --nocapture lock_service::cycles lock_service::extends usage::counters

.PHONY: schemathesis
schemathesis: module-debian ## send requests generated from the OpenAPI document, EXAMPLES (default 1000) per path
	$(BUILD)/deps.sh clients
	SCHEMATHESIS_EXAMPLES=$(or $(EXAMPLES),1000) E2E_NGINX=/usr/sbin/nginx E2E_MODULE=$(CARGO_TARGET_DIR)/$(MODULE) \
	    cargo test --package e2e --test clients -- --nocapture schemathesis

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZ_SECONDS (default 60); needs a nightly Rust and cargo-fuzz
	@command -v cargo-fuzz >/dev/null || { echo 'make fuzz: run this first: cargo install cargo-fuzz' >&2; exit 1; }
	cd module/wire && targets=$$(cargo +nightly fuzz list) && for target in $$targets; do \
	    cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

## Measuring

.PHONY: bench
bench: bench-setup ## run all comparisons with plain nginx, which takes about 15 minutes
	benches/run.sh

bench-%: bench-setup ## run one comparison by its name (see benches/run.sh); core: criterion benchmarks; peers: other gateways
	benches/run.sh $*

.PHONY: bench-ab
bench-ab: bench-setup ## compare the module with an older build: OLD=path/of/older.so
	@test -f '$(OLD)' || { echo 'make bench-ab: set OLD=path/of/an/older/ngx_http_openai_module.so' >&2; exit 1; }
	benches/run.sh ab --old '$(OLD)'

.PHONY: bench-setup
bench-setup: module-debian mock
	$(BUILD)/deps.sh bench

.PHONY: clean
clean: ## remove everything that was built
	cargo clean
