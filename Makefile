# Needs Python 3.10 or newer and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
DEMO_CONCEPT ?= cat

.PHONY: install demo test check format docs clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,docs]"
	touch $@

# Trains on one of our own concepts, draws the benchmark with and without what was learned, and scores it,
# all with the embedded base.
demo: install
	$(BIN)/coeffdream demo $(DEMO_CONCEPT)

# The tests are single-threaded, so a core each; a worker takes about 2 GB. What the tests of one file share is made once.
test: check
	$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy docs/*.py

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The documentation as a site that opens from disk; Python 3.11 or newer.
docs: install
	$(BIN)/python docs/reference.py
	$(BIN)/zensical build --strict

clean:
	rm -rf .venv runs site
