# Every way to build, check and measure the project. Needs make and Python >= 3.11, nothing else; whatever more
# is needed is installed into .venv (and .gen-venv for the generator of the contract's code), in the versions
# that requirements/ locks with their hashes. `make lock` renews these.
#
# Steps of set-up leave a stamp behind, so that only the first call takes its time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FORMER := .venv-former
# The commit that was released last, as 0.1.0: by its number, because a clone need not have tags.
FORMER_COMMIT := e1c662bedc0bca1d37fe21b2a402a5b7da808258
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PIP_DISABLE_PIP_VERSION_CHECK := 1

LOCKED := -m pip install --quiet --require-hashes --requirement
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --custom-compile-command 'make lock'
# The package itself: without build isolation, because what builds it is locked and installed before.
ITSELF := -m pip install --quiet --no-deps --no-build-isolation --editable .

.PHONY: help quickstart test test-slow test-clients test-objects test-clusters test-other test-newest test-lowest lint simulate chaos storm soak upgrade fuzz protos check-protos freeze lock bench profile docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(VENV)/.stamp-quickstart ## Install what the example needs, and run it
	$(BIN)/python examples/quickstart.py

# Most tests wait for processes, so more of them run at a time than there are cores on a small machine; those of one
# file stay together, in their order. The files are not sorted by how many tests are in them: so those with few, long
# tests come first, and the many short ones fill what is left at the end.
QUICK := -m "not chaos and not slow and not upgrade and not clients and not objects and not clusters" --numprocesses 3 --dist loadfile \
  --no-loadscope-reorder

test: $(VENV)/.stamp-dev ## Run all tests except the slow ones
	$(BIN)/python -m pytest $(QUICK)

# One at a time: some of them measure.
test-slow: $(VENV)/.stamp-dev ## Run those that measure, make load, or repeat what others show
	$(BIN)/python -m pytest -m slow --timeout 600
	PROPERTIES=whole $(BIN)/python -m pytest tests/property tests/contract/storage/test_model.py --timeout 600

# In other languages: what Go and Node need comes through their own clients, in the versions that their lock files
# seal, and the contract's code is generated anew from protos/.
test-clients: $(VENV)/.stamp-dev ## Build the clients and workers in Go and TypeScript, and run them against everything
	$(MAKE) --no-print-directory -C examples/go BUF='$(abspath $(BIN))/buf'
	$(MAKE) --no-print-directory -C examples/typescript BUF='$(abspath $(BIN))/buf'
	$(BIN)/python -m pytest -m clients --numprocesses 3 --dist loadfile

# A server that speaks S3 is built by Go the first time, which takes some minutes, and kept in the user's cache.
test-objects: $(VENV)/.stamp-dev ## Run the tests of object storage against a real server, if Go is here to build it
	$(BIN)/python -m pytest -m objects tests/contract/blobs tests/contract/transfers tests/integration/controlplane/test_grants.py tests/acceptance/test_object_storage.py tests/chaos/writes

# In an environment of their own, because Ray is larger than everything else together.
test-clusters: .venv-clusters/.stamp ## Install Dask and Ray, and have clusters of this machine execute flows
	.venv-clusters/bin/python -m pytest -m clusters --timeout 300 tests/clusters

# Programs of two versions of Python on one yard. OTHER: the second one, else whichever is found here.
test-other: $(VENV)/.stamp-dev ## Run the tests that need another version of Python, if one is found
	@version='import sys; print(sys.version_info[:2])'; own="$$($(BIN)/python -c "$$version")"; \
	for python in $(OTHER) python3.{11,12,13,14} "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[1-9]*/bin/python; do \
	  found="$$("$$python" -c "$$version" 2>/dev/null)" || continue; \
	  if [ "$$found" != "$$own" ]; then other="$$python"; break; fi; \
	done; \
	if [ -z "$${other:-}" ]; then echo "left out: no Python besides $$own here; name one: make test-other OTHER=python3.12"; exit; fi; \
	"$$other" -m venv --clear .venv-other; \
	$(BIN)/uv pip install --quiet --python .venv-other/bin/python --require-hashes --requirement requirements/dev.txt; \
	OTHER_PYTHON='$(abspath .venv-other/bin/python)' $(BIN)/python -m pytest -k another_version tests/acceptance/world

test-newest: .venv-newest/.stamp ## Run them with the newest versions of everything that is allowed
	.venv-newest/bin/python -m pytest $(QUICK)

test-lowest: .venv-lowest/.stamp ## Run them with the lowest
	.venv-lowest/bin/python -m pytest $(QUICK)

chaos: $(VENV)/.stamp-dev ## Run the slow tests, which kill processes
	$(BIN)/python -m pytest -m chaos --timeout 600

# KILLS: how many kills and stops, in storms of ACTS (50). SEED: of the first storm. DATABASE=sqlite or postgresql:
# only this one. SHOW=1 shows what is done, GO_ON=1 goes on after a storm that broke a rule.
KILLS ?= 300
STORM = --kills $(KILLS) $(if $(SEED),--seed $(SEED)) $(if $(ACTS),--acts $(ACTS)) \
  $(if $(DATABASE),--database $(DATABASE)) $(if $(SHOW),--show) $(if $(GO_ON),--go-on)

storm: $(VENV)/.stamp-dev ## Have storms over both databases, see docs/storms.md: KILLS=300 kills and stops of real processes, again with SEED=n
	PYTHONPATH=tests $(BIN)/python -m chaos.storm $(STORM)

# SECONDS: how long. RUNS: of a wave (10,000). EVERY: seconds from one wave to the next (5). Variables named
# TASKYARD_RETENTION_* say what is removed when.
soak: $(VENV)/.stamp-dev ## Have waves of runs for SECONDS=1800 with retention on, and see that neither memory nor disk grows
	PYTHONPATH=tests $(BIN)/python -m soak --seconds $(or $(SECONDS),1800) $(if $(RUNS),--runs $(RUNS)) $(if $(EVERY),--every $(EVERY))

# SEEDS and FIRST: how many to play, and which is the first. SEED (or PLAN=FILE): this one only; TRACE=1 shows all
# that happens, SHRINK=1 looks for the smallest plan that breaks the same rule. GO_ON=1 counts instead of stopping,
# STRICT=1 minds what is known not to hold yet. See docs/simulation.md.
SEEDS ?= 1000
FIRST ?= 1000
SIMULATE = --seeds $(SEEDS) --first $(FIRST) $(if $(SEED),--seed $(SEED)) $(if $(PLAN),--plan $(PLAN)) \
  $(if $(TRACE),--trace) $(if $(SHRINK),--shrink) $(if $(GO_ON),--go-on) \
  $(if $(STRICT),--strict)

simulate: $(VENV)/.stamp-dev ## Play whole installations in virtual time, with faults; see docs/simulation.md
	PYTHONPATH=tests $(BIN)/python -m simulation $(SIMULATE)

upgrade: $(VENV)/.stamp-dev $(FORMER)/.stamp ## Run the tests that mix the last release with this one
	$(BIN)/python -m pytest -m upgrade --timeout 300

fuzz: $(VENV)/.stamp-dev ## Send a server what it must survive, for SECONDS=60, again with SEED=n
	cd tests && ../$(BIN)/python -m fuzz --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(if $(CALLS),--calls $(CALLS))

lint: $(VENV)/.stamp-dev check-protos ## Check style, types, layers and the contract
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py
	for main in examples/*/main.py; do \
	  MYPYPATH="$${main%/*}" $(BIN)/mypy "$${main%/*}"/*.py || exit 1; done
	MYPYPATH=examples $(BIN)/mypy examples/regions/*.py
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against $(FROZEN)

check-protos: ## Check that the generated code is what the contract says
	@echo "comparing the generated code with the contract"
	@scratch="$$(mktemp -d .check-protos.XXXXXX)"; trap 'rm -rf "$$scratch"' EXIT; \
	cp -R protos/. "$$scratch"; PYTHON="$(PYTHON)" "$$scratch/generate.sh"; \
	diff -r -x __pycache__ protos/python/taskyard_api "$$scratch/python/taskyard_api" \
	  || { echo "error: the generated code is out of step with protos/; run 'make protos'" >&2; exit 1; }

# The contract as it was released last. Comments are left out: they may change.
FROZEN := protos/frozen.txtpb

freeze: $(VENV)/.stamp-dev ## At a release: keep the contract as it is now as the one that later ones must not break
	$(BIN)/buf build protos --exclude-source-info --output $(FROZEN)

protos: ## Generate the contract's code again
	PYTHON="$(PYTHON)" protos/generate.sh

lock: $(VENV)/.stamp-dev ## Lock the newest versions of all that is installed here
	$(COMPILE) pyproject.toml --extra all --group dev --upgrade --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --extra server --extra agent --group build --constraint requirements/dev.txt \
	  --output-file requirements/quickstart.txt
	$(COMPILE) pyproject.toml --extra all --extra dask --extra ray --group dev --upgrade \
	  --constraint requirements/dev.txt --output-file requirements/clusters.txt
	$(COMPILE) requirements/generator.in --upgrade --output-file requirements/generator.txt

bench: $(VENV)/.stamp-dev ## Measure; see benchmarks/README.md for WORKLOADS (W1 to W9), PEERS, DATABASE, N
	$(BIN)/python -m benchmarks

profile: $(VENV)/.stamp-dev ## Show where a run spends its time, into bench-out/
	$(BIN)/python -m benchmarks.profile

docs: $(VENV)/.stamp-quickstart ## Write again what the documentation has of the code: diagrams, tables of names and of rules
	$(BIN)/python -m taskyard_controlplane.domain.diagrams > docs/states.md
	$(BIN)/python -m taskyard._prefect_names.page > docs/names-of-prefect.md
	PYTHONPATH=tests $(BIN)/python -m support.rules.page > docs/rules.md

clean: ## Remove everything that was installed, built or cached
	rm -rf $(VENV) .venv-other .venv-newest .venv-lowest .venv-clusters $(FORMER) .gen-venv .bench-venv bench-out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	rm -rf examples/go/api examples/go/bin examples/typescript/{build,node_modules,src/generated}
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: '$(PYTHON)' is not Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-quickstart: $(VENV)/.stamp-venv pyproject.toml requirements/quickstart.txt
	$(BIN)/python $(LOCKED) requirements/quickstart.txt
	$(BIN)/python $(ITSELF)
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-venv pyproject.toml requirements/dev.txt
	$(BIN)/python $(LOCKED) requirements/dev.txt
	$(BIN)/python $(ITSELF)
	@touch $@

.venv-clusters/.stamp: $(VENV)/.stamp-dev requirements/clusters.txt
	$(PYTHON) -m venv --clear $(@D)
	$(BIN)/uv pip install --quiet --python $(@D)/bin/python --require-hashes --requirement requirements/clusters.txt
	$(BIN)/uv pip install --quiet --python $(@D)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

# Environments without the lock, resolved anew whenever the bounds change: `make clean` forgets them too.
.venv-newest/.stamp: RESOLUTION := highest
.venv-lowest/.stamp: RESOLUTION := lowest-direct
.venv-newest/.stamp .venv-lowest/.stamp: $(VENV)/.stamp-dev pyproject.toml
	$(PYTHON) -m venv --clear $(@D)
	$(BIN)/uv pip install --quiet --python $(@D)/bin/python --resolution $(RESOLUTION) --upgrade \
	  --editable '.[all]' --group dev
	@touch $@

# The last release, beside this one; with the same versions of what it needs, so that only its own code differs.
$(FORMER)/.stamp: $(VENV)/.stamp-dev
	@git cat-file -e '$(FORMER_COMMIT)^{commit}' 2>/dev/null || { echo "error: the last release is not in this" \
	  "checkout's history: commit $(FORMER_COMMIT) is missing. In a shallow clone: git fetch --unshallow;" \
	  "in an unpacked archive: clone the repository instead" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(@D)
	mkdir $(@D)/source
	git archive $(FORMER_COMMIT) | tar -x -C $(@D)/source
	$(BIN)/uv pip install --quiet --python $(@D)/bin/python --require-hashes --requirement requirements/dev.txt
	$(@D)/bin/python -m pip install --quiet --no-deps --no-build-isolation $(@D)/source
	@touch $@
