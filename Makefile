# quintain. `make help` lists the targets. Needs Python >= 3.11, git and make; everything else is installed into .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
SIMULATOR ?= faas
CASES ?= 1000
SEED ?= 1
BASE_PORT ?= 7070
DISTURBANCES ?= 40

.PHONY: help setup demo test test-sandbox test-crash test-chaos test-install check up down bench soak load fuzz proto lock fmt images release clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(VENV)/.synced  ## Make .venv and install everything from the lock

$(VENV)/bin/python:
	@echo "quintain: making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "quintain needs Python 3.11 or newer (PYTHON=... make setup)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.synced: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "quintain: installing from requirements.lock"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8" 2>/dev/null || true
	@if [ -x $(BIN)/uv ]; then \
	  export VIRTUAL_ENV="$(CURDIR)/$(VENV)" && \
	  $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock && \
	  $(BIN)/uv pip install --quiet --no-deps --editable . ; \
	else \
	  echo "quintain: uv cannot be had, using pip (slower)" && \
	  $(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock && \
	  $(BIN)/python -m pip install --quiet --no-deps --editable . ; \
	fi
	@mkdir -p .quintain
	@touch $@

demo: setup  ## Search for a better policy on the paper's experiment, no API key needed (SIMULATOR=cache_eviction for the other)
	@SIMULATOR=$(SIMULATOR) bash scripts/demo.sh

test: setup  ## Run the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

test-sandbox: setup  ## Run the attacks on the sandbox alone
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup tests/sandbox

test-crash: setup  ## Kill services and commands at any moment and compare with the undisturbed run (some minutes)
	$(BIN)/python -m tests.crash

test-chaos: setup  ## Kill, stop, starve and cut off services at random moments, then check all books (DISTURBANCES=40 SEED=1)
	$(BIN)/python -m tests.chaos --disturbances $(DISTURBANCES) --seed $(SEED)
	$(BIN)/python -m tests.chaos --disturbances $(DISTURBANCES) --seed $(SEED) --store postgresql

check: setup  ## Lint, types, architecture, contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against proto/released.binpb
	@bash scripts/generate_proto.sh --check

up: setup  ## Start the local stack (generator, verifier, controller; Prometheus where installed); BASE_PORT=7070
	@$(BIN)/quintain up --base-port $(BASE_PORT)

down: setup  ## Stop what `make up` started
	@$(BIN)/quintain down

bench: setup  ## Measure speed against the oracle and named peers
	@bash scripts/bench.sh

soak: setup  ## 10,000 verifications from 16 clients, one in five hostile
	$(BIN)/python -m benchmarks.soak

load: setup  ## Load test with 1, 2 and 4 verifier replicas on loopback
	$(BIN)/python -m benchmarks.load

fuzz: setup  ## The FaaS engine against the oracle, and against guests that lie (CASES=1000 SEED=1)
	$(BIN)/python -m tests.fuzz.engine --cases $(CASES) --seed $(SEED)
	$(BIN)/python -m tests.fuzz.answers --cases $(CASES) --seed $(SEED)

images: setup  ## Build and run the container images with podman or docker
	$(BIN)/python -m pytest deploy/images -v

release: setup  ## Build, push and list the images of a tagged version (REGISTRY=registry.example/quintain TAG=v0.1.0)
	$(BIN)/python -m deploy.images.release "$(REGISTRY)" "$(TAG)"

test-install: setup  ## Install the wheel in a new environment and search with it (a minute, a package index)
	QUINTAIN_TEST_INSTALL=1 $(BIN)/python -m pytest -n 0 -s tests/install

proto: setup  ## Regenerate the contracts' Python code
	@bash scripts/generate_proto.sh

lock: setup  ## Resolve requirements.lock anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --output-file requirements.lock pyproject.toml

fmt: setup  ## Format the code and the contracts
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .
	$(BIN)/buf format --write

clean:  ## Remove everything that was made
	rm -rf $(VENV) .run build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	cd examples/simulators/load_balancer_ts && rm -rf node_modules dist generated .build.lock
	find . -name __pycache__ -prune -exec rm -rf {} +
