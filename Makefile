# Everything is set up in .venv by pip; see README.md for what a machine needs before.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
REPO ?= .

.PHONY: setup demo test editors e2e screenshots check bench bench-typing docs format clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; name one: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@echo "Setting up $(VENV): about 5 minutes, most of them llama-cpp-python being compiled."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	@touch $@

demo: setup
	$(BIN)/neuralforge demo --repo $(REPO)

# The editors come last and alone: they are timed. One that cannot be had here is skipped, and said.
# Editors drop a key or a request now and then: a test in one that fails has a second try, which the
# summary lists as RERUN. `make e2e` gives none.
test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -r s --ignore tests/e2e
	$(BIN)/python -m pytest -r sR --reruns 1 tests/e2e

# The real editors, into the user's cache folder.
editors: setup
	PYTHONPATH=tests $(BIN)/python -m e2e.install

# Their tests alone; here an editor that cannot be had is an error.
e2e: editors
	NEURALFORGE_E2E_REQUIRED=1 $(BIN)/python -m pytest tests/e2e

# The README's pictures, from the tests that see what they show.
screenshots: editors
	NEURALFORGE_E2E_REQUIRED=1 $(BIN)/python -m pytest tests/e2e/vscode/test_typing.py tests/e2e/vscode/test_training.py
	for shown in ghost-text training adapters status privacy; do \
	  cp tests/e2e/artifacts/vscode-$$shown.png docs/images/ || exit 1; done

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python tests/bench.py
	$(BIN)/python tests/bench_training.py

bench-typing: setup
	$(BIN)/python tests/bench_typing.py --repository $(REPO) --json bench-typing.json
	$(BIN)/python tests/bench_while_training.py --repository $(REPO) --json bench-while-training.json

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

docs: setup
	$(BIN)/python docs/generate.py
