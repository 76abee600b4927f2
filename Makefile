# One command each: run, test, check. They install what they need into .venv, and nothing outside the repository.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
PORT ?= 50051
PACE ?= 40
# The tests whose properties the nightly profile runs with many examples.
TESTS ?= $(shell grep -lr support.profiles tests --include='test_*.py')
# Tests that run the whole server, under time limits: without coverage, which slows it down.
UNCOVERED := tests/docs tests/e2e tests/fuzz tests/interop
COVERED := tests $(UNCOVERED:%=--ignore=%)
PYTEST ?= pytest -rs
# Duration of fuzzing per target.
FUZZ_SECONDS ?= 20

.DEFAULT_GOAL := help
.PHONY: help run engines interop test test-pythons test-one hooks fuzz fuzz-long fuzz-nightly check lint types contract generate generators generated-is-current probes bench bench-cancels bench-grpc bench-deadlines chaos clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## serve on 127.0.0.1:50051 with the builtin engine (make run PORT=50052)
	@tokengrpc serve --listen 127.0.0.1:$(PORT) --engine builtin --pace $(PACE) --hints

test: $(VENV)/dev.stamp ## run all tests; tests of languages that are not installed are skipped, with the reason
	coverage erase
	coverage run -m pytest -rs -m 'not hypothesis' $(COVERED)
	pytest -rs -m hypothesis $(COVERED)
	pytest -rs $(UNCOVERED)
	coverage combine --quiet
	coverage report

test-pythons: ## run the tests in each of Python 3.11, 3.12 and 3.13 that is installed (PYTEST="pytest tests/core" for some)
	@status=0; for version in 3.11 3.12 3.13; do \
	  if ! python$$version -c '' 2>/dev/null; then echo "python$$version: skipped, because it is not on PATH"; continue; fi; \
	  echo "python$$version:"; \
	  $(MAKE) --no-print-directory test-one PYTHON=python$$version VENV=.tools/python$$version || status=1; \
	done; exit $$status

test-one: $(VENV)/dev.stamp
	$(PYTEST)

interop: $(VENV)/dev.stamp ## run only the tests of every language's client against the real server
	pytest -rs tests/interop

fuzz: $(VENV)/fuzz.stamp ## fuzz all parsers of external input, 20 s each (FUZZ_SECONDS=60 TARGET=sse)
	python -m fuzz.run --seconds $(FUZZ_SECONDS) $(if $(TARGET),--target $(TARGET))

fuzz-long: $(VENV)/fuzz.stamp ## fuzz for an hour each, with a new seed every time
	python -m fuzz.run --seconds 3600 --runs -1 --seed $$(date +%s) $(if $(TARGET),--target $(TARGET))

fuzz-nightly: $(VENV)/dev.stamp ## run 100,000 examples of each property, several hours (TESTS=tests/engines/upstream/test_sse.py for one file)
	HYPOTHESIS_PROFILE=nightly pytest --timeout 14400 $(TESTS)

check: lint types contract generated-is-current test fuzz ## run all checks that must pass before a change is merged

hooks: $(VENV)/dev.stamp ## check every commit with make lint, by a Git hook
	pre-commit install

lint: $(VENV)/dev.stamp
	ruff check
	ruff format --check
	lint-imports

types: $(VENV)/dev.stamp
	mypy

contract: $(VENV)/dev.stamp
	buf lint
	buf format --diff --exit-code
	buf breaking protos --against protos/tokenstreaming.v1.binpb

generators: .tools/stamp ## install the stub generators of Go, Java and TypeScript into .tools

.tools/stamp: tools/install_generators.sh
	tools/install_generators.sh

generate: $(VENV)/dev.stamp .tools/stamp ## regenerate the stubs of all languages from protos/ and third_party/smg/
	rm -rf generated/python/smg_vllm generated/python/tokenstreaming generated/go/tokenstreaming generated/java/src generated/typescript/src
	buf generate
	buf generate --template buf.gen.smg.yaml

generated-is-current: $(VENV)/dev.stamp $(if $(filter 1,$(TOKENGRPC_REQUIRE_ALL)),.tools/stamp)
	python tools/check_generated.py

probes: .tools/bin/grpcurl .tools/bin/grpc-health-probe ## build grpcurl and grpc-health-probe into .tools/bin, with Go

# Programs of other projects, at the versions in tools/go.mod. Reinstalling does not update a file's time, so touch it.
.tools/bin/grpcurl .tools/bin/grpc-health-probe .tools/bin/ghz: tools/go.mod tools/go.sum
	GOBIN=$(CURDIR)/.tools/bin go -C tools install $$(go -C tools list tool | grep '/$(@F)$$')
	@touch $@

bench: $(VENV)/bench.stamp ## measure against the textbook relay, about two minutes
	python -m bench.run

bench-cancels: $(VENV)/bench.stamp ## measure 10,000 cancels and check for leaks, about a minute and a half
	python -m bench.cancels

bench-grpc: $(VENV)/bench.stamp .tools/bin/ghz ## measure whole calls with ghz, about half a minute; needs Go
	python -m bench.grpc_load

bench-deadlines: $(VENV)/bench.stamp ## measure how late deadlines and the four clocks expire, about half a minute
	python -m bench.deadlines

chaos: $(VENV)/dev.stamp ## kill engine processes 1,000 times while generations run on them, about two minutes
	python -m tests.support.engine_kills --kills 1000

engines: $(VENV)/dev.stamp ## install real engines into .tools/engines and run the cases of docs/testing.md on each (ENGINES="llamacpp litellm")
	tools/install_engines.sh $(if $(ENGINES),models $(ENGINES))
	ENGINES="$(ENGINES)" pytest --real-engines -rs --timeout 900 tests/real_engines

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* .import_linter_cache bench/results

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed: name one with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/fuzz.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/bench.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $@ $(VENV)/run.stamp
