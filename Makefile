# Everything that a person does with this repository, by name. `make` alone lists it.
# All paths are relative, so that a checkout in a folder with spaces works.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-builtin-rules
.DELETE_ON_ERROR:

# Which Python .venv is made of: 3.11, 3.12 or 3.13. Empty: that of an existing .venv, else the first found.
PYTHON ?=
PY     := .venv/bin/python
READY  := .venv/.ready
WANTS  := pyproject.toml requirements.lock docker/build.lock docker/setup docker/bytecode.py

# A Python that is named replaces a .venv of another one.
ifneq ($(PYTHON),)
ifneq ($(shell $(PY) -c 'import sys; print(sys.version_info[:2])' 2>/dev/null),$(shell "$(PYTHON)" -c 'import sys; print(sys.version_info[:2])' 2>/dev/null))
.PHONY: $(READY)
endif
endif

# Variables of `make build` and `make push`: make build TAG=1.2 PYTORCH_INDEX=https://mirror/simple
DOCKER        ?= docker
PLATFORM      ?= linux/amd64
BASE_IMAGE    ?= debian:trixie-slim
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

.PHONY: help setup demo demo-diverging test test-all test-clients lint lock build build-train build-serve build-serve-cpu push smoke bench audit clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1mmake %-15s\033[0m %s\n", $$1, $$2 }' Makefile

setup: ## prepare .venv from the lock file (once; 4.4 GB to download, 8 GB of disk; PYTHON, PYTORCH_INDEX)
	@PYTHON="$(PYTHON)" docker/setup

$(READY): $(WANTS)
	@PYTHON="$(PYTHON)" docker/setup

demo: $(READY) ## the whole journey on this machine: data, tune, train, report, deploy, predict, clean up (RUNTIME=docker)
	@$(PY) -m scripts.demo $(if $(RUNTIME),--runtime "$(RUNTIME)")

demo-diverging: $(READY) ## tune with absurd learning rates, and see the debugger's rules notice
	@$(PY) -m scripts.demo --diverging $(if $(RUNTIME),--runtime "$(RUNTIME)")

# LINT= leaves out what says the same on every Python.
LINT ?= lint
test: $(READY) $(LINT) ## lint, types and the fast tests
	@$(PY) -m pytest -m "not slow and not docker" -n auto --dist worksteal -q

test-all: lint ## every test; those that need Docker want the images built and an engine running
	@$(PY) -m pytest -n auto --dist worksteal

test-clients: $(READY) ## AWS's own clients, each in an environment of its own, against the local SageMaker
	@$(PY) -m pytest tests/clients -q

lint: $(READY) ## ruff and strict mypy
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

lock: ## compute the lock files anew (needs a package index)
	@"$(or $(PYTHON),python3)" docker/lock.py

build: build-train build-serve build-serve-cpu ## the images, tagged TAG and latest (TAG, PLATFORM, BASE_IMAGE, PYTORCH_INDEX, CA_BUNDLE)

build-train: ## the training image only
	@docker/build train

build-serve: ## the serving image only
	@docker/build serve

build-serve-cpu: ## the serving image for CPUs only
	@docker/build serve-cpu

push: $(READY) ## push the images to ECR, or to REGISTRY=host:port
	@$(PY) -m scripts.cli push $(if $(TAG),--tag "$(TAG)") $(if $(REGISTRY),--registry "$(REGISTRY)")

smoke: ## run the images by hand, as SageMaker does: train, serve, predict, stop
	@docker/smoke

bench: $(READY) ## measure: `make bench train`, augment, serve, debugger, local, tuning, web, docker, warmpool; the last needs its name
	@for what in $(or $(BENCHES),train augment serve debugger local tuning web docker); do \
	  echo "=== $$what"; if [ $$what = docker ]; then $(PY) docker/bench.py; else $(PY) -m bench.$$what; fi; done

audit: ## known vulnerabilities of each lock file, and an SBOM per image in out/
	@docker/audit

clean: ## remove what was made here (not the images, not .byoc)
	rm -rf .venv build out *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
