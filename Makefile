# Each target works on a fresh machine that has Python 3.10+ and make: it creates .venv, installs, runs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test full test-all stress coverage check browser fuzz bench simulate format docs clean

demo: $(VENV)/installed
	@$(BIN)/siglip demo --format table

PYTEST = $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/developed browser
	$(PYTEST) -m "not full and not stress"

# The tests that take long: the full-size architecture, a cluster, engines built anew.
full: $(VENV)/developed browser
	$(PYTEST) -m "full and not stress"

check: $(VENV)/developed browser
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	SIGLIP_NEED_BROWSER=1 SIGLIP_NEED_TOOLS=1 $(PYTEST)

# The oldest Python that is supported, and the newest that is here, each in a venv of its own: .venv-3.10, …
PYTHONS ?= $(shell for minors in "10" "14 13 12"; do for minor in $$minors; do \
  for python in python3.$$minor $$HOME/.pyenv/versions/3.$$minor.*/bin/python3; do \
    "$$python" -c "" 2>/dev/null && echo "$$python"; done; done | head -1; done)
test-all:
	@for python in $(PYTHONS); do \
	  version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "== Python $$version"; \
	  $(MAKE) test full PYTHON=$$python VENV=.venv-$$version || exit 1; \
	done

# Lines and branches of the library that the tests run, in processes that they start too. Front ends do not count.
coverage: $(VENV)/developed
	@mkdir -p .coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Kills, interrupts and very many files: tests that run in small otherwise, at full size; some ten minutes.
stress: $(VENV)/developed
	$(BIN)/pytest -m stress

# Chromium for the tests of the HTML report, exiftool and exiv2 for those of keywords in photos, from Debian's packages
# where that can be done unasked. Without them those tests are skipped, or fail where SIGLIP_NEED_BROWSER=1 and
# SIGLIP_NEED_TOOLS=1.
browser:
	@has() { command -v "$$1" >/dev/null 2>&1; }; \
	missing=""; \
	if ! { has chromedriver && { has chromium || has chromium-browser || has google-chrome; }; }; then \
	  missing="chromium chromium-driver"; \
	fi; \
	has exiftool || missing="$$missing libimage-exiftool-perl"; \
	has exiv2 || missing="$$missing exiv2"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! has apt-get; then as=nobody; \
	elif [ "$$(id -u)" = 0 ]; then as=env; \
	elif has sudo && sudo -n true 2>/dev/null; then as="sudo -n env"; \
	else as=nobody; fi; \
	if [ "$$as" != nobody ]; then \
	  { $$as apt-get -o Acquire::Retries=3 update && $$as DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install --yes \
	    --no-install-recommends $$missing; } >/dev/null 2>&1 && exit 0; \
	fi; \
	echo "note: not here (Debian's names):$$missing; tests of the report's page, or of keywords in photos, need them"

# Five minutes of damaged images and label files; FUZZ="--minutes 1 --seed 7" for less, and others.
fuzz: $(VENV)/developed
	$(BIN)/python scripts/fuzz.py $(FUZZ)

# About 20 minutes on 2 cores, alone on the machine; BENCH=--quick only tries it.
bench: $(VENV)/developed
	$(BIN)/python benchmarks/bench.py $(BENCH)

# What calibrate and compare promise, tried on thousands of simulated data sets; some minutes.
simulate: $(VENV)/developed
	$(BIN)/python benchmarks/simulate.py

format: $(VENV)/developed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/developed
	$(BIN)/python scripts/render_reference.py
	$(BIN)/python scripts/render_api.py
	$(BIN)/python scripts/render_terminal.py
	$(BIN)/python scripts/render_pages.py

$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --editable . --constraint constraints.txt
	@touch $@

$(VENV)/developed: $(VENV)/installed
	$(BIN)/pip install --quiet --group dev --constraint constraints.txt
	@touch $@

clean:
	rm -rf .venv .venv-* build dist
