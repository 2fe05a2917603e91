# Each target sets up what it needs in .venv (Python 3.10 or 3.11; see tools/setup_venv.sh).
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
EXTRAS := io,dask,serving,test,bench
PACKAGES := features simulate preprocess input_fn model_fn trainer serving

.PHONY: setup test lint clean

setup: $(READY)

$(READY): setup.py constraints.txt tools/setup_venv.sh
	tools/setup_venv.sh $(VENV) $(EXTRAS) $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES)

test: lint
	$(BIN)/python -m pytest tests

clean:
	rm -rf $(VENV) $(VENV).uv *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
