# SoIP: short verbs, the same for people and for CI. `make` alone lists them.
SHELL := /bin/bash
PY := .venv/bin/python
export PYTHONDONTWRITEBYTECODE ?= 1

help:  ## list these verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

.venv/.run: requirements.txt pyproject.toml scripts/setup
	scripts/setup run
.venv/.dev: requirements-dev.txt pyproject.toml scripts/setup
	scripts/setup dev
src/soip/web/static/.built: scripts/console $(shell find console -type f -not -path '*/node_modules/*' 2>/dev/null)
	scripts/console build

run: .venv/.run src/soip/web/static/.built  ## set up, then show the product: server, two software cameras, console
	@$(PY) -m soip demo

test: .venv/.dev src/soip/web/static/.built  ## everything CI checks: lint, unit, protocol, interop, browser
	scripts/peers
	$(MAKE) lint
	scripts/console test
	scripts/test

lint: .venv/.dev  ## style, types, import rules
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: .venv/.dev  ## CPU time against C floors and against Kamailio, in one run
	scripts/peers
	$(PY) -m benches

faults: .venv/.dev src/soip/web/static/.built  ## the whole fault harness: kill -9, disk full, torn writes
	scripts/peers
	$(PY) -m pytest -m faults --faults=all
	$(PY) -m tests.faults

fuzz: .venv/.dev  ## every fuzz target for a minute (FUZZ_SECONDS)
	$(PY) -m tests.fuzz

clean:  ## remove what the other verbs made, but never recordings
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .import_linter_cache
	rm -rf console/node_modules src/soip/web/static
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help run test lint bench faults fuzz clean
