# Everything runs in .venv, made from PYTHON on first use and again when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test check format wheel bench clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    an LSTM learns handwritten digits, and reads them in onnxruntime and NumPy"
	@echo "make test    run the tests"
	@echo "make check   lint, formatting and types"
	@echo "make format  rewrite the sources as 'make check' wants them"
	@echo "make wheel   build dist/rnnc-*.whl"
	@echo "make bench   run the benchmarks"
	@echo "make clean   remove .venv and everything built"

demo: $(READY)
	@$(BIN)/python examples/digits.py

test: $(READY)
	@$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(READY)
	@rm -rf dist
	@$(PIP) wheel --no-deps --wheel-dir dist .
	@ls dist/*.whl

bench: $(READY)
	@$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find rnnc tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Some systems package Python without ensurepip; there, the pip outside fetches the one inside.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "rnnc needs Python 3.11 or later; try: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing rnnc and its tools into $(VENV) (once; this takes a minute) ..."
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	  $(PYTHON) -m venv $(VENV); \
	else \
	  $(PYTHON) -m venv --without-pip $(VENV) && \
	  $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --quiet install pip; \
	fi
	@$(PIP) install --editable '.[test,demo]'
	@touch $@
