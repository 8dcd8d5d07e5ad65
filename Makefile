# What a fresh machine needs: Debian or Ubuntu, make, Python 3.11 or newer, and root for the lab.

VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo prove test test-python lint lock benchmark clean

help:
	@echo "make demo       a cluster on the built-in lab, and its primary powered off under load (root)"
	@echo "make prove      the model of a failover, the long tests, then every fault that is possible on a plain lab three times, with a report in proof/ (root)"
	@echo "make test       all tests; those on real hosts need root and are reported as skipped without"
	@echo "make test-python PYTHON=3.13   the tests that need no host, on another Python (uv); TESTS= is which"
	@echo "make lint       ruff and mypy"
	@echo "make lock       requirements.txt of requirements.in: what is installed, with its hashes (uv)"
	@echo "make benchmark  the figures in README, measured anew (root)"
	@echo "make clean      takes the lab down and removes what these commands made"

# The stamp is newer than requirements.txt when all of it is installed.
$(VENV)/installed: requirements.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, this is $$(python3 --version)"; exit 1; }
	@test -x $(BIN)/python || python3 -m venv $(VENV) 2>/dev/null || \
		{ echo "installing python3-venv"; apt-get -q -y install python3-venv && python3 -m venv --clear $(VENV); }
	@echo "installing the Python packages of requirements.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	@touch $@

# The lab's, whatever the environment or invoke.yaml says: a fault is injected.
demo: export INVOKE_INVENTORY = inventory.py
demo: $(VENV)/installed
	invoke lab.up
	pyinfra inventory.py deploy.py -y
	invoke failover-test --yes
	@invoke next-steps

prove: $(VENV)/installed
	python -m benchmarks prove

test: $(VENV)/installed
	pytest tests --numprocesses 4 --durations 20 --durations-min 60

# Whatever Python of that version uv finds or brings, in an environment that is made anew; .venv stays as it is.
PYTHON ?= 3.14
TESTS ?= tests/unit tests/plan
test-python:
	uv run --no-project --isolated --python $(PYTHON) --with-requirements requirements.txt pytest $(TESTS) --numprocesses auto

lint: $(VENV)/installed
	ruff check .
	ruff format --check .
	mypy

# For Python from the oldest on, and every system. What is locked stays unless requirements.in says otherwise or with UPGRADE=--upgrade.
lock:
	for at in "" tests/lab/store_server/; do uv pip compile --universal --python-version 3.11 --generate-hashes --quiet $(UPGRADE) \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--output-file $${at}requirements.txt $${at}requirements.in || exit 1; done

benchmark: $(VENV)/installed
	python -m benchmarks

clean:
	-@test ! -x $(BIN)/invoke || test "$$(id -u)" != 0 || $(BIN)/invoke lab.down
	rm -rf $(VENV) .lab .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
