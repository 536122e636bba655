# The two commands: `make demo` and `make test`. Each makes .venv, installs and runs, from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint format bench images clean help

help:
	@echo "make demo    train a small model on real text and watch an instability being caught (about 4 minutes)"
	@echo "make test    the test suite"
	@echo "make lint    ruff and mypy"
	@echo "make bench   the figures: overhead, detector, replay, faults (about 30 minutes)"

# torch comes from constraints.txt: without it pip would take a build of several gigabytes. What is imported is compiled
# then; to compile everything that is installed takes two minutes.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/pretrain-monitor demo $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py $(ARGS)

images: $(STAMP)
	$(BIN)/python docs/make_images.py
	$(BIN)/python docs/make_detection_images.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
