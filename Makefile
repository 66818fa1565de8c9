# make demo and make test set up everything they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Folders per class with real images for `make bench`; without them it draws its own. BENCH: more of its options.
IMAGES224 ?=
NATIVE ?=
BENCH ?=
# make demo DEMO=--no-serve ends after the scores.
DEMO ?=
SLOW ?=

.PHONY: demo test slow check bench docs setup web clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "error: Python's venv is missing; apt-get install python3-venv"; exit 1; }
	@command -v gcc >/dev/null && test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || \
	  { echo "error: SageMaker's training toolkit has to be compiled: apt-get install gcc python3-dev"; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python launch/demo.py $(DEMO)

test: $(STAMP)
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Tests that take minutes or build environments of their own; SLOW names some of them.
slow: $(STAMP)
	$(BIN)/python -m pytest -m slow $(SLOW)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy source_dir launch bench
	$(BIN)/codespell

docs: $(STAMP)
	$(BIN)/python docs/hyperparameters.py

bench: $(STAMP)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[bench]'
	$(BIN)/python bench/bench.py $(if $(IMAGES224),--images224 $(IMAGES224)) $(if $(NATIVE),--native $(NATIVE)) $(BENCH)
	$(BIN)/python bench/scoring.py $(if $(IMAGES224),--images $(IMAGES224))
	$(BIN)/python bench/serving.py --network resnet18 $(if $(IMAGES224),--images $(IMAGES224))
	$(BIN)/python bench/serving.py --network resnet50 $(if $(IMAGES224),--images $(IMAGES224))
	$(BIN)/python bench/watching.py

# What the Lambda of launch/web/template.yaml holds.
web:
	rm -rf launch/web/build
	mkdir -p launch/web/build
	cp launch/web/handler.py launch/web/requirements.txt launch/web/build/
	cp -R source_dir/thorax/serving/page launch/web/build/page

clean:
	rm -rf $(VENV) runs launch/web/build .pytest_cache .mypy_cache .ruff_cache
