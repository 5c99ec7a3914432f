# `make help` lists what there is. Everything happens in .venv/; nothing is installed outside this folder.
PYTHON ?= python3
SHELL := /bin/bash
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow docs lint fuzz audit reproduce bench-peer clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(READY) ## create the environment in .venv/ with the exact versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python >= 3.11 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv/ (a few minutes and 6 GB the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[dev]' --constraint constraints.txt
	@touch $@

demo: $(READY) ## train a small network (about two minutes on 2 cores), colour pictures and a GIF
	@$(BIN)/python -m colorize.demo

test: $(READY) ## the test suite, as CI runs it (about ten minutes on 2 cores)
	@$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: $(READY) ## the tests that are left out of it: kills, wheels, real launchers
	@$(BIN)/python -m pytest -m slow

docs: $(READY) ## the documentation's site, in build/site
	@$(BIN)/python -m mkdocs build --strict

lint: $(READY) ## ruff, mypy, and hadolint on the Dockerfile
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(BIN)/hadolint Dockerfile

fuzz: $(READY) ## damaged files of every format (FUZZ="--cases 500 --command-line 20": fewer), see SECURITY.md
	@$(BIN)/python tests/fuzz $(FUZZ)

audit: $(READY) ## known weaknesses of the pinned versions; asks the network
	@$(BIN)/uv tool run pip-audit --strict --requirement constraints.txt --disable-pip --no-deps

# Goes on where it was stopped: run it again. EPOCHS=2 tries it out, SETS=pradera does one set, ARGS= are further
# settings of train (ARGS=trainer.precision=bf16-mixed: 2 to 3 times faster where the processor knows bfloat16).
SETS ?= pradera rural banana beach
REPRODUCED := outputs/reproduce$(EPOCHS:%=-%-epochs)
reproduce: $(READY) ## the report's runs in full, reference and baseline (hours, even on a GPU)
	@for set in $(SETS); do for recipe in reference baseline; do \
	  runs=$(REPRODUCED)/$$recipe/$$set/beta; resume=; \
	  if ls $$runs/*/metrics.json >/dev/null 2>&1; then echo "$$recipe $$set: done, see $$runs"; continue; fi; \
	  if ls $$runs/*/checkpoints/last.ckpt >/dev/null 2>&1; then resume=ckpt_path=last; fi; \
	  $(BIN)/python -m colorize.train dataset=$$set experiment=$$recipe output_dir=$(REPRODUCED)/$$recipe \
	    $$resume $(if $(EPOCHS),dataset.epochs=$(EPOCHS)) $(ARGS) || exit 1; done; done

# ARGS= are further arguments of benchmarks.train (ARGS='--size 128 --rounds 3').
PEER := .venv-peer/.ready
bench-peer: $(READY) $(PEER) ## training speed beside the same network and recipe in Keras (in .venv-peer/)
	@$(BIN)/python -m benchmarks train --recipes baseline best --peer .venv-peer/bin/python --out outputs/speed_train.json $(ARGS)

$(PEER): benchmarks/peer/requirements.txt $(READY)
	@test -x .venv-peer/bin/python || $(PYTHON) -m venv .venv-peer
	@echo "Installing Keras and TensorFlow into .venv-peer/ (1.5 GB)"
	@$(BIN)/uv pip install --quiet --python .venv-peer/bin/python --requirement $<
	@touch $@

clean: ## remove the environments and caches; data/ and outputs/ stay
	rm -rf .venv .venv-peer .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
	find colorize tests -name __pycache__ -type d -exec rm -rf {} +
