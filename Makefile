# Every target sets up what it needs first; `make` alone lists them.
.PHONY: help setup setup-dev demo serve test test-long lint bench lock clean
PY := .venv/bin/python

help:
	@echo "make demo       set up, then show a login and a ballot receipt for real"
	@echo "make serve      set up, then serve until stopped"
	@echo "make test       set up, then run the whole test suite (as CI does)"
	@echo "make test-long  the long runs: fuzzing, full matrices"
	@echo "make lint       static checks: ruff, mypy, import contracts, sizes"
	@echo "make bench      measurements, as ratios; written to var/bench.json"

setup:
	@deploy/setup runtime

setup-dev:
	@deploy/setup dev

demo: setup
	@.venv/bin/tamga demo

serve: setup
	@.venv/bin/tamga serve --development

lint: setup-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	$(PY) -m tests.support.sizes

test: setup-dev lint
	$(PY) -m tests.support.side_by_side

test-long: setup-dev
	$(PY) -m pytest -m "long or hypothesis" --hypothesis-profile=long --no-cov --timeout=1200

bench: setup-dev
	$(PY) -m bench

# Locks are made by uv, which names no host in its output.
lock:
	uv pip compile -q --generate-hashes --universal --no-annotate --no-header --python-version 3.11 --group build -o deploy/locks/build.txt
	uv pip compile -q --generate-hashes --universal --no-annotate --no-header --python-version 3.11 --all-extras -o deploy/locks/runtime.txt pyproject.toml
	uv pip compile -q --generate-hashes --universal --no-annotate --no-header --python-version 3.11 --all-extras --group dev -o deploy/locks/dev.txt pyproject.toml

clean:
	rm -rf var .venv .mypy_cache .pytest_cache .ruff_cache .coverage*
