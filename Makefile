# Every task a person does by hand. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Python 3.11 or newer; another one: make setup PYTHON=/path/to/python
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# An index that has the PyTorch wheel wanted here (CPU only, or a CUDA version); empty: pip's own settings.
TORCH_INDEX ?=

BIN := .venv/bin
LINT := .venv-lint/bin
BUF_VERSION := 1.75.0
BUF := .venv-lint/buf-$(BUF_VERSION)/node_modules/.bin/buf

comma := ,
# Engines of all services, and what one of them can do with an optional package.
SERVICES := $(patsubst %/pyproject.toml,./%[engine],$(wildcard services/*/pyproject.toml))
DISTRIBUTIONS := ./shared[server,s3,ray,models,plots,deploy] ./kernels[triton] $(SERVICES:%tom_verifier[engine]=%tom_verifier[engine$(comma)symbolic])
TEST_TOOLS := build editables grpcio-tools hatchling hypothesis jsonschema kubernetes-validate openai promql-parser pytest pytest-asyncio pytest-timeout types-protobuf websockets
METADATA := constraints.txt shared/pyproject.toml kernels/pyproject.toml $(wildcard services/*/pyproject.toml)
SOURCES := shared/assay kernels/src $(wildcard services/*/src)
empty :=
SOURCE_PATH := $(subst $(empty) ,:,$(strip shared kernels/src $(wildcard services/*/src)))

export RAY_USAGE_STATS_ENABLED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	echo
	echo "  make VARIABLE=value:  PYTHON       a Python 3.11 or newer     ($(PYTHON))"
	echo "                        TORCH_INDEX  where to get PyTorch from  ($(or $(TORCH_INDEX),pip's own settings))"
	echo "                        ARGS         passed on to the command, e.g. make test ARGS='-k artifact'"

.PHONY: setup
setup: .venv/.ready ## everything installed into .venv (done by the others when needed)

# The stamp comes last, so that an interrupted setup is completed by the next one. A distribution without its list
# of files is one whose installation was interrupted: pip would take it for whole.
.venv/.ready: $(METADATA)
	@if ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
		echo "make: $(or $(PYTHON),python3) is no Python 3.11 or newer; install python3.11 and python3.11-venv, or set PYTHON" >&2
		exit 1
	fi
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then
		echo "setting up .venv; the first time takes some minutes"
		if ! "$(PYTHON)" -m venv --clear .venv; then
			echo "make: $(PYTHON) makes no virtual environment; on Debian: apt-get install python3.11-venv" >&2
			exit 1
		fi
	fi
	for info in .venv/lib/python*/site-packages/*.dist-info; do
		[ -e "$$info/RECORD" ] || rm -rf "$$info"
	done
	pip() { $(BIN)/python -m pip -qq "$$@"; }
	echo "installing PyTorch"
	pip install $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)") "$$(grep '^torch==' constraints.txt)"
	echo "installing assay and what it stands on"
	pip install -c constraints.txt $(TEST_TOOLS)
	pip install -c constraints.txt --no-build-isolation $(foreach d,$(DISTRIBUTIONS),-e '$(d)')
	touch $@

.PHONY: demo
demo: setup ## a report card of a small model trained here, from nothing
	@$(BIN)/assay demo $(ARGS)

# What the tests of the chart hold it against, beside .venv-lint: validators of custom resources, and a linter whose
# own requirements go with nobody else's.
.venv-lint/custom-resources/.ready: tests/charts/package.json
	@if ! command -v npm >/dev/null; then
		[ "$${CI:-}" != true ] || { echo "make: validators of custom resources come from npm; install npm" >&2; exit 1; }
		echo "make: custom resources in the chart not checked, since their validators come from npm and there is none"
		exit 0
	fi
	mkdir -p $(@D)
	cp $< $(@D)
	npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts --prefix $(@D)
	touch $@

.venv-lint/checkov/.ready: tests/charts/checkov.txt
	@"$(PYTHON)" -m venv --clear $(@D)
	$(@D)/bin/python -m pip install -qq -r $<
	touch $@

.PHONY: test-tools
test-tools: .venv-lint/.ready .venv-lint/custom-resources/.ready .venv-lint/checkov/.ready

.PHONY: test
test: setup test-tools ## linters beside all tests but the slow ones
	@status=0
	mkdir -p build
	$(MAKE) lint >build/lint.log 2>&1 & linters=$$!
	trap 'kill $$linters 2>/dev/null || true' EXIT
	$(BIN)/python -m pytest -m 'not slow and not cluster' $(ARGS) || status=$$?
	wait $$linters || { status=$$?; cat build/lint.log >&2; }
	exit $$status

.PHONY: test-all
test-all: setup test-tools ## linters, then all tests but those on Kubernetes
	@status=0
	$(MAKE) lint || status=$$?
	$(BIN)/python -m pytest -m 'not cluster' $(ARGS) || status=$$?
	exit $$status

.PHONY: test-cluster
test-cluster: setup ## the chart, its images and the deploy tool on a real Kubernetes: one started here, or KUBECONFIG's
	@$(BIN)/python -m pytest -m cluster tests/cluster $(ARGS)

# From cheap to dear. One alone: make bench BENCHES=chassis ARGS='--rounds 3'
BENCHES := capacity batching story_models epistemic chassis attention reliability serve_modes early_exit selection_quality recall curriculum moe_balance sensitivity paraphrases belief_verifier bigtom

.PHONY: bench
bench: setup ## the figures the READMEs give, measured on this machine
	@missed=()
	for bench in $(BENCHES); do
		echo "== $$bench"
		PYTHONPATH=tests $(BIN)/python -m "bench.$$bench" $(ARGS) || missed+=("$$bench")
	done
	if [ $${#missed[@]} -gt 0 ]; then
		echo "make: bars missed, or not measured, by: $${missed[*]}" >&2
		exit 1
	fi

.PHONY: up
up: setup ## all services, embedded in one process, up until Ctrl-C
	@if [ -n "$${ASSAY_STORE:-}" ]; then
		echo "store: $${ASSAY_STORE%%\?*} (ASSAY_STORE)"
	else
		echo "store: a directory of yours; for a MinIO set ASSAY_STORE='s3://BUCKET?endpoint=http://HOST:9000',"
		echo "ASSAY_S3_ACCESS_KEY and ASSAY_S3_SECRET_KEY (docs/running.md)"
	fi
	exec $(BIN)/assay serve $(ARGS)

.PHONY: up-ray
up-ray: setup ## all services, their heavy work on a Ray cluster started here, up until Ctrl-C
	@exec $(BIN)/assay serve --engine ray $(ARGS)

.PHONY: proto
proto: setup ## what is made of protos/, written anew: Python stubs, and which methods a mesh may retry
	@$(BIN)/python protos/generate.py

# The contract as callers know it: `make lint` allows no change to it that would break them.
PUBLISHED := protos/published.binpb

.PHONY: proto-publish
proto-publish: setup $(BUF) ## makes protos/ as they are the published contract; BREAKING=yes lets a break through
	@$(BIN)/python protos/generate.py --imports build/googleapis
	$(BUF) build --exclude-source-info -o build/protos.binpb
	if [ -e $(PUBLISHED) ] && [ "$(BREAKING)" != yes ]; then $(BUF) breaking build/protos.binpb --against $(PUBLISHED); fi
	cp build/protos.binpb $(PUBLISHED)

.PHONY: lint
lint: setup .venv-lint/.ready ## style, types, import contracts, protos
	@status=0
	$(LINT)/ruff check || status=1
	$(LINT)/ruff format --check || status=1
	$(LINT)/mypy --python-executable $(BIN)/python $(SOURCES) || status=1
	PYTHONPATH=$(SOURCE_PATH) $(LINT)/lint-imports --no-logo || status=1
	$(BIN)/python protos/generate.py --check || status=1
	$(MAKE) lint-protos || status=1
	exit $$status

.venv-lint/.ready: constraints-lint.txt
	@"$(PYTHON)" -m venv .venv-lint
	$(LINT)/python -m pip install -qq -r constraints-lint.txt
	touch $@

$(BUF):
	@if ! command -v npm >/dev/null; then
		echo "make: buf comes from npm, and there is none; on Debian: apt-get install npm" >&2
		exit 1
	fi
	npm install --silent --no-save --no-audit --no-fund --prefix $(@D:/node_modules/.bin=) @bufbuild/buf@$(BUF_VERSION)

.PHONY: lint-protos
lint-protos: setup
	@if ! command -v npm >/dev/null && [ "$${CI:-}" != true ]; then
		echo "make: protos not checked, since buf comes from npm and there is none"
		exit 0
	fi
	$(MAKE) --quiet $(BUF)
	$(BIN)/python protos/generate.py --imports build/googleapis
	status=0
	$(BUF) lint || status=1
	$(BUF) format protos --diff --exit-code || status=1
	$(BUF) build --exclude-source-info -o build/protos.binpb
	$(BUF) breaking build/protos.binpb --against $(PUBLISHED) || status=1
	if [ $$status = 0 ] && ! cmp --silent build/protos.binpb $(PUBLISHED); then
		echo "make: the protos have grown since they were last published; make proto-publish" >&2
		status=1
	fi
	exit $$status

.PHONY: clean
clean: ## removes what setup, tests and linters made here; no data
	rm -rf .venv .venv-lint build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find protos shared kernels services tests -name __pycache__ -type d -prune -exec rm -rf {} +
