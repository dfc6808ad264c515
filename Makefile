# Each target works on a fresh machine that has Python 3.10+ and make: it creates .venv, installs, runs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check fuzz bench format docs clean

demo: .venv/installed
	@$(BIN)/siglip demo --format table

test: .venv/developed
	$(BIN)/pytest --numprocesses 2 --dist loadfile

check: .venv/developed
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# Five minutes of damaged pictures and label files; FUZZ="--minutes 1 --seed 7" for less, and others.
fuzz: .venv/developed
	$(BIN)/python scripts/fuzz.py $(FUZZ)

# About 20 minutes on 2 cores, alone on the machine; BENCH=--quick only tries it.
bench: .venv/developed
	$(BIN)/python benchmarks/bench.py $(BENCH)

format: .venv/developed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: .venv/developed
	$(BIN)/python scripts/render_reference.py
	$(BIN)/python scripts/render_picture.py
	$(BIN)/python scripts/render_readme.py

.venv/created:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	@touch $@

.venv/installed: .venv/created pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --editable . --constraint constraints.txt
	@touch $@

.venv/developed: .venv/installed
	$(BIN)/pip install --quiet --group dev --constraint constraints.txt
	@touch $@

clean:
	rm -rf .venv build dist
