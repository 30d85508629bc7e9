# Everything that a person or CI does with this tree. `make` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Built things live outside the clone, so that a fresh clone is not a fresh build.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/squall
export CARGO_TARGET_DIR ?= $(CACHE)/target
TOOLS := $(CACHE)/tools
export PATH := $(TOOLS)/bin:$(PATH)

NEXTEST := 0.9.151
DENY := 0.20.2

BED := tests/testbed/testbed.sh
SQUALL := $(CARGO_TARGET_DIR)/debug/squall
STATIC := $(CACHE)/static/squall
IMAGE := squall:dev
IMAGE_TAR := $(CACHE)/static/squall-dev.tar
# Needs nothing but Go's standard library: no test bed has to be built for an image.
MKIMAGE := cd tests/testbed && go run ./mkimage

# command=Debian package. What the test bed needs it looks for and installs by itself.
BUILD_NEEDS := cargo cc=gcc
LINT_NEEDS := shellcheck=shellcheck

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## Rehearse experiments/pod-kill.yaml on the embedded cluster, and open the report
	@.ci/demo "$(SQUALL)"

.PHONY: demo-cluster
demo-cluster: build ## Run experiments/pod-kill.yaml on a demo app in the test bed, whichever is up
	@.ci/need go
	@.ci/demo-cluster "$(BED)" "$(SQUALL)"

.PHONY: simulate
simulate: needs-build ## Let the runner die in each of its calls, and in foul weather with SEEDS=10000 seeds, on the embedded cluster; write docs/simulation.md
	SQUALL_SEEDS=$(or $(SEEDS),10000) SQUALL_SIMULATION_PAGE=docs/simulation.md \
		cargo test --locked --release --test simulation -- --nocapture --test-threads=1

.PHONY: test
test: unit e2e ## All tests: unit, tree, documents, then the cluster tests on the test bed

.PHONY: unit
unit: needs-build nextest hlog-reader cloud-test ## The tests that need no cluster
	cargo test --locked --doc --quiet
	cargo nextest run --locked

# Its Python packages come from PyPI once, so it is no part of the tests.
.PHONY: lab-tools
lab-tools: build ## Let Chaos Toolkit, and the kubectl that is there, work on `squall lab serve`
	@.ci/need python3=python3-venv curl flock=util-linux
	@tests/lab/chaos-toolkit.sh "$(SQUALL)"
	@if command -v kubectl >/dev/null; then tests/lab/kubectl.sh "$(SQUALL)" "$$(command -v kubectl)"; fi

.PHONY: e2e
e2e: needs-build nextest image hlog-reader ## The cluster tests, on the test bed or on the context in SQUALL_E2E_CONTEXT
	@.ci/e2e "$(BED)" "$(IMAGE_TAR)"

# Fetched and compiled ahead: the cluster tests run where there is no network but the test bed's.
.PHONY: hlog-reader
hlog-reader:
	@.ci/need go
	@cd tests/hlog && go build -o /dev/null .

# AWS's API on the test bed. Its Python packages come from PyPI once.
.PHONY: cloud-test
cloud-test: ## The tests and the linter of the test bed's AWS, without a cluster
	@.ci/need python3
	@$(BED) check-cloud

.PHONY: testbed
testbed: ## Bring the test bed up, with AWS's API; the first time, build it (five minutes on two cores)
	@.ci/need go python3
	@$(BED) up --cloud --fast-node-monitor

.PHONY: testbed-down
testbed-down: ## Take the test bed down
	$(BED) down

.PHONY: testbed-test
testbed-test: ## Show that the test bed that is up behaves as the tests take for granted: power cuts, API stops, instances
	tests/testbed/selftest.sh
	@if $(BED) cloud state >/dev/null 2>&1; then tests/testbed/cloud/selftest.sh; fi

.PHONY: bench-run
bench-run: release ## Time whole runs beside Chaos Toolkit on the test bed, and write docs/benchmarks.md
	@.ci/need go python3=python3-venv /usr/bin/time=time flock=util-linux
	@benches/run/bench-run.sh "$(BED)" "$(CARGO_TARGET_DIR)/release/squall"

.PHONY: bench-undo
bench-undo: build ## Show what Squall and Chaos Toolkit leave behind after SIGINT and kill -9, into docs/benchmarks.md
	@.ci/need go python3=python3-venv flock=util-linux
	@benches/undo/bench-undo.sh "$(BED)" "$(CARGO_TARGET_DIR)/debug/squall"

.PHONY: bench-truth
bench-truth: needs-build ## Hold Squall and other load tools to a server whose troubles are known, and write docs/measuring.md
	@.ci/need go python3 taskset=util-linux flock=util-linux
	cargo build --locked --release --example faultserver --example ours
	@benches/truth/bench-truth.sh "$(CARGO_TARGET_DIR)/release/examples/faultserver" "$(CARGO_TARGET_DIR)/release/examples/ours"

.PHONY: fidelity
fidelity: build ## Run the scenarios of tests/fidelity on the lab and on the test bed, and write docs/fidelity.md
	@.ci/need go python3 flock=util-linux
	@tests/fidelity/fidelity.sh "$(BED)" "$(SQUALL)"

.PHONY: fidelity-lab
fidelity-lab: build ## The same, holding the lab as it is now to what the bed was measured to do: needs no bed
	@.ci/need python3
	@tests/fidelity/fidelity.sh "$(BED)" "$(SQUALL)" --lab

.PHONY: bench-lab
bench-lab: release ## Time rehearsals on the embedded cluster, and write docs/benchmarks.md
	@.ci/need python3 flock=util-linux
	@benches/lab/bench-lab.sh "$(CARGO_TARGET_DIR)/release/squall"

.PHONY: build
build: needs-build ## Build the squall binary (development profile)
	cargo build --locked

.PHONY: build-tests
build-tests: needs-build nextest ## Build all tests without running them
	cargo nextest run --locked --no-run

.PHONY: lint
lint: needs-build ## Formatting, clippy and rustdoc without warnings, shell scripts
	.ci/need $(LINT_NEEDS)
	.ci/format --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --no-default-features --bin squall -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --quiet
	shellcheck $$(git ls-files '*.sh' .ci)

.PHONY: fmt
fmt: ## Format the Rust and Go sources
	.ci/format

.PHONY: generate
generate: build ## Write the generated files again: schema, docs/faults.md, and the pages of reports/sample
	$(SQUALL) schema >schema/experiment.json
	$(SQUALL) faults --markdown >docs/faults.md
	$(SQUALL) report reports/sample

.PHONY: deny
deny: $(TOOLS)/.cargo-deny-$(DENY) ## Licences, banned and duplicate crates, sources; advisories where SQUALL_ADVISORY_DB is set
	cargo deny --locked check bans licenses sources
ifdef SQUALL_ADVISORY_DB
	cargo deny --locked --offline check advisories
else
	@echo "skipped: cargo deny check advisories (set SQUALL_ADVISORY_DB to a clone of the advisory database to run it)"
endif

# Only the program itself is linked statically; a global RUSTFLAGS would break the proc macros, which are shared libraries.
.PHONY: static
static: needs-build ## A static binary of the development profile, in the cache
	cargo rustc --locked --bin squall -- -C target-feature=+crt-static
	install -D "$(CARGO_TARGET_DIR)/debug/squall" "$(STATIC)"
	ldd "$(STATIC)" | grep -q "statically linked"

.PHONY: release
release: needs-build ## A static binary of the release profile
	cargo rustc --locked --release --bin squall -- -C target-feature=+crt-static
	ldd "$(CARGO_TARGET_DIR)/release/squall" | grep -q "statically linked"
	@echo "$(CARGO_TARGET_DIR)/release/squall"

.PHONY: image
image: static ## A container image from scratch with the static binary alone, as a docker archive
	$(MKIMAGE) $(IMAGE) $(IMAGE_TAR) /squall -- /squall=$(STATIC)

.PHONY: shop-image
shop-image: ## The workload of the cluster tests as a docker archive, for clusters other than the test bed
	cd tests/testbed && CGO_ENABLED=0 go build -trimpath -o $(CACHE)/static/shop ./shop
	$(MKIMAGE) testbed.local/shop:1 $(CACHE)/static/shop.tar /shop -- /shop=$(CACHE)/static/shop

.PHONY: clean-cache
clean-cache: ## Remove everything built: target, tools, test bed
	$(BED) down
	rm -rf "$(CACHE)"

.PHONY: tools
tools: $(TOOLS)/.cargo-nextest-$(NEXTEST) $(TOOLS)/.cargo-deny-$(DENY) ## Build the pinned tools into the cache
	.ci/need $(BUILD_NEEDS) $(LINT_NEEDS) go

.PHONY: needs-build nextest
needs-build:
	@.ci/need $(BUILD_NEEDS)

nextest: $(TOOLS)/.cargo-nextest-$(NEXTEST)

# Unoptimised on purpose: building a tool costs far more than running it. Not into CARGO_TARGET_DIR, where it would stay.
$(TOOLS)/.cargo-nextest-$(NEXTEST):
	env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root $(TOOLS) \
		--no-default-features --features default-no-update --version $(NEXTEST) cargo-nextest
	touch $@

$(TOOLS)/.cargo-deny-$(DENY):
	env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root $(TOOLS) \
		--no-default-features --version $(DENY) cargo-deny
	touch $@
