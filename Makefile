# Everything one does with Headwater from a clone. `make` alone lists it.
#
# The first target that needs it makes an environment in .venv with the exact versions of constraints.txt, and a change
# of constraints.txt or pyproject.toml brings it up to date. Nothing is installed outside it, but
# Chromium for the tests of browsers, where they run as root and there is none.

# The PATH's, unless the system has one that is faster.
PYTHON ?= $(shell python3 deploy/choose_python.py 2>/dev/null || echo python3)
VENV ?= .venv
ARGS ?=

# The resolver behind `make pins`, in an environment of its own.
UV_VERSION := 0.13.9

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo up test check bench faults clean pins

help: ## list these targets
	@echo "Usage: make TARGET [ARGS='...']   (PYTHON=python3.12 picks another Python, VENV=DIR another environment)"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## run the pipeline on real purchases, with its own Kafka and PostgreSQL (ARGS='--exit --json')
	@$(BIN)/headwater demo $(ARGS)

up: $(INSTALLED) ## run the pipeline until Ctrl-C (ARGS='--workers identify=2')
	@$(BIN)/headwater up $(ARGS)

test: $(INSTALLED) ## run the tests (ARGS='-k identify')
	$(BIN)/python -m pytest $(ARGS)

check: $(INSTALLED) ## lint, formatting, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED) ## measure speed and cost, about an hour (QUICK=1: two minutes; ONLY=door,stages; PLOTS=1 draws docs/*.svg)
	@$(BIN)/python -m tests.bench

faults: $(INSTALLED) ## break everything while events flow, and count: up to two hours (ONLY=W1,P1 SEED=7; QUICK=1: 5 minutes)
	@$(BIN)/python -m tests.faults

clean: ## remove the environment and the caches; data of past runs stays
	rm -rf $(VENV) $(VENV)-pins build dist *.egg-info
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

pins: $(VENV)-pins/bin/uv ## write constraints.txt anew after a change of pyproject.toml (ARGS=--upgrade for newer versions)
	$< pip compile --quiet --universal --python-version 3.11 --all-extras --group build --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' $(ARGS) \
	    --output-file constraints.txt pyproject.toml

# Stops with one line where the Python at hand cannot make the environment.
define check_python
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || { \
	    echo "Headwater needs Python 3.11 to 3.14 with its venv module; '$(PYTHON)' is" \
	        "$$($(PYTHON) --version 2>/dev/null || echo 'not there')." \
	        "Name another one (make PYTHON=python3.12 ...) or install it (on Debian: python3 and python3-venv)." >&2; \
	    exit 1; }
endef

# Two steps: pip can check the hashes of packages, not of a source tree. All are wheels but Faust on ARM Linux, which is
# built there and wants a C compiler.
$(INSTALLED): constraints.txt pyproject.toml | $(BIN)/pip
	@echo "installing into $(VENV) (the first time about a minute)"
	@$(PIP) install --require-hashes --no-deps -r constraints.txt || { \
	    echo "Installing failed, see above. It needs the network; 'make $(MAKECMDGOALS)' tries again," \
	        "after 'make clean' from the beginning." >&2; exit 1; }
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# The last thing that comes into a new environment.
$(BIN)/pip:
	$(check_python)
	@echo "making $(VENV) with $(PYTHON)"
	@rm -f $(BIN)/python*
	@$(PYTHON) -m venv $(VENV)

$(VENV)-pins/bin/uv: Makefile
	$(check_python)
	@$(PYTHON) -m venv $(VENV)-pins
	@$(VENV)-pins/bin/python -m pip --disable-pip-version-check --quiet install uv==$(UV_VERSION)
	@touch $@
