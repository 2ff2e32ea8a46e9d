# Each target works on a machine with nothing but Python >= 3.11 and make: it creates .venv, installs
# the package with the extras it needs (versions from .ci/constraints.txt) and runs.
# Another interpreter: make test PYTHON=python3.12. Arguments: make test ARGS="-k whiten -x".

ifndef PYTHON
# The first of these that is new enough; plain python3 otherwise, so that the error below names it.
NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$python -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then echo $$python; exit; fi; done; echo python3)
endif

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Several processes test: threads of OpenMP that wait busily would take the processors from each other.
PATIENT := OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0
# No window is ever opened; figures go to files.
export MPLBACKEND := Agg

.PHONY: help demo explore test lint format docs gallery bench study study-genes test-interop clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo "make demo     which concepts a sparse dictionary finds in Cell Painting profiles (about 2 minutes)"
	@echo "make explore  look into the concepts of the demo in the browser"
	@echo "make test     the tests and every example of the docstrings and the user guide"
	@echo "make lint     ruff, mypy, codespell, docstrings, import contracts"
	@echo "make format   let ruff rewrite what it can"
	@echo "make docs     the documentation, in docs/_build/html; runs the short examples"
	@echo "make gallery  the same with the long examples"
	@echo "make bench    the benchmarks, beside the opponents that can be installed (about 10 minutes)"
	@echo "make study    every table and figure of the ICFL paper on data at hand (under an hour; ARGS=--quick: minutes)"
	@echo "make study-genes  the findings of the paper on single-cell models (a quarter of an hour; ARGS=--quick: minutes)"
	@echo "make test-interop  codes beside SAELens, dictionary_learning and sparsify (installs them apart: 2 GB)"
	@echo "make clean    remove the environment and everything built"

demo: $(VENV)/.plot,progress,io
	$(BIN)/skdict demo $(ARGS)
	@echo "Or here: make explore"

# A bundle of one's own: make explore ARGS=my_bundle.
explore: $(VENV)/.explorer
	$(BIN)/skdict explore $(or $(ARGS),skdict_demo_concepts)

test: $(VENV)/.test
	$(PATIENT) $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg --no-cache
	$(BIN)/python -m pytest -q tests/test_docstrings.py

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html $(ARGS)

gallery: $(VENV)/.docs
	SKDICT_GALLERY=all $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html $(ARGS)

bench: $(VENV)/.opponents
	$(BIN)/python -m benchmarks $(ARGS)

# Data beside those of the package are taken from the folder that SKDICT_DATA names.
study: $(VENV)/.plot,progress,io
	$(BIN)/python -m benchmarks.study $(ARGS)

study-genes: $(VENV)/.plot,progress,io,torch,anndata
	$(BIN)/python -m benchmarks.study_genes $(ARGS)

INTEROP := .venv-interop/bin/python

# Beside the packages themselves; they ask for much, so they have an environment of their own.
test-interop: .venv-interop/.ready
	SKDICT_TEST_INTEROP=1 $(INTEROP) -m pytest tests/interop_real $(ARGS)

.venv-interop/.ready: pyproject.toml .ci/constraints.txt .ci/constraints-interop.txt
	$(PYTHON) -m venv --clear .venv-interop
	@$(INTEROP) -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt \
		--constraint .ci/constraints-interop.txt --editable ".[torch]" \
		pytest hypothesis sae-lens eai-sparsify zstandard
	@$(INTEROP) -m pip install --quiet --disable-pip-version-check --no-deps \
		--constraint .ci/constraints-interop.txt dictionary-learning
	@touch $@

# What cannot be installed is listed and missing in the tables.
$(VENV)/.opponents: $(VENV)/.plot,progress,io benchmarks/requirements.txt
	$(BIN)/python -m benchmarks.install
	@touch $@

# One stamp per set of extras, so that a demo installs no test tools and nothing is installed twice.
$(VENV)/.plot,progress,io $(VENV)/.plot,progress,io,torch,anndata \
		$(VENV)/.explorer $(VENV)/.test $(VENV)/.docs $(VENV)/.dev: $(VENV)/.created pyproject.toml .ci/constraints.txt
	@echo "Installing skdict[$(patsubst $(VENV)/.%,%,$@)] into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint .ci/constraints.txt --editable ".[$(patsubst $(VENV)/.%,%,$@)]"
	@touch $@

# A stamp and --clear: an environment that was left half made is made again.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1)' 2>/dev/null || { \
		echo "skdict needs Python >= 3.11, but '$(PYTHON)' is $$({ $(PYTHON) --version || echo not found; } 2>/dev/null)." >&2; \
		echo "Install a newer Python, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot create virtual environments: its venv module is missing." >&2; \
		echo "On Debian or Ubuntu: apt install python3-venv" >&2; \
		exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

clean:
	rm -rf $(VENV) .venv-interop skdict_demo_concepts build dist skdict.egg-info docs/_build docs/gallery docs/generated
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find skdict tests benchmarks docs -name __pycache__ -prune -exec rm -rf {} +
