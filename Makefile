# The verbs of this workspace. Each sets up what it needs by itself: a virtual environment in .venv, made with
# $(PYTHON) and filled from the package index, and made anew only where a pyproject.toml has changed since.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

DISTRIBUTIONS := core plugins/hub plugins/autoscale plugins/loops plugins/solo plugins/threads plugins/prefork plugins/green/gevent plugins/green/eventlet plugins/sqlite plugins/redis
EDITABLE := $(DISTRIBUTIONS:%=--editable ./%)
# Byte code, for where the environment keeps Python from writing it: every worker would compile all of it again.
COMPILE = $(BIN)/python -m compileall -qq $(DISTRIBUTIONS:%=%/src)
METADATA := pyproject.toml $(DISTRIBUTIONS:%=%/pyproject.toml)

.PHONY: help demo demo-io services test test-long test-all bench bench-quick check format docs clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       run the worker on the files of the standard library, on each pool, and check the digests"
	@echo "make demo-io    fetch pages from a server that answers late, on each pool, and compare them"
	@echo "make services   start Redis and RabbitMQ for the tests, installed where they are missing (Debian, as root)"
	@echo "make test       run the test suite with branch coverage"
	@echo "make test-long  run the long forms of the stress and soak tests"
	@echo "make test-all   run the test suite on every supported Python that is installed"
	@echo "make bench      measure our worker beside others: speed, latency, start, memory (an hour and a quarter)"
	@echo "make bench-quick the short form, in three minutes once the others are installed"
	@echo "make check      ruff, mypy, import-linter"
	@echo "make format     let ruff fix and format what it can"
	@echo "make docs       write the generated references anew and check all links"
	@echo "make clean      remove the virtual environments and everything that tools have left"

demo: $(VENV)/ready-run
	@echo "make demo: examples/digest/demo.py"
	@$(BIN)/python examples/digest/demo.py

demo-io: $(VENV)/ready-run
	@echo "make demo-io: examples/fetch/demo.py"
	@$(BIN)/python examples/fetch/demo.py

services:
	@.ci/services

test test-long: export PYTHONDONTWRITEBYTECODE := # or each process would compile each test anew
test: $(VENV)/ready-dev
	@echo "make test: the suite with branch coverage, on $$($(BIN)/python -V)"
	@rm -f .coverage .coverage.*
	@$(COMPILE)
	@$(BIN)/coverage run -m pytest -q -m "not long" -n 4 --dist loadgroup
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered --skip-empty

test-long: $(VENV)/ready-dev
	@echo "make test-long: what is marked long, on $$($(BIN)/python -V)"
	@$(BIN)/python -m pytest -q -m long -n 3 --dist loadgroup

test-all:
	@PYTHON="$(PYTHON)" .ci/test-all

bench: $(VENV)/ready-bench
	@echo "make bench: python -m bench run --upgrade $(BENCH)"
	@$(BIN)/python -m bench run --upgrade $(BENCH)

bench-quick: $(VENV)/ready-bench
	@echo "make bench-quick: python -m bench run --quick $(BENCH)"
	@$(BIN)/python -m bench run --quick $(BENCH)

check: $(VENV)/ready-dev
	@echo "make check: ruff, mypy, import-linter"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "some files are not formatted: make format" >&2; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache
	@echo "make check: all is well"

format: $(VENV)/ready-dev
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

docs: $(VENV)/ready-dev
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/check_links.py

clean:
	rm -rf .venv .venv-3.* bench/.peers .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist

# What a worker needs.
$(VENV)/ready-run: $(METADATA)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "worker-kernel needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "setting up $(VENV) with $$($(PYTHON) -V) ..."
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "$(PYTHON) cannot make a virtual environment (Debian and Ubuntu: apt install python3-venv)." >&2; exit 2; }
	@$(PIP) install -qq --upgrade 'pip>=25.1' || { \
	  echo "No package index within reach (see above): it is needed to set up $(VENV)." >&2; exit 2; }
	@$(PIP) install -qq --group build
	@$(PIP) install -qq --no-build-isolation $(EDITABLE)
	@$(COMPILE)
	@touch $@

# What its developers need.
$(VENV)/ready-dev: $(VENV)/ready-run
	@echo "adding the tools of the group dev to $(VENV) ..."
	@$(PIP) install -qq --group dev
	@touch $@

# What the bench needs beside that: the other workers get environments of their own from it.
$(VENV)/ready-bench: $(VENV)/ready-run
	@echo "adding the tools of the group bench to $(VENV) ..."
	@$(PIP) install -qq --group bench
	@touch $@
