# Needs nothing but Python 3.11 (or 3.12): every target makes the virtual environment it uses.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := src tests scripts training

.PHONY: setup demo test soak check format lock sbom test-gpu train train-tiny bench bench-publish test-browser docs docs-pictures clean

setup: $(READY)

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint requirements.lock --editable '.[aws,dev]'
	touch $@

demo: $(READY)  ## The main job on the demo models: out/advert.png and out/contact-sheet.png
	$(BIN)/python scripts/demo.py

test: $(READY)  ## All tests that need no GPU
	$(BIN)/python -m pytest

soak: $(READY)  ## Three minutes of mixed traffic on the demo models: memory and open files must stay flat
	$(BIN)/python -m benchmarks.endurance --minutes 3

test-browser: $(READY)  ## The studio and the catalogue's report in Chromium, which must be installed
	@command -v chromium chromium-browser google-chrome || { echo "Install Chromium first."; exit 1; }
	$(BIN)/python -m pytest -m browser

docs: $(READY)  ## The documentation as a site: build/docs/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs-pictures: $(READY)  ## Draw the documentation's pictures and write its page of fields again (minutes)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python scripts/make_docs.py

check: $(READY)  ## Format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

test-gpu: $(READY)  ## The tests of the CUDA path, on a machine with one
	$(BIN)/pip install --quiet --constraint requirements.lock --editable '.[aws,dev,gpu]'
	$(BIN)/python -m pytest -m gpu tests/gpu

train: $(READY)  ## Draw the pictures and train the demo bundle again (hours)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m training all

train-tiny: $(READY)  ## The same from end to end, as small as can be (a minute)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m training --tiny all

bench: $(READY)  ## What an advert costs, beside the obvious way and other servers: a table, a plot, a JSON in out/bench
	$(BIN)/python -m benchmarks all

bench-publish: $(READY)  ## Put the last run's table and plot into docs/benchmarks.md
	$(BIN)/python -m benchmarks publish

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

sbom: $(READY)  ## out/sbom.json: what the image holds that others made
	$(BIN)/python scripts/supply_chain.py sbom out/sbom.json

lock: $(READY)  ## Resolve pyproject.toml's ranges to exact versions again
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --universal --python-version 3.11 \
		--no-emit-index-url --no-header --no-annotate --upgrade --output-file requirements.lock

clean:
	rm -rf $(VENV) out
