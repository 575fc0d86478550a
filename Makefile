# `make` alone lists the targets. Every setting below can be given on the command line: make test JOBS=0
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV ?= .venv
# Where torch alone comes from. Empty: pip's own index, which on Linux may give builds of several gigabytes for CUDA.
# For a machine without a GPU give PyTorch's CPU index, as written on its install page: make demo TORCH_INDEX=https://...
TORCH_INDEX ?=
# Processes that run tests; 0 runs them in pytest's own.
JOBS ?= 2
# Of each fuzzer; a minute is `make fuzz SECONDS=60`. CI gives a SEED too: the same inputs every time.
SECONDS ?= 2
INPUTS ?= 0
SEED ?= 0
# More for pytest: make test PYTEST_ARGS="-k contrastive"
PYTEST_ARGS ?=

EXTRAS := dev,docs,fuzz,report,scale,serve
PIP = PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/bin/python -m pip install --quiet --constraint constraints.txt
export PYTHON TORCH_INDEX

.PHONY: help demo test test-long soak fuzz audit sbom check docs format bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.plain ## install sacl, train on the sample corpus, read a conversation
	@$(VENV)/bin/sacl demo

test: $(VENV)/.dev ## run the tests and the examples in docstrings
	@$(VENV)/bin/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

test-long: $(VENV)/.dev ## run the tests that `make test` leaves out because they take long: most of those of Ray
	@$(VENV)/bin/python -m pytest -m long -n $(JOBS) $(PYTEST_ARGS)

soak: $(VENV)/.dev ## what takes long: fifty kills of a study, and the like
	@$(VENV)/bin/python -m pytest -m soak --timeout 0 -s $(PYTEST_ARGS)
	@$(VENV)/bin/python fuzz --inputs 100000 --jobs $(JOBS)

fuzz: $(VENV)/.dev ## try to break every reader of files, and the server's routes, for SECONDS or INPUTS each
	@$(VENV)/bin/python fuzz --seconds $(SECONDS) --inputs $(INPUTS) --seed $(SEED) --jobs $(JOBS)

audit: $(VENV)/.dev ## ask for known vulnerabilities of what is installed
	@scripts/audit $(VENV)/bin/python

sbom: $(VENV)/.dev ## write what is installed into build/sbom.json (CycloneDX)
	@mkdir -p build
	@$(VENV)/bin/cyclonedx-py environment $(VENV)/bin/python --pyproject pyproject.toml --output-reproducible -o build/sbom.json
	@echo "build/sbom.json"

check: $(VENV)/.dev ## style, types, import order, and the wheel in a clean environment
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	@scripts/check-wheel $(VENV)/bin/python

docs: $(VENV)/.dev ## build the site into build/site; a warning is an error
	@rm -rf build/site
	@$(VENV)/bin/python -m sphinx --builder html --fail-on-warning --keep-going --quiet -d build/doctrees docs build/site
	@echo "build/site/index.html"

format: $(VENV)/.dev ## put the code into the house style
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: $(VENV)/.dev ## time what is timed, beside what it is compared with
	@$(VENV)/bin/python -m pytest benchmarks --override-ini addopts= --import-mode=importlib $(PYTEST_ARGS)

clean: ## remove the environment, caches and what was built
	@rm -rf $(VENV) build dist .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is touched last, so its existence means that the installation was completed. Both installations are editable:
# code that changes is seen without installing again. The tools join the plain package in one environment; a target asks
# for the stamp it needs, in any order.
$(VENV)/.plain: pyproject.toml constraints.txt
	@scripts/make-venv $(VENV)
	@echo "installing sacl into $(VENV)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.plain
	@echo "installing the tools and extras ($(EXTRAS)) into $(VENV)"
	@$(PIP) --editable '.[$(EXTRAS)]'
	@touch $@
