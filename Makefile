# Every command sets up what it needs: a virtual environment from the lock files, hashes checked.
#   make serve PYTHON=python3.13 VENV=.venv-3.13      another interpreter, beside the first
VENV ?= .venv
# The first of these that starts and is new enough. (A name may be on the PATH and still not start: a shim, say.)
CANDIDATES := python3 python3.13 python3.12 python3.11 python3.14 python
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach name,$(CANDIDATES),$(shell $(name) -c '$(USABLE)' >/dev/null 2>&1 && echo $(name))))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install

.PHONY: help serve test check format pretrained examples accuracy bench-training bench-tables drawn-digits container container-test lock clean

help:
	@echo "make serve       serve on http://127.0.0.1:8000"
	@echo "make test        run the tests"
	@echo "make check       ruff, mypy --strict, import-linter"
	@echo "make format      let ruff format and mend"
	@echo "make examples    train the five example systems and print their figures"
	@echo "make accuracy    train the networks of the table of accuracies; the last takes a quarter of an hour"
	@echo "make bench-training  beside scikit-learn, PyTorch and the bare matrix products"
	@echo "make bench-tables    beside scikit-learn on its tables"
	@echo "make drawn-digits    the shipped model on digits that are not MNIST's"
	@echo "make pretrained  train the versions that ship in models/ again"
	@echo "make container   build the image trainserve"
	@echo "make lock        write the lock files again from pyproject.toml"

serve: $(VENV)/.runtime
	$(BIN)/trainserve serve

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(TESTS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

examples: $(VENV)/.dev
	$(BIN)/python -m examples

accuracy: $(VENV)/.dev
	$(BIN)/python -m examples accuracy

# The peers have an environment of their own: the product has none of them.
bench-training: $(VENV)-bench/.bench
	$(VENV)-bench/bin/python -m benchmarks.training --json benchmarks/training.json --picture benchmarks/training.png $(BENCH)

bench-tables: $(VENV)-bench/.bench
	$(VENV)-bench/bin/python -m benchmarks.tables

drawn-digits: $(VENV)/.dev
	$(BIN)/python -m benchmarks.drawn_digits

pretrained: $(VENV)/.runtime
	OPENBLAS_NUM_THREADS=1 $(BIN)/python models/pretrain.py

# Where only the host's network reaches the package index: make container DOCKER_BUILD="--network host"
DOCKER ?= docker
container:
	$(DOCKER) build $(DOCKER_BUILD) --tag trainserve .

container-test: container $(VENV)/.dev
	TRAINSERVE_TEST_ENGINE=$(DOCKER) TRAINSERVE_TEST_IMAGE=trainserve $(BIN)/python -m pytest tests/container

# uv resolves for every platform and Python at once; --no-emit-index-url keeps hosts out of the files.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock"
lock:
	$(COMPILE) pyproject.toml --output-file requirements.lock >/dev/null
	$(COMPILE) pyproject.toml --extra plot --group dev --output-file requirements-dev.lock >/dev/null
	$(COMPILE) --group build --output-file requirements-build.lock >/dev/null

clean:
	rm -rf $(VENV) $(VENV)-bench

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer with venv was found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The dev lock holds all of the other two, so whatever is set up later is still whole.
$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes --requirement requirements-dev.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@ $(VENV)/.runtime

$(VENV)-bench/.bench: requirements.lock requirements-build.lock pyproject.toml
	$(MAKE) VENV=$(VENV)-bench $(VENV)-bench/.runtime
	$(VENV)-bench/bin/python -m pip --disable-pip-version-check --quiet install --no-build-isolation --editable '.[bench]'
	touch $@

$(VENV)/.runtime: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes --requirement requirements.lock --requirement requirements-build.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@
