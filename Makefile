# Everything runs in .venv, made from pyproject.toml. PYTHON is any CPython from 3.11 on.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# More workers than cores, because tests mostly wait; tests/workers.py assigns the tests.
WORKERS ?= 5
PYTEST := $(BIN)/python -m pytest
SPREAD := --numprocesses $(WORKERS) --dist loadscope
# uv takes half of pip's time or less. It does not know pip's settings: where it finds no index, pip installs.
INSTALL_BY_UV = $(BIN)/python -m pip install --quiet 'uv>=0.9,<1' && \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev]'
# The tests start many processes: each would compile our modules again where this is set.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test coverage lint bench soak proto clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## record and read a made-up market; needs no account and no settings
	$(BIN)/tickline demo

test: $(VENV)/.installed ## run all tests but the long ones, on both engines (WORKERS=5)
	$(PYTEST) $(SPREAD)

coverage: $(VENV)/.installed ## run the tests and print line and branch coverage by room
	$(PYTEST) $(SPREAD) --cov ingest --cov analytics --cov-branch --cov-report=
	$(BIN)/python -m tests.coverage_by_room

lint: $(VENV)/.installed ## check style and types (ruff, mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed ## run the benchmarks
	$(PYTEST) -m bench -s tests/perf
	$(BIN)/python -m tests.perf.tables

soak: $(VENV)/.installed ## run the long tests: hours; prints one table at the end
	$(PYTEST) -m soak --timeout 7200 tests

# The generated classes are in the repository; run this after you change the .proto file.
proto: $(VENV)/.installed ## generate the protobuf classes of the feed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I. --python_out=. --mypy_out=. ingest/proto/upstox_feed_v3.proto

$(VENV)/.installed: pyproject.toml hatch_build.py $(wildcard ingest/*/compiled.pyx)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL_BY_UV) || $(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	touch $@

clean: ## remove .venv, caches and builds
	rm -rf $(VENV) .coverage* dist build ingest/*/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
