# `make help` lists the targets. Variables:
#   PYTHON     the interpreter that .venv is made with (>= 3.11)
#   PIP_FLAGS  more flags for pip, e.g. a CPU-only torch (Linux):
#              make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#   WORKERS    how many processes share the tests
PYTHON ?= python3
PIP_FLAGS ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup test demo lint bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-8s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv with the tested, pinned set (done again only when pyproject.toml or constraints.txt change)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	touch $@

test: $(READY) ## run the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

demo: $(READY) ## 3 models, torch against jax, compared and trained on the embedded digits; prints the tables
	$(BIN)/python run.py -m experiment=demo model=s4,dss,s5 task=compare task.processes=1 task.budget_seconds=60 results_dir=results/demo
	$(BIN)/python run.py -m experiment=demo model=s4,dss,s5 framework=torch,jax task=train results_dir=results/demo
	$(BIN)/python -m bench.table results/demo

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY) ## pytest-benchmark's micro-benchmarks, alone on the machine
	$(BIN)/python -m pytest --benchmark-only -p no:xdist -o addopts="--strict-markers --strict-config"

clean: ## remove .venv, caches and build outputs; results and data stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .benchmarks *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
