PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test verify docs lint install

quickstart: $(VENV)/.installed  ## install, then a whole run on handwritten digits
	$(BIN)/evoprune run quickstart

test: $(VENV)/.installed  ## install, then the tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

verify: $(VENV)/.installed  ## test the published networks; DATA=cifar10.npz where it is not to be downloaded
	$(BIN)/python benchmarks/verify.py $(DATA)

docs: $(VENV)/.installed  ## the documentation as a site: docs/site/index.html
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs docs/site

lint: $(VENV)/.installed  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "evoprune needs Python >= 3.11; make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
