# Everything runs in .venv, made from pyproject.toml. PYTHON is any CPython from 3.11 on.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Much of a test is waiting, so there are more workers than cores; tests/workers.py says who gets what.
WORKERS ?= 5
PYTEST := $(BIN)/python -m pytest
SPREAD := --numprocesses $(WORKERS) --dist loadscope

.PHONY: help demo test coverage lint bench soak proto clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## record a made-up market and read it: no account, no settings
	$(BIN)/tickline demo

test: $(VENV)/.installed ## all tests on both engines, but the long ones (WORKERS=5)
	$(PYTEST) $(SPREAD)

coverage: $(VENV)/.installed ## the same, with the lines and branches that each room's tests reach
	$(PYTEST) $(SPREAD) --cov ingest --cov analytics --cov-branch --cov-report=
	$(BIN)/python -m tests.coverage_by_room

lint: $(VENV)/.installed ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed ## measurements
	$(PYTEST) -m bench -s tests/perf

soak: $(VENV)/.installed ## the long forms: hours; one table at the end
	$(PYTEST) -m soak --timeout 7200 tests

# The generated classes are checked in; run this after a change of the .proto.
proto: $(VENV)/.installed ## the classes of the feed's messages, out of the .proto
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I. --python_out=. --mypy_out=. ingest/proto/upstox_feed_v3.proto

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean: ## remove what is made here, the virtual environment too
	rm -rf $(VENV) .coverage* dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
