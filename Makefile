# Everything that a person does with this repository, by name. `make` alone lists it.
# All paths are relative, so that a checkout in a folder with spaces works.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-builtin-rules
.DELETE_ON_ERROR:

# smdebug and multi-model-server do not survive Python 3.12, so it has to be 3.11.
ifndef PYTHON
PYTHON := $(firstword $(foreach p,python3.11 python3 python,$(shell command -v $(p) >/dev/null 2>&1 && $(p) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $(p))))
endif
PY     := .venv/bin/python
READY  := .venv/.ready
WANTS  := pyproject.toml requirements.lock docker/build.lock docker/gethostname.py

# What `make build` and `make push` may be told: make build TAG=1.2 PYTORCH_INDEX=https://mirror/simple
DOCKER        ?= docker
PLATFORM      ?= linux/amd64
BASE_IMAGE    ?= debian:bookworm-slim
PYTORCH_INDEX ?=
CA_BUNDLE     ?=
REGISTRY      ?=
BUILD_FLAGS   ?=
# What the jobs of `make demo` run in: process (the default) or docker.
RUNTIME       ?=
# Empty: what is built is called as git describes it, and latest; what is pushed and run is the latest.
TAG           ?=
export DOCKER TAG PLATFORM BASE_IMAGE PYTORCH_INDEX CA_BUNDLE BUILD_FLAGS

# The words after `make bench` say what to measure; they are no targets of their own.
ifeq (bench,$(firstword $(MAKECMDGOALS)))
BENCHES := $(wordlist 2,9,$(MAKECMDGOALS))
.PHONY: $(BENCHES)
$(BENCHES): ; @:
endif

.PHONY: help setup demo demo-diverging test test-all lint lock build build-train build-serve push smoke bench audit clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1mmake %-15s\033[0m %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## prepare .venv from the lock file (once; 8 GB, a few minutes)

# CC and LDSHARED: sagemaker-training brings a C extension that only intercepts gethostname() for MPI, which
# nothing here uses. Its compilation is skipped, so that no compiler is needed, and docker/gethostname.py takes
# its place because the toolkit imports it. The training image compiles the real one.
$(READY): $(WANTS)
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 is needed and was not found: install it (Debian, Ubuntu: apt install python3.11-venv), or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@if [ ! -x $(PY) ] || [ "$$($(PY) -c 'import sys, os; print(sys.version_info[:2] == (3, 11) and os.path.realpath(sys.prefix) == os.path.realpath(".venv"))' 2>/dev/null)" != True ]; then \
	  "$(PYTHON)" -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing: install it (Debian, Ubuntu: apt install python3.11-venv)." >&2; exit 1; }; \
	  rm -rf .venv; "$(PYTHON)" -m venv .venv; fi
	@echo "Preparing .venv: downloads about 4 GB the first time, takes 8 GB of disk and some minutes. Done once."
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r docker/build.lock
	@CC=true LDSHARED=true $(PY) -m pip install -qq --no-deps --require-hashes --no-build-isolation -r requirements.lock
	@cp docker/gethostname.py "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/"
	@$(PY) -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## the whole journey on this machine: data, tune, train, report, deploy, predict, clean up (RUNTIME=docker)
	@$(PY) -m scripts.demo $(if $(RUNTIME),--runtime "$(RUNTIME)")

demo-diverging: $(READY) ## tune with absurd learning rates, and see the debugger's rules notice
	@$(PY) -m scripts.demo --diverging $(if $(RUNTIME),--runtime "$(RUNTIME)")

test: lint ## lint, types and the fast tests
	@$(PY) -m pytest -m "not slow and not docker" -n auto --dist worksteal -q

test-all: lint ## every test; those that need Docker want the images built and an engine running
	@$(PY) -m pytest -n auto --dist worksteal

lint: $(READY) ## ruff and strict mypy
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

lock: ## compute the lock files anew (needs a package index)
	@$(if $(PYTHON),"$(PYTHON)",python3) docker/lock.py

build: build-train build-serve ## both images, tagged TAG and latest (TAG, PLATFORM, BASE_IMAGE, PYTORCH_INDEX, CA_BUNDLE)

build-train: ## the training image only
	@docker/build train

build-serve: ## the serving image only
	@docker/build serve

push: $(READY) ## push both images to ECR, or to REGISTRY=host:port
	@$(PY) -m scripts.cli push $(if $(TAG),--tag "$(TAG)") $(if $(REGISTRY),--registry "$(REGISTRY)")

smoke: ## run both images by hand, as SageMaker does: train, serve, predict, stop
	@docker/smoke

bench: $(READY) ## measure: `make bench train`, augment, serve, debugger, docker; all of them without a name
	@for what in $(or $(BENCHES),train augment serve debugger docker); do \
	  echo "=== $$what"; if [ $$what = docker ]; then $(PY) docker/bench.py; else $(PY) -m bench.$$what; fi; done

audit: ## known vulnerabilities of each lock file, and an SBOM per image in out/
	@docker/audit

clean: ## remove what was made here (not the images, not .byoc)
	rm -rf .venv build out *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
