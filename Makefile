# Each target makes .venv where it is missing and installs what it needs once; PYTHON=python3.12 picks another Python,
# VENV=… another folder for it, LOCKED=1 installs the versions of requirements.lock, each checked against its hash.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
REQUIREMENTS := $(if $(LOCKED),requirements.lock,requirements.txt)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: train test test-all setup lint bench check-accelerator audit lock docs
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 20

train: $(VENV)/runtime ## train configs/adam.py
	$(BIN)/python main.py --config=configs/adam.py

setup: $(VENV)/runtime ## make the environment only

test: $(VENV)/development ## the tests, and the coverage that they reach
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term

test-all: $(VENV)/development ## the tests with the slow ones and those that need a browser
	$(BIN)/python -m pytest -m "" -n 2 --dist worksteal --cov --cov-report=term

lint: $(VENV)/development ## formatter, linter, type checker, imports that run down
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/documentation ## the pages of docs/ as HTML in docs/_build/html, notebooks run, every link checked
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -n -q -D nb_execution_mode=off -D suppress_warnings=myst-nb.lexer \
	  -b linkcheck docs docs/_build/linkcheck

bench: $(VENV)/runtime ## the short benchmarks
	$(BIN)/python -m benchmarks

check-accelerator: $(VENV)/development ## tests and trainings on the accelerator that is there; without one, compile for six
	$(BIN)/python -m benchmarks.accelerator

# What `make check-accelerator` compiles with: both compilers in an environment of their own, since JAX would look for
# the devices of each in every process.
.venv-accelerator/compilers: benchmarks/requirements-ahead.txt $(REQUIREMENTS)
	@echo "Installing $< into $(@D) (about 2 GB)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip --quiet --disable-pip-version-check install -r $<
	@touch $@

audit: $(VENV)/runtime ## known vulnerabilities of what requirements.lock names; asks PyPI
	@$(PIP) install "pip-audit>=2.9,<3"
	$(BIN)/pip-audit -r requirements.lock --require-hashes --disable-pip

lock: $(VENV)/runtime ## write requirements.lock from requirements.txt
	@$(PIP) install "uv>=0.9,<1"
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url requirements.txt -o requirements.lock

# A stamp is younger than its requirements once they are installed.
$(VENV)/runtime: $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing $< into $(VENV) (some minutes the first time)"
	@$(PIP) install $(if $(LOCKED),--require-hashes) -r $<
	@touch $@

$(VENV)/development: requirements-dev.txt $(VENV)/runtime
	@echo "Installing requirements-dev.txt into $(VENV)"
	@$(PIP) install -r requirements-dev.txt
	@touch $@

$(VENV)/documentation: docs/requirements.txt $(VENV)/runtime
	@echo "Installing docs/requirements.txt into $(VENV)"
	@$(PIP) install -r docs/requirements.txt
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mlp_jax needs Python 3.11 or later: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) -m venv failed (Debian: apt install python3-venv)"; rm -rf $(VENV); exit 1; }
