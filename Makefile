# make demo and make test set up what they need in .venv: the demo a part of it, the tests the rest.
PYTHON ?= python3
# Another folder for the environment, as .ci/run has.
VENV ?= .venv
BIN := $(VENV)/bin
# make demo TORCH=cpu: torch without CUDA from PyTorch's own index, a fifth of the disk; for machines without a GPU.
TORCH ?=
# Folders per class with real images for `make bench`; without them it draws its own. BENCH: more of its options.
IMAGES224 ?= $(FILMS224)
NATIVE ?=
BENCH ?=
# make demo DEMO=--no-serve ends after the scores.
DEMO ?=
SLOW ?=
COMMA := ,

UV := $(shell command -v uv 2>/dev/null)
PIP = $(if $(UV),uv pip install --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check)
# A bar a package on a terminal, nothing but our own lines elsewhere.
QUIET = $$([ -t 1 ] || echo -q)
# The two that fit each other, as pyproject.toml has them.
TORCHES = $(shell sed -nE "s/^  \"(torch(vision)?==[^\"]*)\".*/'\1'/p" pyproject.toml)

# $(call install,WHAT,EXTRAS): installs this package with the extras, and shows the time and the disk that it took.
define install
@echo "installing $(1)"; began=$$(date +%s); $(PIP) $(QUIET) -e '.[$(2)]' && \
  echo "installed in $$(($$(date +%s) - began)) s; $(VENV) has $$(du -sh $(VENV) | cut -f1)"
@touch $@
endef

.PHONY: demo test slow fuzz chaos check locks sbom bench gpu docs tutorial screenshots setup web clean

setup: $(VENV)/.dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@command -v gcc >/dev/null && test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || \
	  { echo "error: SageMaker's training toolkit has to be compiled: apt-get install gcc python3-dev"; exit 1; }
ifneq ($(UV),)
	uv venv --quiet --seed --allow-existing --python $(PYTHON) $(VENV)
else
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "error: Python's venv is missing; apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
endif

$(VENV)/.demo: pyproject.toml setup.py | $(BIN)/python
ifeq ($(TORCH),cpu)
	@echo "installing torch without CUDA"
	@$(PIP) $(QUIET) --index-url https://download.pytorch.org/whl/cpu $(TORCHES)
endif
	$(call install,what the demo needs: $(if $(filter cpu,$(TORCH)),0.4 GB to download$(COMMA) 1.6 GB,4.3 GB to download$(COMMA) 7.9 GB) on disk,train$(COMMA)serve)

$(VENV)/.dev: $(VENV)/.demo
	$(call install,what the tests need besides: 0.4 GB to download$(COMMA) 1.3 GB on disk,dev)

demo: $(VENV)/.demo
	$(BIN)/python launch/demo.py $(DEMO)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Tests that take minutes or build environments of their own; SLOW names some of them.
slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow $(SLOW)

# Damaged files of every kind into every parser: FUZZ of them each, chosen by FUZZ_SEED.
FUZZ ?= 3000
fuzz: $(VENV)/.dev
	THORAX_FUZZ=$(FUZZ) $(BIN)/python -m pytest -n logical --maxprocesses 4 --timeout 3000 tests/fuzz

# CHAOS rounds of kill -9, SIGTERM, full disks and flipped bits over training, packing, batches and searches, chosen by CHAOS_SEED.
CHAOS ?= 100
CHAOS_SEED ?= 0
chaos: $(VENV)/.dev
	CHAOS=$(CHAOS) CHAOS_SEED=$(CHAOS_SEED) $(BIN)/python -m pytest -n logical --maxprocesses 4 --timeout 7200 tests/chaos

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy source_dir launch bench
	PYTHONPATH=source_dir:launch $(BIN)/lint-imports
	$(BIN)/codespell
	PYTHONPATH=source_dir:launch $(BIN)/python .ci/audit.py

# Exact versions and hashes of what jobs on AWS install, in launch/locks/; needs uv.
locks: $(VENV)/.dev
	@command -v uv >/dev/null || { echo "error: uv is needed: pip install uv"; exit 1; }
	PYTHONPATH=source_dir:launch $(BIN)/python .ci/locks.py

# What a release is made of (CycloneDX 1.6), in dist/: this package's environment, and what a job on AWS installs.
sbom: $(VENV)/.dev
	@mkdir -p dist
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --mc-type library --output-reproducible -o dist/sbom.cdx.json
	$(BIN)/cyclonedx-py requirements launch/locks/py313.txt --pyproject pyproject.toml --mc-type library --output-reproducible -o dist/sbom-job.cdx.json

# The table of hyperparameters, and the site in site/; a broken link is an error.
docs: $(VENV)/.dev
	$(BIN)/python docs/hyperparameters.py
	$(BIN)/mkdocs build

# Runs docs/tutorial.md and writes its outputs anew where they differ.
tutorial: $(VENV)/.dev
	$(BIN)/python docs/tutorial.py --update

# Pictures of terminals and pages in screenshots/, to be looked at; needs Chromium.
screenshots: $(VENV)/.dev
	$(BIN)/python docs/screenshots.py

# In 10 minutes.
bench: $(VENV)/.dev
	@$(PIP) $(QUIET) -e '.[bench]'
	$(BIN)/python bench/whole.py $(if $(IMAGES224),--images224 $(IMAGES224)) $(if $(NATIVE),--native $(NATIVE)) $(BENCH)

# The proof on a GPU, in 8 minutes and without network, by the interpreter PYTHON as it is: no .venv is made. GPU_OUT: where
# gpu.md and gpu.json go; GPU_WHEELS: a folder of wheels that it lacks; GPU: more of bench/gpu.py's options.
GPU_OUT ?= bench/results
GPU_WHEELS ?=
GPU ?=
gpu:
	PYTHONPATH=source_dir:launch:$(PYTHONPATH) $(PYTHON) bench/gpu.py --out $(GPU_OUT) $(if $(GPU_WHEELS),--wheels $(GPU_WHEELS)) $(GPU)

# What the Lambda of launch/web/template.yaml holds.
web:
	rm -rf launch/web/build
	mkdir -p launch/web/build
	cp launch/web/*.py launch/web/requirements.txt launch/web/build/
	cp -R source_dir/thorax/serving/page launch/web/build/page

clean:
	rm -rf $(VENV) runs site screenshots launch/web/build .pytest_cache .mypy_cache .ruff_cache
