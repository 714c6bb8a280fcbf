# Everything from a fresh machine: `make demo` or `make test`. Second runs skip what is already there.
#
#   make demo      set up, then imagine "assemble shelf" and write out/demo/report.html
#   make test      set up, then run every test
#   make lint      ruff and pyright
#   make setup     system libraries, virtual environment, pinned packages, networks
#   make doctor    what is installed and what can run here
#   make bench     measure speed, about ten minutes with nothing else running, and write it to docs/
#   make bench-check   measure the ratios anew and name what became worse than in docs/
#   make clean     forget the virtual environment and everything written to out/
#
# VENV=/elsewhere/.venv puts the virtual environment elsewhere; PYTHON=python3.12 makes it with another Python;
# WORKERS=4 runs the tests on that many cores.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
# The first that runs: a version manager's shim may be there without the version behind it.
PYTHON ?= $(shell for name in python3.11 python3; do $$name -c "" 2>/dev/null && command -v $$name && break; done)
WORKERS ?= $(shell nproc)
OUT ?= out/demo

# Rendering without a screen. A user's own choice wins.
export MUJOCO_GL ?= egl
# pyright's wrapper otherwise asks the network whether there is a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

BIN := $(VENV)/bin
# The stamp carries the content of what it stands for, so that a change of either file installs anew.
PINS := $(shell cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
INSTALLED := $(VENV)/.installed-$(PINS)

.PHONY: help setup system assets demo test test-fast test-slow lint format doctor bench bench-check clean

help:
	@sed -n '/^#   make/s/^#   //p' Makefile

system:
	@launch/setup/system-libraries "$(PYTHON)"

# pip comes last into a virtual environment: where it is missing, an earlier try was interrupted.
$(BIN)/pip: | system
	@echo "[setup] virtual environment $(VENV)"
	"$(PYTHON)" -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	"$(PYTHON)" -m venv "$(VENV)"

$(INSTALLED): $(BIN)/pip
	@echo "[setup] packages (about 1 GB once installed; minutes on a slow line)"
	"$(BIN)/python" -m pip install --disable-pip-version-check -c constraints.txt -e '.[full,dev]'
	@rm -f "$(VENV)"/.installed-*
	@touch "$@"

# Checks the hashes of what is in the cache, and fetches only what is not there.
assets: $(INSTALLED)
	@"$(BIN)/ksgen-agent" assets

setup: system $(INSTALLED) assets

demo: setup
	"$(BIN)/ksgen-agent" demo --out "$(OUT)"

test: test-fast test-slow

# One thread a worker, or the workers' threads fight for the cores; a file's tests share what they load.
test-fast: setup
	@echo "[test] fast tests on $(WORKERS) workers"
	OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -n $(WORKERS) --dist loadfile --durations=10

# A file at a time on each worker.
test-slow: test-fast
	@echo "[test] slow tests on $(WORKERS) workers"
	OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -m slow -n $(WORKERS) --dist loadfile --durations=10

lint: system $(INSTALLED)
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/pyright" --pythonpath "$(BIN)/python"

format: $(INSTALLED)
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .

doctor: $(INSTALLED)
	@"$(BIN)/ksgen-agent" doctor

bench: setup
	"$(BIN)/ksgen-agent" bench all --write docs

# Exit code 1 when something became worse beyond noise.
bench-check: setup
	"$(BIN)/ksgen-agent" bench check

clean:
	rm -rf "$(VENV)" out
