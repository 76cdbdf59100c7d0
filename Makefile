# `make quickstart` trains one learngene and five networks from it; `make test` runs the tests.
# Both start with `make setup`, which installs what is missing into .venv; a second call installs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEBIAN := python3-venv python3-dev g++ pkg-config libturbojpeg0-dev libopencv-dev
FOR_TESTS := chromium dataset-fashion-mnist # a browser for the pages, real images
WORKERS ?= 2 # processes that run tests, a file at a time

.PHONY: setup quickstart test test-slow lint bench docs clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" ./setup.sh $(DEBIAN)
	@touch $@

$(VENV)/.for-tests: | setup
	@./setup.sh --debian-only $(FOR_TESTS)
	@touch $@

quickstart: setup
	@./quickstart.sh

test: setup $(VENV)/.for-tests
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile

test-slow: setup $(VENV)/.for-tests
	$(BIN)/python -m pytest -m slow -n $(WORKERS) --dist loadfile --durations=10

bench: setup # figures depend on the machine; compare the ratios
	for name in startup inspect_speed data_path parity any_depth_step; do $(BIN)/python -m benchmarks.$$name || exit 1; done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup # docs/cli.md from --help, docs/config.md from the config classes
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/generate_config.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
