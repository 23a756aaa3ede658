# Everything sets itself up: a virtual environment in .venv, made anew when pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Real corpora and suites, for the tests and drills that use them; those skip where the folder is absent.
export NPI_JAX_DATA ?= $(abspath $(wildcard ../shared/data))

.PHONY: help quickstart report test drills parity lint docs bench clean

help:
	@echo "make quickstart  train the built-in experiment, print the results, write runs/quickstart/report/index.html"
	@echo "make report      tables and report of a run anew: make report RUN=runs/quickstart"
	@echo "make test        unit tests: does this installation work (a few minutes)"
	@echo "make lint        style and types of the project's own files, for developers"
	@echo "make docs        documentation as a site that needs no network: site/index.html"
	@echo "make drills      slow checks: real processes and disks, real text, Slurm where it is installed, programs for TPUs"
	@echo "make parity      scores and checkpoints against minicons, lm-eval and transformers (installs them)"
	@echo "make bench       training, scoring and gradients against PyTorch, minicons and plain backward passes"
	@echo "make clean       remove the virtual environment and caches"

$(VENV)/run.done: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "npi_jax needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/test.done: $(VENV)/run.done
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

quickstart: $(VENV)/run.done
	$(BIN)/npi-jax run --config quickstart

RUN ?= runs/quickstart
report: $(VENV)/run.done
	$(BIN)/npi-jax report $(RUN)

# What the project owns. What else lies in the folder (runs, configs of the user's own, virtual environments) is nobody's
# business here.
OWN := npi_jax configs tests benchmarks docs

lint: $(VENV)/test.done
	$(BIN)/ruff check $(OWN)
	$(BIN)/ruff format --check $(OWN)
	$(BIN)/mypy

# -P: no module of the user's in this folder comes before one of the tests' or a library's.
PYTEST := $(BIN)/python -P -m pytest

test: $(VENV)/test.done
	$(PYTEST) -n 2 --dist loadfile

$(VENV)/docs.done: $(VENV)/run.done
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# mkdocs.yml is strict: a warning is an error. The variable silences a notice of the theme's authors about other products.
docs: $(VENV)/docs.done
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "site/index.html"

# The compiler for TPUs, which is large; the documentation is built too.
$(VENV)/drills.done: $(VENV)/test.done
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,docs,topology]'
	touch $@

# Drills and comparisons with other tools compile with all optimizations, as a user's runs do.
drills parity: export TEST_OPTIMIZED = 1

# With them, what must be equal bit by bit is compared once more.
drills: $(VENV)/drills.done
	$(PYTEST) -n 2 --dist worksteal -m "drill and not long"
	$(PYTEST) -n 2 --dist worksteal tests/training/test_ensemble.py tests/scoring/test_scorer.py
	TEST_DEVICES=8 $(PYTEST) -m eight_devices

$(VENV)/parity.done: $(VENV)/test.done
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,parity]'
	touch $@

parity: $(VENV)/parity.done
	$(PYTEST) -n 2 --dist loadfile tests/models/test_lstm.py tests/models/test_hf_parity.py \
	  tests/corpus/test_hf_tokenizer.py tests/scoring/test_parity.py tests/evaluation/test_lm_eval.py

# What docs, drills and parity need, installed at once.
$(VENV)/all.done: $(VENV)/test.done
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,docs,topology,parity]'
	touch $(VENV)/docs.done $(VENV)/drills.done $(VENV)/parity.done $@

bench: $(VENV)/parity.done
	$(BIN)/python benchmarks/train_throughput.py
	$(BIN)/python benchmarks/score_throughput.py
	$(BIN)/python benchmarks/gradient_cost.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist site *.egg-info
