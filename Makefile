# Zeitwork: `make` prints this help.
.DEFAULT_GOAL := help
.PHONY: help run test test-faults test-slow test-docker test-planted check format docs lock bench bench-all bench-events bench-proxy clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv installs from the lock; where its configuration cannot reach the package index, pip does.
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(1) \
	|| $(BIN)/python -m pip install --quiet --require-hashes -r $(1)

help: ## print this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: $(VENV)/.runtime ## start everything, deploy the example, print its URL; Ctrl-C stops it
	@$(BIN)/zeitwork up --example $(ARGS)

test: check ## lint, types, contracts and all tests except the opt-in tiers
	$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

test-faults: $(VENV)/.dev ## every fault test, also those that hold a fault for many seconds
	$(BIN)/pytest -n 2 --dist worksteal -m "" tests/failures tests/integration/test_cluster.py $(ARGS)

test-slow: $(VENV)/.dev ## every test marked slow: long faults, a clone's first run, foreign checkers
	$(BIN)/pytest -m slow $(ARGS)

test-docker: $(VENV)/.dev ## build images with a Docker Engine of the tests' own; installs Debian's docker.io where it is missing
	@PATH="$$PATH:/usr/sbin" command -v dockerd >/dev/null && command -v busybox >/dev/null || \
		{ apt-get update -q && apt-get install -qy --no-install-recommends docker.io busybox-static; }
	$(BIN)/pytest -m docker $(ARGS)

test-planted: $(VENV)/.dev ## plant known bugs in copies of the tree; each must turn its test red
	$(BIN)/python -m tests.failures.planted $(ARGS)

check: $(VENV)/.dev ## format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.runtime ## write the reference of events from their classes (docs/reference)
	$(BIN)/python -m events.reference docs/reference

bench: $(VENV)/.dev ## measure push to live URL, start, memory, builds and their queue; prints figures, asserts nothing
	$(BIN)/python -m tests.benchmarks.first_run
	$(BIN)/python -m tests.benchmarks.push_to_live $(ARGS)
	$(BIN)/python -m tests.benchmarks.samples
	$(BIN)/python -m tests.benchmarks.builds

bench-events: $(VENV)/.dev ## measure the event backbone, each figure beside a peer; asserts nothing
	$(BIN)/python -m tests.benchmarks.events $(ARGS)

bench-proxy: $(VENV)/.dev ## measure the edge beside other proxies, each on one core; needs wrk; asserts nothing
	$(BIN)/python -m tests.benchmarks.proxy $(ARGS)

bench-all: bench bench-events bench-proxy ## all of them

lock: $(VENV)/.dev ## renew the lock files after a change of pyproject.toml
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --group build -o requirements/runtime.lock
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --group dev -c requirements/runtime.lock -o requirements/dev.lock
	$(BIN)/uv pip compile $(LOCK) requirements/uv.in -c requirements/runtime.lock -o requirements/uv.lock

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header

clean: ## remove the environment and caches (data stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/bin/uv: requirements/uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Zeitwork needs Python 3.11 or newer; set PYTHON=/path/to/python3")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "Cannot create a virtual environment: on Debian, apt install python3-venv." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
	@touch $@

$(VENV)/.runtime: $(VENV)/bin/uv requirements/runtime.lock pyproject.toml
	@echo "Installing Zeitwork into $(VENV) …"
	@$(call INSTALL,requirements/runtime.lock)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.lock
	@$(call INSTALL,requirements/dev.lock)
	@touch $@
