# One command each: run, test, check. They install what they need into .venv, and nothing outside the repository.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
PORT ?= 50051
PACE ?= 40
# The tests whose properties the nightly profile runs with many examples.
TESTS ?= $(shell grep -lr support.profiles tests --include='test_*.py')
# Parts of the tests that run side by side, the longest first. Each is a target: tests-of-PART runs tests/PART, without those in parts of their own.
PARTS := e2e interop e2e/stores cli generations deploy dist stores engines docs fuzz browsers
# Those that mirror packages, which `make test` measures.
MIRRORING := cli generations stores engines
# Those that run the whole server, under time limits: without coverage, which slows it down.
WHOLE := $(filter-out $(MIRRORING),$(PARTS))
UNCOVERED := $(WHOLE:%=tests/%)
COVERED := tests $(UNCOVERED:%=--ignore=%)
# The tests of make test-fast, in halves by duration.
FAST_HALF := tests/generations
FAST_REST := tests/client tests/config tests/core tests/ports tests/stores tests/telemetry tests/tokenizers tests/wire tests/test_escaping.py
# $(call TIMED,COMMAND): runs a command, and tells how long it took.
TIMED = begin=$$(date +%s); $(1); status=$$?; seconds=$$(($$(date +%s) - begin)); \
	echo "make $@: $$((seconds / 60)) min $$((seconds % 60)) s"; exit $$status
PYTEST ?= pytest -rs
# Duration of fuzzing per target.
FUZZ_SECONDS ?= 20
# The stateful model, the longest of the properties.
STATEFUL := tests/generations/stateful
# How many checks run side by side (JOBS=1 on a machine with one core). Most tests mostly wait, so twice as many of them do.
JOBS ?= 2
TEST_JOBS = $(shell echo $$(($(JOBS) * 2)))
SIDE_BY_SIDE = $(MAKE) --no-print-directory -j$(JOBS) $(if $(filter output-sync,$(.FEATURES)),--output-sync)

.DEFAULT_GOAL := help
.PHONY: help run dashboards engines interop interop-long test test-fast test-pythons test-one dist dist-test docs other-languages browsers hooks fuzz fuzz-long fuzz-nightly check lint types contract generate generators generated-is-current probes deploy-tools bench bench-history bench-plot bench-tracing bench-cancels bench-grpc bench-deadlines bench-scale attack soak chaos chaos-ledger chaos-replicas rolling-deploy clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## serve on 127.0.0.1:50051 with the builtin engine (make run PORT=50052)
	@tokengrpc serve --listen 127.0.0.1:$(PORT) --engine builtin --pace $(PACE) --hints

test: $(VENV)/dev.stamp ## run all tests with coverage, and tell how long they took; tests of languages that are not installed are skipped, with the reason
	@coverage erase
	+@$(call TIMED,$(SIDE_BY_SIDE) stateful-properties properties && \
	  $(MAKE) --no-print-directory other-tests RUN='coverage run -m' && coverage combine --quiet && coverage report)

test-fast: $(VENV)/dev.stamp ## run the tests that need no process and no other language, without properties: two minutes on two cores
	+@$(call TIMED,$(SIDE_BY_SIDE) fast-half fast-rest)

.PHONY: fast-half fast-rest properties stateful-properties other-tests other-mirroring bytecode $(PARTS:%=tests-of-%)
fast-half: $(VENV)/dev.stamp
	pytest -rs -m 'not hypothesis' $(FAST_HALF)

fast-rest: $(VENV)/dev.stamp
	pytest -rs -m 'not hypothesis' $(FAST_REST) --ignore=tests/stores/redis

properties: $(VENV)/dev.stamp
	pytest -rs -m hypothesis $(COVERED) --ignore=$(STATEFUL)

stateful-properties: $(VENV)/dev.stamp
	pytest -rs -m hypothesis $(STATEFUL)

# Coverage, which takes two to three times the CPU, measures those that mirror packages in `make test` (RUN='coverage run -m'), and not in `make check`.
other-tests: bytecode
	+$(SIDE_BY_SIDE) -j$(TEST_JOBS) --keep-going other-mirroring $(PARTS:%=tests-of-%)

# A server starts in three quarters of the time with it. PYTHONDONTWRITEBYTECODE does not keep this command from writing it.
bytecode: $(VENV)/dev.stamp
	@python -m compileall -q -j $(JOBS) tokengrpc generated/python tests

$(WHOLE:%=tests-of-%): tests-of-%: $(VENV)/dev.stamp
	pytest -rs tests/$* $(patsubst %,--ignore=tests/%,$(filter $*/%,$(PARTS)))

$(MIRRORING:%=tests-of-%): tests-of-%: $(VENV)/dev.stamp
	$(RUN) pytest -rs -m 'not hypothesis' tests/$*

other-mirroring: $(VENV)/dev.stamp
	$(RUN) pytest -rs -m 'not hypothesis' $(COVERED) $(MIRRORING:%=--ignore=tests/%)

test-pythons: ## run the tests in each of Python 3.11, 3.12 and 3.13 that is installed (PYTEST="pytest tests/core" for some)
	@status=0; for version in 3.11 3.12 3.13; do \
	  if ! python$$version -c '' 2>/dev/null; then echo "python$$version: skipped, because it is not on PATH"; continue; fi; \
	  echo "python$$version:"; \
	  $(MAKE) --no-print-directory test-one PYTHON=python$$version VENV=.tools/python$$version || status=1; \
	done; exit $$status

test-one: $(VENV)/dev.stamp
	$(PYTEST)

interop-long: $(VENV)/dev.stamp ## like interop, with the case that freezes a server for a minute
	TOKENGRPC_LONG=1 pytest -rs tests/interop

interop: $(VENV)/dev.stamp ## run only the tests of every language's client against the real server
	pytest -rs tests/interop

dist: dist-python dist-go dist-java dist-typescript ## build what is published into dist, with SBOMs and checksums (dist-python, dist-go, dist-java, dist-typescript: one)
	tools/dist/sbom.sh python go java typescript
	cd dist && find python go java npm sbom -type f | LC_ALL=C sort | xargs sha256sum >SHA256SUMS

dist-test: dist ## build what is published and use it as a stranger would, SBOMs too, some minutes
	pytest -rs --built-dist tests/dist

# tools/dist has a script per language, named LANGUAGE.sh or LANGUAGE.py.
dist-%: $(VENV)/dev.stamp
	$(if $(wildcard tools/dist/$*.sh),tools/dist/$*.sh,python tools/dist/$*.py)

other-languages: $(VENV)/dev.stamp ## build and run the programs of docs/other-languages.md, some minutes; needs Rust, and gRPC for C++ and Ruby
	pytest -rs --other-languages tests/interop/test_other_languages.py

fuzz: $(VENV)/fuzz.stamp ## fuzz all parsers of external input, 20 s each (FUZZ_SECONDS=60 TARGET=sse)
	python -m fuzz.run --seconds $(FUZZ_SECONDS) $(if $(TARGET),--target $(TARGET))

fuzz-long: $(VENV)/fuzz.stamp ## fuzz for an hour each, with a new seed every time
	python -m fuzz.run --seconds 3600 --runs -1 --seed $$(date +%s) $(if $(TARGET),--target $(TARGET))

fuzz-nightly: $(VENV)/dev.stamp ## run 100,000 examples of each property, several hours (TESTS=tests/engines/upstream/response/test_sse.py for one file)
	HYPOTHESIS_PROFILE=nightly pytest --timeout 14400 $(TESTS)

check: $(VENV)/dev.stamp $(VENV)/fuzz.stamp ## run all checks that must pass before a change is merged
	+$(SIDE_BY_SIDE) lint types contract generated-is-current $(if $(filter 1,$(TOKENGRPC_REQUIRE_ALL)),deploy-tools)
	@echo "fuzzing, and all properties: some minutes"
	+$(SIDE_BY_SIDE) fuzz stateful-properties properties
	$(MAKE) --no-print-directory other-tests

dashboards: $(VENV)/dev.stamp ## write the Grafana dashboards of deploy/grafana from tools/dashboards
	python -m tools.dashboards

browsers: $(VENV)/browsers.stamp ## run the tests of examples/browser_bridge in Chromium, a minute and a half; needs Chromium
	pytest -rs tests/browsers

docs: $(VENV)/dev.stamp ## build the documentation site into build/docs/site, some seconds
	python -m tools.site.build build/docs

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

.PHONY: image image-test
image: ## build the image of the server with Podman or Docker (docs/containers.md)
	tools/dist/image.sh $(OPTIONS)

image-test: $(VENV)/dev.stamp ## build the image's files without a container engine, and run containers of them, some minutes; needs Debian with mmdebstrap, and root
	tools/dist/python.sh
	tools/dist/sbom.sh python
	pytest -rs --image tests/deploy/test_container.py tests/deploy/test_image.py

generators: .tools/stamp ## install the stub generators of Go, Java and TypeScript into .tools

.tools/stamp: tools/install_generators.sh
	tools/install_generators.sh

generate: $(VENV)/dev.stamp .tools/stamp ## regenerate the stubs of all languages, and what the chart takes from the settings and alerts
	rm -rf generated/python/smg_vllm generated/python/tokenstreaming generated/python/xds_orca generated/go/tokenstreaming generated/java/src generated/typescript/src
	buf generate
	buf generate --template buf.gen.third_party.yaml
	python -m tools.chart_schema
	python -m tools.prometheus_rule

generated-is-current: $(VENV)/dev.stamp $(if $(filter 1,$(TOKENGRPC_REQUIRE_ALL)),.tools/stamp)
	python tools/check_generated.py

probes: .tools/bin/grpcurl .tools/bin/grpc-health-probe ## build grpcurl and grpc-health-probe into .tools/bin, with Go

# Programs of other projects, at the versions in tools/go.mod. Reinstalling does not update a file's time, so touch it.
.tools/bin/grpcurl .tools/bin/grpc-health-probe .tools/bin/ghz .tools/bin/h2spec: tools/go.mod tools/go.sum
	GOBIN=$(CURDIR)/.tools/bin go -C tools install $$(go -C tools list tool | grep '/$(@F)$$')
	@touch $@

deploy-tools: .tools/bin/helm .tools/bin/kustomize ## build Helm and kustomize into .tools/bin, with Go, some minutes

# In a module of their own, because they share many dependencies with each other and few with the programs above.
.tools/bin/helm .tools/bin/kustomize: tools/kubernetes/go.mod tools/kubernetes/go.sum
	GOBIN=$(CURDIR)/.tools/bin go -C tools/kubernetes install $$(go -C tools/kubernetes list tool | grep -E '/$(@F)(/v[0-9]+)?$$')
	@touch $@

.tools/bin/composeconfig: tools/go.mod tools/go.sum tools/composeconfig/main.go
	go -C tools build -o $(CURDIR)/$@ ./composeconfig

# Beside the benchmark, which measures it if Go is installed.
.tools/bin/go_relay: bench/go_relay/go.mod bench/go_relay/go.sum $(wildcard bench/go_relay/*.go generated/go/tokenstreaming/v1/*.go)
	go -C bench/go_relay build -o $(CURDIR)/$@ .

bench: $(VENV)/bench.stamp ## measure against the textbook relay and one in Go, and what logs, metrics, TLS, the ledger, the event store and coalescing change, about twelve minutes
	python -m bench.run
	python -m bench.tls
	python -m bench.ledger
	python -m bench.replicas
	python -m bench.coalescing

bench-history: $(VENV)/bench.stamp ## note the ratios of the last make bench in bench/history.jsonl, one line a version
	python -m bench.history

bench-plot: $(VENV)/bench.stamp ## draw bench/history.jsonl into the documents
	python -m bench.plot

bench-tracing: $(VENV)/bench.stamp ## measure what traces and metrics over OTLP cost, about a minute
	python -m bench.tracing

bench-cancels: $(VENV)/bench.stamp ## measure 10,000 cancels and check for leaks, about a minute and a half
	python -m bench.cancels

bench-grpc: $(VENV)/bench.stamp .tools/bin/ghz ## measure whole calls with ghz, about half a minute; needs Go
	python -m bench.grpc_load

bench-deadlines: $(VENV)/bench.stamp ## measure how late deadlines and the four clocks expire, about half a minute
	python -m bench.deadlines

bench-scale: $(VENV)/bench.stamp ## measure thousands of callers: starts at one moment, slow streams, health probes, about ten minutes (SECONDS=600)
	python -m bench.scale --seconds $(or $(SECONDS),120)

attack: $(VENV)/dev.stamp .tools/bin/h2spec ## attack a server in every way of docs/security.md beside a good client, and a bare server to compare with, about twenty minutes; needs Go
	python -m attack.run

soak: $(VENV)/dev.stamp ## mix endings of all kinds on one server for ten minutes and check that nothing grows (SECONDS=3600)
	python -m soak.run --seconds $(or $(SECONDS),600)

chaos: $(VENV)/dev.stamp ## kill engine processes 1,000 times while generations run on them, about two minutes
	python -m tests.support.engine_kills --kills 1000

chaos-ledger: $(VENV)/dev.stamp ## run 20,000 generations while the server is killed ten times, on both databases, and audit the ledger, some minutes
	python -m tests.support.ledger_chaos.run --generations 20000 --kills 10

chaos-replicas: $(VENV)/dev.stamp ## kill and pause servers that share an event store, and the store, while streams run, about an hour (FAULTS=100)
	python -m tests.support.replica_chaos.run --faults $(or $(FAULTS),1000)

rolling-deploy: $(VENV)/dev.stamp ## restart three servers that share an event store, one after another, under 200 streams, some minutes
	python -m tests.support.replica_chaos.rollout

engines: $(VENV)/dev.stamp ## install real engines into .tools/engines and run the cases of docs/testing.md on each (ENGINES="llamacpp litellm")
	tools/install_engines.sh $(if $(ENGINES),models $(ENGINES))
	ENGINES="$(ENGINES)" pytest --real-engines -rs --timeout 900 tests/real_engines

clean: ## remove the virtual environment, caches, and what was built
	rm -rf $(VENV) .tools build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* .import_linter_cache bench/results

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed: name one with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[server]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/browsers.stamp: pyproject.toml constraints.txt $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browsers]'
	@touch $@ $(VENV)/dev.stamp $(VENV)/run.stamp

$(VENV)/fuzz.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/bench.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $@ $(VENV)/run.stamp
