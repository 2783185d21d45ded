# Needs only Python 3.11 (or 3.12): every target creates the virtual environment it uses.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test soak test-browser docs docs-pictures check format test-gpu train train-tiny bench bench-gpu bench-publish sbom lock clean

help:  ## Print this list.
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: $(READY)  ## Create the virtual environment .venv with everything that development needs.

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint requirements.lock --editable '.[aws,dev]'
	touch $@

demo: $(READY)  ## Make one advert with the demo models: out/advert.png and out/contact-sheet.png.
	$(BIN)/python scripts/demo.py

test: $(READY)  ## Run all tests that need no GPU.
	$(BIN)/python -m pytest

test-browser: $(READY)  ## Run the tests that drive the studio and the catalogue's report in Chromium.
	@command -v chromium chromium-browser google-chrome || { echo "Install Chromium first."; exit 1; }
	$(BIN)/python -m pytest -m browser

test-gpu: $(READY)  ## Run the tests of the CUDA path, on a machine with a GPU.
	$(BIN)/pip install --quiet --constraint requirements.lock --editable '.[aws,dev,gpu]'
	$(BIN)/python -m pytest -m gpu tests/gpu

soak: $(READY)  ## Send mixed traffic for five minutes and check that memory and open files stay flat.
	$(BIN)/python -m benchmarks.endurance --minutes 5

check: $(READY)  ## Check formatting, lint rules, types and import directions.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: $(READY)  ## Format the code and apply the linter's safe fixes.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)  ## Build the documentation as a site: build/docs/index.html.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs-pictures: $(READY)  ## Regenerate docs/fields.md and the documentation's pictures (takes minutes).
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python scripts/make_docs.py

bench: $(READY)  ## Measure what an advert costs and compare other servers; results go to out/bench.
	$(BIN)/python -m benchmarks all

bench-gpu: $(READY)  ## Measure on a machine with a GPU; results go to out/bench/gpu.
	$(BIN)/python -m benchmarks gpu

bench-publish: $(READY)  ## Copy the last run's table and plot into docs/benchmarks.md.
	$(BIN)/python -m benchmarks publish

train: $(READY)  ## Draw the training pictures and train the demo bundle again (takes hours).
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m training all

train-tiny: $(READY)  ## Run the same training end to end at the smallest size (takes a minute).
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m training --tiny all

sbom: $(READY)  ## Write the image's bill of materials (CycloneDX) to out/sbom.json.
	$(BIN)/python scripts/supply_chain.py sbom out/sbom.json

lock: $(READY)  ## Resolve the version ranges of pyproject.toml into requirements.lock again.
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --universal --python-version 3.11 \
		--no-emit-index-url --no-header --no-annotate --upgrade --output-file requirements.lock

clean:  ## Delete the virtual environment and out.
	rm -rf $(VENV) out
