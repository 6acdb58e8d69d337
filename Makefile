.DEFAULT_GOAL := help
SHELL := /bin/bash

# Any Python 3.11; Debian 12 calls it python3.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SERVICES := gateway extractor matcher router trainer cli
# Number of chips the demo sends; its state, pictures and logs go below DEMO_DIR.
CHIPS ?= 600
DEMO_DIR ?= out/demo
# Slow package mirrors: wait for large wheels.
export UV_HTTP_TIMEOUT ?= 300

# Run in environments of their own: none of their many packages is one of ours.
AUDIT := pip-audit==2.10.1
SBOM := cyclonedx-bom==7.5.0

.PHONY: help install demo test test-fast test-fault test-k8s fuzz bench check audit sbom format events k8s lock clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## */\1\t/' | expand -t 14

install: $(INSTALLED) ## make the virtual environment from the lock file

$(INSTALLED): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Chipsieve needs Python 3.11, $(PYTHON) is $$($(PYTHON) --version 2>&1): make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/uv.lock
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline --editable .
	@touch $@

demo: $(INSTALLED) ## the main job: render chips, train, start everything, inspect two lines (CHIPS=200 for fewer; DEMO=observability starts Prometheus too)
	@$(BIN)/chipsieve demo --chips $(CHIPS) --dir $(DEMO_DIR) $(if $(filter observability,$(DEMO)),--observe)

# What needs a broker waits half of its time: three at once, also on two cores, and the longest first.
test: $(INSTALLED) ## check, then the tests: unit, contract, fuzz, integration, fault (starts its own Kafka, Valkey, registry)
	@$(MAKE) --no-print-directory check test-fast
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder tests/fault tests/integration

test-fast: $(INSTALLED) ## unit, contract and fuzz tests only, on all cores; no broker
	$(BIN)/pytest -n auto --dist loadfile tests/unit tests/contract tests/fuzz

test-fault: $(INSTALLED) ## 20,000 chips while 60 services are killed, one JSON at the end (SEED=1 CHIPS=2000 KILLS=12)
	@$(BIN)/python -m tests.fault.whole_line

fuzz: $(INSTALLED) ## 110,000 inputs, guided by coverage, on everything that reads bytes from outside; for a nightly run
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/fuzz.lock
	@$(BIN)/python -m tests.fuzz

test-k8s: $(INSTALLED) ## the manifests on a real control plane with KEDA, built from source once (needs Go 1.26, kubectl, openssl)
	@$(BIN)/python -m tests.k8s.binaries
	$(BIN)/pytest tests/k8s -s --timeout=1500

bench: $(INSTALLED) ## all benchmarks in under 10 minutes, on a machine with nothing else to do; writes benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks

check: $(INSTALLED) ## format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(INSTALLED) ## compare the lock files with PyPI's advisories; what cannot be compared fails too (asks PyPI)
	@$(BIN)/python requirements/audit.py $(BIN)/uv tool run --from $(AUDIT) pip-audit -- requirements/dev.lock requirements/extractor-gpu.lock

sbom: $(INSTALLED) ## what each image carries, as CycloneDX: out/sbom/SERVICE.cdx.json
	@mkdir -p out/sbom
	for service in $(SERVICES) extractor-gpu; do \
		$(BIN)/uv tool run --from $(SBOM) cyclonedx-py requirements requirements/$$service.lock --output-format JSON \
			--output-reproducible --output-file out/sbom/$$service.cdx.json || exit 1; \
	done

format: $(INSTALLED) ## rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

events: $(INSTALLED) ## make shared/events.py from schemas/*.avsc
	$(BIN)/python -m shared.wire.generate_events

k8s: $(INSTALLED) ## make the Kubernetes topics, users and alerts from schemas/ and ops/
	$(BIN)/python -m services.cli.generate_kubernetes

lock: $(INSTALLED) ## pin every dependency anew, for development and for each service
	$(BIN)/uv pip compile --quiet --upgrade --no-header --python-version 3.11 --generate-hashes pyproject.toml --extra cli --group dev -o requirements/dev.lock
	for service in $(SERVICES); do \
		$(BIN)/uv pip compile --quiet --no-header --python-version 3.11 --generate-hashes pyproject.toml --extra $$service \
			-c requirements/dev.lock -o requirements/$$service.lock || exit 1; \
	done
	$(BIN)/uv pip compile --quiet --no-header --python-version 3.11 --generate-hashes pyproject.toml --extra extractor --extra gpu \
		-c requirements/dev.lock -o requirements/extractor-gpu.lock
	$(BIN)/uv pip compile --quiet --no-header --python-version 3.11 --generate-hashes --group fuzz -o requirements/fuzz.lock
	$(BIN)/uv pip compile --quiet --no-header --python-version 3.11 --generate-hashes --group peers -c requirements/dev.lock -o requirements/peers.lock
	echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" | $(BIN)/uv pip compile --quiet --no-header --python-version 3.11 --generate-hashes - -o requirements/uv.lock

clean: ## remove what was built and rendered; keeps the download cache
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
