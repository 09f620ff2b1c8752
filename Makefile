# `make demo` and `make test` set up everything they need in .venv, from git, make and Python 3.11 or newer alone.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow lint types bench clean

demo: .venv/ready
	rm -rf demo
	$(BIN)/passerby demo --out demo

test: .venv/ready lint types
	$(BIN)/pytest -n 2 -m "not slow"

slow: .venv/ready
	$(BIN)/pytest -m slow

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

bench: .venv/ready
	@for file in benchmarks/[a-z]*.py; do case $$file in */common.py) ;; *) $(BIN)/python $$file || exit 1;; esac; done

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Passerby needs Python 3.11 or newer; run make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	touch .venv/ready

clean:
	rm -rf .venv demo
