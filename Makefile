# What this project can do, each from a fresh checkout: `make` lists it.
#
# Everything is installed into .venv, with the versions in constraints.txt, when pyproject.toml or constraints.txt
# changed, and otherwise not. To use another Python: make PYTHON=python3.12 TARGET. Arguments: make TARGET ARGS="...".

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
# pip would compile with one core. A module for a newer Python, of which some package has one, cannot be compiled.
COMPILE := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test install lint bench docs-reference clean

help:
	@echo "make demo            see an assistant being poisoned, and the same stream stopped; ends with ARGS=--exit"
	@echo "make test            ruff, mypy, and every test"
	@echo "make lint            ruff and mypy alone"
	@echo "make install         what these need, into .venv"
	@echo "make bench           measure throughput, latency and memory"
	@echo "make docs-reference  write the generated pages of the reference anew"
	@echo "make clean           remove .venv and what the tools have cached"

demo: $(VENV)/.installed-examples
	@$(BIN)/feedback-guard demo $(ARGS)

test: lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/.installed-dev

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks $(ARGS)

docs-reference: $(VENV)/.installed-examples
	$(BIN)/python scripts/generate_reference.py $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-examples: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time takes some minutes"
	@$(INSTALL) --editable '.[examples]'
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV), with the tools for development; the first time takes some minutes"
	@$(INSTALL) --editable '.[dev]'
	@$(COMPILE)
	@touch $(VENV)/.installed-examples $@
