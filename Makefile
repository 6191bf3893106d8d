# drainit: what can be made. `make` alone lists it.

ENVOY_VERSION ?= 1.40.0
ENVOY_TESTED = 1.37.0 1.38.3 1.40.0
HOST = $(shell uname -m)
ARCH ?= $(HOST)
OTHER = aarch64
CROSS = $(filter-out $(HOST),$(ARCH))
STATIC = target/static$(CROSS:%=/%)
MUSL = $(ARCH)-unknown-linux-musl
GNU = $(ARCH)-unknown-linux-gnu
CARGO ?= cargo

# How the demo's gateway is stopped: drainit, or for comparison plain, recipe or careful.
MODE ?= drainit

.DEFAULT_GOAL := help
.PHONY: help build static envoy demo rollout test lint budget budget-update bench bench-scale bench-rollout clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 16

build: ## target/release/drainit
	$(CARGO) build --release --locked

static: $(if $(CROSS),cross) ## target/static/drainit: one file that runs in an empty image; ARCH=aarch64: target/static/aarch64/drainit
	@mkdir -p $(STATIC)
	@if $(call has_target,$(MUSL)); then $(call build_static,$(MUSL),$(MUSL_ENV)); \
	else echo "no $(MUSL) here: linking glibc statically"; $(call build_static,$(GNU),$(GNU_ENV)); fi

envoy: target/envoy/$(ENVOY_VERSION)/envoy ## target/envoy/ENVOY_VERSION/envoy, a real Envoy (1.40.0)

demo: build envoy python ## a gateway under traffic is replaced, and no request fails
	@$(CARGO) run --release --locked --quiet --example demo -- $(MODE)

rollout: static envoy rollout-tools ## two gateway containers are replaced under load: bash entrypoints, and drainit
	$(CARGO) build --locked --quiet --example policy-engine
	@$(CARGO) run --locked --quiet --example rollout -- $(MODES)

test: $(ENVOY_TESTED:%=target/envoy/%/envoy) python servers peers ## all tests, with three versions of Envoy
	@$(call has_target,$(OTHER)-unknown-linux-musl); if $(call has_libstd,$(OTHER)-unknown-linux-musl); \
		then $(MAKE) --no-print-directory static ARCH=$(OTHER) || echo "no binary for $(OTHER): its tests are skipped"; \
		else mkdir -p target/static/$(OTHER) && echo "no standard library of Rust for it" | tee target/static/$(OTHER)/missing; fi
	$(CARGO) test --locked --workspace -- --skip docker::
	$(CARGO) test --locked --test main docker::

lint: ## format, clippy, and licences, bans and sources of the dependencies
	@! grep -rnE --exclude-dir=.git --exclude-dir=target '^(<{7}|>{7}) ' . || { echo "a merge is not finished" >&2; exit 1; }
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; \
	else echo "cargo-deny is not installed: dependencies not checked"; fi

bench-rollout: build $(ENVOY_TESTED:%=target/envoy/%/envoy) bench-tools ## rollouts under every kind of traffic; QUICK=1 for a minute of it, ROW="drain time" for the rows that are called so
	@$(CARGO) run --release --locked --quiet --package benches --bin bench-rollout -- $(if $(QUICK),--quick,$(if $(ROW),"$(ROW)"))

budget: static python valgrind ## instructions and size of the static binary, held against benches/budget.toml
	@benches/budget.py $(STATIC)/drainit

budget-update: static python valgrind ## writes benches/budget.toml anew
	@benches/budget.py --update $(STATIC)/drainit

bench-scale: static python target/bench-tools/bench-child ## graphs of up to 5,000 processes, by shape: what each costs to start, to hold and to stop
	@python3 -B benches/peers/shapes.py

bench: static envoy python bench-peers ## drainit beside its peers, into docs/benchmarks.md; QUICK=1 for a look, ROWS="graph logs" for some
	@QUICK=$(QUICK) python3 -B benches/peers/main.py $(ROWS)

clean: ## everything that was built or downloaded
	$(CARGO) clean
	@docker image prune --all --force --filter label=drainit-test >/dev/null 2>&1 || true

# Whether the standard library of a Rust target is installed, or can be.
has_libstd = ls "$$(rustc --print target-libdir --target $(1))"/libstd-*.rlib >/dev/null 2>&1
has_target = $(call has_libstd,$(1)) || { timeout 120 rustup target add $(1) >/dev/null 2>&1; $(call has_libstd,$(1)); }
build_static = $(2) $(CARGO) build --release --locked --bin drainit --target $(1) && \
	install target/$(1)/release/drainit $(STATIC)/
# rustc links a static PIE by itself only for x86-64. Elsewhere the linker is asked for one, and given the start files of
# musl that belong to it.
GNU_ENV = RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-static-pie"
MUSL_CRT = $(shell rustc --print target-libdir --target $(MUSL))/self-contained
MUSL_PIE = -C link-self-contained=no -L $(MUSL_CRT) $(addprefix -C link-arg=,-nostartfiles -static-pie \
	$(addprefix $(MUSL_CRT)/,rcrt1.o crti.o crtbeginS.o) -lc $(addprefix $(MUSL_CRT)/,crtendS.o crtn.o))
# The linker of another machine; there is no C to compile.
MUSL_ENV = $(if $(filter-out x86_64,$(ARCH)),RUSTFLAGS="$(MUSL_PIE)") \
	$(CROSS:%=CARGO_TARGET_$(shell echo $(MUSL) | tr a-z- A-Z_)_LINKER=%-linux-gnu-gcc)

target/envoy/%/envoy:
	@examples/gateway/get-envoy.sh $*

.PHONY: python
python:
	@command -v python3 >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q && \
		apt-get install -q -y --no-install-recommends python3; } || \
		{ echo "python3 is needed for the gateway: install it and run make again" >&2; exit 1; }

# What the rollout bench makes its networks and its load with. Where it cannot be installed, the bench says what is missing.
.PHONY: bench-tools
bench-tools:
	@$(call installed,ip nft nsenter wrk) || $(call install,iproute2 nftables util-linux wrk)

# What drainit is measured beside, with Debian's versions, and the program that all of them run. What cannot be installed is
# named in the table; a Horust that cannot be built is tried again by the next run.
HORUST_VERSION = 0.1.14
BENCH_PEERS = tini dumb-init catatonit s6 runit supervisor hyperfine bash mawk curl util-linux
.PHONY: bench-peers
bench-peers: target/bench-tools/bench-child
	@$(call installed,tini dumb-init catatonit s6-svscan runsvdir supervisord hyperfine mawk curl taskset unshare) || \
		$(call install,$(BENCH_PEERS))
	@test -x target/bench-tools/bin/horust || \
		CARGO_PROFILE_RELEASE_STRIP=true timeout 900 $(CARGO) install --locked --root target/bench-tools horust@$(HORUST_VERSION) || \
		echo "Horust cannot be built: the bench goes on without it" >&2

target/bench-tools/bench-child: benches/peers/child.rs
	@mkdir -p $(@D)
	@if $(call has_target,$(MUSL)); then $(BENCH_CHILD) --target $(MUSL) $<; \
	else $(BENCH_CHILD) --target $(GNU) -C target-feature=+crt-static $<; fi
BENCH_CHILD = rustc --edition 2024 -O -C panic=abort -C strip=symbols -o $@

# The servers of the examples, and the inits that drainit is held against. Where they cannot be installed, their tests are
# skipped by name.
.PHONY: servers peers cross rollout-tools valgrind
rollout-tools:
	@$(call installed,tini curl envsubst haproxy) && dpkg -s python3 >/dev/null || \
		$(call install,tini curl gettext-base haproxy python3)
servers:
	@$(call installed,nginx haproxy gunicorn) || $(call install,nginx-light haproxy gunicorn)
valgrind:
	@$(call installed,valgrind) || $(call install,valgrind)
peers:
	@$(call installed,tini dumb-init) || $(call install,tini dumb-init)
# What builds and runs the binary of a machine that this is not.
cross:
	@$(call installed,$(CROSS)-linux-gnu-gcc qemu-$(CROSS)-static) || \
		$(call install,gcc-$(subst _,-,$(CROSS))-linux-gnu libc6-dev-$(FOREIGN_DEBIAN)-cross qemu-user-static)
FOREIGN_DEBIAN = $(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(CROSS)))
installed = (for p in $(1); do PATH="$$PATH:/usr/sbin" command -v $$p >/dev/null || exit 1; done)
install = { [ "$$(id -u)" != 0 ] || { apt-get update -q && \
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(1); }; }
