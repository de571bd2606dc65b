# Every target does its own set-up: it needs only make and Python 3.11 or newer, and creates .venv in this folder.
#   make unit PYTHON=python3.13     another Python (after "make clean")
#   make unit ARGS="-k beacon"      arguments for the program behind the target
# Works with GNU make 3.81, the one on macOS.

MAKEFLAGS += --no-builtin-rules
SHELL     := /bin/sh
PYTHON    ?=
ARGS      ?=
# Processes for the tests; more than processors, because many tests wait.
WORKERS   ?= 3

VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --quiet --disable-pip-version-check
PYTEST := $(PY) -m pytest
CODE   := $(wildcard src tests bench)

# Tried in this order; the first that is new enough and can make environments is taken.
PYTHONS := $(if $(PYTHON),$(PYTHON),python3.14 python3.13 python3.12 python3.11 python3 python)

.DEFAULT_GOAL := help
.PHONY: help run test check lint fix types imports unit sim links ui net fuzz slow cover bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

# ---------------------------------------------------------------------------- set-up

$(VENV)/.created:
	@found=; bare=; \
	for python in $(PYTHONS); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
		if "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then found=$$python; break; fi; \
		bare=$${bare:-$$python}; \
	done; \
	if [ -z "$$found" ] && [ -n "$$bare" ]; then \
		version=$$("$$bare" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "$$bare (Python $$version) cannot make virtual environments: its ensurepip module is missing." >&2; \
		echo "  Debian, Ubuntu:  sudo apt install python$$version-venv" >&2; \
		echo "  or name another Python:  make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	elif [ -z "$$found" ]; then \
		echo "Sandpiper needs Python 3.11 or newer; none of these is: $(PYTHONS)" >&2; \
		echo "  Install one (Debian, Ubuntu: sudo apt install python3 python3-venv; macOS: brew install python)," >&2; \
		echo "  or name it:  make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$found ..." >&2; \
	"$$found" -m venv --clear $(VENV)
	@touch $@

# The build backends come first, pinned like everything else, so that nothing is fetched outside the lock files.
$(VENV)/.run: requirements/build.txt requirements/run.txt pyproject.toml | $(VENV)/.created
	@echo "Installing what Sandpiper needs ..." >&2
	@$(PIP) install --require-hashes -r requirements/build.txt -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/build.txt requirements/dev.txt pyproject.toml | $(VENV)/.created
	@echo "Installing what Sandpiper and its tests need ..." >&2
	@$(PIP) install --require-hashes -r requirements/build.txt
	@$(PIP) install --require-hashes --no-build-isolation --use-pep517 -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $(VENV)/.run $@

# ---------------------------------------------------------------------------- using it

run: $(VENV)/.run ## start Sandpiper: make run ARGS="--nick bob"
	@$(VENV)/bin/sandpiper $(ARGS)

# ---------------------------------------------------------------------------- checking it

# One pytest run for all lanes, so that the last line counts everything. tests/conftest.py keeps each of the lanes that
# need the machine to themselves on one worker.
test: lint types imports ## everything: the checks, then every lane
	$(PYTEST) -n $(WORKERS) --dist loadgroup $(ARGS)

check: lint types imports unit sim ## what to run before a commit; under two minutes

lint: $(VENV)/.dev ## style and format
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)

fix: $(VENV)/.dev ## repair style and format where that is safe
	$(PY) -m ruff check --fix $(CODE)
	$(PY) -m ruff format $(CODE)

types: $(VENV)/.dev ## mypy, strict
	$(PY) -m mypy $(CODE)

imports: $(VENV)/.dev ## the import contracts
	$(VENV)/bin/lint-imports

# $(call lane,options): the tests of the lane that the target is called after. A lane without tests is not a failure.
define lane
	@if [ -d tests/$@ ]; then \
		echo "$(PYTEST) $(1) tests/$@ $(ARGS)"; \
		$(PYTEST) $(1) tests/$@ $(ARGS) || [ $$? -eq 5 ]; \
	else \
		echo "tests/$@ does not exist yet"; \
	fi
endef

unit: $(VENV)/.dev ## lane: pure code
	$(call lane,-n $(WORKERS))

sim: $(VENV)/.dev ## lane: networks of nodes on simulated time
	$(call lane,-n $(WORKERS))

links: $(VENV)/.dev ## lane: the conformance suite for links
	$(call lane)

ui: $(VENV)/.dev ## lane: faces, headless and on a pty
	$(call lane)

net: $(VENV)/.dev ## lane: network namespaces and real NATs (root, Linux)
	$(call lane)

fuzz: $(VENV)/.dev ## lane: hostile bytes
	$(call lane,-n $(WORKERS))

slow: $(VENV)/.dev ## lane: soak and scale
	$(call lane)

cover: $(VENV)/.dev ## coverage: 90 % of all, 100 % of the pure rooms
	$(PYTEST) -n $(WORKERS) --dist loadgroup -m "not slow" --cov --cov-report= $(ARGS)
	$(PY) -m coverage report --fail-under=90
	$(PY) -m coverage report --fail-under=100 --include="src/sandpiper/wire/*,src/sandpiper/crypto/*,src/sandpiper/core/*"

bench: $(VENV)/.dev ## benchmarks against real rivals: the quick set
	@if [ -f bench/__main__.py ]; then $(PY) -m bench $(ARGS); else echo "bench/__main__.py does not exist yet"; fi

# ---------------------------------------------------------------------------- keeping it

# The lock files hold for every supported Python and system. They keep their pins unless ARGS=--upgrade.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url -c requirements/constraints.in $(ARGS)

lock: $(VENV)/.created ## resolve requirements/*.txt again: make lock ARGS=--upgrade
	@[ -x $(VENV)/bin/uv ] || $(PIP) install uv
	$(COMPILE) --group build -o requirements/build.txt
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) pyproject.toml --extra speed --extra cluster --group dev -c requirements/build.txt -c requirements/run.txt -o requirements/dev.txt
	@if grep -nE 'https?:|file:|@ |--(extra-)?index-url|--find-links' requirements/*.txt; then \
		echo "a lock file must not name addresses or paths" >&2; exit 1; fi

clean: ## remove .venv, caches and results
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	rm -rf .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
