# Every way to build, check and measure the project. Needs make and Python >= 3.11, nothing else; whatever more
# is needed is installed into .venv (and .gen-venv for the generator of the contract's code).
#
# Steps of set-up leave a stamp behind, so that only the first call takes its time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help quickstart test lint chaos protos check-protos bench profile docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(VENV)/.stamp-quickstart ## Install what the example needs, and run it
	$(BIN)/python examples/quickstart.py

test: $(VENV)/.stamp-dev ## Run all tests except the slow ones
	$(BIN)/python -m pytest -m "not chaos"

chaos: $(VENV)/.stamp-dev ## Run the slow tests, which kill processes
	$(BIN)/python -m pytest -m chaos --timeout 600

lint: $(VENV)/.stamp-dev check-protos ## Check style, types, layers and the contract
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py
	$(BIN)/lint-imports
	$(BIN)/buf lint protos

check-protos: ## Check that the generated code is what the contract says
	@echo "comparing the generated code with the contract"
	@scratch="$$(mktemp -d .check-protos.XXXXXX)"; trap 'rm -rf "$$scratch"' EXIT; \
	cp -R protos/. "$$scratch"; PYTHON="$(PYTHON)" "$$scratch/generate.sh"; \
	diff -r -x __pycache__ protos/python/taskyard_api "$$scratch/python/taskyard_api" \
	  || { echo "error: the generated code is out of step with protos/; run 'make protos'" >&2; exit 1; }

protos: ## Generate the contract's code again
	PYTHON="$(PYTHON)" protos/generate.sh

bench: $(VENV)/.stamp-dev ## Measure; see benchmarks/README.md for WORKLOADS, PEERS, DATABASE, N
	$(BIN)/python -m benchmarks

profile: $(VENV)/.stamp-dev ## Show where a run spends its time, into bench-out/
	$(BIN)/python -m benchmarks.profile

docs: $(VENV)/.stamp-quickstart ## Draw the diagrams of the documentation again
	$(BIN)/python -m taskyard_controlplane.domain.diagrams > docs/states.md

clean: ## Remove everything that was installed, built or cached
	rm -rf $(VENV) .gen-venv .bench-venv bench-out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: '$(PYTHON)' is not Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	@touch $@

$(VENV)/.stamp-quickstart: $(VENV)/.stamp-venv pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[server,agent]'
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-venv pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@
